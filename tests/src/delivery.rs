//! The real programs at both ends of a line, and what a monitor's log holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::model;
use crate::programs::{Running, command, succeed};

/// Flags most digits, but not all.
pub const LIMIT: &str = "--max-mutual-information=0.002";
/// As fast as lines get: tests are not to wait for bytes.
pub const BAUD: &str = "3000000";

/// A path as an argument.
///
/// # Panics
/// If it is no text.
#[must_use]
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// Starts a device that flags most digits, but not all, on `line`.
///
/// # Panics
/// If it cannot be started.
#[must_use]
pub fn device(line: &Path, extra: &[&str]) -> Running {
    let model = model::trained();
    let mut args = vec!["run", "--model", text(&model), "--passes", "8", LIMIT];
    args.extend(["--baud", BAUD, "--source", "mnist:test"]);
    args.extend(["--serial", text(line)]);
    args.extend(extra);
    Running::start(command("device", args).stderr(Stdio::piped()))
}

/// Starts a monitor with a log.
///
/// # Panics
/// If it cannot be started.
#[must_use]
pub fn monitor(line: &Path, log: &Path) -> Running {
    let args = [
        "monitor",
        text(line),
        "--baud",
        BAUD,
        "--json",
        "--log",
        text(log),
    ];
    Running::start(
        command("host", args)
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )
}

/// Ends a program as `kill -9` does.
///
/// # Panics
/// If it has ended.
pub fn kill(mut program: Running) {
    kill_process(Pid::from_child(program.child()), Signal::KILL).expect("it runs");
    let _ = program.child().wait();
}

/// What the same frames give without a line: rows of flagged ones by their numbers.
///
/// # Panics
/// If a program fails.
#[must_use]
pub fn truth(limit: &str) -> BTreeMap<u64, Value> {
    let folder = tempfile::tempdir().expect("temporary folder");
    let capture = folder.path().join("truth.capture");
    let file = format!("file:{}", text(&capture));
    let (code, _, err) = device(Path::new(&file), &["--limit", limit]).end();
    assert_eq!(code, Some(0), "{err}");
    let rows = succeed("host", ["monitor", text(&capture), "--json"]);
    rows.lines()
        .map(|row| serde_json::from_str::<Value>(row).expect("JSON"))
        .filter(|row| row["verdict"] == "flag")
        .map(|row| (row["frame"].as_u64().expect("a number"), row))
        .collect()
}

/// Waits until a log has so many lines.
///
/// # Panics
/// If that takes too long.
#[track_caller]
pub fn wait_for_rows(log: &Path, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while rows(log).len() < count {
        assert!(Instant::now() < deadline, "{} rows", rows(log).len());
        std::thread::sleep(Duration::from_millis(10));
    }
}

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
