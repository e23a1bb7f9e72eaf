//! The binary format, the same in both directions.
//!
//! ```text
//! COBS( version: u8 | postcard(sequence: u32, payload) | CRC-32 of all before: u32 LE )  0x00
//! ```
//!
//! Byte stuffing (COBS, Cheshire and Baker 1999) keeps 0x00 out of the frame, so 0x00 always ends
//! one and a receiver is in step again after the next, whatever came before. Nothing between two
//! delimiters is ever read in part: it is one whole frame with a matching CRC, or it is discarded.
//!
//! The highest bit of the version tells the direction: clear in what a device says
//! ([`Message`]), set in what it is told ([`Request`](super::request::Request)), so that a line that
//! echoes is not taken for the other end.

use core::marker::PhantomData;

use crc::Digest;
use postcard::ser_flavors::{Cobs, Flavor, Slice};
use serde::de::DeserializeOwned;
use serde::ser::{Error as _, Serialize, Serializer};

use super::message::{Message, PROTOCOL_VERSION, Packet};
use super::older;
use super::reception::{LinkCounters, Reception};
use super::seal::SEALED;
use super::{CRC, EncodeError, FrameError, crc32};
use crate::image::Preprocessing;
use crate::triage::Cause;

pub(super) const CRC_BYTES: usize = 4;
/// Bit of the version byte that is set in what the host sends.
pub(super) const TO_DEVICE: u8 = 0x80;

/// What travels one way.
pub trait Payload: Serialize + DeserializeOwned {
    /// First byte of each of its frames.
    const VERSION: u8;

    /// Whether a sender that starts anew begins with this.
    fn starts_sequence(&self) -> bool;

    /// Reads what an older version wrote, if that is still known.
    #[must_use]
    fn of_version(_version: u8, _content: &[u8]) -> Option<Packet<Self>> {
        None
    }
}

impl Payload for Message {
    const VERSION: u8 = PROTOCOL_VERSION;

    fn starts_sequence(&self) -> bool {
        matches!(self, Self::Hello(_))
    }

    fn of_version(version: u8, content: &[u8]) -> Option<Packet> {
        let (sequence, message) = older::read(version, content)?;
        Some(Packet { sequence, message })
    }
}

/// The largest message, a greeting: variant, schema, three strings, model, input, classes, labels,
/// passes, seed, thresholds, epoch, challenge, promise, preprocessing, each with its longest varint.
const MAX_MESSAGE: usize = 1
    + (10 + 25 + 17 + 17 + 5 + 9 + 3)
    + (1 + 16 * 17)
    + (5 + 10 + 4 * Cause::ALL.len())
    + (10 + 10 + 1)
    + (1 + Preprocessing::BYTES);

/// Bytes of the longest frame of a message, its delimiter included.
pub const MAX_FRAME: usize = longest_frame(MAX_MESSAGE);

/// Bytes of a frame around a payload of so many: version, sequence (a varint), CRC, stuffing and
/// delimiter.
pub(super) const fn longest_frame(payload: usize) -> usize {
    let body = 1 + 5 + payload + CRC_BYTES;
    body + body.div_ceil(254) + 1
}

/// Writes one frame, its delimiter included, and returns its length.
///
/// # Errors
/// If `out` is too small; [`MAX_FRAME`] always suffices.
pub fn encode(sequence: u32, message: &Message, out: &mut [u8]) -> Result<usize, EncodeError> {
    encode_payload(sequence, message, out)
}

/// As [`encode`], but for greetings, reports, statistics, notices and echoes alone: a microcontroller says
/// nothing else, and code that could would take its flash.
///
/// # Errors
/// If `out` is too small, or the message is another.
pub fn encode_core(sequence: u32, message: &Message, out: &mut [u8]) -> Result<usize, EncodeError> {
    write(PROTOCOL_VERSION, sequence, &Core(message), out)
}

pub(super) struct Core<'a>(pub(super) &'a Message);

impl Serialize for Core<'_> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Message::Thumbnail(_) | Message::Performance(_) => Err(S::Error::custom("")),
            message => message.serialize(serializer),
        }
    }
}

pub(super) fn encode_payload<T: Payload>(
    sequence: u32,
    payload: &T,
    out: &mut [u8],
) -> Result<usize, EncodeError> {
    write(T::VERSION, sequence, payload, out)
}

