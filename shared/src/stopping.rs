//! When to stop sampling: as soon as the rest of the passes cannot change what is decided.
//!
//! `T` passes decide a frame's class and whether it is flagged. Most frames are clear long before
//! the last pass. After each [`BLOCK`] a sequential test asks whether the decision of all `T`
//! passes is known already; if it is *settled* the rest is not run.
//!
//! # The test
//!
//! What is decided compares means over the `T` passes: each class's mean probability with the
//! leader's, and each measure with its limit. A measure is the mean of what each pass adds to it:
//! of `h_t`, a pass's entropy, for the expected entropy; of `c_t = −Σ_k p_tk ln p̄_k` for the
//! predictive entropy, and of `c_t − h_t` for the mutual information, where `p̄` is the mean over
//! the passes so far. By Gibbs' inequality the last two means are, over all `T` passes, at least
//! the measures themselves, so that a frame is not accepted too early; in the other direction they
//! are right to first order.
//!
//! So there is a mean over `T` passes and a number `m` with which it is compared, and the first `n`
//! passes have the mean `m + d` and the sum of squares around it `Q`. If the mean over all `T` *is*
//! `m`, then the values are a bridge to a known end, and their innovations are independent. Let
//! `v = n / (1 − n/T)`. For values that are normal with any mean and variance,
//!
//! ```text
//! E_n = √(c²/(v + c²)) · ( (Q + v d²) / (Q + v d² c²/(v + c²)) )^(n/2)
//! ```
//!
//! is then a test martingale that begins at 1: the Bayes factor of the *t*-test under the right
//! Haar prior (Hendriksen, de Heide and Grünwald 2021; Wang and Ramdas 2025, there for `T = ∞`).
//! By Ville's inequality it ever reaches `1/α` with probability α at most, however often one looks.
//! Where it does, the mean over all `T` is taken to lie on the side of `m` where it lies now. One
//! decision needs at most `classes + 2` such comparisons; each gets its share of δ, so
//!
//! > the decision differs from that of all `T` passes with probability at most δ,
//!
//! as far as the passes' values are normal and to first order as above. Values in a network are
//! means over many units that are dropped or not, but they are bounded, and what is rare may not
//! have been met: `Q` is therefore counted as if one pass in `n` were off by the whole range over
//! `√n`. How often decisions really differ is tested on whole data sets.
//!
//! - A. Hendriksen, R. de Heide, P. Grünwald. *Optional Stopping with Bayes Factors.* Bayesian
//!   Analysis 16(3), 2021.
//! - H. Wang, A. Ramdas. *Anytime-valid t-tests and confidence sequences for Gaussian means with
//!   unknown variance.* Sequential Analysis 44(1), 2025.

use core::fmt;
use core::str::FromStr;

use crate::triage::{Causes, Thresholds};
use crate::uncertainty::{Measures, PassAccumulator};

/// Passes between two looks at the test.
pub const BLOCK: u32 = 16;
/// `c²`: how many passes' worth the test's prior is. Of little effect; small values favour early
/// stops.
const PRIOR_PASSES: f64 = 1.0;
/// Comparisons beside those of classes: the limits of three measures.
const LIMITS: usize = 3;

/// The probability δ, in (0, 1), with which an early decision may differ from that of all passes.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Delta(f64);

impl Delta {
    /// One frame in a thousand.
    pub const DEFAULT: Self = Self(1e-3);

    /// `None` unless `delta` is in (0, 1).
    #[must_use]
    pub fn new(delta: f64) -> Option<Self> {
        (delta > 0.0 && delta < 1.0).then_some(Self(delta))
    }

    /// The probability.
    #[must_use]
    pub const fn value(self) -> f64 {
        self.0
    }
}

/// Text that is no such probability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotADelta;

impl fmt::Display for NotADelta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a probability between 0 and 1, for example 0.001")
    }
}

impl core::error::Error for NotADelta {}

impl FromStr for Delta {
    type Err = NotADelta;

    fn from_str(text: &str) -> Result<Self, NotADelta> {
        text.parse().ok().and_then(Self::new).ok_or(NotADelta)
    }
}

impl fmt::Display for Delta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What the test has to remember of each pass, in memory that the caller gives: the probabilities
/// of the classes, and the entropy.
#[derive(Debug)]
pub struct Record<'a> {
    rows: &'a mut [f32],
    classes: usize,
    passes: usize,
}

impl<'a> Record<'a> {
    /// Values that `passes` passes take.
    #[must_use]
    pub const fn length(passes: u32, classes: usize) -> usize {
        passes as usize * (classes + 1)
    }

    /// An empty record with room for as many passes as [`Record::length`] says.
    #[must_use]
    pub fn new(memory: &'a mut [f32], classes: usize) -> Self {
        Self {
            rows: memory,
            classes,
            passes: 0,
        }
    }

