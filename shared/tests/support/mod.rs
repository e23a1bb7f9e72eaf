//! Messages for the tests of the wire: fixed, arbitrary, and the longest.

#![allow(dead_code)] // Each test program uses its own part.

use proptest::prelude::*;
use shared::image::{
    Channels, FrameStatistics, Geometry, Interpolation, MAX_CHANNELS, Normalisation, PixelFormat,
    Preprocessing, ValueRange,
};
use shared::triage::{Cause, Causes, Thresholds};
use shared::wire::delivery::{DeliveryStatistics, Guarantee, Ticket};
use shared::wire::message::{
    Echo, Hello, LineStatistics, Message, Notice, NoticeCode, Performance, Report, SCHEMA_HASH,
    Statistics, THUMBNAIL_CHUNK, Thumbnail, shortened,
};

pub(crate) fn hello() -> Message {
    Message::Hello(Hello {
        schema: SCHEMA_HASH,
        device: shortened("bench-camera"),
        software: shortened("0.1.0"),
        engine: shortened("tract"),
        model: 0xDEAD_BEEF,
        input: [1, 28, 20],
        classes: 3,
        labels: ["cat", "dog", "a bird"]
            .into_iter()
            .map(shortened)
            .collect(),
        passes: 100,
        seed: 42,
        thresholds: Thresholds::uncalibrated(3),
        epoch: 0x0123_4567_89AB_CDEF,
        challenge: 7,
        guarantee: Guarantee::Durable,
        preprocessing: Preprocessing {
            geometry: Geometry::Letterbox(114),
            ..Preprocessing::grey(Normalisation::MNIST)
        }
        .to_bytes()
        .into(),
    })
}

pub(crate) fn report(frame: u32) -> Message {
    Message::Report(Report {
        frame,
        captured_us: 1_000_000 + u64::from(frame) * 33_333,
        age_us: 1_800,
        latency_us: 7_200,
        class: 7,
        confidence: 0.9375,
        predictive_entropy: 0.25,
        expected_entropy: 0.125,
        mutual_information: 0.125,
        variation_ratio: 0.0625,
        standard_deviation: 0.5,
        margin: 0.875,
        passes: 100,
        causes: Causes::from_bits(0b100_0100).expect("known causes"),
        image: FrameStatistics {
            mean: 0.125,
            black: 0.0625,
            white: 0.875,
            contrast: 0.25,
            sharpness: 0.5,
            saturated: 0.0,
            plateau: 0.75,
        },
        ticket: Some(Ticket {
            epoch: 0xFEED,
            number: 5,
            behind: 2,
        }),
    })
}

pub(crate) fn statistics() -> Message {
    Message::Statistics(Statistics {
        frames: 100,
        accepted: 80,
        flagged: 20,
        by_cause: [1, 2, 3, 4, 5, 6, 7, 8, 9],
        failed: 2,
        line: LineStatistics {
            received: 700,
            corrupt: 3,
            lost: 4,
            overruns: 5,
        },
        delivery: DeliveryStatistics {
            delivered: 15,
            pending: 5,
            resent: 6,
            overflowed: 1,
            dropped: 8,
        },
        stack_free: 1_024,
        uptime_us: 12_345_678,
        last: true,
    })
}

pub(crate) fn notice() -> Message {
    Message::Notice(Notice {
        code: NoticeCode::PlanChecksum,
        detail: 7,
        text: shortened("stored 1, computed 2"),
    })
}

pub(crate) fn thumbnail() -> Message {
    Message::Thumbnail(Thumbnail {
        frame: 12,
        width: 28,
        height: 20,
        format: PixelFormat::Rgb8,
        offset: 556,
        pixels: [0, 1, 0xAB, 255].into_iter().collect(),
        ticket: None,
    })
}

pub(crate) fn performance() -> Message {
    Message::Performance(Performance {
        captured: 300,
        dropped: 2,
        corrupt: 1,
        missed: 4,
        reconnects: 1,
        latency_us: [7_200, 9_100, 33_000],
        mean_passes: 22.5,
        processor: 0.0375,
        peak_memory_kib: 26_000,
        temperature: Some(41.5),
    })
}

