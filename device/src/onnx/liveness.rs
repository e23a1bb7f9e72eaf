//! What a model's Dropout nodes do, as reports for users.

use core::fmt;

use shared::mask::KeepProbability;

/// Why a Dropout counts as live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Liveness {
    /// Its `training_mode` is a constant true.
    TrainingMode,
    /// Its `training_mode` is a graph input: whoever runs the model decides, and this library
    /// decides for true.
    TrainingModeInput,
    /// Before opset 12 ONNX has no flag. Exporters leave the node out of a model for inference, so
    /// a node with a ratio above 0 is taken as meant.
    OpsetWithoutTrainingMode,
    /// It is no Dropout node, but a product with random zeros and ones over their mean, as PyTorch
    /// writes Dropout2d.
    OwnRandomNumbers,
}

impl fmt::Display for Liveness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TrainingMode => "training_mode is true",
            Self::TrainingModeInput => "training_mode is an input, taken as true",
            Self::OpsetWithoutTrainingMode => {
                "this opset has no training_mode, and the ratio is above 0"
            }
            Self::OwnRandomNumbers => "it multiplies by random numbers of its own",
        })
    }
}

/// Why a Dropout drops nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Idle {
    /// It has no `training_mode` input, whose default is false.
    NoTrainingMode,
    /// Its `training_mode` is a constant false.
    TrainingModeFalse,
    /// Its ratio is 0.
    RatioZero,
    /// The class scores do not depend on it.
    Unused,
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoTrainingMode => "training_mode is not given, so it is false",
            Self::TrainingModeFalse => "training_mode is false",
            Self::RatioZero => "its ratio is 0",
            Self::Unused => "the class scores do not depend on it",
        })
    }
}

/// One live Dropout.
#[derive(Debug, Clone, PartialEq)]
pub struct DropoutSite {
    /// Name of the node.
    pub name: String,
    /// Share of the elements that is dropped, above 0 and below 1.
    pub ratio: f32,
    /// Probability to keep an element, as the masks use it.
    pub keep: KeepProbability,
    /// Shape of one pass's mask: that of what is dropped from, without the batch axis, or
    /// `[channels, 1, …]` where whole channels are dropped.
    pub shape: Vec<usize>,
    /// Why it counts as live.
    pub why: Liveness,
}

impl DropoutSite {
    /// Number of elements of one pass's mask.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Name of the mask's input in the head and in [`super::Model::masks_as_inputs`].
    #[must_use]
    pub fn mask_input(&self) -> String {
        format!("keep_mask.{}", self.name)
    }

    /// What kept elements are multiplied by: 1 / (1 − ratio), in `f32` as PyTorch computes it.
    #[must_use]
    pub fn scale(&self) -> f32 {
        1.0 / (1.0 - self.ratio)
    }
}

/// One Dropout that drops nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdleDropout {
    /// Name of the node.
    pub name: String,
    /// Why.
    pub reason: Idle,
}

/// What was found in a model without a live site, on one line.
pub(super) fn describe_idle(idle: &[IdleDropout]) -> String {
    match idle {
        [] => "it has no Dropout node".into(),
        idle => {
            let each = idle.iter().map(|d| format!("{}: {}", d.name, d.reason));
            each.collect::<Vec<_>>().join("; ")
        }
    }
}
