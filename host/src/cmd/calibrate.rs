//! `host calibrate`: thresholds with a guarantee, written into the model.

mod target;

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use device::onnx::{Calibration, EndOptions, Model};
use device::preprocessing::{Preparer, PreprocessingOptions};
use device::session::preprocessing;
use serde_json::json;

use super::engine::EngineArgs;
use super::long::{Threads, interrupted, progress_bar, stop_flag};
use crate::calibrate::{
    CalibrationSet, Choice, Frame, Goal, Images, MOST_PICTURES, Pictures, choose, evidence,
};
use crate::data::{Dataset, DatasetName, Purpose, Random};
use crate::evaluate::{Frames, ImageSet, Judgements, Run, Setup, judge};
use target::Target;

/// Set a model's thresholds so that few of the frames it accepts are answered wrongly.
///
/// With probability 1 - delta over the calibration frames, at most a share --max-risk of the frames
/// that are accepted is answered wrongly, and as many as possible are accepted. The thresholds are
/// written into the model file (and into model.safetensors beside it), with a note of the promise
/// that device info shows. Limits on the picture, which name causes such as blurred or occluded, are
/// set from training pictures, prepared as the model sees them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Method: Learn then Test (Angelopoulos et al. 2021). A random fifth of the frames fixes a path from
strict to loose thresholds; on the others the error rate among accepted frames is tested along it,
up to the first thresholds that are not shown to keep to --max-risk. If the frames do not support
any, the command fails and says how many it takes.

What the promise is about: frames drawn as those of --data were, with as many --passes. It says
nothing about other cameras, other light or foreign things. For these there is --unusual: the
loosest thresholds flag that share of the tuning frames, the most extreme by all measures together,
however good the model is. It costs as many good frames; 0 accepts whatever the risk allows.

