//! The line to the host, served by a thread of its own: it sends what is due, takes what the host
//! says, and opens a line anew that was lost. The loop never waits for it, unless it has to because no
//! frame is missed meanwhile.
//!
//! What is said waits in order of urgency: greetings, totals and notices; flagged reports; pictures that
//! are acknowledged; reports of accepted frames; other pictures. No more is given to the system than the line can take at its speed, so
//! that what is urgent waits for one message at most.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use device::outbox::{Outbox, OutboxError};
use device::serial::SerialLine;
use embedded_io_adapters::std::FromStd;
use rustix::event::{EventfdFlags, eventfd};
use shared::wire::LinkCounters;
use shared::wire::delivery::{DeliveryStatistics, Guarantee};
use shared::wire::frame::FrameReceiver;
use shared::wire::link::{Sender, WireFormat};
use shared::wire::message::{Echo, Hello, Message, Report, Thumbnail};
use shared::wire::request::Request;
use shared::wire::seal::{DeviceSession, MAX_SEALED};

/// Bits that a serial line takes for a byte: a start and a stop bit go with eight of data.
const BITS: u32 = 10;
/// So much earlier than the line is idle the next message is handed over: a fast line would else wait
/// for this thread more than it carries.
const AHEAD: Duration = Duration::from_millis(2);
/// The longest wait for anything.
const TURN: Duration = Duration::from_millis(200);
/// First and longest wait between two tries to open a line that was lost.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Greetings, totals and notices that wait at most; older ones give way.
const SAID: usize = 64;
/// Reports of accepted frames that wait at most; older ones give way.
const ACCEPTED: usize = 8;
/// Flagged reports, and parts of pictures, that wait at most where none is acknowledged.
const ONCE: usize = 4096;
/// A frame on the line, its answer and the host's log take this long, beside their bytes.
const ANSWER: Duration = Duration::from_millis(250);
/// How often it is told that nobody answers.
const TELL: Duration = Duration::from_mins(1);

/// How long a host may take for its answer on a line of this speed: the time of a few messages.
pub(super) fn answer_timeout(baud: u32) -> Duration {
    ANSWER + byte(baud) * 512
}

fn byte(baud: u32) -> Duration {
    Duration::from_secs(1) * BITS / baud.max(1)
}

/// What the loop and the line's thread share.
struct State {
    hello: Hello,
    /// A greeting is due: answered with this challenge.
    greeting: Option<u64>,
    /// Greeted since [`Line::was_greeted`] was asked last.
    greeted: bool,
    said: VecDeque<Message>,
    flagged: VecDeque<Report>,
    accepted: VecDeque<Report>,
    parts: VecDeque<Thumbnail>,
    /// Where flagged reports are acknowledged.
    outbox: Option<Outbox>,
    overflowed: u32,
    dropped: u32,
    /// The last message was written whole, and the line has had the time to carry it.
    is_idle: bool,
    counters: LinkCounters,
    ended: bool,
}

impl State {
    fn waits(&self) -> bool {
        self.greeting.is_some()
            || !self.said.is_empty()
            || !self.flagged.is_empty()
            || !self.accepted.is_empty()
            || !self.parts.is_empty()
            || !self.is_idle
    }

    /// The next message, by urgency.
    fn next(&mut self, now_us: u64) -> Option<Message> {
        if let Some(challenge) = self.greeting.take() {
            self.hello.challenge = challenge;
            return Some(Message::Hello(self.hello.clone()));
        }
        if let Some(message) = self.said.pop_front() {
            return Some(message);
        }
        if let Some(report) = self.flagged.pop_front() {
            return Some(Message::Report(report));
        }
        let outbox = self.outbox.as_mut();
        // Its reports first, then its pictures, which a host that wants them is owed, too.
        if let Some(message) = outbox.and_then(|outbox| outbox.send(now_us)) {
            return Some(message);
        }
        if let Some(report) = self.accepted.pop_front() {
            return Some(Message::Report(report));
        }
        self.parts.pop_front().map(Message::Thumbnail)
    }

    fn hear(&mut self, request: &Request, now_us: u64) {
        if let Some(outbox) = &mut self.outbox {
            outbox.hear();
        }
        match request {
            Request::Greet(greeting) => {
                self.greeting = Some(greeting.challenge);
                self.greeted = true;
                // Who greets has just begun to listen.
                if let Some(outbox) = &mut self.outbox {
                    outbox.begin_anew();
                }
            }
            Request::Acknowledge(answer) => {
                if let Some(outbox) = &mut self.outbox {
                    outbox.acknowledge(answer);
                }
            }
            Request::Probe(probe) => {
                let echo = Message::Echo(Echo {
                    probe_us: probe.sent_us,
                    device_us: now_us,
                });
                push(&mut self.said, SAID, echo);
            }
            // This device has a source of its own.
            Request::Frame(_) => {}
        }
    }
}

