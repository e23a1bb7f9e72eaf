//! How a device's messages are shown, whichever command receives them.

use std::cmp::Ordering;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use shared::wire::message::{Hello, Message, Notice, SCHEMA_HASH};
use shared::wire::{LinkCounters, Packet};

use crate::files;
use crate::monitor::{Manifest, NoticeRecord, Record, Summary, Table, explain, label, sees};

/// In which form reports and their summary are shown.
#[derive(Debug, clap::Args)]
pub(super) struct Form {
    /// One JSON object a report and line; the default where stdout is not a terminal.
    #[arg(long)]
    pub(super) json: bool,
    /// Rows even where stdout is not a terminal.
    #[arg(long, conflicts_with = "json")]
    table: bool,
    /// Show, and log, flagged frames only.
    #[arg(long)]
    pub(super) flagged: bool,
    /// Write the summary to this file as JSON.
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
}

impl Form {
    /// Rows for a person, not JSON lines.
    pub(super) fn is_rows(&self) -> bool {
        self.table || (!self.json && io::stdout().is_terminal())
    }
}

/// How messages are printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Print {
    Rows,
    Json,
    /// Not at all: something else shows them. The summary is rows.
    Nothing,
}

/// Shows messages and sums them up.
pub(super) struct View<'a> {
    form: &'a Form,
    print: Print,
    hello: Option<Hello>,
    lost: u64,
    /// What is known of the frames.
    pub(super) manifest: Manifest,
    /// The totals so far.
    pub(super) summary: Summary,
}

impl<'a> View<'a> {
    pub(super) fn new(form: &'a Form, manifest: Manifest) -> Self {
        let print = if form.is_rows() {
            Print::Rows
        } else {
            Print::Json
        };
        Self::printing(print, form, manifest)
    }

    pub(super) fn printing(print: Print, form: &'a Form, manifest: Manifest) -> Self {
        Self {
            form,
            print,
            hello: None,
            lost: 0,
            manifest,
            summary: Summary::default(),
        }
    }

    /// Shows the heading, if there is one.
    pub(super) fn start(&self) -> io::Result<()> {
        if self.print == Print::Rows {
            writeln!(anstream::stdout(), "{}", Table::heading())
        } else {
            Ok(())
        }
    }

    /// Shows one message that came on a link with these counters; `true` if it was the device's
    /// last.
    pub(super) fn packet(&mut self, packet: &Packet, link: &LinkCounters) -> anyhow::Result<bool> {
        if link.lost > self.lost {
            tracing::warn!(
                "{} messages lost on the line, {} in all",
                link.lost - self.lost,
                link.lost
            );
            self.lost = link.lost;
        }
        match &packet.message {
            Message::Hello(hello) => self.greet(hello),
            Message::Report(report) => {
                self.summary
                    .count(report, self.manifest.truth(report.frame));
                if self.form.flagged && report.causes.is_empty() {
                    return Ok(false);
                }
                let hello = self.hello.as_ref();
                match self.print {
                    Print::Rows => {
                        let row = Table::row(packet.sequence, report, hello);
                        writeln!(anstream::stdout(), "{row}")?;
                    }
                    Print::Json => {
                        let label = label(hello, report.class);
                        print_json(&Record::new(packet.sequence, report, label, link))?;
                    }
                    Print::Nothing => {}
                }
            }
            Message::Statistics(statistics) => {
                self.summary.statistics(statistics);
                return Ok(statistics.last);
            }
            Message::Notice(notice) => self.notice(packet.sequence, notice)?,
            Message::Performance(performance) => self.summary.performance(performance),
            // Words and figures only.
            Message::Thumbnail(_) | Message::Echo(_) => {}
        }
        Ok(false)
    }

    fn greet(&mut self, hello: &Hello) {
        if self
            .hello
            .as_ref()
            .is_some_and(|known| known.is_like(hello))
        {
            return;
        }
        if hello.schema != SCHEMA_HASH {
            tracing::warn!("{}", mismatch(hello));
        }
        tracing::info!(
            "'{}' runs model {:08x} on {}, {} passes a frame, version {}",
            hello.device,
            hello.model,
            hello.engine,
            hello.passes,
            hello.software
        );
        if let Some(sees) = sees(hello) {
            tracing::info!("of a frame the model sees: {sees}");
        }
        self.hello = Some(hello.clone());
    }

    fn notice(&mut self, sequence: u32, notice: &Notice) -> anyhow::Result<()> {
        self.summary.notice(notice.code);
        let words = explain(notice);
        if notice.code.is_failure() {
            tracing::error!("{words}");
        } else {
            tracing::warn!("{words}");
        }
        if self.print == Print::Json {
            print_json(&NoticeRecord::new(sequence, notice, &words))?;
        }
        Ok(())
    }

    /// Shows the summary.
    pub(super) fn finish(&mut self, link: &LinkCounters) -> anyhow::Result<()> {
        self.summary.finish(link);
        if let Some(path) = &self.form.summary {
            files::write(
                path,
                serde_json::to_string_pretty(&self.summary)?.as_bytes(),
            )?;
        }
        match self.print {
            Print::Rows => writeln!(io::stdout().lock(), "\n{}", self.summary)?,
            Print::Nothing => writeln!(io::stdout().lock(), "{}", self.summary)?,
            // stdout holds what machines read and nothing else.
            Print::Json => eprintln!("{}", self.summary),
        }
        Ok(())
    }
}

/// What to do about a device of another build.
pub(super) fn mismatch(hello: &Hello) -> String {
    let here = env!("CARGO_PKG_VERSION");
    let parts = |version: &str| -> Option<Vec<u64>> {
        version
            .split('.')
            .map(|number| number.parse().ok())
            .collect()
    };
    let order = parts(&hello.software).zip(parts(here));
    let advice = match order.map(|(there, here)| there.cmp(&here)) {
        Some(Ordering::Less) => "update the device",
        Some(Ordering::Greater) => "update this program",
        Some(Ordering::Equal) | None => "build both from the same sources",
    };
    format!(
        "'{}' runs version {} with another message layout than this program's {here}: {advice}",
        hello.device, hello.software
    )
}

fn print_json(record: &impl serde::Serialize) -> anyhow::Result<()> {
    writeln!(io::stdout().lock(), "{}", serde_json::to_string(record)?)?;
    Ok(())
}
