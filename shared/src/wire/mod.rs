//! The serial protocol: what a device says and is told, and how it survives a bad line.
//!
//! [`message`] defines what is said, [`request`] what is told. Two formats carry messages: [`frame`], compact and binary, and
//! [`text`], one line a message for people with a plain terminal. Both carry a sequence number, so
//! that what is lost can be counted, and a CRC-32, so that what is damaged is never believed.
//! [`link`] sends and receives either. Requests are binary. [`delivery`] says how what must not be lost
//! arrives all the same.

pub mod delivery;
pub mod frame;
pub mod link;
pub mod message;
pub mod request;
pub mod seal;
pub mod text;

mod decimal;
mod field;
mod notice;
mod older;
mod performance;
mod reception;
mod thumbnail;

pub use message::{Message, Packet};
pub use reception::LinkCounters;

use core::fmt;

use crc::{CRC_32_ISO_HDLC, Crc};

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// CRC-32/ISO-HDLC (that of zip and Ethernet), as the protocol and model fingerprints use it.
#[must_use]
pub const fn crc32(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes)
}

/// Why received bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// Longer than any message.
    TooLong,
    /// Not framed as the protocol frames: broken byte stuffing, or a line without a checksum.
    Malformed,
    /// The checksum does not match.
    Checksum,
    /// Undamaged, but of another version of the protocol.
    Version {
        /// Version of the sender.
        received: u8,
        /// Version of this side.
        expected: u8,
    },
    /// Undamaged, but what this side's other end is told: the line echoes.
    Direction,
    /// Undamaged, but not a message that this side knows.
    Content,
    /// Undamaged, but not sealed with this side's key for this session.
    Unsealed,
    /// Sealed, and this side has no key.
    Sealed,
    /// Sealed, but taken before.
    Replayed,
}

impl FrameError {
    /// Whether the bytes arrived as they were sent, and only their meaning is unknown.
    #[must_use]
    pub const fn is_undamaged(self) -> bool {
        !matches!(self, Self::TooLong | Self::Malformed | Self::Checksum)
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("damaged: longer than any message"),
            Self::Malformed => f.write_str("damaged: not framed as a message"),
            Self::Checksum => f.write_str("damaged: the checksum does not match"),
            Self::Version { received, expected } => write!(
                f,
                "the sender speaks protocol version {received}, this side version {expected}: \
                 update the {}",
                if received < expected {
                    "sender"
                } else {
                    "receiver"
                }
            ),
            Self::Direction => {
                f.write_str("undamaged, but sent by this side: the line echoes what it is given")
            }
            Self::Unsealed => f.write_str(
                "not sealed with this side's key for this session: do both ends have the same --key?",
            ),
            Self::Sealed => f.write_str("sealed: this side needs the other's --key"),
            Self::Replayed => f.write_str("sealed, but it came before: somebody repeats what was sent"),
            Self::Content => f.write_str(
                "undamaged, but not a known message: sender and receiver are different builds, \
                 update the older one",
            ),
        }
    }
}

impl core::error::Error for FrameError {}

/// A buffer too small for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeError;

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the buffer is too small for the message")
    }
}

impl core::error::Error for EncodeError {}
