//! The tract engine: pure Rust, no library to install.
//!
//! Where a frame's time goes (LeNet, 100 passes, x86-64 with AVX-512): matrix products 37 %, laying
//! out the second convolution's operand for its product (im2col) 23 %, pools 16 %, drawing the masks
//! 11 %, multiplying by them 4 %, clearing memory 2 %, and all else, the stem included, 7 %.

use std::collections::HashMap;
use std::fmt;
use std::hint::black_box;
use std::sync::Arc;

use tract_onnx::pb::ModelProto;
use tract_onnx::pb::tensor_shape_proto::dimension;
use tract_onnx::pb::type_proto;
use tract_onnx::prelude::{
    Framework, InferenceModelExt, IntoRunnable, IntoTValue, TValue, TVec, Tensor, TractError,
    TractResult, TypedRunnableModel,
};

use super::EngineError;
use super::split::{HEAD, Runtime, STEM, SplitEngine, copy_logits, mask_shape};
use crate::onnx::{DropoutSite, Model, guarded};

mod pool;
mod standard;

pub use standard::StandardEngine;

const NAME: &str = "tract";

/// Bytes: more than the tensors of a batch take together, and no more than glibc heeds.
const KEPT: usize = if cfg!(target_pointer_width = "64") {
    16 << 20
} else {
    384 << 10
};

type Plan = Arc<TypedRunnableModel>;

/// Passes that a run of the head takes at most. More would not stay in the cache, and
/// [`shared::mask`] draws the masks of this many at once.
const BATCH: usize = 32;

/// Runs a model with tract, on one thread.
pub type TractEngine = SplitEngine<Tract>;

/// The tract runtime.
///
/// The head is compiled for a fixed number of passes, which lets tract fold all its shapes: for 32
/// or the block size, whichever is less, and for each other number that is asked for.
pub struct Tract {
    sites: Vec<DropoutSite>,
    stem: Plan,
    stem_shape: Vec<usize>,
    head: ModelProto,
    /// By the number of passes.
    plans: HashMap<usize, Plan>,
    /// The stem's outputs for the current frame.
    crossing: TVec<TValue>,
}

impl fmt::Debug for Tract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tract")
            .field("compiled_for", &self.plans.keys())
            .finish_non_exhaustive()
    }
}

impl TractEngine {
    /// Compiles the model for blocks of `block` passes, which tract runs 32 at a time; `seed`
    /// selects the masks.
    ///
    /// # Errors
    ///
    /// When `block` is 0 or tract cannot compile the model.
    pub fn new(model: &Model, block: usize, seed: u64) -> Result<Self, EngineError> {
        Self::with_runtime(model, block.min(BATCH), seed, || {
            Tract::prepare(model, block)
        })
    }
}

impl Tract {
    fn prepare(model: &Model, block: usize) -> Result<Self, EngineError> {
        keep_freed_memory();
        let stem = compile(model.stem(), 1)
            .map_err(|e| EngineError::prepare(NAME, STEM, &format!("{e:#}")))?;
        let mut runtime = Self {
            sites: model.sites().to_vec(),
            stem,
            stem_shape: model.stem_input_dims(),
            head: model.head().clone(),
            plans: HashMap::new(),
            crossing: TVec::new(),
        };
        // Now rather than during the first frame.
        for passes in [block.min(BATCH), block % BATCH] {
            if passes > 0 {
                runtime.head_for(passes)?;
            }
        }
        Ok(runtime)
    }

    /// The head for `passes` passes.
    fn head_for(&mut self, passes: usize) -> Result<Plan, EngineError> {
        if let Some(plan) = self.plans.get(&passes) {
            return Ok(Arc::clone(plan));
        }
        let plan = compile(&self.head, passes)
            .map_err(|e| EngineError::prepare(NAME, HEAD, &format!("{e:#}")))?;
        self.plans.insert(passes, Arc::clone(&plan));
        Ok(plan)
    }
}

impl Runtime for Tract {
    fn name(&self) -> &'static str {
        NAME
    }

    fn run_stem(&mut self, input: &[f32]) -> Result<(), EngineError> {
        let run = |e| EngineError::run(NAME, STEM, &format!("{e:#}"));
        let input = Tensor::from_shape(&self.stem_shape, input).map_err(run)?;
        self.crossing = self
            .stem
            .run(TVec::from_elem(input.into_tvalue(), 1))
            .map_err(run)?;
        Ok(())
    }

    fn run_head(
        &mut self,
        passes: usize,
        fill: &mut dyn FnMut(usize, &mut [f32]),
        logits: &mut [f32],
    ) -> Result<(), EngineError> {
        let run = |e| EngineError::run(NAME, HEAD, &format!("{e:#}"));
        let head = self.head_for(passes)?;
        let mut inputs = self.crossing.clone();
        for (index, site) in self.sites.iter().enumerate() {
            let mut mask = Tensor::zero::<f32>(&mask_shape(site, passes)).map_err(run)?;
            let mut values = mask.try_as_plain_ram_mut().map_err(run)?;
            fill(index, values.as_slice_mut().map_err(run)?);
            inputs.push(mask.into_tvalue());
        }
        let outputs = head.run(inputs).map_err(run)?;
        let values = outputs[0].try_as_plain_ram().map_err(run)?;
        let values = values.as_slice::<f32>().map_err(run)?;
        copy_logits(NAME, values, logits)
    }
}

/// Lets the C library keep the memory that a run frees for the next run.
///
/// tract allocates every tensor anew, and glibc hands large ones back to the kernel, which gives
/// them out again page by page, each zeroed first: up to a third of a frame's time. It hands back
/// nothing smaller than the largest block that it has once handed back, which is the one here.
/// Nothing is written to it, so it takes no memory; other C libraries are not affected.
fn keep_freed_memory() {
    drop(black_box(Vec::<u8>::with_capacity(KEPT)));
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
    if let Some(graph) = &mut model.graph {
        pool::rows_then_columns(graph);
    }
    let compile = || {
        tract_onnx::onnx()
            .model_for_proto_model(&model)?
            .into_optimized()?
            .into_runnable()
    };
    guarded(compile, TractError::msg)
}
