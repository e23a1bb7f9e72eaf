//! `host study`: what Monte-Carlo dropout means, measured.

mod causes;

use device::onnx::EndOptions;
use device::preprocessing::PreprocessingOptions;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use serde::Serialize;
use shared::mask::MaskSource;

use super::engine::EngineArgs;
use super::long::{Threads, interrupted, progress_bar, stop_flag};
use crate::data::{Dataset, DatasetName, Split};
use crate::evaluate::Setup;
use crate::study::corruptions::corruptions;
use crate::study::precision::precision;
use crate::study::rotation::rotation;
use crate::study::variational::{Trained, variational};

/// See what Monte-Carlo dropout means: uncertainty against data, damage, rotation and passes.
///
/// Tables go to stdout, or with --json one JSON object each. Every study repeats with its --seed,
/// whatever the number of --threads.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

Examples:
  host study epistemic --out out/study              trains seven models: minutes
  host study corruptions --model out/model.onnx
  host study causes --model out/model.onnx
  host study rotation --model out/model.onnx
  host study precision --model out/model.onnx --json
  host study variational --model out/model.onnx --weight-decay 1e-4")]
pub struct Args {
    #[command(subcommand)]
    study: Study,
}

#[derive(Debug, clap::Subcommand)]
enum Study {
    #[cfg(feature = "train")]
    Epistemic(epistemic::Args),
    Corruptions(CorruptionsArgs),
    Causes(causes::Args),
    Rotation(RotationArgs),
    Precision(PrecisionArgs),
    Variational(VariationalArgs),
}

/// How a model is sampled.
#[derive(Debug, clap::Args)]
struct Sampling {
    /// ONNX classifier with live dropout; for torch also a model.safetensors or its folder.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    #[command(flatten)]
    engine: EngineArgs,
    /// mnist, fashion-mnist, gtsrb, cifar10, or a folder with one sub-folder of images per class.
    #[arg(long, default_value = "mnist")]
    dataset: DatasetName,
    /// Seed of the dropout masks; the model's own if not given.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    ends: EndOptions,
    #[command(flatten)]
    preprocessing: PreprocessingOptions,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// How accuracy and uncertainty answer to pictures that get worse.
///
/// Test images, clean and at five severities of every family of corruptions (host data corrupt
/// --help): accuracy, mean total, aleatoric and epistemic uncertainty, the share that the model's
/// thresholds flag, and Spearman's correlation of severity with each uncertainty over all frames.
#[derive(Debug, clap::Args)]
struct CorruptionsArgs {
    #[command(flatten)]
    sampling: Sampling,
    #[command(flatten)]
    threads: Threads,
    /// Stochastic passes per frame (T).
    #[arg(long, value_name = "T", default_value_t = 100, value_parser = passes())]
    passes: u32,
    /// The first N test images.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Seed of where and how the images are spoilt.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    corruption_seed: u64,
}

/// One digit, turned step by step (Gal and Ghahramani 2016, figure 4).
///
/// A test image is turned clockwise from 0 to 180 degrees. With --json the softmax inputs and
/// outputs of every pass, for the classes that win at some angle. Pass t has the same masks at every
/// angle: it is one network of the posterior, looking at one picture after the other.
#[derive(Debug, clap::Args)]
struct RotationArgs {
    #[command(flatten)]
    sampling: Sampling,
    /// Stochastic passes per angle (T).
    #[arg(long, value_name = "T", default_value_t = 100, value_parser = passes())]
    passes: u32,
    /// Index of the test image [default: the first of class 1]
    #[arg(long, value_name = "INDEX")]
    image: Option<usize>,
    /// Steps from 0 to 180 degrees.
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=180))]
    steps: u32,
}

