//! onnxruntime's shared library: which one, and what it can do.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ort::environment::Environment;
use ort::ep::{CPU, CUDA, ExecutionProvider as _, TensorRT};

use crate::engine::provider::Provider;
use crate::engine::{EngineError, one_line};
use crate::source::cache_folder;

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

/// The execution providers that the library was built with. That one is among them does not say that
/// what it needs is installed, or that there is a GPU: only an engine on it does.
///
/// # Errors
///
/// When onnxruntime is absent, too old, or fails.
pub fn providers() -> Result<Vec<Provider>, EngineError> {
    environment()?;
    let mut built_in = Vec::new();
    for provider in Provider::ALL {
        let there = match provider {
            Provider::Cpu => CPU::is_available(),
            Provider::Cuda => CUDA::is_available(),
            Provider::TensorRt => TensorRT::is_available(),
        };
        let explain = |e: ort::Error| EngineError::Library(one_line(&e.to_string()));
        if there.map_err(explain)? {
            built_in.push(provider);
        }
    }
    Ok(built_in)
}
