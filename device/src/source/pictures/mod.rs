//! Pictures from files: PNG, JPEG, PGM/PPM, BMP, TIFF, WebP, and the first picture of a GIF, of any size.
//!
//! A picture becomes luma or RGB of 8 bits in its own size, the way up in which it was taken (EXIF).
//! What is transparent keeps its colour: alpha is left out, as Pillow's `convert("RGB")` does, and not
//! drawn over some background. Of 16 bits the value is scaled to 255 and rounded. Luma is always that of the
//! colours ([`shared::image::luma`]).

mod folder;

use std::path::{Path, PathBuf};
use std::time::Duration;

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageDecoder as _, ImageReader, Limits, RgbImage};
use shared::image::{PixelFormat, luma};

use super::{Frame, jpeg};

pub(super) use self::folder::list;

/// Largest side of a picture, in pixels; larger ones are refused before they take memory.
const MAX_SIDE: u32 = 16_384;
/// Most memory that a decoder may take, in bytes.
const MAX_MEMORY: u64 = 512 << 20;

/// Endings of the names of pictures.
const ENDINGS: [&str; 11] = [
    "png", "jpg", "jpeg", "pgm", "ppm", "pnm", "bmp", "tif", "tiff", "webp", "gif",
];

/// Why a picture was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PictureError {
    /// Not there, or not readable.
    #[error("cannot read picture {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A pipe, a device or a folder.
    #[error("{} is no picture: it is no regular file", .0.display())]
    NoFile(PathBuf),
    /// Zero bytes long.
    #[error("picture {} is empty (0 bytes)", .0.display())]
    Empty(PathBuf),
    /// Without rows or columns.
    #[error("picture {} has no pixels", .0.display())]
    NoPixels(PathBuf),
    /// Damaged, too large, or of a format not supported.
    #[error("picture {} cannot be decoded: {reason} (PNG, JPEG, PGM, PPM, BMP, TIFF, WebP and GIF are supported)", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
    },
}

/// Whether the file's name says that it is a picture that can be read.
#[must_use]
pub fn is_picture(path: &Path) -> bool {
    path.extension()
        .and_then(|ending| ending.to_str())
        .is_some_and(|ending| ENDINGS.contains(&ending.to_lowercase().as_str()))
}

/// Reads a picture in `format`: luma, or red, green and blue; a grey picture stays grey. The file's
/// format is told by its content, not its name.
///
/// # Errors
/// If the file is no regular one, or cannot be read or decoded: a picture that was cut off is refused.
pub fn read_picture(path: &Path, format: PixelFormat) -> Result<Frame, PictureError> {
    let read = |error| PictureError::Read {
        path: path.to_owned(),
        error,
    };
    // Opening a pipe would wait for who writes to it.
    if !std::fs::metadata(path).map_err(read)?.is_file() {
        return Err(PictureError::NoFile(path.to_owned()));
    }
    decode_picture(std::fs::read(path).map_err(read)?, path, format)
}

/// Decodes the bytes of a picture in `format`; `path` names it in errors.
///
/// # Errors
/// If there are none, or they cannot be decoded.
pub fn decode_picture(
    bytes: Vec<u8>,
    path: &Path,
    format: PixelFormat,
) -> Result<Frame, PictureError> {
    if bytes.is_empty() {
        return Err(PictureError::Empty(path.to_owned()));
    }
    let decoded = if jpeg::is_jpeg(&bytes) {
        decode_jpeg(&bytes).map_err(|damage| damage.to_string())
    } else {
        decode_other(bytes).map_err(|error| error.to_string())
    };
    let (mut picture, orientation) = decoded.map_err(|reason| PictureError::Decode {
        path: path.to_owned(),
        reason: reason.chars().filter(|it| !it.is_control()).collect(),
    })?;
    if picture.width() == 0 || picture.height() == 0 {
        return Err(PictureError::NoPixels(path.to_owned()));
    }
    picture.apply_orientation(orientation);
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let (format, pixels) = match (format, picture) {
        (_, DynamicImage::ImageLuma8(grey)) => (PixelFormat::Grey8, grey.into_raw()),
        (
            _,
            grey @ (DynamicImage::ImageLuma16(_)
            | DynamicImage::ImageLumaA8(_)
            | DynamicImage::ImageLumaA16(_)),
        ) => (PixelFormat::Grey8, grey.into_luma8().into_raw()),
        (PixelFormat::Grey8, colour) => {
            // The library's own luma is that of Rec. 709.
            let colours = colour.into_rgb8().into_raw();
            let luma = colours.as_chunks().0.iter().map(|&colour| luma(colour));
            (PixelFormat::Grey8, luma.collect())
        }
        (PixelFormat::Rgb8 | PixelFormat::Rgb565, colour) => {
            (PixelFormat::Rgb8, colour.into_rgb8().into_raw())
        }
    };
    Ok(Frame {
        width,
        height,
        format,
        pixels,
        captured: Duration::ZERO,
    })
}

