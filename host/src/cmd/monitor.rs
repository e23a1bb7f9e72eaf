//! `host monitor`: shows what a device reports.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Context;
use shared::wire::Packet;
use shared::wire::link::Receiver;

use super::long::stop_flag;
use super::page::Page;
use super::view::{Form, View};
use crate::monitor::{Input, Manifest, Watched};

/// Silence that is worth a warning: devices greet every 10 s unless told otherwise.
const SILENCE: Duration = Duration::from_secs(30);

/// Read a device's reports from a serial port, a recording or a pipe.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  host monitor /dev/ttyUSB0
  host monitor /dev/ttyUSB0 --json | jq 'select(.verdict == \"flag\")'
  host monitor /dev/ttyUSB0 --record today.capture
  host monitor /dev/ttyUSB0 --web
  host monitor today.capture
  device run --model model.onnx | host monitor -

Both forms of the wire, binary and text, are understood. A port that is unplugged is waited for.
What a device tells besides reports (a plan that it refuses, a restart) is a warning or an error on
stderr, with --json also a line {\"notice\": …}.
Exit codes: 0 done, 1 failed, 2 wrong usage.")]
pub struct Args {
    /// Serial port, recorded capture, or `-` for standard input.
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Speed of the serial line, in bits per second.
    #[arg(long, default_value_t = 115_200)]
    baud: u32,
    /// Wait for the port to appear instead of failing.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    show: Show,
}

/// What is shown of a device's messages, and what is kept of them.
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    #[command(flatten)]
    pub(super) form: Form,
    /// End when the device says goodbye.
    #[arg(long)]
    until_last: bool,
    /// Append every byte received to this file, to be read again with `host monitor FILE`.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// What `host data mix` wrote about the frames sent: adds accuracy to the summary.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    #[command(flatten)]
    page: Page,
}

/// Runs `host monitor`.
///
/// # Errors
/// If the input cannot be opened or read, or an output not be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    follow(&args.path, args.baud, args.wait, &args.show, &stop_flag()?)
}

/// Shows what comes from `path`, a serial port at `baud` bits per second or a recording, until it
/// ends, the device says goodbye (if that was asked for), or `stop` is set. With `wait`, a port that
/// is not there yet is waited for.
///
/// # Errors
/// If the input cannot be opened or read, or an output not be written.
pub(super) fn follow(
    path: &Path,
    baud: u32,
    wait: bool,
    show: &Show,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let outputs = Outputs::open(show)?;
    let input = Input::open(path, baud, wait, Arc::clone(stop))?;
    show.page.serve(&outputs.watched, path)?;
    outputs.follow(input)?;
    if !show.until_last {
        show.page.stay(stop);
    }
    Ok(())
}

/// Where everything that comes down the line goes. Data flows one way: bytes come in here and go to
/// each of these; who shows the state on a thread of their own looks at `watched`.
struct Outputs<'a> {
    until_last: bool,
    record: Option<File>,
    receiver: Receiver,
    watched: Watched,
    view: View<'a>,
    /// When a message came last; `None` after the warning that none does.
    heard: Option<Instant>,
}

impl<'a> Outputs<'a> {
    fn open(show: &'a Show) -> anyhow::Result<Self> {
        let manifest = match &show.manifest {
            Some(path) => Manifest::open(path)?,
            None => Manifest::default(),
        };
        let record = match &show.record {
            Some(path) => Some(
                File::options()
                    .create(true)
                    .append(true)
                    .open(path)
                    .with_context(|| format!("cannot record to {}", path.display()))?,
            ),
            None => None,
        };
        Ok(Self {
            until_last: show.until_last,
            record,
            receiver: Receiver::detect(),
            watched: Watched::default(),
            view: View::new(&show.form, manifest),
            heard: Some(Instant::now()),
        })
    }

    /// Reads until the end.
    fn follow(mut self, mut input: Input) -> anyhow::Result<()> {
        self.view.start()?;
        let result = self.read(&mut input);
        self.watched.change(|live, _| live.end());
        self.view.finish(&self.receiver.counters())?;
        result
    }

    fn read(&mut self, input: &mut Input) -> anyhow::Result<()> {
        let mut bytes = [0; 4096];
        while let Some(count) = input.read(&mut bytes)? {
            if self.heard.is_some_and(|at| at.elapsed() > SILENCE) {
                warn_of_silence(&self.receiver);
                self.heard = None;
            }
            if let Some(file) = &mut self.record {
                file.write_all(&bytes[..count])
                    .context("the recording failed")?;
            }
            for byte in &bytes[..count] {
                match self.receiver.push(*byte) {
                    Some(Ok(packet)) => {
                        let last = self.packet(&packet)?;
                        if last && self.until_last {
                            return Ok(());
                        }
                    }
                    Some(Err(error)) => tracing::warn!("{error}"),
                    None => {}
                }
            }
            let link = self.receiver.counters();
            self.watched.change(|live, _| live.link(link));
        }
        Ok(())
    }

    /// Gives a message to every output; `true` if it was the device's last.
    fn packet(&mut self, packet: &Packet) -> anyhow::Result<bool> {
        self.heard = Some(Instant::now());
        let link = self.receiver.counters();
        self.watched.change(|live, now| {
            live.link(link);
            live.packet(packet, now);
        });
        self.view.packet(packet, &link)
    }
}

/// A line that looks alive and is not has to be told from one with nothing to say.
fn warn_of_silence(receiver: &Receiver) {
    let link = receiver.counters();
    let seconds = SILENCE.as_secs();
    if link.received == 0 && link.discarded_bytes > 0 {
        tracing::warn!(
            "{} bytes came in {seconds} s and none of them is a message: is --baud right, and is this the device's port?",
            link.discarded_bytes
        );
    } else {
        tracing::warn!("no message for {seconds} s: is the device running and the line connected?");
    }
}
