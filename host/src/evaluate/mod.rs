//! How good a model's answers are, and how well its uncertainty tells which of them are wrong, and
//! which frames show nothing that it knows.
//!
//! Frames go through the device's own loop body, [`device::inference::Inference::judge`], so what
//! is measured is what is deployed. A frame's number, which selects its masks, is the index of its
//! image; frames out of distribution are numbered after those of the data set.

mod bootstrap;
pub mod calibration;
mod engine;
mod frames;
mod judge;
mod judged;
mod metrics;
pub mod ranking;
mod records;
mod report;
mod requirement;
mod score;
pub mod selective;
mod table;

pub use bootstrap::{FEWEST_RESAMPLES, Intervals, bootstrap};
pub use calibration::{Bin, reliability};
pub(crate) use engine::weights_of;
pub use engine::{EngineChoice, Setup};
pub use frames::{Frames, ImageSet};
pub use judge::{judge, judge_both_phases, judge_with_outputs};
pub use judged::{Answer, Judged, Judgements, Run, Standard};
pub use metrics::{COVERAGES, Metrics, OutOfDistribution, Quality, RISKS};
pub use records::{BothPhases, Outputs, write_records};
pub use report::Report;
pub use requirement::Requirement;
pub use score::{Named, SCORE_NAMES, STANDARD_SCORE_NAMES, Scores};
pub use selective::risk_coverage;
