//! `host monitor`: shows what a device reports.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use shared::wire::message::Message;
use shared::wire::{FrameError, Packet};

use device::line_key;

use super::long::stop_flag;
use super::page::Page;
use super::view::{Form, Print, View};
use crate::monitor::{
    Deliveries, Ear, FrameKey, Input, Log, Manifest, NoticeRecord, Pace, Partner, Record, Store,
    Watched, explain, label,
};
use crate::tui::{self, Screen};

/// Silence that is worth a warning: devices greet every 10 s unless told otherwise.
const SILENCE: Duration = Duration::from_secs(30);

/// How long a wait lasts before the stop flag is looked at.
const STOP_POLL: Duration = Duration::from_millis(100);

/// Read a device's reports from a serial port, a recording or a pipe.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  host monitor /dev/ttyUSB0
  host monitor /dev/ttyUSB0 --json | jq 'select(.verdict == \"flag\")'
  host monitor /dev/ttyUSB0 --log flags.jsonl
  host monitor /dev/ttyUSB0 --record today.capture
  host monitor /dev/ttyUSB0 --web
  host monitor today.capture
  host monitor /dev/ttyUSB0 --tui
  host monitor --replay today.capture --speed 4 --tui
  host monitor /dev/ttyUSB0 --save-flagged flagged    then: host label flagged
  device run --model model.onnx | host monitor -

Both forms of the wire, binary and text, are understood. A port that is unplugged is waited for.
A device is told what has come, and repeats flagged reports until then. With --log they are acknowledged
when they are on this machine's disk, and the log holds each exactly once, whatever ends either program;
without it, when they are shown. --listen never says anything.
What a device tells besides reports (a plan that it refuses, a restart) is a warning or an error on
stderr, with --json also a line {\"notice\": …}.
Exit codes: 0 done, 1 failed, 2 wrong usage.")]
pub struct Args {
    /// Serial port, recorded capture, or `-` for standard input.
    #[arg(value_name = "PATH", required_unless_present = "replay")]
    path: Option<PathBuf>,
    /// Play a recording at the pace of the device that it came from.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["path", "wait"])]
    replay: Option<PathBuf>,
    /// With --replay: so many times as fast.
    #[arg(long, value_name = "FACTOR", requires = "replay", default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// Speed of the serial line, in bits per second.
    #[arg(long, default_value_t = 115_200, value_parser = clap::value_parser!(u32).range(1..))]
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
    /// Show tables and curves on the whole terminal: ? there explains the keys.
    #[arg(long, conflicts_with_all = ["json", "table"])]
    tui: bool,
    /// End when the device says goodbye.
    #[arg(long)]
    until_last: bool,
    /// Append every report and notice to this file, a JSON object a line, before a device is told that
    /// it has come.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Hear only a device that seals what it says with the key in this file (64 hexadecimal digits);
    /// host flash builds it into the firmware.
    #[arg(long, value_name = "FILE", conflicts_with = "listen")]
    pub(super) key: Option<PathBuf>,
    /// Never send anything to the device.
    #[arg(long)]
    listen: bool,
    /// Append every byte received to this file, to be read again with `host monitor FILE`.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Save the pictures of flagged frames, which a device sends that was asked to, in this folder:
    /// `host label` shows them, and `host train --extra` learns from them.
    #[arg(long, value_name = "DIR")]
    save_flagged: Option<PathBuf>,
    /// With --save-flagged: save no more while so many pictures wait for a label.
    #[arg(
        long,
        value_name = "N",
        requires = "save_flagged",
        default_value_t = 10_000
    )]
    save_limit: usize,
    /// What `host data mix` wrote about the frames sent: adds accuracy to the summary.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    #[command(flatten)]
    page: Page,
}

fn speed(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|&speed: &f64| speed > 0.0 && speed.is_finite())
        .ok_or_else(|| "expected a number above 0".to_owned())
}

