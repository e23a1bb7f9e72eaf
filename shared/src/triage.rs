//! Accept a frame, or flag it with every cause that applies.
//!
//! Each cause belongs to one threshold and holds exactly when that threshold is crossed, so a flag
//! always says which of several limits acted. Where several hold, the first in the order of
//! [`Cause::ALL`] is the primary one, the flag's main name.

mod cause;

pub use cause::{Cause, Causes, UnknownCause};

use core::fmt;

use postcard_schema::Schema;
use serde::{Deserialize, Serialize};

use crate::image::FrameStatistics;
use crate::uncertainty::Measures;

/// What becomes of a frame's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// No threshold is crossed.
    Accept,
    /// At least one is.
    Flag,
}

impl Verdict {
    /// Its name on every interface.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Flag => "flag",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A threshold that is not a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThresholdError {
    /// The field's name.
    pub name: &'static str,
}

impl fmt::Display for ThresholdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "threshold {} is not a number", self.name)
    }
}

impl core::error::Error for ThresholdError {}

/// One limit per cause. A `max_` limit of [`f32::MAX`] or more, or a `min_` limit of 0 or less,
/// is never crossed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Schema)]
pub struct Thresholds {
    /// [`FrameStatistics::black`], luma, 0..=1; above it: [`Cause::Overexposed`].
    #[serde(default = "never_above")]
    pub max_black: f32,
    /// [`FrameStatistics::plateau`], share of pixels, 0..=1; above it: [`Cause::Occluded`].
    #[serde(default = "never_above")]
    pub max_plateau: f32,
    /// [`FrameStatistics::saturated`], share of pixels, 0..=1; above it: [`Cause::Glare`].
    pub max_saturated: f32,
    /// [`FrameStatistics::white`], luma, 0..=1; below it: [`Cause::Underexposed`].
    #[serde(default)]
    pub min_white: f32,
    /// [`FrameStatistics::sharpness`]; below it: [`Cause::Blurred`].
    pub min_sharpness: f32,
    /// [`FrameStatistics::contrast`], 0..=1; below it: [`Cause::LowContrast`].
    pub min_contrast: f32,
    /// Nats; above it: [`Cause::Unfamiliar`].
    pub max_mutual_information: f32,
    /// Nats; above it: [`Cause::Ambiguous`].
    pub max_expected_entropy: f32,
    /// Nats; above it: [`Cause::Uncertain`].
    pub max_predictive_entropy: f32,
}

/// For limits that model files did not hold from the beginning.
const fn never_above() -> f32 {
    f32::MAX
}

impl Thresholds {
    /// Accepts every frame. Every limit is finite, so that it survives JSON.
    pub const OFF: Self = Self {
        max_black: f32::MAX,
        max_plateau: f32::MAX,
        max_saturated: f32::MAX,
        min_white: 0.0,
        min_sharpness: 0.0,
        min_contrast: 0.0,
        max_mutual_information: f32::MAX,
        max_expected_entropy: f32::MAX,
        max_predictive_entropy: f32::MAX,
    };

    /// Starting values for a model that was never calibrated: fixed shares of `ln classes`, and
    /// image limits that only plainly spoilt frames cross. They carry no guarantee.
    #[must_use]
    pub fn uncalibrated(classes: usize) -> Self {
        let most = libm::log(classes.max(2) as f64) as f32;
        Self {
            max_black: 0.8,
            max_plateau: 0.5,
            max_saturated: 0.5,
            min_white: 0.2,
            min_sharpness: 0.1,
            min_contrast: 0.2,
            max_mutual_information: 0.15 * most,
            max_expected_entropy: 0.3 * most,
            max_predictive_entropy: 0.4 * most,
        }
    }

