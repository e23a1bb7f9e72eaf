//! The firmware on emulated boards: frames judged as on this machine, and every way to fail.

use std::fs;
use std::path::{Path, PathBuf};

use device::engine::micro::{F32, Int8, Micro, Number, OwnedPlan};
use device::inference::{Inference, Settings, Timing};
use device::signature::{Kind, SigningKey};
use shared::image::{Channels, FrameView, Interpolation, PixelFormat};
use shared::wire::FrameError;
use shared::wire::delivery::{Acknowledgement, Guarantee, Stream};
use shared::wire::message::{Hello, Message, Notice, NoticeCode, Report, Statistics};
use shared::wire::request::{FramePart, Greeting, Probe, Request};
use shared::wire::seal::Key;
use tempfile::TempDir;
use tests::colour::{picture as colourful, write_model};
use tests::emulated::Emulated;
use tests::emulator::Keys;
use tests::{emulator, firmware, model};

/// Frame numbers that make the firmware fail (app/src/provoke.rs).
const PANIC: u32 = 0xFFFF_FF01;
const OVERFLOW: u32 = 0xFFFF_FF02;
const HANG: u32 = 0xFFFF_FF03;

/// RAM of the smallest microcontrollers that run LeNet.
const RAM: u32 = 64 * 1024;

fn hello(message: Message) -> Option<Hello> {
    match message {
        Message::Hello(hello) => Some(hello),
        _ => None,
    }
}

fn report(message: Message) -> Option<Report> {
    match message {
        Message::Report(report) => Some(report),
        _ => None,
    }
}

fn notice(message: Message) -> Option<Notice> {
    match message {
        Message::Notice(notice) => Some(notice),
        _ => None,
    }
}

fn statistics(message: Message) -> Option<Statistics> {
    match message {
        Message::Statistics(statistics) => Some(statistics),
        _ => None,
    }
}

/// A small plan in a file: two classes of 2 × 2 pixels.
fn small(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("small.plan");
    fs::write(&path, firmware::plan()).expect("written");
    path
}

/// Digits that are easy, hard, and none at all, 28 × 28.
fn pictures() -> Vec<Vec<u8>> {
    let digit = |thick: i32| {
        (0..28 * 28)
            .map(|i| {
                let (x, y) = (i % 28 - 14, i / 28 - 14);
                let ring: i32 = x * x + 2 * y * y - 90;
                if ring.abs() < thick { 250 } else { 0 }
            })
            .collect::<Vec<u8>>()
    };
    let noise = (0..28 * 28_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    vec![digit(40), digit(5), noise, vec![128; 28 * 28], digit(80)]
}

/// The same, to be looked at.
fn views(pictures: &[Vec<u8>]) -> Vec<FrameView<'_>> {
    pictures
        .iter()
        .map(|pixels| FrameView::grey(28, 28, pixels).expect("whole"))
        .collect()
}

