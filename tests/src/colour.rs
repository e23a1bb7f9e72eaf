//! Small classifiers with an input of any size and colour, and colourful pictures for them.

use std::fs;
use std::path::Path;

use image::{DynamicImage, RgbImage};
use prost::Message as _;
use tract_onnx::pb::{ModelProto, StringStringEntryProto};

use crate::networks::{Layer, build, uniform};

/// Writes a classifier of three classes with an input of `channels` planes of `side` × `side` pixels, which
/// says this of its preprocessing.
///
/// # Panics
/// If it cannot be written.
pub fn write_model(path: &Path, channels: i64, side: i64, preprocessing: &str) {
    let stride = (side / 28).max(1);
    let layers = [
        Layer::Conv(6, [5, 5], [stride, stride], [0; 4]),
        Layer::Relu,
        Layer::MaxPool(2, 2, 0),
        Layer::Flatten,
        Layer::Dropout(0.5),
        Layer::Linear(16),
        Layer::Relu,
        Layer::Dropout(0.25),
        Layer::Linear(3),
    ];
    let built = build(13, [channels, side, side], &layers, side as u64);
    let mut model = ModelProto::decode(&built.onnx[..]).expect("just built");
    model.metadata_props.push(StringStringEntryProto {
        key: "mcdropout.preprocessing".into(),
        value: preprocessing.into(),
    });
    fs::write(path, model.encode_to_vec()).expect("written");
}

/// A colourful picture, with edges and noise: another one for every number.
///
/// # Panics
/// If a side is 0.
#[must_use]
pub fn picture(number: usize, width: u32, height: u32) -> DynamicImage {
    let count = 3 * (width * height) as usize;
    let noise: Vec<u8> = uniform(number as u64, 0, count)
        .map(|value| (value * 60.0) as u8)
        .collect();
    let mut picture = RgbImage::from_raw(width, height, noise).expect("as many bytes");
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let stripe = (x * 5 / width + number as u32) % 3;
        pixel[stripe as usize] += 100;
        pixel[(stripe as usize + 1) % 3] += (y * 90 / height) as u8;
    }
    DynamicImage::from(picture)
}
