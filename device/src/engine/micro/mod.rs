//! Monte-Carlo dropout in a few ten kilobytes: what a microcontroller runs.
//!
//! One pass at a time, without vectors, from a [`PlanFile`] that is read in place. What makes it fast
//! enough:
//!
//! 1. The stem does not depend on any mask and runs once a frame.
//! 2. `relu(maxpool(dropout(x)))` of the stem's output is the largest *kept* value of a window, or 0.
//!    Windows in which nothing is positive are never looked at.
//! 3. Inputs that are 0 are skipped, and outputs that are dropped are not computed: with a keep
//!    probability of ½ that is half of them.
//! 4. A call of the mask source serves 4 elements × 32 passes; of these, eight passes are kept, in a
//!    byte for each element.
//!
//! A plan is in single precision ([`F32`]) or in eight bits ([`Int8`]); both run the same code but for
//! a few operations ([`Number`]). Masks are those of every other engine, bit for bit. What is computed
//! in eight bits is the same on every processor, to the last bit.

mod conv;
mod dsp;
mod file;
mod layout;
mod masks;
mod number;
#[cfg(feature = "alloc")]
mod owned;
mod pass;
mod pick;
#[cfg(feature = "alloc")]
mod quantise;
mod record;
mod stem;
#[cfg(test)]
mod tests;
#[cfg(feature = "alloc")]
mod write;

use core::fmt;
use core::marker::PhantomData;
use core::ops::Range;

use shared::mask::MaskSource;

use super::call::{CallError, check_input, check_passes};
use super::{Engine, InputShape};
pub use file::{Format, PlanFile, PlanFileError};
use layout::Layout;
pub use number::{F32, Int8, Number};
#[cfg(feature = "std")]
pub use owned::MicroEngine;
#[cfg(feature = "alloc")]
pub use owned::OwnedPlan;
#[cfg(feature = "alloc")]
pub use quantise::{QuantiseError, Ranges};
#[cfg(feature = "alloc")]
pub use write::{About, WriteError};

/// Why the engine refused a plan or a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MicroError {
    /// The plan has another number format than this engine.
    Format {
        /// The plan's.
        plan: Format,
        /// The engine's.
        engine: Format,
    },
    /// The working memory is too short for the plan.
    Memory {
        /// Bytes needed.
        expected: usize,
        /// Bytes given.
        got: usize,
    },
    /// A call that makes no sense.
    Call(CallError),
}

impl fmt::Display for MicroError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format { plan, engine } => write!(
                f,
                "the plan is in {plan}, this program runs {engine}: export it with --format {engine}"
            ),
            Self::Memory { expected, got } => write!(
                f,
                "the plan needs {expected} bytes of working memory, there are {got}"
            ),
            Self::Call(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for MicroError {}

impl From<CallError> for MicroError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl PlanFile<'_> {
    /// Working memory that the plan needs, in words of 32 bits.
    #[must_use]
    pub fn memory_words(&self) -> usize {
        Layout::new(self).words()
    }
}

/// What the working memory holds.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// The frame begun last.
    frame: Option<u32>,
    /// First of the passes whose masks are drawn.
    drawn: Option<u32>,
}

/// The engine, over a plan and working memory that others own.
#[derive(Debug)]
pub struct Micro<'p, M, N> {
    plan: PlanFile<'p>,
    layout: Layout,
    masks: MaskSource,
    memory: M,
    state: State,
    number: PhantomData<N>,
}

impl<'p, M: AsMut<[u32]>, N: Number> Micro<'p, M, N> {
    /// Joins a plan with working memory, of [`PlanFile::memory_words`] at least. `seed` selects the
    /// masks; the plan's own is [`PlanFile::seed`].
    ///
    /// # Errors
    /// [`MicroError::Format`] or [`MicroError::Memory`].
    pub fn new(plan: PlanFile<'p>, seed: u64, mut memory: M) -> Result<Self, MicroError> {
        if plan.format() != N::FORMAT {
            return Err(MicroError::Format {
                plan: plan.format(),
                engine: N::FORMAT,
            });
        }
        let layout = Layout::new(&plan);
        let [expected, got] = [layout.words(), memory.as_mut().len()].map(|words| 4 * words);
        if got < expected {
            return Err(MicroError::Memory { expected, got });
        }
        Ok(Self {
            plan,
            layout,
            masks: MaskSource::new(seed),
            memory,
            state: State::default(),
            number: PhantomData,
        })
    }

