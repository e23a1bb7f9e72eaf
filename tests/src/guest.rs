//! A Linux machine in QEMU with a virtual camera or a disk: Debian's own kernel, the programs under
//! test, and a serial line to the outside.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::programs;

/// How long a guest may take to start, and a command in it to end.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a guest's processor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processor {
    /// This machine's, emulated all the same.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

impl Processor {
    fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// The device program for it, built if need be.
    ///
    /// # Panics
    /// If it does not build.
    #[must_use]
    pub fn device(self) -> PathBuf {
        match self {
            Self::X86_64 => programs::path("device"),
            Self::Aarch64 => cross("device-build", self),
        }
    }

    /// The program that tells a camera's colours, likewise.
    ///
    /// # Panics
    /// If it does not build.
    #[must_use]
    pub fn colours(self) -> PathBuf {
        match self {
            Self::X86_64 => programs::path("colours"),
            Self::Aarch64 => cross("colours-build", self),
        }
    }

    /// The guest's end of the serial line.
    #[must_use]
    pub const fn port(self) -> &'static str {
        match self {
            Self::X86_64 => "/dev/ttyS1",
            Self::Aarch64 => "/dev/ttyS0",
        }
    }
}

/// What a command of `scripts/cross` prints last: a path.
fn cross(command: &str, processor: Processor) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/cross");
    let output = Command::new(script)
        .args([command, processor.name()])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("the script can be started");
    assert!(output.status.success(), "scripts/cross {command} fails");
    let text = String::from_utf8(output.stdout).expect("a plain path");
    PathBuf::from(text.lines().last().expect("a path"))
}

