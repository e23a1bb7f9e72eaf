//! What becomes of a picture is what Pillow, torchvision and numpy make of it.

use std::path::Path;
use std::process::Command;

use device::engine::InputShape;
use device::preprocessing::{Preparer, PreprocessingOptions};
use device::source::read_picture;
use serde_json::Value;
use shared::image::{Channels, Interpolation, PixelFormat, ValueRange};

/// The value that `name` is among those there are.
fn named<T: Copy>(all: &[(&str, T)], name: &Value) -> T {
    let found = all.iter().find(|(known, _)| Some(*known) == name.as_str());
    found.expect("a known name").1
}

fn numbers(of: &Value) -> Vec<f32> {
    let list = of.as_array().expect("a list").iter();
    list.map(|number| number.as_f64().expect("a number") as f32)
        .collect()
}

#[test]
fn inputs_are_those_of_pillow_within_a_level() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/pillow_inputs.py");
    let cache = device::source::cache_folder().expect("a cache folder");
    let output = Command::new(cache.join("venv/bin/python"))
        .args([&script, folder])
        .output()
        .expect("Python starts: if not, run scripts/setup");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let values = std::fs::read(folder.join("values.f32")).expect("values");
    let values: Vec<f32> = values
        .as_chunks()
        .0
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect();
    let cases = std::fs::read_to_string(folder.join("cases.jsonl")).expect("cases");
    let (mut compared, mut same) = (0, 0);
    for line in cases.lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        let number = |key: &str| case[key].as_u64().expect("a number") as usize;
        let channels = named(&Channels::ALL, &case["channels"]);
        let options = PreprocessingOptions {
            channels: Some(channels),
            geometry: Some(
                case["geometry"]
                    .as_str()
                    .expect("text")
                    .parse()
                    .expect("known"),
            ),
            interpolation: Some(named(&Interpolation::ALL, &case["interpolation"])),
            range: Some(named(&ValueRange::ALL, &case["range"])),
            mean: numbers(&case["mean"]),
            std: numbers(&case["std"]),
            ..PreprocessingOptions::default()
        };
        let shape = InputShape {
            channels: if channels.is_colour() { 3 } else { 1 },
            height: number("height"),
            width: number("width"),
        };
        let wanted = options.apply(None, shape).expect("it fits");
        let format = if channels.is_colour() {
            PixelFormat::Rgb8
        } else {
            PixelFormat::Grey8
        };
        let picture = folder.join(case["picture"].as_str().expect("text"));
        let frame = read_picture(&picture, format).expect("a picture");
        let mut preparer = Preparer::new(wanted, shape);
        let got = preparer
            .prepare(&frame.view().expect("whole"))
            .expect("prepared");
        let expected = &values[number("at")..][..number("count")];
        assert_eq!(got.len(), expected.len(), "{line}");
        // A level, in the values of the plane. Area in whole numbers is rounded by half of one.
        let span = case["span"].as_f64().expect("a number") as f32;
        for (plane, (got, expected)) in got
            .chunks(shape.height * shape.width)
            .zip(expected.chunks(shape.height * shape.width))
            .enumerate()
        {
            let level = span / 255.0 / wanted.normalisation[plane].standard_deviation;
            for (got, expected) in got.iter().zip(expected) {
                let levels = (got - expected).abs() / level;
                assert!(levels <= 1.0, "{levels} levels apart: {line}");
                compared += 1;
                same += u32::from(levels < 1e-3);
            }
        }
    }
    println!("pillow: {compared} values within a level, {same} of them within a thousandth of one");
    assert!(compared > 900_000);
    // Resampling itself has Pillow's very bits: what differs is area, rounded to whole levels.
    assert!(f64::from(same) > 0.9 * f64::from(compared), "{same}");
}
