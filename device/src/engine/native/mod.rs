//! The project's own engine: Monte-Carlo dropout at a cost near one forward pass.
//!
//! What makes it fast:
//!
//! 1. The stem does not depend on any mask and runs once a frame.
//! 2. `relu(maxpool(dropout(x)))` of the stem's output is, in each window, the largest *kept*
//!    value, or 0. The windows are sorted once a frame; a pass only picks ([`Pick`]).
//! 3. A pass is a lane: activations lie as `[element][lane]`, and one weight multiplies the same
//!    input of sixteen passes. Every layer of every shape vectorises the same way, and the mask
//!    bits of sixteen passes are half a word of [`shared::mask`], used as they are.
//! 4. An input that is 0 in every lane is skipped: most windows of an image's background are 0 in
//!    every pass.
//!
//! A [`Plan`] is made once, from layers or from an ONNX model, and says how much working memory it
//! needs; the engine itself allocates nothing. [`Level`] chooses the instructions.
//!
//! A pass's logits do not depend on what is asked for beside it, so neither on block sizes nor on
//! threads. Levels differ from each other in rounding only.

mod conv;
mod frame;
mod head;
#[cfg(feature = "onnx")]
mod import;
mod kernels;
#[cfg(feature = "alloc")]
pub mod layer;
mod layout;
#[cfg(feature = "std")]
mod limit;
mod plan;
#[cfg(feature = "alloc")]
mod planner;
mod simd;
#[cfg(test)]
pub(super) mod tests;
#[cfg(feature = "std")]
mod threads;

use core::fmt;
use core::ops::Range;

use shared::mask::MaskSource;

use super::call::{CallError, check_input, check_passes};
use super::{Engine, InputShape};
use frame::Frame;
use head::Head;
use layout::Layout;
#[cfg(feature = "std")]
pub use limit::peak_multiply_adds_per_second;
#[cfg(feature = "alloc")]
pub use plan::Plan;
pub use plan::{Conv, Drop, Geometry, Op, Pick, Program, ScratchLengths, Shape, Site};
#[cfg(feature = "alloc")]
pub(super) use planner::PADDING;
#[cfg(feature = "alloc")]
pub use planner::PlanError;
pub use simd::Level;
#[cfg(feature = "std")]
pub use threads::NativeEngine;

/// Name of the engine.
const NAME: &str = "native";

/// Why the engine refused a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NativeError {
    /// The working memory is shorter than [`Program::scratch`] says.
    Scratch,
    /// A call that makes no sense.
    Call(CallError),
}

impl fmt::Display for NativeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scratch => f.write_str("the working memory is too short for this model"),
            Self::Call(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for NativeError {}

impl From<CallError> for NativeError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

/// Working memory, given by the caller; [`Program::scratch`] tells the lengths.
#[derive(Debug, Clone, Default)]
pub struct Scratch<F, W> {
    /// What is computed once a frame.
    pub frame_values: F,
    /// Lists made once a frame.
    pub frame_words: W,
    /// Activations of the passes computed together.
    pub head_values: F,
    /// Their masks, and lists.
    pub head_words: W,
}

/// The engine on one thread, without allocation.
#[derive(Debug)]
pub struct Native<'p, F, W> {
    program: Program<'p>,
    level: Level,
    masks: MaskSource,
    scratch: Scratch<F, W>,
    frame: Option<u32>,
}

impl<'p, F: AsMut<[f32]>, W: AsMut<[u32]>> Native<'p, F, W> {
    /// Joins a program with working memory; `seed` selects the masks.
    ///
    /// # Errors
    /// [`NativeError::Scratch`].
    pub fn new(
        program: Program<'p>,
        level: Level,
        seed: u64,
        mut scratch: Scratch<F, W>,
    ) -> Result<Self, NativeError> {
        let needed = program.scratch(level);
        if scratch.frame_values.as_mut().len() < needed.frame_values
            || scratch.frame_words.as_mut().len() < needed.frame_words
            || scratch.head_values.as_mut().len() < needed.head_values
            || scratch.head_words.as_mut().len() < needed.head_words
        {
            return Err(NativeError::Scratch);
        }
        Ok(Self {
            program,
            level,
            masks: MaskSource::new(seed),
            scratch,
            frame: None,
        })
    }
}

impl<F: AsMut<[f32]>, W: AsMut<[u32]>> Engine for Native<'_, F, W> {
    type Error = NativeError;

    fn name(&self) -> &'static str {
        NAME
    }

    fn input_shape(&self) -> InputShape {
        self.program.input
    }

    fn classes(&self) -> usize {
        self.program.classes
    }

    fn begin(&mut self, frame: u32, input: &[f32]) -> Result<(), NativeError> {
        self.frame = None;
        check_input(self.program.input.len(), input)?;
        let layout = Layout::new(&self.program, self.level);
        let Scratch {
            frame_values,
            frame_words,
            ..
        } = &mut self.scratch;
        let (values, words) = (frame_values.as_mut(), frame_words.as_mut());
        frame::begin(&self.program, &layout, self.level, input, values, words);
        self.frame = Some(frame);
        Ok(())
    }

    fn sample(&mut self, passes: Range<u32>, logits: &mut [f32]) -> Result<(), NativeError> {
        let frame_number = self.frame.ok_or(CallError::NoFrame)?;
        check_passes(self.program.classes, &passes, logits)?;
        let layout = Layout::new(&self.program, self.level);
        let Scratch {
            frame_values,
            frame_words,
            head_values,
            head_words,
        } = &mut self.scratch;
        let head = Head {
            program: &self.program,
            layout: &layout,
            level: self.level,
            masks: self.masks,
            frame_number,
            frame: Frame::new(&layout, frame_values.as_mut(), frame_words.as_mut()),
        };
        head.sample(
            head_values.as_mut(),
            head_words.as_mut(),
            passes,
            logits,
            |_| {},
        );
        Ok(())
    }
}
