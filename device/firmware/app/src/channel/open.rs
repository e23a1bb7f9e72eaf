//! A line that anybody may hear and speak on.

use core::sync::atomic::{AtomicU32, Ordering};

use embedded_io::Write;
use shared::wire::LinkCounters;
#[cfg(not(feature = "text"))]
use shared::wire::frame::{self, MAX_FRAME};
use shared::wire::link::Sender;
#[cfg(feature = "text")]
use shared::wire::link::WireFormat;
use shared::wire::message::{Message, Notice};
use shared::wire::request::{Request, RequestDeframer};
#[cfg(feature = "text")]
use shared::wire::text::{self, MAX_LINE};

use crate::board::Clock;

/// Number of the next message, for [`last_words`].
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Messages out, and requests in.
#[derive(Debug)]
pub(crate) struct Channel<L> {
    #[cfg(not(feature = "text"))]
    sender: Sender<L, MAX_FRAME>,
    #[cfg(feature = "text")]
    sender: Sender<L>,
    deframer: RequestDeframer,
}

// As a sealed line's, which has a session.
#[allow(clippy::unused_self)]
impl<L: Write> Channel<L> {
    pub(crate) const fn new(line: L) -> Self {
        Self {
            #[cfg(not(feature = "text"))]
            sender: Sender::binary(line),
            #[cfg(feature = "text")]
            sender: Sender::new(line, WireFormat::Text),
            deframer: RequestDeframer::new(),
        }
    }

    /// Sends one message. What a line does not take, the receiver finds missing by its number: there
    /// is nobody else to tell.
    pub(crate) fn send(&mut self, message: &Message) {
        if let Ok(sequence) = self.sender.send(message) {
            NEXT.store(sequence.wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// Takes a byte that has come; gives the request that it ends.
    pub(crate) fn push(&mut self, byte: u8) -> Option<Request> {
        Some(self.deframer.push(byte)?.ok()?.message)
    }

    /// Whether somebody may hear what is said.
    pub(crate) const fn is_heard(&self) -> bool {
        true
    }

    /// The epoch of this life of the board, which the first host gives it by its challenge: there is no
    /// source of randomness.
    pub(crate) fn epoch(&mut self, challenge: u64, _clock: &mut impl Clock) -> u64 {
        challenge
    }

    /// What became of what has come.
    pub(crate) fn counters(&self) -> LinkCounters {
        self.deframer.counters()
    }

    pub(crate) fn line(&mut self) -> &mut L {
        self.sender.get_mut()
    }
}

/// Writes a notice byte by byte, when nothing but `write` works any more.
pub fn last_words(notice: &Notice, write: impl FnMut(u8)) {
    #[cfg(not(feature = "text"))]
    let mut buffer = [0; MAX_FRAME / 4];
    #[cfg(feature = "text")]
    let mut buffer = [0; MAX_LINE / 4];
    let message = Message::Notice(notice.clone());
    let sequence = NEXT.load(Ordering::Relaxed);
    // A delimiter first: another message may have been cut short.
    #[cfg(not(feature = "text"))]
    let (delimiter, length) = (
        &[0][..],
        frame::encode_core(sequence, &message, &mut buffer),
    );
    #[cfg(feature = "text")]
    let (delimiter, length) = (&b"\r\n"[..], text::encode(sequence, &message, &mut buffer));
    if let Ok(length) = length {
        delimiter
            .iter()
            .chain(&buffer[..length])
            .copied()
            .for_each(write);
    }
}
