//! Serial lines without hardware: two pseudo-terminals with a relay between them, where a test can
//! cut and disturb.

use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serialport::{SerialPort, TTYPort};

/// One end as the far side of a pseudo-terminal.
struct End {
    master: TTYPort,
    /// Held open, so that the line does not hang up whenever a program closes its side.
    slave: TTYPort,
}

fn end() -> End {
    let (master, slave) = TTYPort::pair().expect("pseudo-terminals are available");
    End { master, slave }
}

/// What carries the bytes.
struct Relay {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// A serial line between a device and a host.
#[allow(missing_debug_implementations)] // A thread handle has nothing to show.
pub struct SerialLine {
    folder: tempfile::TempDir,
    relay: Option<Relay>,
}

impl SerialLine {
    /// A line that carries every byte from the device to the host unchanged.
    ///
    /// # Panics
    /// If the system has no pseudo-terminals.
    #[must_use]
    pub fn clean() -> Self {
        Self::disturbed(<[u8]>::to_vec)
    }

    /// A line that carries what `disturb` makes of the bytes.
    ///
    /// # Panics
    /// If the system has no pseudo-terminals.
    #[must_use]
    pub fn disturbed(disturb: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static) -> Self {
        let mut line = Self {
            folder: tempfile::tempdir().expect("temporary folder"),
            relay: None,
        };
        line.plug(disturb);
        line
    }

    /// Makes new ends under the old names.
    ///
    /// # Panics
    /// If the line is plugged already, or the system has no pseudo-terminals.
    pub fn plug(&mut self, mut disturb: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static) {
        assert!(self.relay.is_none(), "the line is plugged already");
        let (mut from, mut to) = (end(), end());
        for (link, end) in [(self.device(), &from), (self.host(), &to)] {
            let path = end.slave.name().expect("a pseudo-terminal has a name");
            std::os::unix::fs::symlink(path, link).expect("linked");
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut bytes = [0; 512];
            while !stopped.load(Ordering::Relaxed) {
                match from.master.read(&mut bytes) {
                    Ok(count) => to
                        .master
                        .write_all(&disturb(&bytes[..count]))
                        .expect("relayed"),
                    Err(error) if error.kind() == ErrorKind::TimedOut => {}
                    Err(error) => panic!("the line broke: {error}"),
                }
            }
        });
        self.relay = Some(Relay { stop, thread });
    }

    /// Takes both ends away: who holds one sees it hang up, and its name is gone.
    pub fn unplug(&mut self) {
        if let Some(relay) = self.relay.take() {
            relay.stop.store(true, Ordering::Relaxed);
            // A relay that panicked has told so itself.
            let _ = relay.thread.join();
            for link in [self.device(), self.host()] {
                let _ = std::fs::remove_file(link);
            }
        }
    }

    /// The device's end.
    #[must_use]
    pub fn device(&self) -> PathBuf {
        self.folder.path().join("device")
    }

    /// The host's end.
    #[must_use]
    pub fn host(&self) -> PathBuf {
        self.folder.path().join("host")
    }
}

impl Drop for SerialLine {
    fn drop(&mut self) {
        self.unplug();
    }
}
