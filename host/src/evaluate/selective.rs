//! Selective classification: what is gained when the least sure frames are not answered. The
//! coverage is the share of frames that are answered, the risk the error rate among them (El-Yaniv
//! and Wiener 2010). Wrong answers are the positives of [`Ties`]; frames with equal scores count in
//! the mean of their orders.

use super::ranking::{Ranking, Ties};

/// Room for what a level such as 0.01 lacks or exceeds as a binary number, in frames.
const ROUNDING: f64 = 1e-9;

/// Frames and errors before a run of equal scores, and the share of errors in it.
struct Step {
    covered: f64,
    errors: f64,
    count: u64,
    share: f64,
}

impl Step {
    /// Errors to expect among the first `place` frames of the run and all before it.
    fn errors(&self, place: f64) -> f64 {
        self.errors + self.share * place
    }

    fn risk(&self, place: f64) -> f64 {
        self.errors(place) / (self.covered + place)
    }
}

fn steps(ties: &[Ties]) -> impl Iterator<Item = Step> {
    let (mut covered, mut errors) = (0, 0);
    ties.iter().map(move |run| {
        let step = Step {
            covered: covered as f64,
            errors: errors as f64,
            count: run.len(),
            share: run.positives as f64 / run.len() as f64,
        };
        covered += run.len();
        errors += run.positives;
        step
    })
}

fn frames(ties: &[Ties]) -> u64 {
    ties.iter().map(Ties::len).sum()
}

/// Area under the risk-coverage curve, in 0..=1, lower is better: the mean over `k = 1..=n` of the
/// error rate among the `k` frames with the lowest scores (Geifman and El-Yaniv 2017; Geifman et
/// al. 2019). NaN without frames.
#[must_use]
pub fn aurc(ties: &[Ties]) -> f64 {
    let mut area = 0.0;
    for step in steps(ties) {
        for place in 1..=step.count {
            area += step.risk(place as f64);
        }
    }
    area / frames(ties) as f64
}

/// [`aurc`] above that of a score that puts every wrong answer last, at least 0 (E-AURC: Geifman et
/// al. 2019, equation 2). NaN without frames.
#[must_use]
pub fn excess_aurc(ties: &[Ties]) -> f64 {
    let count = frames(ties);
    let errors: u64 = ties.iter().map(|run| run.positives).sum();
    let best: f64 = (1..=errors)
        .map(|wrong| wrong as f64 / (count - errors + wrong) as f64)
        .sum();
    let excess = aurc(ties) - best / count as f64;
    // Only rounding can put it below.
    if excess < 0.0 { 0.0 } else { excess }
}

/// The risk when a share `coverage` of the frames is answered, rounded up to whole frames, in
/// 0..=1. NaN without frames.
#[must_use]
pub fn risk_at_coverage(ties: &[Ties], coverage: f64) -> f64 {
    let wanted = (coverage * frames(ties) as f64 - ROUNDING).ceil().max(1.0);
    steps(ties)
        .find(|step| step.covered + step.count as f64 >= wanted)
        .map_or(f64::NAN, |step| step.risk(wanted - step.covered))
}

/// The largest share of frames that can be answered at a risk of at most `risk`, in 0..=1; 0 if
/// there is none. NaN without frames.
#[must_use]
pub fn coverage_at_risk(ties: &[Ties], risk: f64) -> f64 {
    let mut best = 0.0;
    for step in steps(ties) {
        let spare = risk * step.covered - step.errors + ROUNDING;
        let count = step.count as f64;
        // Each frame of the run adds `share` errors and allows `risk` more.
        let excess = step.share - risk;
        if excess * count <= spare {
            best = step.covered + count;
        } else if spare >= 0.0 {
            best = step.covered + (spare / excess).floor();
        }
    }
    best / frames(ties) as f64
}

