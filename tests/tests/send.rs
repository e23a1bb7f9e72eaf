//! Frames sent to a board without a camera, and its answers, over pseudo-terminals.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use shared::wire::link::WireFormat;
use shared::wire::message::{Message, NoticeCode};
use shared::wire::seal::Key;
use tests::board::{Board, PASSES, notice};
use tests::colour::{picture, write_model};
use tests::line::SerialLine;
use tests::model;
use tests::programs::{Running, command, fail, run, succeed};

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// An honest board on `line`.
fn board(line: &SerialLine, format: WireFormat) -> Board {
    Board::start(&line.device(), &model::trained(), format, Some)
}

/// What came of `host send`: its exit code, its JSON lines, its summary and its standard error.
struct Sent {
    code: Option<i32>,
    records: Vec<Value>,
    summary: Value,
    err: String,
}

fn send(line: &SerialLine, extra: &[&str]) -> Sent {
    let folder = tempfile::tempdir().expect("temporary folder");
    let summary = folder.path().join("summary.json");
    let host = line.host();
    let mut args = vec!["send", text(&host), "--json", "--summary", text(&summary)];
    args.extend(extra);
    let Output {
        status,
        stdout,
        stderr,
    } = run("host", args);
    let err = String::from_utf8_lossy(&stderr).into_owned();
    let records = String::from_utf8_lossy(&stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("every line is a JSON object"))
        .collect();
    let summary = std::fs::read(summary).unwrap_or_else(|_| panic!("no summary: {err}"));
    Sent {
        code: status.code(),
        records,
        summary: serde_json::from_slice(&summary).expect("JSON"),
        err,
    }
}

/// Numbers of the frames reported, which are all of the lines that are no notice.
fn frames(sent: &Sent) -> Vec<u64> {
    let reports = sent
        .records
        .iter()
        .filter(|record| record.get("notice").is_none());
    reports
        .map(|record| record["frame"].as_u64().expect("a number"))
        .collect()
}

#[test]
fn every_frame_is_answered_as_on_this_machine() {
    let model = model::trained();
    for format in [WireFormat::Binary, WireFormat::Text] {
        let line = SerialLine::clean();
        let _board = board(&line, format);
        let sent = send(&line, &["--limit", "30", "--check", text(&model)]);
        assert_eq!(sent.code, Some(0), "{}", sent.err);
        assert_eq!(frames(&sent), (0..30).collect::<Vec<u64>>());
        for record in &sent.records {
            assert_eq!(record["passes"], PASSES);
            assert_eq!(record["label"].as_str().map(str::len), Some(1));
        }
        let summary = &sent.summary;
        let exchange = &summary["exchange"];
        for (field, count) in [
            ("sent", 30),
            ("answered", 30),
            ("unanswered", 0),
            ("refused", 0),
            ("resends", 0),
            // Seven parts a frame, a greeting before and one after.
            ("requests", 30 * 7 + 2),
        ] {
            assert_eq!(exchange[field], count, "{field}");
        }
        assert!(
            exchange["round_trip_median_ms"].as_f64() > Some(0.0)
                && exchange["round_trip_p95_ms"].as_f64()
                    >= exchange["round_trip_median_ms"].as_f64()
        );
        // Both directions of the line.
        assert_eq!(summary["requests"]["received"], 30 * 7 + 2);
        assert_eq!(summary["requests"]["lost"], 0);
        assert_eq!(summary["link"]["lost"], 0);
        assert_eq!(summary["stack_free"], 2_048);
        // The data set has labels.
        assert!(summary["accuracy_among_all"].as_f64() > Some(0.6));
        let agreement = &summary["agreement"];
        assert_eq!(
            (&agreement["frames"], &agreement["differing"]),
            (&30.into(), &0.into())
        );
        // A text line carries four digits.
        let bound = if format == WireFormat::Text {
            1e-4
        } else {
            1e-6
        };
        for measure in [
            "predictive_entropy",
            "expected_entropy",
            "mutual_information",
        ] {
            let largest = agreement[measure]["difference"].as_f64();
            assert!(largest < Some(bound), "{agreement}");
        }
    }
}

