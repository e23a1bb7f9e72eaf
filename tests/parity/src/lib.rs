//! One suite of models for every engine and processor.
//!
//! A suite is a folder: `NAME.onnx`, and beside it `NAME.json` with what libtorch computed for it, pass
//! by pass, with masks that this project's engines have to draw by themselves. Where libtorch is, a test
//! writes the folder; this crate needs none, so that the same suite runs on other processors.

mod check;

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

pub use check::{TOLERANCE, check};

/// What is known of a model.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Case {
    /// Seed of the masks.
    pub seed: u64,
    /// Passes a frame.
    pub passes: u32,
    /// Inputs, and what libtorch gives for them.
    pub frames: Vec<Frame>,
    /// Engines that do not take the model, and a part of what they say.
    #[serde(default)]
    pub refused: Vec<Refusal>,
    /// Every logit is an element of the only site: 0 if the pass drops it.
    #[serde(default)]
    pub logits_are_masks: bool,
}

/// An input and what libtorch gives for it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Frame {
    /// Selects the masks.
    pub number: u32,
    /// `[channel][row][column]`, normalised.
    pub input: Vec<f32>,
    /// `[pass][class]`.
    pub logits: Vec<f32>,
}

/// An engine that does not take a model.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refusal {
    /// Name of the engine.
    pub engine: String,
    /// A part of its answer.
    pub reason: String,
}

impl Case {
    /// Writes the case `name`, whose model is in the suite's folder already.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> anyhow::Result<()> {
        let path = folder.join(format!("{name}.json"));
        fs::write(&path, serde_json::to_vec(self)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Reads a case.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let explain = || format!("cannot use {}", path.display());
        let bytes = fs::read(path).with_context(explain)?;
        serde_json::from_slice(&bytes).with_context(explain)
    }
}

/// A model on an engine.
#[derive(Debug)]
pub struct Row {
    /// Name of the case.
    pub case: String,
    /// Name of the engine; of the native one with its instructions.
    pub engine: String,
    /// How near it is, or why it does not take the model.
    pub outcome: Result<Agreement, String>,
}

/// Largest differences from libtorch over all frames.
#[derive(Debug, Clone, Copy, Default)]
pub struct Agreement {
    /// Of a logit, in units of the frame's largest (at least 1).
    pub logits: f64,
    /// Of an entropy (nats), a probability or a share of passes.
    pub measures: f64,
    /// Frames whose verdict is the same: all of them.
    pub verdicts: usize,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, engine, .. } = self;
        match &self.outcome {
            Ok(Agreement {
                logits,
                measures,
                verdicts,
            }) => write!(
                f,
                "{case:28} {engine:18} logits {logits:.1e}  measures {measures:.1e}  verdicts {verdicts}"
            ),
            Err(reason) => write!(f, "{case:28} {engine:18} refused: {reason}"),
        }
    }
}
