//! What an evaluation finds, as one JSON object or as a table.

use serde::Serialize;
use serde_json::Value;

use super::bootstrap::Intervals;
use super::judged::{Judgements, Run};
use super::metrics::Metrics;

/// What an evaluation finds.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The figures.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// 95 % intervals of the figures, if they were worked out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intervals: Option<Intervals>,
    /// How it was measured.
    #[serde(flatten)]
    pub run: Run,
}

impl Report {
    /// Sums up judged frames; see [`Metrics::new`]. Without intervals.
    #[must_use]
    pub fn new(judgements: &Judgements) -> Self {
        Self {
            metrics: Metrics::new(&judgements.frames),
            intervals: None,
            run: judgements.run.clone(),
        }
    }
}

/// Every figure under the name that it has in JSON, keys joined by dots; `None` where it is null.
pub(super) fn figures(found: &impl Serialize) -> serde_json::Result<Vec<(String, Option<f64>)>> {
    fn collect(name: String, value: &Value, all: &mut Vec<(String, Option<f64>)>) {
        match value {
            Value::Object(entries) => {
                for (key, value) in entries {
                    let dot = if name.is_empty() { "" } else { "." };
                    collect(format!("{name}{dot}{key}"), value, all);
                }
            }
            Value::Number(_) | Value::Null => all.push((name, value.as_f64())),
            _ => {}
        }
    }
    let mut all = Vec::new();
    collect(String::new(), &serde_json::to_value(found)?, &mut all);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use device::inference::Outcome;
    use serde_json::json;
    use shared::image::FrameStatistics;
    use shared::triage::{Cause, Causes};
    use shared::uncertainty::PassAccumulator;

    use super::*;
    use crate::evaluate::judged::{Judged, Standard};

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
        Judged {
            standard: Some(Standard::new(&outcome.measures, label)),
            ..Judged::new(&outcome, label)
        }
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
        // One pass: the standard test phase says the same.
        for name in ["accuracy", "nll", "ece", "adaptive_ece", "brier", "aurc"] {
            assert_eq!(report["standard"][name], report[name], "{name}");
        }
        let close = |name: &str, expected: f64| {
            let found = report.pointer(name).and_then(Value::as_f64);
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
        // Four predictions in fifteen bins: each is in a bin of its own.
        close("/adaptive_ece", (0.1 + 0.2 + 0.7 + 0.4) / 4.0);
        close("/aurc", (0.0 + 0.0 + 1.0 / 3.0 + 0.25) / 4.0);
        close("/aurc_by_score/1-confidence", (1.0 / 3.0 + 0.25) / 4.0);
        // The wrong answer last: 0, 0, 0, 1/4.
        close("/e_aurc/1-confidence", 1.0 / 3.0 / 4.0);
        close("/risk_at_coverage/1-confidence/0.8", 0.25);
        close("/coverage_at_risk/1-confidence/0.01", 0.5);
        close("/aupr_misclassification/1-confidence", 0.5);
        close("/fpr95_misclassification/1-confidence", 1.0);
        close("/standard/ood/aupr/1-margin", 1.0);
        close("/ood/accepted", 0.0);
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
        close("/ood/auroc/standard_deviation", 0.5);
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
        let line = table
            .lines()
            .find(|line| line.starts_with("accuracy_accepted"));
        let cells: Vec<&str> = line.unwrap_or(&table).split_whitespace().collect();
        assert_eq!(cells[..3], ["accuracy_accepted", "-", "-"], "{table}");
    }
}