/// Runs `host monitor`.
///
/// # Errors
/// If the input cannot be opened or read, or an output not be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let (path, pace) = match (&args.replay, &args.path) {
        (Some(recording), _) => (recording, Some(Pace::new(args.speed))),
        (None, Some(path)) => (path, None),
        (None, None) => unreachable!("one of the two is required"),
    };
    watch(path, args.baud, args.wait, pace, &args.show, &stop_flag()?)
}

/// Shows what comes from the serial port `path` at `baud` bits per second until the device says
/// goodbye (if that was asked for), or `stop` is set. With `wait`, a port that is not there yet is
/// waited for.
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
    watch(path, baud, wait, None, show, stop)
}

/// As [`follow`], of a recording at a pace, too; a page stays until `stop` is set.
fn watch(
    path: &Path,
    baud: u32,
    wait: bool,
    pace: Option<Pace>,
    show: &Show,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let outputs = Outputs::open(show, pace, stop)?;
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
    show: &'a Show,
    stop: Arc<AtomicBool>,
    record: Option<File>,
    receiver: Ear,
    /// What came last was undamaged, but not sealed for this session.
    is_foreign: bool,
    pace: Option<Pace>,
    watched: Watched,
    view: View<'a>,
    store: Option<Store>,
    log: Option<Log>,
    /// What has come exactly once.
    deliveries: Deliveries,
    partner: Partner,
    /// When a message came last; `None` after the warning that none does.
    heard: Option<Instant>,
}

impl<'a> Outputs<'a> {
    fn open(show: &'a Show, pace: Option<Pace>, stop: &Arc<AtomicBool>) -> anyhow::Result<Self> {
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
        let key = show.key.as_deref().map(line_key::read).transpose()?;
        let partner = Partner::new(key);
        let (log, deliveries) = match &show.log {
            Some(path) => {
                let (log, deliveries) = Log::open(path)?;
                (Some(log), deliveries)
            }
            None => (None, Deliveries::default()),
        };
        let store = show.save_flagged.as_ref();
        let store = store.map(|folder| Store::open(folder, show.save_limit));
        Ok(Self {
            show,
            stop: Arc::clone(stop),
            record,
            receiver: Ear::new(&partner.seal),
            is_foreign: false,
            pace,
            watched: Watched::default(),
            view: if show.tui {
                View::printing(Print::Nothing, &show.form, manifest)
            } else {
                View::new(&show.form, manifest)
            },
            store: store.transpose()?,
            log,
            deliveries,
            partner,
            heard: Some(Instant::now()),
        })
    }

