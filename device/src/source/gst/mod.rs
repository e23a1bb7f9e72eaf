//! Videos and streams by GStreamer: a child process that writes frames to a pipe.
//!
//! A process of its own needs nothing of GStreamer when this program is built, takes whatever plugins
//! a board's vendor has, and when one of these crashes, it is started again.

mod y4m;

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

pub use self::y4m::{NoStream, Reader as Y4m};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use shared::image::PixelFormat;

use super::colour::Encoding;
use super::live::{Camera, Stream};
use super::{CameraError, Frame, LiveState, Next};
use crate::machine::monotonic;

const PROGRAM: &str = "gst-launch-1.0";
/// How long a stream may be silent, at its start, too, if nobody says.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a process that has ended may take to have said why.
const COMPLAINT: Duration = Duration::from_secs(1);
/// What `decodebin` makes of a name that ends so is a video.
const VIDEOS: [&str; 9] = [
    "avi", "m4v", "mkv", "mov", "mp4", "mpg", "ts", "webm", "y4m",
];

/// What GStreamer is to play.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Video {
    /// A video file, from its beginning to its end.
    File(PathBuf),
    /// `rtsp://…`: a network camera.
    Rtsp(String),
    /// `gst:PIPELINE`: any pipeline, as `gst-launch-1.0` takes it, up to raw video of any form. It
    /// counts as live.
    Pipeline(String),
}

impl Video {
    /// Whether a path is that of a video, by its ending.
    pub(super) fn is_file_name(path: &std::path::Path) -> bool {
        path.extension()
            .and_then(|ending| ending.to_str())
            .is_some_and(|ending| VIDEOS.contains(&ending.to_ascii_lowercase().as_str()))
    }

    /// The part of the pipeline that gives pictures.
    fn arguments(&self) -> Vec<OsString> {
        let mut arguments = match self {
            Self::File(path) => element("filesrc", "location", path.as_os_str()),
            Self::Rtsp(address) => {
                let mut source = element("rtspsrc", "location", address.as_ref());
                source.push("latency=100".into());
                source
            }
            Self::Pipeline(text) => return words(text),
        };
        arguments.extend(["!", "decodebin"].map(OsString::from));
        arguments
    }
}

/// An element with one property.
fn element(name: &str, key: &str, value: &std::ffi::OsStr) -> Vec<OsString> {
    let mut property = OsString::from(format!("{key}="));
    property.push(value);
    vec![name.into(), property]
}

/// Words between spaces; what stands in double quotes is one.
fn words(text: &str) -> Vec<OsString> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for character in text.chars() {
        match character {
            '"' => quoted = !quoted,
            ' ' | '\t' | '\n' if !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word).into());
                }
            }
            _ => word.push(character),
        }
    }
    if !word.is_empty() {
        words.push(word.into());
    }
    words
}

/// A video that can be played (again).
#[derive(Debug)]
pub(super) struct Player {
    video: Video,
    /// What serves the reader.
    wanted: PixelFormat,
    timeout: Duration,
    program: &'static str,
}

impl Player {
    pub(super) fn new(video: &Video, wanted: PixelFormat, timeout: Option<Duration>) -> Self {
        Self {
            video: video.clone(),
            wanted,
            timeout: timeout.unwrap_or(TIMEOUT),
            program: PROGRAM,
        }
    }
}

impl Camera for Player {
    type Stream = Playing;

