//! `device run`: frames in, flags out.

mod camera;
mod line;
mod link;
mod reporting;
mod service;
mod swap;
mod thresholds;
mod thumbnails;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use device::inference::Tally;
use device::pin::PinName;
use device::preprocessing::{InWords, pixel_format};
use device::session::{EngineKind, Options, Session};
use device::source::{Frame, Next, Source, SourceUri};
use shared::image::{Geometry, PixelFormat, Rect};

use self::camera::CameraArgs;
use self::link::{DeliveryArgs, Link, Pictures, Wire};
use self::reporting::Reporting;
use self::service::Watchdog;
use self::swap::Models;
use self::thresholds::ThresholdArgs;
use super::{ModelArgs, TrustArgs};

/// The longest wait for a frame, or for its time, until line, watchdog and stop flag have their turn.
const TURN: Duration = Duration::from_millis(200);

/// Judge frames and send a report for each over the serial line.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  device run --model model.onnx --source mnist:test --limit 20
  device run --model model.onnx --source pictures/ --serial /dev/ttyUSB0 --wire text
  device run --model model.onnx --source v4l2:/dev/video0 --camera-size 640x480 \\
    --control auto_exposure=1,exposure_time_absolute=100 --serial /dev/ttyTHS1
  device run --config /etc/mcdropout/device.toml --print-config

Of a camera the newest frame is judged, and those in between are left out. A camera that is
unplugged, or stalls, is waited for; device cameras lists cameras and their controls.

Every option can also stand in a file (--config; `hello-interval = 5`) or in the environment
(MCDROPOUT_HELLO_INTERVAL=5). A flag wins over the environment, and that over the file; --print-config
shows the outcome, which is a configuration file itself. --adaptive=false takes a switch back.

Thresholds come from the model file; the --max-… and --min-… options replace single ones.
With --hot-swap a new model is checked as by device check, beside the loop, and put in force between two
frames; if one of its first 16 frames fails, the one before is in force again, and its copy (FILE.good)
takes the file's place. Each of these is told on the line. A start whose model fails takes the copy.

On a serial line flagged reports are repeated until host monitor acknowledges them, and those of
accepted frames of a camera give way to them. A line that is lost is waited for. With --outbox flagged
reports outlast crashes and power cuts: those that wait are sent after the next start.

Run by systemd (Type=notify), it says when it is ready and feeds the watchdog from the loop.
SIGINT or SIGTERM end the run after the frame at hand, with a last statistics message.
Exit codes: 0 done, 1 failed (also if a frame could not be read or judged), 2 wrong usage.")]
#[allow(clippy::struct_excessive_bools)] // Switches of a command line.
pub(crate) struct Args {
    /// TOML file with options, by the names that they have here without the dashes.
    #[arg(long, value_name = "FILE")]
    #[allow(dead_code)] // Read before the others are: see `device::config`.
    config: Option<PathBuf>,
    /// Show the options in force and where each comes from, and end.
    #[arg(long)]
    #[allow(dead_code)] // As `config`.
    print_config: bool,
    #[command(flatten)]
    model: ModelArgs,
    /// v4l2:/dev/video0 (or any path to a camera), rtsp://…, gst:PIPELINE, a video, mnist:test,
    /// fashion-mnist:test, a folder, a picture, or raw:WIDTHxHEIGHT[:grey|:rgb]:PATH.
    #[arg(long, default_value = "mnist:test", value_name = "URI")]
    source: SourceUri,
    #[command(flatten)]
    camera: CameraArgs,
    /// Serial port to send reports to, `stdout`, or `file:PATH` to append them to a file.
    #[arg(long, default_value = "stdout", value_name = "PATH")]
    serial: String,
    /// Form of the reports: text on stdout, binary elsewhere, if not given.
    #[arg(long)]
    wire: Option<Wire>,
    /// Speed of the serial line, in bits per second.
    #[arg(long, default_value_t = 115_200, value_parser = clap::value_parser!(u32).range(1..))]
    baud: u32,
    #[command(flatten)]
    delivery: DeliveryArgs,
    /// Stop after this many frames.
    #[arg(long)]
    limit: Option<u32>,
    /// Take at most this many frames per second.
    #[arg(long, value_parser = frame_rate)]
    fps: Option<f64>,
    /// Look only at this part of the picture: X,Y,WIDTH,HEIGHT in pixels.
    #[arg(long, value_parser = rectangle)]
    crop: Option<Rect>,
    /// The same as --geometry stretch.
    #[arg(long, conflicts_with = "geometry")]
    stretch: bool,
    /// Seconds between hello and statistics messages.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    hello_interval: u64,
    /// Send pictures of flagged frames, in parts between reports: on a binary line, if not given.
    #[arg(long, value_name = "WHICH")]
    thumbnails: Option<Pictures>,
    /// How the pixels of these pictures are sent: grey (one byte each), rgb565 (two) or rgb (three); if not
    /// given, grey or rgb, as the model sees them.
    #[arg(long, value_name = "FORMAT", value_parser = pixel_format)]
    thumbnail_format: Option<PixelFormat>,
    /// Make this GPIO line active while the last frame was flagged, before the first, and when the
    /// device ends or has no camera: CHIP:LINE or CHIP:LINE:active-low.
    #[arg(long, value_name = "PIN")]
    flag_pin: Option<PinName>,
    /// At the end, tell how long frames took from capture to flag, what was dropped, and the cost.
    #[arg(long)]
    stats: bool,
    /// Name of this device in its hello message.
    #[arg(long, default_value = "device")]
    name: String,
    /// Take another model that is put in the file's place while frames go on; see device swap.
    #[arg(long)]
    hot_swap: bool,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    thresholds: ThresholdArgs,
}

