//! What a frame costs on this machine, engine beside engine.
//!
//! Every row of the table is a process of its own, prepared and waiting. They take turns, a round
//! of frames each, so that whatever else the machine does hits all of them alike. What is timed is
//! the same for all: from one normalised input to the logits of its T passes, for test images that
//! differ from frame to frame.

mod contender;
mod growth;
mod lanes;
#[cfg(feature = "train")]
mod libtorch;
mod machine;
mod plot;
mod race;
mod report;
mod requirement;
mod statistics;
mod worker;

use std::path::PathBuf;

pub use contender::EngineName;
pub use growth::{Axis, Growth, Point, measure_growth};
pub use machine::Machine;
pub use plot::svg;
pub use race::{Progress, Race, Samples};
pub use report::{Figures, Outcome, Report, Row, check_rows};
pub use requirement::Requirement;
pub use worker::work;

/// The number of passes that figures are compared at, where it was measured.
const USUAL_PASSES: u32 = 100;

/// One row's setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// The model file, ONNX.
    pub model: PathBuf,
    /// What runs it.
    pub engine: EngineName,
    /// Processor threads that share the work of one frame, at least 1.
    pub threads: usize,
    /// Stochastic passes per frame (T), at least 1.
    pub passes: u32,
    /// Frames judged at the same time, at least 1; each by an engine of its own.
    pub in_flight: usize,
}

/// What every row is timed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rounds {
    /// Frames in a round, at least 1.
    pub frames: usize,
    /// Rounds, at least 1.
    pub rounds: usize,
}

/// The run was asked to stop.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;
