//! The model and what runs it.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::ensure;
use device::engine::provider::OrtOptions;
use device::engine::tract::StandardEngine;
use device::inference::{Inference, Settings};
use device::onnx::{EndOptions, Model, OnnxError};
use device::preprocessing::PreprocessingOptions;
use device::session::{AnyEngine, EngineKind, LinuxInference, Options, Session, is_plan};
use device::signature::Trust;
use serde_json::Value;
use shared::stopping::Delta;

use crate::lenet::TrainedModel;

/// What runs the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineChoice {
    /// One of the device's engines.
    Device(EngineKind),
    /// libtorch, which the model was trained in.
    #[cfg(feature = "train")]
    Torch,
}

impl FromStr for EngineChoice {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        const TORCH: &str = "torch";
        if name == TORCH {
            #[cfg(feature = "train")]
            return Ok(Self::Torch);
            #[cfg(not(feature = "train"))]
            return Err(
                "this program was built without libtorch; rebuild it with --features train".into(),
            );
        }
        let mut names = EngineKind::ALL.map(|(name, _)| name).to_vec();
        names.push(TORCH);
        EngineKind::ALL
            .into_iter()
            .find_map(|(known, kind)| (known == name).then_some(Self::Device(kind)))
            .ok_or_else(|| format!("'{name}' is no engine: use one of {}", names.join(", ")))
    }
}

/// A model and how its frames are sampled.
#[derive(Debug, Clone)]
pub struct Setup {
    /// An ONNX file; for libtorch a model.safetensors, its folder, or the ONNX file beside it.
    pub model: PathBuf,
    /// The device's default if `None`.
    pub engine: Option<EngineChoice>,
    /// With onnxruntime, where it runs.
    pub ort: OrtOptions,
    /// Stochastic passes per frame, at least 1; with `adaptive`, at most.
    pub passes: u32,
    /// Stop when the decision is settled, with this probability to differ from that of all passes.
    pub adaptive: Option<Delta>,
    /// Passes per batch of the engine, at least 1.
    pub block: u32,
    /// Seed of the masks; the model's own if `None`.
    pub seed: Option<u64>,
    /// What becomes of a picture, where the model's file does not say it or something else is wanted.
    pub preprocessing: PreprocessingOptions,
    /// What is said of the model's input and output, where its file leaves it open.
    pub ends: EndOptions,
}

/// A model ready to judge frames.
#[allow(missing_debug_implementations)] // Engines wrap foreign runtimes without one.
pub(crate) struct Opened {
    pub(crate) inference: LinuxInference,
    /// Class names, in label order.
    pub(crate) labels: Vec<String>,
    /// Whether the model carries thresholds.
    pub(crate) calibrated: bool,
    /// Seed of the masks.
    pub(crate) seed: u64,
}

impl Setup {
    /// What the model's file tells about its training; `None` if it tells nothing, or cannot be read.
    #[must_use]
    pub fn training(&self) -> Option<Value> {
        if is_plan(&self.model) {
            return None;
        }
        match self.model() {
            Ok(model) => model.metadata().training.clone(),
            // Weights, or their folder: whoever opens it says what is wrong with it.
            Err(_) => {
                TrainedModel::load(&weights_of(&self.model).ok()?)
                    .ok()?
                    .training
            }
        }
    }

