//! What a source is called.

use std::path::PathBuf;
use std::str::FromStr;

use shared::image::PixelFormat;

use super::{SourceError, Video};

/// A source's name, as given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceUri {
    /// `mnist:test` and the like: data set, and `true` for its training part.
    DataSet {
        /// Folder name of the data set in the data folder.
        name: String,
        /// The training part instead of the test part.
        train: bool,
    },
    /// A folder of pictures and what folders are in it, in the order of their paths, or one picture.
    Path(PathBuf),
    /// `v4l2:PATH`: a camera of Linux, by its device node or a link to it.
    Camera(PathBuf),
    /// A video, a network camera or a pipeline, which GStreamer plays.
    Video(Video),
    /// `raw:WIDTHxHEIGHT[:FORMAT]:PATH`: 8-bit frames one after the other; `-` is standard input. The
    /// format is `grey`, which need not be said, or `rgb`.
    Raw {
        /// Pixels per row.
        width: usize,
        /// Rows.
        height: usize,
        /// Grey, or red, green and blue.
        format: PixelFormat,
        /// A file, a named pipe, or `-`.
        path: PathBuf,
    },
}

impl SourceUri {
    fn path(text: &str) -> Self {
        let path = PathBuf::from(text);
        if Video::is_file_name(&path) && !path.is_dir() {
            Self::Video(Video::File(path))
        } else {
            Self::Path(path)
        }
    }
}

/// Largest width or height of a raw frame, in pixels.
const MAX_SIDE: usize = 16_384;

impl FromStr for SourceUri {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || SourceError::Unknown(text.to_owned());
        match text.split_once(':') {
            Some((name @ ("mnist" | "fashion-mnist"), part)) => match part {
                "test" => Ok(Self::DataSet {
                    name: name.to_owned(),
                    train: false,
                }),
                "train" => Ok(Self::DataSet {
                    name: name.to_owned(),
                    train: true,
                }),
                _ => Err(unknown()),
            },
            Some(("raw", rest)) => {
                let (size, path) = rest.split_once(':').ok_or_else(unknown)?;
                let (width, height) = size.split_once('x').ok_or_else(unknown)?;
                let (format, path) = match path.split_once(':') {
                    Some(("grey", path)) => (PixelFormat::Grey8, path),
                    Some(("rgb", path)) => (PixelFormat::Rgb8, path),
                    _ => (PixelFormat::Grey8, path),
                };
                let side = |text: &str| match text.parse() {
                    Ok(side) if (1..=MAX_SIDE).contains(&side) => Ok(side),
                    _ => Err(unknown()),
                };
                Ok(Self::Raw {
                    width: side(width)?,
                    height: side(height)?,
                    format,
                    path: path.into(),
                })
            }
            Some(("v4l2", "")) => Err(unknown()),
            Some(("v4l2", path)) => Ok(Self::Camera(path.into())),
            Some(("gst", pipeline)) if pipeline.trim().is_empty() => Err(unknown()),
            Some(("gst", pipeline)) => Ok(Self::Video(Video::Pipeline(pipeline.to_owned()))),
            Some(("rtsp" | "rtsps", rest)) if !rest.starts_with("//") => Err(unknown()),
            Some(("rtsp" | "rtsps", _)) => Ok(Self::Video(Video::Rtsp(text.to_owned()))),
            Some(("file", path)) => Ok(Self::path(path.trim_start_matches("//"))),
            _ if text.is_empty() => Err(unknown()),
            _ => Ok(Self::path(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood() {
        let data_set = |name: &str, train| SourceUri::DataSet {
            name: name.to_owned(),
            train,
        };
        for (text, expected) in [
            ("mnist:test", data_set("mnist", false)),
            ("fashion-mnist:train", data_set("fashion-mnist", true)),
            (
                "v4l2:/dev/v4l/by-id/usb-Cam:1-index0",
                SourceUri::Camera("/dev/v4l/by-id/usb-Cam:1-index0".into()),
            ),
            (
                "gst:videotestsrc ! x",
                SourceUri::Video(Video::Pipeline("videotestsrc ! x".into())),
            ),
            (
                "rtsp://cam/1",
                SourceUri::Video(Video::Rtsp("rtsp://cam/1".into())),
            ),
            (
                "file:///a/b.MP4",
                SourceUri::Video(Video::File("/a/b.MP4".into())),
            ),
            ("some/folder", SourceUri::Path("some/folder".into())),
            ("file:///a/b.png", SourceUri::Path("/a/b.png".into())),
            (
                "raw:28x20:-",
                SourceUri::Raw {
                    width: 28,
                    height: 20,
                    format: PixelFormat::Grey8,
                    path: "-".into(),
                },
            ),
            (
                "raw:28x20:rgb:/a:b",
                SourceUri::Raw {
                    width: 28,
                    height: 20,
                    format: PixelFormat::Rgb8,
                    path: "/a:b".into(),
                },
            ),
        ] {
            assert_eq!(text.parse::<SourceUri>().expect(text), expected);
        }
        for text in [
            "",
            "mnist:validation",
            "v4l2:",
            "raw:28:-",
            "raw:0x4:-",
            "raw:28x99999999999:-",
            "raw:28x28",
        ] {
            assert!(text.parse::<SourceUri>().is_err(), "{text}");
        }
    }
}
