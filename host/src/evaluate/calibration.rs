//! How well predicted probabilities fit what is true.

use serde::Serialize;
use shared::uncertainty::log_softmax;

/// Bins of reliability diagrams and calibration errors, as in Guo et al. 2017.
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

/// The bin of a confidence: of `(m/M, (m+1)/M]` for `m` in `0..M`, M = [`BINS`], the one it is in.
fn bin_of(confidence: f64) -> usize {
    ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1
}

/// One bin of a reliability diagram.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bin {
    /// Confidences are above this, but for the first bin.
    pub low: f64,
    /// Confidences are at most this.
    pub high: f64,
    /// Predictions in it.
    pub count: usize,
    /// Their mean confidence; NaN if there is none.
    pub confidence: f64,
    /// The share of right ones; NaN if there is none.
    pub accuracy: f64,
}

/// The reliability diagram of predictions, in [`BINS`] bins of equal width, lowest confidences
/// first (DeGroot and Fienberg 1983; Niculescu-Mizil and Caruana 2005).
///
/// # Panics
/// If the slices differ in length.
#[must_use]
pub fn reliability(confidence: &[f64], correct: &[bool]) -> Vec<Bin> {
    assert_eq!(confidence.len(), correct.len(), "one answer per confidence");
    let mut sums = [(0, 0.0, 0); BINS];
    for (&confidence, &correct) in confidence.iter().zip(correct) {
        let (count, sum, right) = &mut sums[bin_of(confidence)];
        *count += 1;
        *sum += confidence;
        *right += usize::from(correct);
    }
    let bin = |(index, (count, sum, right)): (usize, (usize, f64, usize))| Bin {
        low: index as f64 / BINS as f64,
        high: (index + 1) as f64 / BINS as f64,
        count,
        confidence: sum / count as f64,
        accuracy: right as f64 / count as f64,
    };
    sums.into_iter().enumerate().map(bin).collect()
}

/// Confidences and whether the predictions were right, ready for calibration errors of any
/// resample of them.
#[derive(Debug, Clone)]
pub struct Calibration {
    confidence: Vec<f64>,
    /// Of each prediction its bin and `[correct] − confidence`.
    gaps: Vec<(u8, f64)>,
    /// Indices, in the order of the confidences.
    order: Vec<u32>,
}

impl Calibration {
    /// O(n log n).
    ///
    /// # Panics
    /// If the slices differ in length, or hold 2³² predictions or more.
    #[must_use]
    pub fn new(confidence: &[f64], correct: &[bool]) -> Self {
        assert_eq!(confidence.len(), correct.len(), "one answer per confidence");
        let gap = |(&confidence, &correct): (&f64, &bool)| {
            let truth = f64::from(u8::from(correct));
            (bin_of(confidence) as u8, truth - confidence)
        };
        let count = u32::try_from(confidence.len()).expect("frames are numbered in 32 bits");
        let mut order: Vec<u32> = (0..count).collect();
        order.sort_by(|&a, &b| confidence[a as usize].total_cmp(&confidence[b as usize]));
        Self {
            gaps: confidence.iter().zip(correct).map(gap).collect(),
            confidence: confidence.to_vec(),
            order,
        }
    }

    /// Expected calibration error when prediction `i` counts `counts[i]` times, in 0..=1 (Guo et
    /// al. 2017, equation 3): with the predictions in [`BINS`] bins `(m/M, (m+1)/M]` of their
    /// confidence, `Σ_m n_m/n · |accuracy_m − confidence_m|`. NaN without predictions.
    #[must_use]
    pub fn expected_error(&self, counts: &[u32]) -> f64 {
        // Of each bin the sum of the gaps: n_m · (accuracy_m − confidence_m).
        let mut sums = [0.0; BINS];
        for ((bin, gap), &count) in self.gaps.iter().zip(counts) {
            sums[usize::from(*bin)] += gap * f64::from(count);
        }
        sums.iter().map(|sum| sum.abs()).sum::<f64>() / self.total(counts) as f64
    }