    fn open(&mut self) -> Result<Playing, CameraError> {
        if let Video::File(path) = &self.video {
            // Said better than by GStreamer.
            std::fs::File::open(path).map_err(|error| {
                CameraError::GStreamer(format!("cannot open {}: {error}", path.display()))
            })?;
        }
        let is_plain = is_plain_y4m(&self.video);
        let mut command = Command::new(self.program);
        command.arg("-q");
        if let (Video::File(path), true) = (&self.video, is_plain) {
            command.args(element("filesrc", "location", path.as_os_str()));
        } else {
            command.args(self.video.arguments()).args([
                "!",
                "videoconvert",
                "!",
                form(self.wanted),
                "!",
                "y4menc",
            ]);
        }
        let child = command
            .args(["!", "fdsink", "fd=1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let child = child.map_err(|error| {
            CameraError::GStreamer(match error.kind() {
                io::ErrorKind::NotFound => format!(
                    "{PROGRAM} is not installed: apt-get install gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
                ),
                _ => format!("{PROGRAM} cannot be started: {error}"),
            })
        })?;
        let reader = y4m::Reader::new(self.wanted, (!is_plain).then_some(Encoding::VIDEO));
        let mut playing = Playing::new(child, reader, self.name(), self.timeout)?;
        playing.endless = matches!(self.video, Video::Rtsp(_));
        // Whether it runs at all is to be known at the start.
        while playing.reader.size().is_ok_and(|size| size.is_none()) && !playing.ended {
            playing.fill(self.timeout)?;
        }
        match playing.reader.size() {
            Ok(Some(_)) => Ok(playing),
            _ => Err(playing.failure()),
        }
    }

    fn name(&self) -> String {
        match &self.video {
            Video::File(path) => path.display().to_string(),
            Video::Rtsp(address) => without_password(address),
            Video::Pipeline(_) => "the pipeline".to_owned(),
        }
    }

    fn is_live(&self) -> bool {
        !matches!(self.video, Video::File(_))
    }
}

/// What GStreamer is asked for: [`Encoding::VIDEO`] (range 2, matrix 4), whatever the video is, since the
/// stream that it writes does not say; with the colours of every pixel only if they are wanted. Not
/// the full range: some elements, its test source among them, promise that and do not keep to it.
fn form(wanted: PixelFormat) -> &'static str {
    if wanted.is_colour() {
        "video/x-raw,format=Y444,colorimetry=2:4:0:0"
    } else {
        "video/x-raw,format=I420,colorimetry=2:4:0:0"
    }
}

/// Whether a file is a YUV4MPEG2 stream that is read here as it is: GStreamer takes every one for one of
/// limited range, whatever its header says.
fn is_plain_y4m(video: &Video) -> bool {
    let Video::File(path) = video else {
        return false;
    };
    let mut start = Vec::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(y4m::MAX_HEADER as u64).read_to_end(&mut start));
    read.is_ok() && y4m::begins(&start)
}

/// An address as logs may show it.
fn without_password(address: &str) -> String {
    match address
        .split_once("://")
        .and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1)))
    {
        Some((scheme, rest)) => format!("{scheme}://{rest}"),
        None => address.to_owned(),
    }
}

/// A child process that plays.
#[derive(Debug)]
pub(super) struct Playing {
    child: Child,
    output: ChildStdout,
    reader: y4m::Reader,
    name: String,
    timeout: Duration,
    /// When the next bytes must have come.
    deadline: Instant,
    ended: bool,
    /// Whether an end is a loss: a network camera that says goodbye comes back.
    endless: bool,
    /// The errors that the child writes.
    complaint: Receiver<String>,
}

impl Playing {
    fn new(
        mut child: Child,
        reader: y4m::Reader,
        name: String,
        timeout: Duration,
    ) -> Result<Self, CameraError> {
        let lost = || CameraError::GStreamer(format!("{PROGRAM} has no output"));
        let output = child.stdout.take().ok_or_else(lost)?;
        let errors = child.stderr.take().ok_or_else(lost)?;
        let complaint = listen(errors)?;
        Ok(Self {
            child,
            output,
            reader,
            name,
            timeout,
            deadline: Instant::now() + timeout,
            ended: false,
            endless: false,
            complaint,
        })
    }

