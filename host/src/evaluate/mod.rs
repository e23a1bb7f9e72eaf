//! How good a model's answers are, and how well its uncertainty tells which of them are wrong, and
//! which frames show nothing that it knows.
//!
//! Frames go through the device's own loop body, [`device::inference::Inference::judge`], so what
//! is measured is what is deployed. A frame's number, which selects its masks, is the index of its
//! image; frames out of distribution are numbered after those of the data set.

pub mod calibration;
mod engine;
mod judge;
pub mod ranking;
mod report;
mod requirement;
mod score;

pub(crate) use engine::weights_of;
pub use engine::{EngineChoice, Setup};
pub use judge::{Frames, ImageSet, judge};
pub use report::{Answer, Judged, Judgements, OutOfDistribution, Report, Run};
pub use requirement::Requirement;
pub use score::{Named, SCORE_NAMES, Scores};