/// A greeting whose every field takes as many bytes as it can, in either format.
pub(crate) fn longest() -> Message {
    let wide = "é".repeat(12);
    Message::Hello(Hello {
        schema: u64::MAX,
        device: shortened(&wide),
        software: shortened(&wide),
        engine: shortened(&wide),
        model: u32::MAX,
        input: [u16::MAX; 3],
        classes: u16::MAX,
        labels: (0..16).map(|_| shortened(&wide)).collect(),
        passes: u32::MAX,
        seed: u64::MAX,
        thresholds: Thresholds {
            max_black: f32::MIN,
            max_plateau: f32::MIN,
            max_saturated: f32::MIN,
            min_white: f32::MIN,
            min_sharpness: f32::MIN,
            min_contrast: f32::MIN,
            max_mutual_information: f32::MIN,
            max_expected_entropy: f32::MIN,
            max_predictive_entropy: f32::MAX.next_down(),
        },
        epoch: u64::MAX,
        challenge: u64::MAX,
        guarantee: Guarantee::Durable,
        preprocessing: Preprocessing {
            channels: Channels::Grey,
            geometry: Geometry::ShortSide(u16::MAX),
            interpolation: Interpolation::Bilinear,
            range: ValueRange::Symmetric,
            normalisation: [Normalisation {
                mean: f32::MIN,
                standard_deviation: f32::MIN,
            }; MAX_CHANNELS],
        }
        .to_bytes()
        .into(),
    })
}

fn text<const N: usize>() -> impl Strategy<Value = heapless::String<N>> {
    prop_oneof![".{0,24}", "[a-z -,=%*]{0,24}"].prop_map(|text| shortened(&text))
}

fn finite() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => 0.0_f32..3.0,
        1 => any::<f32>().prop_filter("finite", |value| value.is_finite()),
    ]
}

/// Of a model of any number of planes: what is said of those that it has not is as of none.
fn any_preprocessing() -> impl Strategy<Value = Preprocessing> {
    let geometry = prop_oneof![
        Just(Geometry::CenterCrop),
        Just(Geometry::Stretch),
        any::<u8>().prop_map(Geometry::Letterbox),
        (1..=u16::MAX).prop_map(Geometry::ShortSide),
    ];
    (
        prop::sample::select(Channels::ALL.map(|(_, it)| it).to_vec()),
        geometry,
        prop::sample::select(Interpolation::ALL.map(|(_, it)| it).to_vec()),
        prop::sample::select(ValueRange::ALL.map(|(_, it)| it).to_vec()),
        [finite(), finite()],
    )
        .prop_map(|(channels, geometry, interpolation, range, values)| {
            let mut normalisation = [Normalisation::IDENTITY; MAX_CHANNELS];
            normalisation[0] = Normalisation {
                mean: values[0],
                standard_deviation: values[1],
            };
            Preprocessing {
                channels,
                geometry,
                interpolation,
                range,
                normalisation,
            }
        })
}

fn any_hello() -> impl Strategy<Value = Message> {
    (
        (any::<u64>(), text(), text(), text(), any::<u32>()),
        (
            any::<[u16; 3]>(),
            any::<u16>(),
            prop::collection::vec(text(), 0..=16),
        ),
        (
            any::<u32>(),
            any::<[u64; 3]>(),
            prop::array::uniform9(finite()),
        ),
        prop::sample::select(&Guarantee::ALL[..]),
        prop::option::of(any_preprocessing()),
    )
        .prop_map(
            |(
                (schema, device, software, engine, model),
                (input, classes, labels),
                (passes, [seed, epoch, challenge], limits),
                guarantee,
                preprocessing,
            )| {
                let [a, b, c, d, e, f, g, h, i] = limits;
                Message::Hello(Hello {
                    schema,
                    device,
                    software,
                    engine,
                    model,
                    input,
                    classes,
                    labels: labels.into_iter().collect(),
                    passes,
                    seed,
                    thresholds: Thresholds {
                        max_black: a,
                        max_plateau: b,
                        max_saturated: c,
                        min_white: d,
                        min_sharpness: e,
                        min_contrast: f,
                        max_mutual_information: g,
                        max_expected_entropy: h,
                        max_predictive_entropy: i,
                    },
                    epoch,
                    challenge,
                    guarantee,
                    preprocessing: preprocessing
                        .map(|told: Preprocessing| told.to_bytes().into())
                        .unwrap_or_default(),
                })
            },
        )
}

