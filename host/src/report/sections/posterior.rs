//! Dropout as sampling from an approximate posterior, made visible.

use maud::{Markup, html};

use crate::report::Studies;
use crate::report::gallery::data_uri;
use crate::report::page::{count, figure};
use crate::report::plot::{Axis, Mark, Role, chart, short};
use crate::study::Means;
use crate::study::epistemic::{Epistemic, Unseen};
use crate::study::precision::Precision;
use crate::study::rotation::{Angle, Rotation};
use crate::study::variational::{Estimate, Variational};

pub(super) fn section(studies: &Studies) -> anyhow::Result<Markup> {
    Ok(html! {
        p {
            "What the passes of Monte-Carlo dropout are, and what they are worth."
        }
        (rotation(&studies.rotation)?)
        h3 { "Passes and data" }
        div.figures {
            (precision(&studies.precision)?)
            @match &studies.epistemic {
                Some(found) => (epistemic(found)?),
                None => p.note {
                    "How uncertainty falls with more training data, and what a digit never seen in training "
                    "does to it, takes training several models: run " code { "host study epistemic --out DIR" }
                    ", then this report with " code { "--study DIR/study.json" } "."
                },
            }
        }
        @match &studies.variational {
            Ok(found) => (variational(found)),
            Err(reason) => p.note { "The variational objective is not shown: " (reason) "." },
        }
    })
}