/// Adds to the end of a list of at most `most`; `false` if the oldest had to give way.
fn push<T>(list: &mut VecDeque<T>, most: usize, item: T) -> bool {
    let is_full = list.len() >= most;
    if is_full {
        list.pop_front();
    }
    list.push_back(item);
    !is_full
}

struct Common {
    state: Mutex<State>,
    changed: Condvar,
    bell: OwnedFd,
}

impl Common {
    fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panics ends the program.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        // It fails if it has rung too often to be counted, which is heard, too.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }
}

/// A serial line with its thread.
pub(super) struct Line {
    common: Arc<Common>,
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Line {
    /// Opens the serial port at `path`.
    pub(super) fn open(
        path: &Path,
        baud: u32,
        format: WireFormat,
        hello: Hello,
        outbox: Option<Outbox>,
        seal: Option<DeviceSession>,
        stop: &Arc<AtomicBool>,
    ) -> anyhow::Result<Self> {
        // Not the loop's flag: what waits is sent after it has ended.
        let port = SerialLine::open(path, baud, Arc::default())?;
        let common = Arc::new(Common {
            state: Mutex::new(State {
                hello,
                greeting: None,
                greeted: false,
                said: VecDeque::new(),
                flagged: VecDeque::new(),
                accepted: VecDeque::new(),
                parts: VecDeque::new(),
                outbox,
                overflowed: 0,
                dropped: 0,
                is_idle: true,
                counters: LinkCounters::default(),
                ended: false,
            }),
            changed: Condvar::new(),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                .map_err(io::Error::from)?,
        });
        let began = Instant::now();
        let thread = Thread {
            common: Arc::clone(&common),
            path: path.to_owned(),
            baud,
            port: Some(port),
            sender: Sender::new(FromStd::new(Vec::new()), format),
            seal,
            sealed: 0,
            deframer: FrameReceiver::new(),
            out: Vec::new(),
            busy_until: began,
            began,
            retry: RETRY.0,
            told: None,
        };
        let thread = thread::Builder::new()
            .name("line".to_owned())
            .spawn(move || thread.serve())?;
        Ok(Self {
            common,
            thread: Some(thread),
            stop: Arc::clone(stop),
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.common.state());
        self.common.ring();
        result
    }

    pub(super) fn introduce(&self, hello: Hello) {
        self.change(|state| {
            state.hello = hello;
            state.greeting = Some(0);
        });
    }

    pub(super) fn greet(&self) {
        self.change(|state| {
            // One that answers a challenge is a greeting, too.
            state.greeting.get_or_insert(0);
            if let Some(outbox) = &state.outbox {
                state.hello.guarantee = outbox.guarantee();
            }
        });
    }

    /// Whether the host has greeted since this was asked last.
    pub(super) fn was_greeted(&self) -> bool {
        std::mem::take(&mut self.common.state().greeted)
    }

    pub(super) fn say(&self, message: Message) {
        self.change(|state| push(&mut state.said, SAID, message));
    }

    /// Sends the report of an accepted frame, when the line has time; a `patient` caller waits until it
    /// has.
    pub(super) fn accepted(&self, report: Report, patient: bool) {
        if patient {
            self.wait_until(|state| state.accepted.len() < ACCEPTED);
        }
        self.change(|state| {
            if !push(&mut state.accepted, ACCEPTED, report) {
                state.dropped = state.dropped.saturating_add(1);
            }
        });
    }

    /// Sends the report of a flagged frame, and gives its number in the outbox; nothing if it is sent
    /// once. A `patient` caller waits while there is no room.
    pub(super) fn flagged(
        &self,
        report: Report,
        patient: bool,
    ) -> Result<Option<u32>, OutboxError> {
        let mut outcome = self.change(|state| state.flag(report.clone()));
        while patient
            && matches!(outcome, Err(OutboxError::Full { .. }))
            && !self.stop.load(Ordering::Relaxed)
        {
            self.wait_a_moment();
            outcome = self.change(|state| state.flag(report.clone()));
        }
        if matches!(outcome, Err(OutboxError::Full { .. })) {
            self.change(|state| {
                state.overflowed = state.overflowed.saturating_add(1);
                push(&mut state.flagged, ONCE, report)
            });
        }
        outcome
    }

    /// Sends the picture of the frame whose report has this number; `false` if there is no room.
    pub(super) fn picture(
        &self,
        report: Option<u32>,
        parts: impl Iterator<Item = Thumbnail>,
        patient: bool,
    ) -> Result<bool, OutboxError> {
        let parts: Vec<_> = parts.collect();
        let has_room = |state: &State| match (report, &state.outbox) {
            (Some(_), Some(_)) => true,
            _ => state.parts.len() + parts.len() <= if patient { ACCEPTED } else { ONCE / 16 },
        };
        if patient {
            self.wait_until(has_room);
        }
        self.change(|state| {
            let has_room = patient || has_room(state);
            match (report, &mut state.outbox) {
                (Some(report), Some(outbox)) => {
                    match outbox.push_picture(report, parts.iter().cloned()) {
                        Err(OutboxError::Full { .. }) => Ok(false),
                        result => result.map(|()| true),
                    }
                }
                _ if has_room => {
                    state.parts.extend(parts.iter().cloned());
                    Ok(true)
                }
                _ => Ok(false),
            }
        })
    }

    /// What became of what was to be delivered, and of what came.
    pub(super) fn statistics(&self) -> (DeliveryStatistics, LinkCounters) {
        let state = self.common.state();
        let delivery = state.outbox.as_ref().map(Outbox::statistics);
        let mut delivery = delivery.unwrap_or_default();
        delivery.overflowed = state.overflowed;
        delivery.dropped = state.dropped;
        (delivery, state.counters)
    }

    /// Waits until everything is sent and acknowledged, `patience` at most; how many flagged reports
    /// are not.
    pub(super) fn settle(&self, patience: Duration) -> (usize, Guarantee) {
        let deadline = Instant::now() + patience;
        let mut state = self.common.state();
        loop {
            let is_settled = !state.waits() && state.outbox.as_ref().is_none_or(Outbox::is_empty);
            let left = deadline.saturating_duration_since(Instant::now());
            if is_settled || left.is_zero() {
                break;
            }
            let waited = self.common.changed.wait_timeout(state, left.min(TURN));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        match &state.outbox {
            Some(outbox) => (outbox.waiting(), outbox.guarantee()),
            None => (state.flagged.len(), Guarantee::Once),
        }
    }

    /// Ends the thread, after what is said has left, `patience` at most.
    pub(super) fn close(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut state = self.common.state();
        while (!state.said.is_empty() || !state.is_idle) && Instant::now() < deadline {
            let waited = self.common.changed.wait_timeout(state, TURN / 4);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.ended = true;
        drop(state);
        self.common.ring();
        if let Some(thread) = self.thread.take() {
            // One that panicked has told so itself.
            let _ = thread.join();
        }
    }

    fn wait_until(&self, is_so: impl Fn(&State) -> bool) {
        let mut state = self.common.state();
        while !is_so(&state) && !self.stop.load(Ordering::Relaxed) {
            let waited = self.common.changed.wait_timeout(state, TURN);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wait_a_moment(&self) {
        let state = self.common.state();
        let _ = self.common.changed.wait_timeout(state, TURN);
    }
}

impl State {
    fn flag(&mut self, report: Report) -> Result<Option<u32>, OutboxError> {
        match &mut self.outbox {
            Some(outbox) => outbox.push_report(report).map(Some),
            None if self.flagged.len() >= ONCE => Err(OutboxError::Full {
                waiting: self.flagged.len(),
            }),
            None => {
                self.flagged.push_back(report);
                Ok(None)
            }
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}

/// The thread's own.
struct Thread {
    common: Arc<Common>,
    path: PathBuf,
    baud: u32,
    /// Nothing while the line is lost.
    port: Option<SerialLine>,
    sender: Sender<FromStd<Vec<u8>>>,
    /// If the line is sealed.
    seal: Option<DeviceSession>,
    /// Messages sealed so far.
    sealed: u32,
    deframer: FrameReceiver<Request, MAX_SEALED>,
    /// What is left of the message that is being written.
    out: Vec<u8>,
    /// When the line has carried what was written.
    busy_until: Instant,
    began: Instant,
    retry: Duration,
    /// When it was last told that nobody answers, or that nothing is taken.
    told: Option<Instant>,
}

impl Thread {
    fn serve(mut self) {
        loop {
            let now = Instant::now();
            let wait = {
                let common = Arc::clone(&self.common);
                let mut state = common.state();
                if state.ended {
                    break;
                }
                let now_us = self.began.elapsed().as_micros() as u64;
                let soon = now + AHEAD;
                if self.port.is_some() && self.out.is_empty() && soon >= self.busy_until {
                    if let Some(message) = state.next(now_us) {
                        self.encode(&message);
                        state.is_idle = false;
                    } else {
                        state.is_idle = true;
                    }
                }
                let due = state.outbox.as_mut().and_then(|outbox| {
                    outbox.turn();
                    Some(Duration::from_micros(
                        outbox.next_due_us()?.saturating_sub(now_us),
                    ))
                });
                common.changed.notify_all();
                if !self.out.is_empty() {
                    TURN
                } else if soon < self.busy_until {
                    self.busy_until - soon
                } else {
                    due.unwrap_or(TURN).min(TURN)
                }
            };
            match &mut self.port {
                Some(_) => {
                    if let Err(error) = self.exchange(wait) {
                        self.lose(&error);
                    }
                }
                None => self.reopen(),
            }
            self.tell_if_unanswered();
        }
    }

    fn encode(&mut self, message: &Message) {
        if let Some(seal) = &self.seal {
            let mut bytes = [0; MAX_SEALED];
            match seal.seal(self.sealed, message, &mut bytes) {
                Ok(length) => {
                    // A delimiter first: the other end may hold part of a message.
                    self.out.push(0);
                    self.out.extend(&bytes[..length]);
                }
                Err(error) => tracing::error!("cannot send: {error}"),
            }
            self.sealed = self.sealed.saturating_add(1);
            return;
        }
        // Written to memory, which takes anything; every message fits its frame.
        if let Err(error) = self.sender.send(message) {
            tracing::error!("cannot send: {error}");
        }
        self.out.append(self.sender.get_mut().inner_mut());
    }

    /// Waits for the line and does what it is ready for.
    fn exchange(&mut self, wait: Duration) -> io::Result<()> {
        let Some(port) = &mut self.port else {
            return Ok(());
        };
        let ready = port.wait(!self.out.is_empty(), self.common.bell.as_fd(), wait)?;
        // The bell has rung, or not: what it rang for is looked at now in either case.
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.common.bell, &mut count);
        if ready.write {
            let written = port.offer(&self.out)?;
            self.out.drain(..written);
            let start = self.busy_until.max(Instant::now());
            self.busy_until = start + byte(self.baud) * written as u32;
        }
        if ready.read {
            let mut bytes = [0; 512];
            let taken = port.take(&mut bytes)?;
            let now_us = self.began.elapsed().as_micros() as u64;
            let mut state = self.common.state();
            for &byte in &bytes[..taken] {
                let heard = match &mut self.seal {
                    Some(seal) => self.deframer.push_with(byte, |frame| seal.open(frame)),
                    None => self.deframer.push(byte),
                };
                match heard {
                    Some(Ok(packet)) => state.hear(&packet.message, now_us),
                    Some(Err(error)) if error.is_undamaged() => {
                        tracing::debug!("from the host: {error}");
                    }
                    _ => {}
                }
            }
            state.counters = self.deframer.counters();
            self.common.changed.notify_all();
        }
        Ok(())
    }

    fn lose(&mut self, error: &io::Error) {
        tracing::warn!("the line to the host is lost: {error}; waiting for it to come back");
        self.port = None;
        // The other end has seen at most a part of it.
        self.out.clear();
        self.retry = RETRY.0;
        let mut state = self.common.state();
        state.is_idle = false;
    }

    fn reopen(&mut self) {
        if let Ok(port) = SerialLine::open(&self.path, self.baud, Arc::default()) {
            tracing::info!("{} is back", self.path.display());
            self.port = Some(port);
            self.sender.begin_anew();
            self.busy_until = Instant::now();
            let mut state = self.common.state();
            state.greeting.get_or_insert(0);
            if let Some(outbox) = &mut state.outbox {
                outbox.begin_anew();
            }
            return;
        }
        let deadline = Instant::now() + self.retry;
        self.retry = (self.retry * 2).min(RETRY.1);
        while Instant::now() < deadline && !self.common.state().ended {
            thread::sleep(TURN / 4);
        }
    }

    /// Somebody has to learn that flagged reports only gather.
    fn tell_if_unanswered(&mut self) {
        let waiting = {
            let state = self.common.state();
            let outbox = state.outbox.as_ref();
            outbox
                .filter(|outbox| outbox.is_unanswered() && outbox.waiting() > 0)
                .map(Outbox::waiting)
        };
        match waiting {
            None => self.told = None,
            Some(_) if self.told.is_some_and(|at| at.elapsed() < TELL) => {}
            Some(waiting) => {
                self.told = Some(Instant::now());
                tracing::warn!(
                    "{waiting} flagged reports wait for the host to acknowledge them: is host monitor running at the other end of {}? (--delivery once is for lines without a way back)",
                    self.path.display()
                );
            }
        }
    }
}
