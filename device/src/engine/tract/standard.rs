//! The standard test phase: one pass with all units, nothing dropped.

use std::fmt;
use std::ops::Range;

use tract_onnx::prelude::{IntoTValue, TVec, Tensor};

use super::{NAME, Plan, compile};
use crate::engine::split::copy_logits;
use crate::engine::{Engine, EngineError, InputShape};
use crate::onnx::Model;

/// What errors call the uncut network.
const GRAPH: &str = "graph";

/// Runs a model on tract with its dropout off, as a network is used without Monte Carlo: its
/// activations stand for the mean of those of all masks (Srivastava et al. 2014, section 10). All
/// passes over a frame are alike.
pub struct StandardEngine {
    plan: Plan,
    /// The input's shape with its batch axis of one.
    dims: Vec<usize>,
    input: InputShape,
    /// Of the frame begun last; empty before the first.
    logits: Vec<f32>,
    classes: usize,
}

impl fmt::Debug for StandardEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandardEngine").finish_non_exhaustive()
    }
}

impl StandardEngine {
    /// Compiles the model for one image.
    ///
    /// # Errors
    ///
    /// When tract cannot compile it.
    pub fn new(model: &Model) -> Result<Self, EngineError> {
        let plan = compile(&model.without_dropout(), 1)
            .map_err(|e| EngineError::prepare(NAME, GRAPH, &format!("{e:#}")))?;
        Ok(Self {
            plan,
            dims: model.stem_input_dims(),
            input: model.input_shape(),
            logits: Vec::new(),
            classes: model.classes(),
        })
    }
}

impl Engine for StandardEngine {
    type Error = EngineError;

    fn name(&self) -> &'static str {
        NAME
    }

    fn input_shape(&self) -> InputShape {
        self.input
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn begin(&mut self, _frame: u32, input: &[f32]) -> Result<(), EngineError> {
        self.logits.clear();
        if input.len() != self.input.len() {
            return Err(EngineError::InputLength {
                expected: self.input.len(),
                got: input.len(),
            });
        }
        let run = |e| EngineError::run(NAME, GRAPH, &format!("{e:#}"));
        let input = Tensor::from_shape(&self.dims, input).map_err(run)?;
        let outputs = self
            .plan
            .run(TVec::from_elem(input.into_tvalue(), 1))
            .map_err(run)?;
        let values = outputs[0].try_as_plain_ram().map_err(run)?;
        let values = values.as_slice::<f32>().map_err(run)?;
        let mut logits = vec![0.0; self.classes];
        copy_logits(NAME, values, &mut logits)?;
        self.logits = logits;
        Ok(())
    }

    fn sample(&mut self, passes: Range<u32>, logits: &mut [f32]) -> Result<(), EngineError> {
        if self.logits.is_empty() {
            return Err(EngineError::NoFrame);
        }
        let expected = passes.len() * self.classes;
        if logits.len() != expected {
            return Err(EngineError::LogitsLength {
                expected,
                got: logits.len(),
            });
        }
        for pass in logits.chunks_exact_mut(self.classes) {
            pass.copy_from_slice(&self.logits);
        }
        Ok(())
    }
}
