//! The frame loop's body: one frame in, one verdict out.
//!
//! The same code runs in the Linux binary, in firmware and in the host's evaluation; only the two
//! ends, where frames come from and where reports go, differ. Nothing here allocates while
//! frames are judged: the buffers are there before.

#[cfg(feature = "alloc")]
use alloc::{vec, vec::Vec};
use core::fmt;
use core::ops::Range;

use shared::image::{FrameStatistics, FrameView, Geometry, ImageError, Preprocessing, Rect};
use shared::stopping::{self, Delta, Record};
use shared::triage::{Cause, Causes, Thresholds, Verdict};
use shared::uncertainty::{Measures, PassAccumulator, UncertaintyError};
use shared::wire::delivery::DeliveryStatistics;
use shared::wire::message::{LineStatistics, Report, Statistics};

use crate::engine::{Engine, InputShape};

pub use shared::image::MAX_CHANNELS;

/// How frames are prepared, sampled and judged.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Stochastic passes per frame (T), at least 1.
    pub passes: u32,
    /// Stop before the last pass when the decision is settled ([`shared::stopping`]), with this
    /// probability that all passes would have decided otherwise.
    pub adaptive: Option<Delta>,
    /// Passes handed to the engine at a time; the size of the logits buffer follows from it.
    pub block: u32,
    /// What becomes of a picture before the model sees it.
    pub preprocessing: Preprocessing,
    /// Part of the camera's picture to look at; the whole picture if `None`.
    pub crop: Option<Rect>,
    /// What is accepted.
    pub thresholds: Thresholds,
}

/// Working memory: of a fixed length on a microcontroller, growing on Linux.
pub trait Buffer: AsMut<[f32]> {
    /// All of it, if it has `length` values or can be made to.
    fn at_least(&mut self, length: usize) -> Option<&mut [f32]>;
}

impl Buffer for &mut [f32] {
    fn at_least(&mut self, length: usize) -> Option<&mut [f32]> {
        (self.len() >= length).then_some(&mut **self)
    }
}

#[cfg(feature = "alloc")]
impl Buffer for Vec<f32> {
    fn at_least(&mut self, length: usize) -> Option<&mut [f32]> {
        if self.len() < length {
            self.resize(length, 0.0);
        }
        Some(self)
    }
}

/// Working memory of [`Inference`], given by the caller: `Vec<f32>` on Linux, static arrays on a
/// microcontroller. [`BufferLengths`] tells how long each must be.
#[derive(Debug)]
pub struct Buffers<B> {
    /// The model input, row-major channels × height × width. Empty for an engine with room of its own.
    pub input: B,
    /// What pictures are resampled in with antialiasing; its length depends on their size
    /// ([`shared::image::Plan::scratch_length`]). Grows with the first such frame where it can.
    pub scratch: B,
    /// Raw outputs of one block of passes, `[pass][class]`.
    pub logits: B,
    /// What adaptive stopping remembers of each pass; empty without it.
    pub record: B,
}

/// Lengths of the [`Buffers`], in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferLengths {
    /// Channels × height × width, or 0 for an engine with room of its own
    /// ([`Engine::buffer_length`]).
    pub input: usize,
    /// Block × classes.
    pub logits: usize,
    /// [`Record::length`] of all passes, or 0.
    pub record: usize,
}

impl BufferLengths {
    /// Lengths needed for a model of `shape` and `classes`, sampled as `settings` say.
    #[must_use]
    pub fn new(shape: InputShape, classes: usize, settings: &Settings) -> Self {
        Self {
            input: shape.len(),
            logits: settings.block as usize * classes,
            record: match settings.adaptive {
                Some(_) => Record::length(settings.passes, classes),
                None => 0,
            },
        }
    }
}

/// Why a frame, or an [`Inference`], was refused.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub enum InferenceError<E> {
    /// The settings ask for zero passes or a block of zero passes.
    NoPasses,
    /// The model's input is not what its preprocessing makes.
    Preprocessing(ImageError),
    /// A buffer is shorter than [`BufferLengths`] says.
    BufferTooShort,
    /// The picture cannot be prepared.
    Image(ImageError),
    /// The engine failed.
    Engine(E),
    /// The engine's outputs are not usable (not finite, or the wrong number of classes).
    Output(UncertaintyError),
}

