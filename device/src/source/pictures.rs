//! Pictures from files: PNG, JPEG, PGM/PPM, any size, colour turned to luma.

use std::path::{Path, PathBuf};
use std::time::Duration;

use image::{ImageReader, Limits};

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

/// Reads a picture as 8-bit luma. The format is told by the content, not the name.
///
/// # Errors
/// If the file cannot be read or decoded.
pub fn read_picture(path: &Path) -> Result<Frame, PictureError> {
    let bytes = std::fs::read(path).map_err(|error| PictureError::Read {
        path: path.to_owned(),
        error,
    })?;
    decode_picture(bytes, path)
}

/// Decodes the bytes of a picture as 8-bit luma; `path` names it in errors.
///
/// # Errors
/// If there are none, or they cannot be decoded.
pub fn decode_picture(bytes: Vec<u8>, path: &Path) -> Result<Frame, PictureError> {
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
    let picture = reader.decode().map_err(decode)?.into_luma8();
    if picture.is_empty() {
        return Err(PictureError::NoPixels(path.to_owned()));
    }
    Ok(Frame {
        width: picture.width() as usize,
        height: picture.height() as usize,
        luma: picture.into_raw(),
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
        let frame = read_picture(&path).expect("decoded");
        assert_eq!(
            (frame.width, frame.height, frame.luma.as_slice()),
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
            let message = read_picture(&path).expect_err(name).to_string();
            assert!(
                message.contains(name) && !message.contains('\n'),
                "{message}"
            );
        }
        assert!(read_picture(&folder.path().join("absent.png")).is_err());
    }
}