    /// Reads until the end; a screen stays until somebody ends it.
    fn follow(mut self, mut input: Input) -> anyhow::Result<()> {
        self.view.start()?;
        let result = if self.show.tui {
            let mut screen = Screen::open()?;
            let (watched, stop) = (self.watched.clone(), Arc::clone(&self.stop));
            let screen = thread::spawn(move || {
                let _ended = Ended(Arc::clone(&stop));
                tui::watch(&mut screen, &watched, &stop)
            });
            let result = self.read(&mut input);
            self.watched.change(|live, _| live.end());
            if result.is_err() || self.show.until_last {
                self.stop.store(true, Ordering::Relaxed);
            }
            let shown = screen.join();
            let shown = shown.unwrap_or_else(|_| Err(anyhow!("the screen failed: see above")));
            result.and(shown)
        } else {
            let result = self.read(&mut input);
            self.watched.change(|live, _| live.end());
            result
        };
        if let Some(store) = &mut self.store {
            (store.counts.incomplete, store.counts.unreported) =
                self.watched.look(|live, _| live.pictures_lost());
            self.view.summary.pictures = Some(store.counts);
        }
        self.view.summary.repeats = self.deliveries.repeats();
        self.view.summary.clock = self.partner.clock();
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
            let mut last = false;
            for byte in &bytes[..count] {
                match self.receiver.push(*byte, &mut self.partner.seal) {
                    Some(Ok(packet)) => {
                        self.is_foreign = false;
                        last |= self.receive(&packet)?;
                    }
                    Some(Err(error)) => {
                        let is_foreign = error == FrameError::Unsealed;
                        // Until who is there has answered, this is what comes: told once.
                        if !(is_foreign && self.is_foreign) {
                            tracing::warn!("{error}");
                        }
                        self.is_foreign |= is_foreign;
                    }
                    None => {}
                }
            }
            self.answer(input)?;
            let link = self.receiver.counters();
            let clock = self.partner.clock();
            self.watched.change(|live, _| {
                live.link(link);
                live.clock(clock);
            });
            if last && self.show.until_last {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Makes safe what has come, and tells the device of it.
    fn answer(&mut self, input: &mut Input) -> anyhow::Result<()> {
        if let Some(log) = &mut self.log {
            log.sync(self.deliveries.has_news())?;
        }
        let answers = self.deliveries.acknowledgements();
        if self.show.listen {
            return Ok(());
        }
        if input.was_opened() || self.partner.is_lost(self.is_foreign) {
            self.partner.greet();
        }
        self.partner.acknowledge(&answers);
        self.partner.probe();
        input.offer(&self.partner.take());
        Ok(())
    }

    /// Takes a message; what is delivered exactly once goes on for the first time alone. `true` if it
    /// was the device's last.
    fn receive(&mut self, packet: &Packet) -> anyhow::Result<bool> {
        match &packet.message {
            Message::Report(report) => {
                if let Some(ticket) = report.ticket
                    && !self.deliveries.report(ticket)
                {
                    self.heard = Some(Instant::now());
                    return Ok(false);
                }
            }
            Message::Thumbnail(part) => {
                if let Some(ticket) = part.ticket {
                    for part in self.deliveries.part(ticket, part.clone()) {
                        self.packet(&Packet {
                            sequence: packet.sequence,
                            message: Message::Thumbnail(part),
                        })?;
                    }
                    self.heard = Some(Instant::now());
                    return Ok(false);
                }
            }
            Message::Echo(echo) => self.partner.echo(*echo),
            _ => {}
        }
        self.packet(packet)
    }

    /// Gives a message to every output; `true` if it was the device's last.
    fn packet(&mut self, packet: &Packet) -> anyhow::Result<bool> {
        if let Some(pace) = &mut self.pace {
            let due = Instant::now() + pace.wait(&packet.message, Instant::now());
            sleep_until(due, &self.stop);
        }
        self.heard = Some(Instant::now());
        let link = self.receiver.counters();
        let mut whole = None;
        let mut hello = None;
        self.watched.change(|live, now| {
            live.link(link);
            whole = live
                .packet(packet, now)
                .map(|(key, picture)| (key, picture, live.frame(key).cloned()));
            // Nobody else asks for it.
            if self.log.is_some() || whole.is_some() {
                hello = live.hello().cloned();
            }
        });
        if let Some(log) = &mut self.log {
            match &packet.message {
                Message::Report(report) if self.show.form.flagged && report.causes.is_empty() => {}
                Message::Report(report) => {
                    let name = label(hello.as_ref(), report.class);
                    log.add(&Record::new(packet.sequence, report, name, &link))?;
                }
                Message::Notice(notice) => {
                    log.add(&NoticeRecord::new(
                        packet.sequence,
                        notice,
                        &explain(notice),
                    ))?;
                }
                _ => {}
            }
        }
        if let (Some(store), Some((key, picture, seen))) = (&mut self.store, whole) {
            store.save(key, &picture, seen.as_ref(), hello.as_ref())?;
        }
        if let Message::Thumbnail(part) = &packet.message
            && let (Some(epoch), true) = (FrameKey::of_part(part).epoch, part.is_last())
        {
            self.deliveries.complete(epoch);
        }
        self.view.packet(packet, &link)
    }
}

/// Sets the flag when it goes, in a panic, too.
struct Ended(Arc<AtomicBool>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn sleep_until(due: Instant, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let rest = due.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            break;
        }
        thread::sleep(rest.min(STOP_POLL));
    }
}

/// A line that looks alive and is not has to be told from one with nothing to say.
fn warn_of_silence(receiver: &Ear) {
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
