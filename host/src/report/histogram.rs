//! How scores are spread over kinds of frames.

use serde::Serialize;

use crate::evaluate::Judged;

/// Bins of every histogram.
const BINS: usize = 32;

/// How one score is spread over the kinds of frames.
#[derive(Debug, Clone, Serialize)]
pub struct Histogram {
    /// The score's name, as in [`SCORE_NAMES`](crate::evaluate::SCORE_NAMES).
    pub score: &'static str,
    /// Where bins begin, and where the last one ends: ascending, in the score's unit.
    pub edges: Vec<f64>,
    /// The kinds of frames of which there are any.
    pub kinds: Vec<Kind>,
}

/// One kind of frames in a histogram.
#[derive(Debug, Clone, Serialize)]
pub struct Kind {
    /// What they are.
    pub name: KindName,
    /// How many there are.
    pub frames: usize,
    /// Per bin, the share of them whose score lies in it (its start belongs to it, and the end of
    /// the last one); the shares add up to 1.
    pub shares: Vec<f64>,
}

/// What a frame is, next to what the model says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KindName {
    /// Its answer is right.
    Correct,
    /// Its answer is wrong.
    Wrong,
    /// It shows none of the model's classes.
    OutOfDistribution,
}

impl KindName {
    const ALL: [Self; 3] = [Self::Correct, Self::Wrong, Self::OutOfDistribution];

    fn of(judged: &Judged) -> Self {
        match judged.answer {
            Some(answer) if answer.correct => Self::Correct,
            Some(_) => Self::Wrong,
            None => Self::OutOfDistribution,
        }
    }
}

impl Histogram {
    /// The histogram of the score that `score` reads, in equal bins from 0 to the highest.
    #[must_use]
    pub fn new(name: &'static str, frames: &[Judged], score: impl Fn(&Judged) -> f64) -> Self {
        let most = frames.iter().map(&score).fold(0.0, f64::max);
        let width = if most > 0.0 { most / BINS as f64 } else { 1.0 };
        let kinds = KindName::ALL.into_iter().filter_map(|kind| {
            let mut counts = [0usize; BINS];
            for judged in frames.iter().filter(|judged| KindName::of(judged) == kind) {
                counts[((score(judged) / width) as usize).min(BINS - 1)] += 1;
            }
            let frames: usize = counts.iter().sum();
            (frames > 0).then(|| Kind {
                name: kind,
                frames,
                shares: counts.map(|count| count as f64 / frames as f64).to_vec(),
            })
        });
        Self {
            score: name,
            edges: (0..=BINS).map(|edge| edge as f64 * width).collect(),
            kinds: kinds.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Answer;

    #[test]
    fn each_kind_is_spread_over_the_bins() {
        let frame = |confidence, answer: Option<bool>| Judged {
            confidence,
            answer: answer.map(|correct| Answer {
                label: 0,
                correct,
                nll: 0.0,
                nll_mean_logits: 0.0,
                brier: 0.0,
            }),
            ..Judged::default()
        };
        let frames = [
            frame(0.0, Some(true)),
            frame(0.9, Some(true)),
            frame(3.2, None),
        ];
        let histogram = Histogram::new("confidence", &frames, |judged| judged.confidence);
        assert_eq!(histogram.edges.len(), BINS + 1);
        assert!((histogram.edges[BINS] - 3.2).abs() < 1e-12);
        let [correct, foreign] = &histogram.kinds[..] else {
            panic!("no frame is wrong: {histogram:?}");
        };
        assert_eq!((correct.name, correct.frames), (KindName::Correct, 2));
        // 0.9 lies in the bin from 0.9 or from 0.8, as its edge is rounded.
        assert_eq!(correct.shares[0], 0.5);
        assert_eq!(correct.shares[8] + correct.shares[9], 0.5);
        assert_eq!(foreign.name, KindName::OutOfDistribution);
        assert_eq!(foreign.shares[BINS - 1], 1.0);

        // Scores that are all 0 lie in the first bin.
        let flat = Histogram::new("confidence", &frames[..1], |judged| judged.confidence);
        assert_eq!(flat.kinds[0].shares[0], 1.0);
    }
}
