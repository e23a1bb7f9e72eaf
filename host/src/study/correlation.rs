//! Rank correlation.

use serde::{Deserialize, Serialize};

use crate::evaluate::Scores;

/// Spearman's rank correlation, in −1..=1: Pearson's correlation of the ranks, where equal values
/// share the mean of their ranks (Spearman 1904; Kendall and Gibbons 1990, section 3.8). 1 if one
/// value never falls as the other rises. `None` unless both vary. O(n log n).
///
/// # Panics
/// If the slices differ in length.
#[must_use]
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    assert_eq!(a.len(), b.len(), "values come in pairs");
    let (a, b) = (ranks(a), ranks(b));
    // The mean of the ranks 1..=n, ties or not.
    let mean = f64::midpoint(a.len() as f64, 1.0);
    let products = |a: &[f64], b: &[f64]| -> f64 {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| (a - mean) * (b - mean)).sum()
    };
    let spread = products(&a, &a) * products(&b, &b);
    (spread > 0.0).then(|| (products(&a, &b) / spread.sqrt()).clamp(-1.0, 1.0))
}

/// The rank of each value, from 1; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut below = 0;
    for ties in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = below as f64 + f64::midpoint(ties.len() as f64, 1.0);
        for &index in ties {
            ranks[index] = rank;
        }
        below += ties.len();
    }
    ranks
}

/// Spearman's rank correlation of something with each of the three uncertainties; see [`spearman`].
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Correlations {
    /// With total uncertainty.
    pub predictive_entropy: Option<f64>,
    /// With aleatoric uncertainty.
    pub expected_entropy: Option<f64>,
    /// With epistemic uncertainty.
    pub mutual_information: Option<f64>,
}

impl Correlations {
    /// Of `values` with the scores of the frame at the same place.
    ///
    /// # Panics
    /// If the slices differ in length.
    #[must_use]
    pub fn with_scores(values: &[f64], scores: &[Scores]) -> Self {
        let with = |score: fn(&Scores) -> f64| {
            let scores: Vec<f64> = scores.iter().map(score).collect();
            spearman(values, &scores)
        };
        Self {
            predictive_entropy: with(Scores::predictive_entropy),
            expected_entropy: with(Scores::expected_entropy),
            mutual_information: with(Scores::mutual_information),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn correlations_are_those_of_scipy() {
        // scipy.stats.spearmanr(a, b).statistic of SciPy 1.17; the middle two have ties.
        let cases: [(&[f64], &[f64], f64); 4] = [
            (
                &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
                &[0.9, 0.7, 0.8, 0.3, 0.2, 0.1],
                -0.942_857_142_857_143,
            ),
            (
                &[1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 3.0],
                &[0.5, 0.1, 0.5, 0.9, 0.9, 0.2, 0.7],
                0.413_767_692_919_231_9,
            ),
            (
                &[0.0, 0.0, 0.0, 1.0],
                &[1.0, 2.0, 3.0, 3.0],
                0.544_331_053_951_817_4,
            ),
            (
                &[
                    106.0, 86.0, 100.0, 101.0, 99.0, 103.0, 97.0, 113.0, 112.0, 110.0,
                ],
                &[7.0, 0.0, 27.0, 50.0, 28.0, 29.0, 20.0, 12.0, 6.0, 17.0],
                -0.175_757_575_757_575_75,
            ),
        ];
        for (a, b, expected) in cases {
            let found = spearman(a, b).expect("both vary");
            assert!((found - expected).abs() < 1e-12, "{found} and {expected}");
        }
        assert_eq!(spearman(&[1.0, 2.0], &[3.0, 3.0]), None);
        assert_eq!(spearman(&[1.0], &[3.0]), None);
        assert_eq!(spearman(&[], &[]), None);
    }

    proptest! {
        #[test]
        fn only_the_order_matters(pairs in prop::collection::vec((0..9i32, 0..9i32), 2..60)) {
            let column = |of: &dyn Fn(&(i32, i32)) -> f64| pairs.iter().map(of).collect::<Vec<_>>();
            let (a, b) = (column(&|p| f64::from(p.0)), column(&|p| f64::from(p.1)));
            let rho = spearman(&a, &b);
            prop_assert!(rho.is_none_or(|rho| (-1.0..=1.0).contains(&rho)));
            prop_assert_eq!(rho, spearman(&b, &a));
            prop_assert_eq!(rho, spearman(&column(&|p| f64::from(p.0).exp()), &b));
            let falling = spearman(&a, &column(&|p| -f64::from(p.1)));
            prop_assert_eq!(rho.map_or(0.0, |rho| rho + falling.unwrap_or(f64::NAN)), 0.0);
            if rho.is_some() {
                prop_assert!((spearman(&a, &a).unwrap_or(0.0) - 1.0).abs() < 1e-12);
            }
        }
    }
}
