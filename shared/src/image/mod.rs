//! From a camera's frame to a model's input, and plain statistics of what was seen.
//!
//! A picture stays as it came ([`FrameView`]: its own size, grey or colour) until the model's own
//! [`Preprocessing`] makes its input of it. The same function does so for a camera's frames, in
//! evaluation, calibration and quantisation, and on a microcontroller, and it gives the same bits on
//! every target: resampling is integer arithmetic, with weights from operations that IEEE 754 defines
//! exactly.
//!
//! Models of one plane see luma by Rec. 601 ([`luma`]), whatever way a picture came: PNG, JPEG, YUV of a
//! camera and raw bytes give the same luma for the same colour.

#[cfg(feature = "resample")]
mod antialias;
mod area;
mod choices;
mod frame;
mod place;
mod preprocess;
mod resample;
mod statistics;

pub use choices::{Channels, Geometry, Interpolation, NoGeometry, ValueRange, named};
pub use frame::{FrameView, PixelFormat, luma};
pub use preprocess::{MAX_CHANNELS, Plan, Preprocessing};
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
        /// Bytes of a row.
        row: usize,
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
    /// There is too little memory to resample in.
    Scratch {
        /// Words needed.
        expected: usize,
        /// Words given.
        got: usize,
    },
    /// The model has other planes than its preprocessing makes.
    Channels {
        /// What the preprocessing makes.
        channels: Channels,
        /// Planes of the model's input.
        planes: usize,
    },
    /// The shorter side would be scaled to less than what is cut out of it.
    ShortSide {
        /// Its length, pixels.
        side: usize,
        /// Columns of the model's input.
        width: usize,
        /// Rows of the model's input.
        height: usize,
    },
    /// What only programs built with a feature of this crate can do.
    NotBuilt {
        /// `colour`, or `resample`.
        feature: &'static str,
    },
    /// A mean or standard deviation is not finite, or a deviation not above 0.
    Normalisation,
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
            Self::Stride { stride, row } => {
                write!(
                    f,
                    "a stride of {stride} bytes is less than a row, {row} bytes"
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
            Self::Scratch { expected, got } => write!(
                f,
                "resampling takes {expected} words of memory, there are {got}"
            ),
            Self::Channels { channels, planes } => write!(
                f,
                "the model's input has {planes} channels, which are not {}",
                channels.name()
            ),
            Self::ShortSide {
                side,
                width,
                height,
            } => write!(
                f,
                "a shorter side of {side} pixels is less than the model's input, {width}×{height}"
            ),
            Self::NotBuilt { feature } => {
                write!(f, "this program was built without the feature '{feature}'")
            }
            Self::Normalisation => {
                f.write_str("mean and standard deviation must be finite, and the deviation above 0")
            }
        }
    }
}

impl core::error::Error for ImageError {}

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
