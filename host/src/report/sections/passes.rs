//! How many passes are enough, and what training with them means.

use maud::{Markup, html};

use crate::report::page::{count, figure};
use crate::report::plot::{Axis, Mark, Role, chart, short};
use crate::study::precision::Precision;
use crate::study::variational::{Estimate, Prior, Variational};

/// How the likelihood, and decisions, settle with the number of passes.
pub(super) fn precision(precision: &Precision) -> anyhow::Result<Markup> {
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
pub(super) fn variational(variational: &Variational) -> Markup {
    let plain = |value: f64| html! { (format!("{value:.5}").replace('-', "\u{2212}")) };
    let estimate = |estimate: &Estimate| {
        html! {
            (plain(estimate.mean))
            @if let Some(error) = estimate.standard_error { small { "± " (format!("{error:.5}")) } }
        }
    };
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
            @match variational.prior {
                Prior::Assumed => { ", assumed here" }
                Prior::None => { ", because AdamW's decay is no term of an objective" }
                Prior::Trained => {}
            }
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