/// A board runs a plan, which is the better witness; the model that it was made from is another
/// engine's, and in eight bits another network's.
#[test]
fn a_board_with_a_plan_is_checked_against_the_plan() {
    let model = model::trained();
    let folder = tempfile::tempdir().expect("temporary folder");
    let plan = folder.path().join("model.int8.plan");
    let export = ["export", "--model", text(&model), "--firmware", "--format"];
    succeed(
        "host",
        export.into_iter().chain(["int8", "--out", text(&plan)]),
    );
    let line = SerialLine::clean();
    let _board = Board::start(&line.device(), &plan, WireFormat::Binary, Some);
    let sent = send(&line, &["--limit", "10", "--check", text(&plan)]);
    assert_eq!(sent.code, Some(0), "{}", sent.err);
    assert_eq!(
        sent.summary["agreement"]["predictive_entropy"]["difference"],
        0.0
    );
    let sent = send(&line, &["--limit", "10", "--check", text(&model)]);
    let agreement = &sent.summary["agreement"];
    assert_eq!(agreement["frames"], 10);
    assert!(agreement["predictive_entropy"]["difference"].as_f64() > Some(0.0));
}

/// Takes bytes away and flips bits, by a counter, `budget` times.
fn noise(every: usize, budget: usize) -> impl FnMut(&[u8]) -> Vec<u8> + Send + 'static {
    let (mut count, mut left) = (0, budget);
    move |bytes| {
        bytes
            .iter()
            .filter_map(|&byte| {
                count += 1;
                if left > 0 && count % every == 0 {
                    left -= 1;
                    // In turn: a bit, a byte.
                    return (left % 2 == 0).then_some(byte ^ 0x20);
                }
                Some(byte)
            })
            .collect()
    }
}

#[test]
fn a_noisy_line_costs_resends_but_no_answer() {
    let model = model::trained();
    // Late enough that the greeting arrives, and over before the totals are asked for.
    let line = SerialLine::disturbed_both_ways(noise(700, 6), noise(1_900, 8));
    let _board = board(&line, WireFormat::Binary);
    let args = ["--limit", "40", "--timeout", "0.5", "--check", text(&model)];
    let sent = send(&line, &args);
    assert_eq!(sent.code, Some(0), "{}", sent.err);
    // Each once, in order, and right: nothing that was damaged is ever believed.
    assert_eq!(frames(&sent), (0..40).collect::<Vec<u64>>());
    let summary = &sent.summary;
    assert_eq!(summary["exchange"]["answered"], 40);
    assert_eq!(summary["agreement"]["differing"], 0);
    let count = |value: &Value| value.as_u64().expect("a count");
    let resends = count(&summary["exchange"]["resends"]);
    assert!(resends > 0, "{summary}");
    let requests = &summary["requests"];
    assert!(count(&requests["corrupt"]) > 0 && count(&requests["lost"]) > 0);
    assert!(count(&summary["link"]["corrupt"]) > 0, "{summary}");
    // What was sent is what was received and what was lost.
    assert_eq!(
        count(&requests["received"]) + count(&requests["lost"]),
        count(&summary["exchange"]["requests"]),
        "{summary}"
    );
    // A frame that was sent again whole took all its parts again.
    assert_eq!(
        count(&summary["exchange"]["requests"]),
        2 + 7 * (40 + resends)
    );
}

#[test]
fn pictures_of_any_size_are_brought_to_the_models() {
    let folder = tempfile::tempdir().expect("temporary folder");
    for (index, (width, height)) in [(56, 56), (40, 61), (7, 5)].into_iter().enumerate() {
        let mut picture = format!("P5 {width} {height} 255\n").into_bytes();
        picture.extend((0..width * height).map(|at| (at * 31 / width) as u8));
        std::fs::write(folder.path().join(format!("{index}.pgm")), picture).expect("written");
    }
    // Unreadable: told, and the others go on under their own numbers.
    std::fs::write(folder.path().join("1a.png"), b"").expect("written");
    let model = model::trained();
    let line = SerialLine::clean();
    let _board = board(&line, WireFormat::Binary);
    let args = ["--source", text(folder.path()), "--check", text(&model)];
    let sent = send(&line, &args);
    assert_eq!(sent.code, Some(1), "{}", sent.err);
    assert_eq!(frames(&sent), [0, 1, 3]);
    assert!(sent.err.contains("1a.png"), "{}", sent.err);
    let last = sent.err.lines().last().expect("an error");
    assert_eq!(last, "error: 1 frames have no answer");
    assert_eq!(sent.summary["agreement"]["frames"], 3);
    assert_eq!(sent.summary["agreement"]["differing"], 0);
    assert_eq!(sent.summary["accuracy_among_all"], Value::Null);
}

