//! The binary format.
//!
//! ```text
//! COBS( version: u8 | postcard(sequence: u32, message) | CRC-32 of all before: u32 LE )  0x00
//! ```
//!
//! Byte stuffing (COBS, Cheshire and Baker 1999) keeps 0x00 out of the frame, so 0x00 always ends
//! one and a receiver is in step again after the next, whatever came before. Nothing between two
//! delimiters is ever read in part: it is one whole frame with a matching CRC, or it is discarded.

use super::message::{Message, PROTOCOL_VERSION, Packet};
use super::reception::{LinkCounters, Reception};
use super::{EncodeError, FrameError, crc32};
use crate::triage::Cause;

const CRC_BYTES: usize = 4;
/// Version, sequence (a varint) and CRC.
const OVERHEAD: usize = 1 + 5 + CRC_BYTES;
/// The largest message, a greeting: variant, schema, three strings, model, classes, labels,
/// passes, seed, thresholds, each with its longest varint.
const MAX_MESSAGE: usize =
    1 + 10 + 25 + 17 + 17 + 5 + 3 + (1 + 16 * 17) + 5 + 10 + 4 * Cause::ALL.len();
const MAX_BODY: usize = OVERHEAD + MAX_MESSAGE;

/// Bytes of the longest frame, its delimiter included.
pub const MAX_FRAME: usize = MAX_BODY + MAX_BODY.div_ceil(254) + 1;

/// Writes one frame, its delimiter included, and returns its length.
///
/// # Errors
/// If `out` is too small; [`MAX_FRAME`] always suffices.
pub fn encode(sequence: u32, message: &Message, out: &mut [u8]) -> Result<usize, EncodeError> {
    let mut body = [0; MAX_BODY];
    body[0] = PROTOCOL_VERSION;
    let end = MAX_BODY - CRC_BYTES;
    let used = postcard::to_slice(&(sequence, message), &mut body[1..end])
        .map_err(|_| EncodeError)?
        .len();
    let covered = 1 + used;
    let crc = crc32(&body[..covered]);
    body[covered..covered + CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
    let length = cobs::try_encode(&body[..covered + CRC_BYTES], out).map_err(|_| EncodeError)?;
    *out.get_mut(length).ok_or(EncodeError)? = 0;
    Ok(length + 1)
}

/// Finds the frames in a stream of bytes.
///
/// Until the first delimiter the receiver may have joined in the middle of a frame, so what fails
/// to decode there is discarded without an error; after it, every failure is reported once.
#[derive(Debug, Clone)]
pub struct Deframer(Reception<MAX_FRAME>);

impl Deframer {
    /// A receiver that has heard nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Reception::new())
    }

    /// What became of the bytes so far.
    #[must_use]
    pub fn counters(&self) -> LinkCounters {
        self.0.counters()
    }

    /// Takes one byte; gives a packet, or the reason there is none, at the end of each frame.
    pub fn push(&mut self, byte: u8) -> Option<Result<Packet, FrameError>> {
        if byte == 0 {
            self.0.finish(decode)
        } else {
            self.0.push(byte);
            None
        }
    }
}

impl Default for Deframer {
    fn default() -> Self {
        Self::new()
    }
}

/// Decodes what lies between two delimiters, in place.
fn decode(frame: &mut [u8]) -> Result<Packet, FrameError> {
    let length = cobs::decode_in_place(frame).map_err(|_| FrameError::Malformed)?;
    let (covered, crc) = frame[..length]
        .split_last_chunk::<CRC_BYTES>()
        .ok_or(FrameError::Malformed)?;
    let (&version, content) = covered.split_first().ok_or(FrameError::Malformed)?;
    if crc32(covered) != u32::from_le_bytes(*crc) {
        return Err(FrameError::Checksum);
    }
    if version != PROTOCOL_VERSION {
        return Err(FrameError::Version {
            received: version,
            expected: PROTOCOL_VERSION,
        });
    }
    match postcard::take_from_bytes(content) {
        Ok(((sequence, message), [])) => Ok(Packet { sequence, message }),
        _ => Err(FrameError::Content),
    }
}
