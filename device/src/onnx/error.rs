use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::signature::SignatureError;

/// Why a file is not a model this library can run. Every message is one line and says what to do
/// where there is something to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// The file and what is wrong with it.
    #[error("{}: {error}", path.display())]
    InFile {
        /// The model file.
        path: PathBuf,
        /// What is wrong with it; part of the message, so no source that would repeat it.
        error: Box<OnnxError>,
    },
    /// The file cannot be read.
    #[error("cannot read the model: {0}")]
    Read(#[from] io::Error),
    /// The file has no byte.
    #[error("the file is empty, not an ONNX model")]
    Empty,
    /// The bytes are not an ONNX model.
    #[error("not an ONNX model, or a truncated one: {0}")]
    NotOnnx(String),
    /// The file is larger than the format allows.
    #[error("the file has {0} bytes, more than the 2 GiB an ONNX model can have")]
    TooLarge(u64),
    /// The model breaks a rule of the format.
    #[error("invalid ONNX model: {0}")]
    Invalid(String),
    /// The operator set is not one this library knows.
    #[error(
        "the model uses ONNX opset {0}, supported are {first} to {last}: export it again with one of these",
        first = super::OPSETS.start(),
        last = super::OPSETS.end()
    )]
    Opset(i64),
    /// An operator cannot be run.
    #[error("operator {op} (node {node}) is not supported{hint}")]
    UnsupportedOperator {
        /// The operator, with its domain when that is not ONNX's own.
        op: String,
        /// The node's name.
        node: String,
        /// What to do about it, starting with `: `, or nothing.
        hint: &'static str,
    },
    /// A tensor has values that are not numbers.
    #[error(
        "tensor {tensor} holds a value that is {value}: the training diverged or the file is damaged"
    )]
    NonFinite {
        /// The tensor's name.
        tensor: String,
        /// `NaN` or `infinite`.
        value: &'static str,
    },
    /// A tensor's declaration and its data disagree.
    #[error("tensor {tensor}: {reason}")]
    Tensor {
        /// The tensor's name.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor's data lie in another file that cannot be used.
    #[error("external data of tensor {tensor}: {reason}")]
    ExternalData {
        /// The tensor's name.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The input is not one image.
    #[error("{0}")]
    Input(String),
    /// The output is not one row of class scores.
    #[error("{0}")]
    Output(String),
    /// A dropout site cannot be sampled.
    #[error("Dropout {site}: {reason}")]
    Dropout {
        /// Name of the node.
        site: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The model would give the same answer every time.
    #[error(
        "the model has no live Dropout, so every pass would give the same answer ({found}): export it with dropout active (host export, or PyTorch's torch.onnx.export of a model whose Dropout modules are in train mode; the older exporter also needs training=TrainingMode.TRAINING)"
    )]
    Deterministic {
        /// What was found instead.
        found: String,
    },
    /// The shapes do not fit together, or an attribute makes no sense.
    #[error("the model's shapes cannot be worked out: {0}")]
    Shapes(String),
    /// The graph ties passes of a batch together or fixes their number.
    #[error(
        "the model does not keep the images of a batch apart ({0}): export it with a dynamic batch axis"
    )]
    Batch(String),
    /// The file is not signed as it has to be.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// A metadata entry of ours cannot be read.
    #[error("metadata entry {key} cannot be read: {reason}")]
    Metadata {
        /// The entry's key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}
