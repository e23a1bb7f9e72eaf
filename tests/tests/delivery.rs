//! What a device flags is in the host's log exactly once: the real programs over lines that spoil what
//! they carry, ends that are killed, and disks that are full.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use device::outbox::{Options, Outbox};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::faults::{Faults, FaultyLine, Random};
use tests::line::SerialLine;
use tests::log::{assert_complete, delivered, rows};
use tests::model;
use tests::programs::{Running, command, fail, succeed};

/// Flags most digits, but not all.
const LIMIT: &str = "--max-mutual-information=0.002";
/// As fast as lines get: tests are not to wait for bytes.
const BAUD: &str = "3000000";

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn device(line: &Path, extra: &[&str]) -> Running {
    let model = model::trained();
    let mut args = vec!["run", "--model", text(&model), "--passes", "8", LIMIT];
    args.extend(["--baud", BAUD, "--source", "mnist:test"]);
    args.extend(["--serial", text(line)]);
    args.extend(extra);
    Running::start(command("device", args).stderr(Stdio::piped()))
}

fn monitor(line: &Path, log: &Path) -> Running {
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

fn kill(mut program: Running) {
    kill_process(Pid::from_child(program.child()), Signal::KILL).expect("it runs");
    let _ = program.child().wait();
}

/// What the same frames give without a line.
fn truth(limit: &str) -> BTreeMap<u64, Value> {
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

fn wait_for_rows(log: &Path, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while rows(log).len() < count {
        assert!(Instant::now() < deadline, "{} rows", rows(log).len());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_line_that_spoils_a_byte_of_a_hundred_delivers_all() {
    const FRAMES: &str = "150";
    let truth = truth(FRAMES);
    assert!(truth.len() > 50, "{} of {FRAMES} are flagged", truth.len());
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = folder.path().join("log.jsonl");
    let mut there = FaultyLine::new(Faults::ONE_IN_A_HUNDRED, 1);
    let mut back = FaultyLine::new(Faults::ONE_IN_A_HUNDRED, 2);
    let line = SerialLine::disturbed_both_ways(
        move |bytes| there.carry(bytes),
        move |bytes| back.carry(bytes),
    );
    let monitor = monitor(&line.host(), &log);
    let device = device(
        &line.device(),
        &["--limit", FRAMES, "--linger", "45", "--thumbnails", "none"],
    );
    let (code, _, err) = device.end();
    assert_eq!(code, Some(0), "all is acknowledged: {err}");
    kill(monitor);
    let reports = delivered(&log);
    assert_complete(&reports);
    let frames: BTreeSet<u64> = reports
        .values()
        .map(|row| row["frame"].as_u64().expect("a number"))
        .collect();
    assert_eq!(frames, truth.keys().copied().collect());
    for row in reports.values() {
        let sent = &truth[&row["frame"].as_u64().expect("a number")];
        for field in [
            "class",
            "confidence",
            "predictive_entropy",
            "causes",
            "image",
        ] {
            assert_eq!(row[field], sent[field], "{field} of {row}");
        }
    }
}

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
fn a_line_that_is_pulled_out_again_and_again_delivers_all() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = folder.path().join("log.jsonl");
    let mut line = SerialLine::clean();
    let monitor = monitor(&line.host(), &log);
    let running = device(
        &line.device(),
        &["--limit", "200", "--fps", "100", "--linger", "30"],
    );
    wait_for_rows(&log, 3);
    let mut random = Random(5);
    for _ in 0..5 {
        line.unplug();
        std::thread::sleep(Duration::from_millis(random.next() % 200));
        line.plug(<[u8]>::to_vec);
        std::thread::sleep(Duration::from_millis(100 + random.next() % 200));
    }
    let (code, _, err) = running.end();
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("is back"), "{err}");
    kill(monitor);
    assert_complete(&delivered(&log));
    assert_eq!(delivered(&log).len(), truth("200").len());
}

fn is_running(program: &mut Running) -> bool {
    program
        .child()
        .try_wait()
        .expect("it was started")
        .is_none()
}

/// The line breaks off after every single byte of a message, in turn, until there are no more reports. It
/// takes half a minute, for a device that has lost its line waits for a tenth of a second each time.
#[test]
fn a_line_that_breaks_off_at_any_byte_delivers_all() {
    const FRAMES: &str = "110";
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = folder.path().join("log.jsonl");
    let both = Arc::new([const { AtomicBool::new(false) }; 2]);
    let [device_there, host_there] = [0, 1].map(|end| {
        let both = Arc::clone(&both);
        move |_: &[u8]| {
            both[end].store(true, Ordering::Relaxed);
            Vec::new()
        }
    });
    let mut line = SerialLine::disturbed_both_ways(device_there, host_there);
    let _monitor = monitor(&line.host(), &log);
    let mut running = device(
        &line.device(),
        &["--limit", FRAMES, "--linger", "60", "--thumbnails", "none"],
    );
    while !both.iter().all(|end| end.load(Ordering::Relaxed)) {
        assert!(is_running(&mut running), "the device ended");
        std::thread::sleep(Duration::from_millis(2));
    }
    line.unplug();
    let mut place = 0;
    let began = Instant::now();
    while is_running(&mut running) {
        let broken = Arc::new(AtomicBool::new(false));
        let breaks = Arc::clone(&broken);
        let (mut messages, mut left) = (0, place);
        line.plug(move |bytes| {
            // The first is the greeting.
            let whole = |byte: &&u8| {
                let passes = messages < 2 || left > 0;
                left -= usize::from(messages >= 2 && left > 0);
                messages += usize::from(**byte == 0);
                passes
            };
            let out: Vec<u8> = bytes.iter().take_while(whole).copied().collect();
            if out.len() < bytes.len() {
                breaks.store(true, Ordering::Relaxed);
            }
            out
        });
        let deadline = Instant::now() + Duration::from_secs(5);
        while !broken.load(Ordering::Relaxed) && is_running(&mut running) {
            if Instant::now() > deadline {
                kill_process(Pid::from_child(running.child()), Signal::KILL).expect("it runs");
                let (_, _, err) = running.end();
                panic!("nothing comes at byte {place}: {err}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        line.unplug();
        place += 1;
    }
    let (code, _, err) = running.end();
    assert_eq!(code, Some(0), "{err}");
    println!("{place} times in {:.1} s", began.elapsed().as_secs_f64());
    assert!(place > 110, "only {place} times");
    assert_complete(&delivered(&log));
    assert_eq!(delivered(&log).len(), truth(FRAMES).len());
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

/// With a key, only who has it is heard; without, a sealed line is told.
#[test]
fn a_sealed_line_carries_what_its_ends_say_and_nothing_else() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (key, other) = (folder.path().join("key"), folder.path().join("other"));
    fs::write(&key, "5a".repeat(32)).expect("written");
    fs::write(&other, "5b".repeat(32)).expect("written");
    let log = folder.path().join("log.jsonl");
    let mut there = FaultyLine::new(Faults::ONE_IN_A_HUNDRED, 6);
    let line = SerialLine::disturbed(move |bytes| there.carry(bytes));
    let host = line.host();
    let listen = |key: &[&str], log: &Path| {
        let mut args = vec!["monitor", text(&host), "--baud", BAUD, "--json", "--log"];
        args.push(text(log));
        args.extend(key);
        Running::start(
            command("host", args)
                .stdout(Stdio::null())
                .stderr(Stdio::piped()),
        )
    };
    let frames = ["--limit", "60", "--linger", "2", "--thumbnails", "none"];
    let sealed = [&frames[..], &["--key", text(&key)]].concat();
    for (key, words) in [
        (
            &["--key", text(&other)][..],
            "do both ends have the same --key?",
        ),
        (&[], "sealed: this side needs the other's --key"),
    ] {
        let strange = folder.path().join("strange.jsonl");
        let mut monitor = listen(key, &strange);
        let (code, _, err) = device(&line.device(), &sealed).end();
        assert_eq!(code, Some(1), "{err}");
        kill_process(Pid::from_child(monitor.child()), Signal::INT).expect("it runs");
        let (_, _, err) = monitor.end();
        assert!(err.contains(words), "{err}");
        assert_eq!(rows(&strange).len(), 0);
    }
    let monitor = listen(&["--key", text(&key)], &log);
    let patient = ["--limit", "60", "--linger", "40", "--thumbnails", "none"];
    let sealed = [&patient[..], &["--key", text(&key)]].concat();
    let (code, _, err) = device(&line.device(), &sealed).end();
    assert_eq!(code, Some(0), "{err}");
    // A device that starts anew is met anew.
    let (code, _, err) = device(&line.device(), &sealed).end();
    assert_eq!(code, Some(0), "{err}");
    kill(monitor);
    let reports = delivered(&log);
    assert_complete(&reports);
    assert_eq!(reports.len(), 2 * truth("60").len());
}
