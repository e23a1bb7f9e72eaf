//! Model inputs and image statistics: one line per frame.
//!
//! ```text
//! <width> <height> <stride> <crop|stretch> <to width> <to height> <pixels>
//!     <output pixel 0> … <mean> <black> <white> <contrast>
//!     <sharpness> <saturated> <plateau>
//! ```
//!
//! Sizes are decimal, pixels two hexadecimal digits each with the padding of rows, values f32 bits.

use shared::image::{FrameStatistics, FrameView, Geometry, PixelFormat, Preprocessing};

use crate::Mismatch;
use crate::words::{Words, lines};

/// Bytes of the largest frame.
const MAX_BYTES: usize = 4096;
/// Pixels of the largest model input.
const MAX_PIXELS: usize = 784;

/// Checks every frame; gives the number of values compared.
///
/// # Errors
/// The first [`Mismatch`].
pub fn check_images(text: &str) -> Result<usize, Mismatch> {
    let mut checked = 0;
    for (line, content) in lines(text) {
        let syntax = Mismatch::Syntax {
            file: "images.txt",
            line,
        };
        let mut words = Words::of(content);
        let mut luma = [0.0; MAX_PIXELS];
        let (luma, statistics) = prepared(&mut words, &mut luma).ok_or(syntax)?;
        let values = luma.iter().copied().chain([
            statistics.mean,
            statistics.black,
            statistics.white,
            statistics.contrast,
            statistics.sharpness,
            statistics.saturated,
            statistics.plateau,
        ]);
        for (value, got) in values.enumerate() {
            if got.to_bits() != words.u32().ok_or(syntax)? {
                return Err(Mismatch::Image { line, value });
            }
            checked += 1;
        }
        if !words.ended() {
            return Err(syntax);
        }
    }
    Ok(checked)
}

/// Reads a frame and prepares it.
fn prepared<'a>(
    words: &mut Words<'_>,
    luma: &'a mut [f32; MAX_PIXELS],
) -> Option<(&'a [f32], FrameStatistics)> {
    let (width, height, stride) = (words.decimal()?, words.decimal()?, words.decimal()?);
    let geometry = match words.text()? {
        "crop" => Geometry::CenterCrop,
        "stretch" => Geometry::Stretch,
        _ => return None,
    };
    let (to_width, to_height) = (words.decimal()?, words.decimal()?);
    let mut bytes = [0; MAX_BYTES];
    let digits = words.text()?.as_bytes();
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    for (byte, pair) in bytes.get_mut(..pairs.len())?.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(core::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    let bytes = &bytes[..pairs.len()];
    let frame = FrameView::new(PixelFormat::Grey8, width, height, stride, bytes).ok()?;
    let luma = luma.get_mut(..to_width.checked_mul(to_height)?)?;
    let preprocessing = Preprocessing {
        geometry,
        ..Preprocessing::default()
    };
    let plan = preprocessing
        .plan(&frame, None, (to_width, to_height))
        .ok()?;
    let statistics = plan.run(&frame, &mut [], luma).ok()?;
    Some((luma, statistics))
}
