//! Writes what fuzzing begins with into `fuzz/corpus`: messages, models and pictures that are right.
//! Files that are there under other names (what was once found to fail) stay.
//!
//! ```sh
//! cargo run -p tests --bin make_corpus
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use device::onnx::Model;
use host::data::Dataset;
use host::export::{PlanExport, to_plan};
use image::{DynamicImage, ImageFormat, RgbImage};
use shared::image::{FrameView, PixelFormat};
use shared::triage::{Cause, Thresholds};
use shared::wire::delivery::DeliveryStatistics;
use shared::wire::message::{LineStatistics, Message, Performance, Statistics};
use shared::wire::request::{self, FramePart, Greeting, Request};
use shared::wire::{frame, link::Receiver, text};
use tests::networks::{Layer, build};
use tests::recording::recording;

fn main() -> Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let write = |target: &str, name: &str, bytes: &[u8]| -> Result<()> {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        Ok(fs::write(folder.join(name), bytes)?)
    };
    wire(&write)?;
    models(&write)?;
    pictures(&write)
}

type Write<'a> = &'a dyn Fn(&str, &str, &[u8]) -> Result<()>;

fn wire(write: Write<'_>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path: PathBuf = folder.path().join("recording");
    recording(&path, 8);
    let binary = fs::read(&path)?;
    write("replay", "binary", &binary)?;
    let mut receiver = Receiver::detect();
    let packets = binary.iter().filter_map(|byte| receiver.push(*byte)?.ok());
    let mut messages: Vec<Message> = packets.map(|packet| packet.message).collect();
    messages.push(Message::Statistics(Statistics {
        frames: 8,
        accepted: 6,
        flagged: 2,
        by_cause: [1; Cause::ALL.len()],
        failed: 0,
        line: LineStatistics::default(),
        delivery: DeliveryStatistics::default(),
        stack_free: 900,
        uptime_us: 800_000,
        last: true,
    }));
    messages.push(Message::Performance(Performance {
        captured: 9,
        dropped: 1,
        corrupt: 0,
        missed: 0,
        reconnects: 0,
        latency_us: [2_000, 2_500, 3_000],
        mean_passes: 50.0,
        processor: 0.25,
        peak_memory_kib: 26_000,
        temperature: Some(41.5),
    }));
    let mut all = Vec::new();
    let mut kinds = Vec::new();
    for (sequence, message) in (0..).zip(&messages) {
        let mut bytes = [0; text::MAX_LINE];
        let length = text::encode(sequence, message, &mut bytes)?;
        all.extend_from_slice(&bytes[..length]);
        let kind = std::mem::discriminant(message);
        if kinds.contains(&kind) {
            continue;
        }
        kinds.push(kind);
        let name = String::from_utf8_lossy(&bytes[..length]);
        let name = name.split(' ').next().unwrap_or_default().to_lowercase();
        write("lines", &name, &bytes[..length])?;
        let mut bytes = [0; frame::MAX_FRAME];
        let length = frame::encode(sequence, message, &mut bytes)?;
        write("frames", &name, &bytes[..length])?;
        // The content without version and checksum, which the target adds.
        let mut content = bytes[..length - 1].to_vec();
        let length = cobs::decode_in_place(&mut content)?;
        write(
            "frames",
            &format!("{name}-content"),
            &content[1..length - 4],
        )?;
    }
    write("replay", "text", &all)?;
    let parts = FramePart::split(3, &FrameView::grey(20, 20, &[7; 400])?).map(Request::Frame);
    let mut several = Vec::new();
    for (sequence, request) in (0..).zip(
        [Request::Greet(Greeting { challenge: 7 })]
            .into_iter()
            .chain(parts),
    ) {
        let mut bytes = [0; request::MAX_REQUEST];
        let length = request::encode(sequence, &request, &mut bytes)?;
        several.extend_from_slice(&bytes[..length]);
        let mut content = bytes[..length - 1].to_vec();
        let length = cobs::decode_in_place(&mut content)?;
        if sequence < 2 {
            write(
                "requests",
                &format!("content-{sequence}"),
                &content[1..length - 4],
            )?;
        }
    }
    write("requests", "frame", &several)
}

