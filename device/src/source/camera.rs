//! What a camera is asked for, and why it could not be had.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use super::format::{CameraFormat, GreyRange};
use shared::image::Rect;

/// What a camera is asked for; what is not given is left to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CameraOptions {
    /// The part of what it sees that the camera itself is to take, in its own pixels.
    pub crop: Option<Rect>,
    /// Width and height of the pictures, in pixels; those of `crop`, else 640 × 480, or what is
    /// nearest, if not given.
    pub size: Option<(u32, u32)>,
    /// Frames per second.
    pub rate: Option<f64>,
    /// Form of the pictures; the first of [`CameraFormat::serving`] that the camera has, if not given.
    pub format: Option<CameraFormat>,
    /// How luma of more than 8 bits becomes 8. Another than the full range takes a camera that sends
    /// such.
    pub grey_range: GreyRange,
    /// Names and values of controls, set in this order (automatic exposure has to be switched off
    /// before a time of exposure can be set).
    pub controls: Vec<(String, i32)>,
    /// How long no frame may come before the camera counts as lost: two seconds, or five frames if
    /// these take longer, if not given (of a stream, ten seconds).
    pub timeout: Option<Duration>,
}

/// Why a camera or a stream gives no frames.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CameraError {
    /// It cannot be opened.
    #[error("cannot open the camera {}: {error}{}", path.display(), hint(error))]
    Open {
        /// The device node.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is a video device of another kind.
    #[error("{} {what}; device cameras lists the cameras", path.display())]
    NoCamera {
        /// The device node.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// It has not what was asked for.
    #[error("{} has no {wanted}; it has {offered}", path.display())]
    NotOffered {
        /// The device node.
        path: PathBuf,
        /// What was asked for.
        wanted: String,
        /// What it has instead.
        offered: String,
    },
    /// Its driver knows no part of a picture.
    #[error("the camera {} cannot crop: use --crop, which takes the part out of the pictures that come", .0.display())]
    NoCrop(PathBuf),
    /// A control cannot be set so.
    #[error("{}: cannot set {control}: {why}", path.display())]
    Control {
        /// The device node.
        path: PathBuf,
        /// `NAME=VALUE`.
        control: String,
        /// Why not.
        why: String,
    },
    /// It fails.
    #[error("the camera {} fails: {error}{}", path.display(), hint(error))]
    Failed {
        /// The device node.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is open and sends nothing.
    #[error("no frame from {name} for {:.1} s", timeout.as_secs_f64())]
    Stalled {
        /// The camera or the stream.
        name: String,
        /// How long was waited.
        timeout: Duration,
    },
    /// A pipeline of GStreamer does not run.
    #[error("GStreamer: {0}")]
    GStreamer(String),
    /// An option that this source does not take.
    #[error("{0}")]
    Option(String),
    /// The system has no thread left.
    #[error("cannot start the camera's thread: {0}")]
    Thread(io::Error),
}

/// What to do about an error that users meet.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => ", device cameras lists those that are there",
        io::ErrorKind::PermissionDenied => ", add your user to the group 'video'",
        io::ErrorKind::ResourceBusy => ", another program uses it",
        _ => "",
    }
}
