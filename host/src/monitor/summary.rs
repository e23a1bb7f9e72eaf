//! Totals over a run: how many frames were accepted, why the others were flagged, and, where the
//! truth is known, how good the accepted ones are.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use shared::triage::{Cause, Verdict};
use shared::wire::LinkCounters;
use shared::wire::delivery::DeliveryStatistics;
use shared::wire::message::{LineStatistics, NoticeCode, Performance, Report, Statistics};

use super::{Agreement, Clock, Exchange, Saved};
use crate::data::{MixEntry, MixKind};

/// Why a manifest was refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot read manifest {}: {reason}", path.display())]
pub struct ManifestError {
    path: PathBuf,
    reason: String,
}

/// What is known of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// What was done to it.
    pub kind: Option<MixKind>,
    /// The class that it shows.
    pub label: Option<u16>,
}

/// What is known of frames, by their numbers.
#[derive(Debug, Default)]
pub struct Manifest(BTreeMap<u32, Truth>);

impl Manifest {
    /// Reads a `manifest.json`, which `host data mix` writes beside its pictures.
    ///
    /// # Errors
    /// If it cannot be read or is not such a file.
    pub fn open(path: &Path) -> Result<Self, ManifestError> {
        let failed = |reason| ManifestError {
            path: path.to_owned(),
            reason,
        };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let entries: Vec<MixEntry> =
            serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        let truths = entries.iter().map(|entry| Truth {
            kind: Some(entry.kind),
            label: entry.label,
        });
        Ok(Self((0..).zip(truths).collect()))
    }

    /// Frames that show these classes, from number 0 on.
    #[must_use]
    pub fn of_labels(labels: &[u16]) -> Self {
        let truths = labels.iter().map(|&label| Truth {
            kind: None,
            label: Some(label),
        });
        Self((0..).zip(truths).collect())
    }

    /// What is known of frame number `frame`.
    #[must_use]
    pub fn truth(&self, frame: u32) -> Truth {
        self.0.get(&frame).copied().unwrap_or_default()
    }
}

/// Outcome of the frames of one kind whose truth is known.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Tested {
    /// Frames judged.
    pub frames: u32,
    /// Of those, flagged.
    pub flagged: u32,
    /// Accepted frames that show a known class.
    pub accepted_labelled: u32,
    /// Of those, classified rightly.
    pub accepted_right: u32,
}

/// Totals over the reports received.
#[derive(Debug, Default, Serialize)]
pub struct Summary {
    /// Reports received.
    pub frames: u32,
    /// Accepted frames.
    pub accepted: u32,
    /// Flagged frames.
    pub flagged: u32,
    /// Flagged frames per cause; a frame may have several.
    pub by_cause: BTreeMap<&'static str, u32>,
    /// Frames per kind of the manifest, if one was given.
    pub by_kind: BTreeMap<MixKind, Tested>,
    /// Accuracy among accepted frames that show a known class.
    pub accuracy_among_accepted: Option<f64>,
    /// Accuracy among all frames that show a known class.
    pub accuracy_among_all: Option<f64>,
    /// Frames per second on the device's clock.
    pub frames_per_second: Option<f64>,
    /// What became of everything that came down the link.
    pub link: LinkCounters,
    /// What became of frames sent to the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchange: Option<Exchange>,
    /// How far its answers are from those recomputed here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Agreement>,
    /// Frames that the device could not read or judge, as it told.
    pub failed: u32,
    /// What became of the requests sent to the device, as it told.
    pub requests: Option<LineStatistics>,
    /// What became of flagged reports on their way, as the device told.
    pub delivery: Option<DeliveryStatistics>,
    /// Reports and parts of pictures that came again, and were taken once.
    pub repeats: u64,
    /// How far the clocks are apart.
    pub clock: Option<Clock>,
    /// Bytes of stack that the device never used, as it told.
    pub stack_free: Option<u32>,
    /// How well the device keeps up, as it told.
    pub performance: Option<Performance>,
    /// What became of the pictures of flagged frames, if they are saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pictures: Option<Saved>,
    /// Notices of the device, by code.
    pub notices: BTreeMap<&'static str, u32>,
    /// Of these, how many say that the device does not do its work.
    pub failures: u32,
    /// Whether the device said goodbye.
    pub complete: bool,
    #[serde(skip)]
    right: (u32, u32),
    #[serde(skip)]
    right_accepted: (u32, u32),
    #[serde(skip)]
    captured: Option<(u64, u64)>,
    #[serde(skip)]
    told: Option<Statistics>,
}

impl Summary {
    /// Counts one report.
    pub fn count(&mut self, report: &Report, truth: Truth) {
        self.frames += 1;
        let accepted = report.causes.verdict() == Verdict::Accept;
        *(if accepted {
            &mut self.accepted
        } else {
            &mut self.flagged
        }) += 1;
        for cause in report.causes.iter() {
            *self.by_cause.entry(cause.name()).or_default() += 1;
        }
        let first = self.captured.map_or(report.captured_us, |(first, _)| first);
        self.captured = Some((first, report.captured_us));

        let right = truth.label.map(|label| u32::from(report.class == label));
        if let Some(right) = right {
            self.right = (self.right.0 + right, self.right.1 + 1);
            if accepted {
                self.right_accepted = (self.right_accepted.0 + right, self.right_accepted.1 + 1);
            }
        }
        if let Some(kind) = truth.kind {
            let tested = self.by_kind.entry(kind).or_default();
            tested.frames += 1;
            tested.flagged += u32::from(!accepted);
            if let Some(right) = right.filter(|_| accepted) {
                tested.accepted_labelled += 1;
                tested.accepted_right += right;
            }
        }
    }

