//! What becomes of pictures in grey and colour: one line per frame.
//!
//! ```text
//! <grey8|rgb8|rgb565> <width> <height> <channels> <geometry> <interpolation> <to width> <to height>
//!     <frame> <planes> <mean> <black> <white> <contrast> <sharpness> <saturated> <plateau>
//! ```
//!
//! Sizes are decimal, bytes of the frame and levels of the planes two hexadecimal digits each, statistics
//! f32 bits. Geometries with a number have it behind a colon.

use shared::image::{
    Channels, FrameStatistics, FrameView, Geometry, Interpolation, PixelFormat, Preprocessing,
    ValueRange,
};

use crate::Mismatch;
use crate::words::{Words, lines};

/// Bytes of the largest frame.
const MAX_BYTES: usize = 2048;
/// Values of the largest input.
const MAX_VALUES: usize = 768;
/// Words of scratch memory for the largest frame.
const MAX_SCRATCH: usize = 1024;

/// Checks every frame; gives the number of values compared.
///
/// # Errors
/// The first [`Mismatch`].
pub fn check_pictures(text: &str) -> Result<usize, Mismatch> {
    let mut checked = 0;
    for (line, content) in lines(text) {
        let syntax = Mismatch::Syntax {
            file: "pictures.txt",
            line,
        };
        let mut words = Words::of(content);
        let mut input = [0.0; MAX_VALUES];
        let (input, statistics) = prepared(&mut words, &mut input).ok_or(syntax)?;
        let mut levels = [0; MAX_VALUES];
        let levels = bytes(words.text().ok_or(syntax)?, &mut levels).ok_or(syntax)?;
        if levels.len() != input.len() {
            return Err(syntax);
        }
        for (value, (got, level)) in input.iter().zip(levels).enumerate() {
            if *got != f32::from(*level) {
                return Err(Mismatch::Picture { line, value });
            }
            checked += 1;
        }
        let of_luma = [
            statistics.mean,
            statistics.black,
            statistics.white,
            statistics.contrast,
            statistics.sharpness,
            statistics.saturated,
            statistics.plateau,
        ];
        for (value, got) in (levels.len()..).zip(of_luma) {
            if got.to_bits() != words.u32().ok_or(syntax)? {
                return Err(Mismatch::Picture { line, value });
            }
            checked += 1;
        }
        if !words.ended() {
            return Err(syntax);
        }
    }
    Ok(checked)
}

/// Reads a frame and prepares it, in levels of 0 to 255.
fn prepared<'a>(
    words: &mut Words<'_>,
    input: &'a mut [f32; MAX_VALUES],
) -> Option<(&'a [f32], FrameStatistics)> {
    let format = match words.text()? {
        "grey8" => PixelFormat::Grey8,
        "rgb8" => PixelFormat::Rgb8,
        "rgb565" => PixelFormat::Rgb565,
        _ => return None,
    };
    let (width, height) = (words.decimal()?, words.decimal()?);
    let channels = named(&Channels::ALL, words.text()?)?;
    let geometry = geometry(words.text()?)?;
    let interpolation = named(&Interpolation::ALL, words.text()?)?;
    let (to_width, to_height) = (words.decimal()?, words.decimal()?);
    let mut data = [0; MAX_BYTES];
    let data = bytes(words.text()?, &mut data)?;
    let frame = FrameView::packed(format, width, height, data).ok()?;
    let preprocessing = Preprocessing {
        channels,
        geometry,
        interpolation,
        range: ValueRange::Byte,
        ..Preprocessing::default()
    };
    let planes = if channels.is_colour() { 3 } else { 1 };
    let input = input.get_mut(..planes * to_width * to_height)?;
    let mut scratch = [0; MAX_SCRATCH];
    let plan = preprocessing
        .plan(&frame, None, (to_width, to_height))
        .ok()?;
    let statistics = plan.run(&frame, &mut scratch, input).ok()?;
    Some((input, statistics))
}

fn named<T: Copy>(all: &[(&str, T)], name: &str) -> Option<T> {
    let found = all.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| *value)
}

fn geometry(text: &str) -> Option<Geometry> {
    match text.split_once(':') {
        Some(("letterbox", value)) => value.parse().ok().map(Geometry::Letterbox),
        Some(("short-side", side)) => side.parse().ok().map(Geometry::ShortSide),
        None if text == "stretch" => Some(Geometry::Stretch),
        None if text == "center-crop" => Some(Geometry::CenterCrop),
        _ => None,
    }
}

/// The bytes that pairs of hexadecimal digits are.
fn bytes<'b>(digits: &str, room: &'b mut [u8]) -> Option<&'b [u8]> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let bytes = room.get_mut(..pairs.len())?;
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(core::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}