/// How many passes are enough.
///
/// For T = 1, 2, 5, 10, 20, 50 … passes: the negative log-likelihood with its Monte-Carlo standard
/// error, the share of right answers, and of classes and verdicts that are those of all --passes.
#[derive(Debug, clap::Args)]
struct PrecisionArgs {
    #[command(flatten)]
    sampling: Sampling,
    #[command(flatten)]
    threads: Threads,
    /// The most passes per frame, which fewer are compared with.
    #[arg(long, value_name = "T", default_value_t = 1000, value_parser = passes())]
    passes: u32,
    /// The first N test images.
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// The variational objective of a trained model: expected log-likelihood and KL term.
///
/// In nats per training image, from the model.safetensors beside the model; docs/variational.md
/// has the formulas. A model trained without weight decay has a flat prior, which adds nothing.
#[derive(Debug, clap::Args)]
struct VariationalArgs {
    #[command(flatten)]
    sampling: Sampling,
    #[command(flatten)]
    threads: Threads,
    /// Stochastic passes per image (T).
    #[arg(long, value_name = "T", default_value_t = 100, value_parser = passes())]
    passes: u32,
    /// The first N training images and the first N test images.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Assume this weight decay for the prior, not that of the training.
    #[arg(long, value_name = "RATE", value_parser = weight_decay)]
    weight_decay: Option<f64>,
}

fn passes() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(MaskSource::MAX_PASSES.min(100_000)))
}

fn weight_decay(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if rate.is_finite() && rate >= 0.0 {
        Ok(rate)
    } else {
        Err("not 0 or a positive number".into())
    }
}

/// Runs a study.
///
/// # Errors
/// The model, the data or the output folder cannot be used.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.study {
        #[cfg(feature = "train")]
        Study::Epistemic(args) => epistemic::run(&args),
        Study::Corruptions(args) => run_corruptions(&args),
        Study::Causes(args) => causes::run(&args),
        Study::Rotation(args) => run_rotation(&args),
        Study::Precision(args) => run_precision(&args),
        Study::Variational(args) => run_variational(&args),
    }
}

fn run_corruptions(args: &CorruptionsArgs) -> anyhow::Result<()> {
    let (setup, mut data) = args.sampling.open(args.passes)?;
    data.truncate(args.limit as usize);
    let (stop, threads) = (stop_flag()?, args.threads.count()?);
    let bar = progress_bar("judging", 0, 0);
    let found = corruptions(
        &setup,
        &data,
        args.corruption_seed,
        threads,
        &stop,
        &|frames| bar.set_length(frames),
        &|frames| bar.inc(frames),
    );
    bar.finish_and_clear();
    print(found?, args.sampling.json)
}

fn run_rotation(args: &RotationArgs) -> anyhow::Result<()> {
    let (setup, data) = args.sampling.open(args.passes)?;
    let image = match args.image {
        Some(image) => image,
        None => data
            .labels
            .iter()
            .position(|&label| label == 1)
            .context("no test image is of class 1: choose one with --image")?,
    };
    print(
        Some(rotation(&setup, &data, image, args.steps)?),
        args.sampling.json,
    )
}

fn run_precision(args: &PrecisionArgs) -> anyhow::Result<()> {
    let (setup, mut data) = args.sampling.open(args.passes)?;
    data.truncate(args.limit as usize);
    let (stop, threads) = (stop_flag()?, args.threads.count()?);
    let bar = progress_bar("sampling", data.len() as u64, 0);
    let found = precision(&setup, &data, threads, &stop, &|images| bar.inc(images));
    bar.finish_and_clear();
    print(found?, args.sampling.json)
}

fn run_variational(args: &VariationalArgs) -> anyhow::Result<()> {
    let sampling = &args.sampling;
    let (setup, mut test) = sampling.open(args.passes)?;
    let trained = Trained::load(&sampling.model)?;
    let dataset = sampling.dataset.to_string();
    ensure!(
        trained.dataset == dataset,
        "the model was trained on {}, not on {dataset}: give --dataset {0}",
        trained.dataset
    );
    let mut training = sampling.dataset.load(Split::Train)?;
    training.truncate(trained.images.min(args.limit as usize));
    test.truncate(args.limit as usize);
    let (stop, threads) = (stop_flag()?, args.threads.count()?);
    let bar = progress_bar("sampling", (training.len() + test.len()) as u64, 0);
    let found = variational(
        &setup,
        &trained,
        args.weight_decay,
        &training,
        &test,
        threads,
        &stop,
        &|images| bar.inc(images),
    );
    bar.finish_and_clear();
    print(found?, sampling.json)
}

