//! How well a score of uncertainty tells two kinds of frames apart. A higher score means less sure.

/// Share of the known frames that [`fpr95`] lets through, at least.
const KEPT: f64 = 0.95;

/// Area under the ROC curve, in 0..=1: the probability that a frame of `positives` has a higher
/// score than one of `negatives`, ties counted as ½ (Hanley and McNeil 1982; Fawcett 2006). ½ is
/// chance. `None` if one kind has no frame. O(n log n).
#[must_use]
pub fn auroc(negatives: &[f64], positives: &[f64]) -> Option<f64> {
    if negatives.is_empty() || positives.is_empty() {
        return None;
    }
    let mut scores: Vec<(f64, bool)> = negatives
        .iter()
        .map(|&score| (score, false))
        .chain(positives.iter().map(|&score| (score, true)))
        .collect();
    scores.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));

    // Pairs won by a positive, twice, so that half a pair is a whole number.
    let (mut below, mut won) = (0u64, 0u64);
    for ties in scores.chunk_by(|a, b| a.0 == b.0) {
        let tied = ties.iter().filter(|(_, positive)| *positive).count() as u64;
        let others = ties.len() as u64 - tied;
        won += tied * (2 * below + others);
        below += others;
    }
    Some(won as f64 / (2.0 * negatives.len() as f64 * positives.len() as f64))
}

/// Share of the foreign frames that a limit on the score lets through when it is the lowest that
/// lets through 95 % of the known frames, in 0..=1: the false positive rate at a true positive rate
/// of 95 %, known frames being the positives (Liang et al. 2018). `None` if one kind has no frame.
/// O(n log n).
#[must_use]
pub fn fpr95(known: &[f64], foreign: &[f64]) -> Option<f64> {
    let mut known = known.to_vec();
    known.sort_unstable_by(f64::total_cmp);
    let needed = (KEPT * known.len() as f64).ceil() as usize;
    let limit = *known.get(needed.checked_sub(1)?)?;
    let passed = foreign.iter().filter(|&&score| score <= limit).count();
    (!foreign.is_empty()).then(|| passed as f64 / foreign.len() as f64)
}

