//! The suite of `parity` on emulated 64-bit Arm Linux: what libtorch computed here, against tract,
//! onnxruntime and the native engine there. The first build for it takes minutes, emulation seconds.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use tests::parity::{CASES, write};

/// An emulated processor is slow.
const DIGITS: u32 = 6;

#[test]
fn engines_on_arm_give_what_libtorch_computes_here() {
    tch::set_num_threads(1);
    let suite = tempfile::tempdir().expect("a temporary folder");
    write(suite.path(), DIGITS);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/cross");
    let output = Command::new(script)
        .arg("parity")
        .arg(suite.path())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("the script can be started");
    let rows = String::from_utf8_lossy(&output.stdout);
    println!("{rows}");
    assert!(output.status.success(), "see above");
    let seen: BTreeSet<(&str, &str)> = rows
        .lines()
        .filter_map(|row| {
            let mut words = row.split_whitespace();
            Some((words.next()?, words.next()?))
        })
        .collect();
    // Every case on each of the three.
    assert_eq!(seen.len(), 3 * CASES, "{seen:?}");
    assert!(
        rows.contains("native (neon)"),
        "the processor's vectors were not used"
    );
}
