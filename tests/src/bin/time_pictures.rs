//! Prepares pictures when told to, and says how long each took: the other side of `scripts/bench pictures`.
//!
//! The argument is a PNG file. For every line on standard input the picture is prepared once, as torchvision's
//! `Resize` with antialiasing, `ToTensor` and `Normalize` do, and a line of milliseconds is written: the
//! resampling and all that follows. No allocation is made after the first.

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use device::engine::InputShape;
use device::preprocessing::Preparer;
use device::source::read_picture;
use shared::image::{Geometry, PixelFormat, Preprocessing};

/// Rows and columns of the input.
const SIDE: usize = 224;

fn main() -> Result<()> {
    let path = std::env::args_os().nth(1).context("a picture")?;
    let frame = read_picture(Path::new(&path), PixelFormat::Rgb8)?;
    let wanted = Preprocessing {
        geometry: Geometry::Stretch,
        ..Preprocessing::IMAGENET
    };
    let shape = InputShape {
        channels: 3,
        height: SIDE,
        width: SIDE,
    };
    let mut preparer = Preparer::new(wanted, shape);
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        line?;
        let started = Instant::now();
        let input = preparer.prepare(&frame.view()?)?;
        let ms = started.elapsed().as_secs_f64() * 1000.0;
        // What is not looked at could be left out.
        std::hint::black_box(input);
        writeln!(out, "{ms}")?;
        out.flush()?;
    }
    Ok(())
}