fn rectangle(text: &str) -> Result<Rect, String> {
    let numbers: Vec<u32> = text
        .split(',')
        .map_while(|part| part.trim().parse().ok())
        .collect();
    match numbers[..] {
        [x, y, width, height] if width > 0 && height > 0 && text.split(',').count() == 4 => {
            Ok(Rect {
                x,
                y,
                width,
                height,
            })
        }
        _ => Err("expected X,Y,WIDTH,HEIGHT, for example 80,0,480,480".to_owned()),
    }
}

fn frame_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
        _ => Err("expected frames per second above 0".to_owned()),
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130); // Asked twice: do not wait for the frame at hand.
        }
    })
    .context("cannot catch signals")?;

    let mut models = Models::open(args, &stop)?;
    let session = &models.session;
    let format = session.pixel_format();
    let mut source = Source::open_with(&args.source, format, &args.camera.options(), &stop)?;
    let mut link = Link::open(args, session, &stop)?;
    tracing::info!(
        "{}{} passes a frame by the {} engine, masks of seed {}, {} classes",
        if args.model.adaptive { "up to " } else { "" },
        args.model.passes,
        session.inference.engine().name(),
        session.seed,
        session.inference.engine().classes()
    );
    let wanted = &session.inference.settings().preprocessing;
    let shape = session.inference.engine().input_shape();
    tracing::info!("of a frame the model sees: {}", InWords(wanted, shape));
    tell_calibration(args, session);

    let mut reporting = Reporting::start(args, &link)?;
    let mut watchdog = Watchdog::new();
    service::ready();
    let result = judge_all(
        args,
        &mut models,
        &mut watchdog,
        &mut source,
        &mut link,
        &mut reporting,
        &stop,
    );
    service::stopping();
    let settled = link.settle();
    let goodbye = reporting.totals(&mut link, &source, true);
    let goodbye = settled.and(goodbye).and(link.close());
    if args.stats {
        eprintln!("{}", reporting.stats(&source));
    }
    // What ended the loop matters more than what the goodbye met afterwards.
    result.and(goodbye)?;
    let tally = &reporting.tally;
    tracing::info!(
        "{} frames judged, {} failed",
        tally.frames(),
        tally.failed()
    );
    if let Some(live) = source.live() {
        tracing::info!(
            "of the camera's frames {} captured, {} dropped for newer ones, {} lost by the driver, {} corrupt; {} times back",
            live.captured,
            live.dropped,
            live.lost,
            live.corrupt,
            live.reconnects
        );
    }
    if tally.failed() > 0 {
        bail!(
            "{} of {} frames could not be read or judged",
            tally.failed(),
            tally.failed() + tally.frames()
        );
    }
    Ok(())
}

/// How a model's file becomes a session.
#[derive(Clone)]
struct Opening {
    options: Options,
    thresholds: ThresholdArgs,
    trust: TrustArgs,
}