/// What this machine says about the pictures, with the engine of a plan.
fn expected<N: Number>(plan: &Path, pictures: &[FrameView<'_>]) -> Vec<Report> {
    let plan = OwnedPlan::new(&fs::read(plan).expect("a file")).expect("a plan");
    let plan = plan.view();
    let settings = Settings {
        passes: plan.passes(),
        adaptive: plan.adaptive(),
        block: 1,
        preprocessing: plan.preprocessing().expect("a checked plan"),
        crop: None,
        thresholds: plan.thresholds(),
    };
    let engine = Micro::<_, N>::new(plan, plan.seed(), vec![0; plan.memory_words()]);
    let mut inference: Inference<_, _, 16> =
        Inference::allocated(engine.expect("enough memory"), settings).expect("it fits");
    (0..)
        .zip(pictures)
        .map(|(frame, picture)| {
            let outcome = inference.judge(frame, picture).expect("judged");
            outcome.report(frame, Timing::default())
        })
        .collect()
}

#[test]
fn frames_are_judged_as_on_this_machine() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let model = model::trained();
    let pictures = pictures();
    let views = views(&pictures);
    for (board, format) in [
        ("mps2-an386", "f32"),
        ("mps2-an386", "int8"),
        ("mps2-an500", "f32"),
        ("mps2-an500", "int8"),
    ] {
        let plan = folder.path().join(format!("{format}.plan"));
        let _ = emulator::plan(&model, format, &[], &plan);
        let expected = match format {
            "f32" => expected::<F32>(&plan, &views),
            _ => expected::<Int8>(&plan, &views),
        };

        let mut emulated = Emulated::start(board, format, Some(&plan));
        let hello = emulated.find(hello);
        assert_eq!(hello.device, board);
        assert_eq!(hello.engine, format!("micro-{format}").as_str());
        assert_eq!(hello.input, [1, 28, 28]);
        assert_eq!(hello.labels.len(), 10);
        for ((frame, pixels), expected) in (0..).zip(&pictures).zip(expected) {
            emulated.show(frame, 28, pixels);
            let mut report = emulated.find(report);
            assert!(report.captured_us > 0 && report.latency_us > 0);
            (report.captured_us, report.latency_us) = (0, 0);
            // To the last bit: no step is left to the processor's taste.
            assert_eq!(report, expected, "{board} {format}");
        }
        emulated.ask(&Request::Greet(Greeting::default()));
        let statistics = emulated.find(statistics);
        let frames = pictures.len() as u32;
        assert_eq!((statistics.frames, statistics.failed), (frames, 0));
        assert_eq!(statistics.accepted + statistics.flagged, frames);
        let line = statistics.line;
        assert_eq!(
            (line.received, line.corrupt, line.lost, line.overruns),
            (7 * frames + 1, 0, 0, 0)
        );
        // Of the 16 KiB, which hold the reports that wait, too, 7 were never used.
        assert!(statistics.stack_free > 7 * 1024, "{statistics:?}");
        let used = emulated.variables() + 16 * 1024 - statistics.stack_free;
        assert!(used <= RAM, "{board} {format}: {used} bytes");
    }
}

/// A plan that sees colours, on firmware that knows them, in every pixel format that a camera may have.
#[test]
fn colours_are_judged_as_on_this_machine() {
    const SIDE: usize = 28;
    let folder = tempfile::tempdir().expect("temporary folder");
    let model = folder.path().join("model.onnx");
    let entry = r#"{"channels":"rgb","geometry":"stretch","interpolation":"bilinear",
        "mean":[0.3,0.4,0.5],"standard_deviation":[0.2,0.3,0.25]}"#;
    write_model(&model, 3, SIDE as i64, entry);
    let images = folder.path().join("images");
    let mut pictures = Vec::new();
    for number in 0..6 {
        let class = images.join((number % 2).to_string());
        fs::create_dir_all(&class).expect("created");
        let picture = colourful(number, SIDE as u32, SIDE as u32);
        let path = class.join(format!("{number}.png"));
        picture.save(path).expect("written");
        let format = PixelFormat::ALL[number % 3].1;
        let mut pixels = Vec::new();
        for pixel in picture.to_rgb8().pixels() {
            format.write(pixel.0, &mut pixels);
        }
        pictures.push((format, pixels));
    }
    let views: Vec<_> = pictures
        .iter()
        .map(|(format, pixels)| FrameView::packed(*format, SIDE, SIDE, pixels).expect("whole"))
        .collect();
    for format in ["f32", "int8"] {
        let plan = folder.path().join(format!("{format}.plan"));
        let images = ["--images", images.to_str().expect("a plain path")];
        let _ = emulator::plan(&model, format, &images, &plan);
        let expected = match format {
            "f32" => expected::<F32>(&plan, &views),
            _ => expected::<Int8>(&plan, &views),
        };
        let features = format!("{format},colour");
        let mut emulated = Emulated::start("mps2-an386", &features, Some(&plan));
        let hello = emulated.find(hello);
        assert_eq!(hello.input, [3, SIDE as u16, SIDE as u16]);
        let preprocessing = hello.sees().expect("told");
        assert_eq!(preprocessing.channels, Channels::Rgb);
        assert_eq!(preprocessing.interpolation, Interpolation::Bilinear);
        for ((frame, picture), expected) in (0..).zip(&views).zip(expected) {
            emulated.show_picture(frame, picture);
            let mut report = emulated.find(report);
            (report.captured_us, report.latency_us) = (0, 0);
            assert_eq!(report, expected, "{format} {frame}");
        }
    }
    // Firmware for grey plans says what it lacks.
    let plan = folder.path().join("f32.plan");
    let mut grey = Emulated::start("mps2-an386", "f32", Some(&plan));
    let refusal = grey.find(notice);
    assert_eq!(refusal.code, NoticeCode::PlanContent);
    assert!(refusal.text.contains("colour"), "{}", refusal.text);
}

