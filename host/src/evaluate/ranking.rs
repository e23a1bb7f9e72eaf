//! How well a score of uncertainty tells two kinds of frames apart: wrong answers (positives) from
//! right ones, or frames out of distribution (positives) from known ones. A higher score means less
//! sure.
//!
//! Everything here depends on the order of the scores alone, so it is worked out from a
//! [`Ranking`], sorted once, and from how often each frame counts: once, or in a bootstrap resample
//! any number of times.

/// Share of the known frames that [`fpr95`] lets through, at least.
const KEPT: f64 = 0.95;

/// Frames of equal score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ties {
    /// Frames that answer right, or are known.
    pub negatives: u64,
    /// Frames that answer wrong, or are out of distribution.
    pub positives: u64,
}

impl Ties {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.negatives + self.positives
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Frames in the order of a score, the surest first.
#[derive(Debug, Clone)]
pub struct Ranking {
    /// Of each frame twice its index, and one more if it is a positive.
    frames: Vec<u32>,
    /// Where each run of equal scores ends in `frames`.
    ends: Vec<u32>,
}

impl Ranking {
    /// Sorts frames by their scores. O(n log n).
    ///
    /// # Panics
    /// If the slices differ in length, or hold 2³¹ frames or more.
    #[must_use]
    pub fn new(scores: &[f64], positive: &[bool]) -> Self {
        assert_eq!(scores.len(), positive.len(), "one kind per score");
        let count = u32::try_from(scores.len()).expect("frames are numbered in 32 bits");
        assert!(count < 1 << 31, "frames are numbered in 31 bits");
        let mut order: Vec<u32> = (0..count).collect();
        let score = |index: u32| scores[index as usize];
        // 0 and −0 are equal; the sum with 0 makes them the same bits.
        order.sort_unstable_by(|&a, &b| (score(a) + 0.0).total_cmp(&(score(b) + 0.0)));
        let mut ends = Vec::new();
        let mut end = 0;
        for ties in order.chunk_by(|&a, &b| score(a) == score(b)) {
            end += ties.len() as u32;
            ends.push(end);
        }
        for frame in &mut order {
            *frame = 2 * *frame + u32::from(positive[*frame as usize]);
        }
        Self {
            frames: order,
            ends,
        }
    }

    /// Replaces `ties` by the runs of equal scores, lowest first, when frame `i` counts `counts[i]`
    /// times; runs that count for nothing are left out.
    ///
    /// # Panics
    /// If there is not a count for each frame.
    pub fn ties(&self, counts: &[u32], ties: &mut Vec<Ties>) {
        assert!(counts.len() >= self.frames.len(), "one count per frame");
        ties.clear();
        let mut start = 0;
        for &end in &self.ends {
            // Positives in the upper half.
            let mut both = 0u64;
            for &frame in &self.frames[start..end as usize] {
                both += u64::from(counts[(frame >> 1) as usize]) << (32 * (frame & 1));
            }
            if both != 0 {
                ties.push(Ties {
                    negatives: both & u64::from(u32::MAX),
                    positives: both >> 32,
                });
            }
            start = end as usize;
        }
    }

