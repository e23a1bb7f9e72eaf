//! The onnxruntime engine: faster than tract, but its shared library has to be installed.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ort::environment::Environment;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, TensorRef};
use prost::Message as _;
use tract_onnx::pb::ModelProto;

use super::EngineError;
use super::split::{HEAD, Runtime, STEM, SplitEngine, copy_logits, mask_shape};
use crate::onnx::{DropoutSite, Model, one_line};
use crate::source::cache_folder;

const NAME: &str = "ort";
/// Where `scripts/setup` puts the library, inside the cache folder.
const CACHED_LIBRARY: &str = "onnxruntime-1.32.0/libonnxruntime.so";
/// Names the library's path.
const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

/// The onnxruntime library that will be used: what `ORT_DYLIB_PATH` names, else the one that
/// `scripts/setup` put into the cache folder.
///
/// # Errors
///
/// When it is not there; the message says how to get it.
pub fn find_library() -> Result<PathBuf, EngineError> {
    if let Some(path) = env::var_os(LIBRARY_VARIABLE).filter(|value| !value.is_empty()) {
        let path = PathBuf::from(path);
        return path.canonicalize().map_err(|e| {
            EngineError::Library(format!(
                "{LIBRARY_VARIABLE} names {}, which cannot be used: {e}",
                path.display()
            ))
        });
    }
    let path = cache_folder().map(|folder| folder.join(CACHED_LIBRARY));
    path.as_deref()
        .filter(|path| path.is_file())
        .map(Path::to_path_buf)
        .ok_or_else(|| {
            let looked = path.map_or("no cache folder".into(), |p| p.display().to_string());
            EngineError::Library(format!(
                "onnxruntime is not installed (looked for {looked}): run scripts/setup, or set {LIBRARY_VARIABLE} to a libonnxruntime.so of version 1.{} or newer",
                ort::MINOR_VERSION
            ))
        })
}

/// The process has one onnxruntime environment, made when the first engine is.
pub(super) fn environment() -> Result<&'static Environment, EngineError> {
    static ENVIRONMENT: OnceLock<Result<Environment, String>> = OnceLock::new();
    let environment = ENVIRONMENT.get_or_init(|| {
        let path = find_library().map_err(|e| e.to_string())?;
        let explain = |reason: String| format!("onnxruntime cannot be used: {}", one_line(&reason));
        ort::init_from(&path)
            .map_err(|e| explain(e.to_string()))?
            .with_name(env!("CARGO_PKG_NAME"))
            .with_telemetry(false)
            .build()
            .map_err(|e| explain(e.to_string()))
    });
    environment
        .as_ref()
        .map_err(|reason| EngineError::Library(reason.clone()))
}

/// Runs a model with onnxruntime on the CPU, with its default session options.
pub type OrtEngine = SplitEngine<Ort>;

/// The onnxruntime runtime.
pub struct Ort {
    sites: Vec<DropoutSite>,
    stem: Session,
    stem_shape: Vec<usize>,
    head: Session,
    /// The head's inputs: the stem's outputs, then the masks.
    head_inputs: Vec<String>,
    /// The stem's outputs for the current frame.
    crossing: Vec<DynValue>,
    /// One buffer per site.
    masks: Vec<Vec<f32>>,
}

impl fmt::Debug for Ort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ort")
            .field("head_inputs", &self.head_inputs)
            .finish_non_exhaustive()
    }
}

impl OrtEngine {
    /// Prepares the model for blocks of `block` passes; `seed` selects the masks.
    ///
    /// # Errors
    ///
    /// When onnxruntime is absent or too old, when `block` is 0, or when onnxruntime refuses the
    /// model.
    pub fn new(model: &Model, block: usize, seed: u64) -> Result<Self, EngineError> {
        Self::with_runtime(model, block, seed, || Ort::prepare(model, None))
    }

    /// As [`OrtEngine::new`], on `threads` threads instead of one per core.
    ///
    /// # Errors
    ///
    /// As [`OrtEngine::new`].
    pub fn with_threads(
        model: &Model,
        block: usize,
        seed: u64,
        threads: usize,
    ) -> Result<Self, EngineError> {
        Self::with_runtime(model, block, seed, || Ort::prepare(model, Some(threads)))
    }
}

impl Ort {
    fn prepare(model: &Model, threads: Option<usize>) -> Result<Self, EngineError> {
        let environment = environment()?;
        let stem = session(environment, model.stem(), STEM, threads)?;
        let head = session(environment, model.head(), HEAD, threads)?;
        let stem_shape = model.stem_input_dims();
        Ok(Self {
            masks: vec![Vec::new(); model.sites().len()],
            sites: model.sites().to_vec(),
            stem_shape,
            head_inputs: head.inputs().iter().map(|i| i.name().to_owned()).collect(),
            stem,
            head,
            crossing: Vec::new(),
        })
    }
}

impl Runtime for Ort {
    const NAME: &'static str = NAME;

    fn run_stem(&mut self, input: &[f32]) -> Result<(), EngineError> {
        let run = |e| EngineError::run(NAME, STEM, &e);
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
        let run = |e| EngineError::run(NAME, HEAD, &e);
        for (index, (site, mask)) in self.sites.iter().zip(&mut self.masks).enumerate() {
            mask.resize(passes * site.elements(), 0.0);
            fill(index, mask);
        }
        let mut inputs: Vec<(&str, SessionInputValue<'_>)> = Vec::new();
        let mut names = self.head_inputs.iter().map(String::as_str);
        for (value, name) in self.crossing.iter().zip(names.by_ref()) {
            inputs.push((name, value.into()));
        }
        for (name, (site, mask)) in names.zip(self.sites.iter().zip(&self.masks)) {
            let shape = mask_shape(site, passes);
            let mask = TensorRef::from_array_view((shape, mask.as_slice())).map_err(run)?;
            inputs.push((name, mask.into()));
        }
        let outputs = self.head.run(inputs).map_err(run)?;
        let (_, values) = outputs[0].try_extract_tensor::<f32>().map_err(run)?;
        copy_logits(NAME, values, logits)
    }
}

fn session(
    environment: &Environment,
    model: &ModelProto,
    part: &'static str,
    threads: Option<usize>,
) -> Result<Session, EngineError> {
    let explain = |e: ort::Error| EngineError::prepare(NAME, part, &e);
    let mut builder = Session::builder(environment).map_err(explain)?;
    if let Some(threads) = threads {
        builder = builder
            .with_intra_threads(threads)
            .map_err(|e| explain(e.into()))?;
    }
    builder
        .commit_from_memory(&model.encode_to_vec())
        .map_err(explain)
}
