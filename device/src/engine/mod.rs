//! What runs the network: one deterministic stem per frame, then any number of stochastic passes.
//!
//! Every engine draws its dropout masks from [`shared::mask`], so a pass is the same function of
//! `(seed, frame, pass)` whichever engine computes it, and engines differ in floating-point
//! rounding only.

use core::fmt;
use core::ops::Range;

mod call;
#[cfg(feature = "std")]
mod error;
pub mod micro;
pub mod native;
#[cfg(feature = "ort")]
pub mod ort;
#[cfg(feature = "onnx")]
pub mod proof;
#[cfg(feature = "std")]
pub mod provider;
#[cfg(feature = "onnx")]
pub mod split;
#[cfg(feature = "tract")]
pub mod tract;

pub use call::CallError;
#[cfg(feature = "std")]
pub use error::EngineError;
#[cfg(feature = "onnx")]
pub(crate) use error::one_line;

/// Shape of one model input, without the batch axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InputShape {
    /// Planes of the image (1 = luma).
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl InputShape {
    /// Number of values in one input.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Whether the input holds no value at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for InputShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}

/// A classifier that samples stochastic passes over one frame.
pub trait Engine {
    /// Why the engine could not serve a frame.
    type Error: fmt::Display;

    /// Name of the engine, as users and reports spell it.
    fn name(&self) -> &'static str;

    /// Shape of one input.
    fn input_shape(&self) -> InputShape;

    /// Number of classes, the length of one pass's logits.
    fn classes(&self) -> usize;

    /// Runs the deterministic stem on one normalised input (row-major channels, rows, columns).
    ///
    /// `frame` selects the frame's masks.
    ///
    /// # Errors
    ///
    /// When `input` has not the length of [`Engine::input_shape`], or the engine fails.
    fn begin(&mut self, frame: u32, input: &[f32]) -> Result<(), Self::Error>;

    /// Length of the buffer that [`Engine::begin_with`] needs: that of an input, or 0 if the engine has
    /// room of its own.
    fn buffer_length(&self) -> usize {
        self.input_shape().len()
    }

    /// As [`Engine::begin`], with an input that `fill` writes, into the engine's own memory where that
    /// has room for it, or else into `buffer`. If `fill` returns `false`, there is no input, and no
    /// frame begins.
    ///
    /// # Errors
    ///
    /// As [`Engine::begin`].
    ///
    /// # Panics
    ///
    /// If `buffer` is shorter than [`Engine::buffer_length`].
    fn begin_with(
        &mut self,
        frame: u32,
        buffer: &mut [f32],
        fill: &mut dyn FnMut(&mut [f32]) -> bool,
    ) -> Result<(), Self::Error> {
        let input = &mut buffer[..self.input_shape().len()];
        if fill(input) {
            self.begin(frame, input)?;
        }
        Ok(())
    }

    /// Runs passes `passes` over the frame begun last and writes their logits, `[pass][class]`.
    ///
    /// Passes may be asked for in any order and any number of times; the same pass of the same
    /// frame has the same masks each time.
    ///
    /// # Errors
    ///
    /// When no frame has begun, when `logits` has not `passes.len() * classes()` elements, when a
    /// pass lies beyond [`shared::mask::MaskSource::MAX_PASSES`], or when the engine fails.
    fn sample(&mut self, passes: Range<u32>, logits: &mut [f32]) -> Result<(), Self::Error>;
}

/// An engine that can be told its masks, to look at one site alone or to compare with another
/// implementation.
#[cfg(feature = "onnx")]
pub trait GivenMasks: Engine<Error = EngineError> {
    /// Runs `passes` passes as one batch over the frame begun last, with masks that `fill` writes,
    /// given the index of a site and its buffer `[pass][element]`, which holds zeros or values of
    /// an earlier batch. Values other than 0 and 1 scale the activations.
    ///
    /// # Errors
    ///
    /// As [`Engine::sample`].
    fn sample_given(
        &mut self,
        passes: usize,
        fill: &mut dyn FnMut(usize, &mut [f32]),
        logits: &mut [f32],
    ) -> Result<(), EngineError>;
}
