//! What is said about a model when it is loaded, beside its file.

use crate::signature::Trust;

/// What users say of a model's input and output, where its file leaves it open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "log", derive(clap::Args))]
pub struct EndOptions {
    /// Rows and columns of the model's input, HEIGHTxWIDTH, where its file leaves them open.
    #[cfg_attr(feature = "log", arg(long, value_name = "SIZE", value_parser = size))]
    pub input_size: Option<(usize, usize)>,
    /// Name of the output with the class scores, where the model has several.
    #[cfg_attr(feature = "log", arg(long, value_name = "NAME"))]
    pub output: Option<String>,
}

impl EndOptions {
    /// How a file is read that has to be signed as `trust` says.
    #[must_use]
    pub fn load_options(&self, trust: &Trust) -> LoadOptions {
        LoadOptions {
            trust: trust.clone(),
            input_size: self.input_size,
            output: self.output.clone(),
        }
    }
}

#[cfg(feature = "log")]
fn size(text: &str) -> Result<(usize, usize), String> {
    let sides = text.split_once('x');
    let sides = sides.map(|(height, width)| (height.parse(), width.parse()));
    match sides {
        Some((Ok(height), Ok(width))) if height > 0 && width > 0 => Ok((height, width)),
        _ => Err("expected HEIGHTxWIDTH, for example 224x224".to_owned()),
    }
}

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
