//! What a device says.

use heapless::{String, Vec};
use postcard_schema::Schema;
use postcard_schema::key::Key;
use serde::{Deserialize, Serialize};

use super::LinkCounters;
use super::delivery::{DeliveryStatistics, Guarantee, Ticket};
pub use super::notice::{Notice, NoticeCode};
pub use super::performance::Performance;
use super::request::Request;
pub use super::thumbnail::{THUMBNAIL_CHUNK, Thumbnail};
use crate::image::{FrameStatistics, Preprocessing};
use crate::triage::{Cause, Causes, Thresholds, Verdict};

/// Version of the messages.
pub const PROTOCOL_VERSION: u8 = 4;

/// The oldest version whose recordings can still be read.
pub const OLDEST_VERSION: u8 = 2;

/// Fingerprint (FNV-1a) of every field and type of [`Message`] and [`Request`]. Sides whose
/// fingerprints differ were built from different sources.
pub const SCHEMA_HASH: u64 =
    u64::from_le_bytes(Key::for_path::<(Message, Request)>("mcdropout/message").to_bytes());

/// Labels that a greeting has room for.
pub const MAX_LABELS: usize = 16;

/// A message, or a request, with its place in the sender's sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Packet<T = Message> {
    /// Counts messages from 0, wrapping.
    pub sequence: u32,
    /// The message.
    pub message: T,
}

/// Anything a device says.
// Without an allocator the rare, large greeting cannot be boxed.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Schema)]
pub enum Message {
    /// Who speaks: first after start, again from time to time, and when asked.
    Hello(Hello),
    /// One frame's answer.
    Report(Report),
    /// Totals: from time to time, and last before the end.
    Statistics(Statistics),
    /// Something out of the ordinary.
    Notice(Notice),
    /// Part of a frame's picture.
    Thumbnail(Thumbnail),
    /// How well the device keeps up: from time to time.
    Performance(Performance),
    /// The answer to a probe.
    Echo(Echo),
}

impl From<Report> for Message {
    fn from(report: Report) -> Self {
        Self::Report(report)
    }
}

impl From<Thumbnail> for Message {
    fn from(part: Thumbnail) -> Self {
        Self::Thumbnail(part)
    }
}

/// The greeting: what runs, on what, with which model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Schema)]
pub struct Hello {
    /// [`SCHEMA_HASH`] of the sender.
    pub schema: u64,
    /// Name of the device.
    pub device: String<24>,
    /// Version of the software.
    pub software: String<16>,
    /// Name of the inference engine.
    pub engine: String<16>,
    /// [CRC-32](super::crc32) of the model file.
    pub model: u32,
    /// The model's input: channels, rows, columns.
    pub input: [u16; 3],
    /// Number of classes.
    pub classes: u16,
    /// Names of the first [`MAX_LABELS`] classes, possibly shortened; may be empty.
    pub labels: Vec<String<16>, MAX_LABELS>,
    /// Passes per frame, at most.
    pub passes: u32,
    /// Seed of the masks.
    pub seed: u64,
    /// Limits in force.
    pub thresholds: Thresholds,
    /// This life of the device: [`Ticket::epoch`] of what it will number. 0 while it has none.
    pub epoch: u64,
    /// [`Greeting::challenge`](super::request::Greeting::challenge) of the greeting that this answers;
    /// 0 if nobody asked.
    pub challenge: u64,
    /// What is promised about flagged reports.
    pub guarantee: Guarantee,
    /// What becomes of a picture before the model sees it, as [`Preprocessing::to_bytes`] writes it; empty
    /// from versions before 4.
    pub preprocessing: Vec<u8, { Preprocessing::BYTES }>,
}

impl Hello {
    /// What becomes of a picture before the model sees it, if that is told.
    #[must_use]
    pub fn sees(&self) -> Option<Preprocessing> {
        Preprocessing::from_bytes(self.preprocessing.as_array()?)
    }

    /// Whether the same device speaks, with the same model and settings: perhaps after another start,
    /// or to somebody else.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let neutral = |hello: &Self| Self {
            epoch: 0,
            challenge: 0,
            guarantee: Guarantee::Once,
            ..hello.clone()
        };
        neutral(self) == neutral(other)
    }
}