/// Geometry and interpolation are the host's work, on a line of 8-bit pixels: what a board of a colour model
/// then says is what the device says of the same files.
#[test]
fn colours_are_sent_as_the_model_sees_them() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let pictures = folder.path().join("pictures");
    std::fs::create_dir(&pictures).expect("created");
    for (number, (width, height)) in [(40, 30), (33, 60), (32, 32)].into_iter().enumerate() {
        let path = pictures.join(format!("{number}.png"));
        picture(number, width, height).save(&path).expect("written");
    }
    let model = folder.path().join("model.onnx");
    for way in [
        r#""geometry":"stretch","interpolation":"bilinear""#,
        r#""geometry":{"short-side":40},"interpolation":"bicubic""#,
    ] {
        let values = r#""mean":[0.3,0.4,0.5],"standard_deviation":[0.2,0.3,0.25]"#;
        let entry = format!("{{\"channels\":\"bgr\",{way},{values}}}");
        write_model(&model, 3, 32, &entry);
        let line = SerialLine::clean();
        let _board = Board::start(&line.device(), &model, WireFormat::Binary, Some);
        let args = ["--source", text(&pictures), "--check", text(&model)];
        let sent = send(&line, &args);
        assert_eq!(sent.code, Some(0), "{}", sent.err);
        assert_eq!(sent.summary["agreement"]["differing"], 0);
        // Three bytes a pixel, 128 in a part; a greeting before and one after.
        assert_eq!(sent.summary["exchange"]["requests"], 3 * 24 + 2);
        let passes = PASSES.to_string();
        let run = ["run", "--model", text(&model), "--source", text(&pictures)];
        let rest = ["--passes", &passes, "--serial", "stdout"];
        let said = succeed("device", run.iter().chain(&rest));
        let reports = said.lines().filter(|line| line.starts_with("REPORT"));
        for (record, report) in sent.records.iter().zip(reports) {
            for score in ["confidence", "mutual_information", "sharpness", "mean"] {
                let value = record.get(score).unwrap_or(&record["image"][score]);
                let value = value.as_f64().expect("a number");
                let (_, told) = report.split_once(&format!(" {score}=")).expect("told");
                let told: f64 = told
                    .split(' ')
                    .next()
                    .unwrap_or(told)
                    .parse()
                    .expect("a number");
                assert!((value - told).abs() < 1e-4, "{score} {value}: {report}");
            }
        }
        assert_eq!(sent.records.len(), 3);
        // Fewer bytes, and coarser colours: answers agree with what is computed of the same pixels.
        let args = [&args[..], &["--pixel-format", "rgb565"]].concat();
        let sent = send(&line, &args);
        assert_eq!(sent.code, Some(0), "{}", sent.err);
        assert_eq!(sent.summary["agreement"]["differing"], 0);
        assert_eq!(sent.summary["exchange"]["requests"], 3 * 16 + 2);
    }
}

#[test]
fn answers_that_differ_are_found() {
    let model = model::trained();
    let line = SerialLine::clean();
    // Every frame is answered, three of them wrongly.
    let _board = Board::start(&line.device(), &model, WireFormat::Binary, |message| {
        Some(match message {
            Message::Report(mut report) => {
                match report.frame {
                    2 => report.class = (report.class + 1) % 10,
                    4 => report.predictive_entropy += 0.01,
                    6 => report.expected_entropy = f32::NAN,
                    _ => {}
                }
                Message::Report(report)
            }
            other => other,
        })
    });
    let sent = send(&line, &["--limit", "8", "--check", text(&model)]);
    assert_eq!(sent.code, Some(1), "{}", sent.err);
    let last = sent.err.lines().last().expect("an error");
    assert_eq!(last, "error: 3 answers differ from those recomputed here");
    let agreement = &sent.summary["agreement"];
    assert_eq!(agreement["classes"], 1);
    assert_eq!(agreement["entropies"], 2);
    assert_eq!(agreement["predictive_entropy"]["frame"], 4);
    assert!(
        sent.err.contains("frame 2: the device says class"),
        "{}",
        sent.err
    );
    // Another model file is no witness: this one has a description besides.
    let mut other = tempfile::NamedTempFile::new().expect("temporary file");
    let described = [&std::fs::read(&model).expect("read")[..], b"\x32\x01x"].concat();
    other.write_all(&described).expect("written");
    let host = line.host();
    fail(
        "host",
        ["send", text(&host), "--check", text(other.path())],
        &["the device runs model", "made from"],
    );
}

