//! A picture as it came: a borrowed frame of some size and pixel format.

use postcard_schema::Schema;
use serde::{Deserialize, Serialize};

use super::{ImageError, MAX_SIDE};

/// How a pixel lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, Schema)]
pub enum PixelFormat {
    /// One byte of luma, 0 black to 255 white.
    #[default]
    Grey8,
    /// Three bytes: red, green, blue.
    Rgb8,
    /// Two bytes, the low one first: five bits of red, six of green, five of blue, red highest. What
    /// parallel camera modules send to a microcontroller.
    Rgb565,
}

impl PixelFormat {
    /// Every format, by the name that interfaces use.
    pub const ALL: [(&'static str, Self); 3] = [
        ("grey", Self::Grey8),
        ("rgb", Self::Rgb8),
        ("rgb565", Self::Rgb565),
    ];

    /// The name that interfaces use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }

    /// Bytes of a pixel.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Grey8 => 1,
            Self::Rgb8 => 3,
            Self::Rgb565 => 2,
        }
    }

    /// Whether it tells colours apart.
    #[must_use]
    pub const fn is_colour(self) -> bool {
        !matches!(self, Self::Grey8)
    }

    /// Writes a colour as this format has it: [`luma`] of it, or the nearest colour there is.
    pub fn write(self, colour: [u8; 3], out: &mut impl Extend<u8>) {
        match self {
            Self::Grey8 => out.extend([luma(colour)]),
            Self::Rgb8 => out.extend(colour),
            Self::Rgb565 => {
                let nearest = |value: u8, most: u16| (u16::from(value) * most + 127) / 255;
                let [red, green, blue] = colour;
                let bits = nearest(red, 31) << 11 | nearest(green, 63) << 5 | nearest(blue, 31);
                out.extend(bits.to_le_bytes());
            }
        }
    }
}

/// Luma of a colour by Rec. 601, `0.299 R + 0.587 G + 0.114 B`, in whole numbers as Pillow computes
/// it: a shift of 16 bits, rounded.
#[inline]
#[must_use]
pub const fn luma([red, green, blue]: [u8; 3]) -> u8 {
    let sum = 19_595 * red as u32 + 38_470 * green as u32 + 7_471 * blue as u32;
    ((sum + 0x8000) >> 16) as u8
}

/// A view of a frame: `height` rows of `width` pixels of 8-bit grey or colour.
#[derive(Debug, Clone, Copy)]
pub struct FrameView<'a> {
    format: PixelFormat,
    width: usize,
    height: usize,
    stride: usize,
    data: &'a [u8],
}

impl<'a> FrameView<'a> {
    /// A frame whose rows begin `stride` bytes after each other. The last row need not be padded.
    ///
    /// # Errors
    /// [`ImageError::Size`], [`ImageError::Stride`] or [`ImageError::Data`]; also [`ImageError::NotBuilt`]
    /// for colours that this program does not know.
    pub fn new(
        format: PixelFormat,
        width: usize,
        height: usize,
        stride: usize,
        data: &'a [u8],
    ) -> Result<Self, ImageError> {
        check_size(width, height)?;
        if format != known(format) {
            return Err(ImageError::NotBuilt { feature: "colour" });
        }
        let row = width * format.bytes();
        if stride < row {
            return Err(ImageError::Stride { stride, row });
        }
        let expected = stride.saturating_mul(height - 1).saturating_add(row);
        if data.len() < expected {
            return Err(ImageError::Data {
                expected,
                got: data.len(),
            });
        }
        Ok(Self {
            format,
            width,
            height,
            stride,
            data,
        })
    }

    /// A frame whose rows follow each other without padding.
    ///
    /// # Errors
    /// As [`FrameView::new`].
    pub fn packed(
        format: PixelFormat,
        width: usize,
        height: usize,
        data: &'a [u8],
    ) -> Result<Self, ImageError> {
        Self::new(format, width, height, width * format.bytes(), data)
    }

    /// A frame of one byte of luma a pixel, without padding.
    ///
    /// # Errors
    /// As [`FrameView::new`].
    pub fn grey(width: usize, height: usize, data: &'a [u8]) -> Result<Self, ImageError> {
        Self::packed(PixelFormat::Grey8, width, height, data)
    }

    /// How its pixels lie in memory.
    #[must_use]
    pub fn format(&self) -> PixelFormat {
        known(self.format)
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// The bytes of the pixels of row `y`.
    ///
    /// # Panics
    /// If `y` is not below the height.
    #[must_use]
    pub fn row(&self, y: usize) -> &'a [u8] {
        assert!(y < self.height, "row {y} of {}", self.height);
        &self.data[y * self.stride..][..self.width * self.format().bytes()]
    }

