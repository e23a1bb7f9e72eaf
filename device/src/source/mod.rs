//! Where frames come from: `mnist:test`, a folder of pictures, one picture, a pipe of raw frames.
//!
//! A source is named by a URI-like string, so that a camera, a file and a data set are chosen the
//! same way. Every source yields frames of 8-bit grey or colour, in their own size, with the time at
//! which they were taken. Whoever opens it says which of both serves: what is taken for grey pictures is
//! luma by Rec. 601 ([`shared::image::luma`]), whatever a picture came as.

mod camera;
mod colour;
mod convert;
mod format;
mod gst;
mod idx;
mod jpeg;
mod live;
mod pictures;
mod raw;
mod uri;
mod v4l2;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::machine::monotonic;
pub use camera::{CameraError, CameraFormat, CameraOptions, GreyRange};
pub use colour::{Encoding, Matrix};
pub use convert::{Conversion, Converter, Corrupt};
pub use gst::{NoStream, Video, Y4m};
pub use idx::{Idx, IdxError, Labelled};
pub use pictures::{PictureError, decode_picture, is_picture, read_picture};
use shared::image::{FrameView, ImageError, PixelFormat};
pub use uri::SourceUri;
pub use v4l2::{CameraInfo, ControlInfo, FormatInfo, SizeInfo, cameras};

use self::live::Live;
use self::v4l2::V4l2Camera;

/// The folder that downloads and build output are kept in: `$MCDROPOUT_CACHE`, else
/// `$XDG_CACHE_HOME/mcdropout`, else `~/.cache/mcdropout`. `None` if no home folder is known.
#[must_use]
pub fn cache_folder() -> Option<PathBuf> {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    variable("MCDROPOUT_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("mcdropout")))
        .or_else(|| variable("HOME").map(|folder| folder.join(".cache/mcdropout")))
}

/// One picture, in its own size, and when it was taken.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// How its pixels lie in memory.
    pub format: PixelFormat,
    /// Row-major, without padding: `width × height` pixels.
    pub pixels: Vec<u8>,
    /// When it was taken, since the source was opened: as the camera's driver says if it does, else
    /// when it came.
    pub captured: Duration,
}

impl Frame {
    /// The frame as the `no_std` code sees it.
    ///
    /// # Errors
    /// If the sizes and the pixels do not fit together.
    pub fn view(&self) -> Result<FrameView<'_>, ImageError> {
        FrameView::packed(self.format, self.width, self.height, &self.pixels)
    }
}

/// What came of waiting for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A frame.
    Frame,
    /// None within the time given; there may be one later.
    NotYet,
    /// None, and there will be no more.
    End,
}

/// What a live source (a camera, a stream) has met since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveState {
    /// Whole frames that came from the camera.
    pub captured: u64,
    /// Of these, frames that a newer one replaced before they were read.
    pub dropped: u64,
    /// Frames that the camera or its driver lost, by gaps in the driver's numbers.
    pub lost: u64,
    /// Frames that came damaged.
    pub corrupt: u64,
    /// How often the camera came back after it was lost.
    pub reconnects: u64,
    /// Why there is no camera just now; `None` while frames come.
    pub absent: Option<String>,
}