fn decode_jpeg(bytes: &[u8]) -> Result<(DynamicImage, Orientation), jpeg::Damage> {
    let decoded = jpeg::decode(bytes, MAX_SIDE as usize)?;
    let (width, height) = (decoded.width as u32, decoded.height as u32);
    let picture = match decoded.format {
        PixelFormat::Grey8 => {
            GrayImage::from_raw(width, height, decoded.pixels).map(DynamicImage::ImageLuma8)
        }
        _ => RgbImage::from_raw(width, height, decoded.pixels).map(DynamicImage::ImageRgb8),
    };
    Ok((picture.ok_or(jpeg::Damage::Header)?, decoded.orientation))
}

fn decode_other(bytes: Vec<u8>) -> image::ImageResult<(DynamicImage, Orientation)> {
    let mut reader = ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_MEMORY);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    if decoder.total_bytes() > MAX_MEMORY {
        let kind = image::error::LimitErrorKind::InsufficientMemory;
        return Err(image::ImageError::Limits(kind.into()));
    }
    // A note about the picture that cannot be read does not spoil it.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    Ok((DynamicImage::from_decoder(decoder)?, orientation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_becomes_luma_and_the_content_tells_the_format() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("misnamed.png");
        std::fs::write(&path, b"P6 2 1 255\n\xff\xff\xff\x00\x00\x00").expect("written");
        let frame = read_picture(&path, PixelFormat::Grey8).expect("decoded");
        assert_eq!(
            (frame.width, frame.height, frame.pixels.as_slice()),
            (2, 1, &[255, 0][..])
        );
    }

    #[test]
    fn broken_pictures_are_named() {
        let folder = tempfile::tempdir().expect("temporary folder");
        for (name, bytes) in [
            ("empty.png", &b""[..]),
            ("garbage.jpg", b"not a picture"),
            ("cut.png", b"\x89PNG\r\n\x1a\n\0\0"),
            ("flat.pgm", b"P5 11 0 255\n"),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("written");
            let message = read_picture(&path, PixelFormat::Grey8)
                .expect_err(name)
                .to_string();
            assert!(
                message.contains(name) && !message.contains('\n'),
                "{message}"
            );
        }
        assert!(read_picture(&folder.path().join("absent.png"), PixelFormat::Grey8).is_err());
    }

    fn decoded(bytes: Vec<u8>, format: PixelFormat) -> Frame {
        decode_picture(bytes, Path::new("picture"), format).expect("decoded")
    }

    /// A picture in a file of some kind.
    fn file(picture: &DynamicImage, kind: image::ImageFormat) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, kind).expect("encoded");
        bytes.into_inner()
    }

    #[test]
    fn every_kind_of_file_gives_the_same_colours_and_luma() {
        let colours = vec![255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255];
        let picture = RgbImage::from_raw(2, 2, colours.clone()).expect("2x2");
        let picture = DynamicImage::ImageRgb8(picture);
        for kind in [
            image::ImageFormat::Png,
            image::ImageFormat::Pnm,
            image::ImageFormat::Bmp,
            image::ImageFormat::Tiff,
            image::ImageFormat::WebP,
            image::ImageFormat::Gif,
        ] {
            let bytes = match kind {
                // A GIF is made of pictures with alpha.
                image::ImageFormat::Gif => file(&picture.to_rgba8().into(), kind),
                _ => file(&picture, kind),
            };
            let frame = decoded(bytes.clone(), PixelFormat::Rgb8);
            assert_eq!(
                (frame.width, frame.height, frame.format),
                (2, 2, PixelFormat::Rgb8)
            );
            assert_eq!(frame.pixels, colours, "{kind:?}");
            let frame = decoded(bytes.clone(), PixelFormat::Grey8);
            assert_eq!(frame.pixels, [76, 150, 29, 255], "{kind:?}");
            let cut = bytes[..bytes.len() * 3 / 5].to_vec();
            assert!(
                decode_picture(cut, Path::new("cut"), PixelFormat::Grey8).is_err(),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn alpha_is_left_out_and_sixteen_bits_are_scaled() {
        let png = |picture: DynamicImage| file(&picture, image::ImageFormat::Png);
        let clear = image::RgbaImage::from_raw(1, 1, vec![200, 100, 50, 0]).expect("1x1");
        let frame = decoded(png(clear.into()), PixelFormat::Rgb8);
        assert_eq!(frame.pixels, [200, 100, 50]);
        let clear = image::GrayAlphaImage::from_raw(1, 1, vec![77, 0]).expect("1x1");
        let frame = decoded(png(clear.into()), PixelFormat::Rgb8);
        assert_eq!((frame.format, frame.pixels), (PixelFormat::Grey8, vec![77]));
        let wide = image::ImageBuffer::from_raw(3, 1, vec![0_u16, 0x8080, 0xffff]).expect("3x1");
        let frame = decoded(png(DynamicImage::ImageLuma16(wide)), PixelFormat::Grey8);
        assert_eq!(frame.pixels, [0, 0x80, 255]);
        let wide = image::ImageBuffer::from_raw(1, 1, vec![0xffff_u16, 0, 0x4040]).expect("1x1");
        let frame = decoded(png(DynamicImage::ImageRgb16(wide)), PixelFormat::Rgb8);
        assert_eq!(frame.pixels, [255, 0, 0x40]);
    }

    /// EXIF data that say how a camera was held.
    fn exif(orientation: u8) -> Vec<u8> {
        let mut exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
        exif.extend_from_slice(&[orientation, 0, 0, 0, 0, 0, 0, 0]);
        exif
    }

    #[test]
    fn pictures_are_turned_as_the_camera_was_held() {
        use image::ImageEncoder as _;
        // Two rows of three: what EXIF's eight orientations make of them.
        let pixels = [10, 20, 30, 40, 50, 60];
        let turned: [(usize, [u8; 6]); 8] = [
            (3, [10, 20, 30, 40, 50, 60]),
            (3, [30, 20, 10, 60, 50, 40]),
            (3, [60, 50, 40, 30, 20, 10]),
            (3, [40, 50, 60, 10, 20, 30]),
            (2, [10, 40, 20, 50, 30, 60]),
            (2, [40, 10, 50, 20, 60, 30]),
            (2, [60, 30, 50, 20, 40, 10]),
            (2, [30, 60, 20, 50, 10, 40]),
        ];
        for (orientation, (width, expected)) in (1..).zip(turned) {
            let mut png = Vec::new();
            let mut encoder = image::codecs::png::PngEncoder::new(&mut png);
            encoder
                .set_exif_metadata(exif(orientation))
                .expect("it takes EXIF");
            encoder
                .write_image(&pixels, 3, 2, image::ExtendedColorType::L8)
                .expect("encoded");
            let frame = decoded(png, PixelFormat::Grey8);
            assert_eq!(
                (frame.width, frame.pixels),
                (width, expected.to_vec()),
                "{orientation}"
            );

            // Fields of 8 by 8 pixels, which JPEG keeps apart.
            let large = |at: usize| pixels[at / 24 / 8 * 3 + at % 24 / 8];
            let large: Vec<u8> = (0..24 * 16).map(large).collect();
            let mut jpeg = Vec::new();
            let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 100);
            encoder
                .set_exif_metadata(exif(orientation))
                .expect("it takes EXIF");
            encoder
                .write_image(&large, 24, 16, image::ExtendedColorType::L8)
                .expect("encoded");
            let frame = decoded(jpeg, PixelFormat::Grey8);
            assert_eq!(frame.width, 8 * width, "{orientation}");
            for (at, expected) in expected.into_iter().enumerate() {
                let (x, y) = (at % width * 8 + 4, at / width * 8 + 4);
                let found = frame.pixels[y * frame.width + x];
                assert!(found.abs_diff(expected) <= 1, "{orientation} {at}");
            }
        }
    }

    #[test]
    fn pictures_that_would_take_all_memory_are_refused() {
        for bytes in [
            &b"P6 16385 1 255\n"[..],
            b"P6 16384 16384 255\n",
            b"P6 99999999 99999999 255\n",
        ] {
            let refused = decode_picture(bytes.to_vec(), Path::new("p"), PixelFormat::Rgb8);
            assert!(refused.is_err());
        }
    }
}
