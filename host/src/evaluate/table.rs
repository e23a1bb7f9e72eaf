//! A report as text.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::bootstrap::Intervals;
use super::report::{Report, figures};
use super::score::{SCORE_NAMES, STANDARD_SCORE_NAMES};

/// Width of the names.
const NAME: usize = 26;
/// Width of a number.
const NUMBER: usize = 10;
/// Width of an interval and the space before it.
const INTERVAL: usize = 19;

/// Figures by name, with what is said about them.
const FIGURES: [(&str, &str); 11] = [
    ("accuracy", "share of right answers"),
    ("nll", "nats, of the mean probabilities"),
    ("nll_mean_logits", "nats, of the mean raw outputs"),
    ("ece", "calibration error, 15 bins of equal width"),
    ("adaptive_ece", "calibration error, 15 bins of equal mass"),
    ("brier", "over all classes, 0 to 2"),
    ("aurc", "risk over coverage, by predictive entropy"),
    ("mean_passes", "passes per frame"),
    ("accepted", "share of frames"),
    ("accuracy_accepted", "share of right answers among them"),
    ("ood.accepted", "share of frames out of distribution"),
];

/// Groups of columns per score: what a group is about, and each column's head and metric, in which
/// `*` stands for the score.
const GROUPS: [(&str, &[(&str, &str)]); 3] = [
    (
        "wrong answers",
        &[
            ("auroc", "auroc_misclassification.*"),
            ("aupr", "aupr_misclassification.*"),
            ("fpr95", "fpr95_misclassification.*"),
        ],
    ),
    (
        "surest first",
        &[
            ("aurc", "aurc_by_score.*"),
            ("risk@95%", "risk_at_coverage.*.0.95"),
            ("cov@0.1%", "coverage_at_risk.*.0.001"),
        ],
    ),
    (
        "ood",
        &[
            ("auroc", "ood.auroc.*"),
            ("aupr", "ood.aupr.*"),
            ("fpr95", "ood.fpr95.*"),
        ],
    ),
];

/// Test phases: name, what their metrics' names begin with, and their scores.
const PHASES: [(&str, &str, &[&str]); 2] = [
    ("MC dropout", "", &SCORE_NAMES),
    ("standard", "standard.", &STANDARD_SCORE_NAMES),
];

/// The numbers of the table.
struct Cells<'a> {
    figures: BTreeMap<String, Option<f64>>,
    intervals: Option<&'a Intervals>,
}

impl Cells<'_> {
    fn width(&self) -> usize {
        NUMBER + self.intervals.map_or(0, |_| INTERVAL)
    }

    /// A figure with its interval; `-` where there is none.
    fn cell(&self, name: &str) -> String {
        let rest = self.width() - NUMBER;
        let Some(Some(value)) = self.figures.get(name) else {
            return format!("{:>NUMBER$}{:rest$}", "-", "");
        };
        // Shares and nats; what is larger is a number of passes.
        let decimals = if *value < 10.0 { 5 } else { 2 };
        let interval = self.intervals.and_then(|all| *all.0.get(name)?);
        let interval = interval.map_or_else(String::new, |[low, high]| {
            format!(" [{low:.decimals$}, {high:.decimals$}]")
        });
        format!("{value:>NUMBER$.decimals$}{interval:rest$}")
    }

    /// A test phase's scores, a line each.
    fn scores(
        &self,
        text: &mut String,
        (phase, prefix, scores): (&str, &str, &[&str]),
    ) -> fmt::Result {
        for (what, columns) in GROUPS {
            let metric = |pattern: &str, score| format!("{prefix}{}", pattern.replace('*', score));
            if !self.figures.contains_key(&metric(columns[0].1, scores[0])) {
                continue;
            }
            write!(text, "\n{:NAME$}", format!("{phase}: {what}"))?;
            let width = self.width();
            for (head, _) in columns {
                write!(text, " {:width$}", format!("{head:>NUMBER$}"))?;
            }
            for score in scores {
                write!(text, "\n{score:NAME$}")?;
                for (_, pattern) in columns {
                    write!(text, " {}", self.cell(&metric(pattern, score)))?;
                }
            }
            writeln!(text)?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = Cells {
            figures: figures(&self.metrics)
                .map_err(|_| fmt::Error)?
                .into_iter()
                .collect(),
            intervals: self.intervals.as_ref(),
        };
        let width = cells.width();
        let mut text = format!("{:NAME$}", "");
        for (phase, _, _) in PHASES {
            write!(text, " {phase:width$}")?;
        }
        for (name, says) in FIGURES {
            if cells.figures.contains_key(name) {
                write!(text, "\n{name:NAME$}")?;
                for (_, prefix, _) in PHASES {
                    write!(text, " {}", cells.cell(&format!("{prefix}{name}")))?;
                }
                write!(text, "  {says}")?;
            }
        }
        writeln!(text)?;
        for phase in PHASES {
            cells.scores(&mut text, phase)?;
        }
        for line in text.lines() {
            writeln!(f, "{}", line.trim_end())?;
        }

        writeln!(f, "\nflags")?;
        for (cause, count) in &self.metrics.flags.0 {
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
