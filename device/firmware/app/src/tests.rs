//! The loop on a board made of memory, without a plan; tests/tests/firmware.rs runs it with one.

use core::cell::RefCell;
use core::convert::Infallible;
use std::boxed::Box;
use std::collections::VecDeque;
use std::rc::Rc;
use std::vec::Vec;

use embedded_hal::digital::{self, OutputPin};
use embedded_io::{ErrorType, Read, ReadReady, Write};
use shared::image::{FrameStatistics, FrameView};
use shared::triage::Causes;
use shared::wire::delivery::{Acknowledgement, Stream};
use shared::wire::frame::{Deframer, MAX_FRAME};
use shared::wire::message::{Message, Notice, NoticeCode, Packet, Report};
use shared::wire::request::{self, FramePart, Greeting, MAX_REQUEST, Request};

use crate::report::Outbox;
use crate::{Board, Clock, Device, NoCamera, Residue, Watchdog, last_words, text};

/// What the board's parts share with the test.
#[derive(Debug, Default)]
struct World {
    to_board: VecDeque<Result<u8, ()>>,
    from_board: Vec<u8>,
    now_us: u64,
    fed: u32,
    rested: u32,
}

#[derive(Debug, Clone, Default)]
struct Part(Rc<RefCell<World>>);

#[derive(Debug)]
struct Broken;

impl core::fmt::Display for Broken {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("broken")
    }
}

impl core::error::Error for Broken {}

impl embedded_io::Error for Broken {
    fn kind(&self) -> embedded_io::ErrorKind {
        embedded_io::ErrorKind::Other
    }
}

impl ErrorType for Part {
    type Error = Broken;
}

