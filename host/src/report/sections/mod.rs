//! What the page shows, a file per section or two.

mod calibration;
mod causes;
mod configuration;
mod corruptions;
mod data;
mod frames;
mod passes;
mod posterior;
mod rotation;
mod separation;
mod summary;

use maud::{Markup, html};

use super::Contents;
use super::page::{Section, count};

pub(super) use summary::subtitle;

/// The page's sections, in order.
pub(super) fn all(contents: &Contents) -> anyhow::Result<Vec<Section>> {
    Ok(vec![
        Section {
            id: "summary",
            title: "Summary",
            body: summary::section(contents),
        },
        Section {
            id: "calibration",
            title: "Confidence, risk and coverage",
            body: calibration::section(contents)?,
        },
        Section {
            id: "uncertainty",
            title: "Knowing what it does not know",
            body: separation::section(contents)?,
        },
        Section {
            id: "corruptions",
            title: "When pictures get worse",
            body: corruptions::section(&contents.studies)?,
        },
        Section {
            id: "posterior",
            title: "Samples from a posterior",
            body: posterior::section(&contents.studies)?,
        },
        Section {
            id: "frames",
            title: "Frames to look at",
            body: frames::section(contents),
        },
        Section {
            id: "configuration",
            title: "Model and run",
            body: configuration::section(contents),
        },
    ])
}

/// "10,000 frames of mnist".
fn sets(contents: &Contents, known: bool) -> Markup {
    let sets = contents.configuration.sets.iter();
    let chosen: Vec<_> = sets.filter(|set| set.known == known).collect();
    html! {
        @for (index, set) in chosen.iter().enumerate() {
            @if index > 0 { ", " }
            (count(set.frames)) " images of " (set.name)
        }
    }
}
