//! Pictures on the line, in parts that fit between reports.

use heapless::Vec;
use postcard_schema::Schema;
use serde::{Deserialize, Serialize};

use super::delivery::Ticket;
use crate::image::PixelFormat;

/// Most bytes in one part: a quarter of a grey picture of 28 × 28, so that a part holds up a report for
/// 20 ms at most on a line of 115,200 baud.
pub const THUMBNAIL_CHUNK: usize = 196;

/// Part of the picture of a frame, as the model sees it: cropped and scaled, not normalised.
///
/// The parts of a picture are sent in the order of their offsets, after its report; other messages
/// may come between them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Thumbnail {
    /// Frame number, that of its report.
    pub frame: u32,
    /// Pixels per row of the whole picture.
    pub width: u8,
    /// Rows of the whole picture.
    pub height: u8,
    /// How its pixels are written.
    pub format: PixelFormat,
    /// Where the first of these bytes lies in the picture, whose rows follow each other from the upper
    /// one on.
    pub offset: u16,
    /// Bytes of pixels; parts need not begin or end with whole ones.
    pub pixels: Vec<u8, THUMBNAIL_CHUNK>,
    /// Set if the part is sent until it is acknowledged.
    pub ticket: Option<Ticket>,
}

impl Thumbnail {
    /// Largest width and height, in pixels.
    pub const MAX_SIDE: u8 = 96;

    /// Part of a picture from byte `offset` on, as much as fits; `None` behind its end.
    ///
    /// # Panics
    /// If the picture is larger than [`Thumbnail::MAX_SIDE`] squared, or `pixels` are not
    /// `width × height` of this format.
    #[must_use]
    pub fn part(
        frame: u32,
        (width, height): (u8, u8),
        format: PixelFormat,
        pixels: &[u8],
        offset: usize,
    ) -> Option<Self> {
        assert!(width <= Self::MAX_SIDE && height <= Self::MAX_SIDE);
        let rest = pixels.get(offset..).filter(|rest| !rest.is_empty())?;
        let part = Self {
            frame,
            width,
            height,
            format,
            // The largest picture has 27,648 bytes.
            offset: offset as u16,
            pixels: rest.iter().copied().take(THUMBNAIL_CHUNK).collect(),
            ticket: None,
        };
        assert_eq!(pixels.len(), part.whole());
        Some(part)
    }

    /// Bytes of the whole picture.
    #[must_use]
    pub fn whole(&self) -> usize {
        usize::from(self.width) * usize::from(self.height) * self.format.bytes()
    }

    /// Whether the picture ends with this part.
    #[must_use]
    pub fn is_last(&self) -> bool {
        usize::from(self.offset) + self.pixels.len() >= self.whole()
    }

    /// Where the bytes lie in the picture; `None` if they do not, or the picture has no pixels or
    /// is larger than any.
    #[must_use]
    pub fn place(&self) -> Option<core::ops::Range<usize>> {
        let sides = 1..=Self::MAX_SIDE;
        let start = usize::from(self.offset);
        let end = start + self.pixels.len();
        (sides.contains(&self.width)
            && sides.contains(&self.height)
            && end <= self.whole()
            && !self.pixels.is_empty())
        .then_some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_a_picture_once() {
        for (_, format) in PixelFormat::ALL {
            let mut pixels = [0; 28 * 20 * 3];
            let mut whole = pixels;
            let length = 28 * 20 * format.bytes();
            for (index, byte) in pixels[..length].iter_mut().enumerate() {
                *byte = (index % 251) as u8;
            }
            let mut offset = 0;
            while let Some(part) = Thumbnail::part(7, (28, 20), format, &pixels[..length], offset) {
                let place = part.place().expect("inside");
                assert_eq!(place.start, offset);
                offset = place.end;
                assert_eq!(part.is_last(), offset == length);
                whole[place].copy_from_slice(&part.pixels);
            }
            assert_eq!((offset, whole), (length, pixels));
        }
    }

    #[test]
    fn what_lies_outside_is_refused() {
        let part =
            Thumbnail::part(0, (4, 4), PixelFormat::Grey8, &[9; 16], 12).expect("four pixels");
        assert_eq!(part.place(), Some(12..16));
        for wrong in [
            Thumbnail {
                offset: 13,
                ..part.clone()
            },
            Thumbnail {
                offset: u16::MAX,
                ..part.clone()
            },
            Thumbnail {
                width: 0,
                ..part.clone()
            },
            Thumbnail {
                height: 97,
                ..part.clone()
            },
            Thumbnail {
                pixels: Vec::new(),
                ..part.clone()
            },
        ] {
            assert_eq!(wrong.place(), None, "{wrong:?}");
        }
    }
}
