//! The onnxruntime engine: faster than tract, and on a GPU where there is one, but its shared library
//! has to be installed.
//!
//! A provider runs all of a model or none of it: onnxruntime's own habit of running on the processor
//! what a provider does not take, or all if the provider does not load, is switched off. Where a GPU
//! runs it, every batch has the same number of passes, the last one filled up with passes that nobody
//! reads, so that all shapes are constants: no part is left to work out shapes on the processor, cuDNN
//! chooses its algorithms once, and TensorRT builds one engine.

use std::fmt;
use std::ops::Range;

use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, TensorRef};

use self::session::Place;
use super::EngineError;
use super::provider::{OrtOptions, Provider};
use super::split::{HEAD, Runtime, STEM, SplitEngine, copy_logits, mask_shape};
use crate::onnx::{DropoutSite, Model};

mod library;
pub mod live;
mod session;

pub use library::{find_library, providers};

/// Runs a model with onnxruntime, with its default session options but for what the provider needs.
pub type OrtEngine = SplitEngine<Ort>;

/// The onnxruntime runtime.
pub struct Ort {
    provider: Provider,
    sites: Vec<DropoutSite>,
    stem: Session,
    stem_shape: Vec<usize>,
    head: Session,
    /// The head's inputs: the stem's outputs, then the masks.
    head_inputs: Vec<String>,
    /// Passes that the head takes at once, if it takes no other number.
    batch: Option<usize>,
    classes: usize,
    /// The stem's outputs for the current frame.
    crossing: Vec<DynValue>,
    /// One buffer per site.
    masks: Vec<Vec<f32>>,
}

impl fmt::Debug for Ort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ort")
            .field("provider", &self.provider)
            .field("head_inputs", &self.head_inputs)
            .finish_non_exhaustive()
    }
}

impl OrtEngine {
    /// Prepares the model for the processor and for blocks of `block` passes; `seed` selects the masks.
    ///
    /// # Errors
    ///
    /// When onnxruntime is absent or too old, when `block` is 0, or when onnxruntime refuses the
    /// model.
    pub fn new(model: &Model, block: usize, seed: u64) -> Result<Self, EngineError> {
        let place = Place::default();
        Self::with_runtime(model, block, seed, || Ort::prepare(model, &place, None))
    }

    /// As [`OrtEngine::new`], on the provider of `options`. On the processor it takes `threads`
    /// threads.
    ///
    /// # Errors
    ///
    /// As [`OrtEngine::new`], and when the provider is not in the library, does not load, or does not
    /// take all of the model.
    pub fn with_options(
        model: &Model,
        block: usize,
        seed: u64,
        threads: usize,
        options: &OrtOptions,
    ) -> Result<Self, EngineError> {
        let place = Place::new(options, threads)?;
        let batch = (options.provider() != Provider::Cpu).then_some(block);
        Self::with_runtime(model, block, seed, || Ort::prepare(model, &place, batch))
    }
}

impl Ort {
    /// `batch` is the number of passes that the head is made for, `None` for any.
    fn prepare(model: &Model, place: &Place, batch: Option<usize>) -> Result<Self, EngineError> {
        let stem = place.session(model.stem(), STEM, None)?;
        let head = place.session(model.head(), HEAD, batch)?;
        Ok(Self {
            provider: place.provider,
            masks: vec![Vec::new(); model.sites().len()],
            sites: model.sites().to_vec(),
            stem_shape: model.stem_input_dims(),
            head_inputs: head.inputs().iter().map(|i| i.name().to_owned()).collect(),
            stem,
            head,
            batch,
            classes: model.classes(),
            crossing: Vec::new(),
        })
    }

    /// Runs the head with rows `rows` of the masks, and writes the first rows of its output.
    fn run_batch(&mut self, rows: Range<usize>, logits: &mut [f32]) -> Result<(), EngineError> {
        let name = self.provider.engine_name();
        let run = |e| EngineError::run(name, HEAD, &e);
        let mut inputs: Vec<(&str, SessionInputValue<'_>)> = Vec::new();
        let mut names = self.head_inputs.iter().map(String::as_str);
        for (value, name) in self.crossing.iter().zip(names.by_ref()) {
            inputs.push((name, value.into()));
        }
        for (name, (site, mask)) in names.zip(self.sites.iter().zip(&self.masks)) {
            let shape = mask_shape(site, rows.len());
            let mask = &mask[rows.start * site.elements()..rows.end * site.elements()];
            let mask = TensorRef::from_array_view((shape, mask)).map_err(run)?;
            inputs.push((name, mask.into()));
        }
        let outputs = self.head.run(inputs).map_err(run)?;
        let (_, values) = outputs[0].try_extract_tensor::<f32>().map_err(run)?;
        let whole = values.len() == rows.len() * self.classes;
        copy_logits(
            name,
            if whole {
                &values[..logits.len()]
            } else {
                values
            },
            logits,
        )
    }
}

impl Runtime for Ort {
    fn name(&self) -> &'static str {
        self.provider.engine_name()
    }

    fn run_stem(&mut self, input: &[f32]) -> Result<(), EngineError> {
        let run = |e| EngineError::run(self.provider.engine_name(), STEM, &e);
        let image = TensorRef::from_array_view((self.stem_shape.clone(), input)).map_err(run)?;
        let outputs = self.stem.run(ort::inputs![image]).map_err(run)?;
        self.crossing = outputs.into_iter().map(|(_, value)| value).collect();
        Ok(())
    }

    fn run_head(
        &mut self,
        passes: usize,
        fill: &mut dyn FnMut(usize, &mut [f32]),
        logits: &mut [f32],
    ) -> Result<(), EngineError> {
        if passes == 0 {
            return Ok(());
        }
        let batch = self.batch.unwrap_or(passes);
        let room = passes.next_multiple_of(batch);
        for (index, (site, mask)) in self.sites.iter().zip(&mut self.masks).enumerate() {
            mask.resize(room * site.elements(), 0.0);
            fill(index, &mut mask[..passes * site.elements()]);
        }
        for (index, logits) in logits.chunks_mut(batch * self.classes).enumerate() {
            self.run_batch(index * batch..(index + 1) * batch, logits)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
