//! The firmware on an emulated board, and a host that speaks with it over its serial line.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use device::serial::SerialLine;
use host::monitor::{Ear, Seal};
use shared::image::FrameView;
use shared::wire::FrameError;
use shared::wire::message::{Message, Packet};
use shared::wire::request::{FramePart, Greeting, Request};
use shared::wire::seal::{Key, MAX_SEALED};

use crate::emulator::{self, Keys};
use crate::programs;

/// Boards started by this test.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// Builds the firmware of an emulated board for plans of `format`, with frame numbers that make it
/// fail, and gives the ELF file.
///
/// # Panics
/// If it does not build.
fn built(board: &str, format: &str, keys: Keys<'_>) -> PathBuf {
    let folder = programs::path("host").with_file_name("test-firmware");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    // One test at a time: the next build puts its file in the place of this one.
    let lock = File::create(folder.join("lock")).expect("the lock can be created");
    lock.lock().expect("the lock can be taken");
    let built = emulator::built(board, format, "provoke", keys);
    let kept = folder.join(format!(
        "{board}-{format}-{}-{}.elf",
        std::process::id(),
        STARTED.fetch_add(1, Ordering::Relaxed)
    ));
    fs::copy(built, &kept).expect("copied");
    kept
}

/// A board in QEMU. It ends with the test.
#[derive(Debug)]
pub struct Emulated {
    qemu: Child,
    /// QEMU's words, which nobody reads any more.
    _told: BufReader<ChildStdout>,
    elf: PathBuf,
    line: SerialLine,
    seal: Seal,
    ear: Ear,
    /// Received, but not asked for yet.
    heard: Vec<Result<Packet, FrameError>>,
    sequence: u32,
}

impl Emulated {
    /// Starts a board with firmware for plans of `format` and, where there is one, a plan.
    ///
    /// # Panics
    /// If QEMU cannot be started.
    #[must_use]
    pub fn start(board: &str, format: &str, plan: Option<&Path>) -> Self {
        Self::with(Keys::default(), board, format, plan)
    }

