//! What devices of every version have said can still be read: recordings, and what the monitor of their
//! time made of them.

use std::path::Path;

use serde_json::Value;
use tests::programs::succeed;

fn rows(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect("every line is a JSON object"))
        .collect()
}

#[test]
fn recordings_of_every_version_are_read_as_ever() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/captures");
    let mut read = 0;
    for entry in std::fs::read_dir(&folder).expect("the recordings") {
        let path = entry.expect("listed").path();
        if path
            .extension()
            .is_none_or(|extension| extension != "capture")
        {
            continue;
        }
        let shown = succeed(
            "host",
            ["monitor", path.to_str().expect("a plain path"), "--json"],
        );
        let wanted = std::fs::read_to_string(path.with_extension("jsonl")).expect("as it was");
        let (shown, wanted) = (rows(&shown), rows(&wanted));
        assert!(wanted.len() > 20, "{}", path.display());
        assert_eq!(shown, wanted, "{}", path.display());
        read += 1;
    }
    assert!(read >= 6, "{read} recordings");
}
