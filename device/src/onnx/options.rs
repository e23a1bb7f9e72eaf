//! What is said about a model when it is loaded, beside its file.

use crate::signature::Trust;

/// How a model file is read. The default takes any file as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Keys, one of which has to have signed the file; without any, every file is taken.
    pub trust: Trust,
    /// Rows and columns of a frame, at least 1 each, where the model leaves them open. A model that
    /// fixes them has to have the same.
    pub input_size: Option<(usize, usize)>,
    /// Name of the output with the class scores, where the model has several.
    pub output: Option<String>,
}
