//! Bad input gets one clear line and exit code 1, never a panic or a half file.

use std::path::Path;

use tests::line::SerialLine;
use tests::model;
use tests::programs::{fail, run, succeed};

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn broken_models_are_refused() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let good = std::fs::read(model::trained()).expect("read");
    for (name, bytes, words) in [
        ("empty.onnx", Vec::new(), &["empty.onnx", "empty"][..]),
        (
            "truncated.onnx",
            good[..good.len() / 2].to_vec(),
            &["truncated.onnx"],
        ),
        (
            "garbage.onnx",
            b"this is no model at all".repeat(20),
            &["garbage.onnx"],
        ),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        for command in ["run", "bench"] {
            fail("device", [command, "--model", text(&path)], words);
        }
        for command in ["info", "check"] {
            fail("device", [command, text(&path)], words);
        }
    }
    let absent = folder.path().join("absent.onnx");
    fail("device", ["check", text(&absent)], &["absent.onnx"]);
    fail(
        "device",
        ["check", text(folder.path())],
        &[text(folder.path())],
    );
}

#[test]
fn broken_pictures_are_told_and_do_not_stop_a_folder() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let empty = folder.path().join("0.png");
    std::fs::write(&empty, b"").expect("written");
    let model = model::trained();
    let model = text(&model);
    fail(
        "device",
        [
            "run",
            "--model",
            model,
            "--passes",
            "2",
            "--source",
            text(&empty),
        ],
        &["0.png is empty"],
    );
    std::fs::write(folder.path().join("1.pgm"), b"P5 4 4 255\n0123456789abcdef").expect("written");
    std::fs::write(folder.path().join("2.jpg"), b"no jpeg").expect("written");
    let output = run(
        "device",
        [
            "run",
            "--model",
            model,
            "--passes",
            "2",
            "--source",
            text(folder.path()),
        ],
    );
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        out.lines()
            .filter(|line| line.starts_with("REPORT"))
            .count(),
        1,
        "{out}"
    );
    assert!(
        out.contains("frame=1 "),
        "the good picture keeps its number: {out}"
    );
    assert!(
        err.contains("0.png is empty") && err.contains("2.jpg cannot be decoded"),
        "{err}"
    );
    assert!(err.contains("2 of 3 frames"), "{err}");
}

#[test]
fn absent_and_foreign_sources_are_told() {
    let model = model::trained();
    let model = text(&model);
    let folder = tempfile::tempdir().expect("temporary folder");
    let run = |source: &str, words: &[&str]| {
        fail(
            "device",
            ["run", "--model", model, "--source", source],
            words,
        )
    };
    run(text(folder.path()), &["holds no PNG"]);
    run("absent.png", &["absent.png", "No such file"]);
    run(
        &format!("raw:28x28:{}/absent", folder.path().display()),
        &["absent"],
    );
    let unknown = tests::programs::run(
        "device",
        ["run", "--model", model, "--source", "mnist:validation"],
    );
    assert_eq!(
        unknown.status.code(),
        Some(2),
        "wrong usage has its own exit code"
    );
}

#[test]
fn absent_busy_and_foreign_serial_ports_are_told() {
    let model = model::trained();
    let model = text(&model);
    let line = SerialLine::clean();
    let port = line.device();
    let held = device::serial::SerialLine::open(&port, 115_200, std::sync::Arc::default())
        .expect("opened");
    for (port, words) in [
        (
            "/dev/ttyABSENT0",
            &["/dev/ttyABSENT0", "does not exist"][..],
        ),
        (text(&port), &["busy"]),
        ("/dev/null", &["not a serial port"]),
    ] {
        fail("device", ["run", "--model", model, "--serial", port], words);
        fail("host", ["monitor", port], words);
    }
    drop(held);
    fail(
        "host",
        ["monitor", text(line.host().parent().expect("in a folder"))],
        &["not a serial port"],
    );
}

/// A run so short that only its output can fail.
fn two_reports<'a>(model: &'a str, serial: &'a str) -> [&'a str; 9] {
    [
        "run", "--model", model, "--passes", "1", "--limit", "2", "--serial", serial,
    ]
}

#[test]
fn unwritable_outputs_are_told() {
    let model = model::trained();
    let model = text(&model);
    fail(
        "device",
        two_reports(model, "file:/absent/capture"),
        &["/absent/capture"],
    );
    // /dev/full is a disk with no room.
    fail(
        "device",
        two_reports(model, "file:/dev/full"),
        &["No space left"],
    );

    let folder = tempfile::tempdir().expect("temporary folder");
    let capture = folder.path().join("capture");
    let file = format!("file:{}", capture.display());
    succeed("device", two_reports(model, &file));
    fail(
        "host",
        [
            "monitor",
            text(&capture),
            "--summary",
            "/absent/summary.json",
        ],
        &["/absent/summary.json"],
    );
    fail(
        "host",
        ["monitor", text(&capture), "--record", "/dev/full"],
        &["No space left"],
    );
    fail(
        "host",
        ["monitor", text(&capture), "--manifest", text(&capture)],
        &["manifest"],
    );
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    use std::io::Read;
    use std::process::Stdio;
    let model = model::trained();
    let mut child =
        tests::programs::command("device", ["run", "--model", text(&model), "--passes", "1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
    let mut first = [0; 10];
    child
        .stdout
        .take()
        .expect("piped")
        .read_exact(&mut first)
        .expect("a line begins");
    let output = child.wait_with_output().expect("ended");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !err.contains("error"), "{err}");
}

#[test]
fn thresholds_that_make_no_sense_are_refused() {
    let model = model::trained();
    fail(
        "device",
        [
            "run",
            "--model",
            text(&model),
            "--max-mutual-information",
            "nan",
        ],
        &["thresholds"],
    );
}

#[test]
fn garbage_on_the_line_is_counted_and_never_reported() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let capture = folder.path().join("noise.capture");
    let monitored = || {
        let summary = folder.path().join("summary.json");
        let out = succeed(
            "host",
            ["monitor", text(&capture), "--summary", text(&summary)],
        );
        let summary = std::fs::read(summary).expect("written");
        (
            out,
            serde_json::from_slice::<serde_json::Value>(&summary).expect("JSON"),
        )
    };
    // A fixed pseudo-random stream (the high bits of a linear congruence), zeros included.
    let mut state = 1_u32;
    let mut noise = || {
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        std::iter::repeat_with(next)
            .take(50_000)
            .collect::<Vec<u8>>()
    };
    std::fs::write(&capture, noise()).expect("written");
    let (out, summary) = monitored();
    assert_eq!((out.as_str(), &summary["frames"]), ("", &0.into()));
    assert_eq!(summary["link"]["discarded_bytes"], 50_000);

    // The same with reports before and after it: all of them are found, and the noise is counted.
    let file = format!("file:{}", capture.display());
    let model = model::trained();
    let report = || {
        let args = [
            "run",
            "--model",
            text(&model),
            "--passes",
            "1",
            "--limit",
            "3",
            "--serial",
            &file,
        ];
        succeed("device", args);
    };
    report();
    let mut bytes = std::fs::read(&capture).expect("written");
    bytes.extend(noise());
    std::fs::write(&capture, bytes).expect("written");
    report();
    let (out, summary) = monitored();
    assert_eq!((out.lines().count(), &summary["frames"]), (6, &6.into()));
    assert!(summary["link"]["corrupt"].as_u64() > Some(100), "{summary}");
    assert_eq!(summary["link"]["restarts"], 1);
}
