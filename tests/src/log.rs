//! What a monitor's log holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// The lines of a log, if there is one.
///
/// # Panics
/// If a line is not whole.
#[must_use]
pub fn rows(log: &Path) -> Vec<Value> {
    fs::read_to_string(log)
        .unwrap_or_default()
        .lines()
        .map(|line| serde_json::from_str(line).expect("every line is a JSON object"))
        .collect()
}

/// Flagged reports by epoch and number.
///
/// # Panics
/// If one is there twice.
#[must_use]
#[track_caller]
pub fn delivered(log: &Path) -> BTreeMap<(String, u64), Value> {
    let mut reports = BTreeMap::new();
    for row in rows(log) {
        if let Some(ticket) = row.get("ticket") {
            let epoch = ticket["epoch"].as_str().expect("digits").to_owned();
            let number = ticket["number"].as_u64().expect("a number");
            let before = reports.insert((epoch, number), row);
            assert!(before.is_none(), "twice: {before:?}");
        }
    }
    reports
}

/// Makes sure that nothing is missing: the numbers of each epoch begin at 0 and have no gap.
///
/// # Panics
/// If there is a gap.
#[track_caller]
pub fn assert_complete(reports: &BTreeMap<(String, u64), Value>) {
    let mut next: BTreeMap<&str, u64> = BTreeMap::new();
    for (epoch, number) in reports.keys() {
        let expected = next.entry(epoch).or_default();
        assert_eq!(number, expected, "of epoch {epoch}");
        *expected += 1;
    }
}
