//! A model file made ready to judge frames on Linux: model + engine + buffers + settings.

use std::ops::Range;
use std::path::Path;
use std::str::FromStr;

use shared::image::{Fit, Normalisation, Rect};
use shared::stopping::{self, Delta};
use shared::triage::Thresholds;

use crate::engine::native::{Level, NativeEngine, Plan, PlanError};
use crate::engine::{Engine, EngineError, InputShape};
use crate::inference::{BufferLengths, Buffers, Inference, InferenceError, MAX_CHANNELS, Settings};
use crate::onnx::{Model, OnnxError};

/// Most classes a model may have on Linux.
pub const MAX_CLASSES: usize = 1024;

/// An engine of any kind.
pub type AnyEngine = Box<dyn Engine<Error = EngineError>>;

impl Engine for AnyEngine {
    type Error = EngineError;

    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn input_shape(&self) -> InputShape {
        (**self).input_shape()
    }

    fn classes(&self) -> usize {
        (**self).classes()
    }

    fn begin(&mut self, frame: u32, input: &[f32]) -> Result<(), EngineError> {
        (**self).begin(frame, input)
    }

    fn sample(&mut self, passes: Range<u32>, logits: &mut [f32]) -> Result<(), EngineError> {
        (**self).sample(passes, logits)
    }
}

/// The frame loop's body on Linux.
pub type LinuxInference = Inference<AnyEngine, Vec<f32>, MAX_CLASSES>;

/// Which engine runs the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// The project's own, for sequential networks.
    Native,
    /// tract, in pure Rust.
    Tract,
    /// onnxruntime, loaded at run time.
    Ort,
}

impl EngineKind {
    /// Every kind, with the name the command line uses.
    pub const ALL: [(&'static str, Self); 3] = [
        ("native", Self::Native),
        ("tract", Self::Tract),
        ("ort", Self::Ort),
    ];
}

impl FromStr for EngineKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find_map(|(name, kind)| (name == text).then_some(kind))
            .ok_or_else(|| format!("'{text}' is no engine: use native, tract or ort"))
    }
}

/// What the caller chooses; the rest comes from the model file.
#[derive(Clone, Debug)]
pub struct Options {
    /// The engine; if `None`, native where the model fits it, else tract.
    pub engine: Option<EngineKind>,
    /// Stochastic passes per frame; with `adaptive`, at most.
    pub passes: u32,
    /// Stop when the decision is settled, with this probability to differ from that of all passes.
    pub adaptive: Option<Delta>,
    /// Passes per batch of the engine.
    pub block: u32,
    /// Threads that share the passes of a frame; tract has one only.
    pub threads: usize,
    /// Seed of the masks; the model's own if `None`.
    pub seed: Option<u64>,
    /// Part of the picture to look at.
    pub crop: Option<Rect>,
    /// How pictures of another aspect ratio meet the model's input.
    pub fit: Fit,
    /// Thresholds; the model's own if `None`.
    pub thresholds: Option<Thresholds>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            engine: None,
            passes: 100,
            adaptive: None,
            block: 100,
            threads: 1,
            seed: None,
            crop: None,
            fit: Fit::default(),
            thresholds: None,
        }
    }
}

