//! What a device flags is in the host's log exactly once: the real programs over lines that do their
//! worst.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tests::delivery::{
    BAUD, assert_complete, delivered, device, kill, monitor, rows, text, truth, wait_for_rows,
};
use tests::faults::{Faults, FaultyLine, Random};
use tests::line::SerialLine;
use tests::programs::{Running, command};

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
        // Long beside the tenth of a second that it takes: other tests and builds have the processors, too.
        let deadline = Instant::now() + Duration::from_secs(30);
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

/// A line with a will of its own: it stalls, carries rubbish for a while as between ends of different
/// speeds, and after a reconnection brings what was left of before.
#[test]
fn a_line_that_stalls_speaks_nonsense_and_repeats_the_past_delivers_all() {
    const FRAMES: &str = "400";
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = folder.path().join("log.jsonl");
    let mut line = SerialLine::clean();
    let monitor = monitor(&line.host(), &log);
    let running = device(
        &line.device(),
        &["--limit", FRAMES, "--fps", "100", "--linger", "45"],
    );
    wait_for_rows(&log, 3);
    let past = Arc::new(Mutex::new(Vec::new()));
    for turn in 0..3 {
        line.unplug();
        let (past, mut random) = (Arc::clone(&past), Random(turn));
        let total = Arc::new(AtomicUsize::new(0));
        let carried = Arc::clone(&total);
        let mut is_first = true;
        line.plug(move |bytes| {
            let mut past = past.lock().expect("no panic");
            let before = if is_first { past.clone() } else { Vec::new() };
            is_first = false;
            past.extend(bytes);
            let surplus = past.len().saturating_sub(700);
            past.drain(..surplus);
            let begin = carried.fetch_add(bytes.len(), Ordering::Relaxed);
            let end = begin + bytes.len();
            // Nothing goes either way meanwhile.
            if begin < 4_000 && end >= 4_000 {
                std::thread::sleep(Duration::from_millis(1_200));
            }
            let mut out = before;
            for &byte in bytes {
                if (8_000..16_000).contains(&end) {
                    out.extend([random.next() as u8, random.next() as u8]);
                } else {
                    out.push(byte);
                }
            }
            out
        });
        let deadline = Instant::now() + Duration::from_secs(30);
        while total.load(Ordering::Relaxed) < 20_000 {
            assert!(Instant::now() < deadline, "too little is said");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    let (code, _, err) = running.end();
    assert_eq!(code, Some(0), "{err}");
    kill(monitor);
    let reports = delivered(&log);
    assert_complete(&reports);
    assert_eq!(reports.len(), truth(FRAMES).len());
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