    /// The network in the model's file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn model(&self) -> Result<Model, OnnxError> {
        Model::load_with(&self.model, &self.ends.load_options(&Trust::default()))
    }

    /// Loads the model for use on one thread.
    pub(crate) fn open(&self) -> anyhow::Result<Opened> {
        let mut options = Options {
            ort: self.ort.clone(),
            passes: self.passes,
            adaptive: self.adaptive,
            threads: 1,
            block: self.block,
            seed: self.seed,
            preprocessing: self.preprocessing.clone(),
            ends: self.ends.clone(),
            ..Options::default()
        };
        match self.engine {
            None => {}
            Some(EngineChoice::Device(kind)) => options.engine = Some(kind),
            #[cfg(feature = "train")]
            Some(EngineChoice::Torch) => return torch::open(self),
        }
        let session = Session::open(&self.model, &options)?;
        Ok(Opened {
            labels: session.about.labels,
            calibrated: session.calibrated,
            seed: session.seed,
            inference: session.inference,
        })
    }

    /// Loads the model for the standard test phase on one thread: one pass a frame, dropout off, and
    /// else the `settings` of [`Setup::open`]. On tract, or on libtorch where that was chosen.
    pub(super) fn open_standard(&self, settings: &Settings) -> anyhow::Result<LinuxInference> {
        let settings = Settings {
            passes: 1,
            adaptive: None,
            block: 1,
            ..settings.clone()
        };
        #[cfg(feature = "train")]
        if self.engine == Some(EngineChoice::Torch) {
            return torch::open_standard(self, settings);
        }
        ensure!(
            !is_plan(&self.model),
            "a plan file holds no network without dropout"
        );
        let model = self.model()?;
        let engine: AnyEngine = Box::new(StandardEngine::new(&model)?);
        Ok(Inference::allocated(engine, settings)?)
    }
}

#[cfg(feature = "train")]
mod torch {
    use device::inference::{Inference, Settings};
    use device::session::LinuxInference;
    use shared::image::Preprocessing;
    use shared::triage::Thresholds;

    use super::{AnyEngine, Opened, Setup, weights_of};
    use crate::lenet::{LibtorchEngine, TrainedModel};

    /// What a session is for the device's engines.
    pub(super) fn open(setup: &Setup) -> anyhow::Result<Opened> {
        let model = load(setup)?;
        let seed = setup.seed.unwrap_or(model.seed);
        let engine: AnyEngine = Box::new(LibtorchEngine::new(&model, seed)?);
        let settings = Settings {
            passes: setup.passes,
            adaptive: setup.adaptive,
            block: setup.block.min(setup.passes),
            preprocessing: Preprocessing::grey(model.normalisation),
            crop: None,
            thresholds: model
                .thresholds
                .unwrap_or_else(|| Thresholds::uncalibrated(model.architecture.classes)),
        };
        Ok(Opened {
            inference: Inference::allocated(engine, settings)?,
            calibrated: model.thresholds.is_some(),
            labels: model.labels,
            seed,
        })
    }

    pub(super) fn open_standard(
        setup: &Setup,
        settings: Settings,
    ) -> anyhow::Result<LinuxInference> {
        let engine: AnyEngine = Box::new(LibtorchEngine::standard(&load(setup)?)?);
        Ok(Inference::allocated(engine, settings)?)
    }

    /// Libtorch's threads would wait for each other more than work on one frame, and their number
    /// would change the last digits: one does it.
    fn load(setup: &Setup) -> anyhow::Result<TrainedModel> {
        tch::set_num_threads(1);
        Ok(TrainedModel::load(&weights_of(&setup.model)?)?)
    }
}

/// The file of weights that `given` stands for: it, its folder, or the ONNX file beside it.
///
/// # Errors
/// There is none.
pub(crate) fn weights_of(given: &Path) -> anyhow::Result<PathBuf> {
    let weights = if given.is_dir() {
        given.join("model.safetensors")
    } else {
        given.with_extension("safetensors")
    };
    ensure!(
        weights.is_file(),
        "this needs the weights that `host train` leaves, and there is no {}",
        weights.display()
    );
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_have_the_devices_names() {
        for (name, kind) in EngineKind::ALL {
            assert_eq!(name.parse(), Ok(EngineChoice::Device(kind)));
        }
        let error = EngineChoice::from_str("magic").expect_err("no engine");
        assert!(
            error.contains("tract") && error.contains("torch"),
            "{error}"
        );
        assert_eq!(
            EngineChoice::from_str("torch").is_ok(),
            cfg!(feature = "train")
        );
    }
}
