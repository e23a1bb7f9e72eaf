//! What goes out: messages on the line, and flagged reports until the host has them.

use core::fmt::{self, Write as _};

use embedded_io::Write;
use heapless::{Deque, String};
use shared::wire::delivery::{
    Acknowledgement, DeliveryStatistics, Guarantee, Stream, Ticket, Window,
};
use shared::wire::message::{Hello, Message, Report};

use crate::board::Clock;
use crate::channel::Channel;

/// Flagged reports that wait for the host at most.
const WAITING: usize = 8;
/// How long the host may take for its answer, µs: a message each way at 115,200 baud, and its log.
const ANSWER_US: u32 = 300_000;

/// Flagged reports, until the host has acknowledged them. There is no place for them but memory, so
/// they are lost with it.
///
/// A board has its epoch from the first host that greets it after its start ([`Channel::epoch`]). Until
/// then nobody acknowledges, and reports are sent once.
#[derive(Debug)]
struct Waiting {
    reports: Deque<Report, WAITING>,
    window: Window<WAITING>,
    epoch: u64,
    next: u32,
    delivered: u32,
    overflowed: u32,
}

impl Waiting {
    const fn new() -> Self {
        Self {
            reports: Deque::new(),
            window: Window::new(Stream::Reports, ANSWER_US),
            epoch: 0,
            next: 0,
            delivered: 0,
            overflowed: 0,
        }
    }

    /// Keeps a report, unless there is no room, or nobody who will acknowledge it.
    fn keep(&mut self, report: Report) -> Result<(), Report> {
        if self.epoch == 0 {
            return Err(report);
        }
        self.reports.push_back(report).inspect_err(|_| {
            self.overflowed = self.overflowed.saturating_add(1);
        })?;
        self.window.push(Ticket {
            epoch: self.epoch,
            number: self.next,
            behind: 0,
        });
        self.next += 1;
        Ok(())
    }
}

/// The sending side of a line.
#[derive(Debug)]
pub(crate) struct Outbox<L> {
    waiting: Waiting,
    channel: Channel<L>,
}

impl<L: Write> Outbox<L> {
    pub(crate) const fn new(line: L) -> Self {
        Self {
            waiting: Waiting::new(),
            channel: Channel::new(line),
        }
    }

    /// Sends one message.
    pub(crate) fn send(&mut self, message: &Message) {
        self.channel.send(message);
    }

    /// Takes who greets: the first gives this life of the board its epoch. What has not come is sent
    /// anew.
    pub(crate) fn meet(&mut self, challenge: u64, clock: &mut impl Clock) {
        if self.waiting.epoch == 0 {
            self.waiting.epoch = self.channel.epoch(challenge, clock);
        }
        self.waiting.window.begin_anew();
    }

    /// Adds to a greeting what is promised on this line.
    pub(crate) fn promise(&self, hello: &mut Hello, challenge: u64) {
        hello.challenge = challenge;
        hello.epoch = self.waiting.epoch;
        if hello.epoch != 0 {
            hello.guarantee = Guarantee::Volatile;
        }
    }

    /// Sends a flagged report, and keeps it until the host has it, if it can; else it is sent once.
    #[inline(never)]
    pub(crate) fn flagged(&mut self, report: Report, now_us: u64) {
        match self.waiting.keep(report) {
            Ok(()) => self.repeat(now_us),
            Err(report) => self.send(&Message::Report(report)),
        }
    }

    /// Sends one report that is due.
    #[inline(never)]
    pub(crate) fn repeat(&mut self, now_us: u64) {
        if let Some((place, ticket)) = self.waiting.window.send(now_us)
            && let Some(mut report) = self.waiting.reports.iter().nth(place).cloned()
        {
            report.ticket = Some(ticket);
            self.send(&Message::Report(report));
        }
    }

    /// The host has said something.
    pub(crate) fn hear(&mut self) {
        self.waiting.window.hear();
    }

    /// Takes what the host says has come.
    pub(crate) fn acknowledge(&mut self, answer: &Acknowledgement) {
        for _ in 0..self.waiting.window.acknowledge(answer) {
            self.waiting.reports.pop_front();
            self.waiting.delivered = self.waiting.delivered.saturating_add(1);
        }
    }

    pub(crate) fn statistics(&self) -> DeliveryStatistics {
        DeliveryStatistics {
            delivered: self.waiting.delivered,
            pending: self.waiting.reports.len() as u32,
            resent: self.waiting.window.resent(),
            overflowed: self.waiting.overflowed,
            dropped: 0,
        }
    }

    pub(crate) const fn channel(&self) -> &Channel<L> {
        &self.channel
    }

    pub(crate) const fn channel_mut(&mut self) -> &mut Channel<L> {
        &mut self.channel
    }
}

/// The text of a notice: as much as fits.
#[must_use]
pub fn text(content: fmt::Arguments<'_>) -> String<64> {
    struct Cut(String<64>);
    impl fmt::Write for Cut {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            text.chars()
                .try_for_each(|character| self.0.push(character))
                .map_err(|_| fmt::Error)
        }
    }
    let mut cut = Cut(String::new());
    // Fails when it is full, which is meant.
    let _ = cut.write_fmt(content);
    cut.0
}
