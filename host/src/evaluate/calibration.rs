//! How well predicted probabilities fit what is true.

use shared::uncertainty::log_softmax;

/// Bins of [`expected_calibration_error`], as in Guo et al. 2017.
pub const BINS: usize = 15;

/// Negative log-likelihood `−ln p_label` of one prediction, nats, at least 0. A probability that has
/// underflowed to 0 counts as the smallest normal number, so that one frame leaves a mean finite.
///
/// # Panics
/// If `label` is no index of `probabilities`.
#[must_use]
pub fn negative_log_likelihood(probabilities: &[f64], label: usize) -> f64 {
    // A mean of probabilities may be above 1 by rounding.
    -probabilities[label].clamp(f64::MIN_POSITIVE, 1.0).ln()
}

/// Negative log-likelihood of one prediction given by raw outputs, `−ln softmax(logits)_label`,
/// nats, at least 0.
///
/// # Panics
/// If `label` is no index of `logits`.
#[must_use]
pub fn negative_log_likelihood_of_logits(logits: &[f64], label: usize) -> f64 {
    let mut scores = vec![0.0; logits.len()];
    log_softmax(logits, &mut scores);
    -scores[label]
}

/// Brier score of one prediction over all classes, `Σ_c (p_c − [c = label])²`, in 0..=2 (Brier
/// 1950).
///
/// # Panics
/// If `label` is no index of `probabilities`.
#[must_use]
pub fn brier(probabilities: &[f64], label: usize) -> f64 {
    assert!(label < probabilities.len(), "label {label} is no class");
    let mut sum = 0.0;
    for (class, p) in probabilities.iter().enumerate() {
        let truth = if class == label { 1.0 } else { 0.0 };
        sum += (p - truth) * (p - truth);
    }
    sum
}

/// Expected calibration error, in 0..=1 (Guo et al. 2017, equation 3): with the predictions in
/// [`BINS`] bins `(m/M, (m+1)/M]` of their confidence, `Σ_m n_m/n · |accuracy_m − confidence_m|`.
/// NaN without predictions.
///
/// # Panics
/// If the slices differ in length.
#[must_use]
pub fn expected_calibration_error(confidence: &[f64], correct: &[bool]) -> f64 {
    assert_eq!(confidence.len(), correct.len(), "one answer per confidence");
    // Of each bin the sum of (correct − confidence): n_m · (accuracy_m − confidence_m).
    let mut gaps = [0.0; BINS];
    for (&confidence, &correct) in confidence.iter().zip(correct) {
        let bin = (confidence * BINS as f64).ceil() as usize;
        gaps[bin.clamp(1, BINS) - 1] += f64::from(u8::from(correct)) - confidence;
    }
    gaps.iter().map(|gap| gap.abs()).sum::<f64>() / confidence.len() as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn scores_of_one_prediction_are_those_computed_by_hand() {
        let p = [0.7, 0.2, 0.1];
        assert!((negative_log_likelihood(&p, 1) - 1.609_437_912_434_1).abs() < 1e-12);
        assert!((brier(&p, 0) - 0.14).abs() < 1e-12);
        assert!((brier(&p, 2) - (0.49 + 0.04 + 0.81)).abs() < 1e-12);
        assert_eq!((brier(&[1.0, 0.0], 0), brier(&[1.0, 0.0], 1)), (0.0, 2.0));
        assert!((negative_log_likelihood(&[1.0, 0.0], 1) - 708.396_418_532_264).abs() < 1e-9);
        // ln(e² + 1) − 2.
        let nll = negative_log_likelihood_of_logits(&[2.0, 0.0], 0);
        assert!((nll - 0.126_928_011_042_972_5).abs() < 1e-12, "{nll}");
    }

    #[test]
    fn the_calibration_error_of_three_bins_is_that_computed_by_hand() {
        // Bin 14, (14/15, 1]: confidences 0.95 and 1, one right: |1/2 − 0.975| · 2/5.
        // Bin 8, (8/15, 9/15]: 0.6 twice, both right: |1 − 0.6| · 2/5. Its upper end is inside.
        // Bin 5, (5/15, 6/15]: 0.35, wrong: 0.35 · 1/5.
        let confidence = [0.95, 0.6, 0.35, 1.0, 0.6];
        let correct = [false, true, false, true, true];
        let expected = 0.475 * 0.4 + 0.4 * 0.4 + 0.35 * 0.2;
        let ece = expected_calibration_error(&confidence, &correct);
        assert!((ece - expected).abs() < 1e-12, "{ece}");
        assert!(expected_calibration_error(&[], &[]).is_nan());
    }

    proptest! {
        #[test]
        fn the_calibration_error_follows_its_definition(
            answers in prop::collection::vec((0.0..=1.0, any::<bool>()), 1..200),
        ) {
            let (confidence, correct): (Vec<f64>, Vec<bool>) = answers.iter().copied().unzip();
            let ece = expected_calibration_error(&confidence, &correct);
            prop_assert!((0.0..=1.0).contains(&ece));

            let mut expected = 0.0;
            for bin in 0..BINS {
                let inside: Vec<_> = answers
                    .iter()
                    .filter(|(c, _)| {
                        let place = c * BINS as f64;
                        (place > bin as f64 || bin == 0) && place <= (bin + 1) as f64
                    })
                    .collect();
                if inside.is_empty() {
                    continue;
                }
                let n = inside.len() as f64;
                let accuracy = inside.iter().filter(|(_, right)| *right).count() as f64 / n;
                let mean = inside.iter().map(|(c, _)| c).sum::<f64>() / n;
                expected += n / answers.len() as f64 * (accuracy - mean).abs();
            }
            prop_assert!((ece - expected).abs() < 1e-12, "{ece} and {expected}");
        }

        #[test]
        fn scores_of_one_prediction_stay_in_their_ranges(
            logits in prop::collection::vec(-800.0..800.0, 2..12),
            label in any::<prop::sample::Index>(),
        ) {
            let label = label.index(logits.len());
            let mut p = vec![0.0; logits.len()];
            log_softmax(&logits, &mut p);
            for p in &mut p {
                *p = p.exp();
            }
            prop_assert!((0.0..=2.0 + 1e-12).contains(&brier(&p, label)));
            let (a, b) = (
                negative_log_likelihood(&p, label),
                negative_log_likelihood_of_logits(&logits, label),
            );
            prop_assert!(a >= 0.0 && b >= 0.0);
            // The two are one number wherever the probability has not underflowed.
            prop_assert!(b > 700.0 || (a - b).abs() <= 1e-9 * b.max(1.0), "{a} and {b}");
        }
    }
}
