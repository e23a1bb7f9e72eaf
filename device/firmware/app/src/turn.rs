//! One turn of the loop.
//!
//! Messages are large and the stack is small: what builds one is not inlined, so that they do not
//! lie on the stack side by side, nor beside the passes.

use device::inference::Tally;
use embedded_hal::digital::{OutputPin, PinState};
use heapless::String;
use shared::image::FrameView;
use shared::triage::Verdict;
use shared::wire::message::{Echo, Message, Notice, NoticeCode, Report};

use crate::board::{Board, Camera, Clock, Line, Watchdog};
use crate::judge::{Judge, Origin};
use crate::memory::Memory;
use crate::receive::{Inbox, Wish};
use crate::report::Outbox;

/// Between greetings, µs.
const GREETING_US: u64 = 10_000_000;
/// Between notices that there is nothing to judge with, µs.
const REFUSAL_US: u64 = 5_000_000;
/// Frames between statistics.
const STATISTICS_FRAMES: u32 = 100;
/// Less free stack than this is told, bytes.
const STACK_LOW: u32 = 256;

/// A board with its plan: the state of the loop.
#[derive(Debug)]
pub struct Device<'m, L, F, C, W, V> {
    desk: Desk<'m, L, F, C>,
    inbox: Inbox<'m>,
    camera: V,
    /// Pictures that the camera has taken.
    captured: u32,
    watchdog: W,
    name: &'static str,
    stack_free: fn() -> u32,
    stack_low_told: bool,
    last_reset: Option<Notice>,
    /// When the last greeting or refusal went out, µs.
    announced: Option<u64>,
}

/// What a frame needs to be answered.
#[derive(Debug)]
struct Desk<'m, L, F, C> {
    /// Or why there is nothing to judge with.
    judge: Result<Judge<'m>, Notice>,
    outbox: Outbox<L>,
    tally: Tally,
    flag: F,
    clock: C,
}

impl<'m, L: Line, F: OutputPin, C: Clock, W: Watchdog, V: Camera> Device<'m, L, F, C, W, V> {
    /// A board without a plan yet.
    pub fn new(board: Board<L, F, C, W, V>) -> Self {
        Self {
            desk: Desk {
                judge: Err(Notice {
                    code: NoticeCode::PlanMissing,
                    detail: 0,
                    text: String::new(),
                }),
                outbox: Outbox::new(board.line),
                tally: Tally::default(),
                flag: board.flag,
                clock: board.clock,
            },
            // Without a plan there is no room for a frame, and each is refused.
            inbox: Inbox::new(&mut []),
            camera: board.camera,
            captured: 0,
            watchdog: board.watchdog,
            name: board.name,
            stack_free: board.stack_free,
            stack_low_told: false,
            last_reset: board.last_reset,
            announced: None,
        }
    }

    /// Checks the plan that `plan` begins with, and judges with it, or tells from now on why not.
    #[inline(never)]
    pub fn load(&mut self, plan: &'m [u8], memory: &'m mut Memory) {
        match Judge::new(plan, memory) {
            Ok((judge, pixels)) => {
                self.desk.judge = Ok(judge);
                self.inbox = Inbox::new(pixels);
            }
            Err(refusal) => self.desk.judge = Err(refusal),
        }
    }

    /// Says what is due, answers one request, judges one picture, feeds the watchdog, and rests if
    /// the line is silent.
    pub fn turn(&mut self) {
        let now = self.desk.clock.now_us();
        let interval = match self.desk.judge {
            Ok(_) => GREETING_US,
            Err(_) => REFUSAL_US,
        };
        if self
            .announced
            .is_none_or(|at| now.saturating_sub(at) >= interval)
        {
            self.announce(now, 0);
        }
        let judged = self.desk.tally.frames();
        self.answer();
        self.tell_last_reset();
        self.look();
        self.desk.outbox.repeat(now);
        let frames = self.desk.tally.frames();
        if frames != judged && frames.is_multiple_of(STATISTICS_FRAMES) {
            self.tell_statistics();
        }
        self.watchdog.feed();
        let line = self.desk.outbox.channel_mut().line();
        if !line.read_ready().unwrap_or(true) {
            self.desk.clock.idle();
        }
    }

    /// Who this is, or why it is of no use; then what else there is to know.
    #[inline(never)]
    fn announce(&mut self, now: u64, challenge: u64) {
        let message = match &self.desk.judge {
            Ok(judge) => {
                let mut hello = judge.hello(self.name);
                self.desk.outbox.promise(&mut hello, challenge);
                Message::Hello(hello)
            }
            Err(refusal) => Message::Notice(refusal.clone()),
        };
        self.desk.outbox.send(&message);
        self.tell_last_reset();
        if self.announced.replace(now).is_some() {
            self.tell_statistics();
        }
    }

