//! How uncertainty answers to pictures that get worse.

use serde::{Deserialize, Serialize};

use super::{Correlations, Means};

/// The same test images under every family of corruptions, from none to the worst.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Corruptions {
    /// Test images, each at every severity of every family.
    pub frames: usize,
    /// Stochastic passes per frame.
    pub passes: u32,
    /// One per family.
    pub families: Vec<Family>,
}

/// One family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Family {
    /// Its name, such as `occlusion-block`.
    pub name: String,
    /// One per severity: 0 (clean, the same in every family), then 1 to 5.
    pub points: Vec<Point>,
    /// Of severity with the uncertainty of single frames, over all frames at all severities.
    pub correlations: Correlations,
}

/// A family at one severity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// 0 to 5.
    pub severity: u8,
    /// Accuracy and uncertainty.
    #[serde(flatten)]
    pub means: Means,
    /// Share of frames that the model's thresholds flag, in 0..=1.
    pub flagged: f64,
    /// Share of right answers among the frames that they accept; `None` if they accept none.
    pub accuracy_accepted: Option<f64>,
}
