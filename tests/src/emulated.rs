//! The firmware on an emulated board, and a host that speaks with it over its serial line.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use device::serial::SerialLine;
use shared::wire::frame::Deframer;
use shared::wire::message::{Message, Packet};
use shared::wire::request::{self, FramePart, MAX_REQUEST, Request};

use crate::{emulator, programs};

/// Builds the firmware of an emulated board for plans of `format`, with frame numbers that make it
/// fail, and gives the ELF file; with a key, for signed plans alone.
///
/// # Panics
/// If it does not build.
fn built(board: &str, format: &str, trust: Option<&str>) -> PathBuf {
    let folder = programs::path("host").with_file_name("test-firmware");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    // One test at a time: the next build puts its file in the place of this one.
    let lock = File::create(folder.join("lock")).expect("the lock can be created");
    lock.lock().expect("the lock can be taken");
    let built = emulator::built(board, format, "provoke", trust);
    let kind = if trust.is_some() { "signed" } else { "any" };
    let kept = folder.join(format!(
        "{board}-{format}-{kind}-{}.elf",
        std::process::id()
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
    deframer: Deframer,
    /// Received, but not asked for yet.
    heard: Vec<Packet>,
    sequence: u32,
}

impl Emulated {
    /// Starts a board with firmware for plans of `format` and, where there is one, a plan.
    ///
    /// # Panics
    /// If QEMU cannot be started.
    #[must_use]
    pub fn start(board: &str, format: &str, plan: Option<&Path>) -> Self {
        Self::trusting(None, board, format, plan)
    }

    /// As [`Emulated::start`]; with a key, in hexadecimal digits, the firmware takes only plans signed with
    /// that.
    ///
    /// # Panics
    /// If QEMU cannot be started.
    #[must_use]
    pub fn trusting(key: Option<&str>, board: &str, format: &str, plan: Option<&Path>) -> Self {
        let elf = built(board, format, key);
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
            deframer: Deframer::new(),
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

    /// Asks for something.
    ///
    /// # Panics
    /// If the line fails.
    pub fn ask(&mut self, request: &Request) {
        let mut frame = [0; MAX_REQUEST];
        let length = request::encode(self.sequence, request, &mut frame).expect("it fits");
        self.sequence += 1;
        self.line.write_all(&frame[..length]).expect("sent");
    }

    /// Sends a frame, row by row of `width` pixels.
    ///
    /// # Panics
    /// If the line fails.
    pub fn show(&mut self, frame: u32, width: u16, pixels: &[u8]) {
        for part in FramePart::split(frame, width, pixels) {
            self.ask(&Request::Frame(part));
        }
    }

    /// What the board says next.
    ///
    /// # Panics
    /// If it says nothing for half a minute, or something damaged.
    pub fn hear(&mut self) -> Packet {
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
                if let Some(packet) = self.deframer.push(*byte) {
                    self.heard.push(packet.expect("an undamaged message"));
                }
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