/// Why a source could not be opened, or a frame not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Not a source: {0}
    #[error(
        "'{0}' is no source: use v4l2:/dev/video0, rtsp://…, gst:PIPELINE, a video, mnist:test, mnist:train, fashion-mnist:test, fashion-mnist:train, a folder, a picture, or raw:WIDTHxHEIGHT[:FORMAT]:PATH (FORMAT grey or rgb; '-' for standard input)"
    )]
    Unknown(String),
    /// No cache folder.
    #[error("no folder for data sets: set MCDROPOUT_CACHE or HOME")]
    NoCacheFolder,
    /// A data set is missing or broken.
    #[error(transparent)]
    Idx(#[from] IdxError),
    /// A camera or a stream gives no frames.
    #[error(transparent)]
    Camera(#[from] CameraError),
    /// A picture is missing or broken.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// A folder cannot be listed.
    #[error("cannot list {}: {error}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A folder without pictures.
    #[error("{} holds no PNG, JPEG, PGM, PPM, BMP, TIFF, WebP or GIF picture", .0.display())]
    EmptyFolder(PathBuf),
    /// A pipe failed.
    #[error("cannot read raw frames from {name}: {error}")]
    Raw {
        /// The pipe.
        name: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// A pipe ended inside a frame.
    #[error("{name} ended inside a frame: {got} of {expected} bytes")]
    HalfFrame {
        /// The pipe.
        name: String,
        /// Bytes read of the frame.
        got: usize,
        /// Bytes of a whole frame.
        expected: usize,
    },
}

#[derive(Debug)]
enum Kind {
    Idx(Labelled, usize),
    Pictures {
        paths: std::vec::IntoIter<PathBuf>,
        /// One picture was named, not a folder of them.
        single: bool,
    },
    Raw(raw::RawFrames),
    Live(Live),
}

/// An open source.
#[derive(Debug)]
pub struct Source {
    kind: Kind,
    /// In what form pictures serve whoever reads them.
    format: PixelFormat,
    /// When it was opened, by the clock in which drivers tell when a frame was taken.
    opened: Duration,
    stop: Arc<AtomicBool>,
}

impl Source {
    /// Opens what `uri` names, a camera as it is, for pictures of `format`. Setting `stop` ends a wait for
    /// frames, and with it the source.
    ///
    /// # Errors
    /// If it does not exist, cannot be read, or holds no frames; one broken picture of a folder is
    /// told when its turn comes.
    pub fn open(
        uri: &SourceUri,
        format: PixelFormat,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, SourceError> {
        Self::open_with(uri, format, &CameraOptions::default(), stop)
    }

    /// Opens what `uri` names, a camera with `options`.
    ///
    /// # Errors
    /// As [`Source::open`]; also if the camera has not what the options ask for, or the source is no
    /// camera and they ask for something.
    pub fn open_with(
        uri: &SourceUri,
        format: PixelFormat,
        options: &CameraOptions,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, SourceError> {
        let takes = match uri {
            SourceUri::Camera(_) => options.clone(),
            SourceUri::Video(_) => CameraOptions {
                timeout: options.timeout,
                ..CameraOptions::default()
            },
            _ => CameraOptions::default(),
        };
        if *options != takes {
            let why = "options of a camera are for sources that begin with v4l2:";
            return Err(CameraError::Option(why.to_owned()).into());
        }
        let opened = monotonic();
        let kind = match uri {
            SourceUri::DataSet { name, train } => {
                let folder = cache_folder()
                    .ok_or(SourceError::NoCacheFolder)?
                    .join("data")
                    .join(name);
                Kind::Idx(Labelled::open(&folder, *train)?, 0)
            }
            SourceUri::Path(path) => Kind::Pictures {
                paths: pictures::list(path)?.into_iter(),
                single: !path.is_dir(),
            },
            SourceUri::Raw {
                width,
                height,
                format,
                path,
            } => Kind::Raw(raw::RawFrames::open(
                path,
                *width,
                *height,
                *format,
                Arc::clone(stop),
            )?),
            SourceUri::Video(video) => Kind::Live(Live::start(
                gst::Player::new(video, format, options.timeout),
                opened,
            )?),
            SourceUri::Camera(path) => {
                Kind::Live(Live::start(V4l2Camera::new(path, format, options), opened)?)
            }
        };
        Ok(Self {
            kind,
            format,
            opened,
            stop: Arc::clone(stop),
        })
    }

    /// Replaces the form in which pictures serve, from the next one on; a camera keeps the one that it was
    /// opened with.
    pub fn set_format(&mut self, format: PixelFormat) {
        self.format = format;
    }

    /// How many frames are left, where that is known.
    #[must_use]
    pub fn remaining(&self) -> Option<usize> {
        match &self.kind {
            Kind::Idx(set, next) => Some(set.images.count() - next),
            Kind::Pictures { paths, .. } => Some(paths.len()),
            Kind::Raw(_) | Kind::Live(_) => None,
        }
    }

    /// Whether the source can go on with its next frame after `error`: one broken picture in a
    /// folder does not end the run.
    #[must_use]
    pub fn survives(&self, error: &SourceError) -> bool {
        matches!(error, SourceError::Picture(_))
            && matches!(self.kind, Kind::Pictures { single: false, .. })
    }

    /// Time since the source was opened: the clock of [`Frame::captured`].
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        monotonic().saturating_sub(self.opened)
    }

    /// What a live source has met so far; `None` for all others.
    #[must_use]
    pub fn live(&self) -> Option<LiveState> {
        match &self.kind {
            Kind::Live(live) => Some(live.state()),
            _ => None,
        }
    }

    /// Whether frames come and go without who reads: a camera, but no file.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(&self.kind, Kind::Live(live) if live.is_live())
    }

    /// Reads the next frame into `frame`, however long it takes to come; `false` at the end, and when
    /// the source was stopped.
    ///
    /// # Errors
    /// See [`Source::survives`] for whether to go on.
    pub fn next_frame(&mut self, frame: &mut Frame) -> Result<bool, SourceError> {
        while !self.stop.load(Ordering::Relaxed) {
            match self.poll_frame(frame, Duration::from_millis(200))? {
                Next::Frame => return Ok(true),
                Next::NotYet => {}
                Next::End => break,
            }
        }
        Ok(false)
    }

    /// Reads the next frame into `frame`: of a live source the newest one that was not read yet,
    /// waiting for it no longer than `wait`; of all others the next one.
    ///
    /// # Errors
    /// See [`Source::survives`] for whether to go on.
    pub fn poll_frame(&mut self, frame: &mut Frame, wait: Duration) -> Result<Next, SourceError> {
        match &mut self.kind {
            Kind::Idx(set, next) => {
                let Some(image) = set.images.item(*next) else {
                    return Ok(Next::End);
                };
                *next += 1;
                (frame.height, frame.width) = set.size();
                frame.format = PixelFormat::Grey8;
                frame.pixels.clear();
                frame.pixels.extend_from_slice(image);
            }
            Kind::Pictures { paths, .. } => {
                let Some(path) = paths.next() else {
                    return Ok(Next::End);
                };
                *frame = read_picture(&path, self.format)?;
            }
            Kind::Raw(raw) => {
                if !raw.read(frame)? {
                    return Ok(Next::End);
                }
            }
            // Its frames tell themselves when they were taken.
            Kind::Live(live) => return Ok(live.poll(frame, wait)?),
        }
        frame.captured = self.elapsed();
        Ok(Next::Frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_yields_its_pictures_in_order_and_survives_a_broken_one() {
        let folder = tempfile::tempdir().expect("temporary folder");
        std::fs::write(folder.path().join("b.pgm"), b"P5 2 1 255\n\x01\x02").expect("written");
        std::fs::write(folder.path().join("a.png"), b"").expect("written");
        std::fs::write(folder.path().join("notes.txt"), b"x").expect("written");
        let mut source = Source::open(
            &SourceUri::Path(folder.path().into()),
            PixelFormat::Grey8,
            &Arc::default(),
        )
        .expect("opened");
        assert_eq!(source.remaining(), Some(2));
        let mut frame = Frame::default();
        let error = source.next_frame(&mut frame).expect_err("a.png is empty");
        assert!(
            source.survives(&error) && error.to_string().contains("a.png"),
            "{error}"
        );
        assert!(source.next_frame(&mut frame).expect("b.pgm is fine"));
        assert_eq!(
            (frame.width, frame.height, frame.pixels.as_slice()),
            (2, 1, &[1, 2][..])
        );
        assert!(!source.next_frame(&mut frame).expect("the end"));
    }
}
