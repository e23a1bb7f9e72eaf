//! What a device has flagged outlasts the power, on a machine in QEMU with a file system on a disk: the
//! machine is switched off without notice, the clock is set, and the disk becomes read-only.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shared::wire::Packet;
use shared::wire::link::{Receiver, WireFormat};
use shared::wire::message::Message;
use tests::delivery::{assert_complete, delivered, rows};
use tests::guest::{Guest, Processor};
use tests::line::SerialLine;
use tests::model;
use tests::programs::{Running, command};

/// How long anything may take: emulated machines are slow, and not alone.
const PATIENCE: Duration = Duration::from_mins(1);
/// Frames in the guest's memory; more than are judged in a run.
const FRAMES: usize = 2000;

/// Flags almost every frame.
const RUN: &str = "run --model /model.onnx --passes 4 --max-mutual-information=0.0001 \
    --source raw:28x28:/frames --thumbnails none --outbox /disk/outbox";

/// Flagged reports that were seen on the line, by epoch and number.
type Seen = Arc<Mutex<BTreeSet<(String, u64)>>>;

/// A line that nobody answers on, and what is seen on it. A report is sent when it is safe, so all of
/// these are owed to the host.
fn watched(seen: &Seen) -> SerialLine {
    let seen = Arc::clone(seen);
    let mut receiver = Receiver::new(WireFormat::Binary);
    SerialLine::disturbed_both_ways(
        move |bytes| {
            for byte in bytes {
                if let Some(Ok(Packet {
                    message: Message::Report(report),
                    ..
                })) = receiver.push(*byte)
                    && let Some(ticket) = report.ticket
                {
                    let key = (format!("{:016x}", ticket.epoch), ticket.number.into());
                    seen.lock().expect("no panic").insert(key);
                }
            }
            Vec::new()
        },
        |_| Vec::new(),
    )
}

#[track_caller]
fn wait_until(guest: &mut Guest, what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        let is_late = Instant::now() > deadline;
        assert!(!is_late, "no {what}: {}", guest.run("cat /tmp/log"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Begins to judge frames in the guest.
fn start(guest: &mut Guest, options: &str) {
    guest.run(&format!(
        "device {RUN} --serial {} {options} >/tmp/log 2>&1 & echo $! >/tmp/device",
        Processor::X86_64.port()
    ));
}

/// Waits until the device has ended, with all that it flagged acknowledged.
#[track_caller]
fn end(guest: &mut Guest) -> String {
    guest.run("wait $(cat /tmp/device) || { cat /tmp/log; false; }");
    guest.run("cat /tmp/log")
}

#[test]
fn what_was_flagged_outlasts_the_power() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (disk, log) = (folder.path().join("disk"), folder.path().join("log.jsonl"));
    fs::copy(Guest::empty_disk(Processor::X86_64), &disk).expect("copied");
    let data = device::source::cache_folder().expect("a home folder");
    let set = device::source::Labelled::open(&data.join("data/mnist"), false);
    let set = set.expect("scripts/setup has got it");
    let frames: Vec<u8> = (0..FRAMES)
        .flat_map(|index| set.images.item(index).expect("10,000 digits"))
        .copied()
        .collect();
    let files = [
        ("frames", frames),
        ("model.onnx", fs::read(model::trained()).expect("the model")),
    ];
    let boot = |line: &Path| Guest::boot_with_disk(Processor::X86_64, &files, line, &disk);

    // Switched off in the middle, once simply, and once after the clock has been set.
    let mut seen = BTreeSet::new();
    for number in 0..2 {
        let seen_now = Seen::default();
        let line = watched(&seen_now);
        let mut guest = boot(&line.device());
        start(&mut guest, "");
        // Not many: to a host that does not answer no more than a window is sent, then the oldest alone.
        wait_until(&mut guest, "reports on the line", || {
            seen_now.lock().expect("no panic").len() > 10
        });
        if number == 1 {
            for date in ["2037-12-31 23:59:59", "1999-01-01 00:00:00"] {
                guest.run(&format!("date -s '{date}' && sleep 1"));
            }
            guest.run("kill -0 $(cat /tmp/device)");
        }
        drop(guest);
        seen.append(&mut seen_now.lock().expect("no panic"));
    }

    let line = SerialLine::clean();
    let mut guest = boot(&line.device());
    let host = line.host();
    let args = ["monitor", text(&host), "--json", "--log", text(&log)];
    let _monitor = Running::start(
        command("host", args)
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    );
    start(&mut guest, "--limit 50 --linger 50");
    let said = end(&mut guest);
    let reports = delivered(&log);
    assert_complete(&reports);
    let epochs: BTreeSet<_> = reports.keys().map(|(epoch, _)| epoch.clone()).collect();
    assert_eq!(epochs.len(), 3, "{said}");
    let missing: Vec<_> = seen
        .iter()
        .filter(|key| !reports.contains_key(key))
        .collect();
    assert!(missing.is_empty(), "{} were seen: {missing:?}", seen.len());
    eprintln!(
        "{} flagged reports arrived, {} of which had been seen before the power was cut",
        reports.len(),
        seen.len()
    );

    // An error of the file system makes it read-only: that is told.
    start(&mut guest, "--limit 200 --fps 50 --linger 50");
    let before = reports.len();
    wait_until(&mut guest, "more in the log", || {
        delivered(&log).len() > before + 10
    });
    guest.run("echo failure >/sys/fs/ext4/vda/trigger_fs_error; ! touch /disk/any");
    let said = end(&mut guest);
    assert!(said.contains("cannot write the outbox"), "{said}");
    let (code, said_now) = guest.try_run(&format!("device {RUN} --serial /dev/ttyS1 2>&1"));
    assert_eq!(code, 1, "{said_now}");
    assert!(
        said_now.contains("cannot keep reports in /disk/outbox"),
        "{said_now}"
    );
    assert_complete(&delivered(&log));
    let told = |row: &serde_json::Value| row["notice"]["code"] == "outbox_failed";
    assert!(rows(&log).iter().any(told), "{said}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}
