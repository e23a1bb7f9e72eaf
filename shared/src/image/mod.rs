//! From a camera's grey frame to a model's input, and plain statistics of what was seen.
//!
//! Resampling is exact integer arithmetic up to one final division, so it gives the same bits on
//! every target: when an axis shrinks, each output value is the area average of what it covers;
//! when it grows, bilinear interpolation between pixel centres; when it stays, a copy.

mod statistics;

pub use statistics::{FrameStatistics, Normalisation};

use core::fmt;

use serde::{Deserialize, Serialize};

/// Longest side of a frame or model input, pixels.
pub const MAX_SIDE: usize = 65_535;

/// Why a frame could not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageError {
    /// A side is 0 or above [`MAX_SIDE`].
    Size {
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// Rows would overlap.
    Stride {
        /// Bytes from one row to the next.
        stride: usize,
        /// Columns.
        width: usize,
    },
    /// The data ends before the last row does.
    Data {
        /// Bytes needed.
        expected: usize,
        /// Bytes given.
        got: usize,
    },
    /// The crop is empty or reaches outside the frame.
    Crop {
        /// The crop.
        crop: Rect,
        /// Columns of the frame.
        width: usize,
        /// Rows of the frame.
        height: usize,
    },
    /// The output slice has the wrong length.
    Output {
        /// Values needed.
        expected: usize,
        /// Values given room for.
        got: usize,
    },
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { width, height } => {
                write!(
                    f,
                    "{width}×{height} pixels: each side must be 1 to {MAX_SIDE}"
                )
            }
            Self::Stride { stride, width } => {
                write!(
                    f,
                    "a stride of {stride} bytes is less than the width, {width}"
                )
            }
            Self::Data { expected, got } => {
                write!(f, "the frame has {got} bytes where {expected} are needed")
            }
            Self::Crop {
                crop,
                width,
                height,
            } => write!(
                f,
                "crop {}×{} at ({}, {}) is not inside the {width}×{height} frame",
                crop.width, crop.height, crop.x, crop.y
            ),
            Self::Output { expected, got } => {
                write!(
                    f,
                    "the output has room for {got} values where {expected} are needed"
                )
            }
        }
    }
}

impl core::error::Error for ImageError {}

/// A view of an 8-bit grey frame, 0 black to 255 white.
#[derive(Debug, Clone, Copy)]
pub struct GrayFrame<'a> {
    width: usize,
    height: usize,
    stride: usize,
    data: &'a [u8],
}

impl<'a> GrayFrame<'a> {
    /// A frame of `height` rows of `width` pixels, rows `stride` bytes apart. The last row need
    /// not be padded.
    ///
    /// # Errors
    /// [`ImageError::Size`], [`ImageError::Stride`] or [`ImageError::Data`].
    pub fn new(
        width: usize,
        height: usize,
        stride: usize,
        data: &'a [u8],
    ) -> Result<Self, ImageError> {
        check_size(width, height)?;
        if stride < width {
            return Err(ImageError::Stride { stride, width });
        }
        let expected = stride.saturating_mul(height - 1).saturating_add(width);
        if data.len() < expected {
            return Err(ImageError::Data {
                expected,
                got: data.len(),
            });
        }
        Ok(Self {
            width,
            height,
            stride,
            data,
        })
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

    /// The pixels of row `y`, `[width]`.
    ///
    /// # Panics
    /// If `y` is not below the height.
    #[must_use]
    pub fn row(&self, y: usize) -> &'a [u8] {
        assert!(y < self.height, "row {y} of {}", self.height);
        &self.data[y * self.stride..][..self.width]
    }
}

/// A region of a frame, pixels; (0, 0) is the top left one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rect {
    /// First column.
    pub x: u32,
    /// First row.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// How a region of another aspect ratio meets the model's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// Uses the largest centred part of the right aspect ratio: shapes keep their proportions.
    #[default]
    CenterCrop,
    /// Uses all of it, stretched.
    Stretch,
}

