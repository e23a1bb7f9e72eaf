//! Default limits for accepting a frame, from images that the model was trained on.
//!
//! They are a start, not a calibration: they say what is usual for the data the model knows, and
//! carry no guarantee.

use shared::triage::{Cause, Evidence, Side, Thresholds};

/// Limits such that at most `rate` of the given frames cross one of them, and as many as possible.
///
/// The limits on predictive and expected entropy let through all but the `k` most extreme frames of
/// their score, the others all but [`ENTROPY_SHARE`] times fewer, and are never stricter than
/// [`Cause::strictest`]; `k` is the largest for which no more than `rate` of the frames are flagged
/// by any.
pub(super) fn default_thresholds(frames: &[Evidence], rate: f64) -> Thresholds {
    let budget = (rate * frames.len() as f64).floor() as usize;
    let sorted = Sorted::new(frames);
    // More extreme frames per limit never flag fewer frames in all.
    let (mut low, mut high) = (0, budget);
    while low < high {
        let middle = (low + high).div_ceil(2);
        let limits = sorted.limits(middle);
        let flagged = frames
            .iter()
            .filter(|frame| !limits.judge_evidence(frame).is_empty())
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

/// Every cause's values, from the most extreme inwards, in the order of [`Cause::ALL`].
struct Sorted([Vec<f32>; Cause::ALL.len()]);

impl Sorted {
    fn new(frames: &[Evidence]) -> Self {
        Self(Cause::ALL.map(|cause| {
            let mut values: Vec<f32> = frames.iter().map(|frame| frame.of(cause)).collect();
            values.sort_by(|a, b| match cause.side() {
                Side::Above => b.total_cmp(a),
                Side::Below => a.total_cmp(b),
            });
            values
        }))
    }

    /// The limits beyond which at most `count` frames lie by either entropy, and fewer by the others.
    fn limits(&self, count: usize) -> Thresholds {
        let mut thresholds = Thresholds::OFF;
        for (cause, values) in Cause::ALL.into_iter().zip(&self.0) {
            let count = match cause {
                Cause::Uncertain | Cause::Ambiguous => count,
                _ => count / ENTROPY_SHARE,
            };
            if let Some(&limit) = values.get(count) {
                *thresholds.limit_mut(cause) = cause.not_too_strict(limit);
            }
        }
        thresholds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Purpose, Random};
    use shared::image::FrameStatistics;
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
                    black: value(),
                    white: value(),
                    contrast: value(),
                    sharpness: value(),
                    saturated: value(),
                    plateau: value(),
                };
                Evidence::new(&passes.measures().expect("passes"), &statistics)
            })
            .collect();
        for rate in [0.0, 0.01, 0.05, 0.2] {
            let limits = default_thresholds(&frames, rate);
            assert_eq!(limits.validate(), Ok(()));
            let flagged = frames
                .iter()
                .filter(|frame| !limits.judge_evidence(frame).is_empty())
                .count();
            let share = flagged as f64 / frames.len() as f64;
            // One more extreme frame for each limit would exceed it.
            let step = (Cause::ALL.len() as f64 + 0.5) / 2000.0;
            assert!(share <= rate && share > rate - step, "{share} for {rate}");
        }
    }
}
