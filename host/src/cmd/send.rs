//! `host send`: has frames judged by a board that has no camera.

mod board;
mod check;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use device::line_key;
use device::preprocessing::{Seen, pixel_format};
use device::serial::SerialLine;
use device::source::{Frame, Source, SourceUri};
use indicatif::ProgressBar;
use shared::image::{FrameView, ImageError, PixelFormat, Preprocessing};
use shared::wire::message::Hello;

use super::long::{interrupted, progress_bar, stop_flag};
use super::view::{Form, View};
use crate::data::{DatasetName, Split};
use crate::monitor::{Exchange, Manifest, Seal};
use board::{Answer, Board, RESENDS};
use check::Check;

/// Most pixels of an input that is sent over a serial line: at 115,200 baud they take 90 s.
const MOST_PIXELS: usize = 1 << 20;
/// Frames in a row without an answer after which a board is given up.
const GIVE_UP: u32 = 3;
/// How long a line may take nothing.
const STALL: Duration = Duration::from_secs(10);

/// Send frames to a board over its serial line and show its answers.
///
/// For a board without a camera. Pictures are made to what its model sees here, as its greeting says, and
/// sent one at a time, each when the one before is answered; the place in the source is the frame number,
/// which selects the masks.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  host send /dev/ttyACM0 --limit 100
  host send /dev/ttyACM0 --source pictures/ --json > answers.jsonl
  host send /dev/ttyACM0 --check out/lenet/model.onnx
  host send /dev/ttyACM0 --check out/lenet/model.int8.plan
  host send /dev/ttyACM0 --key line.key

A frame whose answer does not come, or that arrived incomplete, is sent again, 3 times at most.
--check recomputes every answer from a model or plan file, with the masks, thresholds and number of
passes that the board names, and compares class, verdict and entropies.
Exit codes: 0 done, 1 failed (also if a frame stayed without an answer, or an answer differs), 2
wrong usage, 130 interrupted.")]
pub struct Args {
    /// The board's serial port.
    #[arg(value_name = "PORT")]
    port: PathBuf,
    /// mnist:test, fashion-mnist:test, a folder, a picture, or raw:WIDTHxHEIGHT[:grey|:rgb]:PATH.
    #[arg(long, default_value = "mnist:test", value_name = "URI")]
    source: SourceUri,
    /// Stop after this many frames.
    #[arg(long)]
    limit: Option<u32>,
    /// Speed of the serial line, in bits per second.
    #[arg(long, default_value_t = 115_200, value_parser = clap::value_parser!(u32).range(1..))]
    baud: u32,
    /// Seconds to wait for an answer before a frame is sent again; if not given, 30, and from the
    /// first answer on 2 and four times the longest so far.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// How pixels are sent: grey (one byte each), rgb565 (two, as camera modules send them) or rgb (three);
    /// if not given, grey or rgb, as the model sees them.
    #[arg(long, value_name = "FORMAT", value_parser = pixel_format)]
    pixel_format: Option<PixelFormat>,
    /// Seal every frame with the key in this file (64 hexadecimal digits), and hear only a board that has
    /// it too: firmware that host flash --key built.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Recompute every answer from this file: the plan that the board runs, or the ONNX file that it
    /// was made from.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// With --check: passes to recompute with, instead of as many as each answer took.
    #[arg(long, requires = "check", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    passes: Option<u32>,
    /// With --check: how far apart entropies may be, in nats.
    #[arg(long, value_name = "NATS", requires = "check", default_value_t = 1e-3, value_parser = tolerance)]
    tolerance: f64,
    /// What `host data mix` wrote about the frames of its folder: adds accuracy to the summary.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    #[command(flatten)]
    form: Form,
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .filter(|&seconds: &f64| seconds > 0.0 && seconds <= 86_400.0)
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "expected seconds above 0".to_owned())
}

fn tolerance(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|&nats: &f64| nats >= 0.0)
        .ok_or_else(|| "expected nats, 0 or more".to_owned())
}

/// Runs `host send`.
///
/// # Errors
/// If the port or the source cannot be opened, nobody answers who could, a frame stays without an
/// answer, or an answer differs from that recomputed.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let stop = stop_flag()?;
    let seal = Seal::new(args.key.as_deref().map(line_key::read).transpose()?);
    // A source that is not there is told before a board is asked, who says in what form its pictures serve.
    let mut source = Source::open(&args.source, PixelFormat::Rgb8, &stop)?;
    let line = SerialLine::open(&args.port, args.baud, Arc::clone(&stop))?.give_up_after(STALL);
    let name = args.port.display().to_string();
    let mut board = Board::new(line, name, seal, args.baud, args.timeout, Arc::clone(&stop));
    let mut view = View::new(&args.form, Manifest::default());

    let hello = board.greet(&mut |packet, link| view.packet(packet, link).map(drop))?;
    let Some(hello) = hello else { interrupted() };
    let input = Input::of(&hello, args.pixel_format)?;
    source.set_format(input.wanted.pixel_format());
    let check = args
        .check
        .as_ref()
        .map(|model| Check::open(model, &hello, args.passes, args.tolerance));
    let mut session = Sending {
        input,
        check: check.transpose()?,
        exchange: Exchange::default(),
        board,
        view,
        stop,
    };
    session.view.manifest = known(args, &hello)?;
    session.view.start()?;
    let result = session.send_all(args, &mut source);
    session.finish(result)
}