A limit on the picture lets through all but one in some hundreds of the pictures that the model
learnt from (a quarter of the share of tuning frames that a limit on an entropy stops), because what it
learnt from is what it can be asked about. They are the training part of --data, or that of --pictures:
at most 10,000 of them, drawn at random and prepared as the model file says; no label is looked at.
Where --data has no training part, and --pictures is not given, they are the tuning frames. Nor is a
limit stricter than what is plainly spoilt (host study causes shows what a model's limits name).

Frames must be labelled, never trained on, and exchangeable: as if drawn one by one at random.
Frames of one video are not, neighbours being alike. Name pictures CLIP_NUMBER and give
--clip-of _, and a clip is split and counted as one: the bound is then on the share of wrong frames
among the accepted ones of a clip, averaged over clips, and what counts is how many clips there are.
More in docs/calibration.md.

Exit codes: 0 done, 1 failed or not supported by the frames, 2 wrong usage, 130 interrupted.

Examples:
  host calibrate --model out/model.onnx --data mnist:test --max-risk 0.005
  host calibrate --model out/model.onnx --data mnist:validation --max-risk 0.003 --delta 0.01
  host calibrate --model signs.onnx --data gtsrb:test --max-risk 0.01 --passes 50
  host calibrate --model parts.onnx --data labelled/ --clip-of _ --max-risk 0.05 --out safe.onnx
  host calibrate --model parts.onnx --data labelled/ --pictures trained-on/ --max-risk 0.05")]
pub struct Args {
    /// ONNX classifier with live dropout.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Labelled images that the model was not trained on: mnist:test, mnist:validation (those that
    /// host train --validation kept out), or a folder with one sub-folder of images per class.
    #[arg(long)]
    data: CalibrationSet,
    /// Set the limits on the picture from the training part of this data set, or the pictures of this
    /// folder, none of which is one of --data's [default: the training part of --data, or the tuning
    /// frames where there is none].
    #[arg(long, value_name = "DATASET")]
    pictures: Option<DatasetName>,
    /// Highest share of wrong answers among accepted frames.
    #[arg(long, value_name = "SHARE", value_parser = inside)]
    max_risk: f64,
    /// Highest probability that --max-risk is exceeded.
    #[arg(long, value_name = "PROBABILITY", default_value_t = 0.05, value_parser = inside)]
    delta: f64,
    /// Flag what is more unusual than all but this share of the tuning frames, whatever the risk.
    #[arg(long, value_name = "SHARE", default_value_t = 0.025, value_parser = share)]
    unusual: f64,
    /// Pictures whose names are alike before the last TEXT are one clip, and count once.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    clip_of: Option<String>,
    /// Write the model here instead of changing it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArgs,
    /// Stochastic passes per frame (T): as many as the device will take.
    #[arg(long, value_name = "T", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    passes: u32,
    /// N of the images only, drawn at random.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    #[command(flatten)]
    threads: Threads,
    /// Seed of the split and of the dropout masks; the model's own if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Passes per batch of the engine; less takes less memory.
    #[arg(long, value_name = "B", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    block: u32,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

fn inside(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value < 1.0 => Ok(value),
        _ => Err("expected a number above 0 and below 1".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..1.0).contains(&value) => Ok(value),
        _ => Err("expected a number from 0 to below 1".to_owned()),
    }
}

/// Calibrates.
///
/// # Errors
/// The model or the data cannot be used, the frames do not support the promise, or the model cannot
/// be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    args.engine.check()?;
    let target = Target::new(&args.model, args.out.as_deref())?;
    let model = Model::load(&args.model)?;
    let metadata = model.metadata();
    let seed = args.seed.unwrap_or(metadata.seed);
    let training = metadata.training.as_ref();
    let Images { images, clips } = args.data.load(training, args.clip_of.as_deref())?;
    let pictures = args.data.pictures(&images, args.pictures.as_ref())?;
    let limit = args.limit.map_or(usize::MAX, |limit| limit as usize);
    let chosen = drawn(&images, seed, 1, limit);
    let images = images.select(&chosen);
    let clips: Option<Vec<usize>> =
        clips.map(|clips| chosen.iter().map(|&i| clips[i as usize]).collect());
    let frames = Frames::new(vec![ImageSet {
        name: args.data.to_string(),
        images,
        known: true,
    }]);
    let threads = args.threads.count()?;
    let setup = Setup {
        model: args.model.clone(),
        engine: args.engine.engine,
        ort: args.engine.ort.clone(),
        passes: args.passes,
        adaptive: None,
        block: args.block,
        seed: Some(seed),
        // What is promised is promised of what the file says.
        preprocessing: PreprocessingOptions::default(),
        ends: EndOptions::default(),
    };
    let stop = stop_flag()?;
    let usual = match &pictures {
        None => None,
        Some(Pictures { images, .. }) => {
            let images = images.select(&drawn(images, seed, 2, MOST_PICTURES));
            let wanted = preprocessing(&args.model, &model, &setup.preprocessing)?;
            let preparer = Preparer::new(wanted, model.input_shape());
            let bar = progress_bar("pictures", images.len() as u64, 0);
            let found = evidence(&images, &preparer, threads, &stop, &|more| bar.inc(more));
            bar.finish_and_clear();
            Some(found?.unwrap_or_else(|| interrupted()))
        }
    };
    let bar = progress_bar("judging", frames.len() as u64, 0);
    let judgements = judge(&setup, &frames, threads, &stop, &|frames| bar.inc(frames));
    bar.finish_and_clear();
    let Some(judgements) = judgements? else {
        interrupted();
    };

    let goal = Goal {
        max_risk: args.max_risk,
        delta: args.delta,
        unusual: args.unusual,
        seed,
    };
    let units = units(&judgements, clips.as_deref());
    let choice = choose(&units, usual.as_deref(), goal)?;
    let pictures = pictures.map(|pictures| pictures.name.to_string());
    let calibration = note(&choice, goal, args, pictures, &judgements.run);
    let written = target.write(&choice.thresholds, &calibration)?;

    let mut out = std::io::stdout().lock();
    if args.json {
        let object = json!({
            "calibration": calibration,
            "thresholds": choice.thresholds,
            "written": written,
        });
        writeln!(out, "{object}")?;
    } else {
        writeln!(out, "{}", table(&choice, &calibration))?;
        for path in &written {
            writeln!(out, "written to {}", path.display())?;
        }
    }
    Ok(())
}

