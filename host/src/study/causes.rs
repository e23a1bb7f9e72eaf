//! Whether a flag names what is wrong with the picture.

use std::fmt;

use anyhow::ensure;
use device::preprocessing::Preparer;
use serde::{Deserialize, Serialize};
use shared::triage::{Cause, Thresholds};

use crate::data::{Corruption, Dataset, Severity, corrupted};

/// The severity from which a corruption counts in [`CauseStudy::right`].
pub const COUNTED: u8 = 3;
/// The column of frames that no cause in the picture is named for.
const NONE: &str = "none";

/// How often which cause was named for which corruption: a confusion matrix.
///
/// The cause named is the primary one of those that lie in the picture, whatever a model says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CauseStudy {
    /// Test images, each taken as it is and at every severity of every family.
    pub frames: usize,
    /// Seed of the corruptions.
    pub seed: u64,
    /// What may be named, in the order of the counts: causes, the one that precedes the others first,
    /// then `none`.
    pub names: Vec<String>,
    /// Images as they are, by the cause named.
    pub clean: Vec<usize>,
    /// Share of the images as they are that any cause is named for, 0..=1.
    pub clean_named: f64,
    /// One per family, in the order of [`Corruption::ALL`].
    pub families: Vec<Family>,
    /// Share of frames named rightly, 0..=1, over all families that have a cause, from severity
    /// [`COUNTED`] on.
    pub right: f64,
}

/// What was named for the frames of one family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Family {
    /// Which.
    pub family: Corruption,
    /// What should be named: one of [`CauseStudy::names`].
    pub cause: String,
    /// Frames by the cause named, `[severity - 1][name]`.
    pub counts: Vec<Vec<usize>>,
    /// Share of frames named rightly at each severity, `[severity - 1]`, 0..=1.
    pub right_at: Vec<f64>,
    /// The same from severity [`COUNTED`] on.
    pub right: f64,
}

/// Spoils every image of `data` in every way, `seed` saying where and how, and counts what
/// `thresholds` name, in the pictures as `preparer` makes the model's input of them.
///
/// # Errors
/// There is no image, or one cannot be read.
pub fn causes(
    thresholds: &Thresholds,
    mut preparer: Preparer,
    data: &Dataset,
    seed: u64,
) -> anyhow::Result<CauseStudy> {
    ensure!(!data.is_empty(), "there is no image to spoil");
    let causes: Vec<Cause> = Cause::ALL
        .into_iter()
        .filter(|cause| cause.is_in_picture())
        .collect();
    let place = |cause: Option<Cause>| {
        let place = cause.and_then(|cause| causes.iter().position(|&other| other == cause));
        place.unwrap_or(causes.len())
    };
    let format = preparer.wanted().pixel_format();
    let mut count = |data: &Dataset| -> anyhow::Result<Vec<usize>> {
        let mut counts = vec![0; causes.len() + 1];
        for index in 0..data.len() {
            let picture = data.frame(index, format)?;
            let statistics = preparer.measure(&picture.view()?)?;
            let named = thresholds.judge_image(&statistics).primary();
            counts[place(named)] += 1;
        }
        Ok(counts)
    };
    let names: Vec<String> = causes
        .iter()
        .map(|cause| cause.name())
        .chain([NONE])
        .map(ToOwned::to_owned)
        .collect();
    let clean = count(data)?;
    let share = |count: usize, severities: usize| count as f64 / (data.len() * severities) as f64;
    let counted = Severity::ALL.len() + 1 - usize::from(COUNTED);
    let mut families = Vec::with_capacity(Corruption::ALL.len());
    let (mut right, mut with_cause) = (0, 0);
    for family in Corruption::ALL {
        let counts = Severity::ALL
            .into_iter()
            .map(|severity| count(&corrupted(data, family, severity, seed)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let wanted = place(family.cause());
        let right_at: Vec<usize> = counts.iter().map(|counts| counts[wanted]).collect();
        let right_counted = right_at[usize::from(COUNTED) - 1..].iter().sum();
        if family.cause().is_some() {
            right += right_counted;
            with_cause += 1;
        }
        families.push(Family {
            family,
            cause: names[wanted].clone(),
            counts,
            right_at: right_at.iter().map(|&count| share(count, 1)).collect(),
            right: share(right_counted, counted),
        });
    }
    Ok(CauseStudy {
        frames: data.len(),
        seed,
        clean_named: share(data.len() - clean[causes.len()], 1),
        names,
        clean,
        families,
        right: share(right, with_cause * counted),
    })
}

/// A row per family and severity: shares in percent, by the cause named.
impl fmt::Display for CauseStudy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<16}", "% of frames")?;
        for name in &self.names {
            write!(f, " {name:>12}")?;
        }
        let row = |f: &mut fmt::Formatter<'_>, counts: &[usize]| {
            counts.iter().try_for_each(|&count| {
                let percent = 100.0 * count as f64 / self.frames as f64;
                match count {
                    0 => write!(f, " {:>12}", "-"),
                    _ => write!(f, " {percent:>12.1}"),
                }
            })
        };
        write!(f, "\n{:<16}", "clean")?;
        row(f, &self.clean)?;
        for family in &self.families {
            for (counts, severity) in family.counts.iter().zip(Severity::ALL) {
                write!(f, "\n{:<15} {severity}", family.family)?;
                row(f, counts)?;
            }
        }
        write!(
            f,
            "\n\nnamed rightly at severities {COUNTED} to 5: {:.1} %",
            100.0 * self.right
        )?;
        for family in &self.families {
            let percent = 100.0 * family.right;
            write!(
                f,
                "\n  {:<15} {:<12} {percent:>6.1} %",
                family.family, family.cause
            )?;
        }
        write!(
            f,
            "\nclean frames that a cause is named for: {:.2} %",
            100.0 * self.clean_named
        )
    }
}
