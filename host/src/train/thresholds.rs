//! Default limits for accepting a frame, from images that the model was trained on.
//!
//! They are a start, not a calibration: they say what is usual for the data the model knows, and
//! carry no guarantee.

use shared::image::FrameStatistics;
use shared::triage::Thresholds;
use shared::uncertainty::Measures;

/// Limits such that about `rate` of the given frames cross at least one of them.
///
/// The limits on predictive and expected entropy let through all but the `k` most extreme frames of
/// their score, the others all but [`ENTROPY_SHARE`] times fewer; `k` is the largest for which no
/// more than `rate` of the frames are flagged by any.
pub(super) fn default_thresholds<const N: usize>(
    frames: &[(Measures<N>, FrameStatistics)],
    rate: f64,
) -> Thresholds {
    let budget = (rate * frames.len() as f64).floor() as usize;
    let sorted = Sorted::new(frames);
    // More extreme frames per limit never flag fewer frames in all.
    let (mut low, mut high) = (0, budget);
    while low < high {
        let middle = (low + high).div_ceil(2);
        let limits = sorted.limits(middle);
        let flagged = frames
            .iter()
            .filter(|(m, s)| !limits.judge(m, s).is_empty())
            .count();
        if flagged <= budget {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    sorted.limits(low)
}

/// How many times more false flags an entropy may cause than each other score. The entropies answer
/// for everything that the model does not recognise; the limits on the picture need only catch what
/// is plainly spoilt, and mutual information, a small difference of two entropies, is the noisiest
/// measure at a given number of passes.
const ENTROPY_SHARE: usize = 4;

/// Every score's values, from the most extreme inwards.
struct Sorted {
    upper: [Vec<f32>; 5],
    lower: [Vec<f32>; 3],
}

impl Sorted {
    fn new<const N: usize>(frames: &[(Measures<N>, FrameStatistics)]) -> Self {
        type Score<const N: usize> = fn(&Measures<N>, &FrameStatistics) -> f32;
        let values = |score: Score<N>| {
            let mut values: Vec<f32> = frames.iter().map(|(m, s)| score(m, s)).collect();
            values.sort_by(f32::total_cmp);
            values
        };
        let reversed = |score: Score<N>| {
            let mut values = values(score);
            values.reverse();
            values
        };
        Self {
            upper: [
                reversed(|m, _| m.predictive_entropy as f32),
                reversed(|m, _| m.mutual_information as f32),
                reversed(|m, _| m.expected_entropy as f32),
                reversed(|_, s| s.saturated),
                reversed(|_, s| s.mean),
            ],
            lower: [
                values(|_, s| s.mean),
                values(|_, s| s.contrast),
                values(|_, s| s.sharpness),
            ],
        }
    }

    /// The limits beyond which at most `count` frames lie by either entropy, and fewer by the others.
    fn limits(&self, count: usize) -> Thresholds {
        let few = count / ENTROPY_SHARE;
        let upper = |values: &[f32], count| values.get(count).copied().unwrap_or(f32::MAX);
        let lower = |values: &[f32]| values.get(few).copied().unwrap_or(0.0);
        let [predictive, mutual, expected, saturated, bright] = &self.upper;
        let [dim, contrast, sharpness] = &self.lower;
        Thresholds {
            max_predictive_entropy: upper(predictive, count),
            max_mutual_information: upper(mutual, few),
            max_expected_entropy: upper(expected, count),
            max_saturated: upper(saturated, few),
            max_mean: upper(bright, few),
            min_mean: lower(dim),
            min_contrast: lower(contrast),
            min_sharpness: lower(sharpness),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Purpose, Random};
    use shared::uncertainty::PassAccumulator;

    #[test]
    fn the_rate_is_kept_and_used() {
        let mut random = Random::new(1, Purpose::Calibration, 0);
        let frames: Vec<_> = (0..2000)
            .map(|_| {
                let mut passes = PassAccumulator::<4>::new(4).expect("4 classes");
                for _ in 0..5 {
                    let logits: [f32; 4] =
                        std::array::from_fn(|_| random.between(-4.0, 4.0) as f32);
                    passes.push(&logits).expect("finite");
                }
                let mut value = || random.between(0.1, 0.9) as f32;
                let statistics = FrameStatistics {
                    mean: value(),
                    contrast: value(),
                    sharpness: value(),
                    saturated: value(),
                    dark: value(),
                };
                (passes.measures().expect("passes"), statistics)
            })
            .collect();
        for rate in [0.0, 0.01, 0.05, 0.2] {
            let limits = default_thresholds(&frames, rate);
            assert_eq!(limits.validate(), Ok(()));
            let flagged = frames
                .iter()
                .filter(|(m, s)| !limits.judge(m, s).is_empty())
                .count();
            let share = flagged as f64 / frames.len() as f64;
            // One more extreme frame for each of the eight limits would exceed it.
            assert!(
                share <= rate && share > rate - 8.5 / 2000.0,
                "{share} for {rate}"
            );
        }
    }
}