/// Firmware that was built with a key judges with a plan that was signed with it, and with no other.
#[test]
fn firmware_with_a_key_takes_plans_signed_with_it_alone() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let key = |seed| SigningKey::from_seed([seed; SigningKey::SEED]).expect("a key");
    let (ours, foreign) = (key(1), key(2));
    let digits = ours.public().to_hexadecimal();
    let start = |name: &str, plan: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, plan).expect("written");
        let keys = Keys {
            trust: Some(&digits),
            line: None,
        };
        Emulated::with(keys, "mps2-an386", "f32", Some(&path))
    };
    let plan = firmware::plan();
    let mut board = start("signed", &ours.sign(Kind::Plan, &plan));
    board.find(hello);
    board.show(0, 2, &[0, 255, 255, 0]);
    assert_eq!(board.find(report).frame, 0);
    board.ask(&Request::Greet(Greeting::default()));
    // The check is the deepest that the stack gets.
    assert!(board.find(statistics).stack_free > 1024);
    for (name, plan, words) in [
        ("unsigned", plan.clone(), "not signed"),
        ("foreign", foreign.sign(Kind::Plan, &plan), "no trusted key"),
    ] {
        let refusal = start(name, &plan).find(notice);
        assert_eq!(refusal.code, NoticeCode::PlanContent);
        assert!(refusal.text.contains(words), "{refusal:?}");
    }
}

