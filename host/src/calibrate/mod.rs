//! Thresholds with a guarantee: with probability 1 − δ over the calibration frames, at most a share
//! `max_risk` of the frames that the device accepts is answered wrongly.
//!
//! Learn then Test (Angelopoulos, Bates, Candès, Jordan and Lei 2021, arXiv 2110.01052) with a path
//! learnt on a part of the frames (their split fixed-sequence testing), for the selective risk of
//! Geifman and El-Yaniv (2017, arXiv 1705.08500):
//!
//! 1. A random fifth of the frames, the *tuning* part, fixes a path of ever looser thresholds, and
//!    where on it to start. Limits on the picture may come from other pictures, such as those that
//!    the model was trained on: what is usual in them needs no answer.
//! 2. On the other frames, the *testing* part, each set of thresholds from there on is a hypothesis
//!    "the error rate among accepted frames is above `max_risk`". They are tested in this order,
//!    each at level δ, up to the first that is not refuted; the last refuted one is chosen.
//!
//! If the chosen hypothesis is true, then the first true one of the sequence has been refuted, too.
//! Which one that is was fixed before the testing part was looked at, so this happens with
//! probability δ at most, without any correction for the number of hypotheses.
//!
//! The guarantee is about frames drawn as the calibration frames were; `docs/calibration.md` says
//! what that excludes.

mod data;
mod path;
mod pictures;
pub mod risk;
#[cfg(test)]
mod tests;

use std::fmt;

use shared::triage::{Evidence, Thresholds};

use crate::data::{Purpose, Random};
pub use data::{CalibrationSet, Images, Pictures};
pub use path::usual;
pub use pictures::{MOST_PICTURES, evidence};
use risk::RiskTest;

/// A judged frame whose right answer is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frame {
    /// What the thresholds look at.
    pub evidence: Evidence,
    /// The model's answer is not the right one.
    pub wrong: bool,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal {
    /// Highest error rate among accepted frames, between 0 and 1.
    pub max_risk: f64,
    /// Highest probability, over the calibration frames, that it is exceeded, between 0 and 1.
    pub delta: f64,
    /// The loosest thresholds flag this share of the tuning frames, in `0..1`; 0 for none at all.
    pub unusual: f64,
    /// Seed of the split.
    pub seed: u64,
}

/// Thresholds that meet a [`Goal`], and what they were found on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// The thresholds.
    pub thresholds: Thresholds,
    /// How they were tested.
    pub test: RiskTest,
    /// Probability, at most, of so few errors in the testing part if the goal were missed.
    pub p_value: f64,
    /// Frames of the tuning part.
    pub tuning: usize,
    /// Frames of the testing part.
    pub frames: usize,
    /// Clips of the testing part; as many as frames if each frame stands for itself.
    pub clips: usize,
    /// Of those frames, the accepted ones.
    pub accepted: usize,
    /// Of those, the wrong ones.
    pub errors: usize,
}

/// The calibration frames do not support the goal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unsupported {
    goal: Goal,
    test: RiskTest,
    /// Frames or clips given.
    given: usize,
    /// Frames of the testing part that the first thresholds tried accept, and how many of those are
    /// wrong; `None` if there are too few frames to try any.
    tried: Option<(usize, usize)>,
    /// Frames or clips that it would take, about; `None` if no number would do.
    needed: Option<u64>,
}

impl std::error::Error for Unsupported {}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Goal {
            max_risk, delta, ..
        } = self.goal;
        let things = match self.test {
            RiskTest::Binomial => "frames",
            RiskTest::HoeffdingBentkus => "clips",
        };
        write!(
            f,
            "{} {things} do not show a risk of at most {max_risk} at delta {delta}",
            self.given
        )?;
        if let Some((accepted, errors)) = self.tried {
            write!(
                f,
                ": of {accepted} frames that the first thresholds tried accept, {errors} are wrong"
            )?;
        }
        match self.needed {
            Some(needed) if self.tried.is_some() => write!(
                f,
                "; at this rate it takes about {needed}: give more {things}, or raise --max-risk or --delta"
            ),
            Some(needed) => write!(
                f,
                ": even without an error it takes {needed}; give more {things}, or raise --max-risk or --delta"
            ),
            None => write!(
                f,
                ", and no number of {things} would do: raise --max-risk or train a better model"
            ),
        }
    }
}

/// One in so many frames or clips belongs to the tuning part.
const TUNING_EVERY: usize = 5;

