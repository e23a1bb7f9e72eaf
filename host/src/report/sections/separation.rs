//! How uncertainty tells right from wrong, and known from unknown.

use maud::{Markup, html};

use crate::report::Contents;
use crate::report::histogram::{Histogram, KindName};
use crate::report::page::{count, figure};
use crate::report::plot::{Axis, Mark, Role, chart};

pub(super) fn section(contents: &Contents) -> anyhow::Result<Markup> {
    let histograms = contents
        .histograms
        .iter()
        .map(histogram)
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(html! {
        p {
            "Right answers should be sure, and wrong ones and things never seen in training should "
            "not. The less two curves overlap, the better a threshold on that score tells them apart."
        }
        div.figures {
            @for histogram in histograms { (histogram) }
        }
    })
}

fn histogram(histogram: &Histogram) -> anyhow::Result<Markup> {
    let (title, reading) = match histogram.score {
        "predictive_entropy" => (
            "Total uncertainty",
            "Predictive entropy: how unsure the mean answer is.",
        ),
        "expected_entropy" => (
            "Aleatoric uncertainty",
            "Expected entropy: how unsure single passes are. High where the picture itself is unclear.",
        ),
        "mutual_information" => (
            "Epistemic uncertainty",
            "Mutual information: how much the passes disagree. High where training data was lacking.",
        ),
        other => (other, "How this score is spread."),
    };
    let kinds: Vec<(Role, String)> = histogram
        .kinds
        .iter()
        .map(|kind| {
            let frames = count(kind.frames);
            match kind.name {
                KindName::Correct => (Role::Correct, format!("right answers ({frames})")),
                KindName::Wrong => (Role::Wrong, format!("wrong answers ({frames})")),
                KindName::OutOfDistribution => {
                    (Role::Foreign, format!("out of distribution ({frames})"))
                }
            }
        })
        .collect();
    let legend: Vec<_> = kinds
        .iter()
        .map(|(role, name)| (*role, name.as_str()))
        .collect();

    // One frame of the largest kind is the least that a share can be.
    let most = histogram
        .kinds
        .iter()
        .map(|kind| kind.frames)
        .max()
        .unwrap_or(1);
    let y = Axis::logarithmic(
        "share of the kind's frames, per bin",
        1.0 / most.max(10) as f64..1.0,
    )
    .percent();
    let end = histogram.edges.last().copied().unwrap_or(1.0);
    let x = Axis::linear("nats", 0.0..end);
    let mut marks = Vec::new();
    for (kind, (role, _)) in histogram.kinds.iter().zip(&kinds) {
        let bins = histogram.edges.windows(2).zip(&kind.shares);
        let steps: Vec<_> = bins
            .flat_map(|(edges, &share)| [(edges[0], share), (edges[1], share)])
            .collect();
        let filled = steps.iter().map(|&(x, share)| (x, 0.0, share)).collect();
        marks.push(Mark::Area(*role, filled, 0.13));
        marks.push(Mark::Line(*role, steps));
    }
    let names: Vec<_> = legend.iter().map(|(_, name)| *name).collect();
    let alternative = format!(
        "{title} of {}: share of frames per bin, logarithmic, from 0 to {end:.2} nats",
        names.join(", ")
    );
    let drawing = chart((360, 230), &alternative, &x, &y, &marks)?;
    Ok(figure(title, &html! { (reading) }, &legend, &drawing))
}