    /// The same in [`BINS`] bins of equal mass (Nguyen and O'Connor 2015, section 4.1; Nixon et al.
    /// 2019), in 0..=1: bin `m` holds the predictions from place `⌊m·n/M⌋` to place `⌊(m+1)·n/M⌋`
    /// in the order of their confidence. Predictions of one confidence that lies on a limit are
    /// shared between the bins as in the mean of their orders. NaN without predictions.
    #[must_use]
    pub fn adaptive_error(&self, counts: &[u32]) -> f64 {
        let total = self.total(counts);
        let limit = |bin: u64| (bin + 1) * total / BINS as u64;
        let (mut bin, mut sum, mut error, mut place) = (0, 0.0, 0.0f64, 0);
        let same = |&a: &u32, &b: &u32| self.confidence[a as usize] == self.confidence[b as usize];
        for ties in self.order.chunk_by(same) {
            let (mut left, mut gap) = (0, 0.0);
            for &index in ties {
                let count = counts[index as usize];
                left += u64::from(count);
                gap += self.gaps[index as usize].1 * f64::from(count);
            }
            let each = gap / left as f64;
            while left > 0 {
                let taken = left.min(limit(bin) - place);
                sum += each * taken as f64;
                place += taken;
                left -= taken;
                if place == limit(bin) {
                    error += f64::abs(sum);
                    sum = 0.0;
                    bin += 1;
                }
            }
        }
        error / total as f64
    }

    fn total(&self, counts: &[u32]) -> u64 {
        let counts = &counts[..self.gaps.len()];
        counts.iter().map(|&count| u64::from(count)).sum()
    }
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
        let ece = Calibration::new(&confidence, &correct).expected_error(&[1; 5]);
        assert!((ece - expected).abs() < 1e-12, "{ece}");
        let none = Calibration::new(&[], &[]);
        assert!(none.expected_error(&[]).is_nan() && none.adaptive_error(&[]).is_nan());
    }

    #[test]
    fn the_adaptive_error_of_thirty_predictions_is_that_computed_by_hand() {
        // Fifteen bins of two. In each of the first ten 0.5 is right once; the last five share ten
        // predictions of 0.9, of which nine are right.
        let mut confidence: Vec<f64> = (0..20).map(|i| 0.5 + f64::from(i) / 1e9).collect();
        confidence.extend([0.9; 10]);
        let mut correct: Vec<bool> = (0..20).map(|i| i % 2 == 0).collect();
        correct.extend([true, true, false, true, true, true, true, true, true, true]);
        let calibration = Calibration::new(&confidence, &correct);
        let error = calibration.adaptive_error(&[1; 30]);
        assert!(error.abs() < 1e-7, "{error}");
        // With two of the ten wrong, each of the five bins is 0.1 too sure.
        let mut counts = [1; 30];
        counts[22] = 2;
        counts[23] = 0;
        let error = calibration.adaptive_error(&counts);
        assert!((error - 10.0 / 30.0 * 0.1).abs() < 1e-7, "{error}");
    }

    proptest! {
        #[test]
        fn the_calibration_error_follows_its_definition(
            answers in prop::collection::vec((0.0..=1.0, any::<bool>()), 1..200),
        ) {
            let (confidence, correct): (Vec<f64>, Vec<bool>) = answers.iter().copied().unzip();
            let ece = Calibration::new(&confidence, &correct).expected_error(&vec![1; answers.len()]);
            prop_assert!((0.0..=1.0).contains(&ece));
            let bins = reliability(&confidence, &correct);
            let weigh = |bin: &Bin| bin.count as f64 * (bin.accuracy - bin.confidence).abs();
            let filled = bins.iter().filter(|bin| bin.count > 0);
            let from_bins = filled.map(weigh).sum::<f64>() / answers.len() as f64;
            prop_assert!((ece - from_bins).abs() < 1e-12, "{ece} and {from_bins}");

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
        fn the_adaptive_error_follows_its_definition(
            answers in prop::collection::vec((0..40u8, any::<bool>(), 0..3u32), 1..100),
        ) {
            let confidence: Vec<f64> = answers.iter().map(|a| f64::from(a.0) / 40.0).collect();
            let correct: Vec<bool> = answers.iter().map(|a| a.1).collect();
            let counts: Vec<u32> = answers.iter().map(|a| a.2).collect();
            let calibration = Calibration::new(&confidence, &correct);
            // One place per prediction, in order, each with the mean gap of its confidence.
            let mut places = Vec::new();
            for level in 0..40u8 {
                let equal = || answers.iter().filter(|a| a.0 == level);
                let count: u32 = equal().map(|a| a.2).sum();
                let right: u32 = equal().filter(|a| a.1).map(|a| a.2).sum();
                let gap = f64::from(right) / f64::from(count) - f64::from(level) / 40.0;
                places.extend(std::iter::repeat_n(gap, count as usize));
            }
            let n = places.len();
            let bins = (0..BINS).map(|m| &places[m * n / BINS..(m + 1) * n / BINS]);
            let expected = bins.map(|bin| bin.iter().sum::<f64>().abs()).sum::<f64>() / n as f64;
            let error = calibration.adaptive_error(&counts);
            if n == 0 {
                prop_assert!(error.is_nan());
            } else {
                prop_assert!((error - expected).abs() < 1e-12, "{error} and {expected}");
                prop_assert!((0.0..=1.0).contains(&error));
            }
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
