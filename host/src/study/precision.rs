//! How many passes are enough: likelihood and decisions against the number of passes.
//!
//! Masks are a function of the pass's number alone, so the first T of many passes are what a run of
//! T passes gives: one run serves every T.

use std::fmt;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, ensure};
use device::session::MAX_CLASSES;
use serde::{Deserialize, Serialize};
use shared::triage::Verdict;
use shared::uncertainty::{Measures, PassAccumulator};

use super::sampler::{Passes, over_images};
use crate::data::Dataset;
use crate::evaluate::Setup;
use crate::evaluate::calibration::negative_log_likelihood;

/// Precision against the number of passes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Precision {
    /// Test images.
    pub frames: usize,
    /// Most passes: the reference that the others are compared with.
    pub passes: u32,
    /// One per number of passes, ascending; the last one is the reference.
    pub points: Vec<Point>,
}

/// What a number of passes is worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Passes per frame, T.
    pub passes: u32,
    /// Expected negative log-likelihood of the mean of T passes, nats: mean over all frames, and
    /// over as many batches of T passes as there are. `−ln` is convex, so it falls with T.
    pub nll: f64,
    /// Monte-Carlo standard error of the negative log-likelihood that one run of T passes gives,
    /// nats: how much it varies with the masks for these very frames. `√(Σ_i s_i²) / frames`, with
    /// the variance `s_i²` of frame i between its batches; of the reference, which is one batch, by
    /// the law `1/T`. `None` without two batches.
    pub nll_standard_error: Option<f64>,
    /// Share of right answers of the first T passes.
    pub accuracy: f64,
    /// Share of frames whose class is that of the reference, from the first T passes.
    pub class_agreement: f64,
    /// Share of frames whose verdict (accept or flag) is that of the reference.
    pub verdict_agreement: f64,
    /// Root of the mean squared difference of predictive entropy to that of the reference, nats.
    pub predictive_entropy_error: f64,
}

/// What a frame's first T passes say.
struct Prefix {
    /// Mean over the batches of T passes, nats.
    nll: f64,
    /// Its variance between batches; `None` for one batch.
    variance: Option<f64>,
    class: usize,
    /// Whether that is the right one.
    right: bool,
    verdict: Verdict,
    predictive_entropy: f64,
}

/// The numbers of passes to look at: 1, 2, 5, 10, 20, 50 … and `most`.
///
/// # Panics
/// If `most` is 0.
#[must_use]
pub fn passes_up_to(most: u32) -> Vec<u32> {
    assert!(most > 0, "at least one pass");
    let decades = (0..).map_while(|power| 10u32.checked_pow(power));
    let mut all: Vec<u32> = decades
        .flat_map(|ten| [1, 2, 5].map(|n| ten.saturating_mul(n)))
        .take_while(|&passes| passes < most)
        .collect();
    all.push(most);
    all
}

/// Samples every image of `data` `setup.passes` times and looks at what fewer passes would have
/// said. The result does not depend on `threads`. `None` if `stop` was set before the end.
///
/// # Errors
/// There is no image; the model cannot be used, its classes are not as many as the data set's, or
/// its outputs are not finite.
pub fn precision(
    setup: &Setup,
    data: &Dataset,
    threads: usize,
    stop: &AtomicBool,
    advance: &dyn Fn(u64),
) -> anyhow::Result<Option<Precision>> {
    ensure!(!data.is_empty(), "there are no images");
    let looks = passes_up_to(setup.passes);
    let found = over_images(setup, data, threads, stop, advance, |passes, label| {
        prefixes(&passes, label, &looks)
    })?;
    Ok(found.map(|frames| Precision {
        frames: frames.len(),
        passes: setup.passes,
        points: (0..looks.len())
            .map(|look| point(&frames, look, &looks))
            .collect(),
    }))
}

fn prefixes(passes: &Passes<'_>, label: usize, looks: &[u32]) -> anyhow::Result<Vec<Prefix>> {
    let mut accumulator = PassAccumulator::<MAX_CLASSES>::new(passes.classes)?;
    // Of the label, per pass.
    let mut probabilities = Vec::new();
    let mut measures: Vec<Measures<MAX_CLASSES>> = Vec::new();
    for pass in passes.iter() {
        accumulator.push(pass)?;
        probabilities.push(accumulator.last_pass().0[label]);
        if looks.contains(&accumulator.passes()) {
            measures.push(accumulator.measures().context("at least one pass")?);
        }
    }
    let prefixes = looks.iter().zip(measures).map(|(&look, measures)| {
        let (nll, variance) = batches(&probabilities, look as usize);
        Prefix {
            nll,
            variance,
            class: measures.class,
            right: measures.class == label,
            verdict: passes
                .thresholds
                .judge(&measures, &passes.statistics)
                .verdict(),
            predictive_entropy: measures.predictive_entropy,
        }
    });
    Ok(prefixes.collect())
}

/// Mean and variance of the negative log-likelihood over batches of `size` passes, of which each
/// gives a mean probability of the label.
fn batches(probabilities: &[f64], size: usize) -> (f64, Option<f64>) {
    let losses: Vec<f64> = probabilities
        .chunks_exact(size)
        .map(|batch| negative_log_likelihood(&[batch.iter().sum::<f64>() / size as f64], 0))
        .collect();
    let count = losses.len() as f64;
    let mean = losses.iter().sum::<f64>() / count;
    let squares: f64 = losses.iter().map(|loss| (loss - mean).powi(2)).sum();
    (mean, (count > 1.0).then(|| squares / (count - 1.0)))
}