/// What is known of the source's frames: of a data set their classes, unless the device tells others
/// apart.
fn known(args: &Args, hello: &Hello) -> anyhow::Result<Manifest> {
    if let Some(path) = &args.manifest {
        return Ok(Manifest::open(path)?);
    }
    let SourceUri::DataSet { name, train } = &args.source else {
        return Ok(Manifest::default());
    };
    let part = if *train { Split::Train } else { Split::Test };
    let Ok(set) = name.parse::<DatasetName>();
    let set = set.load(part)?;
    let labels = hello.labels.iter().map(AsRef::<str>::as_ref);
    if hello.labels.is_empty() || labels.eq(set.class_names.iter().map(String::as_str)) {
        Ok(Manifest::of_labels(&set.labels))
    } else {
        Ok(Manifest::default())
    }
}

/// What a device takes: what its model sees of pictures.
struct Input {
    wanted: Preprocessing,
    width: usize,
    height: usize,
    format: PixelFormat,
    seen: Seen,
}

impl Input {
    fn of(hello: &Hello, format: Option<PixelFormat>) -> anyhow::Result<Self> {
        let [_, height, width] = hello.input.map(usize::from);
        let pixels = width * height;
        ensure!(
            (1..=MOST_PIXELS).contains(&pixels),
            "the device's model takes pictures of {width}x{height} pixels; 1 to {MOST_PIXELS} can be sent over a serial line"
        );
        let wanted = hello.sees().context(
            "the device does not say what its model sees of pictures: update its firmware",
        )?;
        Ok(Self {
            wanted,
            width,
            height,
            format: format.unwrap_or(wanted.pixel_format()),
            seen: Seen::default(),
        })
    }

    /// What the model sees of a picture.
    fn prepare(&mut self, picture: &FrameView<'_>) -> Result<FrameView<'_>, ImageError> {
        let size = (self.width, self.height);
        self.seen
            .picture(&self.wanted, picture, None, size, self.format)
    }
}

/// Frames on their way to a board.
struct Sending<'a> {
    board: Board<SerialLine>,
    input: Input,
    check: Option<Check>,
    view: View<'a>,
    exchange: Exchange,
    stop: Arc<AtomicBool>,
}

impl Sending<'_> {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Sends frame after frame: until the source ends, the limit is reached, somebody stops it, or
    /// the board no longer answers.
    fn send_all(&mut self, args: &Args, source: &mut Source) -> anyhow::Result<()> {
        let limit = args.limit.unwrap_or(u32::MAX);
        let bar = match source.remaining() {
            Some(frames) if !args.form.is_rows() => {
                progress_bar("frames", (frames as u64).min(limit.into()), 0)
            }
            _ => ProgressBar::hidden(),
        };
        let mut picture = Frame::default();
        let mut in_a_row = 0;
        for number in 0..limit {
            if self.is_stopped() {
                break;
            }
            match source.next_frame(&mut picture) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if source.survives(&error) => {
                    tracing::error!("frame {number}: {error}");
                    self.exchange.unread += 1;
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            in_a_row = match self.send(number, &picture.view()?)? {
                Sent::Answered => 0,
                Sent::Unanswered => in_a_row + 1,
                Sent::Stopped => break,
            };
            ensure!(
                in_a_row < GIVE_UP,
                "{GIVE_UP} frames in a row have no answer, the last is frame {number}: given up"
            );
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Has a picture judged as frame `number`.
    fn send(&mut self, number: u32, picture: &FrameView<'_>) -> anyhow::Result<Sent> {
        let seen = self.input.prepare(picture)?;
        let answer = self.board.judge(number, &seen, &mut |packet, link| {
            self.view.packet(packet, link).map(drop)
        })?;
        self.exchange.sent += 1;
        match answer {
            Answer::Report { report, round_trip } => {
                self.exchange.answer(round_trip);
                if let Some(check) = &mut self.check {
                    check.compare(&report, &seen)?;
                }
                return Ok(Sent::Answered);
            }
            Answer::Refused => self.exchange.refused += 1,
            Answer::Silence => {
                tracing::warn!(
                    "frame {number} stays without an answer, sent {} times",
                    RESENDS + 1
                );
                self.exchange.unanswered += 1;
            }
            Answer::Stopped => {
                self.exchange.sent -= 1;
                return Ok(Sent::Stopped);
            }
        }
        Ok(Sent::Unanswered)
    }

    /// Sums up what happened, the last of which is `result`.
    fn finish(mut self, result: anyhow::Result<()>) -> anyhow::Result<()> {
        if result.is_ok() && !self.is_stopped() {
            self.board
                .totals(&mut |packet, link| self.view.packet(packet, link).map(drop))?;
        }
        self.exchange.requests = self.board.requests;
        self.exchange.resends = self.board.resends;
        self.exchange.finish();
        let missing = self.exchange.without_answer();
        let differing = self
            .check
            .as_ref()
            .map_or(0, |check| check.agreement.differing);
        let stopped = self.is_stopped();
        self.view.summary.exchange = Some(self.exchange);
        self.view.summary.agreement = self.check.map(|check| check.agreement);
        self.view.finish(&self.board.counters())?;
        if stopped {
            interrupted();
        }
        result?;
        match (missing, differing) {
            (0, 0) => Ok(()),
            (0, _) => bail!("{differing} answers differ from those recomputed here"),
            (_, 0) => bail!("{missing} frames have no answer"),
            _ => bail!(
                "{missing} frames have no answer, and {differing} answers differ from those recomputed here"
            ),
        }
    }
}

/// How the sending of a frame ended.
enum Sent {
    Answered,
    Unanswered,
    Stopped,
}