    /// Adds the pass that was pushed last.
    ///
    /// # Panics
    /// If there is no room, or the accumulator counts other classes.
    pub fn push<const N: usize>(&mut self, accumulator: &PassAccumulator<N>) {
        let (probabilities, entropy) = accumulator.last_pass();
        assert_eq!(probabilities.len(), self.classes, "one row per pass");
        let row = &mut self.rows[self.passes * (self.classes + 1)..][..=self.classes];
        for (value, probability) in row.iter_mut().zip(probabilities) {
            *value = *probability as f32;
        }
        row[self.classes] = entropy as f32;
        self.passes += 1;
    }

    /// The passes so far: probabilities and entropy of each.
    fn rows(&self) -> impl Iterator<Item = (&[f32], f64)> + Clone {
        let rows = self.rows.chunks_exact(self.classes + 1).take(self.passes);
        rows.map(|row| (&row[..self.classes], f64::from(row[self.classes])))
    }
}

/// Whether class and verdict are settled: they are what all `total` passes will say, except with
/// probability `delta`.
///
/// `measures` are those of the passes in `record`; `image` are the causes that the picture alone
/// gives, which no pass can change.
#[must_use]
pub fn settled<const N: usize>(
    delta: Delta,
    total: u32,
    record: &Record<'_>,
    measures: &Measures<N>,
    thresholds: &Thresholds,
    image: Causes,
) -> bool {
    let classes = measures.classes();
    let test = Test::new(
        delta.0 / (LIMITS + classes - 1) as f64,
        record.passes,
        total,
    );
    let Some(test) = test else { return true };
    (!image.is_empty() || verdict_is_settled(&test, record, measures, thresholds))
        && class_is_settled(&test, record, measures)
}

fn verdict_is_settled<const N: usize>(
    test: &Test,
    record: &Record<'_>,
    measures: &Measures<N>,
    thresholds: &Thresholds,
) -> bool {
    /// Below it a probability's logarithm would be without bound.
    const LEAST_PROBABILITY: f64 = 1e-12;
    let mut surprise = [0.0; N];
    for (surprise, mean) in surprise.iter_mut().zip(measures.mean_probabilities()) {
        *surprise = -libm::log(mean.max(LEAST_PROBABILITY));
    }
    let surprise = &surprise[..measures.classes()];
    let mut sums = [Sums::default(); LIMITS];
    for (probabilities, entropy) in record.rows() {
        let mut cross = 0.0;
        for (p, surprise) in probabilities.iter().zip(surprise) {
            cross += f64::from(*p) * surprise;
        }
        for (sums, value) in sums.iter_mut().zip([cross, cross - entropy, entropy]) {
            sums.add(value);
        }
    }
    let limits = [
        thresholds.max_predictive_entropy,
        thresholds.max_mutual_information,
        thresholds.max_expected_entropy,
    ];
    let range = libm::log(measures.classes() as f64);
    let mut accepted = true;
    for (sums, limit) in sums.iter().zip(limits) {
        match test.side(sums, f64::from(limit), range) {
            Some(Side::Above) => return true,
            Some(Side::Below) => {}
            None => accepted = false,
        }
    }
    accepted
}

fn class_is_settled<const N: usize>(
    test: &Test,
    record: &Record<'_>,
    measures: &Measures<N>,
) -> bool {
    let leader = measures.class;
    (0..measures.classes())
        .filter(|class| *class != leader)
        .all(|class| {
            let mut sums = Sums::default();
            for (probabilities, _) in record.rows() {
                sums.add(f64::from(probabilities[leader]) - f64::from(probabilities[class]));
            }
            test.side(&sums, 0.0, 1.0) == Some(Side::Above)
        })
}

/// Where the mean over all passes lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Below,
    Above,
}

/// Running mean and sum of squared deviations (Welford 1962).
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Sums {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let before = value - self.mean;
        self.mean += before / self.count;
        self.squares += before * (value - self.mean);
    }
}

/// The test after some passes.
#[derive(Debug, Clone, Copy)]
struct Test {
    passes: f64,
    /// `v`.
    information: f64,
    /// `c² / (v + c²)`.
    shrinkage: f64,
    /// What the logarithm of the martingale has to reach, without its first factor.
    needed: f64,
}

impl Test {
    /// `None` after the last pass: nothing is left to be unsure about.
    fn new(alpha: f64, passes: usize, total: u32) -> Option<Self> {
        let (n, total) = (passes as f64, f64::from(total));
        if n >= total {
            return None;
        }
        let information = n / (1.0 - n / total);
        let shrinkage = PRIOR_PASSES / (information + PRIOR_PASSES);
        Some(Self {
            passes: n,
            information,
            shrinkage,
            needed: -libm::log(alpha) - 0.5 * libm::log(shrinkage),
        })
    }

