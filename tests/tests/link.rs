//! From the device's decision to the host's log, over pseudo-terminals.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use shared::wire::delivery::DeliveryStatistics;
use shared::wire::link::{Sender, WireFormat};
use shared::wire::message::{LineStatistics, Message, Notice, NoticeCode, Statistics, shortened};
use tests::line::SerialLine;
use tests::model;
use tests::programs::{Running, command, fail, run, succeed};

const PASSES: &str = "8";

fn device(line: &Path, extra: &[&str]) -> Running {
    let model = model::trained();
    let mut args = vec![
        "run",
        "--model",
        model.to_str().expect("a plain path"),
        "--passes",
        PASSES,
    ];
    args.extend(["--serial", line.to_str().expect("a plain path")]);
    args.extend(extra);
    Running::start(command("device", args).stderr(Stdio::piped()))
}

fn monitor(line: &Path, extra: &[&str]) -> Running {
    let mut args = vec!["monitor", line.to_str().expect("a plain path")];
    args.extend(extra);
    Running::start(
        command("host", args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    )
}

fn signal(program: &mut Running, signal: Signal) {
    kill_process(Pid::from_child(program.child()), signal).expect("the process is alive");
}

fn records(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect("every line is a JSON object"))
        .collect()
}

fn both_forms(wire: &str) {
    let line = SerialLine::clean();
    let monitor = monitor(&line.host(), &["--until-last"]);
    let device = device(
        &line.device(),
        &["--source", "mnist:test", "--limit", "40", "--wire", wire],
    );
    assert_eq!(device.end().0, Some(0));
    let (code, out, err) = monitor.end();
    assert_eq!(code, Some(0), "{err}");
    let mut records = records(&out);
    assert_eq!(records.len(), 40, "{err}");
    // Flagged ones overtake others on a binary line.
    records.sort_by_key(|record| record["frame"].as_u64());
    for (number, record) in records.iter().enumerate() {
        assert_eq!(record["frame"], number);
        assert_eq!(record["passes"], 8);
        let flagged = !record["causes"].as_array().expect("a list").is_empty();
        assert_eq!(record["verdict"], if flagged { "flag" } else { "accept" });
        let nats = |name: &str| record[name].as_f64().expect("a number");
        let (total, aleatoric, epistemic) = (
            nats("predictive_entropy"),
            nats("expected_entropy"),
            nats("mutual_information"),
        );
        assert!((total - aleatoric - epistemic).abs() < 1e-3, "{record}");
        assert!(
            (0.0..=1.0).contains(&nats("confidence"))
                && (0.0..1.0).contains(&nats("variation_ratio"))
        );
        assert_eq!(
            (&record["lost"], &record["corrupt"]),
            (&0.into(), &0.into())
        );
    }
    assert!(err.contains("40"), "the summary counts the frames: {err}");
}

#[test]
fn reports_arrive_whole_in_binary() {
    both_forms("binary");
}

#[test]
fn reports_arrive_whole_in_text() {
    both_forms("text");
}

