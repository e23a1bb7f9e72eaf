//! A board's end of the conversation, without a line.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::image::{FrameStatistics, FrameView};
use shared::triage::{Causes, Thresholds};
use shared::wire::delivery::Guarantee;
use shared::wire::frame::{MAX_FRAME, encode};
use shared::wire::message::{Hello, Message, Notice, NoticeCode, Report, SCHEMA_HASH, shortened};
use shared::wire::request::{Request, RequestDeframer};

use super::board::{Answer, Board};
use crate::monitor::Seal;

/// A line to somebody who answers each request, the how-manieth is told, with these messages.
struct Answering<F> {
    answer: F,
    deframer: RequestDeframer,
    requests: u32,
    sequence: u32,
    waiting: VecDeque<u8>,
}

/// Long: a test that waits for it fails.
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(20);

impl<F: FnMut(u32, &Request) -> Vec<Message>> Write for Answering<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes {
            let Some(packet) = self.deframer.push(byte) else {
                continue;
            };
            let packet = packet.expect("an undamaged request");
            for message in (self.answer)(self.requests, &packet.message) {
                if matches!(message, Message::Hello(_)) {
                    // As if it had just started.
                    self.sequence = 0;
                }
                let mut frame = [0; MAX_FRAME];
                let length = encode(self.sequence, &message, &mut frame).expect("room");
                self.waiting.extend(&frame[..length]);
                self.sequence += 1;
            }
            self.requests += 1;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<F> Read for Answering<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.waiting.read(buffer)? {
            0 => {
                std::thread::sleep(Duration::from_millis(1));
                Err(ErrorKind::TimedOut.into())
            }
            count => Ok(count),
        }
    }
}

/// A board that has greeted.
fn board<F: FnMut(u32, &Request) -> Vec<Message>>(
    timeout: Duration,
    answer: F,
) -> Board<Answering<F>> {
    let line = Answering {
        answer,
        deframer: RequestDeframer::new(),
        requests: 0,
        sequence: 0,
        waiting: VecDeque::new(),
    };
    let name = "test".to_owned();
    let mut board = Board::new(
        line,
        name,
        Seal::default(),
        1_000_000,
        Some(timeout),
        Arc::default(),
    );
    let met = board.greet(&mut |_, _| Ok(())).expect("a greeting");
    assert!(met.is_some());
    board
}

fn picture(pixels: &[u8; 4]) -> FrameView<'_> {
    FrameView::grey(2, 2, pixels).expect("whole")
}

fn hello(model: u32) -> Message {
    Message::Hello(Hello {
        schema: SCHEMA_HASH,
        device: shortened("test"),
        software: shortened("test"),
        engine: shortened("test"),
        model,
        input: [1, 2, 2],
        classes: 2,
        labels: [].into_iter().collect(),
        passes: 1,
        seed: 1,
        thresholds: Thresholds::OFF,
        epoch: 0,
        challenge: 0,
        guarantee: Guarantee::Once,
        preprocessing: [].into_iter().collect(),
    })
}

fn report(frame: u32) -> Message {
    Message::Report(Report {
        frame,
        captured_us: 0,
        age_us: 0,
        latency_us: 0,
        class: 0,
        confidence: 1.0,
        predictive_entropy: 0.0,
        expected_entropy: 0.0,
        mutual_information: 0.0,
        variation_ratio: 0.0,
        standard_deviation: 0.0,
        margin: 1.0,
        passes: 1,
        causes: Causes::default(),
        image: FrameStatistics {
            mean: 0.0,
            black: 0.0,
            white: 0.0,
            contrast: 0.0,
            sharpness: 0.0,
            saturated: 0.0,
            plateau: 0.0,
        },
        ticket: None,
    })
}

fn incomplete(frame: u32) -> Message {
    Message::Notice(Notice {
        code: NoticeCode::FrameIncomplete,
        detail: frame,
        text: shortened(""),
    })
}

/// Has frames `0..frames` of one part each judged, and gives the numbers in the answers shown.
fn judged<F: FnMut(u32, &Request) -> Vec<Message>>(
    board: &mut Board<Answering<F>>,
    frames: u32,
) -> Vec<u32> {
    let mut shown = Vec::new();
    for frame in 0..frames {
        let answer = board.judge(frame, &picture(&[1, 2, 3, 4]), &mut |packet, _| {
            if let Message::Report(report) = &packet.message {
                shown.push(report.frame);
            }
            Ok(())
        });
        let Ok(Answer::Report { report, .. }) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(report.frame, frame);
    }
    shown
}

#[test]
fn answers_that_come_late_or_twice_are_shown_once() {
    let mut board = board(SHORT, |request, _| match request {
        0 => vec![hello(7)],
        // Frame 0 is answered only when it is sent again, and then for both.
        1 => vec![],
        2 => vec![report(0), report(0)],
        3 => vec![report(1)],
        _ => panic!("nothing else is sent"),
    });
    assert_eq!(judged(&mut board, 2), [0, 1]);
    assert_eq!((board.requests, board.resends), (4, 1));
}

#[test]
fn what_the_board_did_not_get_is_sent_again_at_once() {
    let began = Instant::now();
    let mut board = board(LONG, |request, _| match request {
        // The second greeting is that of a board that started again: what it was sent is gone.
        0 | 3 => vec![hello(7)],
        1 => vec![incomplete(0)],
        2 => vec![report(0)],
        // About another frame: of no account.
        4 => vec![incomplete(0), report(1)],
        _ => panic!("nothing else is sent"),
    });
    assert_eq!(judged(&mut board, 2), [0, 1]);
    assert_eq!(board.resends, 2);
    assert!(began.elapsed() < LONG);
}

#[test]
fn a_frame_is_sent_four_times_and_then_given_up() {
    let mut board = board(SHORT, |request, _| match request {
        0 => vec![hello(7)],
        _ => vec![],
    });
    let answer = board.judge(5, &picture(&[0; 4]), &mut |_, _| Ok(()));
    assert!(matches!(answer, Ok(Answer::Silence)), "{answer:?}");
    assert_eq!((board.requests, board.resends), (5, 3));
}

#[test]
fn a_board_that_becomes_another_is_not_believed() {
    let mut board = board(LONG, |request, _| match request {
        0 => vec![hello(7)],
        _ => vec![hello(8)],
    });
    let answer = board.judge(0, &picture(&[0; 4]), &mut |_, _| Ok(()));
    let error = answer.expect_err("another model");
    assert!(error.to_string().contains("not what it was"), "{error}");
}
