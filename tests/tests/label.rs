//! Pictures of flagged frames: saved by `host monitor`, labelled by `host label`.

use std::path::Path;

use serde_json::Value;
use tests::programs::{command, fail, run, succeed};
use tests::recording::recording;
use tests::terminal::Terminal;

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// The files in a sub-folder, sorted.
fn files(folder: &Path, sub: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder.join(sub)) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("listed").file_name())
        .map(|name| name.into_string().expect("plain"))
        .collect();
    names.sort();
    names
}

/// The summary of a monitor that saves the flagged frames of a recording.
fn save(capture: &Path, folder: &Path, more: &[&str]) -> Value {
    let summary = folder.with_extension("summary");
    let args = [
        "monitor",
        text(capture),
        "--save-flagged",
        text(folder),
        "--summary",
        text(&summary),
    ];
    succeed("host", args.iter().chain(more));
    serde_json::from_slice(&std::fs::read(summary).expect("written")).expect("JSON")
}

#[test]
fn flagged_frames_are_saved_once_and_labelled_by_a_key_each() {
    let place = tempfile::tempdir().expect("temporary folder");
    let (capture, folder) = (place.path().join("capture"), place.path().join("flagged"));
    recording(&capture, 20);
    let summary = save(&capture, &folder, &[]);
    assert_eq!(summary["pictures"]["saved"], 5, "{summary}");
    // The same frames again are known already, wherever they lie.
    let summary = save(&capture, &folder, &[]);
    let pictures = &summary["pictures"];
    assert_eq!(
        (&pictures["saved"], &pictures["repeated"]),
        (&0.into(), &5.into())
    );
    let saved = files(&folder, "unlabelled");
    assert_eq!(saved.len(), 5);
    assert!(saved[0].contains("-frame000003-unfamiliar-"), "{saved:?}");
    let list = std::fs::read_to_string(folder.join("flagged.jsonl")).expect("written");
    let first: Value = serde_json::from_str(list.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first["file"], saved[0]);
    assert_eq!(
        (&first["device"], &first["model"]),
        (&"gate".into(), &"0000beef".into())
    );
    assert_eq!(first["report"]["mutual_information"], 0.125);
    assert_eq!(first["report"]["label"], "nut");

    // In a terminal: a nut, a bolt, one that is undone and discarded, one left for later.
    let label = command("host", ["label", text(&folder), "--labels", "bolt,nut"]);
    let mut terminal = Terminal::run(&label, 24, 80);
    let screen = terminal.wait_for("5 to label, 0 done");
    for words in [
        "the model says nut, confidence 0.750",
        "mutual information 0.125 nats",
        "unfamiliar+uncertain",
        "frame 3 of 'gate', model 0000beef",
        "0 bolt  1 nut",
        "s skip  d discard  u undo  q quit",
        "▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀",
    ] {
        assert!(screen.contains(words), "'{words}' is missing in\n{screen}");
    }
    // No key of a class, and none of anything else.
    terminal.press("7x");
    for (key, screen) in [
        ("1", "frame 7 of"),
        ("0", "frame 11 of"),
        ("0", "frame 15 of"),
        ("u", "frame 11 of"),
        ("d", "frame 15 of"),
        ("s", "frame 19 of"),
    ] {
        terminal.press(key);
        terminal.wait_for(screen);
    }
    terminal.press("q");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(0), "{screen}");
    assert!(
        screen.contains("3 pictures labelled or discarded, 2 wait"),
        "{screen}"
    );
    assert_eq!(files(&folder, "nut"), saved[..1]);
    assert_eq!(files(&folder, "bolt"), saved[1..2]);
    assert_eq!(files(&folder, "discarded"), saved[2..3]);
    assert_eq!(files(&folder, "unlabelled"), saved[3..]);
    assert_eq!(save(&capture, &folder, &[])["pictures"]["repeated"], 5);

    // Later; afterwards nothing is left, which takes no terminal.
    let mut terminal = Terminal::run(&label, 24, 80);
    terminal.wait_for("2 to label");
    terminal.press("11");
    terminal.wait_for("no picture is left");
    terminal.press("q");
    assert_eq!(terminal.end().0, Some(0));
    let out = succeed("host", ["label", text(&folder)]);
    assert!(out.contains("0 wait"), "{out}");
}

#[test]
fn a_limit_bounds_what_waits() {
    let place = tempfile::tempdir().expect("temporary folder");
    let (capture, folder) = (place.path().join("capture"), place.path().join("flagged"));
    recording(&capture, 40);
    let summary = save(&capture, &folder, &["--save-limit", "4"]);
    let pictures = &summary["pictures"];
    assert_eq!(
        (&pictures["saved"], &pictures["full"]),
        (&4.into(), &6.into())
    );
    assert_eq!(files(&folder, "unlabelled").len(), 4);
}

#[test]
fn pictures_that_lost_a_part_are_counted_and_not_saved() {
    let place = tempfile::tempdir().expect("temporary folder");
    let (capture, folder) = (place.path().join("capture"), place.path().join("flagged"));
    recording(&capture, 40);
    let mut bytes = std::fs::read(&capture).expect("read");
    // Damaged in the middle: some picture misses a part, or some report its picture.
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&capture, bytes).expect("written");
    let pictures = &save(&capture, &folder, &[])["pictures"];
    let count = |what: &str| pictures[what].as_u64().expect("a number");
    assert!(count("saved") >= 8, "{pictures}");
    assert_eq!(
        count("saved") + count("incomplete") + count("unreported"),
        10,
        "{pictures}"
    );
    assert_eq!(files(&folder, "unlabelled").len() as u64, count("saved"));
}

#[test]
fn what_cannot_be_labelled_is_told() {
    let place = tempfile::tempdir().expect("temporary folder");
    let folder = text(place.path());
    fail("host", ["label", folder], &["unlabelled", "--save-flagged"]);
    let unlabelled = place.path().join("unlabelled");
    std::fs::create_dir(&unlabelled).expect("created");
    fail("host", ["label", folder, "--labels", "a,../b"], &["../b"]);
    fail(
        "host",
        ["label", folder, "--model", "absent.onnx"],
        &["absent.onnx"],
    );
    std::fs::write(unlabelled.join("a.png"), "no picture").expect("written");
    // In no terminal there is nobody to ask.
    fail("host", ["label", folder], &["not a terminal"]);
    let nowhere = run(
        "host",
        ["monitor", "absent", "--save-flagged", "/dev/null/x"],
    );
    assert_eq!(nowhere.status.code(), Some(1));
}
