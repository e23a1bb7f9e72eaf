//! The two things that times are boiled down to: a median, and a power law.

/// The median; the mean of the middle two of an even number. `None` of nothing.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 0 => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
        _ => Some(sorted[middle]),
    }
}

/// The exponent b of y = a·xᵇ through points of positive numbers: the slope of the line of least
/// squares on double-logarithmic paper. `None` of fewer than two different x.
pub(super) fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let count = logs.len() as f64;
    let mean_x = logs.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = logs.iter().map(|(_, y)| y).sum::<f64>() / count;
    let spread: f64 = logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let together: f64 = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    (spread > 0.0)
        .then(|| together / spread)
        .filter(|b| b.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 100.0, 2.0]), Some(3.0));
    }

    #[test]
    fn the_exponent_of_a_power_law_is_found() {
        for b in [-1.0, 0.0, 0.5, 2.0] {
            let points = [1.0, 3.0, 10.0, 1000.0].map(|x: f64| (x, 0.7 * x.powf(b)));
            let found = exponent(&points).expect("four points");
            assert!((found - b).abs() < 1e-12, "{found} for {b}");
        }
        // ln y = 0, 1, 1 at ln x = 0, 1, 2: the slope is 1/2.
        let e = std::f64::consts::E;
        let found = exponent(&[(1.0, 1.0), (e, e), (e * e, e)]).expect("three points");
        assert!((found - 0.5).abs() < 1e-12, "{found}");
    }

    #[test]
    fn one_place_has_no_exponent() {
        assert_eq!(exponent(&[]), None);
        assert_eq!(exponent(&[(2.0, 1.0)]), None);
        assert_eq!(exponent(&[(2.0, 1.0), (2.0, 3.0)]), None);
    }
}
