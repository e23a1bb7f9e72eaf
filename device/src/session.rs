//! A model file made ready to judge frames on Linux: model + engine + buffers + settings.

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use shared::image::{FrameView, PixelFormat, Preprocessing, Rect};
use shared::stopping::{self, Delta};
use shared::triage::Thresholds;

use crate::engine::micro::{MicroEngine, OwnedPlan, PlanFile, PlanFileError};
use crate::engine::native::{Level, NativeEngine, Plan, PlanError};
use crate::engine::provider::{OptionError, OrtOptions};
use crate::engine::{Engine, EngineError, InputShape};
use crate::inference::{Inference, InferenceError, Settings};
use crate::onnx::{Calibration, EndOptions, Model, OnnxError};
use crate::preprocessing::{PreprocessingError, PreprocessingOptions};
use crate::signature::{self, Kind, SignatureError, Trust};

pub use crate::onnx::limits::MAX_CLASSES;

/// An engine of any kind.
pub type AnyEngine = Box<dyn Engine<Error = EngineError> + Send>;

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

    fn buffer_length(&self) -> usize {
        (**self).buffer_length()
    }

    fn begin_with(
        &mut self,
        frame: u32,
        buffer: &mut [f32],
        fill: &mut dyn FnMut(&mut [f32]) -> bool,
    ) -> Result<(), EngineError> {
        (**self).begin_with(frame, buffer, fill)
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

    /// The name the command line uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }
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
    /// With onnxruntime, where it runs.
    pub ort: OrtOptions,
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
    /// What becomes of a picture, where the model's file does not say it or something else is wanted.
    pub preprocessing: PreprocessingOptions,
    /// What is said of the model's input and output, where its file leaves it open.
    pub ends: EndOptions,
    /// Thresholds; the model's own if `None`.
    pub thresholds: Option<Thresholds>,
    /// Keys that files have to be signed with, if there are any.
    pub trust: Trust,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            engine: None,
            ort: OrtOptions::default(),
            passes: 100,
            adaptive: None,
            block: 100,
            threads: 1,
            seed: None,
            crop: None,
            preprocessing: PreprocessingOptions::default(),
            ends: EndOptions::default(),
            thresholds: None,
            trust: Trust::default(),
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
    /// Options that do not go together.
    #[error("wrong usage")]
    Options(#[from] OptionError),
    /// The file is a plan that cannot be run.
    #[error("{}: {error}", path.display())]
    PlanFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: PlanFileError,
    },
    /// The file is a plan that is not signed as it has to be.
    #[error("{}: {error}", path.display())]
    Signature {
        /// The file.
        path: PathBuf,
        /// What is wrong with its signature.
        error: SignatureError,
    },
    /// An engine was named for a plan file.
    #[error("{} is a plan file, which has an engine of its own: leave --engine out", path.display())]
    PlanEngine {
        /// The file.
        path: PathBuf,
    },
    /// The model does not fit the native engine.
    #[error("{0}; use --engine tract or --engine ort")]
    Plan(#[from] PlanError),
    /// The settings do not fit the model.
    #[error("{0}")]
    Settings(#[from] InferenceError<EngineError>),
    /// What becomes of a picture is not known, or does not fit the model's input.
    #[error("{}: {error}", path.display())]
    Preprocessing {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: PreprocessingError,
    },
    /// The binary was built without this engine.
    #[error("this program was built without the '{0}' engine; rebuild it with --features {0}")]
    NotBuilt(&'static str),
}

/// What a model or plan file tells about itself.
#[derive(Debug, Clone)]
pub struct ModelAbout {
    /// CRC-32 of the model file; of a plan, that of the model it was made from.
    pub crc32: u32,
    /// Names of the classes.
    pub labels: Vec<String>,
    /// Limits that flag a frame.
    pub thresholds: Option<Thresholds>,
    /// What was promised about these limits; plans do not say.
    pub calibration: Option<Calibration>,
}

/// A model ready to judge frames.
#[allow(missing_debug_implementations)] // Engines wrap foreign runtimes without one.
pub struct Session {
    /// What the file tells about itself.
    pub about: ModelAbout,
    /// The frame loop's body.
    pub inference: LinuxInference,
    /// Seed of the masks in use.
    pub seed: u64,
    /// Whether the thresholds were calibrated: given by the caller or the model file. Otherwise
    /// generic ones for this number of classes are in force.
    pub calibrated: bool,
}

impl Session {
    /// Loads the model or plan file at `path` and makes it ready for the engine chosen.
    ///
    /// # Errors
    /// If the file is not a classifier with live dropout, the engine cannot run it, or the options
    /// do not fit it.
    pub fn open(path: &Path, options: &Options) -> Result<Self, SessionError> {
        options.ort.check(options.engine == Some(EngineKind::Ort))?;
        if let Some(bytes) = plan_bytes(path) {
            return Self::open_plan(path, &bytes, options);
        }
        let model = Model::load_with(path, &options.ends.load_options(&options.trust))?;
        for remark in model.remarks() {
            tracing::info!("{}: {remark}", path.display());
        }
        let metadata = model.metadata();
        let seed = options.seed.unwrap_or(metadata.seed);
        // Of adaptive sampling no batch is larger than what is run between two looks.
        let block = match options.adaptive {
            Some(_) => options.block.min(options.passes).min(stopping::BLOCK),
            None => options.block.min(options.passes),
        };
        let engine = open_engine(options.engine, &model, block, seed, options)?;
        let about = ModelAbout {
            crc32: model.crc32(),
            labels: metadata.labels.clone(),
            thresholds: metadata.thresholds,
            calibration: metadata.calibration.clone(),
        };
        let wanted = preprocessing(path, &model, &options.preprocessing)?;
        Self::join(about, engine, seed, wanted, options)
    }

    /// The form in which pictures serve the model without a loss: colours are not taken along for one that
    /// does not see them.
    #[must_use]
    pub fn pixel_format(&self) -> PixelFormat {
        self.inference.settings().preprocessing.pixel_format()
    }

    /// Judges a picture that is always the same, so that what cannot be run is found before the first
    /// frame.
    ///
    /// # Errors
    /// If the engine fails, or its outputs are not finite.
    pub fn self_test(&mut self) -> Result<(), SessionError> {
        let InputShape { height, width, .. } = self.inference.engine().input_shape();
        let luma: Vec<u8> = (0..height * width).map(|at| (at * 7) as u8).collect();
        let picture = FrameView::grey(width, height, &luma).map_err(InferenceError::Image)?;
        self.inference.judge(u32::MAX, &picture)?;
        Ok(())
    }

    fn open_plan(path: &Path, bytes: &[u8], options: &Options) -> Result<Self, SessionError> {
        let path = || path.to_owned();
        if options.engine.is_some() {
            return Err(SessionError::PlanEngine { path: path() });
        }
        let checked = options.trust.check(Kind::Plan, bytes);
        let bytes = checked.map_err(|error| SessionError::Signature {
            path: path(),
            error,
        })?;
        let plan = OwnedPlan::new(bytes).map_err(|error| SessionError::PlanFile {
            path: path(),
            error,
        })?;
        let view = plan.view();
        let seed = options.seed.unwrap_or(view.seed());
        let about = ModelAbout {
            crc32: view.model(),
            labels: view.labels().map(String::from).collect(),
            thresholds: Some(view.thresholds()),
            calibration: None,
        };
        let shape = view.input();
        let wanted = options.preprocessing.apply(view.preprocessing(), shape);
        let wanted = wanted.map_err(|error| SessionError::Preprocessing {
            path: path(),
            error,
        })?;
        let engine = Box::new(MicroEngine::new(plan, seed));
        Self::join(about, engine, seed, wanted, options)
    }

    fn join(
        about: ModelAbout,
        engine: AnyEngine,
        seed: u64,
        preprocessing: Preprocessing,
        options: &Options,
    ) -> Result<Self, SessionError> {
        let thresholds = options.thresholds.or(about.thresholds);
        let generic = || Thresholds::uncalibrated(engine.classes());
        let settings = Settings {
            passes: options.passes,
            adaptive: options.adaptive,
            block: options.block.min(options.passes),
            preprocessing,
            crop: options.crop,
            thresholds: thresholds.unwrap_or_else(generic),
        };
        let inference = Inference::allocated(engine, settings)?;
        Ok(Self {
            about,
            inference,
            seed,
            calibrated: thresholds.is_some(),
        })
    }
}

/// Whether a file begins like a plan.
#[must_use]
pub fn is_plan(path: &Path) -> bool {
    open_plan_file(path).is_some()
}

/// A file that begins like a plan, behind its magic number. What cannot be read is told by who reads
/// models.
fn open_plan_file(path: &Path) -> Option<File> {
    let mut file = File::open(path).ok()?;
    let mut magic = [0; PlanFile::MAGIC.len()];
    file.read_exact(&mut magic).ok()?;
    (magic == PlanFile::MAGIC).then_some(file)
}

/// The bytes of a file that begins like a plan.
fn plan_bytes(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = PlanFile::MAGIC.to_vec();
    // No more than the longest plan has, whatever the file is.
    let most = PlanFile::LONGEST + signature::PLAN_BYTES;
    let mut file = open_plan_file(path)?.take(most as u64);
    file.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Plans `model` for the engine `kind`: native where it fits, else tract, if none is named. `block` is
/// the passes per batch; of `options` count the threads and what onnxruntime is told.
///
/// # Errors
/// If the engine was not built in, is not installed, or cannot run the model.
pub fn open_engine(
    kind: Option<EngineKind>,
    model: &Model,
    block: u32,
    seed: u64,
    options: &Options,
) -> Result<AnyEngine, SessionError> {
    let native = |plan| NativeEngine::new(plan, Level::detect(), seed, options.threads);
    match kind {
        None => match Plan::from_model(model) {
            Ok(plan) => Ok(Box::new(native(plan)?)),
            Err(error) => {
                tracing::info!("tract runs the model: {error}");
                open_engine(Some(EngineKind::Tract), model, block, seed, options)
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
        Some(EngineKind::Ort) => Ok(Box::new(crate::engine::ort::OrtEngine::with_options(
            model,
            block as usize,
            seed,
            options.threads,
            &options.ort,
        )?)),
        #[cfg(not(feature = "ort"))]
        Some(EngineKind::Ort) => Err(SessionError::NotBuilt("ort")),
    }
}

/// What becomes of a picture before `model`, of the file `path`, sees it.
///
/// # Errors
/// [`SessionError::Preprocessing`].
pub fn preprocessing(
    path: &Path,
    model: &Model,
    options: &PreprocessingOptions,
) -> Result<Preprocessing, SessionError> {
    options
        .apply(model.metadata().preprocessing, model.input_shape())
        .map(|wanted| model.scaled(wanted))
        .map_err(|error| SessionError::Preprocessing {
            path: path.to_owned(),
            error,
        })
}
