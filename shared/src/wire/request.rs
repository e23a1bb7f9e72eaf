//! What a device is told over its serial line: greet, what has come, and frames to judge where it has
//! no camera.
//!
//! Requests are framed as binary messages are ([`frame`]), with the direction's bit
//! set in the version. A UART has no flow control, so a host sends one frame and waits for its
//! answer before it sends the next.
//!
//! | request | answer |
//! | --- | --- |
//! | [`Request::Probe`] | [`Echo`](super::message::Echo) |
//! | [`Request::Acknowledge`] | none |
//! | [`Request::Greet`] | [`Hello`](super::message::Hello), then [`Statistics`](super::message::Statistics) |
//! | the last part of a frame | [`Report`](super::message::Report) of the same frame number |
//! | a part that cannot belong to any frame | [`Notice`](super::message::Notice), `frame_refused` |
//! | a part after one that is missing | [`Notice`](super::message::Notice), `frame_incomplete`, once a frame |

use heapless::Vec;
use postcard_schema::Schema;
use serde::{Deserialize, Serialize};

use super::EncodeError;
use super::delivery::Acknowledgement;
use super::frame::{self, FrameReceiver, Payload, TO_DEVICE};
use super::message::{NoticeCode, PROTOCOL_VERSION};
use crate::image::{FrameView, ImageError, PixelFormat};

/// Most bytes of pixels in one part of a frame.
pub const MAX_PIXELS: usize = 128;

/// Anything a device is told.
// Without an allocator the pixels cannot be boxed.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub enum Request {
    /// Say who you are. Begins the sequence of a host; parts of a frame from before are forgotten.
    Greet(Greeting),
    /// Judge a frame, of which this is a part.
    Frame(FramePart),
    /// What has come of what is delivered.
    Acknowledge(Acknowledgement),
    /// Say at once what your clock shows. From time to time, so that each side knows of the other.
    Probe(Probe),
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Schema)]
pub struct Greeting {
    /// A random number, which the answer repeats. A device without a source of randomness takes its
    /// first one as its epoch, or, on a sealed line, draws its epoch from it.
    pub challenge: u64,
}

/// A question after the device's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Probe {
    /// The time on the host's clock, which the answer repeats, µs since any moment.
    pub sent_us: u64,
}

/// Consecutive bytes of a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct FramePart {
    /// Frame number: numbers the masks, and the answer.
    pub frame: u32,
    /// Pixels per row of the whole frame.
    pub width: u16,
    /// Rows of the whole frame.
    pub height: u16,
    /// How its pixels are written.
    pub format: PixelFormat,
    /// Place of the first of these bytes in the frame, whose rows follow each other from the upper one on.
    pub offset: u32,
    /// Bytes of pixels; parts need not begin or end with whole ones.
    pub pixels: Vec<u8, MAX_PIXELS>,
}

impl FramePart {
    /// The parts of frame number `frame` in the order in which they are sent. Columns and rows beyond
    /// 65,535 there are none.
    pub fn split<'a>(frame: u32, picture: &FrameView<'a>) -> impl Iterator<Item = Self> + use<'a> {
        let picture = *picture;
        let (width, height) = (picture.width(), picture.height());
        let mut bytes = (0..height).flat_map(move |row| picture.row(row));
        (0..).step_by(MAX_PIXELS).map_while(move |offset| {
            let pixels: Vec<u8, MAX_PIXELS> = bytes.by_ref().take(MAX_PIXELS).copied().collect();
            (!pixels.is_empty()).then_some(Self {
                frame,
                width: width as u16,
                height: height as u16,
                format: picture.format(),
                offset,
                pixels,
            })
        })
    }
}

impl Payload for Request {
    const VERSION: u8 = PROTOCOL_VERSION | TO_DEVICE;

    fn starts_sequence(&self) -> bool {
        matches!(self, Self::Greet(_))
    }
}

/// Bytes of the longest frame of a request, its delimiter included.
///
/// Variant, frame number, width, height, format, offset and pixels, each with its longest varint.
pub const MAX_REQUEST: usize = frame::longest_frame(1 + 5 + 3 + 3 + 1 + 5 + (2 + MAX_PIXELS));

