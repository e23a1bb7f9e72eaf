//! Confidence against accuracy, and risk against coverage.

use serde::Serialize;

use crate::evaluate::{Bin, Judged, reliability, risk_coverage};

/// Points that a curve is drawn with, at most; more cannot be told apart.
const POINTS: usize = 250;

/// The curves of one way of answering the test frames.
#[derive(Debug, Clone, Serialize)]
pub struct Curves {
    /// The reliability diagram.
    pub reliability: Vec<Bin>,
    /// Coverage and risk, frames taken in the order of the entropy of their answer; thinned out.
    pub risk_coverage: Vec<(f64, f64)>,
}

impl Curves {
    /// Those of Monte-Carlo dropout, by predictive entropy.
    #[must_use]
    pub fn monte_carlo(frames: &[Judged]) -> Self {
        Self::new(frames.iter().filter_map(|judged| {
            let answer = judged.answer?;
            let entropy = judged.scores.predictive_entropy();
            Some((judged.confidence, entropy, answer.correct))
        }))
    }

    /// Those of the standard test phase, by the entropy of its one pass; `None` unless every
    /// labelled frame has one.
    #[must_use]
    pub fn standard(frames: &[Judged]) -> Option<Self> {
        let labelled = frames.iter().filter(|judged| judged.answer.is_some());
        let answers = labelled.map(|judged| {
            let standard = judged.standard.as_ref()?;
            Some((
                standard.confidence,
                standard.entropy,
                standard.answer?.correct,
            ))
        });
        Some(Self::new(answers.collect::<Option<Vec<_>>>()?))
    }

    /// Of answers given by their confidence, their entropy, and whether they are right.
    fn new(answers: impl IntoIterator<Item = (f64, f64, bool)>) -> Self {
        let (mut confidence, mut entropy, mut correct) = (Vec::new(), Vec::new(), Vec::new());
        for (p, h, right) in answers {
            confidence.push(p);
            entropy.push(h);
            correct.push(right);
        }
        let wrong: Vec<bool> = correct.iter().map(|right| !right).collect();
        Self {
            reliability: reliability(&confidence, &correct),
            risk_coverage: thinned(&risk_coverage(&entropy, &wrong)),
        }
    }
}

/// The curve with one point in each of [`POINTS`] steps of coverage: the last one there.
fn thinned(curve: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let step = |point: &(f64, f64)| (point.0 * POINTS as f64).ceil() as usize;
    let steps = curve.chunk_by(|a, b| step(a) == step(b));
    steps.filter_map(|points| points.last().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thinned_curve_keeps_its_end_and_its_points() {
        let curve: Vec<_> = (1..=10_000)
            .map(|k| (f64::from(k) / 1e4, f64::from(k)))
            .collect();
        let few = thinned(&curve);
        assert_eq!(few.len(), POINTS);
        assert_eq!(few.last(), curve.last());
        assert!(few.iter().all(|point| curve.contains(point)));
        assert!(few.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(thinned(&curve[..2]), curve[1..2]);
        assert_eq!(thinned(&[]), []);
    }
}
