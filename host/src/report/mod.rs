//! A report on one model: what an evaluation and the studies find, as one HTML page that needs
//! nothing but itself.
//!
//! The page shows [`Contents`] and nothing else, so that whatever it draws is in the JSON as well.

mod configuration;
mod gallery;
mod histogram;
mod page;
mod plot;
mod sections;
mod studies;

use serde::Serialize;

use crate::evaluate::{self, Frames, Judged, Judgements, SCORE_NAMES};

pub use configuration::{Configuration, JudgedSet};
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
    /// Share of the frames out of distribution that the thresholds accept, if there are any.
    pub foreign_accepted: Option<f64>,
    /// How predictive entropy, expected entropy and mutual information are spread.
    pub histograms: Vec<Histogram>,
    /// What Monte-Carlo dropout does in this model.
    pub studies: Studies,
    /// Frames to look at.
    pub gallery: Vec<Group>,
}

impl Contents {
    /// What there is to show of judged frames and of the studies made on them.
    ///
    /// # Errors
    /// A picture cannot be encoded.
    pub fn new(
        configuration: Configuration,
        frames: &Frames,
        judgements: &Judgements,
        studies: Studies,
    ) -> anyhow::Result<Self> {
        let foreign = || {
            judgements
                .frames
                .iter()
                .filter(|judged| judged.answer.is_none())
        };
        let accepted = foreign().filter(|judged| judged.causes.is_empty()).count();
        let histogram = |score: usize| {
            let value = move |judged: &Judged| judged.scores.0[score];
            Histogram::new(SCORE_NAMES[score], &judgements.frames, value)
        };
        Ok(Self {
            evaluation: evaluate::Report::new(judgements),
            foreign_accepted: foreign()
                .next()
                .map(|_| accepted as f64 / foreign().count() as f64),
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
