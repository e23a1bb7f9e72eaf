//! Where onnxruntime runs, and sessions for it.

use std::fs;
use std::path::{Path, PathBuf};

use crc::{CRC_64_XZ, Crc};
use ort::ep::{CUDA, ExecutionProviderDispatch, TensorRT};
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use prost::Message as _;
use tract_onnx::pb::ModelProto;

use super::library::{environment, providers};
use crate::engine::provider::{OrtOptions, Provider};
use crate::engine::{EngineError, one_line};
use crate::onnx::PASSES_DIMENSION;
use crate::source::cache_folder;

/// Where TensorRT's engines are kept, inside the cache folder.
const ENGINES: &str = "tensorrt";

/// A provider, ready to make sessions.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) provider: Provider,
    /// Threads of the processor; as many as it has cores if `None`.
    threads: Option<usize>,
    /// With TensorRT, what it builds is kept here.
    engines: Option<PathBuf>,
}

impl Place {
    /// # Errors
    ///
    /// When the library is absent, has not the provider, or there is no folder for its engines.
    pub(super) fn new(options: &OrtOptions, threads: usize) -> Result<Self, EngineError> {
        let provider = options.provider();
        let built_in = providers()?;
        if !built_in.contains(&provider) {
            let has: Vec<&str> = built_in.iter().map(|p| p.as_str()).collect();
            return Err(EngineError::Provider {
                provider: provider.as_str(),
                reason: format!(
                    "this onnxruntime library has only: {}; set ORT_DYLIB_PATH to one that was built with it",
                    has.join(", ")
                ),
            });
        }
        let engines = (provider == Provider::TensorRt).then(|| engine_folder(options));
        Ok(Self {
            provider,
            threads: Some(threads),
            engines: engines.transpose()?,
        })
    }

    /// A session for one part of a model: its stem, or its head for `batch` passes, `None` for any
    /// number.
    ///
    /// # Errors
    ///
    /// When the provider does not load, or does not take all of the part.
    pub(super) fn session(
        &self,
        model: &ModelProto,
        part: &'static str,
        batch: Option<usize>,
    ) -> Result<Session, EngineError> {
        let explain = |e: ort::Error| EngineError::prepare(self.provider.engine_name(), part, &e);
        let model = model.encode_to_vec();
        let mut builder = Session::builder(environment()?).map_err(explain)?;
        if let Some(threads) = self.threads {
            builder = builder
                .with_intra_threads(threads)
                .map_err(|e| explain(e.into()))?;
        }
        if let Some(batch) = batch {
            builder = builder
                .with_dimension_override(PASSES_DIMENSION, batch as i64)
                .map_err(|e| explain(e.into()))?;
        }
        if let Some(execution) = self.execution(&model, batch)? {
            builder = only_on(builder, execution).map_err(|e| EngineError::Provider {
                provider: self.provider.as_str(),
                reason: format!(
                    "{}; install what it needs, or leave --provider out to run on the processor",
                    said(&e)
                ),
            })?;
        }
        builder.commit_from_memory(&model).map_err(explain)
    }

    /// What onnxruntime calls the provider, with its options; `None` for the processor.
    fn execution(
        &self,
        model: &[u8],
        batch: Option<usize>,
    ) -> Result<Option<ExecutionProviderDispatch>, EngineError> {
        Ok(match (self.provider, &self.engines) {
            (Provider::Cpu, _) => None,
            // TensorFloat-32 has a mantissa of 10 bits: passes would not be those of other engines.
            (Provider::Cuda, _) => Some(CUDA::default().with_tf32(false).build()),
            (Provider::TensorRt, None) => Some(TensorRT::default().build()),
            (Provider::TensorRt, Some(folder)) => {
                // onnxruntime tells engines apart by the names in a graph: not by its weights, and
                // not by the size of a batch.
                let network = Crc::<u64>::new(&CRC_64_XZ).checksum(model);
                let own = folder.join(format!("{network:016x}-{}", batch.unwrap_or(1)));
                let (folder, own) = (text(folder)?, made(&own)?);
                let engines = TensorRT::default()
                    .with_engine_cache(true)
                    .with_engine_cache_path(own)
                    .with_timing_cache(true)
                    .with_timing_cache_path(folder);
                Some(engines.build())
            }
        })
    }
}

/// What onnxruntime says, without the place in its sources.
fn said(error: &ort::Error) -> String {
    let text = one_line(&error.to_string());
    text.rsplit(" : ").next().unwrap_or(&text).to_owned()
}

/// Lets `provider` run everything, or the session fail.
fn only_on(
    builder: SessionBuilder,
    provider: ExecutionProviderDispatch,
) -> ort::Result<SessionBuilder> {
    let builder = builder.with_execution_providers([provider.error_on_failure()])?;
    Ok(builder.with_disable_cpu_fallback()?)
}

/// The folder for TensorRT's engines.
fn engine_folder(options: &OrtOptions) -> Result<PathBuf, EngineError> {
    let default = || cache_folder().map(|folder| folder.join(ENGINES));
    let folder = options.engine_cache.clone().or_else(default);
    folder.ok_or_else(|| {
        EngineError::Library(
            "there is no cache folder for TensorRT's engines: give --engine-cache".into(),
        )
    })
}

/// A folder, made if it was missing, as onnxruntime takes it.
fn made(folder: &Path) -> Result<String, EngineError> {
    fs::create_dir_all(folder).map_err(|e| {
        EngineError::Library(format!(
            "cannot make the folder {} for TensorRT's engines: {e}",
            folder.display()
        ))
    })?;
    text(folder)
}

fn text(path: &Path) -> Result<String, EngineError> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        EngineError::Library(format!(
            "the folder {} for TensorRT's engines has a name that is not UTF-8: give --engine-cache",
            path.display()
        ))
    })
}
