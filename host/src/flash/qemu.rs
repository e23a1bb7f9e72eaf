//! Boards emulated by QEMU.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::tool;

/// The emulator.
pub const PROGRAM: &str = "qemu-system-arm";
/// How to get it.
pub const INSTALL: &str = "scripts/cross installs it; or: apt-get install qemu-system-arm (Fedora: dnf install qemu-system-arm-core)";

/// How long QEMU may take to tell its port.
const START: Duration = Duration::from_secs(30);
/// QEMU looks once a second whether a pseudo-terminal was opened, and until then throws away what is
/// written to it.
const NOTICED: Duration = Duration::from_millis(1200);

/// Finds QEMU.
///
/// # Errors
/// If it is not installed.
pub fn find() -> anyhow::Result<PathBuf> {
    tool::find(PROGRAM).with_context(|| format!("{PROGRAM} is not installed: {INSTALL}"))
}

/// What QEMU says.
enum Line {
    Output(String),
    Error(String),
}

/// An emulated board. It ends with this value.
#[derive(Debug)]
pub struct Emulator {
    child: Child,
    stdin: Option<ChildStdin>,
    port: PathBuf,
    /// Ends with QEMU and returns what it said on its standard error.
    listener: Option<JoinHandle<Vec<String>>>,
    /// Set when QEMU has ended by itself.
    gone: Arc<AtomicBool>,
}

impl Emulator {
    /// Loads `machine` with the ELF file `firmware` and the file `plan` at its address, and stops
    /// before the first instruction. When QEMU ends, `over` is set.
    ///
    /// # Errors
    /// If QEMU refuses; the error is what it said.
    pub fn load(
        program: &Path,
        machine: &str,
        firmware: &Path,
        plan: Option<(&Path, u32)>,
        over: &Arc<AtomicBool>,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.args(["-M", machine, "-display", "none", "-serial", "pty"]);
        // Its monitor takes the command to start.
        command.args(["-monitor", "stdio", "-S", "-kernel"]);
        command.arg(firmware);
        if let Some((plan, address)) = plan {
            // A comma ends a value unless it is doubled.
            let plan = plan.to_str().context("the plan's path is not UTF-8")?;
            let plan = plan.replace(',', ",,");
            command.arg("-device");
            command.arg(format!("loader,file={plan},addr={address:#x},force-raw=on"));
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for this program, which ends QEMU in its own time.
            .process_group(0);
        // SAFETY: what runs between fork and exec is one system call, which allocates nothing.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
        }
        tracing::debug!("{command:?}");
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {PROGRAM}"))?;
        let (sender, lines) = mpsc::channel();
        listen(child.stdout.take(), Line::Output, sender.clone());
        listen(child.stderr.take(), Line::Error, sender);
        let stdin = child.stdin.take();
        let mut emulator = Self {
            child,
            stdin,
            port: PathBuf::new(),
            listener: None,
            gone: Arc::default(),
        };
        let mut errors = Vec::new();
        emulator.port = loop {
            match lines.recv_timeout(START) {
                Ok(Line::Output(line) | Line::Error(line)) if port(&line).is_some() => {
                    break port(&line).map(PathBuf::from).unwrap_or_default();
                }
                Ok(Line::Output(_)) => {}
                Ok(Line::Error(line)) => errors.push(line),
                Err(RecvTimeoutError::Disconnected) => return Err(emulator.ended(&errors)),
                Err(RecvTimeoutError::Timeout) => {
                    bail!(
                        "QEMU did not tell its serial port within {} s",
                        START.as_secs()
                    )
                }
            }
        };
        let (over, gone) = (Arc::clone(over), Arc::clone(&emulator.gone));
        emulator.listener = Some(thread::spawn(move || {
            let errors = rest(&lines, errors);
            gone.store(true, Ordering::Relaxed);
            over.store(true, Ordering::Release);
            errors
        }));
        Ok(emulator)
    }

    /// The pseudo-terminal that the board's serial line ends in.
    #[must_use]
    pub fn port(&self) -> &Path {
        &self.port
    }

    /// Lets the board run: at once, or (with `listened`, which says that somebody opens its port now)
    /// when QEMU has noticed that, so that its first words are heard.
    pub fn start(&mut self, listened: bool) {
        let Some(mut stdin) = self.stdin.take() else {
            return;
        };
        thread::spawn(move || {
            if listened {
                thread::sleep(NOTICED);
            }
            // A QEMU that has ended is told of elsewhere.
            let _ = stdin.write_all(b"cont\n");
        });
    }

    /// Ends the board.
    ///
    /// # Errors
    /// If QEMU had ended by itself.
    pub fn finish(mut self) -> anyhow::Result<()> {
        match self.listener.take() {
            Some(listener) if self.gone.load(Ordering::Relaxed) => {
                let errors = listener.join().unwrap_or_default();
                Err(self.ended(&errors))
            }
            _ => Ok(()),
        }
    }

    /// Why QEMU has ended.
    fn ended(&mut self, errors: &[String]) -> anyhow::Error {
        let status = self
            .child
            .wait()
            .map_or_else(|error| error.to_string(), |status| status.to_string());
        let said = errors.join("; ");
        let said = if said.is_empty() {
            "it said nothing"
        } else {
            &said
        };
        anyhow::anyhow!("QEMU ended by itself ({status}): {said}")
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        tool::end(&mut self.child, Signal::KILL);
    }
}

/// Sends every line of `pipe` to `sender`.
fn listen(
    pipe: Option<impl Read + Send + 'static>,
    kind: fn(String) -> Line,
    sender: Sender<Line>,
) {
    let Some(pipe) = pipe else { return };
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim().to_owned();
            if sender.send(kind(line)).is_err() {
                break;
            }
        }
    });
}

/// Reads until both pipes are closed. Of many errors the first ones tell why.
fn rest(lines: &Receiver<Line>, mut errors: Vec<String>) -> Vec<String> {
    for line in lines {
        if let Line::Error(line) = line
            && errors.len() < 8
        {
            errors.push(line);
        }
    }
    errors
}

/// The port in `char device redirected to /dev/pts/3 (label serial0)`.
fn port(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("char device redirected to ")?;
    rest.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::port;

    #[test]
    fn the_port_is_read_from_what_qemu_says() {
        let line = "char device redirected to /dev/pts/12 (label serial0)";
        assert_eq!(port(line), Some("/dev/pts/12"));
        let prompted = format!("(qemu) {line}");
        assert_eq!(port(&prompted), Some("/dev/pts/12"));
        assert_eq!(port("QEMU 7.2.22 monitor - type 'help'"), None);
        assert_eq!(port("char device redirected to "), None);
    }
}
