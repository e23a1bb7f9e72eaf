//! The serial line, as `embedded-io` sees one, so that the link code is the microcontroller's own.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use serialport::TTYPort;

/// How long one read or write waits before it looks at the stop flag.
const POLL: Duration = Duration::from_millis(200);
/// How often a line that takes nothing is warned about.
const STALL_WARNING: Duration = Duration::from_secs(5);

/// A number at random, not 0, for epochs and challenges.
#[must_use]
pub fn nonce() -> u64 {
    // Seeded by the system.
    RandomState::new().hash_one(0).max(1)
}

/// Why a serial line could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SerialError {
    /// No such path.
    #[error("serial port {} does not exist; {}", path.display(), known_ports())]
    Absent {
        /// The path asked for.
        path: PathBuf,
    },
    /// Not allowed.
    #[error("no permission to open serial port {}: add your user to the group that owns it (often 'dialout') and log in again", path.display())]
    Denied {
        /// The path asked for.
        path: PathBuf,
    },
    /// Somebody else holds it.
    #[error("serial port {} is busy: another program (a monitor, a terminal, ModemManager) holds it; close that first", path.display())]
    Busy {
        /// The path asked for.
        path: PathBuf,
    },
    /// A file, a folder or another kind of device.
    #[error("{} is not a serial port; {}", path.display(), known_ports())]
    NotAPort {
        /// The path asked for.
        path: PathBuf,
    },
    /// Anything else.
    #[error("cannot open serial port {} at {baud} baud: {error}", path.display())]
    Open {
        /// The path asked for.
        path: PathBuf,
        /// The speed asked for, in bits per second.
        baud: u32,
        /// What the system said.
        error: serialport::Error,
    },
}

/// A sentence that names the serial ports of this machine.
fn known_ports() -> String {
    let ports: Vec<_> = serialport::available_ports()
        .unwrap_or_default()
        .into_iter()
        .map(|port| port.port_name)
        .collect();
    if ports.is_empty() {
        "this machine has no serial ports now".to_owned()
    } else {
        format!("there are {}", ports.join(", "))
    }
}

/// An open serial line: 8 data bits, no parity, 1 stop bit, no flow control, held exclusively.
///
/// A write waits as long as the line takes nothing (a terminal at the other end that is paused, a
/// pseudo-terminal that nobody reads), warns while it waits, and gives up when the stop flag is set
/// or its patience ([`SerialLine::give_up_after`]) ends.
#[derive(Debug)]
pub struct SerialLine {
    port: TTYPort,
    path: PathBuf,
    stop: Arc<AtomicBool>,
    patience: Option<Duration>,
}

impl SerialLine {
    /// Opens the serial port at `path` at `baud` bits per second.
    ///
    /// # Errors
    /// If it is absent, busy, not a serial port, or not to be opened by this user.
    pub fn open(path: &Path, baud: u32, stop: Arc<AtomicBool>) -> Result<Self, SerialError> {
        use serialport::ErrorKind;
        let path = path.to_owned();
        let builder = serialport::new(path.to_string_lossy(), baud).timeout(POLL);
        let port = TTYPort::open(&builder).map_err(|error| match error.kind() {
            ErrorKind::Io(io::ErrorKind::NotFound) => SerialError::Absent { path: path.clone() },
            ErrorKind::Io(io::ErrorKind::PermissionDenied) => {
                SerialError::Denied { path: path.clone() }
            }
            _ if !is_character_device(&path) => SerialError::NotAPort { path: path.clone() },
            ErrorKind::NoDevice => SerialError::Busy { path: path.clone() },
            _ if !is_terminal(&path) => SerialError::NotAPort { path: path.clone() },
            _ => SerialError::Open {
                path: path.clone(),
                baud,
                error,
            },
        })?;
        set_nonblocking(&port).map_err(|error| SerialError::Open {
            path: path.clone(),
            baud,
            error: error.into(),
        })?;
        Ok(Self {
            port,
            path,
            stop,
            patience: None,
        })
    }

    /// A write that waits longer than `patience` while the line takes nothing fails with
    /// `TimedOut`.
    #[must_use]
    pub fn give_up_after(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }
}

/// What a line is ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// Something has come, or the line hung up.
    pub read: bool,
    /// It takes something.
    pub write: bool,
}