impl<E: fmt::Display> fmt::Display for InferenceError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPasses => f.write_str("at least one pass per frame and per block is needed"),
            Self::Preprocessing(error) => write!(f, "the model cannot be shown pictures: {error}"),
            Self::BufferTooShort => f.write_str("a working buffer is too short for this model"),
            Self::Image(error) => write!(f, "cannot prepare the picture: {error}"),
            Self::Engine(error) => write!(f, "{error}"),
            Self::Output(error) => write!(f, "the model's output is not usable: {error}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for InferenceError<E> {}

/// What was decided about one frame, and why.
#[derive(Clone, Debug)]
pub struct Outcome<const N: usize> {
    /// Uncertainty over the passes.
    pub measures: Measures<N>,
    /// Statistics of the picture as the model saw it.
    pub image: FrameStatistics,
    /// Thresholds crossed; empty if the frame is accepted.
    pub causes: Causes,
}

/// When a frame was taken, taken up and decided, µs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// From the device's start until the frame was captured.
    pub captured_us: u64,
    /// From capture until the frame was taken up.
    pub age_us: u32,
    /// From capture to the verdict.
    pub latency_us: u32,
}

impl<const N: usize> Outcome<N> {
    /// The report of this outcome for frame number `frame`.
    #[must_use]
    pub fn report(&self, frame: u32, timing: Timing) -> Report {
        let m = &self.measures;
        Report {
            frame,
            captured_us: timing.captured_us,
            age_us: timing.age_us,
            latency_us: timing.latency_us,
            class: m.class as u16,
            confidence: m.confidence as f32,
            predictive_entropy: m.predictive_entropy as f32,
            expected_entropy: m.expected_entropy as f32,
            mutual_information: m.mutual_information as f32,
            variation_ratio: m.variation_ratio as f32,
            standard_deviation: m.standard_deviations()[m.class] as f32,
            margin: m.margin as f32,
            passes: m.passes,
            causes: self.causes,
            image: self.image,
            ticket: None,
        }
    }
}

/// One model, ready to judge frames. `N` is the most classes it can count.
#[derive(Debug)]
pub struct Inference<E, B, const N: usize> {
    engine: E,
    settings: Settings,
    buffers: Buffers<B>,
    accumulator: PassAccumulator<N>,
}

#[cfg(feature = "alloc")]
impl<E: Engine, const N: usize> Inference<E, Vec<f32>, N> {
    /// As [`Inference::new`], with working memory from the allocator.
    ///
    /// # Errors
    /// As [`Inference::new`], but for buffers.
    pub fn allocated(engine: E, settings: Settings) -> Result<Self, InferenceError<E::Error>> {
        let lengths = BufferLengths::new(engine.input_shape(), engine.classes(), &settings);
        let buffers = Buffers {
            input: vec![0.0; lengths.input],
            scratch: Vec::new(),
            logits: vec![0.0; lengths.logits],
            record: vec![0.0; lengths.record],
        };
        Self::new(engine, settings, buffers)
    }
}

