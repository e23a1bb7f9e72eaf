//! The figures that matter most, with Monte-Carlo dropout beside the standard test phase.

use maud::{Markup, html};
use serde_json::Value;

use super::sets;
use crate::report::Contents;
use crate::report::page::{count, percent};

/// What was judged, and how.
pub(in crate::report) fn subtitle(contents: &Contents) -> Markup {
    let configuration = &contents.configuration;
    let day = configuration.made.split('T').next().unwrap_or_default();
    html! {
        (sets(contents, true))
        @if contents.evaluation.metrics.monte_carlo.ood.is_some() {
            ", and out of distribution " (sets(contents, false))
        }
        "; T = " (count(configuration.run.passes as usize)) " passes a frame, "
        (configuration.run.engine) " engine, " (day)
    }
}

/// A row of the table.
struct Row {
    /// The metric's name in the evaluation's JSON.
    metric: &'static str,
    name: &'static str,
    says: &'static str,
    percent: bool,
    /// Whether higher is better.
    higher: bool,
}

const fn row(
    metric: &'static str,
    name: &'static str,
    says: &'static str,
    percent: bool,
    higher: bool,
) -> Row {
    Row {
        metric,
        name,
        says,
        percent,
        higher,
    }
}

const ROWS: [Row; 12] = [
    row("accuracy", "Accuracy", "share of right answers", true, true),
    row(
        "nll",
        "NLL",
        "negative log-likelihood of the label, nats",
        false,
        false,
    ),
    row(
        "brier",
        "Brier score",
        "squared error of the probabilities, 0 to 2",
        false,
        false,
    ),
    row(
        "ece",
        "ECE",
        "expected calibration error, 15 equal-width bins",
        false,
        false,
    ),
    row(
        "adaptive_ece",
        "Adaptive ECE",
        "the same in 15 bins of equally many frames",
        false,
        false,
    ),
    row(
        "aurc",
        "AURC",
        "area under the risk–coverage curve, by predictive entropy",
        false,
        false,
    ),
    row(
        "auroc_misclassification.predictive_entropy",
        "AUROC, wrong answers",
        "told from right ones by predictive entropy",
        false,
        true,
    ),
    row(
        "aupr_misclassification.predictive_entropy",
        "AUPR, wrong answers",
        "the same as area under the precision–recall curve",
        false,
        true,
    ),
    row(
        "ood.auroc.predictive_entropy",
        "AUROC, out of distribution",
        "told from test frames by predictive entropy",
        false,
        true,
    ),
    row(
        "ood.aupr.predictive_entropy",
        "AUPR, out of distribution",
        "the same as area under the precision–recall curve",
        false,
        true,
    ),
    row(
        "ood.auroc.mutual_information",
        "AUROC, out of distribution, MI",
        "the same by mutual information, which one pass has not",
        false,
        true,
    ),
    row(
        "ood.fpr95.predictive_entropy",
        "FPR at 95 %",
        "out-of-distribution frames let through where 95 % of test frames are",
        true,
        false,
    ),
];

/// The tiles, how to read the page, and the table.
pub(super) fn section(contents: &Contents) -> Markup {
    let metrics = &contents.evaluation.metrics;
    html! {
        dl.tiles {
            (tile("of the answers are right", &percent(metrics.monte_carlo.accuracy)))
            (tile("of the test frames are accepted", &percent(metrics.accepted)))
            @if let Some(accuracy) = metrics.accuracy_accepted {
                (tile("of the accepted answers are right", &percent(accuracy)))
            }
            @if let Some(accepted) = metrics.monte_carlo.ood.as_ref().and_then(|ood| ood.accepted) {
                (tile("of the out-of-distribution frames are flagged", &percent(1.0 - accepted)))
            }
        }
        div.beside {
            div { (how_to_read(contents)) }
            (table(contents))
        }
    }
}

fn tile(name: &str, value: &str) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn how_to_read(contents: &Contents) -> Markup {
    html! {
        p {
            "The network keeps its dropout on at test time. Each pass drops other units, so each pass "
            "is a sample from an approximate posterior over networks, a product of Bernoulli "
            "distributions (dropout as variational inference, Gal & Ghahramani 2016). The "
            (count(contents.configuration.run.passes as usize)) " passes over a frame give as many answers, and their mean is the "
            "answer."
        }
        p {
            strong { "Aleatoric" } " uncertainty is what the picture cannot tell: something hides it, blurs it, or "
            "it looks like two things at once. It is the mean entropy of single passes (expected entropy). "
            strong { "Epistemic" } " uncertainty is what the model does not know for lack of training data. It is how "
            "much the passes disagree (mutual information). Both add up to the " strong { "total" }
            ": the entropy of the mean answer (predictive entropy), in nats, at most ln "
            (contents.configuration.labels.len()) " = "
            (format!("{:.2}", (contents.configuration.labels.len() as f64).ln())) "."
        }
    }
}

fn table(contents: &Contents) -> Markup {
    let values = serde_json::to_value(&contents.evaluation).unwrap_or_default();
    let standard = values.get("standard").filter(|value| value.is_object());
    let rows: Vec<_> = ROWS
        .iter()
        .filter(|row| find(&values, row.metric).is_some())
        .collect();
    html! {
        table {
            caption {
                "Monte-Carlo dropout beside the standard test phase (one pass, dropout off)"
                @if values.get("intervals").is_some() {
                    "; below each figure its 95 % interval (bootstrap over frames)"
                }
            }
            thead {
                tr {
                    th scope="col" { "Metric" }
                    th.number scope="col" { "MC dropout" }
                    @if standard.is_some() { th.number scope="col" { "Standard" } }
                }
            }
            tbody {
                @for row in rows {
                    tr {
                        th scope="row" {
                            (row.name)
                            small { (row.says) "; " (if row.higher { "higher" } else { "lower" }) " is better" }
                        }
                        (cell(row, &values, ""))
                        @if standard.is_some() { (cell(row, &values, "standard.")) }
                    }
                }
            }
        }
    }
}

/// The value of `metric` with dots between its parts.
fn find(values: &Value, metric: &str) -> Option<f64> {
    metric
        .split('.')
        .try_fold(values, |value, part| value.get(part))?
        .as_f64()
}

fn cell(row: &Row, values: &Value, prefix: &str) -> Markup {
    let show = |value: f64| {
        if row.percent {
            percent(value)
        } else {
            // An AURC has three zeros before its first digit.
            let decimals = if value.abs() < 0.001 { 6 } else { 4 };
            format!("{value:.decimals$}")
        }
    };
    let metric = format!("{prefix}{}", row.metric);
    let interval = values
        .get("intervals")
        .and_then(|intervals| intervals.get(&metric));
    let end = |index: usize| interval.and_then(|interval| interval.get(index)?.as_f64());
    html! {
        td.number {
            @match find(values, &metric) {
                Some(value) => {
                    (show(value))
                    @if let (Some(low), Some(high)) = (end(0), end(1)) {
                        small {
                            // Where there is little room, the upper end goes below.
                            span.whole { (show(low)) "–" } wbr;
                            span.whole { (show(high)) }
                        }
                    }
                }
                None => "–",
            }
        }
    }
}
