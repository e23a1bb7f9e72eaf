//! Cameras of Linux (Video4Linux 2): negotiation, streaming, controls.

mod abi;
mod controls;
mod list;
mod negotiation;
mod offers;
mod stream;
mod sys;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::controls::ControlInfo;
pub use self::list::{CameraInfo, FormatInfo, SizeInfo, cameras};

use self::abi::{Capability, capability};
use self::stream::V4l2Stream;
use self::sys::{Node, Streaming};
use super::convert::{Conversion, Converter};
use super::live::Camera;
use super::{CameraError, CameraFormat, CameraOptions};
use shared::image::PixelFormat;

/// Pictures that the driver fills in turn. It needs one or two; the others are for the time in which
/// this program is kept from running.
const BUFFERS: u32 = 4;

/// A camera by its device node.
#[derive(Debug)]
pub(super) struct V4l2Camera {
    path: PathBuf,
    options: CameraOptions,
    /// What serves the reader.
    wanted: PixelFormat,
    /// What was agreed upon, once it was told.
    told: Option<String>,
}

impl V4l2Camera {
    pub(super) fn new(path: &Path, wanted: PixelFormat, options: &CameraOptions) -> Self {
        Self {
            path: path.to_owned(),
            options: options.clone(),
            wanted,
            told: None,
        }
    }

    fn failed(&self, error: io::Error) -> CameraError {
        CameraError::Failed {
            path: self.path.clone(),
            error,
        }
    }
}

impl Camera for V4l2Camera {
    type Stream = V4l2Stream;

    fn open(&mut self) -> Result<V4l2Stream, CameraError> {
        let (node, about) = open_camera(&self.path)?;
        self.ask_for_crop(&node)?;
        let (format, picture) = self.agree_on_picture(&node)?;
        let interval = self.agree_on_rate(&node, &picture)?;
        for (name, value) in &self.options.controls {
            controls::set(&node, name, *value).map_err(|why| CameraError::Control {
                path: self.path.clone(),
                control: format!("{name}={value}"),
                why,
            })?;
        }
        let crop = self.agreed_crop(&node)?;
        let (picture, second_stride) = self.agreed_picture(&node, format, &picture)?;
        let is_ycbcr = format.is_colour()
            && !matches!(
                format,
                CameraFormat::Rgb3 | CameraFormat::Bgr3 | CameraFormat::Mjpeg
            );
        let encoding = picture.meaning(is_ycbcr);
        let streaming = Streaming::start(node, BUFFERS).map_err(|error| self.failed(error))?;

        let (width, height) = (picture.width, picture.height);
        let rate =
            interval.map(|interval| format!(", {:.4} frames/s", 1.0 / interval.as_secs_f64()));
        let colours = if is_ycbcr {
            format!(", {encoding}")
        } else {
            String::new()
        };
        let agreed = format!(
            "{}: {}, {width}x{height} {}{}{}{}",
            self.path.display(),
            text(&about.card),
            format.name(),
            crop.map(|crop| format!(" of {crop}")).unwrap_or_default(),
            colours,
            rate.unwrap_or_default()
        );
        if self.told.as_ref() != Some(&agreed) {
            tracing::info!("{agreed}");
            self.told = Some(agreed);
        }
        let timeout = self.options.timeout.unwrap_or_else(|| {
            Duration::from_secs(2).max(interval.map_or(Duration::ZERO, |interval| 5 * interval))
        });
        let (width, height) = (width as usize, height as usize);
        let converter = Converter::new(Conversion {
            format,
            width,
            height,
            strides: [picture.bytes_per_line as usize, second_stride as usize],
            encoding,
            range: self.options.grey_range,
            wanted: self.wanted,
        });
        Ok(V4l2Stream::new(
            self.path.clone(),
            streaming,
            converter,
            timeout,
        ))
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

/// Opens a node that streams video, and tells what it says of itself.
fn open_camera(path: &Path) -> Result<(Node, Capability), CameraError> {
    let (node, about) = Node::open(path).map_err(|error| CameraError::Open {
        path: path.to_owned(),
        error,
    })?;
    let what = about.of_node();
    let problem = if what & (capability::VIDEO_CAPTURE | capability::VIDEO_CAPTURE_MPLANE) == 0 {
        Some("takes no pictures")
    } else {
        (what & capability::STREAMING == 0).then_some("cannot stream")
    };
    match problem {
        Some(what) => Err(CameraError::NoCamera {
            path: path.to_owned(),
            what,
        }),
        None => Ok((node, about)),
    }
}

/// Text that ends with a zero, or its array.
fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_camera_is_told() {
        let options = CameraOptions::default();
        for (path, words) in [
            ("/nowhere/video0", "device cameras"),
            ("/dev/null", "no video device"),
            ("Cargo.toml", "no video device"),
        ] {
            let error = V4l2Camera::new(Path::new(path), PixelFormat::Grey8, &options)
                .open()
                .expect_err(path)
                .to_string();
            assert!(error.contains(path) && error.contains(words), "{error}");
        }
    }

    #[test]
    fn text_ends_at_a_zero_or_with_its_array() {
        assert_eq!(text(b"vivid\0\0\0"), "vivid");
        assert_eq!(text(b"vivid"), "vivid");
    }
}