    /// The limits with their names, in the order of [`Cause::ALL`].
    #[must_use]
    pub const fn named(&self) -> [(&'static str, f32); Cause::ALL.len()] {
        [
            ("max_black", self.max_black),
            ("max_plateau", self.max_plateau),
            ("max_saturated", self.max_saturated),
            ("min_white", self.min_white),
            ("min_sharpness", self.min_sharpness),
            ("min_contrast", self.min_contrast),
            ("max_mutual_information", self.max_mutual_information),
            ("max_expected_entropy", self.max_expected_entropy),
            ("max_predictive_entropy", self.max_predictive_entropy),
        ]
    }

    /// Refuses limits that could never be compared with.
    ///
    /// # Errors
    /// [`ThresholdError`] names the first limit that is NaN.
    pub fn validate(&self) -> Result<(), ThresholdError> {
        match self.named().into_iter().find(|(_, limit)| limit.is_nan()) {
            Some((name, _)) => Err(ThresholdError { name }),
            None => Ok(()),
        }
    }

    /// The limit that belongs to a cause, to be changed.
    pub const fn limit_mut(&mut self, cause: Cause) -> &mut f32 {
        match cause {
            Cause::Overexposed => &mut self.max_black,
            Cause::Occluded => &mut self.max_plateau,
            Cause::Glare => &mut self.max_saturated,
            Cause::Underexposed => &mut self.min_white,
            Cause::Blurred => &mut self.min_sharpness,
            Cause::LowContrast => &mut self.min_contrast,
            Cause::Unfamiliar => &mut self.max_mutual_information,
            Cause::Ambiguous => &mut self.max_expected_entropy,
            Cause::Uncertain => &mut self.max_predictive_entropy,
        }
    }

    /// The causes that apply.
    #[must_use]
    pub fn judge<const N: usize>(
        &self,
        measures: &Measures<N>,
        statistics: &FrameStatistics,
    ) -> Causes {
        self.judge_evidence(&Evidence::new(measures, statistics))
    }

    /// The causes that apply to a frame whose measures were taken before.
    #[must_use]
    pub fn judge_evidence(&self, evidence: &Evidence) -> Causes {
        self.crossed(evidence.iter())
    }

    /// Those of the causes that depend on the picture alone.
    #[must_use]
    pub fn judge_image(&self, statistics: &FrameStatistics) -> Causes {
        self.crossed(seen(statistics).into_iter())
    }

    fn crossed(&self, values: impl Iterator<Item = (Cause, f32)>) -> Causes {
        let limits = self.named();
        values
            .filter(|&(cause, value)| {
                let (_, limit) = limits[cause.index()];
                match cause.side() {
                    Side::Above => value > limit,
                    Side::Below => value < limit,
                }
            })
            .map(|(cause, _)| cause)
            .collect()
    }
}

/// Where a frame is flagged, seen from a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Values above the limit are flagged: a `max_` limit.
    Above,
    /// Values below it are: a `min_` limit.
    Below,
}

/// The value that each cause's limit is compared with, in the order of [`Cause::ALL`]. Measures are
/// compared in single precision, as they are reported, so that a report and the thresholds explain
/// each other exactly.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Evidence([f32; Cause::ALL.len()]);

impl Evidence {
    /// What the limits look at in a frame.
    #[must_use]
    pub fn new<const N: usize>(measures: &Measures<N>, statistics: &FrameStatistics) -> Self {
        let mut evidence = Self::of_picture(statistics);
        for (cause, value) in measured(measures) {
            evidence.0[cause.index()] = value;
        }
        evidence
    }

    /// What the limits look at in a picture that no pass has seen: its uncertainties are 0.
    #[must_use]
    pub fn of_picture(statistics: &FrameStatistics) -> Self {
        let mut evidence = Self::default();
        for (cause, value) in seen(statistics) {
            evidence.0[cause.index()] = value;
        }
        evidence
    }

    /// The value that the cause's limit is compared with.
    #[must_use]
    pub const fn of(&self, cause: Cause) -> f32 {
        self.0[cause.index()]
    }

    fn iter(&self) -> impl Iterator<Item = (Cause, f32)> {
        Cause::ALL.into_iter().zip(self.0)
    }
}

fn measured<const N: usize>(measures: &Measures<N>) -> [(Cause, f32); 3] {
    [
        (Cause::Unfamiliar, measures.mutual_information as f32),
        (Cause::Ambiguous, measures.expected_entropy as f32),
        (Cause::Uncertain, measures.predictive_entropy as f32),
    ]
}

fn seen(statistics: &FrameStatistics) -> [(Cause, f32); 6] {
    [
        (Cause::Overexposed, statistics.black),
        (Cause::Occluded, statistics.plateau),
        (Cause::Glare, statistics.saturated),
        (Cause::Underexposed, statistics.white),
        (Cause::Blurred, statistics.sharpness),
        (Cause::LowContrast, statistics.contrast),
    ]
}
