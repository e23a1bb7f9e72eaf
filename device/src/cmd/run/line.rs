//! The line to the host, served by a thread of its own: it sends what is due, takes what the host
//! says, and opens a line anew that was lost. The loop never waits for it, unless it has to because no
//! frame is missed meanwhile.

mod server;
mod state;

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use device::outbox::{Outbox, OutboxError};
use device::serial::SerialLine;
use rustix::event::{EventfdFlags, eventfd};
use shared::wire::LinkCounters;
use shared::wire::delivery::{DeliveryStatistics, Guarantee};
use shared::wire::link::WireFormat;
use shared::wire::message::{Hello, Message, Report, Thumbnail};
use shared::wire::seal::DeviceSession;

use self::server::Server;
use self::state::{ACCEPTED, ONCE, SAID, State, push};

/// Bits that a serial line takes for a byte: a start and a stop bit go with eight of data.
const BITS: u32 = 10;
/// The longest wait for anything.
const TURN: Duration = Duration::from_millis(200);
/// A frame on the line, its answer and the host's log take this long, beside their bytes.
const ANSWER: Duration = Duration::from_millis(250);

/// How long a host may take for its answer on a line of this speed: the time of a few messages.
pub(super) fn answer_timeout(baud: u32) -> Duration {
    ANSWER + byte(baud) * 512
}

fn byte(baud: u32) -> Duration {
    Duration::from_secs(1) * BITS / baud.max(1)
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
            state: Mutex::new(State::new(hello, outbox)),
            changed: Condvar::new(),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                .map_err(io::Error::from)?,
        });
        let server = Server::new(Arc::clone(&common), path, baud, port, format, seal);
        let thread = thread::Builder::new()
            .name("line".to_owned())
            .spawn(move || server.serve())?;
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

    /// Sends the picture of the frame whose report has this number; `false` if there is no room, for
    /// which a `patient` caller waits.
    pub(super) fn picture(
        &self,
        report: Option<u32>,
        parts: impl Iterator<Item = Thumbnail>,
        patient: bool,
    ) -> Result<bool, OutboxError> {
        let parts: Vec<_> = parts.collect();
        let most = if patient { ACCEPTED } else { ONCE / 16 };
        loop {
            let taken = self.change(|state| state.show(report, &parts, most));
            let is_full = matches!(taken, Ok(false));
            if !(is_full && patient) || self.stop.load(Ordering::Relaxed) {
                return taken;
            }
            self.wait_a_moment();
        }
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

impl Drop for Line {
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}
