//! `host monitor --tui`, in a terminal.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tests::line::SerialLine;
use tests::model;
use tests::programs::{Running, command, fail};
use tests::recording::recording;
use tests::terminal::Terminal;

const DOWN: &str = "\x1b[B";

fn monitor(args: &[&str]) -> std::process::Command {
    let mut all = vec!["monitor"];
    all.extend(args);
    let mut command = command("host", all);
    command.env_remove("NO_COLOR");
    command
}

/// A live line: what a device says is on the screen, at every size, and the keys do what they say.
#[test]
fn a_device_is_watched() {
    let line = SerialLine::clean();
    let port = line.host();
    let port = port.to_str().expect("a plain path");
    let mut terminal = Terminal::run(&monitor(&[port, "--tui"]), 24, 80);
    terminal.wait_for("no greeting yet");
    let model = model::trained();
    let device = line.device();
    let args = [
        "run",
        "--model",
        model.to_str().expect("plain"),
        "--passes",
        "8",
        "--source",
        "mnist:test",
        "--fps",
        "40",
        "--name",
        "bench-7",
        "--serial",
        device.to_str().expect("plain"),
    ];
    let device = Running::start(command("device", args).stderr(Stdio::null()));
    let screen = terminal.wait("frames of the device", |text| {
        text.contains("bench-7") && text.contains("accept") && text.contains("frames/s")
    });
    for words in [
        "native  8 passes",
        "link ok",
        "0 lost  0 corrupt",
        "predictive entropy",
        "mutual information",
        "latency ms  p50   p95   p99",
        "flagged",
        "q quit",
    ] {
        assert!(screen.contains(words), "'{words}' is missing in\n{screen}");
    }
    assert!(!screen.contains("aleat"), "too narrow for it:\n{screen}");
    terminal.resize(40, 130);
    terminal.wait_for("aleat epist passes");
    terminal.resize(8, 30);
    terminal.wait("smaller table", |text| {
        text.contains("accept") && !text.contains("class") && !text.contains("latency ms")
    });
    terminal.resize(24, 80);
    terminal.wait_for("latency ms");

    terminal.press("p");
    terminal.wait_for("PAUSED");
    let table = |text: &str| text.lines().skip(2).take(8).collect::<Vec<_>>().join("\n");
    let paused = table(&terminal.text());
    std::thread::sleep(std::time::Duration::from_millis(400));
    assert_eq!(table(&terminal.text()), paused);
    terminal.press("p");
    terminal.wait("new frames", |text| table(text) != paused);
    drop(device);

    terminal.press("q");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(0), "{screen}");
    assert!(
        screen.contains("frames/s") && screen.contains("link"),
        "{screen}"
    );
}

/// A recording: frames in full, with their pictures; flags only; failures and log lines.
#[test]
fn a_recording_is_looked_at() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let capture = folder.path().join("today.capture");
    recording(&capture, 10);
    let capture = capture.to_str().expect("a plain path");
    let args = ["--replay", capture, "--speed", "4", "--tui"];
    let mut terminal = Terminal::run(&monitor(&args), 24, 80);
    let screen = terminal.wait_for("ENDED");
    for words in [
        "gate  model 0000beef  native  50 passes  v7.8.9",
        "10.0 frames/s",
        "flagged 20.0 % of 10",
        "unfamiliar      2",
        "9 accept  nut",
        "firmware panicked",
    ] {
        assert!(screen.contains(words), "'{words}' is missing in\n{screen}");
    }
    terminal.press("f");
    terminal.wait("flags only", |text| {
        text.contains("7 FLAG") && text.contains("3 FLAG") && !text.contains("accept")
    });
    terminal.press(DOWN);
    terminal.press("\r");
    let screen = terminal.wait_for("mutual information  0.1250 nats");
    for words in [
        "frame 3",
        "class nut",
        "  unfamiliar",
        "  uncertain",
        "▀▀▀▀▀▀▀▀",
    ] {
        assert!(screen.contains(words), "'{words}' is missing in\n{screen}");
    }
    terminal.press("\x1b");
    terminal.wait("table alone", |text| !text.contains("0.1250 nats"));
    terminal.press("?");
    terminal.wait_for("what the model does not know");
    terminal.press("\x03");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(0), "{screen}");
    // What was logged meanwhile is told now.
    assert!(screen.contains("firmware panicked"), "{screen}");
}

#[test]
fn without_colours_nothing_is_lost() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let capture = folder.path().join("today.capture");
    recording(&capture, 4);
    let capture = capture.to_str().expect("a plain path");
    let mut command = monitor(&[capture, "--tui"]);
    command.env("NO_COLOR", "1");
    let mut terminal = Terminal::run(&command, 24, 80);
    terminal.wait_for("3 FLAG");
    terminal.press("\r");
    // Stripes of black and white.
    terminal.wait_for(" @ @ @ @");
    let coloured = terminal.has_colours();
    terminal.press("q");
    let _ = terminal.end();
    assert!(!coloured);
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let line = SerialLine::clean();
    let port = line.host();
    let port = port.to_str().expect("a plain path");
    for number in [Signal::INT, Signal::TERM] {
        let mut terminal = Terminal::run(&monitor(&[port, "--tui"]), 24, 80);
        terminal.wait_for("no greeting yet");
        let pid = Pid::from_child(terminal.program().child());
        kill_process(pid, number).expect("it runs");
        assert_eq!(terminal.end().0, Some(0));
    }
}

#[test]
fn what_is_no_terminal_is_refused() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let capture = folder.path().join("today.capture");
    recording(&capture, 1);
    let capture = capture.to_str().expect("a plain path");
    fail("host", ["monitor", capture, "--tui"], &["not a terminal"]);
}

/// A recording comes at the pace of the device's clock: ten frames in 0.9 s.
#[test]
fn a_replay_takes_its_time() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let capture = folder.path().join("today.capture");
    recording(&capture, 10);
    let capture = capture.to_str().expect("a plain path");
    let time = |speed: &str| {
        let began = std::time::Instant::now();
        let args = ["monitor", "--replay", capture, "--speed", speed];
        let rows = tests::programs::succeed("host", args);
        assert_eq!(rows.lines().count(), 11, "ten frames and a notice: {rows}");
        began.elapsed().as_secs_f64()
    };
    // No upper limit: the machine may be busy.
    assert!(time("1") >= 0.9);
    assert!(time("0.5") >= 1.8);
    let _ = time("1e9");
    let wrong = tests::programs::run("host", ["monitor", "--replay", capture, "--speed", "0"]);
    assert_eq!(wrong.status.code(), Some(2));
}