/// The same frames, over a line that flips a bit in every 400th byte: what arrives is what was
/// sent, and what does not arrive is counted.
#[test]
fn a_noisy_line_loses_reports_but_never_alters_one() {
    let args = [
        "--source",
        "mnist:test",
        "--limit",
        "60",
        "--wire",
        "binary",
    ];
    let folder = tempfile::tempdir().expect("temporary folder");
    let clean = folder.path().join("clean.capture");
    let recorded = device(Path::new(&format!("file:{}", clean.display())), &args).end();
    assert_eq!(recorded.0, Some(0), "{}", recorded.2);
    let truth = records(&succeed(
        "host",
        ["monitor", clean.to_str().expect("a plain path")],
    ));
    assert_eq!(truth.len(), 60);

    let mut count = 0_usize;
    let line = SerialLine::disturbed(move |bytes| {
        bytes
            .iter()
            .map(|byte| {
                count += 1;
                // Not in the first messages: the monitor has to hear who speaks, and the goodbye.
                if count.is_multiple_of(400) && count < 4_000 {
                    byte ^ 0x10
                } else {
                    *byte
                }
            })
            .collect()
    });
    let monitor = monitor(&line.host(), &["--until-last"]);
    assert_eq!(device(&line.device(), &args).end().0, Some(0));
    let (code, out, err) = monitor.end();
    assert_eq!(code, Some(0), "{err}");
    let received = records(&out);
    assert!(
        received.len() < 60 && received.len() > 30,
        "{} of 60 arrived",
        received.len()
    );
    for record in &received {
        let sent =
            &truth[usize::try_from(record["frame"].as_u64().expect("a number")).expect("small")];
        for field in [
            "class",
            "confidence",
            "predictive_entropy",
            "mutual_information",
            "causes",
        ] {
            assert_eq!(
                record[field], sent[field],
                "{field} of frame {}",
                record["frame"]
            );
        }
    }
    let last = received.last().expect("something arrived");
    assert!(last["corrupt"].as_u64() > Some(0));
    assert!(
        last["lost"].as_u64() >= Some(60 - received.len() as u64),
        "{last}"
    );
}

#[test]
fn the_monitor_survives_unplugging() {
    let mut line = SerialLine::clean();
    let mut monitor = monitor(&line.host(), &["--until-last"]);
    let mut out = BufReader::new(monitor.child().stdout.take().expect("piped"));
    let run = ["--source", "mnist:test", "--limit", "12", "--fps", "8"];
    let device = device(&line.device(), &run);
    let mut row = String::new();
    out.read_line(&mut row).expect("a report before unplugging");
    line.unplug();
    std::thread::sleep(Duration::from_millis(300));
    line.plug(<[u8]>::to_vec);
    let mut rest = String::new();
    out.read_to_string(&mut rest)
        .expect("the monitor ends with the device's goodbye");
    let (code, _, err) = device.end();
    assert_eq!(code, Some(0), "{err}");
    assert!(
        err.contains("hung up") && err.contains("is back"),
        "a device whose line is gone says so, and waits: {err}"
    );
    let (code, _, err) = monitor.end();
    assert_eq!(code, Some(0), "{err}");
    assert!(
        err.contains("waiting for it to come back") && err.contains("is here"),
        "{err}"
    );
    let last = records(&rest)
        .iter()
        .filter_map(|record| record["frame"].as_u64())
        .max();
    assert_eq!(last, Some(11), "{rest}");
}

#[test]
fn signals_end_the_device_with_a_goodbye() {
    for number in [Signal::INT, Signal::TERM] {
        let folder = tempfile::tempdir().expect("temporary folder");
        let capture = folder.path().join("link.capture");
        let mut child = device(
            &PathBuf::from(format!("file:{}", capture.display())),
            &["--source", "mnist:test", "--fps", "20"],
        );
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::fs::metadata(&capture).map_or(0, |file| file.len()) < 2_000 {
            assert!(Instant::now() < deadline, "no reports");
            std::thread::sleep(Duration::from_millis(20));
        }
        signal(&mut child, number);
        let (code, _, err) = child.end();
        assert_eq!(code, Some(0), "{err}");
        let summary = folder.path().join("summary.json");
        succeed(
            "host",
            [
                "monitor",
                capture.to_str().expect("plain"),
                "--summary",
                summary.to_str().expect("plain"),
            ],
        );
        let summary: Value =
            serde_json::from_slice(&std::fs::read(summary).expect("written")).expect("JSON");
        assert_eq!(summary["complete"], true, "{summary}");
        assert!(summary["frames"].as_u64() > Some(0), "{summary}");
    }
}

#[test]
fn a_pipe_of_raw_frames_is_judged() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let stream = folder.path().join("stream.gray");
    std::fs::write(&stream, vec![128; 64 * 48 * 3 + 10]).expect("written");
    let model = model::trained();
    let source = format!("raw:64x48:{}", stream.display());
    // Three whole frames, then a half one, which is an error after three reports.
    let line = fail(
        "device",
        [
            "run",
            "--model",
            model.to_str().expect("plain"),
            "--passes",
            PASSES,
            "--source",
            &source,
        ],
        &["ended inside a frame", "10 of 3072"],
    );
    assert!(!line.is_empty());
}

