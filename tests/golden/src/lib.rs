//! Golden vectors of masks, model inputs and measures, and the check that every target runs on
//! them.
//!
//! The vectors come from elsewhere than the code they check: masks and model inputs from
//! implementations in Python (`make_masks.py`, `make_images.py`, and Pillow by `make_pictures.py`), measures from libtorch in float64
//! (`tests/src/bin/make_golden.rs`). For measures, beside each libtorch value stands the exact value that `shared` gave when the vectors were made;
//! a target passes if it is within [`TOLERANCE`] of the first and has the bits of the second.

#![no_std]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod images;
mod masks;
mod measures;
mod pictures;
mod words;

pub use images::check_images;
pub use masks::check_masks;
pub use measures::{MeasureCounts, check_measures, values};
pub use pictures::check_pictures;

use core::fmt;

/// Keep bits, as `make_masks.py` writes them.
pub const MASKS: &str = include_str!("../vectors/masks.txt");
/// Frames, model inputs and image statistics, as `make_images.py` writes them.
pub const IMAGES: &str = include_str!("../vectors/images.txt");
/// Frames in grey and colour and what becomes of them, as `make_pictures.py` writes them.
pub const PICTURES: &str = include_str!("../vectors/pictures.txt");
/// Logits and measures, as `make_golden` writes them.
pub const MEASURES: &str = include_str!("../vectors/measures.txt");

/// How far a measure may be from libtorch's float64 value `r`: this times `max(1, |r|)`.
pub const TOLERANCE: f64 = 2e-15;

/// What was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Words of 32 keep bits.
    pub mask_words: usize,
    /// Resampled pixels and image statistics, of grey frames by area.
    pub image_values: usize,
    /// The same, of frames in grey and colour by every interpolation.
    pub picture_values: usize,
    /// What was checked of the measures.
    pub measures: MeasureCounts,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} mask words, {} image values, {} picture values, {} measures of {} passes in {} cases agree to the bit",
            self.mask_words,
            self.image_values,
            self.picture_values,
            self.measures.values,
            self.measures.passes,
            self.measures.cases
        )
    }
}

/// The first difference found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mismatch {
    /// The vectors cannot be read: the line that is at fault, from 1.
    Syntax {
        /// Which file.
        file: &'static str,
        /// Its line.
        line: usize,
    },
    /// A keep bit differs.
    Mask {
        /// Line in the file.
        line: usize,
        /// What gave another answer: `block`, `keep` or `fill`.
        function: &'static str,
    },
    /// A pixel of a model input, or a statistic of it, differs.
    Image {
        /// Line in the file.
        line: usize,
        /// Position among the line's values.
        value: usize,
    },
    /// A level of a plane, or a statistic of its luma, differs.
    Picture {
        /// Line in the file.
        line: usize,
        /// Position among the line's values.
        value: usize,
    },
    /// A measure is not the one that libtorch computes.
    Reference {
        /// Line of the case in the file.
        line: usize,
        /// Position among the case's values.
        value: usize,
    },
    /// A measure has other bits than on the machine that made the vectors.
    Bits {
        /// Line of the case in the file.
        line: usize,
        /// Position among the case's values.
        value: usize,
        /// Bits in the vectors.
        expected: u64,
        /// Bits here.
        got: u64,
    },
    /// Logits that are in the vectors were refused.
    Refused {
        /// Line of the pass in the file.
        line: usize,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { file, line } => write!(f, "{file}:{line}: cannot be read"),
            Self::Mask { line, function } => {
                write!(f, "masks.txt:{line}: {function} gives other keep bits")
            }
            Self::Image { line, value } => {
                write!(f, "images.txt:{line}: value {value} has other bits")
            }
            Self::Picture { line, value } => {
                write!(f, "pictures.txt:{line}: value {value} is another one")
            }
            Self::Reference { line, value } => {
                write!(
                    f,
                    "measures.txt:{line}: value {value} is not what libtorch computes"
                )
            }
            Self::Bits {
                line,
                value,
                expected,
                got,
            } => write!(
                f,
                "measures.txt:{line}: value {value} has bits {got:016x}, not {expected:016x}"
            ),
            Self::Refused { line } => write!(f, "measures.txt:{line}: the pass was refused"),
        }
    }
}

impl core::error::Error for Mismatch {}

/// Checks all vectors.
///
/// # Errors
/// The first [`Mismatch`].
pub fn check() -> Result<Counts, Mismatch> {
    Ok(Counts {
        mask_words: check_masks(MASKS)?,
        image_values: check_images(IMAGES)?,
        picture_values: check_pictures(PICTURES)?,
        measures: check_measures(MEASURES)?,
    })
}