impl ReadReady for Part {
    fn read_ready(&mut self) -> Result<bool, Broken> {
        Ok(!self.0.borrow().to_board.is_empty())
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Broken> {
        match self.0.borrow_mut().to_board.pop_front() {
            Some(Ok(byte)) => {
                buffer[0] = byte;
                Ok(1)
            }
            Some(Err(())) => Err(Broken),
            None => panic!("a read that waits"),
        }
    }
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        self.0.borrow_mut().from_board.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Broken> {
        Ok(())
    }
}

impl digital::ErrorType for Part {
    type Error = Infallible;
}

impl OutputPin for Part {
    fn set_low(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Clock for Part {
    fn now_us(&mut self) -> u64 {
        self.0.borrow().now_us
    }

    fn idle(&mut self) {
        self.0.borrow_mut().rested += 1;
    }

    fn residue(&mut self) -> Residue {
        [0; 512]
    }
}

impl Watchdog for Part {
    fn feed(&mut self) {
        self.0.borrow_mut().fed += 1;
    }
}

struct Bench {
    world: Rc<RefCell<World>>,
    device: Device<'static, Part, Part, Part, Part, NoCamera>,
    heard: Deframer,
    sequence: u32,
}

impl Bench {
    fn new(plan: &'static [u8], last_reset: Option<Notice>, stack_free: fn() -> u32) -> Self {
        let part = Part::default();
        let mut device = Device::new(Board {
            name: "bench",
            line: part.clone(),
            flag: part.clone(),
            clock: part.clone(),
            watchdog: part.clone(),
            camera: NoCamera,
            stack_free,
            last_reset,
        });
        device.load(plan, Box::leak(Box::default()));
        Self {
            world: part.0,
            device,
            heard: Deframer::new(),
            sequence: 0,
        }
    }

    fn send(&mut self, request: &Request) {
        let mut frame = [0; MAX_REQUEST];
        let length = request::encode(self.sequence, request, &mut frame).expect("it fits");
        self.sequence += 1;
        let bytes = frame[..length].iter().copied().map(Ok);
        self.world.borrow_mut().to_board.extend(bytes);
    }

    /// Lets the time pass and the device take turns until there is nothing to read, and gives what
    /// it said.
    fn after(&mut self, seconds: f64) -> Vec<Message> {
        self.world.borrow_mut().now_us += (seconds * 1e6) as u64;
        loop {
            self.device.turn();
            if self.world.borrow().to_board.is_empty() {
                break;
            }
        }
        let bytes = core::mem::take(&mut self.world.borrow_mut().from_board);
        bytes
            .into_iter()
            .filter_map(|byte| self.heard.push(byte))
            .map(|packet| packet.expect("a whole message").message)
            .collect()
    }
}

fn plenty() -> u32 {
    4096
}

fn code(message: &Message) -> Option<NoticeCode> {
    match message {
        Message::Notice(notice) => Some(notice.code),
        _ => None,
    }
}

#[test]
fn without_a_plan_it_says_so_again_and_again() {
    let mut bench = Bench::new(&[0xFF; 256], None, plenty);
    assert_eq!(
        bench.after(0.0).iter().map(code).collect::<Vec<_>>(),
        [Some(NoticeCode::PlanMissing)]
    );
    assert_eq!(bench.after(4.0), []);
    for _ in 0..3 {
        let said = bench.after(5.0);
        assert_eq!(code(&said[0]), Some(NoticeCode::PlanMissing));
        assert!(matches!(&said[1], Message::Statistics(s) if s.frames == 0 && !s.last));
    }
    // Whoever asks does not wait for it.
    bench.send(&Request::Greet(Greeting { challenge: 5 }));
    assert_eq!(code(&bench.after(0.1)[0]), Some(NoticeCode::PlanMissing));
    // Every turn ended, so every turn fed the watchdog and rested.
    let world = bench.world.borrow();
    assert!(world.fed > 5 && world.fed == world.rested, "{world:?}");
}

#[test]
fn what_is_wrong_with_a_plan_is_named() {
    #[repr(align(8))]
    struct Bytes([u8; 256]);
    static SHORT: Bytes = {
        let mut bytes = [0; 256];
        (bytes[0], bytes[1], bytes[2], bytes[3]) = (b'M', b'C', b'D', b'P');
        bytes[4] = 1;
        // Says that it is 64 KiB long.
        bytes[10] = 1;
        Bytes(bytes)
    };
    let mut bench = Bench::new(&SHORT.0, None, plenty);
    let said = bench.after(0.0);
    assert_eq!(code(&said[0]), Some(NoticeCode::PlanLength), "{said:?}");
}

#[test]
fn frames_are_refused_for_lack_of_a_plan() {
    let mut bench = Bench::new(&[], None, plenty);
    let _ = bench.after(0.0);
    let picture = FrameView::grey(28, 28, &[0; 784]).expect("whole");
    for part in FramePart::split(7, &picture) {
        bench.send(&Request::Frame(part));
    }
    let said = bench.after(0.0);
    assert!(!said.is_empty());
    assert!(
        said.iter()
            .all(|message| code(message) == Some(NoticeCode::PlanMissing)),
        "{said:?}"
    );
}

#[test]
fn why_it_started_again_is_told_once() {
    let notice = Notice {
        code: NoticeCode::Panicked,
        detail: 12,
        text: text(format_args!("somewhere.rs:12: for a reason")),
    };
    let mut bench = Bench::new(&[], Some(notice.clone()), plenty);
    let said = bench.after(0.0);
    assert_eq!(said.len(), 2);
    assert_eq!(said[1], Message::Notice(notice));
    let later = bench.after(60.0);
    assert!(later.iter().all(|m| code(m) != Some(NoticeCode::Panicked)));
}

#[test]
fn the_line_and_the_stack_are_counted() {
    let mut bench = Bench::new(&[], None, || 128);
    let _ = bench.after(0.0);
    bench.send(&Request::Greet(Greeting { challenge: 5 }));
    bench.world.borrow_mut().to_board.push_back(Err(()));
    // In step, so that this counts as damage.
    bench.world.borrow_mut().to_board.extend([Ok(3), Ok(0)]);
    bench.sequence += 2;
    bench.send(&Request::Greet(Greeting { challenge: 5 }));
    let said = bench.after(0.0);
    let statistics = said.iter().rev().find_map(|message| match message {
        Message::Statistics(statistics) => Some(statistics),
        _ => None,
    });
    let statistics = statistics.expect("statistics after a greeting");
    let line = statistics.line;
    assert_eq!(
        (line.received, line.corrupt, line.lost, line.overruns),
        (2, 1, 2, 1)
    );
    assert_eq!(statistics.stack_free, 128);
    let low = |said: &[Message]| {
        said.iter()
            .filter(|message| code(message) == Some(NoticeCode::StackLow))
            .count()
    };
    assert_eq!(low(&said), 1);
    assert_eq!(low(&bench.after(60.0)), 0);
}

#[test]
fn a_flood_does_not_keep_a_turn_from_ending() {
    let mut bench = Bench::new(&[], None, plenty);
    let flood = (0..100_000).map(|i| Ok((i % 251) as u8));
    bench.world.borrow_mut().to_board.extend(flood);
    let _ = bench.after(0.0);
    let world = bench.world.borrow();
    assert!(world.fed > 100, "fed {} times", world.fed);
}

#[test]
fn last_words_are_a_message_whatever_was_sent_before() {
    let notice = Notice {
        code: NoticeCode::Panicked,
        detail: u32::MAX,
        text: text(format_args!("{:x>100}", "")),
    };
    assert_eq!(notice.text.len(), 64);
    let mut heard = Deframer::new();
    // Part of a message.
    for byte in [1; MAX_FRAME / 2] {
        assert_eq!(heard.push(byte), None);
    }
    let mut got = Vec::new();
    last_words(&notice, |byte| got.extend(heard.push(byte)));
    let Some(Ok(Packet { message, .. })) = got.pop() else {
        panic!("nothing whole: {got:?}");
    };
    assert_eq!(message, Message::Notice(notice));
}

fn flagged(frame: u32) -> Report {
    Report {
        frame,
        captured_us: 0,
        age_us: 0,
        latency_us: 0,
        class: 0,
        confidence: 0.5,
        predictive_entropy: 1.0,
        expected_entropy: 0.5,
        mutual_information: 0.5,
        variation_ratio: 0.0,
        standard_deviation: 0.0,
        margin: 0.0,
        passes: 1,
        causes: Causes::from_bits(1).expect("a cause"),
        image: FrameStatistics::default(),
        ticket: None,
    }
}

/// Frame numbers and tickets of what was said since this was asked last.
fn said(part: &Part, heard: &mut Deframer) -> Vec<(u32, Option<(u64, u32)>)> {
    let bytes = core::mem::take(&mut part.0.borrow_mut().from_board);
    bytes
        .into_iter()
        .filter_map(|byte| heard.push(byte))
        .filter_map(|packet| match packet.expect("whole").message {
            Message::Report(report) => {
                let ticket = report.ticket.map(|ticket| (ticket.epoch, ticket.number));
                Some((report.frame, ticket))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn flagged_reports_are_repeated_until_the_host_has_them() {
    let part = Part::default();
    let mut heard = Deframer::new();
    let mut outbox = Outbox::new(part.clone());
    // Nobody has greeted: sent once.
    outbox.flagged(flagged(0), 0);
    outbox.repeat(1_000_000);
    assert_eq!(said(&part, &mut heard), [(0, None)]);
    outbox.meet(77, &mut part.clone());
    for frame in 1..=10 {
        outbox.flagged(flagged(frame), 1_000_000);
    }
    let mut wanted: Vec<_> = (0..8)
        .map(|number| (number + 1, Some((77, number))))
        .collect();
    // There was no room for these.
    wanted.extend([(9, None), (10, None)]);
    assert_eq!(said(&part, &mut heard), wanted);
    let answer = Acknowledgement {
        stream: Stream::Reports,
        epoch: 77,
        next: 2,
        come: 0b11_1110,
    };
    outbox.acknowledge(&answer);
    // Number 2 was overtaken; nothing else is due yet.
    outbox.repeat(1_000_001);
    outbox.repeat(1_000_001);
    assert_eq!(said(&part, &mut heard), [(3, Some((77, 2)))]);
    // Another host goes on with the same epoch.
    outbox.meet(78, &mut part.clone());
    outbox.repeat(1_000_002);
    assert_eq!(said(&part, &mut heard), [(3, Some((77, 2)))]);
    outbox.acknowledge(&Acknowledgement {
        next: 8,
        come: 0,
        ..answer
    });
    let statistics = outbox.statistics();
    assert_eq!(
        (
            statistics.delivered,
            statistics.pending,
            statistics.overflowed,
            statistics.resent
        ),
        (8, 0, 2, 2)
    );
}
