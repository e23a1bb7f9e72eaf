//! A report on one model: what an evaluation and the studies find, as one HTML page that needs
//! nothing but itself.
//!
//! The page shows [`Contents`] and nothing else, so that whatever it draws is in the JSON as well.

mod configuration;
mod curves;
mod gallery;
mod histogram;
mod page;
mod plot;
mod sections;
mod studies;

use serde::Serialize;

use crate::evaluate::{self, Frames, Intervals, Judged, Judgements, SCORE_NAMES};

pub use configuration::{Configuration, JudgedSet};
pub use curves::Curves;
pub use gallery::{Group, Shown};
pub use histogram::{Histogram, Kind, KindName};
pub use studies::{Studies, Watch};

/// All that the page shows.
#[derive(Debug, Clone, Serialize)]
pub struct Contents {
    /// What was measured, and how.
    pub configuration: Configuration,
    /// How good the answers are, and how well uncertainty tells frames apart.
    pub evaluation: evaluate::Report,
    /// Reliability, and risk against coverage, of Monte-Carlo dropout.
    pub curves: Curves,
    /// The same of the standard test phase, where it can be run.
    pub standard_curves: Option<Curves>,
    /// How predictive entropy, expected entropy and mutual information are spread.
    pub histograms: Vec<Histogram>,
    /// What Monte-Carlo dropout does in this model.
    pub studies: Studies,
    /// Frames to look at.
    pub gallery: Vec<Group>,
}

impl Contents {
    /// What there is to show of judged frames, with the intervals of their metrics, and of the studies.
    ///
    /// # Errors
    /// A picture cannot be encoded.
    pub fn new(
        configuration: Configuration,
        frames: &Frames,
        judgements: &Judgements,
        intervals: Option<Intervals>,
        studies: Studies,
    ) -> anyhow::Result<Self> {
        let histogram = |score: usize| {
            let value = move |judged: &Judged| judged.scores.0[score];
            Histogram::new(SCORE_NAMES[score], &judgements.frames, value)
        };
        Ok(Self {
            evaluation: evaluate::Report {
                intervals,
                ..evaluate::Report::new(judgements)
            },
            curves: Curves::monte_carlo(&judgements.frames),
            standard_curves: Curves::standard(&judgements.frames),
            histograms: [
                "predictive_entropy",
                "expected_entropy",
                "mutual_information",
            ]
            .iter()
            .filter_map(|wanted| SCORE_NAMES.iter().position(|name| name == wanted))
            .map(histogram)
            .collect(),
            gallery: gallery::groups(frames, judgements, &configuration.labels)?,
            studies,
            configuration,
        })
    }

    /// The page: one HTML file without references to others, and without scripts.
    ///
    /// # Errors
    /// A chart cannot be drawn.
    pub fn html(&self) -> anyhow::Result<String> {
        page::html(self)
    }
}
