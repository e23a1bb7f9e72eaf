//! How accuracy and uncertainty answer to pictures that get worse.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use shared::triage::Verdict;

use super::{Correlations, Means};
use crate::data::{Corruption, Dataset, Severity, corrupted};
use crate::evaluate::{Frames, ImageSet, Judged, Scores, Setup, judge};
use crate::parallel::in_blocks;

/// The same test images under every family of corruptions, from none to the worst.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Corruptions {
    /// Test images, each at every severity of every family.
    pub frames: usize,
    /// Stochastic passes per frame.
    pub passes: u32,
    /// One per family, in the order of [`Corruption::ALL`].
    pub families: Vec<Family>,
}

/// One family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Family {
    /// Which.
    pub family: Corruption,
    /// One per severity: 0 (clean, the same in every family), then 1 to 5.
    pub points: Vec<Point>,
    /// Of severity with the uncertainty of single frames, over all frames at all severities.
    pub correlations: Correlations,
}

/// A family at one severity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// 0 to 5.
    pub severity: u8,
    /// Accuracy and uncertainty.
    #[serde(flatten)]
    pub means: Means,
    /// Share of frames that the model's thresholds flag, in 0..=1.
    pub flagged: f64,
    /// Share of right answers among the frames that they accept; `None` if they accept none.
    pub accuracy_accepted: Option<f64>,
}

/// Spoils every image of `data` in every way, `seed` saying where and how, and judges all of them.
/// The result does not depend on `threads`. `None` if `stop` was set before the end. `begin` hears
/// how many frames there are to judge, and `advance` how many more are done.
///
/// # Errors
/// There is no image, the model cannot be used, its classes are not as many as the data set's, or a
/// frame cannot be judged.
pub fn corruptions(
    setup: &Setup,
    data: &Dataset,
    seed: u64,
    threads: usize,
    stop: &AtomicBool,
    begin: &dyn Fn(u64),
    advance: &dyn Fn(u64),
) -> anyhow::Result<Option<Corruptions>> {
    let severities = Severity::ALL.len();
    let kinds: Vec<(Corruption, Severity)> = Corruption::ALL
        .into_iter()
        .flat_map(|family| Severity::ALL.map(|severity| (family, severity)))
        .collect();
    let starts = (0..threads.clamp(1, kinds.len())).map(|_| {
        let kinds = &kinds;
        move || {
            Ok(move |block: Range<usize>| {
                let spoil = |&(family, severity): &(Corruption, Severity)| ImageSet {
                    name: format!("{family} {severity}"),
                    images: corrupted(data, family, severity, seed),
                    known: true,
                };
                Ok(kinds[block].iter().map(spoil).collect())
            })
        }
    });
    let Some(spoilt) = in_blocks(kinds.len(), 1, starts, stop, &|_| ())? else {
        return Ok(None);
    };
    let mut sets = vec![ImageSet {
        name: "clean".into(),
        images: data.clone(),
        known: true,
    }];
    sets.extend(spoilt);
    let frames = Frames::new(sets);
    begin(frames.len() as u64);
    let Some(judged) = judge(setup, &frames, threads, stop, advance)? else {
        return Ok(None);
    };
    let set = |set| &judged.frames[frames.numbers(set)];
    let families = Corruption::ALL.into_iter().enumerate();
    let families = families.map(|(index, family)| {
        let first = 1 + index * severities;
        let by_severity: Vec<&[Judged]> = std::iter::once(set(0))
            .chain((first..first + severities).map(set))
            .collect();
        Family::of(family, &by_severity).context("there are no images")
    });
    Ok(Some(Corruptions {
        frames: data.len(),
        passes: setup.passes,
        families: families.collect::<anyhow::Result<_>>()?,
    }))
}