    /// Counts one notice.
    pub fn notice(&mut self, code: NoticeCode) {
        *self.notices.entry(code.name()).or_default() += 1;
        self.failures += u32::from(code.is_failure());
    }

    /// Takes in what the device tells of itself.
    pub fn statistics(&mut self, statistics: &Statistics) {
        self.failed = statistics.failed;
        self.complete = statistics.last;
        if statistics.line != LineStatistics::default() {
            self.requests = Some(statistics.line);
        }
        if statistics.delivery != DeliveryStatistics::default() {
            self.delivery = Some(statistics.delivery);
        }
        if statistics.stack_free > 0 {
            self.stack_free = Some(statistics.stack_free);
        }
        self.told = Some(statistics.clone());
    }

    /// Takes in how well the device keeps up.
    pub fn performance(&mut self, performance: &Performance) {
        self.performance = Some(*performance);
    }

    /// Takes in the link's counters and computes the ratios.
    pub fn finish(&mut self, link: &LinkCounters) {
        self.link = *link;
        let ratio = |part: u32, of: u32| (of > 0).then(|| f64::from(part) / f64::from(of));
        self.accuracy_among_accepted = ratio(self.right_accepted.0, self.right_accepted.1);
        self.accuracy_among_all = ratio(self.right.0, self.right.1);
        let rate = |frames: u32, microseconds: u64| {
            (frames > 0 && microseconds > 0)
                .then(|| f64::from(frames) / (microseconds as f64 * 1e-6))
        };
        self.frames_per_second = match (&self.told, self.captured) {
            (Some(told), _) => rate(told.frames, told.uptime_us),
            (None, Some((first, last))) => {
                rate(self.frames.saturating_sub(1), last.saturating_sub(first))
            }
            (None, None) => None,
        };
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |part: u32, of: u32| {
            if of == 0 {
                0.0
            } else {
                100.0 * f64::from(part) / f64::from(of)
            }
        };
        writeln!(f, "frames      {}", self.frames)?;
        writeln!(
            f,
            "accepted    {} ({:.1} %)",
            self.accepted,
            share(self.accepted, self.frames)
        )?;
        writeln!(
            f,
            "flagged     {} ({:.1} %)",
            self.flagged,
            share(self.flagged, self.frames)
        )?;
        for cause in Cause::ALL {
            if let Some(count) = self.by_cause.get(cause.name()) {
                writeln!(f, "  {:<18} {count}", cause.name())?;
            }
        }
        if !self.by_kind.is_empty() {
            writeln!(f, "flagged by kind of frame")?;
            for (kind, tested) in &self.by_kind {
                writeln!(
                    f,
                    "  {:<18} {} of {} ({:.1} %)",
                    kind.name(),
                    tested.flagged,
                    tested.frames,
                    share(tested.flagged, tested.frames)
                )?;
            }
        }
        if let Some(all) = self.accuracy_among_all {
            f.write_str("accuracy    ")?;
            if let Some(accepted) = self.accuracy_among_accepted {
                write!(f, "{:.2} % among accepted, ", 100.0 * accepted)?;
            }
            writeln!(f, "{:.2} % among all frames of a known class", 100.0 * all)?;
        }
        if let Some(rate) = self.frames_per_second {
            writeln!(f, "speed       {rate:.1} frames/s")?;
        }
        let LinkCounters {
            lost,
            corrupt,
            discarded_bytes,
            ..
        } = self.link;
        write!(
            f,
            "link        {lost} messages lost, {corrupt} corrupt, {discarded_bytes} bytes discarded"
        )?;
        if self.failed > 0 {
            write!(f, "; {} frames failed on the device", self.failed)?;
        }
        if let Some(LineStatistics {
            received,
            corrupt,
            lost,
            overruns,
        }) = self.requests
        {
            write!(
                f,
                "\nto device   {received} requests received, {lost} lost, {corrupt} corrupt, {overruns} bytes overrun, since its start"
            )?;
        }
        if let Some(DeliveryStatistics {
            delivered,
            pending,
            resent,
            overflowed,
            dropped,
        }) = self.delivery
        {
            write!(
                f,
                "\ndelivery    {delivered} flagged reports acknowledged, {pending} waiting, {overflowed} without room; {resent} repetitions, {} taken for such; {dropped} accepted frames not reported",
                self.repeats
            )?;
        }
        if let Some(clock) = &self.clock {
            write!(
                f,
                "\nclocks      {:+.1} ms apart, ±{:.1} ms",
                clock.offset_us as f64 / 1e3,
                clock.round_trip_us as f64 / 2e3
            )?;
        }
        if let Some(free) = self.stack_free {
            write!(f, "\nstack       {free} bytes never used")?;
        }
        if let Some(performance) = &self.performance {
            write!(f, "\n{performance}")?;
        }
        if let Some(pictures) = &self.pictures {
            write!(f, "\n{pictures}")?;
        }
        if let Some(exchange) = &self.exchange {
            write!(f, "\n{exchange}")?;
        }
        if let Some(agreement) = &self.agreement {
            write!(f, "\n{agreement}")?;
        }
        for code in NoticeCode::ALL {
            if let Some(count) = self.notices.get(code.name()) {
                let what = if code.is_failure() { "ERROR" } else { "notice" };
                write!(f, "\n{what:<12}{code} × {count}")?;
            }
        }
        Ok(())
    }
}