/// Chooses the loosest thresholds that the frames support, in terms of the [module](self).
///
/// `units` are what is exchangeable: single frames, or clips of several. A clip's frames are in one
/// part, and the share of wrong ones among its accepted ones counts once. The limits on the picture are
/// set from `pictures`, none of which is a unit's, or from the tuning part.
///
/// # Errors
/// [`Unsupported`] if the frames do not support any on the path.
///
/// # Panics
/// If a number of the goal is outside its range, or a unit has no frame.
pub fn choose(
    units: &[Vec<Frame>],
    pictures: Option<&[Evidence]>,
    goal: Goal,
) -> Result<Choice, Unsupported> {
    let test = if units.iter().all(|unit| unit.len() == 1) {
        RiskTest::Binomial
    } else {
        RiskTest::HoeffdingBentkus
    };
    let unsupported = |tried, needed| Unsupported {
        goal,
        test,
        given: units.len(),
        tried,
        needed,
    };
    let order = Random::new(goal.seed, Purpose::CalibrationSplit, 0).permutation(units.len());
    let (tuning, testing) = order.split_at(units.len() / TUNING_EVERY);
    let part = |indices: &[u32]| {
        Part(
            indices
                .iter()
                .map(|&i| units[i as usize].as_slice())
                .collect(),
        )
    };
    let (tuning, testing) = (part(tuning), part(testing));

    let evidence: Vec<Evidence> = tuning.frames().map(|frame| frame.evidence).collect();
    let path = path::path(&evidence, pictures.unwrap_or(&evidence), goal.unusual);
    let Some(start) = start(&path, &tuning, testing.0.len(), test, goal) else {
        let needed = test.units_needed(0.0, goal.max_risk, goal.delta);
        return Err(unsupported(None, needed.map(in_all)));
    };

    let mut chosen = None;
    for thresholds in &path[start..] {
        let losses = testing.losses(thresholds);
        let p_value = test.p_value(losses.iter().sum(), losses.len() as u64, goal.max_risk);
        if p_value > goal.delta {
            break;
        }
        chosen = Some((thresholds, p_value));
    }
    let Some((thresholds, p_value)) = chosen else {
        let losses = testing.losses(&path[start]);
        let mean = losses.iter().sum::<f64>() / losses.len().max(1) as f64;
        let needed = test.units_needed(mean, goal.max_risk, goal.delta);
        // Those that count are the ones of which something is accepted.
        let share = losses.len() as f64 / testing.0.len() as f64;
        let needed = needed.map(|n| in_all((n as f64 / share).ceil() as u64));
        // An estimate may be off by what errors come in: whole ones.
        let needed = needed.map(|n| n.max(units.len() as u64 + 1));
        return Err(unsupported(
            Some(count(testing.frames(), &path[start])),
            needed,
        ));
    };
    let (accepted, errors) = count(testing.frames(), thresholds);
    Ok(Choice {
        thresholds: *thresholds,
        test,
        p_value,
        tuning: evidence.len(),
        frames: testing.frames().count(),
        clips: testing.0.len(),
        accepted,
        errors,
    })
}

/// How many there are in all where `testing` are left for the testing part.
fn in_all(testing: u64) -> u64 {
    let every = TUNING_EVERY as u64;
    testing.saturating_mul(every).div_ceil(every - 1)
}

/// Where on the path to start: where the tuning part says that the test will be passed most surely,
/// and of such places at the strictest. `None` if it cannot be passed anywhere.
///
/// With s testing frames for each tuning frame, and the errors of the tuning part plus ½ (Jeffreys
/// 1946) as the estimate, s times that many errors are expected, with a variance of (1 + s) times
/// as many for what is not known about the rate; the most that may occur are so many standard
/// deviations away.
fn start(
    path: &[Thresholds],
    tuning: &Part,
    testing_units: usize,
    test: RiskTest,
    goal: Goal,
) -> Option<usize> {
    let scale = testing_units as f64 / tuning.0.len().max(1) as f64;
    let mut best = None;
    for (index, thresholds) in path.iter().enumerate() {
        let losses = tuning.losses(thresholds);
        let units = (losses.len() as f64 * scale).round() as u64;
        let Some(most) = test.most(units, goal.max_risk, goal.delta) else {
            continue;
        };
        let expected = (losses.iter().sum::<f64>() + 0.5) * scale;
        let distance = (most as f64 + 0.5 - expected) / (expected * (1.0 + scale)).sqrt();
        if best.is_none_or(|(_, farthest)| distance > farthest) {
            best = Some((index, distance));
        }
    }
    best.map(|(index, _)| index)
}

impl Frame {
    fn is_accepted(&self, thresholds: &Thresholds) -> bool {
        thresholds.judge_evidence(&self.evidence).is_empty()
    }
}

/// Units that are tuned or tested on.
struct Part<'a>(Vec<&'a [Frame]>);

impl Part<'_> {
    fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.0.iter().copied().flatten()
    }

    /// The loss of every unit of which something is accepted: the share of wrong frames among its
    /// accepted ones. Given their number, the losses are independent, and their expectation is the
    /// risk; of single frames they are 0 or 1.
    fn losses(&self, thresholds: &Thresholds) -> Vec<f64> {
        let loss = |unit: &&[Frame]| {
            let (accepted, errors) = count(unit.iter(), thresholds);
            (accepted > 0).then(|| errors as f64 / accepted as f64)
        };
        self.0.iter().filter_map(loss).collect()
    }
}

/// How many of the frames are accepted, and how many of those are wrong.
fn count<'a>(frames: impl Iterator<Item = &'a Frame>, thresholds: &Thresholds) -> (usize, usize) {
    frames
        .filter(|frame| frame.is_accepted(thresholds))
        .fold((0, 0), |(accepted, errors), frame| {
            (accepted + 1, errors + usize::from(frame.wrong))
        })
}
