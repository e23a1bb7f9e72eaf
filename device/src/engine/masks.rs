//! What the engines that run an ONNX head have in common: sites, masks, and checks of calls.

use std::ops::Range;

use shared::mask::{KeepProbability, MaskSource};

use super::{EngineError, InputShape};
use crate::onnx::Model;

/// One site as the head's mask input sees it.
#[derive(Debug, Clone)]
struct Site {
    keep: KeepProbability,
    shape: Vec<usize>,
}

/// Draws the masks of a model's sites, pass by pass.
#[derive(Debug, Clone)]
pub(super) struct Sampler {
    source: MaskSource,
    sites: Vec<Site>,
    input: InputShape,
    classes: usize,
    block: usize,
    frame: Option<u32>,
}

impl Sampler {
    /// `block` is how many passes the engine runs as one batch.
    pub(super) fn new(model: &Model, block: usize, seed: u64) -> Result<Self, EngineError> {
        if block == 0 {
            return Err(EngineError::EmptyBlock);
        }
        let sites = model.sites().iter().map(|site| Site {
            keep: site.keep,
            shape: site.shape.clone(),
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

    pub(super) fn input_shape(&self) -> InputShape {
        self.input
    }

    pub(super) fn classes(&self) -> usize {
        self.classes
    }

    pub(super) fn site_count(&self) -> usize {
        self.sites.len()
    }

    /// Shape of a site's masks for `passes` passes.
    pub(super) fn mask_shape(&self, site: usize, passes: usize) -> Vec<usize> {
        let mut shape = vec![passes];
        shape.extend(&self.sites[site].shape);
        shape
    }

    /// Checks the input of a frame. Until the stem has run there is no frame to sample.
    pub(super) fn begin(&mut self, input: &[f32]) -> Result<(), EngineError> {
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
    pub(super) fn ready(&mut self, frame: u32) {
        self.frame = Some(frame);
    }

    /// Checks that a frame has begun and that `logits` fit `passes` passes.
    pub(super) fn check(&self, passes: usize, logits: &[f32]) -> Result<(), EngineError> {
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
    pub(super) fn blocks(
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
    pub(super) fn fill(&self, site: usize, passes: Range<u32>, out: &mut [f32]) {
        let Site { keep, shape } = &self.sites[site];
        let elements = shape.iter().product();
        let frame = self.frame.unwrap_or_default();
        self.source
            .fill(frame, site as u32, *keep, passes, elements, out);
    }
}