#[test]
fn who_does_not_answer_is_told_from_who_answers_otherwise() {
    let model = model::trained();
    let refused = |say: fn(Message) -> Option<Message>, words: &[&str]| {
        let line = SerialLine::clean();
        let _board = Board::start(&line.device(), &model, WireFormat::Binary, say);
        let host = line.host();
        fail("host", ["send", text(&host), "--timeout", "0.1"], words);
    };
    refused(|_| None, &["nothing comes from", "both directions"]);
    refused(
        |message| match message {
            Message::Hello(mut hello) => {
                hello.schema ^= 1;
                Some(Message::Hello(hello))
            }
            other => Some(other),
        },
        &["another message layout", "same sources"],
    );
    refused(
        |message| match message {
            Message::Hello(mut hello) => {
                hello.input = [1, u16::MAX, u16::MAX];
                Some(Message::Hello(hello))
            }
            other => Some(other),
        },
        &["65535x65535"],
    );
    refused(
        |_| Some(notice(NoticeCode::PlanChecksum, 0)),
        &["runs nothing", "plan is damaged"],
    );
    refused(
        |message| matches!(message, Message::Statistics(_)).then_some(message),
        &["talks but does not answer"],
    );
    // Frame after frame without an answer.
    refused(
        |message| (!matches!(message, Message::Report(_))).then_some(message),
        &["3 frames in a row", "frame 2"],
    );
    refused(
        |message| match message {
            Message::Report(report) => Some(notice(NoticeCode::FrameRefused, report.frame)),
            other => Some(other),
        },
        &["3 frames in a row"],
    );
    let line = SerialLine::clean();
    let host = line.host();
    fail(
        "host",
        ["send", text(&host), "--source", "absent.png"],
        &["absent.png"],
    );
    fail("host", ["send", "/dev/null"], &["not a serial port"]);
}

/// With a key frames are judged as without, also by a board that begins anew; any other key, and none, is
/// told, and so is a file that holds no key.
#[test]
fn a_sealed_line_takes_the_same_key_at_both_ends() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("written");
        path
    };
    let key = file("key", &"5a".repeat(32));
    let model = model::trained();
    let line = SerialLine::clean();
    let mut reports = 0;
    let board = Board::sealed(&line.device(), &model, Key([0x5A; 32]), move |message| {
        reports += u32::from(matches!(message, Message::Report(_)));
        // Instead of its fifth answer it begins anew.
        (reports != 5 || !matches!(message, Message::Report(_))).then_some(message)
    });
    let sent = send(
        &line,
        &[
            "--limit",
            "10",
            "--check",
            text(&model),
            "--key",
            text(&key),
        ],
    );
    assert_eq!(sent.code, Some(0), "{}", sent.err);
    assert_eq!(frames(&sent), (0..10).collect::<Vec<u64>>());
    assert_eq!(sent.summary["agreement"]["differing"], 0);
    let exchange = &sent.summary["exchange"];
    assert_eq!(
        (&exchange["answered"], &exchange["resends"]),
        (&10.into(), &1.into())
    );
    // Greetings at the beginning, after the fifth frame and at the end; that one frame was sent twice.
    assert_eq!(exchange["requests"], 11 * 7 + 3);
    // That it began anew is told once.
    assert_eq!(sent.err.matches("not sealed").count(), 1, "{}", sent.err);

    let host = line.host();
    let other = file("other", &"5b".repeat(32));
    for (key, words) in [
        (&["--key", text(&other)][..], "has its firmware this --key?"),
        (&[], "answers only with --key"),
    ] {
        let args = [&["send", text(&host), "--timeout", "0.2"], key].concat();
        fail("host", args, &["nothing comes from", words]);
    }
    drop(board);
    // One without a key is not spoken to with one.
    let _board = self::board(&line, WireFormat::Binary);
    let args = ["send", text(&host), "--timeout", "0.2", "--key", text(&key)];
    fail("host", args, &["--key?"]);

    for (content, words) in [
        (&"5a".repeat(31)[..], "64 hexadecimal digits"),
        (&"zz".repeat(32), "openssl rand -hex 32"),
        ("", "holds no key"),
    ] {
        let bad = file("bad", content);
        fail("host", ["send", text(&host), "--key", text(&bad)], &[words]);
    }
    let absent = folder.path().join("absent");
    let args = ["send", text(&host), "--key", text(&absent)];
    fail("host", args, &["cannot read the line's key", "absent"]);
}