impl Opening {
    fn new(args: &Args) -> anyhow::Result<Self> {
        let mut options = Options {
            trust: args.trust.open()?,
            crop: args.crop,
            ..args.model.options()
        };
        if args.stretch {
            options.preprocessing.geometry = Some(Geometry::Stretch);
        }
        Ok(Self {
            options,
            thresholds: args.thresholds.clone(),
            trust: args.trust.clone(),
        })
    }

    /// The engine asked for.
    fn engine(&self) -> Option<EngineKind> {
        self.options.engine
    }

    /// The keys that a model has to be signed with.
    fn trust(&self) -> &TrustArgs {
        &self.trust
    }

    fn session(&self, path: &Path) -> anyhow::Result<Session> {
        let mut session = Session::open(path, &self.options)?;
        let thresholds = self
            .thresholds
            .apply(session.inference.settings().thresholds)?;
        session.inference.set_thresholds(thresholds);
        session.self_test()?;
        Ok(session)
    }
}

/// What the thresholds promise, and what in this run is unlike what was promised for.
fn tell_calibration(args: &Args, session: &Session) {
    if !session.calibrated {
        tracing::warn!("the model file carries no thresholds: generic ones are in force");
    }
    let Some(calibration) = &session.about.calibration else {
        return;
    };
    tracing::info!("calibration: {calibration}");
    let settings = session.inference.settings();
    if Some(settings.thresholds) != session.about.thresholds {
        tracing::warn!(
            "other thresholds than the calibrated ones are in force: they promise nothing"
        );
    }
    if settings.passes != calibration.passes {
        tracing::warn!(
            "calibrated with {} passes a frame, run with {}: the thresholds promise nothing",
            calibration.passes,
            settings.passes
        );
    }
    if args.model.adaptive {
        tracing::warn!(
            "calibrated with all passes: with --adaptive a verdict differs from theirs with probability {} at most",
            args.model.delta
        );
    }
}

/// One line for `systemctl status`.
fn status(tally: &Tally, session: &Session) -> String {
    format!(
        "{} frames judged, {} failed, by model {:08x} on the {} engine",
        tally.frames(),
        tally.failed(),
        session.about.crc32,
        session.inference.engine().name()
    )
}

/// The loop: until the source ends, the limit is reached, or somebody stops it.
fn judge_all(
    args: &Args,
    models: &mut Models,
    watchdog: &mut Watchdog,
    source: &mut Source,
    link: &mut Link,
    reporting: &mut Reporting,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let interval = Duration::from_secs(args.hello_interval);
    let mut greeted: Option<Instant> = None;
    let mut picture = Frame::default();
    let mut number = 0;
    while number < args.limit.unwrap_or(u32::MAX) && !stop.load(Ordering::Relaxed) {
        watchdog.feed();
        if greeted.is_none_or(|at| at.elapsed() >= interval) {
            // Again and again, so that a monitor that joins late learns whom it listens to.
            link.greet()?;
            if greeted.is_some() {
                reporting.totals(link, source, false)?;
            }
            service::status(&status(&reporting.tally, &models.session));
            greeted = Some(Instant::now());
        } else if link.was_greeted() {
            reporting.totals(link, source, false)?;
        }
        models.turn(args, link)?;
        if let Some(fps) = args.fps {
            let due = Duration::try_from_secs_f64(f64::from(number) / fps).unwrap_or(Duration::MAX);
            while let Some(rest) = due.checked_sub(source.elapsed())
                && !stop.load(Ordering::Relaxed)
            {
                thread::sleep(rest.min(TURN));
                watchdog.feed();
            }
        }
        reporting.turn(link, source)?;
        match source.poll_frame(&mut picture, TURN) {
            Ok(Next::Frame) => {}
            Ok(Next::NotYet) => continue,
            Ok(Next::End) => break,
            Err(error) if source.survives(&error) => {
                tracing::error!("frame {number}: {error}");
                reporting.tally.count_failed();
                number += 1;
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        let age = source.elapsed().saturating_sub(picture.captured);
        let outcome = picture
            .view()
            .map_err(anyhow::Error::from)
            .and_then(|view| models.judge(args, link, number, &view));
        match outcome {
            Ok(outcome) => {
                reporting.report(
                    link,
                    source,
                    &models.session,
                    (number, &picture, age),
                    &outcome,
                )?;
            }
            Err(error) => {
                tracing::error!("frame {number}: {error:#}");
                reporting.tally.count_failed();
            }
        }
        number += 1;
    }
    Ok(())
}
