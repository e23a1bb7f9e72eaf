//! What a device says, without one.

use std::fs::File;
use std::path::Path;

use embedded_io_adapters::std::FromStd;
use shared::image::{FrameStatistics, PixelFormat};
use shared::triage::{Cause, Causes, Thresholds};
use shared::wire::delivery::Guarantee;
use shared::wire::link::{Sender, WireFormat};
use shared::wire::message::{
    Hello, Message, Notice, NoticeCode, Report, SCHEMA_HASH, Thumbnail, shortened,
};

/// Writes the recording of a device that judges ten frames a second: every fourth is flagged, with a
/// picture of vertical stripes, black and as bright as its number. It ends with a panic.
///
/// # Panics
/// If the file cannot be written.
pub fn recording(path: &Path, frames: u8) {
    let file = File::create(path).expect("created");
    let mut sender = Sender::new(FromStd::new(file), WireFormat::Binary);
    let mut send = |message: &Message| {
        sender.send(message).expect("written");
    };
    send(&Message::Hello(Hello {
        schema: SCHEMA_HASH,
        device: shortened("gate"),
        software: shortened("7.8.9"),
        engine: shortened("native"),
        model: 0xBEEF,
        input: [1, 28, 28],
        classes: 2,
        labels: ["bolt", "nut"].map(shortened).into_iter().collect(),
        passes: 50,
        seed: 1,
        thresholds: Thresholds::OFF,
        epoch: 0,
        challenge: 0,
        guarantee: Guarantee::Once,
        preprocessing: [].into_iter().collect(),
    }));
    for frame in 0..frames {
        let flagged = frame % 4 == 3;
        let causes = [Cause::Unfamiliar, Cause::Uncertain];
        send(&Message::Report(Report {
            frame: frame.into(),
            captured_us: u64::from(frame) * 100_000,
            age_us: 0,
            latency_us: 2_500,
            class: (frame % 2).into(),
            confidence: 0.75,
            predictive_entropy: 0.5,
            expected_entropy: 0.375,
            mutual_information: 0.125,
            variation_ratio: 0.25,
            standard_deviation: 0.0625,
            margin: 0.5,
            passes: 50,
            causes: if flagged {
                causes.into_iter().collect()
            } else {
                Causes::EMPTY
            },
            image: FrameStatistics {
                mean: 0.5,
                black: 0.0,
                white: 1.0,
                contrast: 1.0,
                sharpness: 1.0,
                saturated: 0.0,
                plateau: 0.0,
            },
            ticket: None,
        }));
        if flagged {
            let bright = 255 - frame;
            let luma: Vec<u8> = (0..28 * 28)
                .map(|pixel| bright * (pixel % 2) as u8)
                .collect();
            let mut offset = 0;
            while let Some(part) =
                Thumbnail::part(frame.into(), (28, 28), PixelFormat::Grey8, &luma, offset)
            {
                offset += part.pixels.len();
                send(&Message::Thumbnail(part));
            }
        }
    }
    send(&Message::Notice(Notice {
        code: NoticeCode::Panicked,
        detail: 0,
        text: shortened("src/judge.rs:7"),
    }));
}
