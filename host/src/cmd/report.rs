//! `host report`: what an evaluation and the studies find, as a page to look at.

use device::onnx::EndOptions;
use device::preprocessing::PreprocessingOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::ensure;

use super::engine::EngineArgs;
use super::evaluate::resamples;
use super::long::{Threads, interrupted, progress_bar, stop_flag};
use crate::data::DatasetName;
use crate::evaluate::{Frames, Setup, bootstrap, judge_both_phases};
use crate::files;
use crate::report::{Configuration, Contents, Studies, Watch};
use crate::study::epistemic::Epistemic;

/// Write a report on a model: one HTML file with figures, tables and frames to look at.
///
/// The file needs nothing but itself: no network, no scripts. It can be read on a phone, in light
/// and dark, and printed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

Examples:
  host report --model out/model.onnx --out report.html --ood fashion-mnist
  host report --model out/model.onnx --out report.html --json report.json --limit 1000")]
pub struct Args {
    /// ONNX classifier with live dropout.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// What `host study epistemic` found, to be shown as well.
    #[arg(long, value_name = "FILE")]
    study: Option<PathBuf>,
    /// The HTML file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Write the figures' data, too, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// mnist, fashion-mnist, gtsrb, cifar10, or a folder with one sub-folder of images per class: its
    /// test images, or all where it is not divided. Classes are found by name.
    #[arg(long, default_value = "mnist")]
    dataset: DatasetName,
    /// A data set that the model does not know, to be told from the other by its uncertainty.
    #[arg(long, value_name = "DATASET")]
    ood: Option<DatasetName>,
    /// Stochastic passes per frame (T).
    #[arg(long, value_name = "T", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    passes: u32,
    /// The first N images only, of each data set.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    threads: Threads,
    /// Bootstrap resamples for the 95 % intervals of the metrics; 0 for no intervals.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = resamples)]
    bootstrap: u32,
    /// Seed of the dropout masks, and of how images are spoilt; if not given the model's own, and 0.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    ends: EndOptions,
    #[command(flatten)]
    preprocessing: PreprocessingOptions,
}

/// Writes the report.
///
/// # Errors
/// The model or a data set cannot be used, a frame cannot be judged, or a file cannot be written.
pub fn run(args: Args) -> anyhow::Result<()> {
    args.engine.check()?;
    ensure!(
        args.model.is_file(),
        "there is no model file {}",
        args.model.display()
    );
    for file in [Some(&args.out), args.json.as_ref()].into_iter().flatten() {
        // Rather now than after all the work.
        let folder = file
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        ensure!(
            folder.is_none_or(Path::is_dir),
            "there is no folder {} to write to",
            folder.unwrap_or(file).display()
        );
    }
    let threads = args.threads.count()?;
    let setup = Setup {
        model: args.model,
        engine: args.engine.engine,
        ort: args.engine.ort,
        passes: args.passes,
        adaptive: None,
        block: args.passes.min(100),
        seed: args.seed,
        preprocessing: args.preprocessing.clone(),
        ends: args.ends.clone(),
    };
    let limit = args.limit.map(|limit| limit as usize);
    let frames = Frames::load(
        &args.dataset,
        args.ood.as_ref(),
        limit,
        setup.training().as_ref(),
    )?;
    let epistemic = args.study.as_deref().map(Epistemic::load).transpose()?;
    let stop = stop_flag()?;
    let bar = progress_bar("", 0, 0);
    let watch = Watch {
        stop: &stop,
        begin: &|phase, total| {
            tracing::info!("{phase}: {total}");
            bar.set_message(phase);
            bar.set_length(total);
            bar.set_position(0);
            bar.reset_eta();
        },
        advance: &|more| bar.inc(more),
    };
    let contents = gather(&setup, &frames, args.bootstrap, epistemic, threads, watch);
    bar.finish_and_clear();
    let Some(contents) = contents? else {
        interrupted();
    };
    files::write(&args.out, contents.html()?.as_bytes())?;
    if let Some(path) = &args.json {
        files::write(path, &serde_json::to_vec_pretty(&contents)?)?;
    }
    writeln!(std::io::stdout(), "{}", args.out.display())?;
    Ok(())
}

/// Judges the frames and makes the studies; `None` if the watch stopped them.
fn gather(
    setup: &Setup,
    frames: &Frames,
    resamples: u32,
    epistemic: Option<Epistemic>,
    threads: usize,
    watch: Watch<'_>,
) -> anyhow::Result<Option<Contents>> {
    (watch.begin)("judging", frames.len() as u64);
    let Some(judgements) = judge_both_phases(setup, frames, threads, watch.stop, watch.advance)?
    else {
        return Ok(None);
    };
    let intervals = match resamples {
        0 => None,
        resamples => {
            (watch.begin)("resampling", resamples.into());
            let frames = &judgements.frames;
            let found = bootstrap(frames, resamples, threads, watch.stop, watch.advance)?;
            let Some(intervals) = found else {
                return Ok(None);
            };
            Some(intervals)
        }
    };
    let test = &frames.sets()[0].images;
    let Some(studies) = Studies::run(setup, test, epistemic, threads, watch)? else {
        return Ok(None);
    };
    let configuration = Configuration::new(setup, frames, &judgements.run)?;
    Contents::new(configuration, frames, &judgements, intervals, studies).map(Some)
}