/// Notices between answers are shown, and cost nothing.
#[test]
fn notices_are_shown_between_the_answers() {
    let line = SerialLine::clean();
    let _board = Board::start(
        &line.device(),
        &model::trained(),
        WireFormat::Text,
        |message| {
            Some(match message {
                Message::Statistics(_) => notice(NoticeCode::StackLow, 96),
                other => other,
            })
        },
    );
    let sent = send(&line, &["--limit", "3"]);
    assert_eq!(sent.code, Some(0), "{}", sent.err);
    let told = |record: &&Value| record["notice"]["code"] == "stack_low";
    assert!(sent.records.iter().filter(told).count() >= 1);
    assert!(sent.err.contains("96 bytes of stack left"), "{}", sent.err);
    assert_eq!(sent.summary["exchange"]["answered"], 3);
}

/// Lines without a board: one that echoes, one with rubbish.
#[test]
fn an_echo_and_rubbish_are_no_board() {
    for (echo, words) in [(true, "echoes"), (false, "--baud")] {
        let line = SerialLine::clean();
        let mut far = std::fs::File::options()
            .read(true)
            .write(true)
            .open(line.device())
            .expect("opened");
        std::thread::spawn(move || {
            let mut bytes = [0; 64];
            // The end of the line ends this.
            while let Ok(count @ 1..) = far.read(&mut bytes) {
                let answer = if echo {
                    &bytes[..count]
                } else {
                    b"login: \xF0\x0F"
                };
                if far.write_all(answer).is_err() {
                    break;
                }
            }
        });
        let host = line.host();
        fail("host", ["send", text(&host), "--timeout", "0.3"], &[words]);
    }
}

#[test]
fn a_line_that_is_taken_away_is_a_failure_after_the_summary() {
    let mut line = SerialLine::clean();
    let board = board(&line, WireFormat::Binary);
    let host = line.host();
    let mut sending = Running::start(
        command("host", ["send", text(&host), "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    );
    let mut out = BufReader::new(sending.child().stdout.take().expect("piped"));
    let mut row = String::new();
    out.read_line(&mut row).expect("an answer");
    line.unplug();
    drop(board);
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("the end");
    let (code, _, err) = sending.end();
    assert_eq!(code, Some(1), "{err}");
    let last = err.lines().last().expect("an error");
    assert!(
        last.starts_with("error: ") && last.contains("unplugged"),
        "{err}"
    );
    assert!(err.contains("frames  "), "{err}");
}

#[test]
fn an_interrupt_ends_with_a_summary() {
    let line = SerialLine::clean();
    let _board = board(&line, WireFormat::Binary);
    let host = line.host();
    let mut sending = Running::start(
        command("host", ["send", text(&host), "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    );
    let mut out = BufReader::new(sending.child().stdout.take().expect("piped"));
    let mut row = String::new();
    out.read_line(&mut row).expect("an answer");
    kill_process(Pid::from_child(sending.child()), Signal::INT).expect("the process is alive");
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("the end");
    let (code, _, err) = sending.end();
    assert_eq!(code, Some(130), "{err}");
    let answered = format!("{} answered", 1 + rest.lines().count());
    assert!(
        err.contains(&answered) && err.contains("link        0 messages lost"),
        "{err}"
    );
}
