//! Cameras of Linux (Video4Linux 2): negotiation, streaming, controls.

mod abi;
mod controls;
mod list;
mod offers;
mod sys;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use self::controls::ControlInfo;
pub use self::list::{CameraInfo, FormatInfo, SizeInfo, cameras};

use self::abi::{Format, PictureFormat, StreamParameters, buffer_flag, capability};
use self::offers::Offer;
use self::sys::{Filled, Node, Streaming};
use super::live::{Camera, Stream};
use super::luma::{Luma, PixelFormat};
use super::{CameraError, CameraOptions, Frame, LiveState, Next};
use crate::machine::monotonic;

/// Pictures that the driver fills in turn. It needs one or two; the others are for the time in which
/// this program is kept from running.
const BUFFERS: u32 = 4;
/// The picture that is asked for if nobody says.
const USUAL_SIZE: (u32, u32) = (640, 480);
/// Largest width or height, in pixels.
const MAX_SIDE: u32 = 16_384;
/// A driver whose times are further from now, in the past or the future, uses another clock than it
/// says. A little in the future is where a driver works the time out from the rate.
const OLDEST: Duration = Duration::from_secs(10);
const NEWEST: Duration = Duration::from_secs(1);

/// A camera by its device node.
#[derive(Debug)]
pub(super) struct V4l2Camera {
    path: PathBuf,
    options: CameraOptions,
    /// What was agreed upon, once it was told.
    told: Option<String>,
}