/// Sealed firmware answers who has its key as any firmware does, and takes nothing else, nothing twice, and
/// nothing of an earlier start. It has a key for plans, too, which takes most of the stack.
#[test]
fn sealed_firmware_speaks_with_who_has_its_key_alone() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let signing = SigningKey::from_seed([1; SigningKey::SEED]).expect("a key");
    let (trust, line) = (signing.public().to_hexadecimal(), "5a".repeat(32));
    let keys = Keys {
        trust: Some(&trust),
        line: Some(&line),
    };
    let ours = || Some(Key([0x5A; 32]));
    let path = folder.path().join("f32.plan");
    let plan = emulator::plan(&model::trained(), "f32", &[], &path);
    let pictures = pictures();
    let expected = expected::<F32>(&path, &views(&pictures));
    fs::write(&path, signing.sign(Kind::Plan, &plan)).expect("written");

    let mut board = Emulated::with(keys, "mps2-an386", "f32", Some(&path));
    // Who has no key is told so.
    assert_eq!(board.receive(), Err(FrameError::Sealed));
    let greeting = board.greet(ours(), 5);
    let first = board.find(hello);
    assert_eq!((first.challenge, first.guarantee), (5, Guarantee::Volatile));
    assert!(first.epoch != 0 && first.epoch != 5);
    let mut recorded = Vec::new();
    let mut acknowledged = 0;
    for ((frame, pixels), expected) in (0..).zip(&pictures).zip(expected) {
        recorded = board.show(frame, 28, pixels);
        let mut report = board.find(|message| report(message).filter(|r| r.frame == frame));
        if let Some(ticket) = report.ticket.take() {
            assert_eq!((ticket.epoch, ticket.number), (first.epoch, acknowledged));
            acknowledged += 1;
            recorded.extend(board.ask(&Request::Acknowledge(Acknowledgement {
                stream: Stream::Reports,
                epoch: ticket.epoch,
                next: acknowledged,
                come: 0,
            })));
        }
        (report.captured_us, report.latency_us) = (0, 0);
        assert_eq!(report, expected);
    }
    // In the same session, with the greeting before it, and in another: what was recorded is refused.
    let echo = |board: &mut Emulated| {
        board.ask(&Request::Probe(Probe { sent_us: 1 }));
        board.find(|message| matches!(message, Message::Echo(_)).then_some(()));
    };
    board.say(&recorded);
    echo(&mut board);
    board.say(&greeting);
    board.say(&recorded);
    echo(&mut board);
    board.greet(ours(), 6);
    board.find(hello);
    board.say(&recorded);
    echo(&mut board);
    // And so are another key and none, after whose greetings the session is what it was.
    for stranger in [Some(Key([0x5B; 32])), None] {
        board.greet(stranger, 7);
        board.show(90, 2, &[0; 4]);
    }
    board.greet(ours(), 8);
    assert_eq!(board.find(hello).epoch, first.epoch);
    let statistics = board.find(statistics);
    let frames = pictures.len() as u32;
    assert_eq!((statistics.frames, statistics.failed), (frames, 0));
    assert_eq!(statistics.delivery.delivered, acknowledged);
    let line = statistics.line;
    // Three greetings, three probes; seven parts a frame.
    assert_eq!(
        (line.received, line.corrupt, line.overruns),
        (6 + 7 * frames + acknowledged, 0, 0)
    );
    assert!(statistics.stack_free > 1024, "{statistics:?}");

    // After a start the board has forgotten the greeting, which gives it another epoch, however: what
    // was recorded is not for this life.
    board.show(PANIC, 2, &[0; 4]);
    while board.receive() != Err(FrameError::Unsealed) {}
    board.say(&greeting);
    board.say(&recorded);
    board.greet(ours(), 9);
    assert_ne!(board.find(hello).epoch, first.epoch);
    assert_eq!(board.find(self::statistics).frames, 0);
    // Why it started is told to who is there, not to a recording.
    board.ask(&Request::Probe(Probe { sent_us: 1 }));
    assert_eq!(board.find(notice).code, NoticeCode::Panicked);

    // Without a plan there is no greeting that could be answered, but a notice.
    let mut board = Emulated::with(keys, "mps2-an386", "f32", None);
    board.greet(ours(), 5);
    assert_eq!(board.find(notice).code, NoticeCode::PlanMissing);
}

/// A board that was greeted repeats a flagged report until it is acknowledged.
#[test]
fn a_flagged_report_is_repeated_until_it_is_acknowledged() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let plan = small(&folder);
    let mut board = Emulated::start("mps2-an386", "f32", Some(&plan));
    assert_eq!(board.find(hello).guarantee, Guarantee::Once);
    board.ask(&Request::Greet(Greeting { challenge: 9 }));
    let greeting = board.find(hello);
    assert_eq!(
        (greeting.epoch, greeting.challenge, greeting.guarantee),
        (9, 9, Guarantee::Volatile)
    );
    // Without a light spot or an edge.
    board.show(0, 2, &[0; 4]);
    let first = board.find(report);
    let ticket = first.ticket.expect("numbered, because it is flagged");
    assert_eq!((ticket.epoch, ticket.number), (9, 0));
    assert_eq!(board.find(report), first, "again, because nobody answered");
    board.ask(&Request::Acknowledge(Acknowledgement {
        stream: Stream::Reports,
        epoch: 9,
        next: 1,
        come: 0,
    }));
    board.ask(&Request::Probe(Probe { sent_us: 1 }));
    board.ask(&Request::Greet(Greeting { challenge: 10 }));
    let delivery = board.find(statistics).delivery;
    assert_eq!((delivery.delivered, delivery.pending), (1, 0));
}

#[test]
fn what_arrives_while_a_frame_is_judged_is_kept() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let plan = small(&folder);
    let mut board = Emulated::start("mps2-an386", "f32", Some(&plan));
    board.find(hello);
    for frame in 0..40 {
        board.show(frame, 2, &[0, 255, 255, frame as u8]);
    }
    for frame in 0..40 {
        assert_eq!(board.find(report).frame, frame);
    }
    board.ask(&Request::Greet(Greeting::default()));
    let line = board.find(statistics).line;
    assert_eq!((line.received, line.overruns), (41, 0));
}

