//! Serial lines without hardware: two pseudo-terminals with a relay between them, where a test can
//! cut and disturb.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// How long the relay waits for bytes before it looks at its stop flag.
const POLL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// One end of the line: a pseudo-terminal. No program under test inherits it, or the line could not
/// hang up.
struct End {
    master: File,
    /// Held open, so that the line does not hang up whenever a program closes its side.
    _slave: File,
    path: String,
}

fn end() -> End {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .expect("pseudo-terminals are available");
    let flags = fcntl_getfl(&master).expect("a file has flags");
    fcntl_setfl(&master, flags | OFlags::NONBLOCK).expect("set");
    grantpt(&master).expect("granted");
    unlockpt(&master).expect("unlocked");
    let path = ptsname(&master, Vec::new()).expect("a pseudo-terminal has a name");
    let path = path.into_string().expect("a plain path");
    let slave = File::options()
        .read(true)
        .write(true)
        .open(&path)
        .expect("opened");
    let mut settings = tcgetattr(&slave).expect("a terminal has settings");
    settings.make_raw();
    tcsetattr(&slave, OptionalActions::Now, &settings).expect("set");
    End {
        master: master.into(),
        _slave: slave,
        path,
    }
}

/// Takes what has come at one end to the other, which may take its time.
fn carry(
    from: &mut End,
    to: &mut End,
    disturb: &mut impl FnMut(&[u8]) -> Vec<u8>,
    stopped: &AtomicBool,
) {
    let mut bytes = [0; 512];
    let count = from.master.read(&mut bytes).expect("the line is whole");
    let out = disturb(&bytes[..count]);
    let mut rest = &out[..];
    while !rest.is_empty() && !stopped.load(Ordering::Relaxed) {
        match to.master.write(rest) {
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut full = [PollFd::new(&to.master, PollFlags::OUT)];
                poll(&mut full, Some(&POLL)).expect("polled");
            }
            Err(error) => panic!("relayed: {error}"),
        }
    }
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
    /// A line that carries every byte unchanged, in both directions.
    ///
    /// # Panics
    /// If the system has no pseudo-terminals.
    #[must_use]
    pub fn clean() -> Self {
        Self::disturbed(<[u8]>::to_vec)
    }

    /// A line that carries to the host what `disturb` makes of the bytes.
    ///
    /// # Panics
    /// If the system has no pseudo-terminals.
    #[must_use]
    pub fn disturbed(disturb: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static) -> Self {
        Self::disturbed_both_ways(disturb, <[u8]>::to_vec)
    }

    /// A line that carries what is made of the bytes to the host, and of those to the device.
    ///
    /// # Panics
    /// If the system has no pseudo-terminals.
    #[must_use]
    pub fn disturbed_both_ways(
        to_host: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static,
        to_device: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static,
    ) -> Self {
        let mut line = Self {
            folder: tempfile::tempdir().expect("temporary folder"),
            relay: None,
        };
        line.connect(to_host, to_device);
        line
    }

    /// Makes new ends under the old names.
    ///
    /// # Panics
    /// If the line is plugged already, or the system has no pseudo-terminals.
    pub fn plug(&mut self, disturb: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static) {
        self.connect(disturb, <[u8]>::to_vec);
    }

    fn connect(
        &mut self,
        mut to_host: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static,
        mut to_device: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static,
    ) {
        assert!(self.relay.is_none(), "the line is plugged already");
        let mut ends = [end(), end()];
        for (link, end) in [self.device(), self.host()].iter().zip(&ends) {
            std::os::unix::fs::symlink(&end.path, link).expect("linked");
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            // Both ends whole: a closure captures no more than it names, and the far sides are to
            // stay open.
            let [device, host] = &mut ends;
            while !stopped.load(Ordering::Relaxed) {
                let mut waiting =
                    [&device.master, &host.master].map(|master| PollFd::new(master, PollFlags::IN));
                poll(&mut waiting, Some(&POLL)).expect("polled");
                let [from_device, from_host] = waiting.map(|end| !end.revents().is_empty());
                if from_device {
                    carry(device, host, &mut to_host, &stopped);
                }
                if from_host {
                    carry(host, device, &mut to_device, &stopped);
                }
            }
        });
        self.relay = Some(Relay { stop, thread });
    }

    /// Takes both ends away: who holds one sees it hang up, and its name is gone.
    pub fn unplug(&mut self) {
        if let Some(relay) = self.relay.take() {
            // The names first: the system gives the number of a terminal that is gone to whoever asks
            // next, and a program that opened this line again would talk into another test's.
            for link in [self.device(), self.host()] {
                let _ = std::fs::remove_file(link);
            }
            relay.stop.store(true, Ordering::Relaxed);
            // A relay that panicked has told so itself.
            let _ = relay.thread.join();
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
