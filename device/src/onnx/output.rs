//! What the values of a model's output are.

use core::fmt;

use serde::{Deserialize, Serialize};
use tract_onnx::pb::StringStringEntryProto;

use super::{OnnxError, metadata};

/// What the values are that a model file puts out. Engines give logits whatever these are: scores
/// whose softmax is the file's own answer.
///
/// The metadata entry `mcdropout.output` says it in JSON, for example `"probabilities"`. A file
/// without that entry is looked at, and tried where looking does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OutputKind {
    /// One score per class, whose softmax are the probabilities.
    Logits,
    /// One probability per class, of classes that exclude each other, or a multiple of these.
    Probabilities,
    /// One logarithm of a probability per class.
    LogProbabilities,
    /// One score, whose sigmoid is the probability of the second of two classes.
    BinaryLogit,
    /// The probability of the second of two classes.
    BinaryProbability,
}

impl OutputKind {
    /// Key of the metadata entry.
    pub const KEY: &str = "mcdropout.output";

    /// The metadata entry that says so in a model file.
    #[must_use]
    pub fn entry(self) -> StringStringEntryProto {
        StringStringEntryProto {
            key: Self::KEY.into(),
            value: format!("\"{}\"", self.word()),
        }
    }

    pub(super) fn read(entries: &[StringStringEntryProto]) -> Result<Option<Self>, OnnxError> {
        metadata::parse(entries, Self::KEY)
    }

    /// Whether one value stands for two classes.
    #[must_use]
    pub fn is_binary(self) -> bool {
        matches!(self, Self::BinaryLogit | Self::BinaryProbability)
    }

    /// The word for it in metadata.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Logits => "logits",
            Self::Probabilities => "probabilities",
            Self::LogProbabilities => "log-probabilities",
            Self::BinaryLogit => "binary-logit",
            Self::BinaryProbability => "binary-probability",
        }
    }
}

impl fmt::Display for OutputKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Logits => "logits, one per class",
            Self::Probabilities => "probabilities, one per class",
            Self::LogProbabilities => "logarithms of probabilities, one per class",
            Self::BinaryLogit => "one logit, for the second of two classes",
            Self::BinaryProbability => "one probability, of the second of two classes",
        })
    }
}
