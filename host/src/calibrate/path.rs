//! Limits from what is usual among judged frames: one set of them, and a path of ever looser ones.

use shared::triage::{Cause, Evidence, Side, Thresholds};

/// Limits such that at most `rate` of the given frames cross one of them, and as many as possible.
///
/// The limits on predictive and expected entropy let through all but the `k` most extreme frames of
/// their score, that on mutual information all but `ENTROPY_SHARE` times fewer. Those on the picture
/// let through all but the same share of `pictures`, which may be other ones than those of the frames,
/// and are never stricter than [`Cause::strictest`]. `k` is the largest for which no more than `rate` of
/// the frames are flagged by any; there is none that other pictures do not allow, and then it is 0.
/// The limits say what is usual, and carry no guarantee. Nothing is known to be usual without frames and
/// pictures: [`Thresholds::OFF`].
#[must_use]
pub fn usual(frames: &[Evidence], pictures: &[Evidence], rate: f64) -> Thresholds {
    let scores = Scores::of(frames, pictures);
    let beyond = scores.count(frames, rate);
    scores.limits(beyond, Some(beyond))
}

/// Ever looser thresholds, the strictest first; each accepts what those before it accept. The
/// loosest are the [`usual`] ones, or with an `unusual` rate of 0 those that accept everything.
///
/// The limits on the picture stay those of the loosest end: they tell what is spoilt, not what is
/// wrong. The limits on the model's uncertainty move inwards together.
pub(super) fn path(frames: &[Evidence], pictures: &[Evidence], unusual: f64) -> Vec<Thresholds> {
    let scores = Scores::of(frames, pictures);
    let (mut beyond, picture) = if unusual > 0.0 {
        let beyond = scores.count(frames, unusual);
        (beyond, Some(beyond))
    } else {
        (0, None)
    };
    let mut path = Vec::new();
    while beyond < frames.len() {
        path.push(scores.limits(beyond, picture));
        beyond += 1 + beyond / STEP;
    }
    path.reverse();
    if picture.is_none() {
        path.push(Thresholds::OFF);
    }
    path
}

/// How many times more false flags an entropy may cause than each other score. The entropies answer
/// for everything that the model does not recognise; the limits on the picture need only catch what
/// is plainly spoilt, and mutual information, a small difference of two entropies, is the noisiest
/// measure at a given number of passes.
const ENTROPY_SHARE: usize = 4;

/// From one set of thresholds to the next stricter one, the number of frames beyond a limit grows by
/// one in so many.
const STEP: usize = 16;

/// What limits are set from.
struct Scores {
    /// Every cause's values, from the most extreme inwards, in the order of [`Cause::ALL`].
    values: [Vec<f32>; Cause::ALL.len()],
    /// Number of frames; of pictures there may be more or fewer values.
    frames: usize,
}

impl Scores {
    fn of(frames: &[Evidence], pictures: &[Evidence]) -> Self {
        let values = Cause::ALL.map(|cause| {
            let from = if cause.is_in_picture() {
                pictures
            } else {
                frames
            };
            let mut values: Vec<f32> = from.iter().map(|one| one.of(cause)).collect();
            values.sort_by(|a, b| match cause.side() {
                Side::Above => b.total_cmp(a),
                Side::Below => a.total_cmp(b),
            });
            values
        });
        Self {
            values,
            frames: frames.len(),
        }
    }

    /// The limits with `beyond` frames beyond each entropy's, and those on the picture as if for
    /// `picture`, or none.
    fn limits(&self, beyond: usize, picture: Option<usize>) -> Thresholds {
        let mut thresholds = Thresholds::OFF;
        for (cause, values) in Cause::ALL.into_iter().zip(&self.values) {
            let beyond = if cause.is_in_picture() {
                picture
            } else {
                Some(beyond)
            };
            let fewer = match cause {
                Cause::Uncertain | Cause::Ambiguous => 1,
                _ => ENTROPY_SHARE,
            };
            let place = |beyond| beyond * values.len() / (fewer * self.frames.max(1));
            if let Some(&limit) = beyond.and_then(|beyond| values.get(place(beyond))) {
                *thresholds.limit_mut(cause) = cause.not_too_strict(limit);
            }
        }
        thresholds
    }

    /// How many frames may lie beyond an entropy's limit for at most `rate` of all to be flagged.
    fn count(&self, frames: &[Evidence], rate: f64) -> usize {
        let budget = (rate * frames.len() as f64).floor() as usize;
        // More extreme frames per limit never flag fewer frames in all.
        let (mut low, mut high) = (0, budget);
        while low < high {
            let middle = (low + high).div_ceil(2);
            let limits = self.limits(middle, Some(middle));
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
        low
    }
}