    fn stem(&mut self, frame: u32, input: Option<&[f32]>) {
        let memory = self.memory.as_mut();
        match N::FORMAT {
            Format::F32 => stem_f32(&self.plan, &self.layout, memory, input),
            Format::Int8 => stem_int8(&self.plan, &self.layout, memory, input),
        }
        self.state.frame = Some(frame);
    }

    /// The plan.
    pub fn plan(&self) -> &PlanFile<'p> {
        &self.plan
    }

    /// The keep masks of the passes sampled last: of each site, one behind the other, a byte for each
    /// element, pixel by pixel, whose bit `pass % 8` says whether it is kept. Each site is rounded up to a
    /// multiple of four elements. Of the first site only elements that can matter are drawn, and the
    /// others 0.
    pub fn mask_bytes(&mut self) -> &[u8] {
        let memory = self.memory.as_mut();
        let parts = stem::parts(&self.layout, memory);
        bytemuck::cast_slice(parts.masks)
    }
}

impl<M: AsMut<[u32]>, N: Number> Engine for Micro<'_, M, N> {
    type Error = MicroError;

    fn name(&self) -> &'static str {
        N::FORMAT.engine()
    }

    fn input_shape(&self) -> InputShape {
        self.plan.input()
    }

    fn classes(&self) -> usize {
        self.plan.classes()
    }

    fn begin(&mut self, frame: u32, input: &[f32]) -> Result<(), MicroError> {
        self.state = State::default();
        check_input(self.plan.input().len(), input)?;
        self.stem(frame, Some(input));
        Ok(())
    }

    fn buffer_length(&self) -> usize {
        0
    }

    fn begin_with(
        &mut self,
        frame: u32,
        _: &mut [f32],
        fill: &mut dyn FnMut(&mut [f32]) -> bool,
    ) -> Result<(), MicroError> {
        self.state = State::default();
        let memory = self.memory.as_mut();
        if fill(stem::room(&self.plan, &self.layout, memory)) {
            self.stem(frame, None);
        }
        Ok(())
    }

    fn sample(&mut self, passes: Range<u32>, logits: &mut [f32]) -> Result<(), MicroError> {
        let frame = self.state.frame.ok_or(CallError::NoFrame)?;
        check_passes(self.plan.classes(), &passes, logits)?;
        let job = Job {
            plan: &self.plan,
            layout: &self.layout,
            masks: self.masks,
            memory: self.memory.as_mut(),
            frame,
        };
        match N::FORMAT {
            Format::F32 => sample_f32(job, passes, logits, &mut self.state.drawn),
            Format::Int8 => sample_int8(job, passes, logits, &mut self.state.drawn),
        }
        Ok(())
    }
}

/// A frame whose stem has been run.
struct Job<'a> {
    plan: &'a PlanFile<'a>,
    layout: &'a Layout,
    masks: MaskSource,
    memory: &'a mut [u32],
    frame: u32,
}

impl Job<'_> {
    /// Runs passes; `drawn` is the first of those whose masks are drawn.
    fn sample<N: Number>(self, passes: Range<u32>, logits: &mut [f32], drawn: &mut Option<u32>) {
        let rows = logits.chunks_exact_mut(self.plan.classes());
        let mut run = pass::Run::<N>::new(self.plan, self.layout, self.memory);
        for (pass, logits) in passes.zip(rows) {
            let first = pass - pass % masks::PASSES;
            if drawn.is_none() {
                run.clear();
            }
            if *drawn != Some(first) {
                run.draw(self.masks, self.frame, first);
                *drawn = Some(first);
            }
            run.pass(pass, logits, |_, _| {});
        }
    }
}

// What is generic is compiled where it is used, and a microcontroller's loop is compiled for size;
// these are compiled as this crate is.

#[inline(never)]
fn stem_f32(plan: &PlanFile<'_>, layout: &Layout, memory: &mut [u32], input: Option<&[f32]>) {
    stem::run::<F32>(plan, layout, memory, input, |_, _| {});
}

#[inline(never)]
fn stem_int8(plan: &PlanFile<'_>, layout: &Layout, memory: &mut [u32], input: Option<&[f32]>) {
    stem::run::<Int8>(plan, layout, memory, input, |_, _| {});
}

#[inline(never)]
fn sample_f32(job: Job<'_>, passes: Range<u32>, logits: &mut [f32], drawn: &mut Option<u32>) {
    job.sample::<F32>(passes, logits, drawn);
}

#[inline(never)]
fn sample_int8(job: Job<'_>, passes: Range<u32>, logits: &mut [f32], drawn: &mut Option<u32>) {
    job.sample::<Int8>(passes, logits, drawn);
}
