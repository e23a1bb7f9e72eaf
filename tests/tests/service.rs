//! What systemd is told by the program, and what it makes of the unit.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tests::model;
use tests::programs::{Running, command, path};

/// Most of systemd's exposure level (0 to 10) that the unit may have.
const EXPOSURE: f64 = 1.0;

fn packaging(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../device/packaging")
        .join(file)
}

/// The words sent to the service manager until `until` says so.
fn heard(socket: &UnixDatagram, until: impl Fn(&[String]) -> bool) -> Vec<String> {
    let mut words = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !until(&words) {
        assert!(Instant::now() < deadline, "no more than {words:?}");
        let mut bytes = [0; 1024];
        if let Ok(length) = socket.recv(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            words.extend(text.lines().map(String::from));
        }
    }
    words
}

fn count(words: &[String], word: &str) -> usize {
    words.iter().filter(|said| *said == word).count()
}

#[test]
fn readiness_signs_of_life_and_the_end_are_told_and_a_loop_that_hangs_is_silent() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let place = folder.path().join("notify");
    let socket = UnixDatagram::bind(&place).expect("a socket");
    let second = Duration::from_secs(1);
    socket.set_read_timeout(Some(second)).expect("a time-out");
    let mut device = Running::start(
        command("device", ["run", "--passes", "4", "--model"])
            .arg(model::trained())
            .args(["--source", "raw:28x28:-", "--serial"])
            .arg(format!("file:{}", folder.path().join("line").display()))
            .env("NOTIFY_SOCKET", &place)
            .env("WATCHDOG_USEC", "400000")
            .stdin(Stdio::piped()),
    );
    let mut frames = device.child().stdin.take().expect("a pipe");
    let words = heard(&socket, |words| count(words, "READY=1") == 1);
    assert_eq!(words[0], "READY=1", "{words:?}");

    // A turn of the loop is a sign of life, at most four in the time that the watchdog allows …
    for _ in 0..20 {
        frames.write_all(&[90; 28 * 28]).expect("the device reads");
        std::thread::sleep(Duration::from_millis(50));
    }
    let words = heard(&socket, |words| count(words, "WATCHDOG=1") >= 5);
    assert!(
        words.iter().any(|word| word.starts_with("STATUS=")),
        "{words:?}"
    );
    // … and without one there is silence.
    while socket.recv(&mut [0; 1024]).is_ok() {}
    assert!(socket.recv(&mut [0; 1024]).is_err());

    kill_process(Pid::from_child(device.child()), Signal::TERM).expect("the process is alive");
    drop(frames);
    heard(&socket, |words| count(words, "STOPPING=1") == 1);
    assert_eq!(device.end().0, Some(0));
}

/// `systemd-analyze`, which every machine that this project is tested on has.
fn analyze(arguments: &[&str], unit: &Path) -> (bool, String) {
    let mut command = Command::new("systemd-analyze");
    let output = command.args(arguments).arg(unit).output();
    let output = output.expect("systemd is installed");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[test]
fn the_unit_is_valid_and_confined() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let text = fs::read_to_string(packaging("mcdropout.service")).expect("readable");
    let device = path("device");
    let device = device.to_str().expect("a plain path");
    let here = text.replace("/usr/bin/mcdropout-device", device);
    assert_ne!(here, text, "the unit names the program");
    let unit = folder.path().join("mcdropout.service");
    fs::write(&unit, here).expect("written");
    let (valid, said) = analyze(&["verify", "--man=no"], &unit);
    assert!(valid && !said.contains("mcdropout.service"), "{said}");

    let (_, said) = analyze(&["security", "--offline=true", "--no-pager"], &unit);
    let exposure = said
        .lines()
        .find_map(|line| line.split_once("exposure level for mcdropout.service: "))
        .and_then(|(_, rest)| rest.split(' ').next()?.parse::<f64>().ok());
    let exposure = exposure.unwrap_or_else(|| panic!("no exposure level in {said}"));
    println!("exposure {exposure} of 10");
    assert!(exposure <= EXPOSURE, "{said}");
}

#[test]
fn the_configuration_that_is_installed_is_understood() {
    let file = packaging("device.toml");
    let output = command("device", ["run", "--print-config", "--config"])
        .arg(&file)
        .output()
        .expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.contains("device.toml line"))
        .map(|line| line.split(" = ").next().unwrap_or(line))
        .collect();
    for name in ["model", "hot-swap", "source", "serial", "adaptive"] {
        assert!(lines.contains(&name), "{name}: {text}");
    }
}