#[test]
fn the_same_frames_replayed_give_the_same_bytes() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let reports = |name: &str| {
        let capture = folder.path().join(name);
        let child = device(
            &PathBuf::from(format!("file:{}", capture.display())),
            &["--source", "mnist:test", "--limit", "20"],
        );
        assert_eq!(child.end().0, Some(0));
        let mut records = records(&succeed(
            "host",
            ["monitor", capture.to_str().expect("plain")],
        ));
        for record in &mut records {
            // Times differ; nothing else may.
            for field in ["captured_us", "latency_us"] {
                record.as_object_mut().expect("an object").remove(field);
            }
        }
        records
    };
    assert_eq!(reports("first"), reports("second"));
}

/// What a board tells besides reports: in words, as JSON, and in the summary.
#[test]
fn notices_and_what_the_device_received_are_told() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let notice = |code, detail, text| {
        Message::Notice(Notice {
            code,
            detail,
            text: shortened(text),
        })
    };
    let messages = [
        notice(NoticeCode::PlanChecksum, 0, ""),
        notice(NoticeCode::Panicked, 0, "src/judge.rs:7: no"),
        notice(NoticeCode::PlanChecksum, 0, ""),
        notice(NoticeCode::FrameIncomplete, 12, ""),
        Message::Statistics(Statistics {
            frames: 0,
            accepted: 0,
            flagged: 0,
            by_cause: [0; 9],
            failed: 0,
            line: LineStatistics {
                received: 41,
                corrupt: 2,
                lost: 3,
                overruns: 5,
            },
            delivery: DeliveryStatistics::default(),
            stack_free: 1_280,
            uptime_us: 1,
            last: true,
        }),
    ];
    for format in [WireFormat::Binary, WireFormat::Text] {
        let capture = folder.path().join("notices.capture");
        let mut sender = Sender::new(
            embedded_io_adapters::std::FromStd::new(
                std::fs::File::create(&capture).expect("created"),
            ),
            format,
        );
        for message in &messages {
            sender.send(message).expect("written");
        }
        let summary = folder.path().join("summary.json");
        let args = [
            "monitor",
            capture.to_str().expect("plain"),
            "--summary",
            summary.to_str().expect("plain"),
        ];
        let output = run("host", args);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{err}");
        let told = records(&String::from_utf8_lossy(&output.stdout));
        let codes: Vec<_> = told.iter().map(|told| &told["notice"]["code"]).collect();
        assert_eq!(
            codes,
            [
                "plan_checksum",
                "panicked",
                "plan_checksum",
                "frame_incomplete"
            ]
        );
        assert_eq!(told[1]["notice"]["text"], "src/judge.rs:7: no");
        assert_eq!(told[3]["notice"]["detail"], 12);
        for words in [
            "ERROR the board's plan is damaged: flash it again",
            "WARN parts of frame 12 did not reach the board",
            "ERROR       plan_checksum × 2",
            "ERROR       panicked × 1",
            "notice      frame_incomplete × 1",
            "to device   41 requests received, 3 lost, 2 corrupt, 5 bytes overrun",
            "stack       1280 bytes never used",
        ] {
            assert!(err.contains(words), "'{words}' is missing in: {err}");
        }
        let summary: Value =
            serde_json::from_slice(&std::fs::read(&summary).expect("written")).expect("JSON");
        assert_eq!(summary["failures"], 3);
        assert_eq!(summary["notices"]["frame_incomplete"], 1);
        assert_eq!(summary["requests"]["overruns"], 5);
        assert_eq!(summary["stack_free"], 1_280);

        let rows = run("host", ["monitor", args[1], "--table"]);
        let out = String::from_utf8_lossy(&rows.stdout);
        assert!(
            !out.contains('{') && out.contains("ERROR       panicked"),
            "{out}"
        );
    }
}