    /// On which side of `m` the mean of all passes lies, if that is settled, for values in a range
    /// of size `range`.
    fn side(&self, sums: &Sums, m: f64, range: f64) -> Option<Side> {
        let squares = sums.squares + range * range / self.passes;
        let d = sums.mean - m;
        let shift = self.information * d * d;
        let ratio = (squares + shift) / (squares + shift * self.shrinkage);
        if 0.5 * self.passes * libm::log(ratio) < self.needed {
            None
        } else if d > 0.0 {
            Some(Side::Above)
        } else {
            Some(Side::Below)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::mask::philox4x32_10;

    const T: u32 = 100;

    /// Standard normal numbers (Box and Muller 1958).
    fn normal(run: u32) -> impl Iterator<Item = f64> {
        (0..).flat_map(move |block| {
            let unit = |word: u32| (f64::from(word) + 0.5) / 4_294_967_296.0;
            let [a, b, _, _] = philox4x32_10([block, run, 0, 0], [5, 6]);
            let radius = libm::sqrt(-2.0 * libm::log(unit(a)));
            let angle = core::f64::consts::TAU * unit(b);
            [radius * libm::cos(angle), radius * libm::sin(angle)]
        })
    }

    /// Runs in which the test, looking after every pass from the second on, ever puts the mean of
    /// all passes on a side of itself.
    fn wrong(alpha: f64, runs: u32) -> u32 {
        let ever = |run: u32| {
            let values: Vec<f64> = normal(run).take(T as usize).collect();
            let mean = values.iter().sum::<f64>() / f64::from(T);
            let mut sums = Sums::default();
            values.iter().enumerate().any(|(index, value)| {
                sums.add(*value);
                let test = Test::new(alpha, index + 1, T);
                index > 0 && test.is_some_and(|test| test.side(&sums, mean, 0.0).is_some())
            })
        };
        (0..runs).filter(|run| ever(*run)).count() as u32
    }

    #[test]
    fn looking_after_every_pass_errs_no_more_often_than_promised() {
        const RUNS: u32 = 4000;
        for alpha in [0.2, 0.05, 0.01] {
            let expected = f64::from(RUNS) * alpha;
            let most = expected + 5.0 * (expected * (1.0 - alpha)).sqrt();
            let wrong = wrong(alpha, RUNS);
            assert!(f64::from(wrong) <= most, "{wrong} of {RUNS} at {alpha}");
            // A test that never errs would also never stop.
            assert!(
                f64::from(wrong) >= expected / 20.0,
                "{wrong} of {RUNS} at {alpha}"
            );
        }
    }

    #[test]
    fn what_is_far_away_is_settled_sooner() {
        let first = |distance: f64| {
            let mut sums = Sums::default();
            normal(1)
                .take(T as usize)
                .enumerate()
                .find_map(|(index, value)| {
                    sums.add(value);
                    let test = Test::new(1e-3, index + 1, T)?;
                    test.side(&sums, -distance, 0.0)
                        .map(|side| (index + 1, side))
                })
        };
        let [near, far] = [first(0.8), first(8.0)].map(|found| found.expect("settled"));
        assert_eq!((near.1, far.1), (Side::Above, Side::Above));
        assert!(far.0 < near.0, "{far:?} {near:?}");
    }

    /// The decision after `passes` passes whose logits `logits` gives.
    fn decided(delta: f64, passes: u32, limit: f32, logits: impl Fn(u32) -> [f32; 3]) -> bool {
        let mut accumulator = PassAccumulator::<4>::new(3).expect("three classes");
        let mut memory = std::vec![0.0; Record::length(passes, 3)];
        let mut record = Record::new(&mut memory, 3);
        for pass in 0..passes {
            accumulator.push(&logits(pass)).expect("finite");
            record.push(&accumulator);
        }
        let thresholds = Thresholds {
            max_predictive_entropy: limit,
            ..Thresholds::OFF
        };
        let measures = accumulator.measures().expect("passes");
        let delta = Delta::new(delta).expect("a probability");
        settled(delta, T, &record, &measures, &thresholds, Causes::EMPTY)
    }

    #[test]
    fn a_clear_frame_is_settled_after_one_block_and_an_even_one_is_not() {
        let clear = |pass| [8.0 + (pass % 3) as f32, 0.0, 0.0];
        assert!(decided(1e-3, BLOCK, 0.9, clear));
        // The class is clear, and whether the limit is crossed is not.
        let entropy = 3.0e-3;
        assert!(!decided(1e-3, BLOCK, entropy, clear));
        let even = |pass| {
            if pass % 2 == 0 {
                [4.0, 0.0, 0.0]
            } else {
                [0.0, 4.0, 0.0]
            }
        };
        assert!(!decided(1e-3, BLOCK, 2.0, even));
        assert!(!decided(1e-3, T - 1, 2.0, even));
        assert!(decided(1e-3, T, 2.0, even));
    }

    #[test]
    fn a_flag_is_settled_too() {
        let even = |pass| {
            let lean = (pass % 5) as f32 / 10.0;
            [1.0 + lean, 0.2, 0.2]
        };
        assert!(decided(1e-3, 64, 0.5, even));
    }

    #[test]
    fn a_probability_is_between_0_and_1() {
        assert_eq!(Delta::new(0.0), None);
        assert_eq!(Delta::new(1.0), None);
        assert_eq!(Delta::new(f64::NAN), None);
        assert_eq!(Delta::new(1e-3), Some(Delta::DEFAULT));
        assert_eq!("1e-3".parse(), Ok(Delta::DEFAULT));
        assert_eq!("one".parse::<Delta>(), Err(NotADelta));
        assert_eq!("2".parse::<Delta>(), Err(NotADelta));
    }
}