/// Why a session could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The model file was refused.
    #[error(transparent)]
    Model(#[from] OnnxError),
    /// The engine cannot run the model.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The model does not fit the native engine.
    #[error("{0}; use --engine tract or --engine ort")]
    Plan(#[from] PlanError),
    /// The settings do not fit the model.
    #[error("{0}")]
    Settings(#[from] InferenceError<EngineError>),
    /// The model's normalisation does not fit its channels.
    #[error("the model has {channels} input channels but metadata for {given}; export it again")]
    Normalisation {
        /// Channels of the input.
        channels: usize,
        /// Entries of the metadata.
        given: usize,
    },
    /// The binary was built without this engine.
    #[error("this program was built without the '{0}' engine; rebuild it with --features {0}")]
    NotBuilt(&'static str),
}

/// A model ready to judge frames.
#[allow(missing_debug_implementations)] // Engines wrap foreign runtimes without one.
pub struct Session {
    /// The model as loaded.
    pub model: Model,
    /// The frame loop's body.
    pub inference: LinuxInference,
    /// Seed of the masks in use.
    pub seed: u64,
    /// Whether the thresholds were calibrated: given by the caller or the model file. Otherwise
    /// generic ones for this number of classes are in force.
    pub calibrated: bool,
}

impl Session {
    /// Loads the model at `path` and plans it for the engine chosen.
    ///
    /// # Errors
    /// If the file is not a classifier with live dropout, the engine cannot run it, or the options
    /// do not fit it.
    pub fn open(path: &Path, options: &Options) -> Result<Self, SessionError> {
        let model = Model::load(path)?;
        let metadata = model.metadata();
        let seed = options.seed.unwrap_or(metadata.seed);
        let thresholds = options.thresholds.or(metadata.thresholds);
        let settings = Settings {
            passes: options.passes,
            adaptive: options.adaptive,
            block: options.block.min(options.passes),
            normalisation: per_channel(&metadata.normalisation, model.input_shape().channels)?,
            crop: options.crop,
            fit: options.fit,
            thresholds: thresholds.unwrap_or_else(|| Thresholds::uncalibrated(model.classes())),
        };
        // Of adaptive sampling no batch is larger than what is run between two looks.
        let block = match settings.adaptive {
            Some(_) => settings.block.min(stopping::BLOCK),
            None => settings.block,
        };
        let engine = open_engine(options.engine, &model, block, seed, options.threads)?;
        let lengths = BufferLengths::new(engine.input_shape(), engine.classes(), &settings);
        let buffers = Buffers {
            input: vec![0.0; lengths.input],
            logits: vec![0.0; lengths.logits],
            record: vec![0.0; lengths.record],
        };
        let inference = Inference::new(engine, settings, buffers)?;
        Ok(Self {
            model,
            inference,
            seed,
            calibrated: thresholds.is_some(),
        })
    }
}

/// Plans `model` for an engine: native where it fits, else tract, if none is named. `block` is the
/// passes per batch, `threads` how many share the passes of a frame.
///
/// # Errors
/// If the engine was not built in, is not installed, or cannot run the model.
pub fn open_engine(
    kind: Option<EngineKind>,
    model: &Model,
    block: u32,
    seed: u64,
    threads: usize,
) -> Result<AnyEngine, SessionError> {
    let native = |plan| NativeEngine::new(plan, Level::detect(), seed, threads);
    match kind {
        None => match Plan::from_model(model) {
            Ok(plan) => Ok(Box::new(native(plan)?)),
            Err(error) => {
                tracing::info!("tract runs the model: {error}");
                open_engine(Some(EngineKind::Tract), model, block, seed, threads)
            }
        },
        Some(EngineKind::Native) => Ok(Box::new(native(Plan::from_model(model)?)?)),
        #[cfg(feature = "tract")]
        Some(EngineKind::Tract) => Ok(Box::new(crate::engine::tract::TractEngine::new(
            model,
            block as usize,
            seed,
        )?)),
        #[cfg(not(feature = "tract"))]
        Some(EngineKind::Tract) => Err(SessionError::NotBuilt("tract")),
        #[cfg(feature = "ort")]
        Some(EngineKind::Ort) => Ok(Box::new(crate::engine::ort::OrtEngine::with_threads(
            model,
            block as usize,
            seed,
            threads,
        )?)),
        #[cfg(not(feature = "ort"))]
        Some(EngineKind::Ort) => Err(SessionError::NotBuilt("ort")),
    }
}

/// One entry serves every channel; otherwise there must be one per channel.
fn per_channel(
    given: &[Normalisation],
    channels: usize,
) -> Result<[Normalisation; MAX_CHANNELS], SessionError> {
    match given {
        [one] => Ok([*one; MAX_CHANNELS]),
        many if many.len() == channels && channels <= MAX_CHANNELS => {
            let mut all = [many[0]; MAX_CHANNELS];
            all[..channels].copy_from_slice(many);
            Ok(all)
        }
        _ => Err(SessionError::Normalisation {
            channels,
            given: given.len(),
        }),
    }
}