fn models(write: Write<'_>) -> Result<()> {
    use Layer::{AvgPool, BatchNorm, Conv, Dropout, Dropout2d, Flatten, Linear, MaxPool, Relu};
    let lenet = [
        Conv(2, [3, 3], [1, 1], [0; 4]),
        Dropout(0.5),
        MaxPool(2, 2, 0),
        Relu,
        Flatten,
        Linear(4),
        Relu,
        Dropout(0.25),
        Linear(3),
    ];
    let other = [
        Conv(3, [3, 3], [2, 2], [1; 4]),
        BatchNorm,
        Relu,
        AvgPool(2),
        Dropout2d(0.3),
        Conv(2, [2, 2], [1, 1], [0; 4]),
        Relu,
        Flatten,
        Dropout(0.5),
        Linear(2),
    ];
    for (name, shape, layers) in [
        ("lenet", [1, 8, 8], &lenet[..]),
        ("dropout2d", [2, 9, 9], &other[..]),
        ("linear", [1, 3, 3], &[Flatten, Dropout(0.1), Linear(2)]),
    ] {
        for opset in [8, 13, 20] {
            let onnx = build(opset, shape, layers, 1).onnx;
            write("onnx", &format!("{name}-{opset}"), &onnx)?;
        }
        let model = Model::from_bytes(&build(13, shape, layers, 1).onnx)?;
        let mut settings = PlanExport {
            passes: 8,
            adaptive: None,
            images: None,
        };
        write("plan", &format!("{name}-f32"), &to_plan(&model, &settings)?)?;
        settings.images = Some(Dataset::in_memory(
            vec!["a".into()],
            vec![0; 4],
            (28, 28),
            PixelFormat::Grey8,
            (0..4 * 28 * 28).map(|at| (at * 7 % 251) as u8).collect(),
        ));
        if let Ok(plan) = to_plan(&model, &settings) {
            write("plan", &format!("{name}-int8"), &plan)?;
        }
    }
    let thresholds = serde_json::to_vec(&Thresholds::uncalibrated(10))?;
    write("metadata", "thresholds", &thresholds)?;
    write("metadata", "labels", br#"["zero","one","two"]"#)?;
    write("metadata", "seed", b"1234")?;
    write(
        "metadata",
        "normalisation",
        br#"[{"mean":0.13,"standard_deviation":0.31}]"#,
    )?;
    write(
        "metadata",
        "preprocessing",
        br#"{"channels":"grey","geometry":{"letterbox":114},"interpolation":"bicubic","range":"symmetric","mean":[0.5],"standard_deviation":[0.25]}"#,
    )?;
    write("metadata", "calibration", br#"{"method":"learn-then-test, binomial","max_risk":0.01,"delta":0.05,"unusual":0.025,"data":"mnist:test","tuning":2000,"frames":8000,"clips":null,"accepted":7800,"errors":20,"coverage":0.975,"p_value":0.01,"passes":100,"engine":"native","seed":0}"#)
}

fn pictures(write: Write<'_>) -> Result<()> {
    let colour = RgbImage::from_fn(11, 7, |x, y| image::Rgb([x as u8 * 20, y as u8 * 30, 9]));
    let colour = DynamicImage::ImageRgb8(colour);
    let grey = DynamicImage::ImageLuma8(colour.to_luma8());
    for (name, picture) in [("colour", &colour), ("grey", &grey)] {
        for (ending, format) in [
            ("png", ImageFormat::Png),
            ("jpeg", ImageFormat::Jpeg),
            ("pnm", ImageFormat::Pnm),
        ] {
            let mut bytes = std::io::Cursor::new(Vec::new());
            picture.write_to(&mut bytes, format)?;
            write("picture", &format!("{name}.{ending}"), bytes.get_ref())?;
            if format == ImageFormat::Jpeg {
                let header = [4, 10, 6, 0, 0, 0];
                write(
                    "camera",
                    &format!("mjpeg-{name}"),
                    &[&header[..], bytes.get_ref()].concat(),
                )?;
            }
        }
    }
    for (form, name) in [(0, "grey"), (1, "nv12"), (2, "nv12m"), (3, "yuyv")] {
        let bytes = [&[form, 10, 6, 24, 0, 0][..], &[0x55; 24 * 11]].concat();
        write("camera", name, &bytes)?;
    }
    for (name, size, bytes) in [
        ("even", "W8 H4", 48),
        ("odd", "W5 H3", 27),
        ("padded", "W5 H3", 48),
    ] {
        let mut stream = vec![16];
        stream.extend(format!("YUV4MPEG2 {size} F30:1 Ip C420jpeg\n").bytes());
        for _ in 0..2 {
            stream.extend_from_slice(b"FRAME\n");
            stream.extend(vec![0x40; bytes]);
        }
        write("video", name, &stream)?;
    }
    let images = [
        &[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4][..],
        &[9; 24],
    ]
    .concat();
    write("idx", "images", &images)?;
    write("idx", "labels", &[0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3])
}
