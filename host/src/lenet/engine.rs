//! libtorch as an engine: what the exported model is compared with.

use std::ops::Range;

use anyhow::Context;
use device::engine::{Engine, EngineError, InputShape};
use shared::mask::{KeepProbability, MaskSource};
use tch::{Device, TchError, Tensor};

use super::{Masks, Network, SIDE, SITES, TrainedModel};

const NAME: &str = "torch";

/// Runs a trained model on the processor, in libtorch, with the masks that every engine draws, or
/// without dropout.
#[derive(Debug)]
pub struct LibtorchEngine {
    network: Network,
    keep: [KeepProbability; SITES],
    /// `None` in the standard test phase.
    masks: Option<MaskSource>,
    /// The frame begun last, and its stem's output.
    begun: Option<(u32, Tensor)>,
}

impl LibtorchEngine {
    /// Prepares the model; `seed` selects the masks.
    ///
    /// # Errors
    /// The parameters have not the shapes of the model's architecture.
    pub fn new(model: &TrainedModel, seed: u64) -> anyhow::Result<Self> {
        Self::with(model, Some(MaskSource::new(seed)))
    }

    /// Prepares the model for the standard test phase: dropout is off, all passes are alike.
    ///
    /// # Errors
    /// As [`LibtorchEngine::new`].
    pub fn standard(model: &TrainedModel) -> anyhow::Result<Self> {
        Self::with(model, None)
    }

    fn with(model: &TrainedModel, masks: Option<MaskSource>) -> anyhow::Result<Self> {
        let keep = model.architecture.keep();
        Ok(Self {
            network: Network::from_parameters(model.architecture, &model.parameters, Device::Cpu)?,
            keep: keep.context("a dropout is not in 0..1")?,
            masks,
            begun: None,
        })
    }
}

impl Engine for LibtorchEngine {
    type Error = EngineError;

    fn name(&self) -> &'static str {
        NAME
    }

    fn input_shape(&self) -> InputShape {
        InputShape {
            channels: 1,
            height: SIDE,
            width: SIDE,
        }
    }

    fn classes(&self) -> usize {
        self.network.architecture().classes
    }

    fn begin(&mut self, frame: u32, input: &[f32]) -> Result<(), EngineError> {
        self.begun = None;
        let expected = self.input_shape().len();
        if input.len() != expected {
            return Err(EngineError::InputLength {
                expected,
                got: input.len(),
            });
        }
        let side = SIDE as i64;
        let image = Tensor::f_from_slice(input).and_then(|image| image.f_view([1, 1, side, side]));
        let image = image.map_err(|error| failed("stem", &error))?;
        let stem = tch::no_grad(|| self.network.stem(&image));
        self.begun = Some((frame, stem));
        Ok(())
    }

    fn sample(&mut self, passes: Range<u32>, logits: &mut [f32]) -> Result<(), EngineError> {
        let (frame, stem) = self.begun.as_ref().ok_or(EngineError::NoFrame)?;
        let expected = passes.len() * self.classes();
        if logits.len() != expected {
            return Err(EngineError::LogitsLength {
                expected,
                got: logits.len(),
            });
        }
        if passes.end > MaskSource::MAX_PASSES {
            return Err(EngineError::PassRange {
                pass: passes.end - 1,
                last: MaskSource::MAX_PASSES - 1,
            });
        }
        if passes.is_empty() {
            return Ok(());
        }
        tch::no_grad(|| {
            if let Some(source) = &self.masks {
                let masks = Masks::draw(source, *frame, passes, self.keep, Device::Cpu);
                return self.network.sample(stem, Some(&masks), logits);
            }
            let (first, rest) = logits.split_at_mut(self.classes());
            self.network.sample(stem, None, first)?;
            for pass in rest.chunks_exact_mut(first.len()) {
                pass.copy_from_slice(first);
            }
            Ok(())
        })
        .map_err(|error| failed("head", &error))
    }
}

fn failed(part: &'static str, error: &TchError) -> EngineError {
    EngineError::Run {
        engine: NAME,
        part,
        // libtorch adds a backtrace, line by line.
        reason: error
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lenet::tests::example;

    #[test]
    fn passes_are_those_of_their_numbers_and_bad_calls_are_refused() {
        let model = example([0.5; SITES]);
        let mut engine = LibtorchEngine::new(&model, 7).expect("the parameters fit");
        let classes = engine.classes();
        let mut logits = vec![0.0; 4 * classes];
        assert!(matches!(
            engine.sample(0..4, &mut logits),
            Err(EngineError::NoFrame)
        ));
        assert!(matches!(
            engine.begin(0, &[0.0; 3]),
            Err(EngineError::InputLength {
                expected: 784,
                got: 3
            })
        ));
        let input: Vec<f32> = (0..784u16).map(|i| f32::from(i % 29) / 29.0).collect();
        engine.begin(3, &input).expect("begun");
        engine.sample(0..4, &mut logits).expect("sampled");
        assert_ne!(logits[..classes], logits[classes..2 * classes], "live");
        // The same passes, asked for in two parts.
        let mut parts = vec![0.0; 4 * classes];
        let (head, tail) = parts.split_at_mut(classes);
        engine.sample(1..4, tail).expect("sampled");
        engine.sample(0..1, head).expect("sampled");
        for (whole, part) in logits.iter().zip(&parts) {
            assert!((whole - part).abs() < 1e-5, "{whole} and {part}");
        }
        assert!(matches!(
            engine.sample(0..3, &mut logits),
            Err(EngineError::LogitsLength { .. })
        ));
        let beyond = MaskSource::MAX_PASSES..MaskSource::MAX_PASSES + 4;
        assert!(matches!(
            engine.sample(beyond, &mut logits),
            Err(EngineError::PassRange { .. })
        ));
    }
}