    /// Takes what the child has written, waiting for it no longer than `wait`.
    fn fill(&mut self, wait: Duration) -> Result<(), CameraError> {
        let failed = |error: io::Error| {
            CameraError::GStreamer(format!("the pipe of {PROGRAM} fails: {error}"))
        };
        let wait = wait.min(self.deadline.saturating_duration_since(Instant::now()));
        let time = Timespec {
            tv_sec: wait.as_secs() as i64,
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        let mut fds = [PollFd::from_borrowed_fd(self.output.as_fd(), PollFlags::IN)];
        let ready = match poll(&mut fds, Some(&time)) {
            Err(rustix::io::Errno::INTR) => false,
            result => result.map_err(|error| failed(error.into()))? > 0,
        };
        if ready {
            let mut bytes = [0; 1 << 14];
            let count = self.output.read(&mut bytes).map_err(failed)?;
            self.ended = count == 0;
            self.reader.push(&bytes[..count]);
            self.deadline = Instant::now() + self.timeout;
        } else if Instant::now() >= self.deadline {
            return Err(CameraError::Stalled {
                name: self.name.clone(),
                timeout: self.timeout,
            });
        }
        Ok(())
    }

    /// Why nothing comes any more.
    fn failure(&mut self) -> CameraError {
        // It has ended, or is of no use; either way its complaint is on its way or will not come.
        let _ = self.child.kill();
        let _ = self.child.wait();
        CameraError::GStreamer(match self.complaint.recv_timeout(COMPLAINT) {
            Ok(complaint) => format!("{}: {complaint}", self.name),
            Err(_) => format!("{} gives no video", self.name),
        })
    }
}

impl Stream for Playing {
    fn read(
        &mut self,
        frame: &mut Frame,
        wait: Duration,
        _: &mut LiveState,
    ) -> Result<Next, CameraError> {
        let until = Instant::now() + wait;
        loop {
            match self.reader.frame(&mut frame.pixels, self.ended) {
                Ok(true) => {
                    if let Ok(Some(size)) = self.reader.size() {
                        (frame.width, frame.height) = size;
                    }
                    frame.format = self.reader.format();
                    frame.captured = monotonic();
                    return Ok(Next::Frame);
                }
                Ok(false) if self.ended => {
                    let finished = self.child.wait().is_ok_and(|status| status.success());
                    return if finished && self.endless {
                        let why = format!("{} has ended its stream", self.name);
                        Err(CameraError::GStreamer(why))
                    } else if finished {
                        Ok(Next::End)
                    } else {
                        Err(self.failure())
                    };
                }
                Ok(false) => {}
                Err(NoStream) => return Err(self.failure()),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Next::NotYet);
            }
            self.fill(left)?;
        }
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps the child's standard error empty, and gives the errors that it tells.
fn listen(errors: ChildStderr) -> Result<Receiver<String>, CameraError> {
    let (sender, complaint) = channel();
    thread::Builder::new()
        .name("gstreamer".to_owned())
        .spawn(move || {
            for line in BufReader::new(errors).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim().to_owned();
                tracing::debug!("{PROGRAM}: {line}");
                if let Some(words) = error(&line) {
                    // Whoever would read it may have gone.
                    let _ = sender.send(words);
                }
            }
        })
        .map_err(CameraError::Thread)?;
    Ok(complaint)
}

/// The error that a line tells, if it does: `ERROR: from element /GstPipeline:pipeline0/…:NAME: WORDS`,
/// of which name and words are kept, or what is wrong with the pipeline.
fn error(line: &str) -> Option<String> {
    if !line.starts_with("ERROR") && !line.contains("erroneous pipeline") {
        return None;
    }
    let (_, words) = line.split_once(": ").unwrap_or(("", line));
    let shorter = words
        .strip_prefix("from element ")
        .and_then(|words| words.split_once(": "))
        .and_then(|(path, words)| Some(format!("{}: {words}", path.rsplit(':').next()?)));
    let words = shorter.unwrap_or_else(|| words.to_owned());
    Some(words.chars().filter(|it| !it.is_control()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipelines_are_words() {
        assert_eq!(
            words("a !  b location=\"/x y/z\" ! c"),
            ["a", "!", "b", "location=/x y/z", "!", "c"]
        );
        assert!(words("  ").is_empty());
        assert_eq!(without_password("rtsp://me:secret@cam/1"), "rtsp://cam/1");
        assert_eq!(without_password("rtsp://cam/1"), "rtsp://cam/1");
    }

    #[test]
    fn errors_are_told_by_their_words() {
        for (line, expected) in [
            (
                "ERROR: from element /GstPipeline:pipeline0/GstRTSPSrc:rtspsrc0: Could not open resource.",
                Some("rtspsrc0: Could not open resource."),
            ),
            (
                "WARNING: erroneous pipeline: no element \"x\"",
                Some("erroneous pipeline: no element \"x\""),
            ),
            (
                "ERROR: pipeline doesn't want to preroll.",
                Some("pipeline doesn't want to preroll."),
            ),
            ("ERROR", Some("ERROR")),
            ("Additional debug info:", None),
            ("", None),
        ] {
            assert_eq!(error(line).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn a_missing_program_is_told() {
        let mut player = Player::new(
            &Video::Pipeline("videotestsrc".to_owned()),
            PixelFormat::Grey8,
            None,
        );
        player.program = "gst-launch-that-does-not-exist";
        let error = player.open().expect_err("no such program").to_string();
        assert!(
            error.contains("apt-get install gstreamer1.0-tools"),
            "{error}"
        );
    }

    /// The first frame of a video, of 64 by 48 pixels.
    fn first_frame(video: &Video, wanted: PixelFormat) -> Frame {
        let mut player = Player::new(video, wanted, None);
        let mut playing = player.open().expect("scripts/setup installs GStreamer");
        let (mut frame, mut state) = (Frame::default(), LiveState::default());
        loop {
            match playing
                .read(&mut frame, TIMEOUT, &mut state)
                .expect("it plays")
            {
                Next::Frame => break,
                Next::NotYet => {}
                Next::End => panic!("no frame"),
            }
        }
        assert_eq!((frame.width, frame.height), (64, 48));
        frame
    }

    #[test]
    fn colours_are_the_same_in_every_form_of_video() {
        let red = "videotestsrc num-buffers=1 pattern=red ! video/x-raw,width=64,height=48";
        for form in [
            "",
            ",format=RGB",
            ",format=I420,colorimetry=bt601",
            ",format=I420,colorimetry=bt709",
        ] {
            let video = Video::Pipeline(format!("{red}{form}"));
            let frame = first_frame(&video, PixelFormat::Rgb8);
            assert_eq!(frame.format, PixelFormat::Rgb8);
            let pixel = &frame.pixels[3 * 1000..][..3];
            let is_close = pixel
                .iter()
                .zip([255_u8, 0, 0])
                .all(|(a, b)| a.abs_diff(b) <= 3);
            assert!(is_close, "{form}: {pixel:?}");
            let luma = first_frame(&video, PixelFormat::Grey8).pixels[1000];
            assert!(luma.abs_diff(76) <= 2, "{form}: {luma}");
        }
        for (pattern, expected) in [("white", 255), ("black", 0)] {
            let pipeline = red.replace("red", pattern);
            let frame = first_frame(&Video::Pipeline(pipeline), PixelFormat::Grey8);
            assert_eq!(frame.pixels[1000], expected);
        }
    }

    #[test]
    fn a_file_of_full_range_is_taken_as_its_header_says() {
        let folder = tempfile::tempdir().expect("temporary folder");
        for (chroma, expected) in [("420jpeg", 235), ("420mpeg2", 255)] {
            let path = folder.path().join(chroma).with_extension("y4m");
            let mut bytes = format!("YUV4MPEG2 W64 H48 F10:1 C{chroma}\nFRAME\n").into_bytes();
            bytes.extend(std::iter::repeat_n(235, 64 * 48));
            bytes.extend(std::iter::repeat_n(128, 2 * 32 * 24));
            std::fs::write(&path, bytes).expect("written");
            let frame = first_frame(&Video::File(path), PixelFormat::Grey8);
            assert_eq!(frame.pixels[1000], expected, "{chroma}");
        }
    }
}