/// Area under the risk-coverage curve, in 0..=1, lower is better: the mean over `k = 1..=n` of the
/// error rate among the `k` frames with the lowest scores (Geifman and El-Yaniv 2017; Geifman et
/// al. 2019). Frames with equal scores count in the mean of their orders. NaN without frames.
/// O(n log n).
///
/// # Panics
/// If the slices differ in length.
#[must_use]
pub fn aurc(scores: &[f64], wrong: &[bool]) -> f64 {
    assert_eq!(scores.len(), wrong.len(), "one answer per score");
    let mut frames: Vec<(f64, bool)> = scores.iter().copied().zip(wrong.iter().copied()).collect();
    frames.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (mut covered, mut errors, mut area) = (0.0, 0.0, 0.0);
    for ties in frames.chunk_by(|a, b| a.0 == b.0) {
        let more = ties.iter().filter(|(_, wrong)| *wrong).count() as f64;
        let share = more / ties.len() as f64;
        for place in 1..=ties.len() {
            area += (errors + share * place as f64) / (covered + place as f64);
        }
        covered += ties.len() as f64;
        errors += more;
    }
    area / covered
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_cases_are_those_computed_by_hand() {
        assert_eq!(auroc(&[1.0, 2.0], &[3.0, 4.0]), Some(1.0));
        assert_eq!(auroc(&[3.0, 4.0], &[1.0, 2.0]), Some(0.0));
        // Pairs of (negative, positive): 1<2, 1<1 half, 3>2, 3>1.
        assert_eq!(auroc(&[1.0, 3.0], &[2.0, 1.0]), Some(1.5 / 4.0));
        assert_eq!(auroc(&[0.0, -0.0], &[0.0]), Some(0.5));
        assert_eq!((auroc(&[], &[1.0]), auroc(&[1.0], &[])), (None, None));

        let known: Vec<f64> = (1..=100).map(f64::from).collect();
        // The limit is 95: it lets through two of four.
        assert_eq!(fpr95(&known, &[95.0, 95.1, 0.0, 200.0]), Some(0.5));
        assert_eq!((fpr95(&[], &[1.0]), fpr95(&[1.0], &[])), (None, None));
        assert_eq!(fpr95(&[1.0], &[1.0, 2.0]), Some(0.5));

        // Risks 0/1, 1/2, 1/3, 2/4 in order of the scores.
        let wrong = [true, false, true, false];
        let area = aurc(&[0.9, 0.1, 0.4, 0.7], &wrong);
        assert!(
            (area - (0.0 + 0.5 + 1.0 / 3.0 + 0.5) / 4.0).abs() < 1e-15,
            "{area}"
        );
        // All equal: at any coverage the risk to expect is the error rate.
        assert!((aurc(&[1.0; 4], &wrong) - 0.5).abs() < 1e-15);
        assert!(aurc(&[], &[]).is_nan());
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

    /// Few distinct values, so that there are ties.
    fn scores(most: usize) -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec((0..8u8).prop_map(f64::from), 1..most)
    }

    proptest! {
        #[test]
        fn auroc_is_the_share_of_pairs_won(a in scores(60), b in scores(60)) {
            let mut won = 0.0;
            for negative in &a {
                for positive in &b {
                    won += match positive.total_cmp(negative) {
                        std::cmp::Ordering::Greater => 1.0,
                        std::cmp::Ordering::Equal => 0.5,
                        std::cmp::Ordering::Less => 0.0,
                    };
                }
            }
            let area = auroc(&a, &b).expect("both have frames");
            prop_assert!((area - won / (a.len() * b.len()) as f64).abs() < 1e-12);
            // Exchanged, the pairs won are the pairs lost.
            prop_assert!((auroc(&b, &a).expect("frames") - (1.0 - area)).abs() < 1e-12);
            // Only the order counts.
            let stretch = |values: &[f64]| values.iter().map(|v| (3.0 * v).exp()).collect::<Vec<_>>();
            prop_assert_eq!(auroc(&stretch(&a), &stretch(&b)), Some(area));
        }

        #[test]
        fn fpr95_is_that_of_the_lowest_limit_that_keeps_enough(
            known in scores(60),
            foreign in scores(60),
        ) {
            let passed = |values: &[f64], limit: f64| {
                values.iter().filter(|v| **v <= limit).count() as f64 / values.len() as f64
            };
            let lowest = (0..8)
                .map(f64::from)
                .find(|limit| passed(&known, *limit) >= 0.95)
                .expect("7 keeps all");
            prop_assert_eq!(fpr95(&known, &foreign), Some(passed(&foreign, lowest)));
        }

        #[test]
        fn aurc_is_the_mean_risk_over_all_orders(
            mut frames in prop::collection::vec((0..4u8, any::<bool>()), 1..7),
        ) {
            let values: Vec<f64> = frames.iter().map(|frame| f64::from(frame.0)).collect();
            let wrong: Vec<bool> = frames.iter().map(|frame| frame.1).collect();
            let (sum, orders) = aurc_over_all_orders(&mut frames, 0);
            prop_assert!((aurc(&values, &wrong) - sum / orders as f64).abs() < 1e-12);
        }

        #[test]
        fn aurc_stays_in_its_range_and_takes_frames_in_any_order(
            frames in prop::collection::vec((-3.0..3.0, any::<bool>()), 1..100),
        ) {
            let (scores, wrong): (Vec<f64>, Vec<bool>) = frames.iter().copied().unzip();
            let area = aurc(&scores, &wrong);
            prop_assert!((0.0..=1.0 + 1e-12).contains(&area));
            let (scores, wrong): (Vec<f64>, Vec<bool>) = frames.iter().rev().copied().unzip();
            prop_assert!((aurc(&scores, &wrong) - area).abs() < 1e-12);
        }
    }
}