/// An archive of the form "newc", from which the kernel fills its first file system.
#[derive(Debug, Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        // inode, mode, user, group, links, time, size, four device numbers, length of name, checksum
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            content.len() as u32,
            0,
            0,
            0,
            0,
            name.len() as u32 + 1,
            0,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn add_folder(&mut self, name: &str) {
        self.add(name, 0o040_755, &[]);
    }

    fn add_file(&mut self, name: &str, content: &[u8]) {
        self.add(name, 0o100_755, content);
    }

    /// What lies below `folder`, as what lies below the root.
    fn add_tree(&mut self, folder: &Path, prefix: &str) {
        let entries = fs::read_dir(folder).expect("a folder of the guest");
        for entry in entries {
            let entry = entry.expect("listed");
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                self.add_folder(&name);
                self.add_tree(&entry.path(), &format!("{name}/"));
            } else {
                let mode = entry.metadata().expect("it exists").permissions().mode();
                let content = fs::read(entry.path()).expect("readable");
                self.add(&name, 0o100_000 | (mode & 0o777), &content);
            }
        }
    }

    fn end(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

/// The first program of a guest: a shell that takes commands from its first serial line. From a pipe,
/// not from a terminal, which makes it interactive: busybox's line editing takes the end of a child at
/// the wrong moment for the end of its input, and with the first program ends the machine.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
export RUST_BACKTRACE=1
depmod
stty -echo
echo '@@ready@@'
while IFS= read -r line; do printf '%s\\n' \"$line\"; done | sh
";

/// A running guest. It ends with this value.
#[derive(Debug)]
pub struct Guest {
    qemu: Child,
    output: Receiver<Vec<u8>>,
    /// What came and was not looked at yet.
    pending: String,
    commands: u32,
    _folder: tempfile::TempDir,
}

impl Guest {
    /// Starts a guest with `files` (paths without the first slash) beside the device program and
    /// `/bin/v4l2-ctl`; `line` is what its serial port goes to.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn boot(processor: Processor, files: &[(&str, Vec<u8>)], line: &Path) -> Self {
        Self::start(processor, files, line, None)
    }

    /// As [`Guest::boot`], with `disk` mounted on `/disk`. When the guest is dropped, the disk holds
    /// what the kernel had written to it by then, as after a power cut.
    ///
    /// # Panics
    /// If it does not start, or cannot mount the disk.
    #[must_use]
    pub fn boot_with_disk(
        processor: Processor,
        files: &[(&str, Vec<u8>)],
        line: &Path,
        disk: &Path,
    ) -> Self {
        let mut guest = Self::start(processor, files, line, Some(disk));
        guest.run("modprobe -a virtio_pci virtio_blk crc32c_generic ext4");
        guest.run("mkdir /disk && mount -t ext4 -o errors=remount-ro /dev/vda /disk");
        guest
    }

    /// An empty disk for [`Guest::boot_with_disk`], to be copied.
    #[must_use]
    pub fn empty_disk(processor: Processor) -> PathBuf {
        cross("guest", processor).join("disk.ext4")
    }

    fn start(
        processor: Processor,
        files: &[(&str, Vec<u8>)],
        line: &Path,
        disk: Option<&Path>,
    ) -> Self {
        let guest = cross("guest", processor);
        let mut archive = Archive::default();
        archive.add_tree(&guest.join("root"), "");
        for folder in ["dev", "proc", "sys", "tmp"] {
            archive.add_folder(folder);
        }
        archive.add_file("init", INIT.as_bytes());
        let device = fs::read(processor.device()).expect("just built");
        archive.add_file("bin/device", &device);
        for (name, content) in files {
            archive.add_file(name, content);
        }
        let folder = tempfile::tempdir().expect("temporary folder");
        let memory = folder.path().join("initramfs");
        fs::write(&memory, archive.end()).expect("written");

        let mut command = Command::new(format!("qemu-system-{}", processor.name()));
        let console = match processor {
            // The kernel counts a few ticks of the timer while it starts, and panics if they do not come in
            // time: they do not where the emulator waits for a core.
            Processor::X86_64 => "ttyS0 no_timer_check",
            Processor::Aarch64 => {
                command.args(["-M", "virt", "-cpu", "cortex-a57"]);
                "ttyAMA0"
            }
        };
        let chardev = format!("serial,id=line,path={}", line.display());
        command
            .args([
                "-m",
                "512",
                "-accel",
                "tcg",
                "-nodefaults",
                "-display",
                "none",
            ])
            .args(["-no-reboot", "-serial", "stdio", "-chardev", &chardev])
            .arg("-kernel")
            .arg(guest.join("vmlinuz"))
            .arg("-initrd")
            .arg(&memory)
            .arg("-append")
            .arg(format!("console={console} quiet loglevel=1 panic=-1"));
        match processor {
            Processor::X86_64 => command.args(["-serial", "chardev:line"]),
            Processor::Aarch64 => command.args(["-device", "pci-serial,chardev=line"]),
        };
        if let Some(disk) = disk {
            let drive = format!("file={},format=raw,if=none,id=disk", disk.display());
            command.args(["-drive", &drive, "-device", "virtio-blk-pci,drive=disk"]);
        }
        let mut qemu = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("scripts/cross has installed QEMU");
        let mut stdout = qemu.stdout.take().expect("it is piped");
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        let mut guest = Self {
            qemu,
            output,
            pending: String::new(),
            commands: 0,
            _folder: folder,
        };
        // A serial port that nobody has opened yet forgets what it is sent.
        guest.wait_for("the start", |text| text.split_once("@@ready@@").map(|_| ()));
        guest.pending.clear();
        guest.run("true");
        guest
    }

    /// Runs a shell command in the guest that must succeed, and gives what it printed.
    ///
    /// # Panics
    /// If it fails, or does not end.
    #[track_caller]
    pub fn run(&mut self, command: &str) -> String {
        let (code, text) = self.try_run(command);
        assert_eq!(code, 0, "{command}: {text}");
        text
    }

    /// Runs a shell command in the guest; its exit code, and what it printed.
    ///
    /// # Panics
    /// If it does not end.
    #[track_caller]
    pub fn try_run(&mut self, command: &str) -> (i32, String) {
        self.commands += 1;
        let number = self.commands;
        let stdin = self.qemu.stdin.as_mut().expect("it is piped");
        // Written in two parts, so that an echo of the command is not taken for its end.
        if write!(stdin, "{command}\necho '@@'{number}-$?-'@@'\n").is_err() {
            // What it said last is why: a kernel that fails ends QEMU.
            self.wait_for::<()>(command, |_| None);
        }
        let begin = format!("@@{number}-");
        let (code, text, rest) = self.wait_for(command, |pending| {
            let (text, rest) = pending.split_once(&begin)?;
            let (code, rest) = rest.split_once("-@@")?;
            Some((code.to_owned(), text.trim().to_owned(), rest.to_owned()))
        });
        self.pending = rest;
        (code.parse().expect("an exit code"), text)
    }

    /// Reads until `find` finds something in what came.
    #[track_caller]
    fn wait_for<T>(&mut self, command: &str, find: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = find(&self.pending) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.pending += &String::from_utf8_lossy(&bytes).replace('\r', ""),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{command}: the guest does not answer: {}", self.pending)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("{command}: the guest is gone: {}", self.pending)
                }
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}
