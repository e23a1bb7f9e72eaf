//! The thread that serves a serial port: no more is given to the system than the line can take at its
//! speed, so that what is urgent waits for one message at most.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use device::outbox::Outbox;
use device::serial::SerialLine;
use embedded_io_adapters::std::FromStd;
use shared::wire::frame::FrameReceiver;
use shared::wire::link::{Sender, WireFormat};
use shared::wire::message::Message;
use shared::wire::request::Request;
use shared::wire::seal::{DeviceSession, MAX_SEALED};

use super::{Common, TURN, byte};

/// So much earlier than the line is idle the next message is handed over: a fast line would else wait
/// for this thread more than it carries.
const AHEAD: Duration = Duration::from_millis(2);
/// First and longest wait between two tries to open a line that was lost.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How often it is told that nobody answers.
const TELL: Duration = Duration::from_mins(1);

/// What the thread has of its own.
pub(super) struct Server {
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

impl Server {
    pub(super) fn new(
        common: Arc<Common>,
        path: &Path,
        baud: u32,
        port: SerialLine,
        format: WireFormat,
        seal: Option<DeviceSession>,
    ) -> Self {
        let began = Instant::now();
        Self {
            common,
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
        }
    }

    pub(super) fn serve(mut self) {
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