    /// The runs of equal scores when every frame counts once.
    #[must_use]
    pub fn all(&self) -> Vec<Ties> {
        let mut ties = Vec::with_capacity(self.ends.len());
        self.ties(&vec![1; self.frames.len()], &mut ties);
        ties
    }
}

/// The runs of equal scores of two kinds of frames, lowest first.
#[must_use]
pub fn runs(negatives: &[f64], positives: &[f64]) -> Vec<Ties> {
    let kind = [vec![false; negatives.len()], vec![true; positives.len()]].concat();
    Ranking::new(&[negatives, positives].concat(), &kind).all()
}

/// Negatives and positives in all.
fn totals(ties: &[Ties]) -> (u64, u64) {
    ties.iter().fold((0, 0), |(negatives, positives), run| {
        (negatives + run.negatives, positives + run.positives)
    })
}

/// Area under the ROC curve, in 0..=1: the probability that a positive has a higher score than a
/// negative, ties counted as ½ (Hanley and McNeil 1982; Fawcett 2006). ½ is chance. `None` if one
/// kind has no frame.
#[must_use]
pub fn auroc(ties: &[Ties]) -> Option<f64> {
    // Pairs won by a positive, twice, so that half a pair is a whole number.
    let (mut below, mut won) = (0, 0u64);
    for run in ties {
        won += run.positives * (2 * below + run.negatives);
        below += run.negatives;
    }
    let (negatives, positives) = totals(ties);
    (negatives > 0 && positives > 0)
        .then(|| won as f64 / (2.0 * negatives as f64 * positives as f64))
}

/// Area under the precision-recall curve, in 0..=1, as the average precision
/// `Σ_k (R_k − R_{k−1}) P_k` over the distinct scores in descending order, where `P_k` and `R_k` are
/// the precision and recall for the positives when all frames of that score or a higher one are
/// taken as positive (Davis and Goadrich 2006; Boyd et al. 2013; without interpolation). Chance is
/// the share of positives. `None` if one kind has no frame.
#[must_use]
pub fn aupr(ties: &[Ties]) -> Option<f64> {
    let (negatives, positives) = totals(ties);
    if negatives == 0 || positives == 0 {
        return None;
    }
    let (mut taken, mut found, mut area) = (0, 0, 0.0);
    for run in ties.iter().rev() {
        taken += run.len();
        found += run.positives;
        if run.positives > 0 {
            area += run.positives as f64 * (found as f64 / taken as f64);
        }
    }
    Some(area / positives as f64)
}

/// Share of the positives that a limit on the score lets through when it is the lowest that lets
/// through 95 % of the negatives, in 0..=1: the false positive rate at a true positive rate of 95 %,
/// what the literature calls positive being what is to be let through (Liang et al. 2018; Hendrycks
/// and Gimpel 2017). `None` if one kind has no frame.
#[must_use]
pub fn fpr95(ties: &[Ties]) -> Option<f64> {
    let (negatives, positives) = totals(ties);
    if negatives == 0 || positives == 0 {
        return None;
    }
    let needed = (KEPT * negatives as f64).ceil() as u64;
    let (mut kept, mut passed) = (0, 0);
    for run in ties {
        kept += run.negatives;
        passed += run.positives;
        if kept >= needed {
            break;
        }
    }
    Some(passed as f64 / positives as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_cases_are_those_computed_by_hand() {
        let area = |negatives: &[f64], positives: &[f64]| auroc(&runs(negatives, positives));
        assert_eq!(area(&[1.0, 2.0], &[3.0, 4.0]), Some(1.0));
        assert_eq!(area(&[3.0, 4.0], &[1.0, 2.0]), Some(0.0));
        // Pairs of (negative, positive): 1<2, 1<1 half, 3>2, 3>1.
        assert_eq!(area(&[1.0, 3.0], &[2.0, 1.0]), Some(1.5 / 4.0));
        assert_eq!(area(&[0.0, -0.0], &[0.0]), Some(0.5));
        assert_eq!((area(&[], &[1.0]), area(&[1.0], &[])), (None, None));

        let known: Vec<f64> = (1..=100).map(f64::from).collect();
        let rate = |known: &[f64], foreign: &[f64]| fpr95(&runs(known, foreign));
        // The limit is 95: it lets through two of four.
        assert_eq!(rate(&known, &[95.0, 95.1, 0.0, 200.0]), Some(0.5));
        assert_eq!((rate(&[], &[1.0]), rate(&[1.0], &[])), (None, None));
        assert_eq!(rate(&[1.0], &[1.0, 2.0]), Some(0.5));

        // The example of scikit-learn's average_precision_score.
        let precision = |negatives: &[f64], positives: &[f64]| aupr(&runs(negatives, positives));
        let found = precision(&[0.1, 0.4], &[0.35, 0.8]).expect("both kinds");
        assert!((found - 0.833_333_333_333_333_3).abs() < 1e-15, "{found}");
        // All scores equal: the share of positives.
        assert_eq!(precision(&[1.0; 3], &[1.0]), Some(0.25));
        assert_eq!(
            (precision(&[], &[1.0]), precision(&[1.0], &[])),
            (None, None)
        );
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
            let area = auroc(&runs(&a, &b)).expect("both have frames");
            prop_assert!((area - won / (a.len() * b.len()) as f64).abs() < 1e-12);
            // Exchanged, the pairs won are the pairs lost.
            prop_assert!((auroc(&runs(&b, &a)).expect("frames") - (1.0 - area)).abs() < 1e-12);
            // Only the order counts.
            let stretch = |values: &[f64]| values.iter().map(|v| (3.0 * v).exp()).collect::<Vec<_>>();
            prop_assert_eq!(auroc(&runs(&stretch(&a), &stretch(&b))), Some(area));
        }

        #[test]
        fn aupr_is_the_precision_over_the_recall(a in scores(60), b in scores(60)) {
            let at_least = |values: &[f64], limit: f64| {
                values.iter().filter(|v| **v >= limit).count() as f64
            };
            let (mut area, mut recall) = (0.0, 0.0);
            for limit in (0..8).rev().map(f64::from) {
                let (found, others) = (at_least(&b, limit), at_least(&a, limit));
                let now = found / b.len() as f64;
                if now > recall {
                    area += (now - recall) * found / (found + others);
                }
                recall = now;
            }
            prop_assert!((aupr(&runs(&a, &b)).expect("both") - area).abs() < 1e-12);
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
            prop_assert_eq!(fpr95(&runs(&known, &foreign)), Some(passed(&foreign, lowest)));
        }

        #[test]
        fn a_frame_that_counts_twice_is_two_frames(
            frames in prop::collection::vec((0..8u8, any::<bool>(), 0..4u32), 0..60),
        ) {
            let column = |frames: &[(u8, bool, u32)]| -> (Vec<f64>, Vec<bool>) {
                frames.iter().map(|f| (f64::from(f.0), f.1)).unzip()
            };
            let (scores, kinds) = column(&frames);
            let counts: Vec<u32> = frames.iter().map(|frame| frame.2).collect();
            let mut counted = Vec::new();
            Ranking::new(&scores, &kinds).ties(&counts, &mut counted);
            let repeated: Vec<_> = frames
                .iter()
                .flat_map(|frame| std::iter::repeat_n(*frame, frame.2 as usize))
                .collect();
            let (scores, kinds) = column(&repeated);
            prop_assert_eq!(counted, Ranking::new(&scores, &kinds).all());
        }
    }
}
