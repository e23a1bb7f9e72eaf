//! The colours that a camera's pictures have, as a network gets them: what tests of emulated cameras look at.
//!
//! ```text
//! colours SOURCE rgb|grey FORMAT,… [CONTROL=VALUE,…]
//! ```
//!
//! A line for each format: of every eighth of the picture, from the left, the least and the largest red,
//! green and blue of its middle, or luma.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use device::source::{CameraOptions, Frame, Source, SourceUri};
use shared::image::PixelFormat;

const STRIPES: usize = 8;

fn main() -> anyhow::Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let [source, wanted, formats, controls @ ..] = &words[..] else {
        bail!("use: colours SOURCE rgb|grey FORMAT,… [CONTROL=VALUE,…]");
    };
    let source: SourceUri = source.parse()?;
    let wanted = match wanted.as_str() {
        "rgb" => PixelFormat::Rgb8,
        "grey" => PixelFormat::Grey8,
        _ => bail!("'{wanted}' is neither rgb nor grey"),
    };
    let mut options = CameraOptions::default();
    for control in controls.iter().flat_map(|list| list.split(',')) {
        let (name, value) = control.split_once('=').context("use NAME=VALUE")?;
        options.controls.push((name.to_owned(), value.parse()?));
    }
    for format in formats.split(',') {
        options.format = Some(format.parse().map_err(anyhow::Error::msg)?);
        let mut camera = Source::open_with(&source, wanted, &options, &Arc::default())?;
        let mut frame = Frame::default();
        if !camera.next_frame(&mut frame)? {
            bail!("no frame in {format}");
        }
        println!("{format} {}", colours(&frame));
    }
    Ok(())
}

/// Of each stripe, `LEAST-LARGEST` of every part of its colours.
fn colours(frame: &Frame) -> String {
    let parts = frame.format.bytes();
    let width = frame.width / STRIPES;
    let stripes = (0..STRIPES).map(|stripe| {
        // The outermost pixels share their chroma with the next stripe.
        let columns = stripe * width + width / 4..(stripe + 1) * width - width / 4;
        let ranges = (0..parts).map(|part| {
            let rows = frame.pixels.chunks_exact(frame.width * parts);
            let values = rows.flat_map(|row| columns.clone().map(move |x| row[x * parts + part]));
            let (least, largest) = values.fold((u8::MAX, 0), |(least, largest), value| {
                (least.min(value), largest.max(value))
            });
            format!("{least}-{largest}")
        });
        ranges.collect::<Vec<_>>().join(",")
    });
    stripes.collect::<Vec<_>>().join(" ")
}
