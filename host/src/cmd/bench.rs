//! `host bench`: what a frame costs on this machine, engine beside engine.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, ensure};
use device::onnx::Model;
use indicatif::{ProgressBar, ProgressStyle};

use super::long::INTERRUPTED;
use crate::bench::{
    EngineName, Interrupted, Machine, Progress, Race, Report, Requirement, Rounds, Setup,
    check_rows, measure_growth, svg, work,
};
use crate::data::DatasetName;
use crate::files;

/// What `--growth` times at most: its slowest places take a second a frame.
const GROWTH: Rounds = Rounds {
    frames: 5,
    rounds: 5,
};

/// Time a frame on every engine, side by side.
///
/// From one normalised input to the logits of its T passes, for test images that differ from frame
/// to frame. Every row is a process of its own; they take turns, a round of frames each, so that
/// other load on the machine hits all alike. Times are medians over all frames. The last column says how many times faster than stock
/// onnxruntime (ort-live) a row is, at the same threads and passes. An engine whose passes do not
/// differ is not timed. Peak memory is that of a row's process, with libtorch's code (about 100 MiB)
/// in it whether it is used or not: what a device needs, `device bench` tells.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Engines:
  native         the device's own engine
  native-adaptive  the same with adaptive passes (delta 0.001), through to the decision
  tract          the device's tract engine (one thread)
  ort-masks      the device's onnxruntime engine, with masks as inputs
  ort-live       stock onnxruntime on the file as it is, with the frame T times in its batch
  torch-batched  libtorch with its own dropout, the frame expanded to a batch of T
  torch-loop     libtorch with its own dropout, T forward passes
  limit          no engine: the multiply-adds that cannot be left out, at this machine's peak rate

Examples:
  host bench --model out/model.onnx
  host bench --model out/model.onnx --threads 1 --passes 100 --plot bench.svg
  host bench --model out/model.onnx --engines ort-masks,ort-live --json
  host bench --model out/model.onnx --require ort-masks/ort-live=2
  host bench --model out/model.onnx --threads 1 --passes 100 --growth

Exit codes: 0 done, 1 failed (so does --require, or an engine named with --engines), 2 wrong usage.")]
pub struct Args {
    /// ONNX classifier with live dropout, as host train or host export wrote it.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// The engines to time, separated by commas [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    engines: Vec<EngineName>,
    /// Stochastic passes per frame (T).
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,10,32,100",
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    passes: Vec<u32>,
    /// Processor threads that share a frame's work; ALL is one per core.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,ALL",
        value_parser = parse_threads)]
    threads: Vec<usize>,
    /// Frames a row and round.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = parse_count)]
    frames: usize,
    /// Rounds.
    #[arg(long, value_name = "R", default_value_t = 10, value_parser = parse_count)]
    rounds: usize,
    /// mnist, fashion-mnist, gtsrb, cifar10, or a folder with one sub-folder of images per class.
    #[arg(long, default_value = "mnist")]
    dataset: DatasetName,
    /// Also measure how the cost grows with the passes, the network's width (LeNets of random
    /// weights) and the frames in flight. Takes minutes.
    #[arg(long)]
    growth: bool,
    /// Fail if an engine is not so many times as fast as another, at T = 100 on one thread.
    #[arg(long, value_name = "ENGINE/OTHER=RATIO", num_args = 1..)]
    require: Vec<Requirement>,
    /// Write a picture of the times to this file.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The process behind one row of `host bench`.
#[derive(Debug, clap::Args)]
pub struct WorkerArgs {
    #[arg(long)]
    model: PathBuf,
    #[arg(long)]
    engine: EngineName,
    #[arg(long, value_parser = parse_count)]
    threads: usize,
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    passes: u32,
    #[arg(long, value_parser = parse_count)]
    in_flight: usize,
    #[arg(long, value_parser = parse_count)]
    frames: usize,
    #[arg(long, value_parser = parse_count)]
    rounds: usize,
    #[arg(long)]
    dataset: DatasetName,
}

fn parse_count(text: &str) -> Result<usize, String> {
    let count = text
        .parse()
        .ok()
        .filter(|count| (1..=10_000).contains(count));
    count.ok_or_else(|| "a number from 1 to 10000 is needed".into())
}

