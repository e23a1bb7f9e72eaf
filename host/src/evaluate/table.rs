//! A report as text.

use std::fmt;

use super::metrics::Quality;
use super::report::Report;
use super::score::Named;

/// Width of the names, and of each column after them.
const NAME: usize = 20;
const COLUMN: usize = 11;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metrics = &self.metrics;
        let (monte_carlo, standard) = (&metrics.monte_carlo, metrics.standard.as_ref());
        writeln!(
            f,
            "{:NAME$} {:>COLUMN$} {:>COLUMN$}",
            "", "MC dropout", "standard"
        )?;
        let both =
            |value: &dyn Fn(&Quality) -> f64| (Some(value(monte_carlo)), standard.map(value));
        let alone = |value| (value, None);
        for (name, (monte_carlo, standard), says) in [
            ("accuracy", both(&|q| q.accuracy), "share of right answers"),
            ("nll", both(&|q| q.nll), "nats, of the mean probabilities"),
            (
                "nll_mean_logits",
                alone(Some(metrics.nll_mean_logits)),
                "nats, of the mean raw outputs",
            ),
            (
                "ece",
                both(&|q| q.ece),
                "calibration error, 15 bins of equal width",
            ),
            (
                "adaptive_ece",
                both(&|q| q.adaptive_ece),
                "calibration error, 15 bins of equal mass",
            ),
            ("brier", both(&|q| q.brier), "over all classes, 0 to 2"),
            (
                "aurc",
                both(&|q| q.aurc),
                "risk over coverage, by predictive entropy",
            ),
            (
                "mean_passes",
                alone(Some(metrics.mean_passes)),
                "passes per frame",
            ),
            ("accepted", alone(Some(metrics.accepted)), "share of frames"),
            (
                "accuracy_accepted",
                alone(metrics.accuracy_accepted),
                "share of right answers among them",
            ),
        ] {
            writeln!(
                f,
                "{name:NAME$} {} {}  {says}",
                Cell(monte_carlo),
                Cell(standard)
            )?;
        }
        if let Some(accepted) = monte_carlo.ood.as_ref().and_then(|ood| ood.accepted) {
            writeln!(
                f,
                "{:NAME$} {} {:COLUMN$}  share of frames out of distribution",
                "ood.accepted",
                Cell(Some(accepted)),
                ""
            )?;
        }
        scores(f, "MC dropout", monte_carlo)?;
        if let Some(standard) = standard {
            scores(f, "standard", standard)?;
        }

        writeln!(f, "\nflags")?;
        for (cause, count) in &metrics.flags.0 {
            writeln!(f, "  {cause:18} {count:>6}")?;
        }
        let run = &self.run;
        write!(
            f,
            "\n{} frames, {} passes each, in {:.1} s: {:.1} frames/s ({}, {} thread{})",
            run.frames,
            run.passes,
            run.seconds,
            run.frames_per_second,
            run.engine,
            run.threads,
            if run.threads == 1 { "" } else { "s" }
        )
    }
}

/// A test phase's scores, a line each.
fn scores(f: &mut fmt::Formatter<'_>, phase: &str, quality: &Quality) -> fmt::Result {
    let groups: Vec<(&str, Vec<(&str, Column<'_>)>)> = [
        Some((
            "wrong answers",
            vec![
                ("auroc", Column::Maybe(&quality.auroc_misclassification)),
                ("aupr", Column::Maybe(&quality.aupr_misclassification)),
                ("fpr95", Column::Maybe(&quality.fpr95_misclassification)),
                ("aurc", Column::Always(&quality.aurc_by_score)),
            ],
        )),
        quality.ood.as_ref().map(|ood| {
            (
                "ood",
                vec![
                    ("auroc", Column::Maybe(&ood.auroc)),
                    ("aupr", Column::Maybe(&ood.aupr)),
                    ("fpr95", Column::Maybe(&ood.fpr95)),
                ],
            )
        }),
    ]
    .into_iter()
    .flatten()
    .collect();
    for (what, columns) in groups {
        write!(f, "\n{:NAME$}", format!("{phase}: {what}"))?;
        for (name, _) in &columns {
            write!(f, " {name:>COLUMN$}")?;
        }
        writeln!(f)?;
        for (index, (score, _)) in quality.aurc_by_score.0.iter().enumerate() {
            write!(f, "{score:NAME$}")?;
            for (_, column) in &columns {
                write!(f, " {}", Cell(column.value(index)))?;
            }
            writeln!(f)?;
        }
    }
    Ok(())
}

/// A metric of each score.
enum Column<'a> {
    Always(&'a Named<f64>),
    Maybe(&'a Named<Option<f64>>),
}

impl Column<'_> {
    fn value(&self, score: usize) -> Option<f64> {
        match self {
            Self::Always(values) => Some(values.0[score].1),
            Self::Maybe(values) => values.0[score].1,
        }
    }
}

/// A number of the table; `-` where there is none.
struct Cell(Option<f64>);

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) if value.is_finite() => write!(f, "{value:>COLUMN$.5}"),
            _ => write!(f, "{:>COLUMN$}", "-"),
        }
    }
}
