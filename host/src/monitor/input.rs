//! Bytes from a serial port (which may be unplugged and come back), a recording, or a pipe.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use device::serial::{SerialError, SerialLine};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// First and longest wait between two tries to open a port that went away.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How long one wait for bytes lasts before the stop flag is looked at.
const POLL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};

/// Why the input could not be opened or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// The serial port.
    #[error(transparent)]
    Serial(#[from] SerialError),
    /// The recording or pipe.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

#[derive(Debug)]
enum Kind {
    Serial { line: Option<SerialLine>, baud: u32 },
    File(File),
}

/// An open input.
#[derive(Debug)]
pub struct Input {
    kind: Kind,
    path: PathBuf,
    stop: Arc<AtomicBool>,
    /// The line was opened, and nobody has asked yet whether it was.
    is_fresh: bool,
}

impl Input {
    /// Opens a serial port at `baud` bits per second, a recorded capture, or standard input (`-`).
    /// With `wait`, a port that is not there yet is waited for. Setting `stop` ends every wait.
    ///
    /// # Errors
    /// If it is absent, busy, or not readable.
    pub fn open(
        path: &Path,
        baud: u32,
        wait: bool,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, InputError> {
        let failed = |error| InputError::Read {
            path: path.to_owned(),
            error,
        };
        let kind = if path == Path::new("-") {
            Kind::File(
                io::stdin()
                    .as_fd()
                    .try_clone_to_owned()
                    .map_err(failed)?
                    .into(),
            )
        } else if is_recording(path) {
            Kind::File(File::open(path).map_err(failed)?)
        } else {
            match SerialLine::open(path, baud, Arc::clone(&stop)) {
                Ok(line) => Kind::Serial {
                    line: Some(line),
                    baud,
                },
                Err(SerialError::Absent { .. }) if wait => {
                    tracing::info!("waiting for {}", path.display());
                    Kind::Serial { line: None, baud }
                }
                Err(error) => return Err(error.into()),
            }
        };
        Ok(Self {
            kind,
            path: path.to_owned(),
            stop,
            is_fresh: true,
        })
    }

    /// Whether a serial line was opened since this was asked last: who is there is to be greeted.
    pub fn was_opened(&mut self) -> bool {
        matches!(self.kind, Kind::Serial { line: Some(_), .. })
            && std::mem::take(&mut self.is_fresh)
    }

    /// Offers bytes to the other end of a serial line. What it does not take at once is dropped: it can
    /// be said again, and reading must not wait for it.
    pub fn offer(&mut self, bytes: &[u8]) {
        if let Kind::Serial {
            line: Some(line), ..
        } = &mut self.kind
            && let Err(error) = line.offer(bytes)
        {
            // The next read finds out, too, and waits for the line.
            tracing::debug!("cannot answer: {error}");
        }
    }

    /// Reads what has come. `Some(0)` says that nothing came for a while; `None` is the end: of the
    /// recording, or because somebody stopped it. A serial port never ends by itself.
    ///
    /// # Errors
    /// If the recording cannot be read. A lost serial port is waited for instead.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, InputError> {
        if self.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        match &mut self.kind {
            Kind::File(file) => {
                let ready = poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&POLL));
                match ready.map_err(io::Error::from).and_then(|ready| {
                    if ready == 0 {
                        Ok(None)
                    } else {
                        file.read(buffer).map(Some)
                    }
                }) {
                    Ok(Some(0)) => Ok(None),
                    Ok(count) => Ok(Some(count.unwrap_or(0))),
                    Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Some(0)),
                    Err(error) => Err(InputError::Read {
                        path: self.path.clone(),
                        error,
                    }),
                }
            }
            Kind::Serial {
                line: Some(port),
                baud,
            } => match port.read(buffer) {
                Ok(count) if count > 0 => Ok(Some(count)),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::TimedOut | ErrorKind::Interrupted | ErrorKind::WouldBlock
                    ) =>
                {
                    Ok(Some(0))
                }
                lost => {
                    let reason = lost
                        .err()
                        .map_or_else(|| "hung up".to_owned(), |error| error.to_string());
                    tracing::warn!(
                        "{} is gone ({reason}); waiting for it to come back",
                        self.path.display()
                    );
                    let baud = *baud;
                    self.kind = Kind::Serial { line: None, baud };
                    Ok(Some(0))
                }
            },
            Kind::Serial {
                line: line @ None,
                baud,
            } => {
                let mut pause = RETRY.0;
                while !self.stop.load(Ordering::Relaxed) {
                    if let Ok(port) = SerialLine::open(&self.path, *baud, Arc::clone(&self.stop)) {
                        tracing::info!("{} is here", self.path.display());
                        *line = Some(port);
                        self.is_fresh = true;
                        return Ok(Some(0));
                    }
                    thread::sleep(pause);
                    pause = (pause * 2).min(RETRY.1);
                }
                Ok(None)
            }
        }
    }
}

fn is_recording(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() || metadata.file_type().is_fifo())
}
