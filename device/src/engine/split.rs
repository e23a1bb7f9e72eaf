//! What every engine that runs a cut ONNX model does alike: sites, masks, blocks, and checks of
//! calls. A runtime adds how a stem and a head are run, and no more.

use std::ops::Range;

use shared::mask::{KeepProbability, MaskSource};

use super::{Engine, EngineError, GivenMasks, InputShape};
use crate::onnx::{DropoutSite, Model};

/// What errors call the two parts.
pub(super) const STEM: &str = "stem";
pub(super) const HEAD: &str = "head";

/// Runs a stem and a head.
pub trait Runtime {
    /// Name of the engine, as users and reports spell it.
    fn name(&self) -> &'static str;

    /// Runs the stem on one normalised input of the model's length, and keeps what the head reads.
    ///
    /// # Errors
    ///
    /// When the runtime fails.
    fn run_stem(&mut self, input: &[f32]) -> Result<(), EngineError>;

    /// Runs the head for `passes` passes as one batch, with masks that `fill` writes, given the
    /// index of a site and its buffer `[pass][element]`. `logits` are `[pass][class]`.
    ///
    /// # Errors
    ///
    /// When the runtime fails, or its output has not the length of `logits`.
    fn run_head(
        &mut self,
        passes: usize,
        fill: &mut dyn FnMut(usize, &mut [f32]),
        logits: &mut [f32],
    ) -> Result<(), EngineError>;
}

/// A model cut into stem and head, on the runtime `R`.
#[derive(Debug)]
pub struct SplitEngine<R> {
    sampler: Sampler,
    runtime: R,
}

impl<R: Runtime> SplitEngine<R> {
    /// `block` is how many passes the runtime runs as one batch, `seed` selects the masks, and
    /// `prepare` readies the runtime.
    pub(super) fn with_runtime(
        model: &Model,
        block: usize,
        seed: u64,
        prepare: impl FnOnce() -> Result<R, EngineError>,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            sampler: Sampler::new(model, block, seed)?,
            runtime: prepare()?,
        })
    }
}

impl<R: Runtime> Engine for SplitEngine<R> {
    type Error = EngineError;

    fn name(&self) -> &'static str {
        self.runtime.name()
    }

    fn input_shape(&self) -> InputShape {
        self.sampler.input
    }

    fn classes(&self) -> usize {
        self.sampler.classes
    }

    fn begin(&mut self, frame: u32, input: &[f32]) -> Result<(), EngineError> {
        self.sampler.begin(input)?;
        self.runtime.run_stem(input)?;
        self.sampler.ready(frame);
        Ok(())
    }

    fn sample(&mut self, passes: Range<u32>, logits: &mut [f32]) -> Result<(), EngineError> {
        let Self { sampler, runtime } = self;
        let mut rest = logits;
        for block in sampler.blocks(&passes, rest)? {
            let (out, after) = rest.split_at_mut(block.len() * sampler.classes);
            rest = after;
            let mut draw = |site: usize, mask: &mut [f32]| sampler.fill(site, block.clone(), mask);
            runtime.run_head(block.len(), &mut draw, out)?;
        }
        Ok(())
    }
}

impl<R: Runtime> GivenMasks for SplitEngine<R> {
    fn sample_given(
        &mut self,
        passes: usize,
        fill: &mut dyn FnMut(usize, &mut [f32]),
        logits: &mut [f32],
    ) -> Result<(), EngineError> {
        self.sampler.check(passes, logits)?;
        self.runtime.run_head(passes, fill, logits)
    }
}

/// Shape of the masks of a site for `passes` passes.
pub(super) fn mask_shape(site: &DropoutSite, passes: usize) -> Vec<usize> {
    let mut shape = vec![passes];
    shape.extend(&site.shape);
    shape
}

/// Copies a head's output out.
pub(super) fn copy_logits(
    engine: &'static str,
    values: &[f32],
    logits: &mut [f32],
) -> Result<(), EngineError> {
    if values.len() != logits.len() {
        let reason = "the logits have another shape";
        return Err(EngineError::run(engine, HEAD, &reason));
    }
    logits.copy_from_slice(values);
    Ok(())
}

/// One site as its masks are drawn.
#[derive(Debug, Clone)]
struct Site {
    keep: KeepProbability,
    elements: usize,
}

/// Draws the masks of a model's sites, pass by pass.
#[derive(Debug, Clone)]
struct Sampler {
    source: MaskSource,
    sites: Vec<Site>,
    input: InputShape,
    classes: usize,
    block: usize,
    frame: Option<u32>,
}

impl Sampler {
    /// `block` is how many passes the engine runs as one batch.
    fn new(model: &Model, block: usize, seed: u64) -> Result<Self, EngineError> {
        if block == 0 {
            return Err(EngineError::EmptyBlock);
        }
        let sites = model.sites().iter().map(|site| Site {
            keep: site.keep,
            elements: site.elements(),
        });
        Ok(Self {
            source: MaskSource::new(seed),
            sites: sites.collect(),
            input: model.input_shape(),
            classes: model.classes(),
            block,
            frame: None,
        })
    }

    /// Checks the input of a frame. Until the stem has run there is no frame to sample.
    fn begin(&mut self, input: &[f32]) -> Result<(), EngineError> {
        self.frame = None;
        let expected = self.input.len();
        if input.len() != expected {
            return Err(EngineError::InputLength {
                expected,
                got: input.len(),
            });
        }
        Ok(())
    }

    /// The stem has run for `frame`.
    fn ready(&mut self, frame: u32) {
        self.frame = Some(frame);
    }

    /// Checks that a frame has begun and that `logits` fit `passes` passes.
    fn check(&self, passes: usize, logits: &[f32]) -> Result<(), EngineError> {
        if self.frame.is_none() {
            return Err(EngineError::NoFrame);
        }
        let expected = passes * self.classes;
        if logits.len() != expected {
            return Err(EngineError::LogitsLength {
                expected,
                got: logits.len(),
            });
        }
        Ok(())
    }

    /// Checks a request for passes and cuts it into blocks.
    fn blocks(
        &self,
        passes: &Range<u32>,
        logits: &[f32],
    ) -> Result<impl Iterator<Item = Range<u32>> + use<>, EngineError> {
        self.check(passes.len(), logits)?;
        if passes.end > MaskSource::MAX_PASSES {
            return Err(EngineError::PassRange {
                pass: passes.end - 1,
                last: MaskSource::MAX_PASSES - 1,
            });
        }
        let (end, block) = (passes.end, self.block);
        let starts = passes.clone().step_by(block);
        Ok(starts.map(move |start| start..end.min(start.saturating_add(block as u32))))
    }

    /// Writes the masks of one site for the current frame.
    fn fill(&self, site: usize, passes: Range<u32>, out: &mut [f32]) {
        let Site { keep, elements } = self.sites[site];
        let frame = self.frame.unwrap_or_default();
        self.source
            .fill(frame, site as u32, keep, passes, elements, out);
    }
}
