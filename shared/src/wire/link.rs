//! Sending and receiving in either format.

use core::fmt;

use embedded_io::Write;

use super::frame::{self, Deframer, MAX_FRAME};
use super::message::{Message, Packet};
use super::reception::LinkCounters;
use super::text::{self, MAX_LINE, TextDeframer};
use super::{EncodeError, FrameError};

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WireFormat {
    /// [`frame`].
    #[default]
    Binary,
    /// [`text`].
    Text,
}

impl WireFormat {
    /// Its name on every interface.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Text => "text",
        }
    }

    /// What brings a receiver into step, whatever it has heard before.
    const fn delimiter(self) -> &'static [u8] {
        match self {
            Self::Binary => &[0],
            Self::Text => b"\r\n",
        }
    }
}

impl fmt::Display for WireFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a message was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError<E> {
    /// The message does not fit a frame.
    Encode(EncodeError),
    /// The line failed.
    Io(E),
}

impl<E: fmt::Display> fmt::Display for SendError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encode(error) => error.fmt(f),
            Self::Io(error) => write!(f, "the line failed: {error}"),
        }
    }
}

impl<E: core::error::Error> core::error::Error for SendError<E> {}

const MAX_MESSAGE: usize = if MAX_FRAME > MAX_LINE {
    MAX_FRAME
} else {
    MAX_LINE
};

/// Numbers messages and writes them to a line. `N` is the longest message in bytes.
#[derive(Debug)]
pub struct Sender<W, const N: usize = MAX_MESSAGE> {
    writer: W,
    format: WireFormat,
    sequence: u32,
    /// The receiver may hold part of a frame: at the start, and after a failed write.
    out_of_step: bool,
    buffer: [u8; N],
}

impl<W> Sender<W> {
    /// A sender of either format at the start of its sequence.
    pub const fn new(writer: W, format: WireFormat) -> Self {
        Self::at_start(writer, format)
    }
}

impl<W> Sender<W, MAX_FRAME> {
    /// A sender of binary frames alone, and of what [`frame::encode_core`] writes, which takes less
    /// memory, at the start of its sequence.
    pub const fn binary(writer: W) -> Self {
        Self::at_start(writer, WireFormat::Binary)
    }
}

impl<W, const N: usize> Sender<W, N> {
    const fn at_start(writer: W, format: WireFormat) -> Self {
        Self {
            writer,
            format,
            sequence: 0,
            out_of_step: true,
            buffer: [0; N],
        }
    }
}

impl<W: Write, const N: usize> Sender<W, N> {
    /// Sends one message whole and returns its sequence number. A message that fails uses up its
    /// number, so that the receiver counts it as lost.
    ///
    /// # Errors
    /// [`SendError::Io`] if the line fails.
    pub fn send(&mut self, message: &Message) -> Result<u32, SendError<W::Error>> {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        let length = match self.format {
            // Known at compile time for a sender of binary frames alone, whose program then has no
            // code for text, which is as large as all the rest.
            WireFormat::Text if N >= MAX_LINE => text::encode(sequence, message, &mut self.buffer),
            _ if N >= MAX_LINE => frame::encode(sequence, message, &mut self.buffer),
            _ => frame::encode_core(sequence, message, &mut self.buffer),
        }
        .map_err(SendError::Encode)?;
        if self.out_of_step {
            self.writer
                .write_all(self.format.delimiter())
                .map_err(SendError::Io)?;
        }
        self.out_of_step = true;
        self.writer
            .write_all(&self.buffer[..length])
            .map_err(SendError::Io)?;
        self.out_of_step = false;
        Ok(sequence)
    }

    /// Waits until everything has left.
    ///
    /// # Errors
    /// [`SendError::Io`] if the line fails.
    pub fn flush(&mut self) -> Result<(), SendError<W::Error>> {
        self.writer.flush().map_err(SendError::Io)
    }

    /// The line was interrupted: the receiver may hold part of a frame.
    pub fn begin_anew(&mut self) {
        self.out_of_step = true;
    }

    /// How this sender writes.
    pub fn format(&self) -> WireFormat {
        self.format
    }

    /// The line.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.writer
    }

    /// Gives the line back.
    pub fn into_inner(self) -> W {
        self.writer
    }
}

/// Receives messages from any bytes.
#[derive(Debug, Clone)]
pub struct Receiver {
    format: Option<WireFormat>,
    binary: Deframer,
    text: TextDeframer,
    bytes: u64,
}

impl Receiver {
    /// Receives one format.
    #[must_use]
    pub fn new(format: WireFormat) -> Self {
        Self {
            format: Some(format),
            ..Self::detect()
        }
    }

    /// Receives the format in which the first undamaged frame or line arrives; of errors before it
    /// only [`FrameError::Direction`] is given.
    #[must_use]
    pub fn detect() -> Self {
        Self {
            format: None,
            binary: Deframer::new(),
            text: TextDeframer::new(),
            bytes: 0,
        }
    }

    /// The format, once it is known.
    #[must_use]
    pub fn format(&self) -> Option<WireFormat> {
        self.format
    }

    /// Takes one byte; gives a packet, or the reason there is none, at the end of each frame or
    /// line.
    pub fn push(&mut self, byte: u8) -> Option<Result<Packet, FrameError>> {
        match self.format {
            Some(WireFormat::Binary) => return self.binary.push(byte),
            Some(WireFormat::Text) => return self.text.push(byte),
            None => self.bytes = self.bytes.saturating_add(1),
        }
        for format in [WireFormat::Binary, WireFormat::Text] {
            let result = match format {
                WireFormat::Binary => self.binary.push(byte),
                WireFormat::Text => self.text.push(byte),
            };
            let undamaged = match &result {
                Some(Ok(_)) => true,
                // An echo of what this side sent says nothing of how the other speaks.
                Some(Err(FrameError::Direction)) => return result,
                Some(Err(error)) => error.is_undamaged(),
                None => false,
            };
            if undamaged {
                self.format = Some(format);
                return result;
            }
        }
        None
    }

    /// What became of the bytes so far. While the format is unknown, every byte counts as
    /// discarded.
    #[must_use]
    pub fn counters(&self) -> LinkCounters {
        match self.format {
            Some(WireFormat::Binary) => self.binary.counters(),
            Some(WireFormat::Text) => self.text.counters(),
            None => LinkCounters {
                discarded_bytes: self.bytes,
                ..LinkCounters::default()
            },
        }
    }
}