/// Writes the frame (or its part `crop`) at `width` × `height` to `out`, row-major, luma in 0..=1
/// (a pixel value divided by 255).
///
/// # Errors
/// [`ImageError::Size`] for the output's size, [`ImageError::Output`] if
/// `out.len() != width * height`, [`ImageError::Crop`].
#[inline(never)] // Its stack is not needed while the picture is measured.
pub fn resize(
    frame: &GrayFrame<'_>,
    crop: Option<Rect>,
    fit: Fit,
    width: usize,
    height: usize,
    out: &mut [f32],
) -> Result<(), ImageError> {
    check_size(width, height)?;
    let expected = width.saturating_mul(height);
    if out.len() != expected {
        return Err(ImageError::Output {
            expected,
            got: out.len(),
        });
    }
    let region = match crop {
        Some(crop) => inside(frame, crop)?,
        None => Region {
            x: 0,
            y: 0,
            width: frame.width,
            height: frame.height,
        },
    };
    let region = match fit {
        Fit::CenterCrop => region.centre_crop(width, height),
        Fit::Stretch => region,
    };
    let (across, down) = (
        Axis::new(region.width, width),
        Axis::new(region.height, height),
    );
    let full_scale = (across.total() * down.total() * 255) as f64;
    for (y, row_out) in out.chunks_exact_mut(width).enumerate() {
        for (x, value) in row_out.iter_mut().enumerate() {
            let mut sum = 0;
            for (row, weight_y) in down.taps(y) {
                let pixels = &frame.row(region.y + row)[region.x..][..region.width];
                let across_row: u64 = across
                    .taps(x)
                    .map(|(column, weight)| weight * u64::from(pixels[column]))
                    .sum();
                sum += weight_y * across_row;
            }
            *value = (sum as f64 / full_scale) as f32;
        }
    }
    Ok(())
}

fn check_size(width: usize, height: usize) -> Result<(), ImageError> {
    if (1..=MAX_SIDE).contains(&width) && (1..=MAX_SIDE).contains(&height) {
        Ok(())
    } else {
        Err(ImageError::Size { width, height })
    }
}

fn inside(frame: &GrayFrame<'_>, crop: Rect) -> Result<Region, ImageError> {
    let fits = |start: u32, length: u32, whole: usize| {
        length > 0 && u64::from(start) + u64::from(length) <= whole as u64
    };
    if fits(crop.x, crop.width, frame.width) && fits(crop.y, crop.height, frame.height) {
        Ok(Region {
            x: crop.x as usize,
            y: crop.y as usize,
            width: crop.width as usize,
            height: crop.height as usize,
        })
    } else {
        Err(ImageError::Crop {
            crop,
            width: frame.width,
            height: frame.height,
        })
    }
}

/// A part of a frame, known to lie inside it.
#[derive(Clone, Copy)]
struct Region {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

impl Region {
    /// The largest centred part with the aspect ratio `width` : `height`, to the nearest pixel.
    fn centre_crop(self, width: usize, height: usize) -> Self {
        // At most 65535³: in u64 nothing overflows, where usize has 32 bits too.
        let scaled = |side: usize, by: usize, over: usize| {
            ((side as u64 * by as u64 + over as u64 / 2) / over as u64).max(1) as usize
        };
        let cropped_width = scaled(self.height, width, height).min(self.width);
        let cropped_height = scaled(self.width, height, width).min(self.height);
        Self {
            x: self.x + (self.width - cropped_width) / 2,
            y: self.y + (self.height - cropped_height) / 2,
            width: cropped_width,
            height: cropped_height,
        }
    }
}

/// One axis of the resampling: `from` pixels become `to` values.
#[derive(Clone, Copy)]
struct Axis {
    from: u64,
    to: u64,
}

impl Axis {
    fn new(from: usize, to: usize) -> Self {
        Self {
            from: from as u64,
            to: to as u64,
        }
    }

    /// What the weights of any one output value add up to.
    fn total(self) -> u64 {
        if self.to > self.from {
            2 * self.to
        } else {
            self.from
        }
    }

    /// The pixels that output value `index` is made of, with their weights.
    fn taps(self, index: usize) -> impl Iterator<Item = (usize, u64)> {
        let Self { from, to } = self;
        let index = index as u64;
        let grows = to > from;
        // Growing: the output's centre, (index + ½)·from/to − ½ pixels, in steps of 1/(2·to).
        let centre = ((2 * index + 1) * from)
            .saturating_sub(to)
            .min((from - 1) * 2 * to);
        // Shrinking: output `index` covers [index·from, (index+1)·from), pixel j [j·to, (j+1)·to).
        let (start, end) = (index * from, (index + 1) * from);
        let pixels = if grows {
            let first = centre / (2 * to);
            first..(first + 2).min(from)
        } else {
            start / to..end.div_ceil(to)
        };
        pixels.map(move |pixel| {
            let weight = if grows {
                let fraction = centre % (2 * to);
                if pixel == centre / (2 * to) {
                    2 * to - fraction
                } else {
                    fraction
                }
            } else {
                end.min((pixel + 1) * to) - start.max(pixel * to)
            };
            (pixel as usize, weight)
        })
    }
}