    /// Pixel `x` of a row of [`FrameView::row`] as red, green, blue; grey is all three.
    ///
    /// # Panics
    /// If the row has no such pixel.
    #[inline]
    #[must_use]
    pub fn colour(&self, row: &[u8], x: usize) -> [u8; 3] {
        match self.format() {
            PixelFormat::Grey8 => [row[x]; 3],
            PixelFormat::Rgb8 => {
                let pixel = &row[3 * x..][..3];
                [pixel[0], pixel[1], pixel[2]]
            }
            PixelFormat::Rgb565 => {
                let pixel = &row[2 * x..][..2];
                let bits = u16::from_le_bytes([pixel[0], pixel[1]]);
                // The highest bits again behind the lowest, so that white becomes 255.
                let wide = |value: u16, bits: u32| {
                    let value = u32::from(value) << (8 - bits);
                    (value | value >> bits) as u8
                };
                [
                    wide(bits >> 11, 5),
                    wide(bits >> 5 & 0x3f, 6),
                    wide(bits & 0x1f, 5),
                ]
            }
        }
    }

    /// Luma of pixel `x` of a row of [`FrameView::row`].
    ///
    /// # Panics
    /// If the row has no such pixel.
    #[inline]
    #[must_use]
    pub fn luma(&self, row: &[u8], x: usize) -> u8 {
        match self.format() {
            PixelFormat::Grey8 => row[x],
            _ => luma(self.colour(row, x)),
        }
    }
}

/// A program that knows no colours has one format, and no code for others.
pub(super) const fn known(format: PixelFormat) -> PixelFormat {
    if cfg!(feature = "colour") {
        format
    } else {
        PixelFormat::Grey8
    }
}

pub(super) fn check_size(width: usize, height: usize) -> Result<(), ImageError> {
    if (1..=MAX_SIDE).contains(&width) && (1..=MAX_SIDE).contains(&height) {
        Ok(())
    } else {
        Err(ImageError::Size { width, height })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luma_is_rec_601() {
        assert_eq!(luma([255, 0, 0]), 76);
        assert_eq!(luma([0, 255, 0]), 150);
        assert_eq!(luma([0, 0, 255]), 29);
        for grey in 0..=255 {
            assert_eq!(luma([grey; 3]), grey);
        }
    }

    #[test]
    fn pixels_of_every_format_are_read() {
        let read = |format, data: &[u8]| {
            let frame = FrameView::new(format, 1, 1, data.len(), data).expect("a pixel");
            frame.colour(frame.row(0), 0)
        };
        assert_eq!(read(PixelFormat::Grey8, &[7]), [7, 7, 7]);
        assert_eq!(read(PixelFormat::Rgb8, &[1, 2, 3]), [1, 2, 3]);
        assert_eq!(read(PixelFormat::Rgb565, &[0xff, 0xff]), [255; 3]);
        assert_eq!(read(PixelFormat::Rgb565, &[0x00, 0xf8]), [255, 0, 0]);
        assert_eq!(read(PixelFormat::Rgb565, &[0xe0, 0x07]), [0, 255, 0]);
        assert_eq!(read(PixelFormat::Rgb565, &[0x1f, 0x00]), [0, 0, 255]);
        assert_eq!(read(PixelFormat::Rgb565, &[0x08, 0x84]), [132, 130, 66]);
    }

    #[test]
    fn what_is_written_is_read_again() {
        for (_, format) in PixelFormat::ALL {
            for colour in [[0; 3], [255; 3], [132, 130, 66]] {
                let mut pixel = heapless::Vec::<u8, 3>::new();
                format.write(colour, &mut pixel);
                assert_eq!(pixel.len(), format.bytes());
                let frame = FrameView::new(format, 1, 1, 3, &pixel).expect("a pixel");
                let expected = match format {
                    PixelFormat::Grey8 => [luma(colour); 3],
                    _ => colour,
                };
                assert_eq!(frame.colour(frame.row(0), 0), expected);
            }
        }
    }

    #[test]
    fn refuses_rows_that_overlap_and_data_that_end_early() {
        let new = |stride, length| {
            FrameView::new(PixelFormat::Rgb8, 2, 2, stride, &[0; 16][..length]).err()
        };
        assert_eq!(new(5, 16), Some(ImageError::Stride { stride: 5, row: 6 }));
        assert_eq!(new(8, 14), None);
        let short = ImageError::Data {
            expected: 14,
            got: 13,
        };
        assert_eq!(new(8, 13), Some(short));
    }
}
