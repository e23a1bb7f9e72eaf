//! The host's end of a line to a board that judges the frames it is sent.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use device::serial::nonce;
use shared::image::FrameView;
use shared::wire::message::{Hello, Message, NoticeCode, Report, SCHEMA_HASH};
use shared::wire::request::{FramePart, Greeting, Request};
use shared::wire::seal::MAX_SEALED;
use shared::wire::{FrameError, LinkCounters, Packet};

use super::super::view::mismatch;
use crate::monitor::{Deliveries, Ear, Seal, explain};

/// How often a frame is sent again.
pub(super) const RESENDS: u32 = 3;
/// How often a board is greeted before it counts as silent.
const GREETINGS: u32 = 3;
/// How long a greeting is waited for.
const GREETING: Duration = Duration::from_secs(3);
/// How long the first answer is waited for; what later ones take is known from those before.
const FIRST: Duration = Duration::from_secs(30);
/// How long the totals are waited for that follow a greeting.
const TOTALS: Duration = Duration::from_secs(1);

/// Takes a message to be shown.
pub(super) type Heard<'a> = dyn FnMut(&Packet, &LinkCounters) -> anyhow::Result<()> + 'a;

/// What became of a frame.
#[derive(Debug)]
pub(super) enum Answer {
    /// It was judged; the round trip is known if it was sent once.
    Report {
        report: Report,
        round_trip: Option<Duration>,
    },
    /// The board cannot judge it.
    Refused,
    /// Nothing came, however often it was sent.
    Silence,
    /// Somebody stopped the program.
    Stopped,
}

/// A line to a board, `L`, whose reads end with `TimedOut` after a short silence.
pub(super) struct Board<L> {
    line: L,
    name: String,
    baud: u32,
    /// How long an answer is waited for, if it was asked for.
    timeout: Option<Duration>,
    stop: Arc<AtomicBool>,
    seal: Seal,
    receiver: Ear,
    inbox: VecDeque<Packet>,
    hello: Option<Hello>,
    /// Requests sent.
    pub(super) requests: u32,
    /// Frames sent again.
    pub(super) resends: u32,
    /// Longest time from a frame's first byte to its answer.
    slowest: Option<Duration>,
    /// What the line made of messages that arrived undamaged, but are none.
    foreign: Option<FrameError>,
    /// What has come of what is repeated until it is acknowledged.
    deliveries: Deliveries,
    /// On a sealed line: what came last was not sealed for this session.
    is_foreign: bool,
}

impl<L: Read + Write> Board<L> {
    /// A board named `name` at the other end of `line`, which has this `seal` and carries `baud` bits per
    /// second. An answer is waited for `timeout`, or as long as the others' suggest.
    pub(super) fn new(
        line: L,
        name: String,
        seal: Seal,
        baud: u32,
        timeout: Option<Duration>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Self {
            line,
            name,
            baud,
            timeout,
            stop,
            receiver: Ear::new(&seal),
            seal,
            inbox: VecDeque::new(),
            hello: None,
            requests: 0,
            resends: 0,
            slowest: None,
            foreign: None,
            deliveries: Deliveries::default(),
            is_foreign: false,
        }
    }

    fn greet_now(&mut self) -> anyhow::Result<()> {
        let challenge = nonce();
        self.seal.begin(challenge);
        self.is_foreign = false;
        self.send(&[Request::Greet(Greeting { challenge })])
            .map(drop)
    }

    /// What became of everything that came.
    pub(super) fn counters(&self) -> LinkCounters {
        self.receiver.counters()
    }

    /// Asks who is there; `None` if somebody stopped the program.
    pub(super) fn greet(&mut self, heard: &mut Heard<'_>) -> anyhow::Result<Option<Hello>> {
        for _ in 0..GREETINGS {
            self.greet_now()?;
            let deadline = Instant::now() + self.timeout.unwrap_or(GREETING);
            while let Some(packet) = self.receive(deadline)? {
                heard(&packet, &self.counters())?;
                match packet.message {
                    Message::Hello(hello) => return self.meet(hello).map(Some),
                    Message::Notice(notice)
                        if notice.code.is_failure() && notice.code != NoticeCode::Panicked =>
                    {
                        bail!(
                            "the device at {} runs nothing: {}",
                            self.name,
                            explain(&notice)
                        )
                    }
                    _ => {}
                }
            }
            if self.is_stopped() {
                return Ok(None);
            }
        }
        Err(self.silence())
    }

