//! What training data does to uncertainty.

use maud::{Markup, html};

use crate::report::page::figure;
use crate::report::plot::{Axis, Mark, Role, chart};
use crate::study::Means;
use crate::study::epistemic::{Epistemic, Unseen};

/// A kind of uncertainty: its colour, its name, and where it stands.
type Score = (Role, &'static str, fn(&Means) -> f64);

const SCORES: [Score; 3] = [
    (Role::Ink, "total", |means| means.predictive_entropy),
    (Role::Aleatoric, "aleatoric", |means| means.expected_entropy),
    (Role::Epistemic, "epistemic", |means| {
        means.mutual_information
    }),
];

/// Uncertainty against the number of training images, and on a digit that was left out.
pub(super) fn epistemic(epistemic: &Epistemic) -> anyhow::Result<Markup> {
    let models = &epistemic.by_size;
    let line = |value: fn(&Means) -> f64| {
        let dots: Vec<_> = models
            .iter()
            .map(|m| (m.images as f64, value(&m.means)))
            .collect();
        let same_size = models.chunk_by(|a, b| a.images == b.images);
        let means = same_size.map(|models| {
            let sum: f64 = models.iter().map(|model| value(&model.means)).sum();
            (models[0].images as f64, sum / models.len() as f64)
        });
        (means.collect::<Vec<_>>(), dots)
    };
    let (mut marks, mut legend, mut most) = (Vec::new(), Vec::new(), 0f64);
    for (role, name, score) in SCORES {
        let (means, dots) = line(score);
        most = dots.iter().map(|dot| dot.1).fold(most, f64::max);
        marks.push(Mark::Line(role, means));
        marks.push(Mark::Dots(role, dots, 28, 1.0));
        legend.push((role, name));
    }
    let images = models.iter().map(|model| model.images as f64);
    let fewest = images.clone().fold(f64::INFINITY, f64::min);
    let largest = images.fold(1.0, f64::max);
    let drawing = chart(
        (360, 230),
        &format!("Mean uncertainty of models trained on {fewest} to {largest} images"),
        &Axis::logarithmic("training images", fewest.clamp(1.0, largest)..largest),
        &Axis::linear("nats", 0.0..most),
        &marks,
    )?;
    let rho = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.2}"));
    let correlations = &epistemic.correlations;
    let reading = html! {
        "Models trained for equally many steps on more and more images, judging the same test digits; a line goes "
        "through the means of seeds. Rank correlation with the number of images: "
        (rho(correlations.mutual_information)) " epistemic, "
        (rho(correlations.expected_entropy)) " aleatoric."
    };
    Ok(html! {
        (figure("Uncertainty and training data", &reading, &legend, &drawing))
        @for model in &epistemic.unseen { (unseen(model)) }
    })
}

fn unseen(model: &Unseen) -> Markup {
    let row = |name: &str, says: &str, score: &str, of: fn(&Means) -> f64| {
        html! {
            tr {
                th scope="row" { (name) small { (says) } }
                td.number { (format!("{:.3}", of(&model.seen))) }
                td.number { (format!("{:.3}", of(&model.unseen))) }
                td.number { (model.auroc.get(score).map_or("–".to_owned(), |auroc| format!("{auroc:.3}"))) }
            }
        }
    };
    html! {
        figure {
            figcaption {
                h3 { "A digit never seen: " (model.digit) }
                p {
                    "A model trained on nine digits, without the " (model.digit) ", judges all ten. Mean uncertainty in "
                    "nats, and how well it tells the unseen digit from the others (AUROC; ½ is chance, 1 perfect)."
                }
            }
            table {
                thead {
                    tr {
                        th scope="col" { "Uncertainty" }
                        th.number scope="col" { "Seen" }
                        th.number scope="col" { "Unseen" }
                        th.number scope="col" { "AUROC" }
                    }
                }
                tbody {
                    (row("Total", "predictive entropy", "predictive_entropy", |means| means.predictive_entropy))
                    (row("Aleatoric", "expected entropy", "expected_entropy", |means| means.expected_entropy))
                    (row("Epistemic", "mutual information", "mutual_information", |means| means.mutual_information))
                }
            }
        }
    }
}