/// The places of at most `limit` images, drawn at random by stream `index`: the first ones may be unlike
/// the others, as in MNIST, and of one class, as in folders.
fn drawn(images: &Dataset, seed: u64, index: u64, limit: usize) -> Vec<u32> {
    let mut random = Random::new(seed, Purpose::CalibrationSplit, index);
    let mut chosen = random.permutation(images.len());
    chosen.truncate(limit);
    chosen.sort_unstable();
    chosen
}

/// What is exchangeable: clips, or single frames.
fn units(judgements: &Judgements, clips: Option<&[usize]>) -> Vec<Vec<Frame>> {
    let frames = judgements.frames.iter().filter_map(|judged| {
        let wrong = !judged.answer?.correct;
        Some(Frame {
            evidence: judged.evidence,
            wrong,
        })
    });
    let Some(clips) = clips else {
        return frames.map(|frame| vec![frame]).collect();
    };
    let count = clips.iter().max().map_or(0, |last| last + 1);
    let mut units = vec![Vec::new(); count];
    for (frame, &clip) in frames.zip(clips) {
        units[clip].push(frame);
    }
    units.retain(|unit| !unit.is_empty());
    units
}

fn note(
    choice: &Choice,
    goal: Goal,
    args: &Args,
    pictures: Option<String>,
    run: &Run,
) -> Calibration {
    // Short numbers pass through JSON unchanged.
    let digits = |value: f64, count: usize| -> f64 {
        let text = format!("{value:.count$e}");
        text.parse().unwrap_or(value)
    };
    Calibration {
        method: format!("learn-then-test, {}", choice.test.name()),
        max_risk: goal.max_risk,
        delta: goal.delta,
        unusual: goal.unusual,
        data: args.data.to_string(),
        pictures,
        tuning: choice.tuning,
        frames: choice.frames,
        clips: args.clip_of.is_some().then_some(choice.clips),
        accepted: choice.accepted,
        errors: choice.errors,
        coverage: digits(choice.accepted as f64 / choice.frames as f64, 5),
        p_value: digits(choice.p_value, 2),
        passes: run.passes,
        engine: run.engine.clone(),
        seed: goal.seed,
    }
}

fn table(choice: &Choice, calibration: &Calibration) -> String {
    let Calibration {
        max_risk,
        delta,
        data,
        pictures,
        tuning,
        frames,
        accepted,
        errors,
        coverage,
        p_value,
        passes,
        engine,
        ..
    } = calibration;
    let clips = match calibration.clips {
        Some(clips) => format!(" from {clips} clips"),
        None => String::new(),
    };
    let risk = *errors as f64 / (*accepted).max(1) as f64;
    let mut table = format!(
        "promise     error rate among accepted frames at most {max_risk}, but for a probability of {delta}
tuned on    {tuning} frames of {data}, {passes} passes each ({engine})
tested on   {frames} frames{clips}: {accepted} accepted ({:.2} %), {errors} of them wrong ({:.3} %)
p-value     {p_value}
pictures    {}
thresholds",
        100.0 * coverage,
        100.0 * risk,
        pictures.as_ref().map_or_else(
            || "limits on the picture are usual among the frames tuned on".to_owned(),
            |name| format!("limits on the picture are usual among training pictures of {name}")
        )
    );
    for (name, limit) in choice.thresholds.named() {
        // Writing to a String does not fail.
        let _ = write!(table, "\n  {name:24} {limit}");
    }
    table
}
