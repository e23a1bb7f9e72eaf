//! What both formats share on the receiving side: collecting up to a delimiter, following the
//! sequence, counting what was lost.

use serde::{Deserialize, Serialize};

use super::FrameError;
use super::frame::Payload;
use super::message::Packet;

/// How far behind the expected sequence number a message may be and still be taken for a repeat;
/// from further back it can only come from a sender that started anew.
const REPEAT_WINDOW: u32 = 16;

/// What became of everything that came down a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LinkCounters {
    /// Messages received intact, repeats included.
    pub received: u64,
    /// Messages missed, by gaps in the sequence.
    pub lost: u64,
    /// Messages received again.
    pub duplicates: u64,
    /// Frames or lines that arrived damaged.
    pub corrupt: u64,
    /// Frames or lines that arrived undamaged but are of another protocol version or unknown.
    pub incompatible: u64,
    /// Bytes that belong to no message received, delimiters not counted.
    pub discarded_bytes: u64,
    /// Times the sender began a new sequence.
    pub restarts: u64,
}

/// Collects the bytes between delimiters, `N` at most, and counts what becomes of them.
///
/// Until the first delimiter the receiver may have joined in the middle of a frame, so what fails
/// to decode there is discarded without an error; after it, every failure is reported once.
// The buffer comes first and is aligned, so that a microcontroller clears it by words: the code for bytes
// would be there for nothing else.
#[repr(C)]
#[derive(Debug, Clone)]
pub(super) struct Reception<const N: usize> {
    buffer: [u8; N],
    /// Bytes since the last delimiter, also those that no longer fit the buffer.
    length: usize,
    in_step: bool,
    sequence: Sequence,
    counters: LinkCounters,
}

impl<const N: usize> Reception<N> {
    pub(super) const fn new() -> Self {
        Self {
            buffer: [0; N],
            length: 0,
            in_step: false,
            sequence: Sequence { expected: None },
            counters: LinkCounters {
                received: 0,
                lost: 0,
                duplicates: 0,
                corrupt: 0,
                incompatible: 0,
                discarded_bytes: 0,
                restarts: 0,
            },
        }
    }

    pub(super) fn counters(&self) -> LinkCounters {
        self.counters
    }

    pub(super) fn push(&mut self, byte: u8) {
        if let Some(slot) = self.buffer.get_mut(self.length) {
            *slot = byte;
        }
        self.length = self.length.saturating_add(1);
    }

    /// Takes a delimiter. `decode` may use the bytes in place.
    pub(super) fn finish<T: Payload>(
        &mut self,
        decode: impl FnOnce(&mut [u8]) -> Result<Packet<T>, FrameError>,
    ) -> Option<Result<Packet<T>, FrameError>> {
        let length = core::mem::take(&mut self.length);
        let was_in_step = core::mem::replace(&mut self.in_step, true);
        if length == 0 {
            return None;
        }
        let result = match self.buffer.get_mut(..length) {
            Some(bytes) => decode(bytes),
            None => Err(FrameError::TooLong),
        };
        match &result {
            Ok(packet) => self.sequence.follow(packet, &mut self.counters),
            Err(error) => {
                self.counters.discarded_bytes += length as u64;
                if error.is_undamaged() {
                    self.counters.incompatible += 1;
                } else if was_in_step {
                    self.counters.corrupt += 1;
                } else {
                    return None;
                }
            }
        }
        Some(result)
    }
}

/// Follows the sequence numbers of one sender.
#[derive(Debug, Clone, Copy)]
struct Sequence {
    /// The number that comes next; `None` before the first message.
    expected: Option<u32>,
}

impl Sequence {
    fn follow<T: Payload>(&mut self, packet: &Packet<T>, counters: &mut LinkCounters) {
        let got = packet.sequence;
        counters.received += 1;
        let expected = self.expected.unwrap_or(got);
        let ahead = got.wrapping_sub(expected);
        let behind = expected.wrapping_sub(got);
        if ahead == 0 {
            // In order.
        } else if got == 0 && packet.message.starts_sequence() {
            counters.restarts += 1;
        } else if behind <= REPEAT_WINDOW {
            counters.duplicates += 1;
            return;
        } else if ahead < 1 << 31 {
            counters.lost += u64::from(ahead);
        } else {
            // The greeting of the new sequence, and what followed it, is missing.
            counters.restarts += 1;
            counters.lost += u64::from(got);
        }
        self.expected = Some(got.wrapping_add(1));
    }
}