    /// Checks that this is a board to talk to.
    fn meet(&mut self, hello: Hello) -> anyhow::Result<Hello> {
        if hello.schema != SCHEMA_HASH {
            bail!("at {}, {}", self.name, mismatch(&hello));
        }
        self.hello = Some(hello.clone());
        Ok(hello)
    }

    /// Checks that this is still the board that was met.
    fn recognise(&self, hello: &Hello) -> anyhow::Result<()> {
        let known = self.hello.as_ref();
        ensure!(
            known.is_some_and(|known| known.is_like(hello)),
            "the device at {} is not what it was: it greets anew, with another model or settings",
            self.name
        );
        Ok(())
    }

    /// On a sealed line, greets again before a frame is sent again: a board that has started anew knows
    /// nothing of the session.
    fn greet_anew(&mut self, heard: &mut Heard<'_>) -> anyhow::Result<()> {
        if !self.seal.is_sealed() {
            return Ok(());
        }
        self.greet_now()?;
        let deadline = Instant::now() + self.timeout.unwrap_or(GREETING);
        while let Some(packet) = self.receive(deadline)? {
            // The answer to what is sent again now.
            if matches!(packet.message, Message::Report(_)) {
                continue;
            }
            heard(&packet, &self.counters())?;
            if let Message::Hello(hello) = &packet.message {
                return self.recognise(hello);
            }
        }
        Ok(())
    }

    /// Why nobody greeted.
    fn silence(&self) -> anyhow::Error {
        let Self { name, .. } = self;
        let LinkCounters {
            received,
            discarded_bytes,
            ..
        } = self.counters();
        match self.foreign {
            Some(FrameError::Direction) => anyhow::anyhow!(
                "the line at {name} echoes what is sent, and nothing else comes: is there a board at its other end?"
            ),
            Some(error) => anyhow::anyhow!("what is at {name} is no partner: {error}"),
            None if received > 0 => anyhow::anyhow!(
                "the device at {name} talks but does not answer: it may take no frames (host monitor shows what it says)"
            ),
            None if discarded_bytes > 0 => anyhow::anyhow!(
                "{discarded_bytes} bytes came from {name}, and none of them is a message: is --baud right, and is this the board's port?"
            ),
            // Who has another key is silent.
            None if self.seal.is_sealed() => anyhow::anyhow!(
                "nothing comes from {name}: is the board running, connected in both directions, and has its firmware this --key?"
            ),
            None => anyhow::anyhow!(
                "nothing comes from {name}: is the board running, and connected in both directions? (firmware with a key answers only with --key)"
            ),
        }
    }

    /// Has a picture judged as frame number `frame`. Messages that come meanwhile, and the answer, are given to `heard`; an answer to another frame, which came too
    /// late or twice, is not.
    pub(super) fn judge(
        &mut self,
        frame: u32,
        picture: &FrameView<'_>,
        heard: &mut Heard<'_>,
    ) -> anyhow::Result<Answer> {
        let parts: Vec<_> = FramePart::split(frame, picture)
            .map(Request::Frame)
            .collect();
        let first = Instant::now();
        for attempt in 0..=RESENDS {
            if attempt > 0 {
                self.resends += 1;
                tracing::debug!("frame {frame} is sent again");
            }
            if attempt > 0 || self.is_foreign {
                self.greet_anew(heard)?;
            }
            let sent = Instant::now();
            let airtime = self.send(&parts)?;
            let deadline = sent + airtime + self.patience();
            while let Some(packet) = self.receive(deadline)? {
                if matches!(&packet.message, Message::Report(report) if report.frame != frame) {
                    tracing::debug!("an answer came late, or twice");
                    continue;
                }
                heard(&packet, &self.counters())?;
                match packet.message {
                    Message::Report(report) => {
                        // Which of several sendings was answered is not known (Karn and Partridge
                        // 1987): the time since the first is a bound, but no round trip.
                        let taken = first.elapsed();
                        self.slowest = self.slowest.max(Some(taken));
                        let round_trip = (attempt == 0).then_some(taken);
                        return Ok(Answer::Report { report, round_trip });
                    }
                    Message::Notice(notice) if notice.detail == frame => match notice.code {
                        NoticeCode::FrameRefused => return Ok(Answer::Refused),
                        NoticeCode::FrameIncomplete => break,
                        _ => {}
                    },
                    Message::Hello(hello) => {
                        self.recognise(&hello)?;
                        if packet.sequence == 0 {
                            // It started again: what it was sent is gone.
                            break;
                        }
                    }
                    _ => {}
                }
            }
            if self.is_stopped() {
                return Ok(Answer::Stopped);
            }
        }
        Ok(Answer::Silence)
    }

