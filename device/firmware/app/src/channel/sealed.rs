//! A line that leaves the box: all that is said is sealed with the key that the firmware was built with,
//! and nothing else is taken (`shared::wire::seal`).

use embedded_io::Write;
use shared::wire::LinkCounters;
use shared::wire::frame::FrameReceiver;
use shared::wire::message::{Message, Notice};
use shared::wire::request::Request;
use shared::wire::seal::{DeviceSession, Key, MAX_SEALED, MAX_SEALED_REQUEST};

use crate::board::Clock;
use crate::key;

const KEY: [u8; 32] = match key::of_digits(env!("MCDROPOUT_KEY").as_bytes()) {
    Some(key) => key,
    None => panic!("MCDROPOUT_KEY is not a key of 64 hexadecimal digits"),
};

/// Messages out, and requests in.
#[derive(Debug)]
pub(crate) struct Channel<L> {
    line: L,
    session: DeviceSession,
    /// Messages sealed so far.
    sequence: u32,
    deframer: FrameReceiver<Request, MAX_SEALED_REQUEST>,
}

impl<L: Write> Channel<L> {
    pub(crate) const fn new(line: L) -> Self {
        Self {
            line,
            session: DeviceSession::new(Key(KEY), 0),
            sequence: 0,
            deframer: FrameReceiver::new(),
        }
    }

    /// Sends one message. What a line does not take, the receiver finds missing by its number: there
    /// is nobody else to tell.
    #[inline(never)]
    pub(crate) fn send(&mut self, message: &Message) {
        // A delimiter first: the other end may hold part of a message.
        let mut bytes = [0; 1 + MAX_SEALED];
        let sealed = self
            .session
            .seal_core(self.sequence, message, &mut bytes[1..]);
        self.sequence = self.sequence.saturating_add(1);
        if let Ok(length) = sealed {
            let _ = self.line.write_all(&bytes[..=length]);
        }
    }

    /// Takes a byte that has come; gives the request that it ends, if it is sealed for this session and
    /// has not come before.
    #[inline(never)]
    pub(crate) fn push(&mut self, byte: u8) -> Option<Request> {
        let session = &mut self.session;
        let received = self.deframer.push_with(byte, |frame| session.open(frame))?;
        Some(received.ok()?.message)
    }

    /// Whether somebody may hear what is said.
    pub(crate) const fn is_heard(&self) -> bool {
        self.session.is_heard()
    }

    /// The epoch of this life of the board, drawn at its first greeting. A challenge that somebody
    /// repeats must not bring an earlier life back, so there is more in it.
    #[inline(never)]
    pub(crate) fn epoch(&mut self, _challenge: u64, clock: &mut impl Clock) -> u64 {
        self.session.draw_epoch(clock.now_us(), &clock.residue())
    }

    /// What became of what has come.
    pub(crate) fn counters(&self) -> LinkCounters {
        self.deframer.counters()
    }

    pub(crate) fn line(&mut self) -> &mut L {
        &mut self.line
    }
}

/// Says nothing: without a seal nobody would hear it, and a program that has failed seals no more. What
/// it leaves in memory is told, sealed, after the next start.
pub fn last_words(_notice: &Notice, _write: impl FnMut(u8)) {}