    /// As [`Emulated::start`], with firmware that was built with keys. Whoever speaks with it here has none
    /// until [`Emulated::greet`].
    ///
    /// # Panics
    /// If QEMU cannot be started.
    #[must_use]
    pub fn with(keys: Keys<'_>, board: &str, format: &str, plan: Option<&Path>) -> Self {
        let elf = built(board, format, keys);
        let mut command = Command::new("qemu-system-arm");
        command
            .args(["-M", board, "-nographic", "-monitor", "none"])
            .args(["-serial", "pty", "-kernel"])
            .arg(&elf)
            // The line is told before the processor runs, so that nothing is missed.
            .arg("-S")
            .args(["-qmp", "stdio"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(plan) = plan {
            let file = plan.display();
            command.args([
                "-device",
                &format!("loader,file={file},addr=0x00200000,force-raw=on"),
            ]);
        }
        let mut qemu = command.spawn().expect("qemu-system-arm is installed");
        let mut told = BufReader::new(qemu.stdout.take().expect("piped"));
        let mut path = None;
        let mut text = String::new();
        while path.is_none() {
            text.clear();
            assert!(told.read_line(&mut text).expect("text") > 0, "QEMU ended");
            path = text
                .split_whitespace()
                .find(|word| word.starts_with("/dev/pts/"))
                .map(PathBuf::from);
        }
        let path = path.expect("just found");
        let line = SerialLine::open(&path, 115_200, Arc::default()).expect("a serial line");
        let stdin = qemu.stdin.as_mut().expect("piped");
        stdin
            .write_all(b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"cont\"}\n")
            .expect("QEMU listens");
        Self {
            qemu,
            _told: told,
            elf,
            line,
            ear: Ear::new(&Seal::default()),
            seal: Seal::default(),
            heard: Vec::new(),
            sequence: 0,
        }
    }

    /// Bytes of RAM that variables take.
    ///
    /// # Panics
    /// If the firmware is no ELF file of 32 bits.
    #[must_use]
    pub fn variables(&self) -> u32 {
        const ALLOCATED: u32 = 2;
        let elf = fs::read(&self.elf).expect("the firmware");
        let word = |at: usize| u32::from_le_bytes(*elf[at..].first_chunk().expect("within"));
        let half = |at: usize| u16::from_le_bytes(*elf[at..].first_chunk().expect("within"));
        let (sections, size, count) = (word(32) as usize, half(46), half(48));
        (0..usize::from(count))
            .map(|index| sections + index * usize::from(size))
            .filter(|at| word(at + 8) & ALLOCATED != 0 && word(at + 12) >= 0x2000_0000)
            .map(|at| word(at + 20))
            .sum()
    }

    /// Greets as a host with this key, or without one, and hears from now on only what answers that.
    /// Gives the bytes sent.
    ///
    /// # Panics
    /// If the line fails.
    pub fn greet(&mut self, key: Option<Key>, challenge: u64) -> Vec<u8> {
        self.seal = Seal::new(key);
        self.seal.begin(challenge);
        self.ear = Ear::new(&self.seal);
        self.heard.clear();
        self.ask(&Request::Greet(Greeting { challenge }))
    }

    /// Asks for something, and gives the bytes sent.
    ///
    /// # Panics
    /// If the line fails.
    pub fn ask(&mut self, request: &Request) -> Vec<u8> {
        let mut frame = [0; MAX_SEALED];
        let encoded = self.seal.encode(self.sequence, request, &mut frame);
        let bytes = &frame[..encoded.expect("it fits")];
        self.sequence += 1;
        self.say(bytes);
        bytes.to_vec()
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// If the line fails.
    pub fn say(&mut self, bytes: &[u8]) {
        self.line.write_all(bytes).expect("sent");
    }

    /// Sends a grey frame, row by row of `width` pixels, and gives the bytes sent.
    ///
    /// # Panics
    /// If the line fails, or there is no whole number of rows.
    pub fn show(&mut self, frame: u32, width: usize, pixels: &[u8]) -> Vec<u8> {
        let picture = FrameView::grey(width, pixels.len() / width, pixels);
        self.show_picture(frame, &picture.expect("whole"))
    }

    /// Sends a frame, and gives the bytes sent.
    ///
    /// # Panics
    /// If the line fails.
    pub fn show_picture(&mut self, frame: u32, picture: &FrameView<'_>) -> Vec<u8> {
        FramePart::split(frame, picture)
            .flat_map(|part| self.ask(&Request::Frame(part)))
            .collect()
    }

    /// What the board says next; what is not sealed for who listens is passed over.
    ///
    /// # Panics
    /// If it says nothing for half a minute, or something damaged.
    pub fn hear(&mut self) -> Packet {
        loop {
            match self.receive() {
                Ok(packet) => return packet,
                Err(FrameError::Unsealed) => {}
                Err(error) => panic!("the board is not understood: {error}"),
            }
        }
    }

    /// What comes next.
    ///
    /// # Errors
    /// Why it is not taken.
    ///
    /// # Panics
    /// If nothing comes for half a minute.
    pub fn receive(&mut self) -> Result<Packet, FrameError> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.heard.is_empty() {
            assert!(Instant::now() < deadline, "the board is silent");
            let mut bytes = [0; 256];
            let count = match self.line.read(&mut bytes) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::TimedOut => 0,
                Err(error) => panic!("the line failed: {error}"),
            };
            for byte in &bytes[..count] {
                self.heard.extend(self.ear.push(*byte, &mut self.seal));
            }
        }
        self.heard.remove(0)
    }

    /// The first message that `choose` takes; those before are passed over.
    ///
    /// # Panics
    /// As [`Emulated::hear`], or if there is none among what it says in half a minute.
    pub fn find<T>(&mut self, mut choose: impl FnMut(Message) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let message = self.hear().message;
            assert!(Instant::now() < deadline, "all it says is {message:?}");
            if let Some(chosen) = choose(message) {
                return chosen;
            }
        }
    }
}

impl Drop for Emulated {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let _ = fs::remove_file(&self.elf);
    }
}