/// The answer to a [`Probe`](super::request::Probe): both clocks, so that the host learns how far they
/// are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Echo {
    /// The probe's own time, on the host's clock.
    pub probe_us: u64,
    /// When it was answered, µs since the device started.
    pub device_us: u64,
}

/// One frame's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Schema)]
pub struct Report {
    /// Frame number: with the seed it fixes every mask, so the frame can be replayed.
    pub frame: u32,
    /// When the frame was captured, µs since the device started (monotonic).
    pub captured_us: u64,
    /// From capture until the device took it up: the frame's age when it was judged, µs.
    pub age_us: u32,
    /// From capture to verdict, µs.
    pub latency_us: u32,
    /// Predicted class.
    pub class: u16,
    /// Mean probability of the predicted class, 0..=1.
    pub confidence: f32,
    /// Total uncertainty, nats.
    pub predictive_entropy: f32,
    /// Aleatoric part, nats.
    pub expected_entropy: f32,
    /// Epistemic part, nats.
    pub mutual_information: f32,
    /// Share of passes that voted otherwise, 0..1.
    pub variation_ratio: f32,
    /// Standard deviation, over the passes, of the predicted class's probability, 0..=½.
    pub standard_deviation: f32,
    /// Lead of the predicted class's mean probability over the second, 0..=1.
    pub margin: f32,
    /// Passes used.
    pub passes: u32,
    /// Why the frame is flagged; empty if it is accepted.
    pub causes: Causes,
    /// What the image looks like.
    pub image: FrameStatistics,
    /// Set if the report is sent until it is acknowledged.
    pub ticket: Option<Ticket>,
}

impl Report {
    /// Accept or flag.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.causes.verdict()
    }
}

/// Totals since the device started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Statistics {
    /// Frames answered.
    pub frames: u32,
    /// Of these, accepted.
    pub accepted: u32,
    /// Of these, flagged.
    pub flagged: u32,
    /// Frames flagged, by cause, in the order of [`Cause::ALL`]; a
    /// frame with several causes counts under each.
    pub by_cause: [u32; Cause::ALL.len()],
    /// Frames that the source or the engine could not serve.
    pub failed: u32,
    /// What the device received.
    pub line: LineStatistics,
    /// What became of what it has to deliver.
    pub delivery: DeliveryStatistics,
    /// Bytes of stack never used since the start; 0 if unknown.
    pub stack_free: u32,
    /// Since the device started, µs.
    pub uptime_us: u64,
    /// Whether the device ends with this message.
    pub last: bool,
}

/// What became of the requests sent to a device; all 0 where it takes none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Schema)]
pub struct LineStatistics {
    /// Requests received intact.
    pub received: u32,
    /// Requests that arrived damaged.
    pub corrupt: u32,
    /// Requests missed, by gaps in the sequence.
    pub lost: u32,
    /// Bytes that came faster than they were taken, or that the UART found broken.
    pub overruns: u32,
}

impl LineStatistics {
    /// What a receiver and its UART counted.
    #[must_use]
    pub fn new(counters: &LinkCounters, overruns: u32) -> Self {
        let narrow = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            received: narrow(counters.received),
            corrupt: narrow(counters.corrupt),
            lost: narrow(counters.lost),
            overruns,
        }
    }
}

impl Message {
    /// Replaces control characters in texts by question marks, for terminals obey these. Texts come
    /// from whoever sends, and are for people to read.
    pub fn make_printable(&mut self) {
        fn printable<const N: usize>(text: &mut String<N>) {
            if text.chars().any(char::is_control) {
                let mut plain = String::new();
                for symbol in text.chars() {
                    let symbol = if symbol.is_control() { '?' } else { symbol };
                    // No symbol gets longer.
                    let _ = plain.push(symbol);
                }
                *text = plain;
            }
        }
        match self {
            Self::Hello(hello) => {
                printable(&mut hello.device);
                printable(&mut hello.software);
                printable(&mut hello.engine);
                hello.labels.iter_mut().for_each(printable);
            }
            Self::Notice(notice) => printable(&mut notice.text),
            _ => {}
        }
    }
}

/// As much of `text` as fits `N` bytes, cut between characters.
#[must_use]
pub fn shortened<const N: usize>(text: &str) -> String<N> {
    let mut short = String::new();
    for character in text.chars() {
        if short.push(character).is_err() {
            break;
        }
    }
    short
}