/// For a loop that waits for several things.
impl SerialLine {
    /// Waits until something comes, until the line takes something if `write` is asked for, until
    /// `bell` can be read, or until `timeout` is over.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait(&self, write: bool, bell: BorrowedFd<'_>, timeout: Duration) -> io::Result<Ready> {
        let fd = borrow(&self.port);
        let mut wanted = PollFlags::IN;
        wanted.set(PollFlags::OUT, write);
        let mut waiting = [
            PollFd::from_borrowed_fd(fd, wanted),
            PollFd::from_borrowed_fd(bell, PollFlags::IN),
        ];
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        match poll(&mut waiting, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let happened = waiting[0].revents();
        Ok(Ready {
            read: happened.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR),
            write: happened.contains(PollFlags::OUT),
        })
    }

    /// Reads what is there, without waiting; 0 if nothing is.
    ///
    /// # Errors
    /// If the line hung up.
    pub fn take(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match rustix::io::read(borrow(&self.port), buffer) {
            Ok(0) | Err(Errno::IO) => Err(self.hung_up()),
            Ok(count) => Ok(count),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes as much as the line takes now, without waiting.
    ///
    /// # Errors
    /// If the line hung up.
    pub fn offer(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match rustix::io::write(borrow(&self.port), bytes) {
            Ok(count) => Ok(count),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(Errno::IO) => Err(self.hung_up()),
            Err(error) => Err(error.into()),
        }
    }

    // Not a broken pipe, which ends a program quietly: the host has to hear of it.
    fn hung_up(&self) -> io::Error {
        io::Error::new(
            io::ErrorKind::NotConnected,
            format!("{} hung up; was it unplugged?", self.path.display()),
        )
    }
}

#[allow(unsafe_code)]
fn borrow(port: &TTYPort) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is open for as long as `port` is borrowed, which is as long as what this
    // returns.
    unsafe { BorrowedFd::borrow_raw(port.as_raw_fd()) }
}

fn is_character_device(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_char_device())
}

fn is_terminal(path: &Path) -> bool {
    std::fs::File::open(path).is_ok_and(|file| io::IsTerminal::is_terminal(&file))
}

/// A blocking write to a terminal returns only when every byte is taken, whatever its time-out; the
/// stop flag would not be seen.
fn set_nonblocking(port: &TTYPort) -> io::Result<()> {
    let fd = borrow(port);
    fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?;
    Ok(())
}

impl Read for SerialLine {
    /// Reads what is there. `TimedOut` after a fifth of a second of silence.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.port.read(buffer)
    }
}

impl Write for SerialLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let began = Instant::now();
        let mut warned = began;
        loop {
            match self.port.write(bytes) {
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::TimedOut
                            | io::ErrorKind::WouldBlock
                            | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Err(self.hung_up());
                }
                result => return result,
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(io::Error::new(
                    io::ErrorKind::ConnectionAborted,
                    "stopped while the line took nothing",
                ));
            }
            if self
                .patience
                .is_some_and(|patience| began.elapsed() > patience)
            {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the line takes nothing: is anybody reading at the other end?",
                ));
            }
            if warned.elapsed() > STALL_WARNING {
                warned = Instant::now();
                tracing::warn!(
                    "serial port {} takes nothing: is anybody reading at the other end?",
                    self.path.display()
                );
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // Draining after every report would hold up the next frame until the UART is idle; closing
        // the line waits for what is left.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &str) -> Result<SerialLine, SerialError> {
        SerialLine::open(Path::new(path), 115_200, Arc::default())
    }

    #[test]
    fn what_is_no_serial_port_is_told() {
        assert!(matches!(
            open("/dev/does-not-exist"),
            Err(SerialError::Absent { .. })
        ));
        assert!(matches!(
            open("/dev/null"),
            Err(SerialError::NotAPort { .. })
        ));
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        let path = file.path().to_string_lossy().into_owned();
        assert!(matches!(open(&path), Err(SerialError::NotAPort { .. })));
    }

    #[test]
    fn a_held_port_is_busy_and_a_stalled_one_stops_or_gives_up() {
        let (master, slave) = TTYPort::pair().expect("a pseudo-terminal");
        let path = serialport::SerialPort::name(&slave).expect("named");
        drop(slave);
        let stop = Arc::new(AtomicBool::new(true));
        let mut line = SerialLine::open(Path::new(&path), 115_200, stop).expect("opened");
        assert!(matches!(open(&path), Err(SerialError::Busy { .. })));
        // Nobody reads: the line fills up, and the stop flag ends the wait.
        let error = line
            .write_all(&vec![b'x'; 1 << 20])
            .expect_err("a full line");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        drop(line);
        let line = SerialLine::open(Path::new(&path), 115_200, Arc::default()).expect("opened");
        let error = line
            .give_up_after(Duration::from_millis(10))
            .write_all(&vec![b'x'; 1 << 20])
            .expect_err("a full line");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(master);
    }
}
