//! What the monitor prints for a report: a row of a table, or a JSON object.

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use shared::triage::Verdict;
use shared::wire::LinkCounters;
use shared::wire::message::{Hello, Report};

use super::TicketRecord;

/// One report as the monitor's JSON lines show it. Entropies in nats, times in microseconds.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    /// Sequence number on the link.
    pub seq: u32,
    /// Frame number on the device.
    pub frame: u32,
    /// Predicted class.
    pub class: u16,
    /// Its name, if the device told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<&'a str>,
    /// Mean probability of that class.
    pub confidence: f32,
    /// Total uncertainty.
    pub predictive_entropy: f32,
    /// Aleatoric part.
    pub expected_entropy: f32,
    /// Epistemic part.
    pub mutual_information: f32,
    /// Share of passes that voted otherwise.
    pub variation_ratio: f32,
    /// Standard deviation of the class's probability over the passes.
    pub standard_deviation: f32,
    /// Distance to the second class, in probability.
    pub margin: f32,
    /// Passes sampled.
    pub passes: u32,
    /// `accept` or `flag`.
    pub verdict: &'static str,
    /// Names of the thresholds crossed.
    pub causes: Vec<&'static str>,
    /// Brightness and the like, as the model saw the picture.
    pub image: shared::image::FrameStatistics,
    /// When the frame was taken, on the device's clock.
    pub captured_us: u64,
    /// From capture until the device took it up.
    pub age_us: u32,
    /// From capture to decision.
    pub latency_us: u32,
    /// Reports lost on the link so far.
    pub lost: u64,
    /// Corrupt frames on the link so far.
    pub corrupt: u64,
    /// Of a report that is delivered exactly once: what names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<TicketRecord>,
}

impl<'a> Record<'a> {
    /// The record of `report`, number `seq` on a link with these counters, that answers the class
    /// of this name.
    #[must_use]
    pub fn new(seq: u32, report: &Report, label: Option<&'a str>, link: &LinkCounters) -> Self {
        Self {
            seq,
            frame: report.frame,
            class: report.class,
            label,
            confidence: report.confidence,
            predictive_entropy: report.predictive_entropy,
            expected_entropy: report.expected_entropy,
            mutual_information: report.mutual_information,
            variation_ratio: report.variation_ratio,
            standard_deviation: report.standard_deviation,
            margin: report.margin,
            passes: report.passes,
            verdict: report.verdict().name(),
            causes: report
                .causes
                .iter()
                .map(shared::triage::Cause::name)
                .collect(),
            image: report.image,
            captured_us: report.captured_us,
            age_us: report.age_us,
            latency_us: report.latency_us,
            lost: link.lost,
            corrupt: link.corrupt,
            ticket: report.ticket.map(TicketRecord::from),
        }
    }
}

/// The name of a class, if the device told it.
pub(crate) fn label(hello: Option<&Hello>, class: u16) -> Option<&str> {
    hello
        .and_then(|hello| hello.labels.get(usize::from(class)))
        .map(AsRef::as_ref)
}

/// Rows for a person's eyes, printed through `anstream`, which drops the colours where they are not
/// wanted.
#[derive(Debug, Default)]
pub struct Table;

impl Table {
    /// The heading.
    #[must_use]
    pub fn heading() -> String {
        format!(
            "{:>7} {:>7} {:<7} {:<10} {:>6} {:>7} {:>9} {:>9} {:>6} {:>6} {:>8}  {}",
            "seq",
            "frame",
            "verdict",
            "class",
            "conf",
            "total",
            "aleatoric",
            "epistemic",
            "votes",
            "passes",
            "ms",
            "causes"
        )
    }

    /// The row of one report: entropies in nats (total = predictive entropy, aleatoric = expected
    /// entropy, epistemic = mutual information); votes = share of passes that voted for the class
    /// most voted for.
    #[must_use]
    pub fn row(seq: u32, report: &Report, hello: Option<&Hello>) -> String {
        let colour = match report.verdict() {
            Verdict::Accept => AnsiColor::Green,
            Verdict::Flag => AnsiColor::Red,
        };
        let style = Style::new().fg_color(Some(colour.into()));
        let class =
            label(hello, report.class).map_or_else(|| report.class.to_string(), str::to_owned);
        let causes = if report.causes.is_empty() {
            String::new()
        } else {
            report.causes.to_string()
        };
        format!(
            "{seq:>7} {:>7} {style}{:<7}{style:#} {class:<10} {:>6.3} {:>7.4} {:>9.4} {:>9.4} {:>6.3} {:>6} {:>8.1}  {causes}",
            report.frame,
            report.verdict().name(),
            report.confidence,
            report.predictive_entropy,
            report.expected_entropy,
            report.mutual_information,
            1.0 - report.variation_ratio,
            report.passes,
            f64::from(report.latency_us) / 1000.0,
        )
        .trim_end()
        .to_owned()
    }
}