fn point(frames: &[Vec<Prefix>], look: usize, looks: &[u32]) -> Point {
    let count = frames.len() as f64;
    let mean = |value: &dyn Fn(&Prefix, &Prefix) -> f64| -> f64 {
        let each = frames
            .iter()
            .map(|frame| value(&frame[look], &frame[looks.len() - 1]));
        each.sum::<f64>() / count
    };
    let share = |holds: &dyn Fn(&Prefix, &Prefix) -> bool| {
        mean(&|prefix, all| f64::from(u8::from(holds(prefix, all))))
    };
    // The largest number of passes, up to this one, that more than one batch was run of.
    let measured = (0..=look)
        .rev()
        .find(|&look| frames[0][look].variance.is_some());
    let nll_standard_error = measured.map(|measured| {
        let variances = frames.iter().filter_map(|frame| frame[measured].variance);
        let law = f64::from(looks[measured]) / f64::from(looks[look]);
        (variances.sum::<f64>() * law).sqrt() / count
    });
    let right = frames.iter().filter(|frame| frame[look].right);
    Point {
        passes: looks[look],
        nll: mean(&|prefix, _| prefix.nll),
        nll_standard_error,
        accuracy: right.count() as f64 / count,
        class_agreement: share(&|prefix, all| prefix.class == all.class),
        verdict_agreement: share(&|prefix, all| prefix.verdict == all.verdict),
        predictive_entropy_error: mean(&|prefix, all| {
            (prefix.predictive_entropy - all.predictive_entropy).powi(2)
        })
        .sqrt(),
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} frames, compared with {} passes; nll in nats",
            self.frames, self.passes
        )?;
        write!(
            f,
            "passes       nll  ± standard error  accuracy  same class  same verdict  entropy off by"
        )?;
        for point in &self.points {
            let error = point.nll_standard_error;
            write!(
                f,
                "\n{:6}  {:8.5}  {:>16}  {:8.4}  {:10.4}  {:12.4}  {:14.5}",
                point.passes,
                point.nll,
                error.map_or("-".to_owned(), |error| format!("{error:.5}")),
                point.accuracy,
                point.class_agreement,
                point.verdict_agreement,
                point.predictive_entropy_error
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::image::FrameStatistics;
    use shared::triage::Thresholds;

    use super::*;

    #[test]
    fn looks_end_with_all_passes() {
        assert_eq!(passes_up_to(1), [1]);
        assert_eq!(passes_up_to(5), [1, 2, 5]);
        assert_eq!(passes_up_to(30), [1, 2, 5, 10, 20, 30]);
        assert_eq!(passes_up_to(1000)[7..], [200, 500, 1000]);
        assert_eq!(passes_up_to(u32::MAX).last(), Some(&u32::MAX));
    }

    #[test]
    fn two_frames_are_those_computed_by_hand() {
        // Softmax of (ln 3, 0) is (¾, ¼).
        let [sure, unsure] = [[3f32.ln(), 0.0], [0.0, 3f32.ln()]];
        let judge = |logits: &[f32], label| {
            let passes = Passes {
                logits,
                classes: 2,
                statistics: FrameStatistics::default(),
                thresholds: &Thresholds {
                    max_mutual_information: 0.05,
                    ..Thresholds::OFF
                },
            };
            prefixes(&passes, label, &[1, 2, 4]).expect("finite")
        };
        let frames = [
            judge(&[sure, unsure, unsure, unsure].concat(), 0),
            judge(&[sure, sure, sure, sure].concat(), 1),
        ];
        let points: Vec<Point> = (0..3)
            .map(|look| point(&frames, look, &[1, 2, 4]))
            .collect();
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} and {b}");
        let (l1, l3, l4) = (2f64.ln(), 3f64.ln(), 4f64.ln());
        // Frame 0: batches of one have −ln p of ln 4 − ln 3 once and ln 4 three times; of two,
        // ln 2 and ln 4; of four, −ln 3/8. Frame 1: ln 4 in every batch.
        close(points[0].nll, f64::midpoint(l4 - l3 / 4.0, l4));
        close(points[1].nll, f64::midpoint(1.5 * l1, l4));
        close(points[2].nll, f64::midpoint((8.0f64 / 3.0).ln(), l4));
        // Σ(x − mean)² of (0, 0, 0, −l3) is ¾ l3²; by 3 degrees of freedom; and by 2 frames.
        close(points[0].nll_standard_error.expect("4 batches"), l3 / 4.0);
        let two = points[1].nll_standard_error.expect("2 batches");
        close(two, (l1 * l1 / 2.0).sqrt() / 2.0);
        close(
            points[2].nll_standard_error.expect("by the law"),
            two / 2f64.sqrt(),
        );
        // Of four passes frame 0 is a 1, for half of its mutual information flagged.
        let agreements: Vec<_> = points
            .iter()
            .map(|p| (p.accuracy, p.class_agreement, p.verdict_agreement))
            .collect();
        assert_eq!(
            agreements,
            [(0.5, 0.5, 0.5), (0.5, 0.5, 1.0), (0.0, 1.0, 1.0)]
        );
        close(points[2].predictive_entropy_error, 0.0);
    }

    proptest! {
        /// −ln is convex: the loss of a mean is at most the mean of the losses.
        #[test]
        fn more_passes_never_have_a_higher_loss(
            probabilities in prop::collection::vec(1e-6..1.0f64, 24),
        ) {
            let losses = [1, 2, 4, 8, 24].map(|size| batches(&probabilities, size).0);
            for pair in losses.windows(2) {
                prop_assert!(pair[1] <= pair[0] + 1e-12, "{losses:?}");
            }
        }
    }
}