fn write(
    version: u8,
    sequence: u32,
    payload: &impl Serialize,
    out: &mut [u8],
) -> Result<usize, EncodeError> {
    Cobs::try_new(Slice::new(out))
        .and_then(|stuffed| {
            let checked = Checked {
                inner: stuffed,
                digest: CRC.digest(),
            };
            postcard::serialize_with_flavor(&(version, sequence, payload), checked)
        })
        .map(|written| written.len())
        .map_err(|_| EncodeError)
}

/// Appends the CRC-32 of what is written.
struct Checked<F> {
    inner: F,
    digest: Digest<'static, u32>,
}

impl<F: Flavor> Flavor for Checked<F> {
    type Output = F::Output;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.digest.update(&[byte]);
        self.inner.try_push(byte)
    }

    fn finalize(mut self) -> postcard::Result<F::Output> {
        self.inner
            .try_extend(&self.digest.finalize().to_le_bytes())?;
        self.inner.finalize()
    }
}

/// Finds the messages in a stream of bytes.
pub type Deframer = FrameReceiver<Message, MAX_FRAME>;

/// Finds the frames of one direction, `N` bytes long at most, in a stream of bytes.
///
/// Until the first delimiter the receiver may have joined in the middle of a frame, so what fails
/// to decode there is discarded without an error; after it, every failure is reported once.
#[derive(Debug, Clone)]
pub struct FrameReceiver<T, const N: usize> {
    reception: Reception<N>,
    payload: PhantomData<T>,
}

impl<T: Payload, const N: usize> FrameReceiver<T, N> {
    /// A receiver that has heard nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            reception: Reception::new(),
            payload: PhantomData,
        }
    }

    /// What became of the bytes so far.
    #[must_use]
    pub fn counters(&self) -> LinkCounters {
        self.reception.counters()
    }

    /// Takes one byte; gives a packet, or the reason there is none, at the end of each frame.
    pub fn push(&mut self, byte: u8) -> Option<Result<Packet<T>, FrameError>> {
        self.push_with(byte, decode)
    }

    /// As [`FrameReceiver::push`], with another way to decode what lies between two delimiters.
    pub fn push_with(
        &mut self,
        byte: u8,
        decode: impl FnOnce(&mut [u8]) -> Result<Packet<T>, FrameError>,
    ) -> Option<Result<Packet<T>, FrameError>> {
        if byte == 0 {
            self.reception.finish(decode)
        } else {
            self.reception.push(byte);
            None
        }
    }
}

impl<T: Payload, const N: usize> Default for FrameReceiver<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Decodes what lies between two delimiters, in place.
///
/// # Errors
/// [`FrameError`], except [`FrameError::TooLong`].
pub fn decode<T: Payload>(frame: &mut [u8]) -> Result<Packet<T>, FrameError> {
    let covered = unstuff(frame)?;
    let (&version, content) = covered.split_first().ok_or(FrameError::Malformed)?;
    check_direction::<T>(version)?;
    if version & !SEALED == T::VERSION && version & SEALED != 0 {
        return Err(FrameError::Sealed);
    }
    if let Err(error) = check_version::<T>(version) {
        return T::of_version(version, content).ok_or(error);
    }
    match postcard::take_from_bytes(content) {
        Ok(((sequence, message), [])) => Ok(Packet { sequence, message }),
        _ => Err(FrameError::Content),
    }
}

/// What a frame's checksum covers.
pub(super) fn unstuff(frame: &mut [u8]) -> Result<&[u8], FrameError> {
    let length = cobs::decode_in_place(frame).map_err(|_| FrameError::Malformed)?;
    let (covered, crc) = frame[..length]
        .split_last_chunk::<CRC_BYTES>()
        .ok_or(FrameError::Malformed)?;
    if covered.is_empty() {
        return Err(FrameError::Malformed);
    }
    if crc32(covered) != u32::from_le_bytes(*crc) {
        return Err(FrameError::Checksum);
    }
    Ok(covered)
}

pub(super) fn check_direction<T: Payload>(version: u8) -> Result<(), FrameError> {
    if (version ^ T::VERSION) & TO_DEVICE == 0 {
        Ok(())
    } else {
        Err(FrameError::Direction)
    }
}

pub(super) fn check_version<T: Payload>(version: u8) -> Result<(), FrameError> {
    if version == T::VERSION {
        Ok(())
    } else {
        Err(FrameError::Version {
            received: version & !TO_DEVICE,
            expected: PROTOCOL_VERSION,
        })
    }
}
