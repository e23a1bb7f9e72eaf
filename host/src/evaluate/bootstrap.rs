//! How sure the metrics themselves are, with as many frames as there were.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use serde::Serialize;

use super::judged::Judged;
use super::metrics::Sample;
use super::report::figures;
use crate::data::{Purpose, Random};
use crate::parallel::in_blocks;

/// Share of resamples that lie below an interval, and above it.
const TAIL: f64 = 0.025;
/// The fewest resamples whose order says where the `TAIL` ends: 1/`TAIL`, less one.
pub const FEWEST_RESAMPLES: u32 = 39;
/// Share of resamples that a metric must be defined in.
const DEFINED: f64 = 0.95;
/// Resamples that a thread takes at a time.
const BLOCK: usize = 8;
/// The same resamples for every model and every seed of the masks.
const SEED: u64 = 0;

/// 95 % intervals by metric, named as in the report's JSON: lower and upper limit, `None` for a
/// metric that more than one resample in twenty leaves undefined.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Intervals(pub BTreeMap<String, Option<[f64; 2]>>);

/// Percentile bootstrap intervals (Efron and Tibshirani 1993, section 13.3) of every metric of these
/// frames, from `resamples` resamples on `threads` threads; the intervals do not depend on their
/// number. Frames with an answer and frames without are drawn separately, each with replacement and
/// as many as there are. With B resamples the limits are the k-th lowest and the k-th highest value,
/// k = ⌊(B + 1) · 0.025⌋. `None` if `stop` was set before the end. `advance` hears how many more
/// resamples are done.
///
/// # Errors
/// There are more frames than 32 bits can number.
///
/// # Panics
/// If `resamples` is less than [`FEWEST_RESAMPLES`].
pub fn bootstrap(
    frames: &[Judged],
    resamples: u32,
    threads: usize,
    stop: &AtomicBool,
    advance: &dyn Fn(u64),
) -> anyhow::Result<Option<Intervals>> {
    assert!(resamples >= FEWEST_RESAMPLES, "too few for a tail");
    let sample = Sample::new(frames);
    let total = u32::try_from(frames.len()).context("frames are numbered in 32 bits")?;
    let kinds = [0..sample.known(), sample.known()..total];
    let starts = (0..threads.max(1)).map(|_| {
        let (sample, kinds) = (&sample, &kinds);
        move || {
            let (mut counts, mut room) = (vec![0; total as usize], Vec::new());
            Ok(move |block: Range<usize>| {
                let metrics = block.map(|resample| {
                    draw(resample as u64, kinds, &mut counts);
                    let metrics = figures(&sample.metrics(&counts, &mut room))?;
                    Ok(metrics.into_iter().map(|(_, value)| value).collect())
                });
                metrics.collect()
            })
        }
    });
    let count = resamples as usize;
    let Some(rows) = in_blocks::<Vec<Option<f64>>, _, _>(count, BLOCK, starts, stop, advance)?
    else {
        return Ok(None);
    };
    let whole = figures(&sample.metrics(&vec![1; frames.len()], &mut Vec::new()))?;
    let interval = |(column, (name, _)): (usize, (String, Option<f64>))| {
        let values = rows.iter().filter_map(|row| row[column]).collect();
        (name, interval(values, count))
    };
    let intervals = whole.into_iter().enumerate().map(interval);
    Ok(Some(Intervals(intervals.collect())))
}

/// How often each frame is drawn in resample number `resample`, each kind from its own range.
fn draw(resample: u64, kinds: &[Range<u32>], counts: &mut [u32]) {
    let mut random = Random::new(SEED, Purpose::Bootstrap, resample);
    counts.fill(0);
    for kind in kinds {
        for _ in kind.clone() {
            let frame = kind.start + random.below(kind.len() as u32);
            counts[frame as usize] += 1;
        }
    }
}

/// The interval of a metric with these values, out of `resamples`.
fn interval(mut values: Vec<f64>, resamples: usize) -> Option<[f64; 2]> {
    if (values.len() as f64) < DEFINED * resamples as f64 {
        return None;
    }
    values.sort_unstable_by(f64::total_cmp);
    let tail = (((values.len() + 1) as f64 * TAIL) as usize).max(1);
    Some([values[tail - 1], values[values.len() - tail]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Answer;

    /// A frame that is right or wrong, and as unsure as `entropy`.
    fn frame(correct: bool, entropy: f64) -> Judged {
        let mut frame = Judged {
            answer: Some(Answer {
                label: 0,
                correct,
                nll: entropy,
                nll_mean_logits: 0.0,
                brier: 0.0,
            }),
            ..Judged::default()
        };
        frame.scores.0[0] = entropy;
        frame
    }

    #[test]
    fn the_interval_of_an_accuracy_is_that_of_its_distribution() {
        // 400 frames, 100 wrong: of the accuracy 0.75 the standard error is 0.02165.
        let frames: Vec<Judged> = (0..400)
            .map(|i| frame(i % 4 != 0, f64::from(i % 7)))
            .collect();
        let stop = AtomicBool::new(false);
        let found = |threads| bootstrap(&frames, 999, threads, &stop, &|_| ()).expect("no failure");
        let intervals = found(1).expect("not stopped");
        assert_eq!(found(3), Some(intervals.clone()));
        let [low, high] = intervals.0["accuracy"].expect("defined");
        // Normal limits ± 1.96 standard errors; what 999 resamples say differs by a fifth of one.
        assert!((low - (0.75 - 0.0424)).abs() < 0.0045, "{low}");
        assert!((high - (0.75 + 0.0424)).abs() < 0.0045, "{high}");
        assert_eq!(intervals.0["nll_mean_logits"], Some([0.0, 0.0]));
        // Nothing is accepted or flagged that was not.
        assert_eq!(intervals.0["flags.glare"], Some([0.0, 0.0]));
        assert_eq!(intervals.0["accepted"], Some([1.0, 1.0]));
        // By a score that says nothing, wrong answers are found as by chance.
        let [low, high] = intervals.0["auroc_misclassification.predictive_entropy"].expect("both");
        assert!(low < 0.5 && 0.5 < high && high - low < 0.2, "{low} {high}");
        assert!(!intervals.0.keys().any(|name| name.starts_with("ood")));

        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(found(1), None);
    }

    #[test]
    fn kinds_are_drawn_apart_and_what_is_undefined_too_often_has_no_interval() {
        let mut counts = [9; 30];
        draw(3, &[0..10, 10..30], &mut counts);
        assert_eq!(counts[..10].iter().sum::<u32>(), 10);
        assert_eq!(counts[10..].iter().sum::<u32>(), 20);
        let first = counts;
        draw(4, &[0..10, 10..30], &mut counts);
        assert_ne!(first, counts);

        // One wrong answer of ten is in 65 % of the resamples.
        let mut frames = vec![frame(true, 0.1); 9];
        frames.push(frame(false, 0.2));
        let stop = AtomicBool::new(false);
        let found = bootstrap(&frames, 200, 1, &stop, &|_| ()).expect("no failure");
        let intervals = found.expect("not stopped");
        assert_eq!(
            intervals.0["auroc_misclassification.predictive_entropy"],
            None
        );
        assert!(intervals.0["accuracy"].is_some());
        assert_eq!(
            interval((1..=39).map(f64::from).collect(), 39),
            Some([1.0, 39.0])
        );
        assert_eq!(
            interval((1..=1000).map(f64::from).collect(), 1000),
            Some([25.0, 976.0])
        );
    }
}
