//! Every metric of an evaluation, of the judged frames or of any resample of them.

use serde::Serialize;
use shared::triage::{Cause, Verdict};

use super::calibration::Calibration;
use super::judged::{Answer, Judged};
use super::ranking::{Ranking, Ties, aupr, auroc, fpr95};
use super::score::{Named, SCORE_NAMES, STANDARD_SCORE_NAMES};
use super::selective::{aurc, coverage_at_risk, excess_aurc, risk_at_coverage};

/// The coverages of [`Quality::risk_at_coverage`].
pub const COVERAGES: [(&str, f64); 4] =
    [("0.8", 0.8), ("0.9", 0.9), ("0.95", 0.95), ("0.99", 0.99)];
/// The risks of [`Quality::coverage_at_risk`].
pub const RISKS: [(&str, f64); 3] = [("0.001", 0.001), ("0.005", 0.005), ("0.01", 0.01)];

/// How good the answers of one test phase are, and its scores.
#[derive(Debug, Clone, Serialize)]
pub struct Quality {
    /// Share of right answers.
    pub accuracy: f64,
    /// Mean negative log-likelihood of the (mean) probabilities, nats.
    pub nll: f64,
    /// See [`Calibration::expected_error`].
    pub ece: f64,
    /// See [`Calibration::adaptive_error`].
    pub adaptive_ece: f64,
    /// Mean [`brier`](super::calibration::brier) score, in 0..=2.
    pub brier: f64,
    /// See [`aurc`], for predictive entropy.
    pub aurc: f64,
    /// See [`aurc`], per score.
    pub aurc_by_score: Named<f64>,
    /// See [`excess_aurc`], per score.
    pub e_aurc: Named<f64>,
    /// See [`risk_at_coverage`], per score and coverage.
    pub risk_at_coverage: Named<Named<f64>>,
    /// See [`coverage_at_risk`], per score and risk.
    pub coverage_at_risk: Named<Named<f64>>,
    /// See [`auroc`], per score; wrong answers are the positives.
    pub auroc_misclassification: Named<Option<f64>>,
    /// See [`aupr`], per score; wrong answers are the positives.
    pub aupr_misclassification: Named<Option<f64>>,
    /// See [`fpr95`], per score; wrong answers are the positives.
    pub fpr95_misclassification: Named<Option<f64>>,
    /// Frames of another data set, if there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ood: Option<OutOfDistribution>,
}

/// How well known frames are told from those of another data set.
#[derive(Debug, Clone, Serialize)]
pub struct OutOfDistribution {
    /// Share of the other's frames that the thresholds accept; of the standard test phase, which
    /// has none, `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<f64>,
    /// See [`auroc`], per score; frames out of distribution are the positives.
    pub auroc: Named<Option<f64>>,
    /// See [`aupr`], per score.
    pub aupr: Named<Option<f64>>,
    /// See [`fpr95`], per score.
    pub fpr95: Named<Option<f64>>,
}

/// Every metric. All but those named `ood` are about the frames with labels alone.
#[derive(Debug, Clone, Serialize)]
pub struct Metrics {
    /// Of Monte Carlo dropout.
    #[serde(flatten)]
    pub monte_carlo: Quality,
    /// Mean negative log-likelihood of log-softmax of the mean raw outputs, nats.
    pub nll_mean_logits: f64,
    /// Mean number of passes per frame.
    pub mean_passes: f64,
    /// Share of frames that were accepted.
    pub accepted: f64,
    /// Share of right answers among them.
    pub accuracy_accepted: Option<f64>,
    /// Frames flagged per cause; a frame may have several.
    pub flags: Named<u64>,
    /// Of the standard test phase, dropout off; `None` where it cannot be run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standard: Option<Quality>,
}

/// One test phase's answers and scores, sorted once.
struct Phase {
    accuracy: Vec<f64>,
    nll: Vec<f64>,
    brier: Vec<f64>,
    calibration: Calibration,
    scores: Vec<Score>,
}

/// A score's rankings.
struct Score {
    name: &'static str,
    /// Frames with labels; wrong answers are the positives.
    answers: Ranking,
    /// All frames; those out of distribution are the positives. `None` if there are none.
    kinds: Option<Ranking>,
}