fn parse_threads(text: &str) -> Result<usize, String> {
    if text.eq_ignore_ascii_case("all") {
        return Ok(std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    }
    let count = text.parse().ok().filter(|count| (1..=1024).contains(count));
    count.ok_or_else(|| "a number from 1 to 1024, or ALL, is needed".into())
}

/// Runs the process behind one row.
///
/// # Errors
/// Standard input or output fails.
pub fn run_worker(args: WorkerArgs) -> anyhow::Result<()> {
    let setup = Setup {
        model: args.model,
        engine: args.engine,
        threads: args.threads,
        passes: args.passes,
        in_flight: args.in_flight,
    };
    let rounds = Rounds {
        frames: args.frames,
        rounds: args.rounds,
    };
    work(&setup, &args.dataset, rounds)
}

/// Measures.
///
/// # Errors
/// The model cannot be used, an engine that was asked for could not be measured, or a requirement
/// is not met.
pub fn run(args: &Args) -> anyhow::Result<()> {
    // The rows' processes inherit it. As fast on an idle machine, and on a busy one libtorch would
    // be measured several times slower than it is.
    #[cfg(feature = "train")]
    crate::torch::let_waiting_threads_sleep();
    // Rather one error now than one a row.
    Model::load(&args.model)?;
    let setups = args.setups();
    ensure!(
        !setups.is_empty(),
        "nothing to measure: tract runs on one thread only; add 1 to --threads"
    );
    for requirement in &args.require {
        requirement.check_measured_by(&setups)?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let handler = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if handler.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED);
        }
    })
    .context("cannot listen for Ctrl-C")?;

    let bar = Bar(ProgressBar::new(0));
    let result = measure(args, &setups, &stop, &bar);
    bar.0.finish_and_clear();
    let report = match result {
        Err(error) if error.is::<Interrupted>() => {
            tracing::warn!("{error}");
            std::process::exit(INTERRUPTED);
        }
        result => result?,
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        write!(out, "{report}")?;
    }
    if let Some(path) = &args.plot {
        files::write(path, svg(&report).as_bytes())?;
    }
    check_rows(&report.rows, &args.engines)?;
    args.require
        .iter()
        .try_for_each(|wanted| wanted.check(&report))
}

fn measure(
    args: &Args,
    setups: &[Setup],
    stop: &AtomicBool,
    progress: &dyn Progress,
) -> anyhow::Result<Report> {
    let mut race = Race {
        dataset: &args.dataset,
        rounds: Rounds {
            frames: args.frames,
            rounds: args.rounds,
        },
        stop,
        progress,
    };
    // Its load average is that of before.
    let machine = Machine::this();
    let mut report = Report::new(machine, setups, race.run("rows", setups)?);
    if args.growth {
        race.rounds.frames = args.frames.min(GROWTH.frames);
        race.rounds.rounds = args.rounds.min(GROWTH.rounds);
        report.growth = measure_growth(&race, &args.model, &args.engines())?;
    }
    Ok(report)
}

impl Args {
    fn engines(&self) -> Vec<EngineName> {
        let chosen = |name: &EngineName| self.engines.is_empty() || self.engines.contains(name);
        EngineName::ALL.into_iter().filter(chosen).collect()
    }

    /// The rows, in the order of the table.
    fn setups(&self) -> Vec<Setup> {
        let (mut threads, mut passes) = (self.threads.clone(), self.passes.clone());
        threads.sort_unstable();
        threads.dedup();
        passes.sort_unstable();
        passes.dedup();
        let mut setups = Vec::new();
        for &threads in &threads {
            for &passes in &passes {
                let engines = self.engines().into_iter();
                setups.extend(
                    engines
                        .filter(|name| name.runs_on(threads))
                        .map(|engine| Setup {
                            model: self.model.clone(),
                            engine,
                            threads,
                            passes,
                            in_flight: 1,
                        }),
                );
            }
        }
        setups
    }
}

/// A progress bar, on a terminal.
struct Bar(ProgressBar);

impl Progress for Bar {
    fn begin(&self, what: &'static str, steps: u64) {
        let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} eta {eta}");
        self.0
            .set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.0.set_message(what);
        self.0.set_length(steps);
        self.0.set_position(0);
        self.0.reset_eta();
    }

    fn step(&self) {
        self.0.inc(1);
    }
}
