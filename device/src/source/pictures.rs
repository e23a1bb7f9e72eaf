//! Pictures from files: PNG, JPEG, PGM/PPM, any size.

use std::path::{Path, PathBuf};
use std::time::Duration;

use image::{DynamicImage, ImageReader, Limits};
use shared::image::{PixelFormat, luma};

use super::Frame;

/// Largest side of a picture, in pixels; larger ones are refused before they take memory.
const MAX_SIDE: u32 = 16_384;

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
    /// Zero bytes long.
    #[error("picture {} is empty (0 bytes)", .0.display())]
    Empty(PathBuf),
    /// Without rows or columns.
    #[error("picture {} has no pixels", .0.display())]
    NoPixels(PathBuf),
    /// Damaged, too large, or of a format not supported.
    #[error("picture {} cannot be decoded (PNG, JPEG, PGM and PPM are supported): {error}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        error: image::ImageError,
    },
}

/// Whether the file's name says that it is a picture that can be read.
#[must_use]
pub fn is_picture(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| {
            ["png", "jpg", "jpeg", "pgm", "ppm", "pnm"].contains(&extension.to_lowercase().as_str())
        })
}

/// Reads a picture in `format`: luma, or red, green and blue. The file's format is told by its content, not
/// its name.
///
/// # Errors
/// If the file cannot be read or decoded.
pub fn read_picture(path: &Path, format: PixelFormat) -> Result<Frame, PictureError> {
    let bytes = std::fs::read(path).map_err(|error| PictureError::Read {
        path: path.to_owned(),
        error,
    })?;
    decode_picture(bytes, path, format)
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
    let read = |error| PictureError::Read {
        path: path.to_owned(),
        error,
    };
    let decode = |error| PictureError::Decode {
        path: path.to_owned(),
        error,
    };
    if bytes.is_empty() {
        return Err(PictureError::Empty(path.to_owned()));
    }
    let mut reader = ImageReader::new(std::io::Cursor::new(bytes))
        .with_guessed_format()
        .map_err(read)?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    reader.limits(limits);
    let picture = reader.decode().map_err(decode)?;
    if picture.width() == 0 || picture.height() == 0 {
        return Err(PictureError::NoPixels(path.to_owned()));
    }
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let (format, pixels) = match (format, picture) {
        (_, DynamicImage::ImageLuma8(grey)) => (PixelFormat::Grey8, grey.into_raw()),
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
}
