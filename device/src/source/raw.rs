//! Raw 8-bit frames, grey or colour, from a pipe, a file or standard input, as `ffmpeg -pix_fmt gray -f
//! rawvideo` (or `rgb24`) and camera tools write them.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use shared::image::PixelFormat;

use super::{Frame, SourceError};

/// How long one wait for bytes lasts before the stop flag is looked at.
const POLL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};

#[derive(Debug)]
pub(super) struct RawFrames {
    name: String,
    pipe: File,
    width: usize,
    height: usize,
    /// As which pixels come: grey, or red, green and blue.
    format: PixelFormat,
    stop: Arc<AtomicBool>,
}

impl RawFrames {
    pub(super) fn open(
        path: &Path,
        width: usize,
        height: usize,
        format: PixelFormat,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, SourceError> {
        let (name, pipe) = if path == Path::new("-") {
            (
                "standard input".to_owned(),
                io::stdin().as_fd().try_clone_to_owned().map(File::from),
            )
        } else {
            // Without O_NONBLOCK, opening a named pipe hangs until somebody writes to it.
            let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
            (
                path.display().to_string(),
                OpenOptions::new().read(true).custom_flags(flags).open(path),
            )
        };
        match pipe {
            Ok(pipe) => Ok(Self {
                name,
                pipe,
                width,
                height,
                format,
                stop,
            }),
            Err(error) => Err(SourceError::Raw { name, error }),
        }
    }

    /// Reads one frame; `false` if the pipe ended between frames, or the run was stopped.
    pub(super) fn read(&mut self, frame: &mut Frame) -> Result<bool, SourceError> {
        let expected = self.width * self.height * self.format.bytes();
        (frame.width, frame.height) = (self.width, self.height);
        frame.format = self.format;
        frame.pixels.resize(expected, 0);
        let mut got = 0;
        while got < expected {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let ready = poll(&mut [PollFd::new(&self.pipe, PollFlags::IN)], Some(&POLL));
            match ready
                .map_err(io::Error::from)
                .and_then(|ready| match ready {
                    0 => Err(ErrorKind::WouldBlock.into()),
                    _ => self.pipe.read(&mut frame.pixels[got..]),
                }) {
                Ok(0) if got == 0 => return Ok(false),
                Ok(0) => {
                    return Err(SourceError::HalfFrame {
                        name: self.name.clone(),
                        got,
                        expected,
                    });
                }
                Ok(count) => got += count,
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(error) => {
                    return Err(SourceError::Raw {
                        name: self.name.clone(),
                        error,
                    });
                }
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_from_the_stream_and_a_half_one_is_told() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("stream");
        std::fs::write(&path, [1, 2, 3, 4, 5, 6, 7]).expect("written");
        let mut raw =
            RawFrames::open(&path, 3, 1, PixelFormat::Grey8, Arc::default()).expect("opened");
        let mut frame = Frame::default();
        for expected in [[1, 2, 3], [4, 5, 6]] {
            assert!(raw.read(&mut frame).expect("a whole frame"));
            assert_eq!(frame.pixels, expected);
        }
        assert!(matches!(
            raw.read(&mut frame),
            Err(SourceError::HalfFrame {
                got: 1,
                expected: 3,
                ..
            })
        ));
    }

    #[test]
    fn colour_frames_have_three_bytes_a_pixel() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("stream");
        std::fs::write(&path, [1, 2, 3, 4, 5, 6]).expect("written");
        let mut raw =
            RawFrames::open(&path, 1, 2, PixelFormat::Rgb8, Arc::default()).expect("opened");
        let mut frame = Frame::default();
        assert!(raw.read(&mut frame).expect("a whole frame"));
        assert_eq!(
            (frame.format, frame.pixels.as_slice()),
            (PixelFormat::Rgb8, &[1, 2, 3, 4, 5, 6][..])
        );
        assert!(!raw.read(&mut frame).expect("the end"));
    }
}
