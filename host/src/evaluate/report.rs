//! What an evaluation finds, as one JSON object or as a table.

use std::fmt;

use device::inference::Outcome;
use serde::Serialize;
use shared::image::FrameStatistics;
use shared::triage::{Cause, Causes, Evidence, Verdict};

use super::calibration::{
    brier, expected_calibration_error, negative_log_likelihood, negative_log_likelihood_of_logits,
};
use super::ranking::{aurc, auroc, fpr95};
use super::score::{Named, Scores, per_score};

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

impl Judged {
    /// A frame with this outcome, and its label, if it shows one of the model's classes.
    ///
    /// # Panics
    /// If the label is no class of the measures.
    #[must_use]
    pub fn new<const N: usize>(outcome: &Outcome<N>, label: Option<usize>) -> Self {
        let measures = &outcome.measures;
        let mean = measures.mean_probabilities();
        Self {
            class: measures.class,
            confidence: measures.confidence,
            scores: Scores::of(measures),
            evidence: Evidence::new(measures, &outcome.image),
            causes: outcome.causes,
            statistics: outcome.image,
            passes: measures.passes,
            answer: label.map(|label| Answer {
                label,
                correct: measures.class == label,
                nll: negative_log_likelihood(mean, label),
                nll_mean_logits: negative_log_likelihood_of_logits(measures.mean_logits(), label),
                brier: brier(mean, label),
            }),
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
    /// Stochastic passes asked for per frame.
    pub passes: u32,
    /// Frames judged, those out of distribution included.
    pub frames: usize,
    /// `frames / seconds`.
    pub frames_per_second: f64,
    /// From the first engine being ready to the last verdict, seconds.
    pub seconds: f64,
    /// Threads that judged side by side.
    pub threads: usize,
}

/// How well known frames are told from those of another data set.
#[derive(Debug, Clone, Serialize)]
pub struct OutOfDistribution {
    /// See [`auroc`], per score; frames out of distribution are the positives.
    pub auroc: Named<Option<f64>>,
    /// See [`fpr95`], per score.
    pub fpr95: Named<Option<f64>>,
}

/// What an evaluation finds. All but [`Report::ood`] and [`Report::run`] is about the frames with
/// labels alone.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Share of right answers.
    pub accuracy: f64,
    /// Mean negative log-likelihood of the mean probabilities, nats.
    pub nll: f64,
    /// Mean negative log-likelihood of log-softmax of the mean raw outputs, nats.
    pub nll_mean_logits: f64,
    /// See [`expected_calibration_error`].
    pub ece: f64,
    /// Mean [`brier`] score, in 0..=2.
    pub brier: f64,
    /// See [`aurc`], for predictive entropy.
    pub aurc: f64,
    /// See [`auroc`], per score; wrong answers are the positives.
    pub auroc_misclassification: Named<Option<f64>>,
    /// Mean number of passes per frame.
    pub mean_passes: f64,
    /// Share of frames that were accepted.
    pub accepted: f64,
    /// Share of right answers among them.
    pub accuracy_accepted: Option<f64>,
    /// Frames flagged per cause; a frame may have several.
    pub flags: Named<usize>,
    /// Frames of another data set, if there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ood: Option<OutOfDistribution>,
    /// How it was measured.
    #[serde(flatten)]
    pub run: Run,
}

impl Report {
    /// Sums up judged frames: those with an answer, and those without, if there are any, as frames
    /// out of distribution.
    #[must_use]
    pub fn new(judgements: &Judgements) -> Self {
        let frames = &judgements.frames;
        let answers: Vec<(&Judged, Answer)> = frames
            .iter()
            .filter_map(|frame| Some((frame, frame.answer?)))
            .collect();
        let count = answers.len() as f64;
        let mean = |value: &dyn Fn(&Judged, &Answer) -> f64| {
            answers.iter().map(|(f, a)| value(f, a)).sum::<f64>() / count
        };
        let correct: Vec<bool> = answers.iter().map(|(_, a)| a.correct).collect();
        let wrong: Vec<bool> = correct.iter().map(|correct| !correct).collect();
        let confidence: Vec<f64> = answers.iter().map(|(f, _)| f.confidence).collect();
        let entropy: Vec<f64> = answers
            .iter()
            .map(|(f, _)| f.scores.predictive_entropy())
            .collect();
        let scores = |choose: &dyn Fn(&Judged) -> bool| -> Vec<Scores> {
            let chosen = frames.iter().filter(|frame| choose(frame));
            chosen.map(|frame| frame.scores).collect()
        };
        let answered = |correct: bool| scores(&|f| f.answer.is_some_and(|a| a.correct == correct));
        let accepted: Vec<bool> = answers
            .iter()
            .filter(|(f, _)| f.causes.verdict() == Verdict::Accept)
            .map(|(_, a)| a.correct)
            .collect();
        let flagged = |cause| {
            let flagged = answers.iter().filter(|(f, _)| f.causes.contains(cause));
            (cause.name(), flagged.count())
        };
        let (known, foreign) = (
            scores(&|f| f.answer.is_some()),
            scores(&|f| f.answer.is_none()),
        );
        Self {
            accuracy: mean(&|_, a| f64::from(u8::from(a.correct))),
            nll: mean(&|_, a| a.nll),
            nll_mean_logits: mean(&|_, a| a.nll_mean_logits),
            ece: expected_calibration_error(&confidence, &correct),
            brier: mean(&|_, a| a.brier),
            aurc: aurc(&entropy, &wrong),
            auroc_misclassification: per_score(&answered(true), &answered(false), auroc),
            mean_passes: mean(&|f, _| f64::from(f.passes)),
            accepted: accepted.len() as f64 / count,
            accuracy_accepted: (!accepted.is_empty()).then(|| {
                accepted.iter().filter(|correct| **correct).count() as f64 / accepted.len() as f64
            }),
            flags: Named(Cause::ALL.map(flagged).to_vec()),
            ood: (!foreign.is_empty()).then(|| OutOfDistribution {
                auroc: per_score(&known, &foreign, auroc),
                fpr95: per_score(&known, &foreign, fpr95),
            }),
            run: judgements.run.clone(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Width of the names, and of each column after them.
        const NAME: usize = 20;
        const COLUMN: usize = 25;
        for (name, value, says) in [
            ("accuracy", Some(self.accuracy), "share of right answers"),
            ("nll", Some(self.nll), "nats, of the mean probabilities"),
            (
                "nll_mean_logits",
                Some(self.nll_mean_logits),
                "nats, of the mean raw outputs",
            ),
            ("ece", Some(self.ece), "calibration error, 15 bins"),
            ("brier", Some(self.brier), "over all classes, 0 to 2"),
            (
                "aurc",
                Some(self.aurc),
                "risk over coverage, by predictive entropy",
            ),
            ("mean_passes", Some(self.mean_passes), "passes per frame"),
            ("accepted", Some(self.accepted), "share of frames"),
            (
                "accuracy_accepted",
                self.accuracy_accepted,
                "share of right answers among them",
            ),
        ] {
            writeln!(f, "{name:NAME$} {}  {says}", Cell(value))?;
        }

        write!(f, "\n{:NAME$} {:>COLUMN$}", "", "auroc_misclassification")?;
        if self.ood.is_some() {
            write!(f, " {:>COLUMN$} {:>COLUMN$}", "ood.auroc", "ood.fpr95")?;
        }
        for (score, (name, value)) in self.auroc_misclassification.0.iter().enumerate() {
            write!(f, "\n{name:NAME$} {:>COLUMN$}", Cell(*value).to_string())?;
            for column in self.ood.iter().flat_map(|ood| [&ood.auroc, &ood.fpr95]) {
                write!(f, " {:>COLUMN$}", Cell(column.0[score].1).to_string())?;
            }
        }

        writeln!(f, "\n\nflags")?;
        for (cause, count) in &self.flags.0 {
            writeln!(f, "  {cause:18} {count:>6}")?;
        }
        let Run {
            engine,
            passes,
            frames,
            frames_per_second,
            seconds,
            threads,
        } = &self.run;
        write!(
            f,
            "\n{frames} frames, {passes} passes each, in {seconds:.1} s: {frames_per_second:.1} frames/s ({engine}, {threads} thread{})",
            if *threads == 1 { "" } else { "s" }
        )
    }
}

/// A number of the table; `-` where there is none.
struct Cell(Option<f64>);

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) if value.is_finite() => write!(f, "{value:>9.5}"),
            _ => write!(f, "{:>9}", "-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::uncertainty::PassAccumulator;

    use super::*;

    /// A frame of two classes whose mean probability of class 0 is `p`.
    fn frame(p: f64, label: Option<usize>, causes: &[Cause]) -> Judged {
        let mut passes = PassAccumulator::<2>::new(2).expect("2 classes");
        passes
            .push(&[p.ln() as f32, (1.0 - p).ln() as f32])
            .expect("finite");
        let mut set = Causes::EMPTY;
        for cause in causes {
            set.insert(*cause);
        }
        let outcome = Outcome {
            measures: passes.measures().expect("a pass"),
            image: FrameStatistics::default(),
            causes: set,
        };
        Judged::new(&outcome, label)
    }

    #[test]
    fn five_frames_are_summed_up_as_by_hand() {
        let frames = [
            frame(0.9, Some(0), &[]),
            frame(0.8, Some(0), &[]),
            frame(0.7, Some(1), &[]),
            frame(0.6, Some(0), &[Cause::Uncertain, Cause::Ambiguous]),
            frame(0.55, None, &[Cause::Uncertain]),
        ];
        let run = Run {
            engine: "none".into(),
            passes: 1,
            frames: 5,
            ..Run::default()
        };
        let report = Report::new(&Judgements {
            frames: frames.to_vec(),
            run,
        });
        let report = serde_json::to_value(report).expect("numbers");
        let close = |name: &str, expected: f64| {
            let found = report.pointer(name).and_then(serde_json::Value::as_f64);
            let found = found.unwrap_or_else(|| panic!("{name} is missing"));
            // The logits are 32-bit numbers.
            assert!(
                (found - expected).abs() < 1e-6,
                "{name}: {found}, not {expected}"
            );
        };
        close("/accuracy", 0.75);
        let nll = -(0.9f64.ln() + 0.8f64.ln() + 0.3f64.ln() + 0.6f64.ln()) / 4.0;
        close("/nll", nll);
        close("/nll_mean_logits", nll);
        close("/ece", (0.1 + 0.2 + 0.7 + 0.4) / 4.0);
        close("/brier", 2.0 * (0.01 + 0.04 + 0.49 + 0.16) / 4.0);
        close("/aurc", (0.0 + 0.0 + 1.0 / 3.0 + 0.25) / 4.0);
        // The wrong answer is less sure than two of the three right ones.
        for score in [
            "predictive_entropy",
            "expected_entropy",
            "1-confidence",
            "1-margin",
        ] {
            close(&format!("/auroc_misclassification/{score}"), 2.0 / 3.0);
            close(&format!("/ood/auroc/{score}"), 1.0);
            close(&format!("/ood/fpr95/{score}"), 0.0);
        }
        close("/auroc_misclassification/variation_ratio", 0.5);
        close("/ood/auroc/mutual_information", 0.5);
        close("/ood/fpr95/mutual_information", 1.0);
        close("/accepted", 0.75);
        close("/accuracy_accepted", 2.0 / 3.0);
        close("/mean_passes", 1.0);
        assert_eq!(report["flags"]["uncertain"], 1);
        assert_eq!(report["flags"]["glare"], 0);
        assert_eq!(
            (&report["engine"], &report["frames"]),
            (&json!("none"), &json!(5))
        );
    }

    #[test]
    fn what_is_not_defined_is_null_and_a_dash() {
        let report = Report::new(&Judgements {
            frames: vec![frame(0.9, Some(0), &[Cause::Glare])],
            run: Run::default(),
        });
        let json = serde_json::to_value(&report).expect("numbers");
        assert!(json["accuracy_accepted"].is_null());
        assert!(json["auroc_misclassification"]["1-margin"].is_null());
        assert!(json.get("ood").is_none());
        let table = report.to_string();
        assert!(table.contains("accuracy_accepted            -"), "{table}");
    }
}
