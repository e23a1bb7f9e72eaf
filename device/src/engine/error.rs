use std::string::{String, ToString};
use std::vec::Vec;

use shared::mask::MaskSource;
use thiserror::Error;

use super::CallError;

/// Why an engine could not be built or could not serve a frame.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The runtime's shared library cannot be used.
    #[error("{0}")]
    Library(String),
    /// The execution provider that was asked for cannot be used: nothing else runs in its place.
    #[error("the execution provider '{provider}' was asked for and cannot be used: {reason}")]
    Provider {
        /// The provider.
        provider: &'static str,
        /// Why, on one line.
        reason: String,
    },
    /// The runtime refused the model.
    #[error("{engine} cannot prepare the model's {part}: {reason}")]
    Prepare {
        /// The engine.
        engine: &'static str,
        /// `stem`, `head`, or `graph` for the model uncut.
        part: &'static str,
        /// The runtime's own words, on one line.
        reason: String,
    },
    /// The runtime failed while it ran.
    #[error("{engine} failed to run the model's {part}: {reason}")]
    Run {
        /// The engine.
        engine: &'static str,
        /// `stem`, `head`, or `graph` for the model uncut.
        part: &'static str,
        /// The runtime's own words, on one line.
        reason: String,
    },
    /// The input has not the model's length.
    #[error("the model's input has {expected} values, not {got}")]
    InputLength {
        /// Values the model takes.
        expected: usize,
        /// Values given.
        got: usize,
    },
    /// The output buffer has not the length of the passes asked for.
    #[error("the passes asked for yield {expected} logits, and the buffer has room for {got}")]
    LogitsLength {
        /// Passes × classes.
        expected: usize,
        /// Length of the buffer.
        got: usize,
    },
    /// Passes were asked for before any frame.
    #[error("passes were asked for before a frame had begun")]
    NoFrame,
    /// A pass has no mask.
    #[error("pass {pass} lies beyond the last pass that has masks ({last})")]
    PassRange {
        /// The pass asked for.
        pass: u32,
        /// The last one there is.
        last: u32,
    },
    /// An engine was asked to run blocks of no pass.
    #[error("an engine needs blocks of at least one pass")]
    EmptyBlock,
}

impl From<CallError> for EngineError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::InputLength { expected, got } => Self::InputLength { expected, got },
            CallError::LogitsLength { expected, got } => Self::LogitsLength { expected, got },
            CallError::NoFrame => Self::NoFrame,
            CallError::PassRange(pass) => Self::PassRange {
                pass,
                last: MaskSource::MAX_PASSES - 1,
            },
        }
    }
}

impl EngineError {
    pub(crate) fn prepare(
        engine: &'static str,
        part: &'static str,
        reason: &impl ToString,
    ) -> Self {
        let reason = one_line(&reason.to_string());
        Self::Prepare {
            engine,
            part,
            reason,
        }
    }

    pub(crate) fn run(engine: &'static str, part: &'static str, reason: &impl ToString) -> Self {
        let reason = one_line(&reason.to_string());
        Self::Run {
            engine,
            part,
            reason,
        }
    }
}

/// What an error of another library says, on one line.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