#[test]
fn impossible_frames_are_answered_and_counted() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let plan = small(&folder);
    let mut board = Emulated::start("mps2-an386", "f32", Some(&plan));
    board.find(hello);
    // More pixels than the model reads.
    board.show(7, 3, &[0; 9]);
    let refused = board.find(notice);
    assert_eq!(
        (refused.code, refused.detail),
        (NoticeCode::FrameRefused, 7)
    );
    // The first half is missing.
    board.ask(&Request::Frame(FramePart {
        frame: 8,
        width: 2,
        height: 2,
        format: PixelFormat::Grey8,
        offset: 2,
        pixels: [1, 2].into_iter().collect(),
    }));
    let incomplete = board.find(notice);
    assert_eq!(
        (incomplete.code, incomplete.detail),
        (NoticeCode::FrameIncomplete, 8)
    );
    board.show(9, 2, &[0, 50, 100, 255]);
    assert_eq!(board.find(report).frame, 9);
    board.ask(&Request::Greet(Greeting::default()));
    let statistics = board.find(statistics);
    assert_eq!((statistics.frames, statistics.failed), (1, 2));
}

#[test]
fn a_board_without_a_good_plan_says_so_and_goes_on_saying_so() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let damaged = |name: &str, damage: &dyn Fn(&mut Vec<u8>)| {
        let mut plan = firmware::plan();
        damage(&mut plan);
        let path = folder.path().join(name);
        fs::write(&path, plan).expect("written");
        path
    };
    let cases = [
        (None, NoticeCode::PlanMissing),
        (
            Some(damaged("flipped", &|plan| {
                *plan.last_mut().expect("bytes") ^= 1;
            })),
            NoticeCode::PlanChecksum,
        ),
        (
            Some(damaged("newer", &|plan| plan[4] += 1)),
            NoticeCode::PlanVersion,
        ),
        (
            // Behind it memory is 0, which fits no checksum.
            Some(damaged("cut", &|plan| plan.truncate(plan.len() - 9))),
            NoticeCode::PlanChecksum,
        ),
        (
            Some(damaged("long", &|plan| plan[11] = 0x0F)),
            NoticeCode::PlanLength,
        ),
    ];
    for (plan, code) in &cases {
        let mut board = Emulated::start("mps2-an386", "f32", plan.as_deref());
        let first = board.hear();
        assert_eq!(notice(first.message).map(|n| n.code), Some(*code));
        board.ask(&Request::Greet(Greeting::default()));
        let second = board.hear();
        assert_eq!(notice(second.message).map(|n| n.code), Some(*code));
        // The same run: it has not started again.
        assert_eq!((first.sequence, second.sequence), (0, 1));
    }
    let mut board = Emulated::start("mps2-an386", "int8", Some(&small(&folder)));
    assert_eq!(board.find(notice).code, NoticeCode::PlanFormat);
    // Unasked, it says so again.
    assert_eq!(board.find(notice).code, NoticeCode::PlanFormat);
}

#[test]
fn a_failure_is_told_and_the_board_starts_again() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let plan = small(&folder);
    for name in ["mps2-an386", "mps2-an500"] {
        let mut board = Emulated::start(name, "f32", Some(&plan));
        board.find(hello);
        for (frame, code, words) in [
            (PANIC, NoticeCode::Panicked, "provoke.rs:"),
            (OVERFLOW, NoticeCode::Panicked, "stack overflow"),
            (HANG, NoticeCode::WatchdogReset, "no turn of the loop ended"),
        ] {
            board.show(frame, 2, &[0; 4]);
            let last_words = board.find(notice);
            assert_eq!(last_words.code, code, "{last_words:?}");
            assert!(last_words.text.starts_with(words), "{last_words:?}");
            // A new run, which knows what ended the one before.
            let greeting = board.hear();
            assert_eq!(greeting.sequence, 0);
            assert!(hello(greeting.message).is_some());
            assert_eq!(notice(board.hear().message), Some(last_words));
            board.show(5, 2, &[0, 255, 0, 255]);
            assert_eq!(board.find(report).frame, 5, "it works again");
        }
    }
}
