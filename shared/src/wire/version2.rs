//! Messages of version 2 of the protocol, as recordings still hold them.

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use super::delivery::{DeliveryStatistics, Guarantee};
use super::message::{
    Hello, LineStatistics, MAX_LABELS, Message, Notice, Performance, Report, Statistics,
    THUMBNAIL_CHUNK, Thumbnail,
};
use crate::image::FrameStatistics;
use crate::triage::{Cause, Causes, Thresholds};

/// As [`Message`], with [`Report`] and others as they were.
#[allow(clippy::large_enum_variant)] // As of `Message`.
#[derive(Serialize, Deserialize)]
pub(super) enum OldMessage {
    Hello(OldHello),
    Report(OldReport),
    Statistics(OldStatistics),
    Notice(Notice),
    Thumbnail(OldThumbnail),
    Performance(Performance),
}

#[derive(Serialize, Deserialize)]
pub(super) struct OldHello {
    schema: u64,
    device: String<24>,
    software: String<16>,
    engine: String<16>,
    model: u32,
    input: [u16; 3],
    classes: u16,
    labels: Vec<String<16>, MAX_LABELS>,
    passes: u32,
    seed: u64,
    thresholds: Thresholds,
}

#[derive(Serialize, Deserialize)]
pub(super) struct OldReport {
    frame: u32,
    captured_us: u64,
    age_us: u32,
    latency_us: u32,
    class: u16,
    confidence: f32,
    predictive_entropy: f32,
    expected_entropy: f32,
    mutual_information: f32,
    variation_ratio: f32,
    standard_deviation: f32,
    margin: f32,
    passes: u32,
    causes: Causes,
    image: FrameStatistics,
}

#[derive(Serialize, Deserialize)]
pub(super) struct OldStatistics {
    frames: u32,
    accepted: u32,
    flagged: u32,
    by_cause: [u32; Cause::ALL.len()],
    failed: u32,
    line: LineStatistics,
    stack_free: u32,
    uptime_us: u64,
    last: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) struct OldThumbnail {
    frame: u32,
    width: u8,
    height: u8,
    offset: u16,
    pixels: Vec<u8, THUMBNAIL_CHUNK>,
}

impl From<OldMessage> for Message {
    fn from(old: OldMessage) -> Self {
        match old {
            OldMessage::Hello(old) => Self::Hello(Hello {
                schema: old.schema,
                device: old.device,
                software: old.software,
                engine: old.engine,
                model: old.model,
                input: old.input,
                classes: old.classes,
                labels: old.labels,
                passes: old.passes,
                seed: old.seed,
                thresholds: old.thresholds,
                epoch: 0,
                challenge: 0,
                guarantee: Guarantee::Once,
            }),
            OldMessage::Report(old) => Self::Report(Report {
                frame: old.frame,
                captured_us: old.captured_us,
                age_us: old.age_us,
                latency_us: old.latency_us,
                class: old.class,
                confidence: old.confidence,
                predictive_entropy: old.predictive_entropy,
                expected_entropy: old.expected_entropy,
                mutual_information: old.mutual_information,
                variation_ratio: old.variation_ratio,
                standard_deviation: old.standard_deviation,
                margin: old.margin,
                passes: old.passes,
                causes: old.causes,
                image: old.image,
                ticket: None,
            }),
            OldMessage::Statistics(old) => Self::Statistics(Statistics {
                frames: old.frames,
                accepted: old.accepted,
                flagged: old.flagged,
                by_cause: old.by_cause,
                failed: old.failed,
                line: old.line,
                delivery: DeliveryStatistics::default(),
                stack_free: old.stack_free,
                uptime_us: old.uptime_us,
                last: old.last,
            }),
            OldMessage::Notice(notice) => Self::Notice(notice),
            OldMessage::Thumbnail(old) => Self::Thumbnail(Thumbnail {
                frame: old.frame,
                width: old.width,
                height: old.height,
                offset: old.offset,
                pixels: old.pixels,
                ticket: None,
            }),
            OldMessage::Performance(performance) => Self::Performance(performance),
        }
    }
}