    /// Greets again, because totals follow a greeting, and gives what comes until they do to
    /// `heard`.
    pub(super) fn totals(&mut self, heard: &mut Heard<'_>) -> anyhow::Result<()> {
        self.greet_now()?;
        let deadline = Instant::now() + TOTALS;
        while let Some(packet) = self.receive(deadline)? {
            if matches!(packet.message, Message::Report(_)) {
                continue;
            }
            heard(&packet, &self.counters())?;
            if matches!(packet.message, Message::Statistics(_)) {
                break;
            }
        }
        Ok(())
    }

    /// How long to wait for an answer: without experience long, with it a few times as long as the
    /// slowest so far, because with adaptive passes a frame may take several times another's time.
    fn patience(&self) -> Duration {
        self.timeout.unwrap_or_else(|| match self.slowest {
            Some(slowest) => FIRST.min(4 * slowest + Duration::from_secs(2)),
            None => FIRST,
        })
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Sends requests one after the other, and gives how long they are on the line.
    fn send(&mut self, requests: &[Request]) -> anyhow::Result<Duration> {
        // What a disturbed line left in the receiver ends here.
        let mut bytes = vec![0];
        for request in requests {
            let mut frame = [0; MAX_SEALED];
            let length = self
                .seal
                .encode(self.requests, request, &mut frame)
                .context("cannot make a request")?;
            self.requests = self.requests.wrapping_add(1);
            bytes.extend_from_slice(&frame[..length]);
        }
        match self.line.write_all(&bytes) {
            // Told by who asks next.
            Err(_) if self.is_stopped() => {}
            written => written.with_context(|| format!("cannot send to {}", self.name))?,
        }
        // A start bit, eight bits and a stop bit a byte.
        Ok(Duration::from_secs(10) * bytes.len() as u32 / self.baud)
    }

    /// The next message; `None` at the deadline, if somebody stopped the program, or if the board, on a
    /// sealed line, has left the session.
    fn receive(&mut self, deadline: Instant) -> anyhow::Result<Option<Packet>> {
        let mut bytes = [0; 512];
        while !self.is_stopped() {
            if let Some(packet) = self.inbox.pop_front() {
                return Ok(Some(packet));
            }
            let count = match self.line.read(&mut bytes) {
                Ok(0) => bail!("{} hung up; was it unplugged?", self.name),
                Ok(count) => count,
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::TimedOut | ErrorKind::Interrupted | ErrorKind::WouldBlock
                    ) =>
                {
                    0
                }
                // In words, not as the error's cause: a broken pipe would end the program quietly.
                Err(error) => bail!(
                    "cannot receive from {}: {error}; was it unplugged?",
                    self.name
                ),
            };
            for &byte in &bytes[..count] {
                match self.receiver.push(byte, &mut self.seal) {
                    Some(Ok(packet)) => {
                        if let Message::Report(report) = &packet.message
                            && let Some(ticket) = report.ticket
                            && !self.deliveries.report(ticket)
                        {
                            tracing::debug!("an answer came again");
                            continue;
                        }
                        self.inbox.push_back(packet);
                    }
                    Some(Err(error)) => self.note(error),
                    None => {}
                }
            }
            let answers: Vec<_> = self
                .deliveries
                .acknowledgements()
                .into_iter()
                .map(Request::Acknowledge)
                .collect();
            if !answers.is_empty() {
                self.send(&answers)?;
            }
            if self.inbox.is_empty() && (self.is_foreign || Instant::now() >= deadline) {
                break;
            }
        }
        Ok(None)
    }

    fn note(&mut self, error: FrameError) {
        // An echo tells less of who is there than anything else.
        if error.is_undamaged() && matches!(self.foreign, None | Some(FrameError::Direction)) {
            self.foreign = Some(error);
        }
        let is_unsealed = error == FrameError::Unsealed;
        // Until who is there has answered, this is what comes.
        let is_expected = is_unsealed && self.seal.is_unanswered();
        self.is_foreign |= is_unsealed && !is_expected;
        if error == FrameError::Direction || is_expected {
            tracing::debug!("{error}");
        } else {
            tracing::warn!("{error}");
        }
    }
}