/// One digit turned step by step: the passes' softmax inputs and outputs, and what they make of
/// uncertainty.
fn rotation(rotation: &Rotation) -> anyhow::Result<Markup> {
    let label = &rotation.class_names[rotation.label];
    let winners: Vec<(Role, &str)> = Role::SERIES
        .into_iter()
        .zip(&rotation.winners)
        .map(|(role, &class)| (role, rotation.class_names[class].as_str()))
        .collect();
    let scatter = |name: &str, says: &str, y: &Axis, of: &dyn Fn(&Angle) -> &[Vec<f32>]| {
        let mut marks = Vec::new();
        for (winner, (role, _)) in winners.iter().enumerate() {
            // Classes side by side, so that they do not hide each other.
            let aside = 3.0 * (winner as f64 - (winners.len() - 1) as f64 / 2.0);
            let mut dots: Vec<(f64, f64)> = rotation
                .angles
                .iter()
                .flat_map(|angle| {
                    of(angle)[winner]
                        .iter()
                        .map(|&value| (angle.degrees + aside, f64::from(value)))
                })
                // What a chart cannot tell apart is drawn once.
                .map(|(x, value)| (x, (value * 200.0).round() / 200.0))
                .collect();
            dots.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
            dots.dedup();
            marks.push(Mark::Dots(*role, dots, 13, 0.55));
        }
        let says = format!("{name} of every pass against the angle: {says}");
        chart((360, 240), &says, &degrees(), y, &marks)
    };
    let logits = || {
        rotation
            .angles
            .iter()
            .flat_map(|angle| angle.logits.iter().flatten())
    };
    let low = logits().copied().fold(f32::INFINITY, f32::min);
    let high = logits().copied().fold(f32::NEG_INFINITY, f32::max);
    let classes = winners
        .iter()
        .map(|(_, name)| *name)
        .collect::<Vec<_>>()
        .join(", ");
    let inputs = scatter(
        "Softmax input",
        &format!("classes {classes}"),
        &Axis::linear(
            "softmax input (raw output)",
            f64::from(low.floor())..f64::from(high.ceil()),
        ),
        &|angle| &angle.logits,
    )?;
    let outputs = scatter(
        "Softmax output",
        &format!("classes {classes}"),
        &Axis::linear("softmax output (probability)", 0.0..1.0),
        &|angle| &angle.probabilities,
    )?;
    let pictures = rotation
        .angles
        .iter()
        .map(|angle| Ok((angle.degrees, data_uri(&angle.pixels)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let passes = count(rotation.passes as usize);
    Ok(html! {
        h3 { "A digit that is turned" }
        p {
            "Test image " (rotation.image) ", a " (label) ", turned anticlockwise (Gal & Ghahramani 2016, figure 4). "
            "Each dot is one of " (passes) " passes: one network drawn from the approximate posterior. Where the clouds "
            "of two classes overlap, networks that are equally plausible after training disagree, though each "
            "for itself may be sure: that is epistemic uncertainty, which a single pass cannot show."
        }
        div.strip {
            @for (degrees, picture) in &pictures {
                img src=(picture) alt={ "the digit at " (short(*degrees)) "°" } width="28" height="28";
            }
        }
        div.figures {
            (figure(
                "Softmax inputs",
                &html! { "What the network says before it is squeezed into probabilities; classes that win at some angle." },
                &winners,
                &inputs,
            ))
            (figure(
                "Softmax outputs",
                &html! { "The same as probabilities: passes spread over the whole range where the digit is none." },
                &winners,
                &outputs,
            ))
            (turning(rotation)?)
        }
    })
}

fn degrees() -> Axis {
    Axis::linear("degrees", -7.0..187.0).ticks([0.0, 45.0, 90.0, 135.0, 180.0])
}

fn turning(rotation: &Rotation) -> anyhow::Result<Markup> {
    let low = rotation
        .angles
        .iter()
        .map(|a| (a.degrees, 0.0, a.expected_entropy));
    let high = rotation
        .angles
        .iter()
        .map(|a| (a.degrees, a.expected_entropy, a.predictive_entropy));
    let total: Vec<_> = rotation
        .angles
        .iter()
        .map(|a| (a.degrees, a.predictive_entropy))
        .collect();
    let most = total.iter().map(|point| point.1).fold(0.0, f64::max);
    let highest = rotation
        .angles
        .iter()
        .max_by(|a, b| a.predictive_entropy.total_cmp(&b.predictive_entropy));
    let says = highest.map_or(String::new(), |angle| {
        format!(
            "; most at {:.0} degrees, {:.2} nats",
            angle.degrees, angle.predictive_entropy
        )
    });
    let drawing = chart(
        (360, 240),
        &format!("Aleatoric and epistemic uncertainty against the angle{says}"),
        &degrees(),
        &Axis::linear("nats", 0.0..most),
        &[
            Mark::Area(Role::Aleatoric, low.collect(), 0.4),
            Mark::Area(Role::Epistemic, high.collect(), 0.4),
            Mark::Line(Role::Ink, total),
        ],
    )?;
    Ok(figure(
        "Uncertainty",
        &html! { "Total uncertainty, parted into what single passes are unsure of and what they disagree on." },
        &[
            (Role::Aleatoric, "aleatoric"),
            (Role::Epistemic, "epistemic"),
            (Role::Ink, "total"),
        ],
        &drawing,
    ))
}

/// How the likelihood, and decisions, settle with the number of passes.
fn precision(precision: &Precision) -> anyhow::Result<Markup> {
    let points = &precision.points;
    let most = f64::from(precision.passes.max(2));
    let passes = || Axis::logarithmic("passes, T", 1.0..most);
    let nll: Vec<_> = points
        .iter()
        .map(|p| (f64::from(p.passes), p.nll))
        .collect();
    let errors = points.iter().filter_map(|p| {
        let error = 2.0 * p.nll_standard_error?;
        Some((f64::from(p.passes), p.nll - error, p.nll + error))
    });
    let errors: Vec<_> = errors.collect();
    let low = errors
        .iter()
        .map(|e| e.1)
        .chain(nll.iter().map(|p| p.1))
        .fold(f64::INFINITY, f64::min);
    let high = errors
        .iter()
        .map(|e| e.2)
        .chain(nll.iter().map(|p| p.1))
        .fold(0.0, f64::max);
    let frames = count(precision.frames);
    let ends = match (points.first(), points.last()) {
        (Some(first), Some(last)) => format!(
            ": {:.4} nats for {} and {:.4} for {}",
            first.nll, first.passes, last.nll, last.passes
        ),
        _ => String::new(),
    };
    let likelihood = chart(
        (360, 230),
        &format!("Negative log-likelihood against the number of passes{ends}"),
        &passes(),
        &Axis::linear(
            "negative log-likelihood, nats",
            (low - 0.05 * (high - low)).max(0.0)..high,
        ),
        &[
            Mark::Area(Role::McDropout, errors, 0.2),
            Mark::Line(Role::McDropout, nll.clone()),
            Mark::Dots(Role::McDropout, nll, 28, 1.0),
        ],
    )?;
    let changed = |agreement: &dyn Fn(usize) -> f64| -> Vec<(f64, f64)> {
        let before_last = points.len().saturating_sub(1);
        (0..before_last)
            .map(|at| (f64::from(points[at].passes), 1.0 - agreement(at)))
            .collect()
    };
    let (class, verdict) = (
        changed(&|at| points[at].class_agreement),
        changed(&|at| points[at].verdict_agreement),
    );
    let worst = class
        .iter()
        .chain(&verdict)
        .map(|point| point.1)
        .fold(0.0, f64::max);
    let decisions = chart(
        (360, 230),
        &format!(
            "Share of frames decided otherwise than by {most} passes, against the number of passes"
        ),
        &passes(),
        &Axis::linear("frames", 0.0..worst.max(0.01)).percent(),
        &[
            Mark::Line(Role::Foreign, verdict.clone()),
            Mark::Dots(Role::Foreign, verdict, 28, 1.0),
            Mark::Line(Role::McDropout, class.clone()),
            Mark::Dots(Role::McDropout, class, 28, 1.0),
        ],
    )?;
    Ok(html! {
        (figure(
            "How many passes are enough",
            &html! {
                "The mean of T passes over " (frames) " test frames; the band is two Monte-Carlo standard errors. "
                "More passes help until the curve is flat."
            },
            &[(Role::McDropout, "T passes")],
            &likelihood,
        ))
        (figure(
            "Decisions that more passes would change",
            &html! { "Frames whose class, or verdict (accept or flag), is not that of " (count(precision.passes as usize)) " passes." },
            &[(Role::McDropout, "class"), (Role::Foreign, "verdict")],
            &decisions,
        ))
    })
}

/// Dropout's objective as a bound on the evidence.
fn variational(variational: &Variational) -> Markup {
    let estimate = |estimate: &Estimate| {
        html! {
            (format!("{:.5}", estimate.mean))
            @if let Some(error) = estimate.standard_error { small { "± " (format!("{error:.5}")) } }
        }
    };
    let plain = |value: f64| html! { (format!("{value:.5}")) };
    let row = |name: &str, says: &str, training: &Markup, test: Option<&Markup>| {
        html! {
            tr {
                th scope="row" { (name) small { (says) } }
                td.number { (training) }
                td.number { @if let Some(test) = test { (test) } }
            }
        }
    };
    let (training, test) = (&variational.training, &variational.test);
    html! {
        h3 { "Training with dropout is variational inference" }
        p {
            "The training loss is, up to a constant, minus an evidence lower bound (ELBO): the expected log-likelihood "
            "of the training answers under random masks, minus the Kullback–Leibler divergence from the prior, which "
            "weight decay λ stands for (λ = " (short(variational.weight_decay))
            @if variational.assumed { ", assumed here" }
            @if variational.weight_decay == 0.0 { ": a flat prior, whose divergence adds nothing" }
            "). The log of the mean likelihood is what predictions are judged by, and never lower (Burda et al. 2016)."
        }
        div {
            table {
                caption { "Nats per image, T = " (variational.passes) "; ± Monte-Carlo standard error" }
                thead {
                    tr {
                        th scope="col" { "Term" }
                        th.number scope="col" { "Training" small { (count(training.images)) " images" } }
                        th.number scope="col" { "Test" small { (count(test.images)) " images" } }
                    }
                }
                tbody {
                    (row("Expected log-likelihood", "mean over passes of the log-probability of the label",
                        &estimate(&training.expected), Some(&estimate(&test.expected))))
                    (row("Log of the mean likelihood", "minus the NLL of the mean answer",
                        &plain(training.log_mean), Some(&plain(test.log_mean))))
                    (row("KL term", "divergence from the prior", &plain(variational.kl), None))
                    (row("ELBO", "expected log-likelihood minus KL term", &estimate(&variational.elbo), None))
                    (row("ELBO from one pass", "as one step of training sees it", &estimate(&variational.elbo_one_pass), None))
                }
            }
        }
    }
}

/// Uncertainty against the number of training images, and on a digit that was left out.
fn epistemic(epistemic: &Epistemic) -> anyhow::Result<Markup> {
    let models = &epistemic.by_size;
    let line = |value: &dyn Fn(&Means) -> f64| -> (Vec<(f64, f64)>, Vec<(f64, f64)>) {
        let dots: Vec<_> = models
            .iter()
            .map(|m| (m.images as f64, value(&m.means)))
            .collect();
        let same_size = models.chunk_by(|a, b| a.images == b.images);
        let means = same_size.map(|models| {
            let sum: f64 = models.iter().map(|model| value(&model.means)).sum();
            (models[0].images as f64, sum / models.len() as f64)
        });
        (means.collect(), dots)
    };
    let scores: [(Role, &str, fn(&Means) -> f64); 3] = [
        (Role::Ink, "total", |means| means.predictive_entropy),
        (Role::Aleatoric, "aleatoric", |means| means.expected_entropy),
        (Role::Epistemic, "epistemic", |means| {
            means.mutual_information
        }),
    ];
    let (mut marks, mut legend, mut most) = (Vec::new(), Vec::new(), 0f64);
    for (role, name, score) in scores {
        let (means, dots) = line(&score);
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
        (figure("More data, less to be unsure of", &reading, &legend, &drawing))
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
