//! A trained model on disk: safetensors, with what is needed to use it in the file's header.

use std::path::{Path, PathBuf};

use device::onnx::Calibration;
use safetensors::SafeTensorError;
use serde::{Deserialize, Serialize};
use shared::image::Normalisation;
use shared::triage::Thresholds;

use super::Architecture;
use super::checkpoint::{from_safetensors, pick, to_safetensors};

/// Why a file is not a trained model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The file cannot be read.
    #[error("cannot read the model {}: {error}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is damaged, or some other kind of file.
    #[error("{} is not a model of `host train`: {reason}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// One named array of the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// PyTorch's name, such as `conv1.weight`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub values: Vec<f32>,
}

/// A trained network with everything that using it takes.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedModel {
    /// The network's shape.
    pub architecture: Architecture,
    /// In the order of [`Architecture::parameters`].
    pub parameters: Vec<Parameter>,
    /// Class names, in label order.
    pub labels: Vec<String>,
    /// What the input was normalised with.
    pub normalisation: Normalisation,
    /// The seed of training; also the default seed of the masks in use.
    pub seed: u64,
    /// Limits for accepting a frame.
    pub thresholds: Option<Thresholds>,
    /// What was promised about them.
    pub calibration: Option<Calibration>,
    /// How it was trained and how well it does.
    pub training: Option<serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    architecture: String,
    classes: usize,
    dropout: [f64; super::SITES],
    labels: Vec<String>,
    normalisation: Normalisation,
    seed: u64,
    thresholds: Option<Thresholds>,
    calibration: Option<Calibration>,
    training: Option<serde_json::Value>,
}

impl TrainedModel {
    /// The file's bytes; equal models give equal bytes.
    ///
    /// # Errors
    /// The parameters do not have the shapes they say.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SafeTensorError> {
        let header = Header {
            architecture: "lenet".into(),
            classes: self.architecture.classes,
            dropout: self.architecture.dropout,
            labels: self.labels.clone(),
            normalisation: self.normalisation,
            seed: self.seed,
            thresholds: self.thresholds,
            calibration: self.calibration.clone(),
            training: self.training.clone(),
        };
        to_safetensors(&self.parameters, &header)
    }

    /// Divides the logits by `temperature` from now on (Guo et al. 2017): fc2's weights and bias
    /// are. Every pass of every engine then gives `logits / temperature` without knowing of it,
    /// since no dropout follows fc2.
    ///
    /// # Panics
    /// `temperature` is not a positive number.
    pub fn scale_temperature(&mut self, temperature: f64) {
        assert!(
            temperature.is_finite() && temperature > 0.0,
            "no temperature: {temperature}"
        );
        let last = self.parameters.iter_mut();
        for parameter in last.filter(|parameter| parameter.name.starts_with("fc2.")) {
            for value in &mut parameter.values {
                *value = (f64::from(*value) / temperature) as f32;
            }
        }
    }

    /// Reads a model.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, is not a LeNet, or holds numbers that are not finite.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let bytes = std::fs::read(path).map_err(|error| ModelError::Read {
            path: path.to_path_buf(),
            error,
        })?;
        Self::from_bytes(&bytes).map_err(|reason| ModelError::Content {
            path: path.to_path_buf(),
            reason,
        })
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let (mut parameters, header): (_, Header) = from_safetensors(bytes)?;
        if header.architecture != "lenet" {
            return Err(format!(
                "architecture {} is not known, only lenet",
                header.architecture
            ));
        }
        let architecture = Architecture {
            classes: header.classes,
            dropout: header.dropout,
        };
        if header.classes < 2 || header.labels.len() != header.classes {
            return Err(format!(
                "{} labels for {} classes",
                header.labels.len(),
                header.classes
            ));
        }
        if architecture.keep().is_none() {
            return Err(format!("dropout {:?} is not in 0..1", header.dropout));
        }
        if !header.normalisation.is_valid() {
            return Err("the normalisation does not scale by a positive number".into());
        }
        if let Some(thresholds) = header.thresholds {
            thresholds.validate().map_err(|error| error.to_string())?;
        }
        Ok(Self {
            parameters: pick(&mut parameters, &architecture, "")?,
            architecture,
            labels: header.labels,
            normalisation: header.normalisation,
            seed: header.seed,
            thresholds: header.thresholds,
            calibration: header.calibration,
            training: header.training,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::data::{Purpose, Random};

    /// An untrained model, for tests of what is done with one.
    pub(crate) fn example(dropout: [f64; 3]) -> TrainedModel {
        let architecture = Architecture {
            classes: 10,
            dropout,
        };
        let mut random = Random::new(1, Purpose::Torch, 0);
        let parameters = architecture
            .parameters()
            .into_iter()
            .map(|(name, shape)| Parameter {
                name: name.into(),
                values: (0..shape.iter().product())
                    .map(|_| random.between(-0.2, 0.2) as f32)
                    .collect(),
                shape,
            })
            .collect();
        TrainedModel {
            architecture,
            parameters,
            labels: (0..10).map(|digit| digit.to_string()).collect(),
            normalisation: Normalisation::MNIST,
            seed: 0x1234_5678_9abc_def0,
            thresholds: Some(Thresholds::uncalibrated(10)),
            calibration: None,
            training: Some(serde_json::json!({"epochs": 1})),
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_bytes_repeat() {
        let model = example([0.5, 0.1, 0.3]);
        let bytes = model.to_bytes().expect("written");
        assert_eq!(bytes, model.to_bytes().expect("written again"));
        assert_eq!(TrainedModel::from_bytes(&bytes), Ok(model));
    }

    #[test]
    fn damage_is_refused_with_a_reason() {
        let good = example([0.5; 3]);
        let bytes = good.to_bytes().expect("written");
        for length in [0, 1, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
            assert!(
                TrainedModel::from_bytes(&bytes[..length]).is_err(),
                "{length} bytes accepted"
            );
        }
        let reason = |change: &dyn Fn(&mut TrainedModel)| {
            let mut model = good.clone();
            change(&mut model);
            TrainedModel::from_bytes(&model.to_bytes().expect("written")).expect_err("refused")
        };
        assert!(reason(&|m| m.parameters[0].values[3] = f32::NAN).contains("NaN"));
        assert!(reason(&|m| m.parameters.truncate(7)).contains("fc2.bias is missing"));
        assert!(reason(&|m| m.architecture.dropout[1] = 1.0).contains("not in 0..1"));
        assert!(reason(&|m| m.labels.truncate(3)).contains("3 labels for 10 classes"));
        assert!(reason(&|m| m.architecture.classes = 9).contains("10 labels for 9"));
    }
}
