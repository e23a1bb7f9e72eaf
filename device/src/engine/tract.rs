//! The tract engine: pure Rust, no library to install.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use tract_onnx::pb::ModelProto;
use tract_onnx::pb::tensor_shape_proto::dimension;
use tract_onnx::pb::type_proto;
use tract_onnx::prelude::{
    Framework, InferenceModelExt, IntoRunnable, IntoTValue, TValue, TVec, Tensor, TractResult,
    TypedRunnableModel,
};

use super::masks::Sampler;
use super::{Engine, EngineError, GivenMasks, InputShape};
use crate::onnx::Model;

const NAME: &str = "tract";
const STEM: &str = "stem";
const HEAD: &str = "head";

type Plan = Arc<TypedRunnableModel>;

/// Runs a model with tract, on one thread.
///
/// The head is compiled for a fixed number of passes, which lets tract fold all its shapes: once
/// for the block size, and once for each size of remainder that is asked for.
pub struct TractEngine {
    sampler: Sampler,
    stem: Plan,
    stem_shape: Vec<usize>,
    head: ModelProto,
    plans: HashMap<usize, Plan>,
    /// The stem's outputs for the current frame.
    crossing: TVec<TValue>,
}

impl fmt::Debug for TractEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TractEngine")
            .field("sampler", &self.sampler)
            .field("compiled_for", &self.plans.keys())
            .finish_non_exhaustive()
    }
}

impl TractEngine {
    /// Compiles the model for blocks of `block` passes; `seed` selects the masks.
    ///
    /// # Errors
    ///
    /// When `block` is 0 or tract cannot compile the model.
    pub fn new(model: &Model, block: usize, seed: u64) -> Result<Self, EngineError> {
        let prepare = |part| move |e| EngineError::prepare(NAME, part, &format!("{e:#}"));
        let sampler = Sampler::new(model, block, seed)?;
        let stem = compile(model.stem(), 1).map_err(prepare(STEM))?;
        let head = model.head().clone();
        let plan = compile(&head, block).map_err(prepare(HEAD))?;
        Ok(Self {
            stem_shape: model.stem_input_dims(),
            sampler,
            stem,
            head,
            plans: HashMap::from([(block, plan)]),
            crossing: TVec::new(),
        })
    }

    fn run_block(
        &mut self,
        passes: usize,
        fill: &mut dyn FnMut(&Sampler, usize, &mut [f32]),
        logits: &mut [f32],
    ) -> Result<(), EngineError> {
        let run = |e| EngineError::run(NAME, HEAD, &format!("{e:#}"));
        if !self.plans.contains_key(&passes) {
            let plan = compile(&self.head, passes)
                .map_err(|e| EngineError::prepare(NAME, HEAD, &format!("{e:#}")))?;
            self.plans.insert(passes, plan);
        }
        let mut inputs = self.crossing.clone();
        for site in 0..self.sampler.site_count() {
            let mut mask =
                Tensor::zero::<f32>(&self.sampler.mask_shape(site, passes)).map_err(run)?;
            let mut values = mask.try_as_plain_ram_mut().map_err(run)?;
            fill(&self.sampler, site, values.as_slice_mut().map_err(run)?);
            inputs.push(mask.into_tvalue());
        }
        let outputs = self.plans[&passes].run(inputs).map_err(run)?;
        let values = outputs[0].try_as_plain_ram().map_err(run)?;
        let values = values.as_slice::<f32>().map_err(run)?;
        if values.len() != logits.len() {
            return Err(EngineError::run(
                NAME,
                HEAD,
                &"the logits have another shape",
            ));
        }
        logits.copy_from_slice(values);
        Ok(())
    }
}

impl Engine for TractEngine {
    type Error = EngineError;

    fn name(&self) -> &'static str {
        NAME
    }

    fn input_shape(&self) -> InputShape {
        self.sampler.input_shape()
    }

    fn classes(&self) -> usize {
        self.sampler.classes()
    }

    fn begin(&mut self, frame: u32, input: &[f32]) -> Result<(), EngineError> {
        self.sampler.begin(input)?;
        let run = |e| EngineError::run(NAME, STEM, &format!("{e:#}"));
        let input = Tensor::from_shape(&self.stem_shape, input).map_err(run)?;
        self.crossing = self
            .stem
            .run(TVec::from_elem(input.into_tvalue(), 1))
            .map_err(run)?;
        self.sampler.ready(frame);
        Ok(())
    }

    fn sample(&mut self, passes: Range<u32>, logits: &mut [f32]) -> Result<(), EngineError> {
        let blocks = self.sampler.blocks(&passes, logits)?;
        let mut rest = logits;
        for block in blocks {
            let (out, after) = rest.split_at_mut(block.len() * self.sampler.classes());
            rest = after;
            let mut draw = |sampler: &Sampler, site, mask: &mut [f32]| {
                sampler.fill(site, block.clone(), mask);
            };
            self.run_block(block.len(), &mut draw, out)?;
        }
        Ok(())
    }
}

impl GivenMasks for TractEngine {
    fn sample_given(
        &mut self,
        passes: usize,
        fill: &mut dyn FnMut(usize, &mut [f32]),
        logits: &mut [f32],
    ) -> Result<(), EngineError> {
        self.sampler.check(passes, logits)?;
        self.run_block(passes, &mut |_, site, mask| fill(site, mask), logits)
    }
}

/// Compiles a graph, with `passes` in place of every dimension that is not fixed.
fn compile(model: &ModelProto, passes: usize) -> TractResult<Plan> {
    let mut model = model.clone();
    let graph = model.graph.iter_mut();
    for value in graph.flat_map(|g| g.input.iter_mut().chain(&mut g.output)) {
        let tensor = value.r#type.as_mut().and_then(|t| t.value.as_mut());
        let Some(type_proto::Value::TensorType(tensor)) = tensor else {
            continue;
        };
        for dim in tensor.shape.iter_mut().flat_map(|shape| &mut shape.dim) {
            if let Some(dimension::Value::DimParam(_)) = dim.value {
                dim.value = Some(dimension::Value::DimValue(passes as i64));
            }
        }
    }
    tract_onnx::onnx()
        .model_for_proto_model(&model)?
        .into_optimized()?
        .into_runnable()
}