/// Finds the requests in a stream of bytes.
pub type RequestDeframer = FrameReceiver<Request, MAX_REQUEST>;

/// Writes one request, its delimiter included, and returns its length.
///
/// # Errors
/// If `out` is too small; [`MAX_REQUEST`] always suffices.
pub fn encode(sequence: u32, request: &Request, out: &mut [u8]) -> Result<usize, EncodeError> {
    frame::encode_payload(sequence, request, out)
}

/// A whole frame received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received<'a> {
    /// Frame number.
    pub frame: u32,
    /// Pixels per row.
    pub width: u16,
    /// Rows.
    pub height: u16,
    /// How its pixels are written.
    pub format: PixelFormat,
    /// Row after row.
    pub pixels: &'a [u8],
}

impl<'a> Received<'a> {
    /// The frame as a picture.
    ///
    /// # Errors
    /// [`ImageError::Data`] if there are fewer pixels than its size says, as of no frame from an
    /// [`Assembly`].
    pub fn picture(&self) -> Result<FrameView<'a>, ImageError> {
        FrameView::packed(
            self.format,
            self.width.into(),
            self.height.into(),
            self.pixels,
        )
    }
}

/// Joins the parts of one frame at a time in a buffer of a fixed size.
#[derive(Debug)]
pub struct Assembly<B> {
    buffer: B,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Filling {
        frame: u32,
        shape: (u16, u16, PixelFormat),
        length: usize,
    },
    /// A part is missing, which was told.
    Broken {
        frame: u32,
    },
}

impl<B: AsMut<[u8]>> Assembly<B> {
    /// Joins frames of at most as many bytes as `buffer` has.
    pub const fn new(buffer: B) -> Self {
        Self {
            buffer,
            state: State::Idle,
        }
    }

    /// Forgets what came so far, as a greeting asks for.
    pub fn clear(&mut self) {
        self.state = State::Idle;
    }

    /// Takes one part, and gives the whole frame with its last.
    ///
    /// # Errors
    /// The code of the notice to answer with; its detail is the part's frame number.
    /// [`NoticeCode::FrameRefused`] if the frame has no pixels or more than the buffer has room for,
    /// or the part no place in it; [`NoticeCode::FrameIncomplete`] at the first part that does not
    /// continue the one before.
    pub fn push(&mut self, part: &FramePart) -> Result<Option<Received<'_>>, NoticeCode> {
        let &FramePart {
            frame,
            width,
            height,
            format,
            ..
        } = part;
        let shape = (width, height, format);
        let buffer = self.buffer.as_mut();
        let pixels = usize::from(width).saturating_mul(usize::from(height));
        let total = pixels.saturating_mul(format.bytes());
        let place = (part.offset as usize)
            .checked_add(part.pixels.len())
            .filter(|&end| end <= total && !part.pixels.is_empty())
            .and_then(|end| buffer.get_mut(..total)?.get_mut(part.offset as usize..end));
        let Some(place) = place else {
            self.state = State::Idle;
            return Err(NoticeCode::FrameRefused);
        };
        let continues = match self.state {
            State::Filling {
                frame: filling,
                shape: begun,
                length,
            } => (filling, begun, length) == (frame, shape, part.offset as usize),
            State::Idle | State::Broken { .. } => false,
        };
        if part.offset > 0 && !continues {
            let told = core::mem::replace(&mut self.state, State::Broken { frame });
            return if told == (State::Broken { frame }) {
                Ok(None)
            } else {
                Err(NoticeCode::FrameIncomplete)
            };
        }
        place.copy_from_slice(&part.pixels);
        let length = part.offset as usize + part.pixels.len();
        if length < total {
            self.state = State::Filling {
                frame,
                shape,
                length,
            };
            return Ok(None);
        }
        self.state = State::Idle;
        Ok(Some(Received {
            frame,
            width,
            height,
            format,
            pixels: &buffer[..total],
        }))
    }
}
