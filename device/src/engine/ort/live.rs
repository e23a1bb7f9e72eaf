//! Stock onnxruntime on a model file as it is, Dropout nodes and all: what one would use without
//! this library, and what it is compared with.

use std::fmt;
use std::path::Path;

use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, Session};
use ort::value::TensorRef;

use super::library::environment;
use crate::engine::split::copy_logits;
use crate::engine::{EngineError, InputShape};
use crate::onnx::Model;

const NAME: &str = "onnxruntime";
/// What errors call a model that is not cut.
const GRAPH: &str = "graph";

/// A model file in onnxruntime on the CPU, with its default session options apart from the number
/// of threads. It draws its own masks, so no frame can be replayed, and whether they differ
/// between passes is the file's affair: onnxruntime removes a Dropout whose mask is no output.
pub struct LiveOrt {
    session: Session,
    /// The logits alone are fetched, whatever else the file gives out.
    options: RunOptions<HasSelectedOutputs>,
    input: InputShape,
    classes: usize,
    /// The frame, once for each pass.
    batch: Vec<f32>,
}

impl fmt::Debug for LiveOrt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveOrt").finish_non_exhaustive()
    }
}

impl LiveOrt {
    /// Opens the file at `path`, which `model` was read from, on `threads` threads.
    ///
    /// # Errors
    ///
    /// When onnxruntime is absent or too old, or refuses the file.
    pub fn open(path: &Path, model: &Model, threads: usize) -> Result<Self, EngineError> {
        let explain = |e: ort::Error| EngineError::prepare(NAME, GRAPH, &e);
        let session = Session::builder(environment()?)
            .map_err(explain)?
            .with_intra_threads(threads)
            .map_err(|e| explain(e.into()))?
            .commit_from_file(path)
            .map_err(explain)?;
        let Some(logits) = session.outputs().first() else {
            return Err(EngineError::prepare(NAME, GRAPH, &"it has no output"));
        };
        let only = OutputSelector::no_default().with(logits.name());
        Ok(Self {
            options: RunOptions::new().map_err(explain)?.with_outputs(only),
            session,
            input: model.input_shape(),
            classes: model.classes(),
            batch: Vec::new(),
        })
    }

    /// Runs one normalised input (row-major channels, rows, columns) as a batch of as many passes
    /// as `logits`, `[pass][class]`, has rows.
    ///
    /// # Errors
    ///
    /// When `input` has not the model's length, or onnxruntime fails.
    pub fn run(&mut self, input: &[f32], logits: &mut [f32]) -> Result<(), EngineError> {
        let run = |e| EngineError::run(NAME, GRAPH, &e);
        if input.len() != self.input.len() {
            return Err(EngineError::InputLength {
                expected: self.input.len(),
                got: input.len(),
            });
        }
        let passes = logits.len() / self.classes;
        self.batch.clear();
        for _ in 0..passes {
            self.batch.extend_from_slice(input);
        }
        let InputShape {
            channels,
            height,
            width,
        } = self.input;
        let shape = vec![passes, channels, height, width];
        let batch = TensorRef::from_array_view((shape, self.batch.as_slice())).map_err(run)?;
        let outputs = self
            .session
            .run_with_options(ort::inputs![batch], &self.options)
            .map_err(run)?;
        let (_, values) = outputs[0].try_extract_tensor::<f32>().map_err(run)?;
        copy_logits(NAME, values, logits)
    }
}
