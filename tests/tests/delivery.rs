//! What a device flags is in the host's log exactly once, though ends are killed and disks are full.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use device::outbox::{Options, Outbox};
use tests::delivery::{
    BAUD, LIMIT, assert_complete, delivered, device, kill, monitor, rows, text, truth,
};
use tests::faults::Random;
use tests::line::SerialLine;
use tests::model;
use tests::programs::{Running, fail};

#[test]
fn a_device_that_is_killed_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (log, outbox) = (
        folder.path().join("log.jsonl"),
        folder.path().join("outbox"),
    );
    let line = SerialLine::clean();
    let monitor = monitor(&line.host(), &log);
    let mut random = Random(3);
    for _ in 0..6 {
        let device = device(&line.device(), &["--outbox", text(&outbox)]);
        std::thread::sleep(Duration::from_millis(150 + random.next() % 400));
        kill(device);
    }
    let last = device(
        &line.device(),
        &["--outbox", text(&outbox), "--limit", "5", "--linger", "30"],
    );
    let (code, _, err) = last.end();
    assert_eq!(code, Some(0), "{err}");
    kill(monitor);
    let reports = delivered(&log);
    assert_complete(&reports);
    let epochs: BTreeSet<_> = reports.keys().map(|(epoch, _)| epoch).collect();
    assert!(epochs.len() > 3, "{epochs:?}");
    assert!(reports.len() > 20, "{} reports", reports.len());
    let options = Options {
        folder: Some(outbox),
        limit: 1 << 20,
        sync: Duration::ZERO,
        timeout: Duration::from_secs(1),
    };
    let left = Outbox::open(&options, 1).expect("it is free");
    assert!(left.is_empty(), "{:?}", left.found());
}

#[test]
fn a_host_that_is_killed_finds_its_log_and_goes_on() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = folder.path().join("log.jsonl");
    let line = SerialLine::clean();
    let truth = truth("300");
    let running = device(
        &line.device(),
        &["--limit", "300", "--fps", "100", "--linger", "30"],
    );
    let mut random = Random(4);
    for _ in 0..6 {
        let monitor = monitor(&line.host(), &log);
        std::thread::sleep(Duration::from_millis(150 + random.next() % 300));
        kill(monitor);
    }
    let last = monitor(&line.host(), &log);
    let (code, _, err) = running.end();
    assert_eq!(code, Some(0), "{err}");
    kill(last);
    let reports = delivered(&log);
    assert_complete(&reports);
    assert_eq!(reports.len(), truth.len());
}

#[test]
fn what_nobody_acknowledges_is_an_error_or_waits_in_the_outbox() {
    let line = SerialLine::clean();
    let quick = ["--limit", "20", "--linger", "1"];
    let (code, _, err) = device(&line.device(), &quick).end();
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("were not acknowledged and are lost"), "{err}");
    let folder = tempfile::tempdir().expect("temporary folder");
    let kept = [&quick[..], &["--outbox", text(folder.path())]].concat();
    let (code, _, err) = device(&line.device(), &kept).end();
    assert_eq!(code, Some(0), "{err}");
    assert!(
        err.contains("wait in the outbox for the next start"),
        "{err}"
    );
    // A line without a way back: nothing is promised, and nothing waited for.
    let (code, _, err) = device(&line.device(), &["--limit", "20", "--delivery", "once"]).end();
    assert_eq!(code, Some(0), "{err}");
}

#[test]
fn wrong_places_are_told() {
    let model = model::trained();
    let run = |extra: &[&str], words: &[&str]| {
        let mut args = vec![
            "run",
            "--model",
            text(&model),
            "--passes",
            "2",
            "--limit",
            "1",
        ];
        args.extend(extra);
        fail("device", args, words);
    };
    let line = SerialLine::clean();
    let port = line.device();
    let serial = ["--serial", text(&port)];
    run(
        &[serial[0], serial[1], "--outbox", "/proc/outbox"],
        &["cannot keep reports in /proc/outbox"],
    );
    run(
        &["--delivery", "acknowledged"],
        &["nobody acknowledges what is written to stdout"],
    );
    let host = line.host();
    fail(
        "host",
        ["monitor", text(&host), "--log", "/proc/log.jsonl"],
        &["cannot keep the log /proc/log.jsonl"],
    );
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = folder.path().join("log.jsonl");
    let _first = monitor(&host, &log);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !log.exists() {
        assert!(Instant::now() < deadline, "no log");
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(100));
    fail(
        "host",
        ["monitor", "-", "--log", text(&log)],
        &["is being written by another program"],
    );
}

/// A disk of 64 KiB fills up while the host is away: the device says so, goes on, and what it could
/// keep arrives.
#[test]
fn a_full_disk_is_told_and_survived() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (log, disk) = (folder.path().join("log.jsonl"), folder.path().join("disk"));
    fs::create_dir(&disk).expect("made");
    let line = SerialLine::clean();
    let model = model::trained();
    let device = tests::programs::path("device");
    let script = format!(
        "mount -t tmpfs -o size=64k none {disk} && exec {device} run --model {model} --passes 2 {LIMIT} --baud {BAUD} \
         --source mnist:test --limit 2500 --serial {port} --outbox {disk}/outbox --linger 50 --thumbnails none",
        disk = text(&disk),
        device = text(&device),
        model = text(&model),
        port = text(&line.device()),
    );
    let mut unshared = std::process::Command::new("unshare");
    let running = Running::start(
        unshared
            .args(["--map-root-user", "--mount", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stderr(Stdio::piped()),
    );
    std::thread::sleep(Duration::from_secs(4));
    let monitor = monitor(&line.host(), &log);
    let (code, _, err) = running.end();
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("cannot write the outbox"), "{err}");
    kill(monitor);
    assert_complete(&delivered(&log));
    let told = rows(&log)
        .iter()
        .any(|row| row["notice"]["code"] == "outbox_failed");
    assert!(told, "the host was told");
}