impl V4l2Camera {
    pub(super) fn new(path: &Path, options: &CameraOptions) -> Self {
        Self {
            path: path.to_owned(),
            options: options.clone(),
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
        let (node, card) = open_camera(&self.path)?;
        let (format, picture) = self.agree_on_picture(&node)?;
        let interval = self.agree_on_rate(&node, &picture)?;
        for (name, value) in &self.options.controls {
            controls::set(&node, name, *value).map_err(|why| CameraError::Control {
                path: self.path.clone(),
                control: format!("{name}={value}"),
                why,
            })?;
        }
        let streaming = Streaming::start(node, BUFFERS).map_err(|error| self.failed(error))?;

        let (width, height) = (picture.width, picture.height);
        let rate =
            interval.map(|interval| format!(", {:.4} frames/s", 1.0 / interval.as_secs_f64()));
        let agreed = format!(
            "{}: {card}, {width}x{height} {}{}",
            self.path.display(),
            format.name(),
            rate.unwrap_or_default()
        );
        if self.told.as_ref() != Some(&agreed) {
            tracing::info!("{agreed}");
            self.told = Some(agreed);
        }
        let timeout = self.options.timeout.unwrap_or_else(|| {
            Duration::from_secs(2).max(interval.map_or(Duration::ZERO, |interval| 5 * interval))
        });
        Ok(V4l2Stream {
            path: self.path.clone(),
            streaming,
            luma: Luma::new(
                format,
                width as usize,
                height as usize,
                picture.bytes_per_line as usize,
            ),
            sequence: None,
            timeout,
            // Many cameras take longer for the first frame.
            deadline: Instant::now() + 2 * timeout,
            trusts_clock: true,
        })
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

/// Opens a node that streams single-planar video, and gives the camera's name with it.
fn open_camera(path: &Path) -> Result<(Node, String), CameraError> {
    let node = Node::open(path).map_err(|error| CameraError::Open {
        path: path.to_owned(),
        error,
    })?;
    let about = node.capability().map_err(|error| CameraError::Open {
        path: path.to_owned(),
        error,
    })?;
    let what = capabilities(&about);
    let problem = if what & capability::VIDEO_CAPTURE != 0 {
        (what & capability::STREAMING == 0).then_some("cannot stream")
    } else if what & capability::VIDEO_CAPTURE_MPLANE != 0 {
        Some(
            "has the multi-planar interface only, which this program has not: use it through gst:v4l2src …",
        )
    } else {
        Some("takes no pictures")
    };
    match problem {
        Some(what) => Err(CameraError::NoCamera {
            path: path.to_owned(),
            what,
        }),
        None => Ok((node, text(&about.card))),
    }
}

/// What this node can do, of all that the device can.
fn capabilities(about: &abi::Capability) -> u32 {
    if about.capabilities & capability::DEVICE_CAPS != 0 {
        about.device_caps
    } else {
        about.capabilities
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

impl V4l2Camera {
    /// Has the camera send pictures that were asked for, and tells which they are.
    fn agree_on_picture(&self, node: &Node) -> Result<(PixelFormat, PictureFormat), CameraError> {
        let offers = offers::offers(node).map_err(|error| self.failed(error))?;
        let not_offered = |wanted: String, offered: String| CameraError::NotOffered {
            path: self.path.clone(),
            wanted,
            offered,
        };
        let mut usable = PixelFormat::ALL
            .into_iter()
            .filter(|format| self.options.format.is_none_or(|wanted| wanted == *format))
            .filter_map(|format| Some((format, offers.iter().find(|offer| offer.is(format))?)))
            .peekable();
        if usable.peek().is_none() {
            let wanted = match self.options.format {
                Some(format) => format!("pictures in {}", format.name()),
                None => "pictures in grey, nv12, yuyv or mjpeg".to_owned(),
            };
            let had: Vec<_> = offers.iter().map(Offer::to_string).collect();
            return Err(not_offered(wanted, had.join(", ")));
        }
        let size = self.options.size.unwrap_or(USUAL_SIZE);
        let had: Vec<_> = usable
            .clone()
            .map(|(format, offer)| match self.options.rate {
                Some(_) if offer.sizes.has(size) => {
                    let rates = offers::rates(node, offer.pixel_format, size);
                    format!("{} at {} frames/s", format.name(), offers::listed(&rates))
                }
                _ => format!("{} of {}", format.name(), offer.sizes),
            })
            .collect();
        let Some((format, _)) = usable.find(|(_, offer)| {
            self.options.size.is_none_or(|size| offer.sizes.has(size))
                && (self.options.rate).is_none_or(|rate| offer.has_rate(node, size, rate))
        }) else {
            let (width, height) = size;
            let rate = self.options.rate.map(|rate| format!(" at {rate} frames/s"));
            let wanted = format!("pictures of {width}x{height}{}", rate.unwrap_or_default());
            return Err(not_offered(wanted, had.join("; ")));
        };

        let (width, height) = size;
        let mut agreed = Format::new(PictureFormat {
            width,
            height,
            pixel_format: u32::from_le_bytes(format.four_cc()),
            field: abi::FIELD_NONE,
            ..PictureFormat::default()
        });
        node.set_format(&mut agreed)
            .map_err(|error| self.failed(error))?;
        // A driver may answer with something else, and some keep what was set before.
        let picture = agreed.picture;
        let is_other = picture.pixel_format != u32::from_le_bytes(format.four_cc())
            || self
                .options
                .size
                .is_some_and(|size| size != (picture.width, picture.height))
            || !(1..=MAX_SIDE).contains(&picture.width)
            || !(1..=MAX_SIDE).contains(&picture.height);
        if is_other {
            let wanted = format!("pictures of {width}x{height} in {}", format.name());
            let (width, height) = (picture.width, picture.height);
            let code = offers::name_of(picture.pixel_format);
            return Err(not_offered(
                wanted,
                format!("{width}x{height} in {code} in its place"),
            ));
        }
        Ok((format, picture))
    }

    /// Has the camera send so many frames, and tells how long each takes, if it says.
    fn agree_on_rate(
        &self,
        node: &Node,
        picture: &PictureFormat,
    ) -> Result<Option<Duration>, CameraError> {
        let mut parameters = StreamParameters::default();
        let Some(rate) = self.options.rate else {
            let told = node.parameters(&mut parameters);
            return Ok(told
                .ok()
                .and_then(|()| offers::duration(parameters.time_per_frame)));
        };
        parameters.capability = capability::TIME_PER_FRAME;
        parameters.time_per_frame = offers::interval(rate);
        let set = node.set_parameters(&mut parameters);
        let interval = offers::duration(parameters.time_per_frame);
        match (set, interval) {
            (Ok(()), Some(interval)) if offers::is_rate(interval, rate) => Ok(Some(interval)),
            (_, interval) => {
                let all =
                    offers::rates(node, picture.pixel_format, (picture.width, picture.height));
                let offered = match (all.is_empty(), interval) {
                    (false, _) => format!("{} frames/s", offers::listed(&all)),
                    (true, Some(interval)) => {
                        format!("{:.4} frames/s only", 1.0 / interval.as_secs_f64())
                    }
                    (true, None) => "a rate that cannot be set".to_owned(),
                };
                Err(CameraError::NotOffered {
                    path: self.path.clone(),
                    wanted: format!(
                        "{rate} frames/s of {}x{} pixels",
                        picture.width, picture.height
                    ),
                    offered,
                })
            }
        }
    }
}

/// A camera that streams.
#[derive(Debug)]
pub(super) struct V4l2Stream {
    path: PathBuf,
    streaming: Streaming,
    luma: Luma,
    /// The driver's number of the last frame.
    sequence: Option<u32>,
    timeout: Duration,
    /// When the next frame must have come.
    deadline: Instant,
    /// Whether the driver's times are those of the clock that it names.
    trusts_clock: bool,
}

impl Stream for V4l2Stream {
    fn read(
        &mut self,
        frame: &mut Frame,
        wait: Duration,
        state: &mut LiveState,
    ) -> Result<Next, CameraError> {
        let failed = |error| CameraError::Failed {
            path: self.path.clone(),
            error,
        };
        let wait = wait.min(self.deadline.saturating_duration_since(Instant::now()));
        let ready = self.streaming.wait(wait).map_err(failed)?;
        let filled = if ready {
            let taken = self.streaming.take_newest().map_err(failed)?;
            if taken.is_none() {
                // Something else than a frame woke it; it may go on waking.
                std::thread::sleep(Duration::from_millis(5));
            }
            taken
        } else {
            None
        };
        let Some(filled) = filled else {
            if Instant::now() < self.deadline {
                return Ok(Next::NotYet);
            }
            return Err(CameraError::Stalled {
                name: self.path.display().to_string(),
                timeout: self.timeout,
            });
        };
        self.deadline = Instant::now() + self.timeout;
        state.captured += u64::from(filled.older);
        state.dropped += u64::from(filled.older);
        state.lost += u64::from(gap(self.sequence, &filled));
        self.sequence = Some(filled.about.sequence);
        let is_whole = filled.about.flags & buffer_flag::ERROR == 0;
        if !is_whole || self.luma.convert(filled.bytes(), &mut frame.luma).is_err() {
            state.corrupt += 1;
            return Ok(Next::NotYet);
        }
        (frame.width, frame.height) = self.luma.size();
        frame.captured = taken_at(&filled.about, &mut self.trusts_clock);
        Ok(Next::Frame)
    }
}

/// Frames that the driver has numbered since number `last` and never handed out.
fn gap(last: Option<u32>, filled: &Filled<'_>) -> u32 {
    missed(last, filled.about.sequence, filled.older)
}

/// Numbers missing between `last` and `now`, of which `older` came, too. A number that is not behind
/// the last says nothing: some drivers number nothing, others begin again.
fn missed(last: Option<u32>, now: u32, older: u32) -> u32 {
    match last {
        // Half of all numbers lie behind any other.
        Some(last) if now.wrapping_sub(last) as i32 > 0 => {
            (now.wrapping_sub(last) - 1).saturating_sub(older)
        }
        _ => 0,
    }
}

/// When the frame was taken, in [`monotonic`] time: as the driver says if it says so, else now.
fn taken_at(about: &abi::Buffer, trusts_clock: &mut bool) -> Duration {
    let now = monotonic();
    if about.flags & buffer_flag::TIMESTAMP_MASK != buffer_flag::TIMESTAMP_MONOTONIC
        || !*trusts_clock
    {
        return now;
    }
    #[allow(clippy::useless_conversion)] // a C long has 32 bits elsewhere
    let told = u64::try_from(about.seconds)
        .ok()
        .zip(u64::try_from(about.microseconds).ok())
        .map(|(seconds, micros)| Duration::from_secs(seconds) + Duration::from_micros(micros));
    match told {
        Some(told) if told + OLDEST > now && told < now + NEWEST => told.min(now),
        _ => {
            tracing::warn!(
                "the camera's driver tells times of another clock than it says: frames are as old as their arrival"
            );
            *trusts_clock = false;
            now
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_numbers_are_counted() {
        assert_eq!(missed(None, 7, 0), 0, "nothing is known of before");
        assert_eq!(missed(Some(7), 8, 0), 0);
        assert_eq!(missed(Some(7), 11, 0), 3);
        assert_eq!(missed(Some(7), 11, 2), 1, "two of them came");
        assert_eq!(missed(Some(7), 7, 0), 0, "a driver that does not count");
        assert_eq!(missed(Some(7), 0, 0), 0, "a driver that begins again");
        assert_eq!(missed(Some(u32::MAX), 1, 0), 1, "it wraps");
    }

    fn buffer(flags: u32, time: Duration) -> abi::Buffer {
        abi::Buffer {
            flags,
            seconds: time.as_secs() as std::ffi::c_long,
            microseconds: time.subsec_micros().into(),
            ..abi::Buffer::default()
        }
    }

    #[test]
    fn a_frame_is_as_old_as_its_driver_says_if_that_can_be() {
        let now = monotonic();
        let past = now.saturating_sub(Duration::from_millis(30));
        let told = Duration::from_micros(past.as_micros() as u64);
        let mut trusts = true;
        let monotonic_flag = buffer_flag::TIMESTAMP_MONOTONIC;
        assert_eq!(taken_at(&buffer(monotonic_flag, past), &mut trusts), told);
        assert!(taken_at(&buffer(0, past), &mut trusts) >= now, "no clock");
        assert!(trusts);
        let ahead = now + Duration::from_millis(500);
        assert!(taken_at(&buffer(monotonic_flag, ahead), &mut trusts) < ahead);
        assert!(trusts);
        let other = now + Duration::from_secs(1_000_000);
        assert!(taken_at(&buffer(monotonic_flag, other), &mut trusts) >= now);
        assert!(!trusts);
    }

    #[test]
    fn what_is_no_camera_is_told() {
        let options = CameraOptions::default();
        for (path, words) in [
            ("/nowhere/video0", "device cameras"),
            ("/dev/null", "no video device"),
            ("Cargo.toml", "no video device"),
        ] {
            let error = V4l2Camera::new(Path::new(path), &options)
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
