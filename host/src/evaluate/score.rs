//! The scores by which frames are ranked from sure to unsure.

use serde::{Serialize, Serializer};
use shared::uncertainty::Measures;

/// Values with names, in a fixed order; an object in JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Named<T>(pub Vec<(&'static str, T)>);

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// Names of the scores, in the order of [`Scores`].
pub const SCORE_NAMES: [&str; 7] = [
    "predictive_entropy",
    "mutual_information",
    "expected_entropy",
    "variation_ratio",
    "1-confidence",
    "1-margin",
    "standard_deviation",
];

/// The scores of one frame, each higher where the model is less sure; see
/// [`shared::uncertainty`] for formulas and ranges. The standard deviation is that of the winning
/// class's probability over the passes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Scores(pub [f64; SCORE_NAMES.len()]);

impl Scores {
    /// Those of a frame with these measures.
    #[must_use]
    pub fn of<const N: usize>(measures: &Measures<N>) -> Self {
        Self([
            measures.predictive_entropy,
            measures.mutual_information,
            measures.expected_entropy,
            measures.variation_ratio,
            1.0 - measures.confidence,
            1.0 - measures.margin,
            measures.standard_deviations()[measures.class],
        ])
    }

    /// The score that [`Quality::aurc`](super::Quality::aurc) ranks by: total uncertainty.
    #[must_use]
    pub fn predictive_entropy(&self) -> f64 {
        self.0[0]
    }

    /// Epistemic uncertainty.
    #[must_use]
    pub fn mutual_information(&self) -> f64 {
        self.0[1]
    }

    /// Aleatoric uncertainty.
    #[must_use]
    pub fn expected_entropy(&self) -> f64 {
        self.0[2]
    }
}

/// Names of the scores that exist without passes, in the order of
/// [`Standard::scores`](super::Standard::scores).
pub const STANDARD_SCORE_NAMES: [&str; 3] = ["predictive_entropy", "1-confidence", "1-margin"];
