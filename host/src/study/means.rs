//! What judged frames have in the mean.

use serde::{Deserialize, Serialize};

use crate::evaluate::{Judged, Scores};

/// Means over judged frames.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Means {
    /// Number of frames.
    pub frames: usize,
    /// Share of right answers, in 0..=1; `None` if there are no right ones.
    pub accuracy: Option<f64>,
    /// Total uncertainty, nats.
    pub predictive_entropy: f64,
    /// Aleatoric uncertainty, nats.
    pub expected_entropy: f64,
    /// Epistemic uncertainty, nats; it and the aleatoric one add up to the total.
    pub mutual_information: f64,
}

impl Means {
    /// Of these frames; `None` if there is none.
    #[must_use]
    pub fn of<'a>(frames: impl IntoIterator<Item = &'a Judged>) -> Option<Self> {
        let frames: Vec<&Judged> = frames.into_iter().collect();
        let score = |score: fn(&Scores) -> f64| {
            let scores = frames.iter().map(|frame| score(&frame.scores));
            scores.sum::<f64>() / frames.len() as f64
        };
        let answers: Vec<bool> = frames
            .iter()
            .filter_map(|frame| Some(frame.answer?.correct))
            .collect();
        let right = answers.iter().filter(|&&correct| correct).count();
        (!frames.is_empty()).then(|| Self {
            frames: frames.len(),
            accuracy: (!answers.is_empty()).then(|| right as f64 / answers.len() as f64),
            predictive_entropy: score(Scores::predictive_entropy),
            expected_entropy: score(Scores::expected_entropy),
            mutual_information: score(Scores::mutual_information),
        })
    }
}