/// The risk-coverage curve: coverage and risk after each frame, the surest first, with one point
/// for frames of equal score. Coverage rises to 1; the last risk is the error rate.
///
/// # Panics
/// If the slices differ in length.
#[must_use]
pub fn risk_coverage(scores: &[f64], wrong: &[bool]) -> Vec<(f64, f64)> {
    let ties = Ranking::new(scores, wrong).all();
    let total = frames(&ties) as f64;
    let point = |step: Step| {
        let count = step.count as f64;
        ((step.covered + count) / total, step.risk(count))
    };
    steps(&ties).map(point).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranked(frames: &[(f64, bool)]) -> Vec<Ties> {
        let (scores, wrong): (Vec<f64>, Vec<bool>) = frames.iter().copied().unzip();
        Ranking::new(&scores, &wrong).all()
    }

    #[test]
    fn small_cases_are_those_computed_by_hand() {
        // Risks 0/1, 1/2, 1/3, 2/4 in order of the scores.
        let scores = [0.9, 0.1, 0.4, 0.7];
        let wrong = [true, false, true, false];
        let ties = Ranking::new(&scores, &wrong).all();
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-15, "{a} and {b}");
        close(aurc(&ties), (0.0 + 0.5 + 1.0 / 3.0 + 0.5) / 4.0);
        // At best 0, 0, 1/3, 2/4.
        close(excess_aurc(&ties), 0.5 / 4.0);
        close(risk_at_coverage(&ties, 0.5), 0.5);
        close(risk_at_coverage(&ties, 0.51), 1.0 / 3.0);
        close(risk_at_coverage(&ties, 0.0), 0.0);
        close(coverage_at_risk(&ties, 0.0), 0.25);
        close(coverage_at_risk(&ties, 0.4), 0.75);
        close(coverage_at_risk(&ties, 0.5), 1.0);
        assert_eq!(
            risk_coverage(&scores, &wrong),
            [(0.25, 0.0), (0.5, 0.5), (0.75, 1.0 / 3.0), (1.0, 0.5)]
        );
        // All equal: at any coverage the risk to expect is the error rate.
        let equal = Ranking::new(&[1.0; 4], &wrong).all();
        close(aurc(&equal), 0.5);
        close(risk_at_coverage(&equal, 0.3), 0.5);
        close(coverage_at_risk(&equal, 0.49), 0.0);
        assert!(aurc(&[]).is_nan() && risk_at_coverage(&[], 0.5).is_nan());
        assert!(coverage_at_risk(&[], 0.5).is_nan() && excess_aurc(&[]).is_nan());
        // One error in a hundred is a risk of 0.01, of which no binary number is.
        let mut hundred = vec![(0.0, false); 99];
        hundred.push((1.0, true));
        close(coverage_at_risk(&ranked(&hundred), 0.01), 1.0);
    }

    /// The mean over every order of frames with equal scores, by trying them all.
    fn aurc_over_all_orders(frames: &mut Vec<(u8, bool)>, taken: usize) -> (f64, u64) {
        if taken == frames.len() {
            let sorted = frames.windows(2).all(|pair| pair[0].0 <= pair[1].0);
            let mut errors = 0.0;
            let risks = frames.iter().enumerate().map(|(index, (_, wrong))| {
                errors += f64::from(u8::from(*wrong));
                errors / (index + 1) as f64
            });
            let mean = risks.sum::<f64>() / frames.len() as f64;
            return if sorted { (mean, 1) } else { (0.0, 0) };
        }
        let (mut sum, mut orders) = (0.0, 0);
        for next in taken..frames.len() {
            frames.swap(taken, next);
            let (more, count) = aurc_over_all_orders(frames, taken + 1);
            (sum, orders) = (sum + more, orders + count);
            frames.swap(taken, next);
        }
        (sum, orders)
    }

    /// The expected risk at each number of frames, from the definition.
    fn risks(ties: &[Ties]) -> Vec<f64> {
        let (mut all, mut covered, mut errors) = (Vec::new(), 0.0, 0.0);
        for run in ties {
            for _ in 0..run.len() {
                errors += run.positives as f64 / run.len() as f64;
                covered += 1.0;
                all.push(errors / covered);
            }
        }
        all
    }

    proptest! {
        #[test]
        fn aurc_is_the_mean_risk_over_all_orders(
            mut frames in prop::collection::vec((0..4u8, any::<bool>()), 1..7),
        ) {
            let ties = ranked(&frames.iter().map(|f| (f64::from(f.0), f.1)).collect::<Vec<_>>());
            let (sum, orders) = aurc_over_all_orders(&mut frames, 0);
            prop_assert!((aurc(&ties) - sum / orders as f64).abs() < 1e-12);
        }

        #[test]
        fn risk_and_coverage_follow_their_definitions(
            frames in prop::collection::vec((0..6u8, prop::bool::weighted(0.2)), 1..80),
            level in 0.0..1.0f64,
        ) {
            let ties = ranked(&frames.iter().map(|f| (f64::from(f.0), f.1)).collect::<Vec<_>>());
            let risks = risks(&ties);
            let n = risks.len();
            let area = aurc(&ties);
            prop_assert!((area - risks.iter().sum::<f64>() / n as f64).abs() < 1e-12);
            prop_assert!(excess_aurc(&ties) <= area);
            let wanted = ((level * n as f64).ceil() as usize).max(1);
            prop_assert!((risk_at_coverage(&ties, level) - risks[wanted - 1]).abs() < 1e-9);
            let most = (1..=n).filter(|k| risks[k - 1] <= level).max().unwrap_or(0);
            prop_assert!((coverage_at_risk(&ties, level) - most as f64 / n as f64).abs() < 1e-12);
        }

        #[test]
        fn aurc_stays_in_its_range_and_takes_frames_in_any_order(
            frames in prop::collection::vec((-3.0..3.0, any::<bool>()), 1..100),
        ) {
            let area = aurc(&ranked(&frames));
            prop_assert!((0.0..=1.0 + 1e-12).contains(&area));
            let reversed: Vec<_> = frames.iter().rev().copied().collect();
            prop_assert!((aurc(&ranked(&reversed)) - area).abs() < 1e-12);
            // A score that knows has the least area.
            let knowing: Vec<_> = frames.iter().map(|f| (f64::from(u8::from(f.1)), f.1)).collect();
            let least = excess_aurc(&ranked(&knowing));
            prop_assert!(least < 1e-12, "{least}");
        }
    }
}