    #[inline(never)]
    fn tell_last_reset(&mut self) {
        if self.desk.outbox.channel().is_heard()
            && let Some(notice) = self.last_reset.take()
        {
            self.desk.outbox.send(&Message::Notice(notice));
        }
    }

    #[inline(never)]
    fn tell_statistics(&mut self) {
        let stack_free = (self.stack_free)();
        let mut statistics = self.desk.tally.message(self.desk.clock.now_us(), false);
        statistics.line = self.inbox.statistics(self.desk.outbox.channel());
        statistics.delivery = self.desk.outbox.statistics();
        statistics.stack_free = stack_free;
        self.desk.outbox.send(&Message::Statistics(statistics));
        if stack_free < STACK_LOW && !self.stack_low_told {
            self.stack_low_told = true;
            self.desk.outbox.send(&Message::Notice(Notice {
                code: NoticeCode::StackLow,
                detail: stack_free,
                text: String::new(),
            }));
        }
    }

    /// Does what the host asks for next.
    #[inline(never)]
    fn answer(&mut self) {
        let wish = self.inbox.read(self.desk.outbox.channel_mut());
        if wish.is_some() {
            self.desk.outbox.hear();
        }
        match wish {
            None => {}
            Some(Wish::Greeting(challenge)) => {
                let now = self.desk.clock.now_us();
                // Without a plan there is nothing to number, nor a greeting that could tell the epoch.
                if self.desk.judge.is_ok() {
                    self.desk.outbox.meet(challenge, &mut self.desk.clock);
                }
                self.announce(now, challenge);
            }
            Some(Wish::Acknowledgement(answer)) => self.desk.outbox.acknowledge(&answer),
            Some(Wish::Time(probe_us)) => {
                let device_us = self.desk.clock.now_us();
                self.desk.outbox.send(&Message::Echo(Echo {
                    probe_us,
                    device_us,
                }));
            }
            Some(Wish::Impossible(code, frame)) => {
                // Without a plan nothing is possible, and that is what to tell.
                let notice = match &self.desk.judge {
                    Ok(_) => Notice {
                        code,
                        detail: frame,
                        text: String::new(),
                    },
                    Err(refusal) => refusal.clone(),
                };
                self.desk.refuse(notice);
            }
            Some(Wish::Judgement(received)) => {
                #[cfg(feature = "provoke")]
                crate::provoke::obey(received.frame);
                // A whole frame has exactly as many pixels as its size says.
                if let Ok(picture) = received.picture() {
                    self.desk.judge(received.frame, &picture, Origin::Line);
                }
            }
        }
    }

    /// Judges the camera's picture, if it has taken one.
    fn look(&mut self) {
        if let Some(picture) = self.camera.capture() {
            self.desk.judge(self.captured, &picture, Origin::Camera);
            self.captured = self.captured.wrapping_add(1);
        }
    }
}

impl<L: Line, F: OutputPin, C: Clock> Desk<'_, L, F, C> {
    /// Judges a picture that is whole now, and reports.
    #[inline(never)]
    fn judge(&mut self, frame: u32, picture: &FrameView<'_>, origin: Origin) {
        let captured_us = self.clock.now_us();
        let outcome = match &mut self.judge {
            Ok(judge) => judge.judge(frame, captured_us, picture, origin),
            Err(refusal) => Err(refusal.clone()),
        };
        match outcome {
            Ok(report) => self.report(report),
            Err(notice) => self.refuse(notice),
        }
    }

    #[inline(never)]
    fn report(&mut self, mut report: Report) {
        self.tally.count(report.causes);
        // A pin that cannot be set cannot be told of either; no board here has such a one.
        let _ = self
            .flag
            .set_state(PinState::from(report.verdict() == Verdict::Flag));
        let latency = self.clock.now_us().saturating_sub(report.captured_us);
        report.latency_us = u32::try_from(latency).unwrap_or(u32::MAX);
        if report.verdict() == Verdict::Flag {
            let now = self.clock.now_us();
            self.outbox.flagged(report, now);
        } else {
            self.outbox.send(&Message::Report(report));
        }
    }

    #[inline(never)]
    fn refuse(&mut self, notice: Notice) {
        self.tally.count_failed();
        self.outbox.send(&Message::Notice(notice));
    }
}