impl Phase {
    /// `confidence` and `answer` are of the frames with labels; `score(i)` gives score `i` of every
    /// frame, those with labels first.
    fn new(
        confidence: &[f64],
        answers: &[Answer],
        names: &[&'static str],
        score: impl Fn(usize) -> Vec<f64>,
    ) -> Self {
        let correct: Vec<bool> = answers.iter().map(|answer| answer.correct).collect();
        let wrong: Vec<bool> = correct.iter().map(|correct| !correct).collect();
        let known = answers.len();
        let rankings = |(index, &name): (usize, &&'static str)| {
            let values = score(index);
            let kinds: Vec<bool> = (0..values.len()).map(|frame| frame >= known).collect();
            Score {
                name,
                answers: Ranking::new(&values[..known], &wrong),
                kinds: (values.len() > known).then(|| Ranking::new(&values, &kinds)),
            }
        };
        Self {
            accuracy: correct.iter().map(|&c| f64::from(u8::from(c))).collect(),
            nll: answers.iter().map(|answer| answer.nll).collect(),
            brier: answers.iter().map(|answer| answer.brier).collect(),
            calibration: Calibration::new(confidence, &correct),
            scores: names.iter().enumerate().map(rankings).collect(),
        }
    }

    fn quality(&self, counts: &[u32], room: &mut Vec<Ties>) -> Quality {
        let mut by_answer: Vec<(&'static str, Ranked)> = Vec::new();
        let mut by_kind: Vec<(&'static str, Told)> = Vec::new();
        for score in &self.scores {
            score.answers.ties(counts, room);
            by_answer.push((score.name, Ranked::new(room)));
            if let Some(kinds) = &score.kinds {
                kinds.ties(counts, room);
                by_kind.push((score.name, Told::new(room)));
            }
        }
        let known = &counts[..self.nll.len()];
        Quality {
            accuracy: mean(&self.accuracy, known),
            nll: mean(&self.nll, known),
            ece: self.calibration.expected_error(known),
            adaptive_ece: self.calibration.adaptive_error(known),
            brier: mean(&self.brier, known),
            aurc: by_answer[0].1.aurc,
            aurc_by_score: column(&by_answer, |ranked| ranked.aurc),
            e_aurc: column(&by_answer, |ranked| ranked.e_aurc),
            risk_at_coverage: column(&by_answer, |ranked| levels(&COVERAGES, ranked.risks)),
            coverage_at_risk: column(&by_answer, |ranked| levels(&RISKS, ranked.coverages)),
            auroc_misclassification: column(&by_answer, |ranked| ranked.told.auroc),
            aupr_misclassification: column(&by_answer, |ranked| ranked.told.aupr),
            fpr95_misclassification: column(&by_answer, |ranked| ranked.told.fpr95),
            ood: (!by_kind.is_empty()).then(|| OutOfDistribution {
                accepted: None,
                auroc: column(&by_kind, |told| told.auroc),
                aupr: column(&by_kind, |told| told.aupr),
                fpr95: column(&by_kind, |told| told.fpr95),
            }),
        }
    }
}

/// How well two kinds of frames are told apart by one score.
struct Told {
    auroc: Option<f64>,
    aupr: Option<f64>,
    fpr95: Option<f64>,
}

impl Told {
    fn new(ties: &[Ties]) -> Self {
        Self {
            auroc: auroc(ties),
            aupr: aupr(ties),
            fpr95: fpr95(ties),
        }
    }
}

/// How well wrong answers are found by one score.
struct Ranked {
    told: Told,
    aurc: f64,
    e_aurc: f64,
    risks: [f64; COVERAGES.len()],
    coverages: [f64; RISKS.len()],
}

impl Ranked {
    fn new(ties: &[Ties]) -> Self {
        Self {
            told: Told::new(ties),
            aurc: aurc(ties),
            e_aurc: excess_aurc(ties),
            risks: COVERAGES.map(|(_, coverage)| risk_at_coverage(ties, coverage)),
            coverages: RISKS.map(|(_, risk)| coverage_at_risk(ties, risk)),
        }
    }
}

fn column<R, T>(rows: &[(&'static str, R)], value: impl Fn(&R) -> T) -> Named<T> {
    Named(rows.iter().map(|(name, row)| (*name, value(row))).collect())
}

fn levels<const N: usize>(names: &[(&'static str, f64); N], values: [f64; N]) -> Named<f64> {
    let names = names.iter().map(|(name, _)| *name);
    Named(names.zip(values).collect())
}

/// The mean of `values`, value `i` counted `counts[i]` times; NaN of none.
fn mean(values: &[f64], counts: &[u32]) -> f64 {
    let (mut sum, mut total) = (0.0, 0.0);
    for (value, &count) in values.iter().zip(counts) {
        sum += value * f64::from(count);
        total += f64::from(count);
    }
    sum / total
}

/// Judged frames, sorted once, from which the metrics of any resample follow in linear time.
pub(super) struct Sample {
    monte_carlo: Phase,
    standard: Option<Phase>,
    nll_mean_logits: Vec<f64>,
    passes: Vec<f64>,
    /// Whether a frame is accepted, as a number.
    accepted: Vec<f64>,
    accepted_and_correct: Vec<f64>,
    flags: Vec<Vec<u32>>,
    known: usize,
}

impl Sample {
    /// Frames with an answer come first, then those without.
    pub(super) fn new(frames: &[Judged]) -> Self {
        let number = |yes| f64::from(u8::from(yes));
        let (known, foreign): (Vec<&Judged>, Vec<&Judged>) =
            frames.iter().partition(|frame| frame.answer.is_some());
        let all: Vec<&Judged> = known.iter().chain(&foreign).copied().collect();
        let answers: Vec<Answer> = known.iter().filter_map(|frame| frame.answer).collect();
        let confidence: Vec<f64> = known.iter().map(|frame| frame.confidence).collect();
        let monte_carlo = Phase::new(&confidence, &answers, &SCORE_NAMES, |score| {
            all.iter().map(|frame| frame.scores.0[score]).collect()
        });
        let standard: Option<Vec<_>> = all.iter().map(|frame| frame.standard).collect();
        let standard = standard.map(|standard| {
            let answers: Vec<Answer> = standard.iter().filter_map(|frame| frame.answer).collect();
            let confidence: Vec<f64> = standard.iter().map(|frame| frame.confidence).collect();
            let confidence = &confidence[..answers.len()];
            Phase::new(confidence, &answers, &STANDARD_SCORE_NAMES, |score| {
                standard.iter().map(|frame| frame.scores()[score]).collect()
            })
        });
        let accepts = |frame: &Judged| frame.causes.verdict() == Verdict::Accept;
        let correct = |frame: &Judged| frame.answer.is_some_and(|answer| answer.correct);
        let of_cause = |cause| {
            known
                .iter()
                .map(move |f| u32::from(f.causes.contains(cause)))
        };
        Self {
            monte_carlo,
            standard,
            nll_mean_logits: answers.iter().map(|a| a.nll_mean_logits).collect(),
            passes: known.iter().map(|f| f64::from(f.passes)).collect(),
            accepted: all.iter().map(|f| number(accepts(f))).collect(),
            accepted_and_correct: known
                .iter()
                .map(|f| number(accepts(f) && correct(f)))
                .collect(),
            flags: Cause::ALL.map(|cause| of_cause(cause).collect()).to_vec(),
            known: known.len(),
        }
    }

    /// Frames with an answer.
    pub(super) fn known(&self) -> u32 {
        self.known as u32
    }

    /// The metrics when frame `i` counts `counts[i]` times. `room` is working memory.
    pub(super) fn metrics(&self, counts: &[u32], room: &mut Vec<Ties>) -> Metrics {
        let (known, foreign) = counts.split_at(self.known);
        let (accepted, of_foreign) = self.accepted.split_at(self.known);
        let accepted = mean(accepted, known);
        let accepted_and_correct = mean(&self.accepted_and_correct, known);
        let flagged = |(cause, flags): (Cause, &Vec<u32>)| {
            let counted = flags.iter().zip(known);
            let count = counted.map(|(&flag, &count)| u64::from(flag * count)).sum();
            (cause.name(), count)
        };
        let mut monte_carlo = self.monte_carlo.quality(counts, room);
        if let Some(ood) = &mut monte_carlo.ood {
            ood.accepted = Some(mean(of_foreign, foreign));
        }
        Metrics {
            monte_carlo,
            nll_mean_logits: mean(&self.nll_mean_logits, known),
            mean_passes: mean(&self.passes, known),
            accepted,
            accuracy_accepted: (accepted > 0.0).then(|| accepted_and_correct / accepted),
            flags: Named(
                Cause::ALL
                    .into_iter()
                    .zip(&self.flags)
                    .map(flagged)
                    .collect(),
            ),
            standard: self
                .standard
                .as_ref()
                .map(|phase| phase.quality(counts, room)),
        }
    }
}

impl Metrics {
    /// Those of judged frames: the ones with an answer and, if there are any, the ones without as
    /// frames out of distribution.
    #[must_use]
    pub fn new(frames: &[Judged]) -> Self {
        Sample::new(frames).metrics(&vec![1; frames.len()], &mut Vec::new())
    }
}
