//! How far two machines' answers to the same frames are apart.

use std::fmt;

use serde::Serialize;
use shared::wire::message::Report;

/// The largest difference of one measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Largest {
    /// Absolute difference; infinite if one of the two is not a number.
    pub difference: f64,
    /// The frame where it is.
    pub frame: u32,
}

impl Largest {
    fn take(&mut self, frame: u32, a: f32, b: f32) -> f64 {
        let difference = (f64::from(a) - f64::from(b)).abs();
        let difference = if difference.is_nan() {
            f64::INFINITY
        } else {
            difference
        };
        if difference > self.difference {
            *self = Self { difference, frame };
        }
        difference
    }
}

/// A device's answers beside those recomputed here. Entropies in nats.
#[derive(Clone, Debug, Serialize)]
pub struct Agreement {
    /// The file that they were recomputed from.
    pub model: String,
    /// Entropies may be so far apart, nats.
    pub tolerance: f64,
    /// Answers compared.
    pub frames: u32,
    /// Answers with any of the differences below.
    pub differing: u32,
    /// Answers of another class.
    pub classes: u32,
    /// Answers of another verdict.
    pub verdicts: u32,
    /// Answers with an entropy, or a mutual information, further apart than the tolerance.
    pub entropies: u32,
    /// Largest difference of the predictive entropy.
    pub predictive_entropy: Largest,
    /// Largest difference of the expected entropy.
    pub expected_entropy: Largest,
    /// Largest difference of the mutual information.
    pub mutual_information: Largest,
    /// Largest difference of the mean probability of the predicted class.
    pub confidence: Largest,
}

impl Agreement {
    /// Nothing compared yet with what `model` gives.
    #[must_use]
    pub fn new(model: &str, tolerance: f64) -> Self {
        Self {
            model: model.to_owned(),
            tolerance,
            frames: 0,
            differing: 0,
            classes: 0,
            verdicts: 0,
            entropies: 0,
            predictive_entropy: Largest::default(),
            expected_entropy: Largest::default(),
            mutual_information: Largest::default(),
            confidence: Largest::default(),
        }
    }

    /// Compares a device's answer with that recomputed here.
    pub fn compare(&mut self, there: &Report, here: &Report) {
        let frame = there.frame;
        let entropies = [
            (
                &mut self.predictive_entropy,
                there.predictive_entropy,
                here.predictive_entropy,
            ),
            (
                &mut self.expected_entropy,
                there.expected_entropy,
                here.expected_entropy,
            ),
            (
                &mut self.mutual_information,
                there.mutual_information,
                here.mutual_information,
            ),
        ]
        .map(|(largest, there, here)| largest.take(frame, there, here));
        self.confidence
            .take(frame, there.confidence, here.confidence);

        let class = there.class != here.class;
        let verdict = there.verdict() != here.verdict();
        let entropy = entropies.iter().any(|&apart| apart > self.tolerance);
        self.frames += 1;
        self.differing += u32::from(class || verdict || entropy);
        self.classes += u32::from(class);
        self.verdicts += u32::from(verdict);
        self.entropies += u32::from(entropy);
        if class || verdict || entropy {
            let told = |report: &Report| {
                format!(
                    "class {}, {}, predictive entropy {:.6}, expected {:.6}",
                    report.class,
                    report.verdict(),
                    report.predictive_entropy,
                    report.expected_entropy
                )
            };
            tracing::warn!(
                "frame {frame}: the device says {}; here {}",
                told(there),
                told(here)
            );
        }
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "check       {} of {} answers as from {}",
            self.frames - self.differing,
            self.frames,
            self.model
        )?;
        if self.differing > 0 {
            write!(
                f,
                "; {} classes, {} verdicts, {} entropies differ",
                self.classes, self.verdicts, self.entropies
            )?;
        }
        for (name, largest) in [
            ("predictive entropy", self.predictive_entropy),
            ("expected entropy", self.expected_entropy),
            ("mutual information", self.mutual_information),
            ("confidence", self.confidence),
        ] {
            write!(f, "\n  {name:<18} at most {:.2e} apart", largest.difference)?;
            if largest.difference > 0.0 {
                write!(f, " (frame {})", largest.frame)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use shared::image::FrameStatistics;
    use shared::triage::{Cause, Causes};

    use super::*;

    pub(crate) fn report(frame: u32) -> Report {
        Report {
            frame,
            captured_us: 0,
            age_us: 0,
            latency_us: 0,
            class: 3,
            confidence: 0.75,
            predictive_entropy: 0.5,
            expected_entropy: 0.25,
            mutual_information: 0.25,
            variation_ratio: 0.0,
            standard_deviation: 0.0,
            margin: 0.5,
            passes: 10,
            causes: Causes::default(),
            image: FrameStatistics {
                mean: 0.0,
                black: 0.0,
                white: 1.0,
                contrast: 1.0,
                sharpness: 1.0,
                saturated: 0.0,
                plateau: 0.0,
            },
            ticket: None,
        }
    }

    #[test]
    fn every_difference_counts_once_under_its_name() {
        let mut agreement = Agreement::new("model.onnx", 1e-3);
        let here = report(0);
        let mut flagged = report(2);
        flagged.causes.insert(Cause::Glare);
        for there in [
            report(0),
            Report {
                class: 4,
                ..report(1)
            },
            flagged,
            Report {
                expected_entropy: 0.2515,
                ..report(3)
            },
            Report {
                predictive_entropy: 0.5005,
                confidence: 0.5,
                ..report(4)
            },
            Report {
                class: 4,
                mutual_information: f32::NAN,
                ..report(5)
            },
        ] {
            agreement.compare(&there, &here);
        }
        let counts = [
            agreement.frames,
            agreement.differing,
            agreement.classes,
            agreement.verdicts,
            agreement.entropies,
        ];
        assert_eq!(counts, [6, 4, 2, 1, 2]);
        assert_eq!(agreement.expected_entropy.frame, 3);
        assert_eq!(agreement.mutual_information.difference, f64::INFINITY);
        assert_eq!(
            agreement.confidence,
            Largest {
                difference: 0.25,
                frame: 4
            }
        );
        let text = agreement.to_string();
        assert!(
            text.contains("2 of 6 answers") && text.contains("2 classes, 1 verdicts, 2 entropies"),
            "{text}"
        );
    }
}
