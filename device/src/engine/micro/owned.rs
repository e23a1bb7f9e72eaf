//! Plans in memory of their own, for machines that read them from files.

use alloc::vec::Vec;

use super::file::{Header, PlanFile, PlanFileError};

/// A plan file in memory.
#[derive(Debug, Clone)]
pub struct OwnedPlan {
    words: Vec<u32>,
    header: Header,
}

impl OwnedPlan {
    /// Copies and checks the plan at the beginning of `bytes`, which may begin anywhere.
    ///
    /// # Errors
    /// [`PlanFileError`], but for [`PlanFileError::Alignment`].
    pub fn new(bytes: &[u8]) -> Result<Self, PlanFileError> {
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(bytes);
        let plan = PlanFile::parse(&bytemuck::cast_slice(&words)[..bytes.len()])?;
        let (header, length) = (plan.header(), plan.len());
        let mut words = words;
        words.truncate(length / 4);
        Ok(Self { words, header })
    }

    /// The plan as engines read it.
    #[must_use]
    pub fn view(&self) -> PlanFile<'_> {
        PlanFile::checked(&self.words, self.header)
    }
}

#[cfg(feature = "std")]
pub use engine::MicroEngine;

#[cfg(feature = "std")]
mod engine {
    use std::ops::Range;
    use std::vec;
    use std::vec::Vec;

    use super::OwnedPlan;
    use crate::engine::micro::{F32, Format, Int8, Micro, MicroError, Number, State};
    use crate::engine::{Engine, EngineError, InputShape};

    /// The engine with a plan of either format and memory of its own.
    #[derive(Debug, Clone)]
    pub struct MicroEngine {
        plan: OwnedPlan,
        seed: u64,
        memory: Vec<u32>,
        state: State,
    }

    impl MicroEngine {
        /// Runs a plan; `seed` selects the masks.
        #[must_use]
        pub fn new(plan: OwnedPlan, seed: u64) -> Self {
            let memory = vec![0; plan.view().memory_words()];
            Self {
                plan,
                seed,
                memory,
                state: State::default(),
            }
        }

        fn run<N: Number>(
            &mut self,
            f: impl FnOnce(&mut Micro<'_, &mut [u32], N>) -> Result<(), MicroError>,
        ) -> Result<(), EngineError> {
            let mut micro = Micro::new(self.plan.view(), self.seed, &mut *self.memory)?;
            micro.state = self.state;
            let result = f(&mut micro);
            self.state = micro.state;
            Ok(result?)
        }
    }

    impl From<MicroError> for EngineError {
        fn from(error: MicroError) -> Self {
            match error {
                MicroError::Call(error) => error.into(),
                MicroError::Format { engine, .. } => Self::prepare(engine.engine(), "plan", &error),
                MicroError::Memory { .. } => Self::prepare("micro", "plan", &error),
            }
        }
    }

    impl Engine for MicroEngine {
        type Error = EngineError;

        fn name(&self) -> &'static str {
            self.plan.view().format().engine()
        }

        fn input_shape(&self) -> InputShape {
            self.plan.view().input()
        }

        fn classes(&self) -> usize {
            self.plan.view().classes()
        }

        fn begin(&mut self, frame: u32, input: &[f32]) -> Result<(), EngineError> {
            match self.plan.view().format() {
                Format::F32 => self.run::<F32>(|micro| micro.begin(frame, input)),
                Format::Int8 => self.run::<Int8>(|micro| micro.begin(frame, input)),
            }
        }

        fn buffer_length(&self) -> usize {
            0
        }

        fn begin_with(
            &mut self,
            frame: u32,
            buffer: &mut [f32],
            fill: &mut dyn FnMut(&mut [f32]) -> bool,
        ) -> Result<(), EngineError> {
            match self.plan.view().format() {
                Format::F32 => self.run::<F32>(|micro| micro.begin_with(frame, buffer, fill)),
                Format::Int8 => self.run::<Int8>(|micro| micro.begin_with(frame, buffer, fill)),
            }
        }

        fn sample(&mut self, passes: Range<u32>, logits: &mut [f32]) -> Result<(), EngineError> {
            match self.plan.view().format() {
                Format::F32 => self.run::<F32>(|micro| micro.sample(passes, logits)),
                Format::Int8 => self.run::<Int8>(|micro| micro.sample(passes, logits)),
            }
        }
    }
}
