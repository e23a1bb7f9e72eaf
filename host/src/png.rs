//! Pictures as PNG files.

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use shared::image::{FrameView, PixelFormat};

/// A picture as a PNG file: grey or in colour, as it is.
///
/// # Errors
/// What the encoder says.
pub(crate) fn png(picture: &FrameView<'_>) -> image::ImageResult<Vec<u8>> {
    let (width, height) = (picture.width(), picture.height());
    let rows = (0..height).map(|y| picture.row(y));
    let (kind, pixels): (_, Vec<u8>) = match picture.format() {
        PixelFormat::Grey8 => (ExtendedColorType::L8, rows.flatten().copied().collect()),
        _ => (
            ExtendedColorType::Rgb8,
            rows.flat_map(|row| (0..width).flat_map(|x| picture.colour(row, x)))
                .collect(),
        ),
    };
    let mut file = Vec::new();
    PngEncoder::new(&mut file).write_image(&pixels, width as u32, height as u32, kind)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_written_and_read_again() {
        let bytes = [0xff, 0xff, 0x00, 0xf8, 1, 2, 3, 4, 5, 6, 7, 8];
        for (format, expected) in [
            (PixelFormat::Grey8, vec![[255; 3], [255; 3]]),
            (PixelFormat::Rgb565, vec![[255; 3], [255, 0, 0]]),
            (PixelFormat::Rgb8, vec![[255, 255, 0], [248, 1, 2]]),
        ] {
            let picture = FrameView::packed(format, 2, 1, &bytes).expect("whole");
            let file = png(&picture).expect("encoded");
            let read = image::load_from_memory(&file).expect("a PNG file");
            assert_eq!(read.color().has_color(), format.is_colour());
            let pixels: Vec<_> = read.to_rgb8().pixels().map(|pixel| pixel.0).collect();
            assert_eq!(pixels, expected);
        }
    }
}