impl<E: Engine, B: Buffer, const N: usize> Inference<E, B, N> {
    /// Joins an engine with its settings and working memory.
    ///
    /// # Errors
    /// [`InferenceError::NoPasses`], [`InferenceError::Preprocessing`],
    /// [`InferenceError::BufferTooShort`], or [`InferenceError::Output`] if the model has fewer
    /// than two or more than `N` classes.
    #[inline(never)] // As `begin`.
    pub fn new(
        engine: E,
        settings: Settings,
        mut buffers: Buffers<B>,
    ) -> Result<Self, InferenceError<E::Error>> {
        if settings.passes == 0 || settings.block == 0 {
            return Err(InferenceError::NoPasses);
        }
        let shape = engine.input_shape();
        settings
            .preprocessing
            .validate(shape.channels, shape.height, shape.width)
            .map_err(InferenceError::Preprocessing)?;
        let accumulator = PassAccumulator::new(engine.classes()).map_err(InferenceError::Output)?;
        let needed = BufferLengths {
            input: engine.buffer_length(),
            ..BufferLengths::new(shape, engine.classes(), &settings)
        };
        if buffers.input.as_mut().len() < needed.input
            || buffers.logits.as_mut().len() < needed.logits
            || buffers.record.as_mut().len() < needed.record
        {
            return Err(InferenceError::BufferTooShort);
        }
        Ok(Self {
            engine,
            settings,
            buffers,
            accumulator,
        })
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Replaces the thresholds, from the next frame on.
    pub fn set_thresholds(&mut self, thresholds: Thresholds) {
        self.settings.thresholds = thresholds;
    }

    /// Replaces how pictures meet the model's input, from the next frame on: [`Geometry::Stretch`] for those
    /// that were brought to its size elsewhere.
    pub fn set_geometry(&mut self, geometry: Geometry) {
        self.settings.preprocessing.geometry = geometry;
    }

    /// Stops early from the next frame on, or no more.
    ///
    /// # Panics
    /// If the buffers were made for settings without early stops.
    pub fn set_adaptive(&mut self, adaptive: Option<Delta>) {
        self.settings.adaptive = adaptive;
        let needed = BufferLengths::new(
            self.engine.input_shape(),
            self.engine.classes(),
            &self.settings,
        );
        assert!(
            self.buffers.record.as_mut().len() >= needed.record,
            "early stops need a record of {} values",
            needed.record
        );
    }

    /// The engine in use.
    pub fn engine(&self) -> &E {
        &self.engine
    }

    /// The engine in use, to sample the frame begun last pass by pass.
    pub fn engine_mut(&mut self) -> &mut E {
        &mut self.engine
    }

    /// Judges one frame. `frame` numbers the masks: the same number and picture give the same
    /// outcome, bit for bit, on the same engine.
    ///
    /// # Errors
    /// [`InferenceError::Image`], [`InferenceError::Engine`] or [`InferenceError::Output`]; the
    /// next frame is not affected.
    pub fn judge(
        &mut self,
        frame: u32,
        picture: &FrameView<'_>,
    ) -> Result<Outcome<N>, InferenceError<E::Error>> {
        let image = self.begin(frame, picture)?;
        self.decide(image)
    }

    /// The first half of [`Inference::judge`]: prepares the picture, measures its statistics and
    /// runs the stem, but samples no pass.
    ///
    /// # Errors
    /// [`InferenceError::Image`] or [`InferenceError::Engine`].
    #[inline(never)] // A microcontroller has no stack for this and the passes at once.
    pub fn begin(
        &mut self,
        frame: u32,
        picture: &FrameView<'_>,
    ) -> Result<FrameStatistics, InferenceError<E::Error>> {
        let shape = self.engine.input_shape();
        let Settings {
            preprocessing,
            crop,
            ..
        } = &self.settings;
        let plan = preprocessing
            .plan(picture, *crop, (shape.width, shape.height))
            .map_err(InferenceError::Image)?;
        let short = ImageError::Scratch {
            expected: plan.scratch_length(),
            got: self.buffers.scratch.as_mut().len(),
        };
        let scratch = self.buffers.scratch.at_least(plan.scratch_length());
        let scratch = scratch.ok_or(InferenceError::Image(short))?;
        let scratch: &mut [u32] = bytemuck::cast_slice_mut(scratch);
        let mut prepared = Err(short);
        let mut fill = |input: &mut [f32]| {
            prepared = plan.run(picture, scratch, input);
            prepared.is_ok()
        };
        self.engine
            .begin_with(frame, self.buffers.input.as_mut(), &mut fill)
            .map_err(InferenceError::Engine)?;
        prepared.map_err(InferenceError::Image)
    }

    /// As [`Inference::judge`], for a model input that is normalised already, `[channel][row][column]`, and the statistics of its picture.
    ///
    /// # Errors
    /// As [`Inference::judge`].
    pub fn judge_input(
        &mut self,
        frame: u32,
        input: &[f32],
        image: FrameStatistics,
    ) -> Result<Outcome<N>, InferenceError<E::Error>> {
        self.engine
            .begin(frame, input)
            .map_err(InferenceError::Engine)?;
        self.decide(image)
    }

    /// Samples the frame begun last, all its passes or as many as its decision takes, and decides.
    #[inline(never)] // As above.
    fn decide(&mut self, image: FrameStatistics) -> Result<Outcome<N>, InferenceError<E::Error>> {
        let Settings {
            passes,
            adaptive,
            block,
            thresholds,
            ..
        } = &self.settings;
        let classes = self.engine.classes();
        let mut record = Record::new(self.buffers.record.as_mut(), classes);
        let of_image = thresholds.judge_image(&image);
        self.accumulator.reset();
        // Looks at the decision do not depend on how many passes the engine runs at a time.
        let look = adaptive.map_or(*passes, |_| stopping::BLOCK);
        for until_look in blocks(0..*passes, look) {
            for block in blocks(until_look, *block) {
                let logits = &mut self.buffers.logits.as_mut()[..block.len() * classes];
                self.engine
                    .sample(block, logits)
                    .map_err(InferenceError::Engine)?;
                for pass in logits.chunks_exact(classes) {
                    self.accumulator
                        .push(pass)
                        .map_err(InferenceError::Output)?;
                    if adaptive.is_some() {
                        record.push(&self.accumulator);
                    }
                }
            }
            if let Some(delta) = *adaptive
                && settled(
                    delta,
                    *passes,
                    &record,
                    &self.accumulator,
                    thresholds,
                    of_image,
                )
            {
                break;
            }
        }
        // `new` refuses zero passes, so there are measures.
        let measures = self
            .accumulator
            .measures()
            .ok_or(InferenceError::NoPasses)?;
        let causes = thresholds.judge(&measures, &image);
        Ok(Outcome {
            measures,
            image,
            causes,
        })
    }
}

/// [`stopping::settled`] of what was accumulated.
#[inline(never)] // As above.
fn settled<const N: usize>(
    delta: Delta,
    passes: u32,
    record: &Record<'_>,
    accumulator: &PassAccumulator<N>,
    thresholds: &Thresholds,
    image: Causes,
) -> bool {
    match &accumulator.measures() {
        Some(measures) => stopping::settled(delta, passes, record, measures, thresholds, image),
        None => false,
    }
}

/// `passes` in consecutive ranges of at most `block`.
fn blocks(passes: Range<u32>, block: u32) -> impl Iterator<Item = Range<u32>> {
    let end = passes.end;
    passes
        .step_by(block as usize)
        .map(move |first| first..end.min(first.saturating_add(block)))
}

/// Running totals over frames, for the link's statistics messages.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    frames: u32,
    accepted: u32,
    flagged: u32,
    failed: u32,
    by_cause: [u32; Cause::ALL.len()],
}

