//! What is kept of judged frames.

use device::inference::Outcome;
use serde::Serialize;
use shared::image::FrameStatistics;
use shared::triage::{Causes, Evidence};
use shared::uncertainty::Measures;

use super::calibration::{brier, negative_log_likelihood, negative_log_likelihood_of_logits};
use super::score::{STANDARD_SCORE_NAMES, Scores};

/// What is kept of a judged frame.
#[derive(Debug, Clone, Copy, Default)]
pub struct Judged {
    /// The class of the highest mean probability.
    pub class: usize,
    /// The mean probability of that class.
    pub confidence: f64,
    /// How unsure the model was.
    pub scores: Scores,
    /// What the thresholds looked at, so that others can be tried on it.
    pub evidence: Evidence,
    /// Why it was flagged.
    pub causes: Causes,
    /// What the picture looked like at the model's input size.
    pub statistics: FrameStatistics,
    /// Passes taken.
    pub passes: u32,
    /// How good the answer was; `None` where there is no right one.
    pub answer: Option<Answer>,
    /// What the standard test phase says; `None` where it cannot be run.
    pub standard: Option<Standard>,
}

/// How good an answer was.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// The right class.
    pub label: usize,
    /// The class of the highest mean probability is the label.
    pub correct: bool,
    /// Negative log-likelihood of the mean probabilities, nats.
    pub nll: f64,
    /// Negative log-likelihood of log-softmax of the mean raw outputs, nats.
    pub nll_mean_logits: f64,
    /// Brier score of the mean probabilities.
    pub brier: f64,
}

impl Answer {
    fn new<const N: usize>(measures: &Measures<N>, label: usize) -> Self {
        let mean = measures.mean_probabilities();
        Self {
            label,
            correct: measures.class == label,
            nll: negative_log_likelihood(mean, label),
            nll_mean_logits: negative_log_likelihood_of_logits(measures.mean_logits(), label),
            brier: brier(mean, label),
        }
    }
}

/// What the network says without dropout, all its units active: the standard test phase.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standard {
    /// The class of the highest probability.
    pub class: usize,
    /// The probability of that class.
    pub confidence: f64,
    /// Entropy of the probabilities, nats.
    pub entropy: f64,
    /// Highest minus second highest probability.
    pub margin: f64,
    /// How good the answer was; `None` where there is no right one.
    pub answer: Option<Answer>,
}

impl Standard {
    /// What the one pass measured says, and the label, if it shows one of the model's classes.
    ///
    /// # Panics
    /// If the label is no class of the measures.
    #[must_use]
    pub fn new<const N: usize>(measures: &Measures<N>, label: Option<usize>) -> Self {
        Self {
            class: measures.class,
            confidence: measures.confidence,
            entropy: measures.predictive_entropy,
            margin: measures.margin,
            answer: label.map(|label| Answer::new(measures, label)),
        }
    }

    /// The scores of [`STANDARD_SCORE_NAMES`], each higher where the model is less sure.
    #[must_use]
    pub fn scores(&self) -> [f64; STANDARD_SCORE_NAMES.len()] {
        [self.entropy, 1.0 - self.confidence, 1.0 - self.margin]
    }
}

impl Judged {
    /// A frame with this outcome, and its label, if it shows one of the model's classes; without a
    /// standard test phase.
    ///
    /// # Panics
    /// If the label is no class of the measures.
    #[must_use]
    pub fn new<const N: usize>(outcome: &Outcome<N>, label: Option<usize>) -> Self {
        let measures = &outcome.measures;
        Self {
            class: measures.class,
            confidence: measures.confidence,
            scores: Scores::of(measures),
            evidence: Evidence::new(measures, &outcome.image),
            causes: outcome.causes,
            statistics: outcome.image,
            passes: measures.passes,
            answer: label.map(|label| Answer::new(measures, label)),
            standard: None,
        }
    }
}

/// Judged frames, in the order of their numbers.
#[derive(Debug, Clone)]
pub struct Judgements {
    /// One per frame.
    pub frames: Vec<Judged>,
    /// How it was measured.
    pub run: Run,
}

/// How it was measured, and how fast.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Run {
    /// The engine.
    pub engine: String,
    /// Names of the image sets whose labels are the model's classes, in order.
    pub datasets: Vec<String>,
    /// Names of the image sets out of distribution, in order.
    pub ood_datasets: Vec<String>,
    /// Seed of the masks.
    pub seed: u64,
    /// Stochastic passes asked for per frame.
    pub passes: u32,
    /// With adaptive passes: the probability that a decision differs from that of all passes.
    pub adaptive_delta: Option<f64>,
    /// Frames judged, those out of distribution included.
    pub frames: usize,
    /// `frames / seconds`.
    pub frames_per_second: f64,
    /// From the first engine being ready to the last verdict, seconds; the standard test phase comes
    /// after that.
    pub seconds: f64,
    /// Threads that judged side by side.
    pub threads: usize,
}