impl Sampling {
    /// What samples the model, and the test images.
    fn open(&self, passes: u32) -> anyhow::Result<(Setup, Dataset)> {
        self.engine.check()?;
        ensure!(
            self.model.exists(),
            "there is no model {}",
            self.model.display()
        );
        let setup = Setup {
            model: self.model.clone(),
            engine: self.engine.engine,
            ort: self.engine.ort.clone(),
            passes,
            adaptive: None,
            block: passes.min(100),
            seed: self.seed,
            preprocessing: self.preprocessing.clone(),
            ends: self.ends.clone(),
        };
        let part = self.dataset.test_split(setup.training().as_ref());
        Ok((setup, self.dataset.load(part)?))
    }
}

/// Prints what a study found, or ends the program if it was interrupted.
fn print<T: Serialize + std::fmt::Display>(found: Option<T>, json: bool) -> anyhow::Result<()> {
    let Some(found) = found else {
        interrupted();
    };
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(&found)?)?;
    } else {
        writeln!(out, "{found}")?;
    }
    Ok(())
}

#[cfg(feature = "train")]
mod epistemic {
    use std::path::PathBuf;

    use super::{Threads, passes, print, progress_bar, stop_flag};
    use crate::study::epistemic::{Plan, Settings, epistemic};
    use crate::torch;

    /// Whether epistemic uncertainty is what the model does not know for lack of data.
    ///
    /// Trains the source recipe for the same number of steps on 100 to 60,000 MNIST images, and once
    /// on all digits but one, and tells the uncertainty of each model on the test digits, and on the
    /// digit that it never saw. Leaves DIR/study.json and a folder per model. After Ctrl-C (exit
    /// code 130) the same command goes on with the models that are not finished, and more --sizes
    /// can be asked for later.
    #[derive(Debug, clap::Args)]
    pub(super) struct Args {
        /// Folder for the results.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Numbers of training images; the smaller sets are parts of the larger ones.
        #[arg(
            long,
            value_name = "N,…",
            value_delimiter = ',',
            default_value = "100,300,1000,3000,10000,60000"
        )]
        sizes: Vec<usize>,
        /// The digit that one more model never sees.
        #[arg(long, value_name = "DIGIT", default_value_t = 9, value_parser = clap::value_parser!(u8).range(0..=9))]
        unseen: u8,
        /// Training steps of each model, 64 images each.
        #[arg(long, value_name = "STEPS", default_value_t = 3000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
        steps: u64,
        /// Stochastic passes per test image (T).
        #[arg(long, value_name = "T", default_value_t = 100, value_parser = passes())]
        passes: u32,
        /// The first N test images only.
        #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
        /// Seed of the training images chosen, of parameters, order and masks.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Train every model so many times, with seeds from --seed on.
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
        repeats: u64,
        #[command(flatten)]
        threads: Threads,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    }

    pub(super) fn run(args: &Args) -> anyhow::Result<()> {
        torch::let_waiting_threads_sleep();
        let plan = Plan {
            settings: Settings {
                steps: args.steps,
                passes: args.passes,
                test_images: args.limit as usize,
            },
            sizes: args.sizes.clone(),
            unseen: Some(usize::from(args.unseen)),
            seeds: (0..args.repeats)
                .map(|n| args.seed.wrapping_add(n))
                .collect(),
        };
        let (stop, threads) = (stop_flag()?, args.threads.count()?);
        let bar = progress_bar("training", 0, 0);
        let found = epistemic(
            &plan,
            &args.out,
            threads,
            &stop,
            &|steps| bar.set_length(steps),
            &|steps| bar.inc(steps),
        );
        bar.finish_and_clear();
        print(found?, args.json)
    }
}
