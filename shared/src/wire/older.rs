//! Messages of older versions of the protocol, as recordings still hold them.
//!
//! What a version added to a message lies behind what there was, so a newer message is an older one and
//! more: nested structs are written without anything between them.

use heapless::{String, Vec};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::delivery::{DeliveryStatistics, Guarantee, Ticket};
use super::message::{
    Echo, Hello, LineStatistics, MAX_LABELS, Message, Notice, Performance, Report, Statistics,
    THUMBNAIL_CHUNK, Thumbnail,
};
use crate::image::{FrameStatistics, PixelFormat};
use crate::triage::{Cause, Causes, Thresholds};

/// Reads what a sender of this version has written: its sequence number and the message.
pub(super) fn read(version: u8, content: &[u8]) -> Option<(u32, Message)> {
    match version {
        2 => read_as::<Message2>(content),
        3 => read_as::<Message3>(content),
        _ => None,
    }
}

fn read_as<T: DeserializeOwned + Into<Message>>(content: &[u8]) -> Option<(u32, Message)> {
    match postcard::take_from_bytes::<(u32, T)>(content) {
        Ok(((sequence, message), [])) => Some((sequence, message.into())),
        _ => None,
    }
}

#[allow(clippy::large_enum_variant)] // As of `Message`.
#[derive(Serialize, Deserialize)]
enum Message2 {
    Hello(Hello2),
    Report(Report2),
    Statistics(Statistics2),
    Notice(Notice),
    Thumbnail(Thumbnail2),
    Performance(Performance),
}

#[allow(clippy::large_enum_variant)] // As of `Message`.
#[derive(Serialize, Deserialize)]
enum Message3 {
    Hello(Hello3),
    Report(Report),
    Statistics(Statistics),
    Notice(Notice),
    Thumbnail(Thumbnail3),
    Performance(Performance),
    Echo(Echo),
}

#[derive(Serialize, Deserialize)]
struct Hello2 {
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
struct Hello3 {
    before: Hello2,
    epoch: u64,
    challenge: u64,
    guarantee: Guarantee,
}

#[derive(Serialize, Deserialize)]
struct Report2 {
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
struct Statistics2 {
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

/// Grey.
#[derive(Serialize, Deserialize)]
struct Thumbnail2 {
    frame: u32,
    width: u8,
    height: u8,
    offset: u16,
    pixels: Vec<u8, THUMBNAIL_CHUNK>,
}

#[derive(Serialize, Deserialize)]
struct Thumbnail3 {
    before: Thumbnail2,
    ticket: Option<Ticket>,
}

impl From<Message2> for Message {
    fn from(old: Message2) -> Self {
        match old {
            Message2::Hello(old) => Self::Hello(old.into()),
            Message2::Report(old) => Self::Report(old.into()),
            Message2::Statistics(old) => Self::Statistics(old.into()),
            Message2::Notice(notice) => Self::Notice(notice),
            Message2::Thumbnail(old) => Self::Thumbnail(old.into()),
            Message2::Performance(performance) => Self::Performance(performance),
        }
    }
}

impl From<Message3> for Message {
    fn from(old: Message3) -> Self {
        match old {
            Message3::Hello(old) => Self::Hello(Hello {
                epoch: old.epoch,
                challenge: old.challenge,
                guarantee: old.guarantee,
                ..old.before.into()
            }),
            Message3::Report(report) => Self::Report(report),
            Message3::Statistics(statistics) => Self::Statistics(statistics),
            Message3::Notice(notice) => Self::Notice(notice),
            Message3::Thumbnail(old) => Self::Thumbnail(Thumbnail {
                ticket: old.ticket,
                ..old.before.into()
            }),
            Message3::Performance(performance) => Self::Performance(performance),
            Message3::Echo(echo) => Self::Echo(echo),
        }
    }
}

impl From<Hello2> for Hello {
    fn from(old: Hello2) -> Self {
        Self {
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
            preprocessing: Vec::new(),
        }
    }
}

impl From<Report2> for Report {
    fn from(old: Report2) -> Self {
        Self {
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
        }
    }
}

impl From<Statistics2> for Statistics {
    fn from(old: Statistics2) -> Self {
        Self {
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
        }
    }
}

impl From<Thumbnail2> for Thumbnail {
    fn from(old: Thumbnail2) -> Self {
        Self {
            frame: old.frame,
            width: old.width,
            height: old.height,
            format: PixelFormat::Grey8,
            offset: old.offset,
            pixels: old.pixels,
            ticket: None,
        }
    }
}