impl Family {
    /// Of the frames at severity 0, 1, …; `None` if there is no frame at one of them.
    fn of(family: Corruption, by_severity: &[&[Judged]]) -> Option<Self> {
        let points = by_severity.iter().zip(0..).map(|(frames, severity)| {
            let accepted = frames
                .iter()
                .filter(|frame| frame.causes.verdict() == Verdict::Accept);
            let means_accepted = Means::of(accepted.clone());
            Some(Point {
                severity,
                means: Means::of(*frames)?,
                flagged: 1.0 - accepted.count() as f64 / frames.len() as f64,
                accuracy_accepted: means_accepted.and_then(|means| means.accuracy),
            })
        });
        let points = points.collect::<Option<Vec<Point>>>()?;
        let severities: Vec<f64> = by_severity
            .iter()
            .zip(&points)
            .flat_map(|(frames, point)| vec![f64::from(point.severity); frames.len()])
            .collect();
        let scores: Vec<Scores> = by_severity
            .iter()
            .flat_map(|frames| frames.iter().map(|frame| frame.scores))
            .collect();
        Some(Self {
            family,
            points,
            correlations: Correlations::with_scores(&severities, &scores),
        })
    }
}

impl fmt::Display for Corruptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} test images at every severity, {} passes; means in nats; ρ is Spearman's \
             correlation of severity with a frame's uncertainty",
            self.frames, self.passes
        )?;
        write!(
            f,
            "family           severity  accuracy  flagged  accuracy of the rest  \
             predictive entropy  expected entropy  mutual information"
        )?;
        let dash = |value: Option<f64>, digits| {
            value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
        };
        for family in &self.families {
            for point in &family.points {
                write!(
                    f,
                    "\n{:15}  {:8}  {:>8}  {:7.4}  {:>20}  {:18.4}  {:16.4}  {:18.4}",
                    family.family,
                    point.severity,
                    dash(point.means.accuracy, 4),
                    point.flagged,
                    dash(point.accuracy_accepted, 4),
                    point.means.predictive_entropy,
                    point.means.expected_entropy,
                    point.means.mutual_information
                )?;
            }
            let rho = &family.correlations;
            write!(
                f,
                "\n{:15}  {:>8}  {:8}  {:7}  {:20}  {:>18}  {:>16}  {:>18}",
                "",
                "ρ",
                "",
                "",
                "",
                dash(rho.predictive_entropy, 3),
                dash(rho.expected_entropy, 3),
                dash(rho.mutual_information, 3)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use shared::triage::{Cause, Causes};

    use super::*;
    use crate::evaluate::Answer;

    #[test]
    fn a_family_is_summed_up_as_by_hand() {
        let frame = |entropy: f64, correct: bool, cause: Option<Cause>| {
            let mut scores = Scores::default();
            scores.0[0] = entropy;
            Judged {
                scores,
                causes: Causes::from_iter(cause),
                answer: Some(Answer {
                    label: 0,
                    correct,
                    nll: 0.0,
                    nll_mean_logits: 0.0,
                    brier: 0.0,
                }),
                ..Judged::default()
            }
        };
        let clean = [frame(0.1, true, None), frame(0.3, true, None)];
        let spoilt = [
            frame(0.5, false, None),
            frame(0.7, true, Some(Cause::Glare)),
        ];
        let family = Family::of(Corruption::Glare, &[&clean, &spoilt]).expect("frames");
        let shares: Vec<_> = family
            .points
            .iter()
            .map(|p| (p.severity, p.means.accuracy, p.flagged, p.accuracy_accepted))
            .collect();
        assert_eq!(
            shares,
            [
                (0, Some(1.0), 0.0, Some(1.0)),
                (1, Some(0.5), 0.5, Some(0.0))
            ]
        );
        assert!((family.points[1].means.predictive_entropy - 0.6).abs() < 1e-12);
        // Ranks 1½ 1½ 3½ 3½ of severity with 1 2 3 4: 2/√5.
        let rho = family.correlations.predictive_entropy.expect("both vary");
        assert!((rho - 2.0 / 5f64.sqrt()).abs() < 1e-12, "{rho}");
        assert_eq!(family.correlations.mutual_information, None);
        assert_eq!(Family::of(Corruption::Glare, &[&clean, &[]]), None);
    }
}