impl Tally {
    /// Counts a judged frame.
    pub fn count(&mut self, causes: Causes) {
        self.frames += 1;
        match causes.verdict() {
            Verdict::Accept => self.accepted += 1,
            Verdict::Flag => self.flagged += 1,
        }
        for (total, cause) in self.by_cause.iter_mut().zip(Cause::ALL) {
            *total += u32::from(causes.contains(cause));
        }
    }

    /// Counts a frame that could not be read or judged.
    pub fn count_failed(&mut self) {
        self.failed += 1;
    }

    /// Frames that could not be read or judged.
    #[must_use]
    pub fn failed(&self) -> u32 {
        self.failed
    }

    /// Frames judged.
    #[must_use]
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// The totals as a message, `uptime_us` microseconds after the device started; `last` says
    /// that no report follows. What the link and the stack did is left 0.
    #[must_use]
    pub fn message(&self, uptime_us: u64, last: bool) -> Statistics {
        Statistics {
            frames: self.frames,
            accepted: self.accepted,
            flagged: self.flagged,
            by_cause: self.by_cause,
            failed: self.failed,
            line: LineStatistics::default(),
            delivery: DeliveryStatistics::default(),
            stack_free: 0,
            uptime_us,
            last,
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::image::Normalisation;
    use std::vec;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn blocks_cover_every_pass_once() {
        let all = |passes, block| blocks(0..passes, block).collect::<Vec<_>>();
        assert_eq!(all(100, 32), [0..32, 32..64, 64..96, 96..100]);
        assert_eq!(all(1, 32), vec![Range { start: 0, end: 1 }]);
        assert_eq!(all(64, 32), [0..32, 32..64]);
    }

    /// Pass `t` votes for class `t % 2`, so that every measure is known.
    struct Alternating;

    impl Engine for Alternating {
        type Error = core::convert::Infallible;

        fn name(&self) -> &'static str {
            "alternating"
        }

        fn input_shape(&self) -> InputShape {
            InputShape {
                channels: 1,
                height: 2,
                width: 2,
            }
        }

        fn classes(&self) -> usize {
            2
        }

        fn begin(&mut self, _frame: u32, _input: &[f32]) -> Result<(), Self::Error> {
            Ok(())
        }

        fn sample(&mut self, passes: Range<u32>, logits: &mut [f32]) -> Result<(), Self::Error> {
            for (pass, out) in passes.zip(logits.chunks_exact_mut(2)) {
                out.copy_from_slice(if pass % 2 == 0 {
                    &[40.0, -40.0]
                } else {
                    &[-40.0, 40.0]
                });
            }
            Ok(())
        }
    }

    fn settings(passes: u32, block: u32, thresholds: Thresholds) -> Settings {
        Settings {
            passes,
            adaptive: None,
            block,
            preprocessing: Preprocessing::grey(Normalisation::MNIST),
            crop: None,
            thresholds,
        }
    }

    fn buffers(logits: usize) -> Buffers<Vec<f32>> {
        Buffers {
            input: vec![0.0; 4],
            scratch: Vec::new(),
            logits: vec![0.0; logits],
            record: Vec::new(),
        }
    }

    #[test]
    fn confident_disagreement_is_epistemic_and_flagged() {
        let thresholds = Thresholds {
            max_mutual_information: 0.5,
            ..Thresholds::OFF
        };
        let mut inference =
            Inference::<_, _, 4>::new(Alternating, settings(10, 4, thresholds), buffers(8))
                .expect("valid");
        let picture = FrameView::grey(2, 2, &[0, 255, 0, 255]).expect("valid");
        let outcome = inference.judge(0, &picture).expect("judged");
        assert!((outcome.measures.mutual_information - core::f64::consts::LN_2).abs() < 1e-9);
        assert!(outcome.measures.expected_entropy < 1e-9);
        assert_eq!(
            outcome.causes.iter().collect::<Vec<_>>(),
            [Cause::Unfamiliar]
        );
        assert_eq!(outcome.report(7, Timing::default()).passes, 10);
    }

    #[test]
    fn adaptive_sampling_stops_at_a_look_whatever_the_block() {
        // Every pass votes for class 0, the more the later it is.
        struct Agreeing;
        impl Engine for Agreeing {
            type Error = core::convert::Infallible;
            fn name(&self) -> &'static str {
                "agreeing"
            }
            fn input_shape(&self) -> InputShape {
                Alternating.input_shape()
            }
            fn classes(&self) -> usize {
                2
            }
            fn begin(&mut self, _: u32, _: &[f32]) -> Result<(), Self::Error> {
                Ok(())
            }
            fn sample(
                &mut self,
                passes: Range<u32>,
                logits: &mut [f32],
            ) -> Result<(), Self::Error> {
                for (pass, out) in passes.zip(logits.chunks_exact_mut(2)) {
                    out.copy_from_slice(&[5.0 + 0.01 * pass as f32, 0.0]);
                }
                Ok(())
            }
        }
        let picture = FrameView::grey(2, 2, &[0, 255, 0, 255]).expect("valid");
        for block in [1, 5, 16, 100] {
            let mut settings = settings(100, block, Thresholds::OFF);
            settings.adaptive = Some(Delta::DEFAULT);
            let room = |record| Buffers {
                record: vec![0.0; record],
                ..buffers(2 * block as usize)
            };
            let short = Inference::<_, _, 4>::new(Agreeing, settings.clone(), room(299));
            assert_eq!(short.err(), Some(InferenceError::BufferTooShort));
            let mut inference =
                Inference::<_, _, 4>::new(Agreeing, settings, room(300)).expect("valid");
            let outcome = inference.judge(0, &picture).expect("judged");
            assert_eq!(outcome.measures.passes, stopping::BLOCK);
        }
        // Passes that contradict each other settle nothing.
        let mut settings = settings(100, 100, Thresholds::OFF);
        settings.adaptive = Some(Delta::DEFAULT);
        let room = Buffers {
            record: vec![0.0; 300],
            ..buffers(200)
        };
        let mut inference = Inference::<_, _, 4>::new(Alternating, settings, room).expect("valid");
        let outcome = inference.judge(0, &picture).expect("judged");
        assert_eq!(outcome.measures.passes, 100);
    }

    #[test]
    fn refuses_what_it_cannot_serve() {
        let refused = |s, b| Inference::<_, _, 4>::new(Alternating, s, b).err();
        assert_eq!(
            refused(settings(0, 4, Thresholds::OFF), buffers(8)),
            Some(InferenceError::NoPasses)
        );
        assert_eq!(
            refused(settings(4, 4, Thresholds::OFF), buffers(7)),
            Some(InferenceError::BufferTooShort)
        );
    }
}