fn any_report() -> impl Strategy<Value = Message> {
    (
        (
            any::<u32>(),
            any::<u64>(),
            any::<[u32; 2]>(),
            any::<u16>(),
            any::<u32>(),
        ),
        0..512_u16,
        prop::array::uniform14(finite()),
        any_ticket(),
    )
        .prop_map(
            |(
                (frame, captured_us, [age_us, latency_us], class, passes),
                causes,
                values,
                ticket,
            )| {
                let [
                    a,
                    b,
                    c,
                    d,
                    e,
                    f,
                    g,
                    mean,
                    black,
                    white,
                    contrast,
                    sharpness,
                    saturated,
                    plateau,
                ] = values;
                Message::Report(Report {
                    frame,
                    captured_us,
                    age_us,
                    latency_us,
                    class,
                    confidence: a,
                    predictive_entropy: b,
                    expected_entropy: c,
                    mutual_information: d,
                    variation_ratio: e,
                    standard_deviation: f,
                    margin: g,
                    passes,
                    causes: Causes::from_bits(causes).expect("known causes"),
                    image: FrameStatistics {
                        mean,
                        black,
                        white,
                        contrast,
                        sharpness,
                        saturated,
                        plateau,
                    },
                    ticket,
                })
            },
        )
}

fn any_statistics() -> impl Strategy<Value = Message> {
    (
        any::<[u32; 3]>(),
        any::<[u32; Cause::ALL.len()]>(),
        any::<[u32; 11]>(),
        any::<u64>(),
        any::<bool>(),
    )
        .prop_map(
            |([frames, accepted, flagged], by_cause, counts, uptime_us, last)| {
                let [
                    failed,
                    received,
                    corrupt,
                    lost,
                    overruns,
                    stack_free,
                    delivered,
                    pending,
                    resent,
                    overflowed,
                    dropped,
                ] = counts;
                Message::Statistics(Statistics {
                    frames,
                    accepted,
                    flagged,
                    by_cause,
                    failed,
                    line: LineStatistics {
                        received,
                        corrupt,
                        lost,
                        overruns,
                    },
                    delivery: DeliveryStatistics {
                        delivered,
                        pending,
                        resent,
                        overflowed,
                        dropped,
                    },
                    stack_free,
                    uptime_us,
                    last,
                })
            },
        )
}

fn any_notice() -> impl Strategy<Value = Message> {
    (
        prop::sample::select(&NoticeCode::ALL[..]),
        any::<u32>(),
        text(),
    )
        .prop_map(|(code, detail, text)| Message::Notice(Notice { code, detail, text }))
}

fn any_thumbnail() -> impl Strategy<Value = Message> {
    (
        any::<u32>(),
        any::<[u8; 2]>(),
        prop::sample::select(PixelFormat::ALL.map(|(_, it)| it).to_vec()),
        any::<u16>(),
        prop::collection::vec(any::<u8>(), 0..=THUMBNAIL_CHUNK),
        any_ticket(),
    )
        .prop_map(|(frame, [width, height], format, offset, pixels, ticket)| {
            Message::Thumbnail(Thumbnail {
                frame,
                width,
                height,
                format,
                offset,
                pixels: pixels.into_iter().collect(),
                ticket,
            })
        })
}

fn any_performance() -> impl Strategy<Value = Message> {
    (
        any::<[u32; 5]>(),
        any::<[u32; 3]>(),
        [finite(), finite()],
        any::<u32>(),
        prop::option::of(finite()),
    )
        .prop_map(
            |(counts, latency_us, [mean_passes, processor], peak_memory_kib, temperature)| {
                let [captured, dropped, corrupt, missed, reconnects] = counts;
                Message::Performance(Performance {
                    captured,
                    dropped,
                    corrupt,
                    missed,
                    reconnects,
                    latency_us,
                    mean_passes,
                    processor,
                    peak_memory_kib,
                    temperature,
                })
            },
        )
}

fn any_ticket() -> impl Strategy<Value = Option<Ticket>> {
    prop::option::of(
        any::<(u64, u32, u8)>().prop_map(|(epoch, number, behind)| Ticket {
            epoch,
            number,
            behind,
        }),
    )
}

fn any_echo() -> impl Strategy<Value = Message> {
    any::<[u64; 2]>().prop_map(|[probe_us, device_us]| {
        Message::Echo(Echo {
            probe_us,
            device_us,
        })
    })
}

/// Any message at all.
pub(crate) fn any_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        any_hello(),
        any_report(),
        any_statistics(),
        any_notice(),
        any_thumbnail(),
        any_performance(),
        any_echo()
    ]
}
