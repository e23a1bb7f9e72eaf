//! Calls that the project's own engines refuse, whichever of them is called.

use core::fmt;
use core::ops::Range;

use shared::mask::MaskSource;

/// Why an engine refused a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// The input has the wrong length.
    InputLength {
        /// Values that the model reads.
        expected: usize,
        /// Values given.
        got: usize,
    },
    /// No frame has begun.
    NoFrame,
    /// The buffer for the logits has the wrong length.
    LogitsLength {
        /// Passes × classes.
        expected: usize,
        /// Its length.
        got: usize,
    },
    /// A pass beyond the last that masks are defined for.
    PassRange(u32),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InputLength { expected, got } => {
                write!(f, "an input of {got} values, the model reads {expected}")
            }
            Self::NoFrame => f.write_str("passes were asked for before a frame"),
            Self::LogitsLength { expected, got } => {
                write!(f, "a buffer of {got} values for {expected} logits")
            }
            Self::PassRange(pass) => write!(
                f,
                "pass {pass} is beyond the last, {}",
                MaskSource::MAX_PASSES - 1
            ),
        }
    }
}

impl core::error::Error for CallError {}

/// Checks an input for a model that reads `expected` values.
pub(super) fn check_input(expected: usize, input: &[f32]) -> Result<(), CallError> {
    let got = input.len();
    if got == expected {
        Ok(())
    } else {
        Err(CallError::InputLength { expected, got })
    }
}

/// Checks passes, and the buffer for their logits.
pub(super) fn check_passes(
    classes: usize,
    passes: &Range<u32>,
    logits: &[f32],
) -> Result<(), CallError> {
    let (expected, got) = (passes.len() * classes, logits.len());
    if got != expected {
        return Err(CallError::LogitsLength { expected, got });
    }
    if passes.end > MaskSource::MAX_PASSES {
        return Err(CallError::PassRange(passes.end - 1));
    }
    Ok(())
}
