//! `host train`: trains the dropout LeNet and tests it.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{anyhow, bail};
use indicatif::ProgressBar;

use super::long::{INTERRUPTED, progress_bar, stop_flag};
use crate::lenet::SITES;
use crate::torch::{self, DeviceChoice};
use crate::train::{
    Augmentation, Interrupted, Job, Optimizer, Progress, Recipe, RecipeName, Schedule, recipe_of,
    train,
};

/// Train a LeNet with dropout, test it with and without, and export it.
///
/// Leaves DIR/model.safetensors, DIR/model.onnx, DIR/metrics.json, DIR/log.jsonl and
/// DIR/checkpoint.safetensors, which --resume continues from. Ctrl-C finishes the step, saves the
/// checkpoint and exits with code 130; a second Ctrl-C ends at once.
///
/// On the processor, equal flags (with equal --threads) give equal files, to the bit.
#[derive(Debug, clap::Args)]
#[command(after_help = after_help())]
pub struct Args {
    /// Folder for the results.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Where the values that no flag gives come from [default: source]
    #[arg(long)]
    recipe: Option<RecipeName>,
    /// Test on the first N images only.
    #[arg(long, value_name = "N")]
    limit_test: Option<usize>,
    /// Continue the run in --out; flags of the recipe that are not given keep their values.
    #[arg(long)]
    resume: bool,
    /// Stochastic passes per image in the Monte-Carlo-dropout test.
    #[arg(long, value_name = "T", default_value_t = 100)]
    passes: u32,
    /// Training images that the default thresholds are set on, without --validation.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    calibration_images: usize,
    /// Share of those images that the default thresholds flag.
    #[arg(long, value_name = "SHARE", default_value_t = 0.025)]
    flag_rate: f64,
    /// Steps between two log lines.
    #[arg(long, value_name = "STEPS", default_value_t = 100)]
    log_interval: u64,
    /// auto, cpu or cuda; auto takes CUDA where it works.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Processor threads [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print the metrics as JSON.
    #[arg(long)]
    json: bool,
    // Last, because its heading would go on to what follows.
    #[command(flatten)]
    changes: Changes,
}

/// What is to be other than in the recipe.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Changes to the recipe (see below for its values)")]
struct Changes {
    /// mnist, fashion-mnist, gtsrb, cifar10, or a folder with one sub-folder of images per class.
    #[arg(long)]
    dataset: Option<String>,
    /// Leave these classes of it out, in the test, too, unless --extra has them.
    #[arg(long, value_name = "CLASS,…", value_delimiter = ',')]
    without: Option<Vec<String>>,
    /// Train on the labelled images of this folder (of host label), too; may be given again. A
    /// class that the data set has not is added.
    #[arg(long, value_name = "DIR")]
    extra: Option<Vec<String>>,
    /// Show each of these so many times in an epoch.
    #[arg(long, value_name = "TIMES")]
    oversample: Option<u32>,
    /// Keep the last N training images out of training; thresholds, and the temperature, are set on
    /// them.
    #[arg(long, value_name = "N")]
    validation: Option<usize>,
    /// Images per step.
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Rule of a step.
    #[arg(long)]
    optimizer: Option<Optimizer>,
    /// Greatest learning rate.
    #[arg(long)]
    lr: Option<f64>,
    /// How the learning rate changes.
    #[arg(long)]
    schedule: Option<Schedule>,
    /// Passes over the training images.
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,
    /// SGD's momentum, AdamW's beta1.
    #[arg(long)]
    momentum: Option<f64>,
    /// Weight decay; see below for the prior that SGD's stands for.
    #[arg(long, value_name = "RATE")]
    weight_decay: Option<f64>,
    /// With --schedule step: epochs after which the rate is multiplied by --lr-gamma, each time.
    #[arg(long, value_name = "EPOCHS")]
    lr_step: Option<u32>,
    /// See --lr-step.
    #[arg(long, value_name = "FACTOR")]
    lr_gamma: Option<f64>,
    /// The result is the moving average of the parameters with this decay per step; 0 takes the
    /// last ones themselves.
    #[arg(long, value_name = "DECAY")]
    averaging: Option<f64>,
    /// Rotate training images by up to this much, anew in each epoch.
    #[arg(long, value_name = "DEGREES")]
    rotation: Option<f64>,
    /// Enlarge them, or reduce them, by a factor of up to 1 + this.
    #[arg(long, value_name = "SHARE")]
    scale: Option<f64>,
    /// Shear them horizontally by up to this many pixels per pixel.
    #[arg(long, value_name = "SLOPE")]
    shear: Option<f64>,
    /// Shift them by up to this much, in x and in y.
    #[arg(long, value_name = "PIXELS")]
    shift: Option<f64>,
    /// Bend them: control points every 7 pixels are shifted by up to this much.
    #[arg(long, value_name = "PIXELS")]
    elastic: Option<f64>,
    /// Probability of dropping an element, after conv1, conv2 and fc1.
    #[arg(long, value_name = "P,P,P", value_delimiter = ',')]
    dropout: Option<Vec<f64>>,
    /// Divide the logits by the temperature that suits the validation images best; it goes into
    /// the last layer's weights.
    #[arg(long, value_name = "true|false")]
    temperature_scaling: Option<bool>,
    /// Seed of the parameters, the order and deformation of the images, and the masks.
    #[arg(long)]
    seed: Option<u64>,
    /// Train on the first N images only.
    #[arg(long, value_name = "N")]
    limit_train: Option<usize>,
}

/// What --help ends with. The recipes' values come from the recipes, so that it tells the truth.
fn after_help() -> String {
    let [source, best] = [RecipeName::Source, RecipeName::Best].map(|name| name.recipe().flags());
    let row = |flag: &str, source: &str, best: &str| format!("  {flag:22}{source:18}{best}\n");
    let rows = source
        .iter()
        .zip(&best)
        .map(|((flag, source), (_, best))| row(flag, source, best));
    let table: String = std::iter::once(row("", "source", "best"))
        .chain(rows)
        .collect();
    format!("Recipes:\n{table}{HELP}")
}

const HELP: &str = "
Weight decay and the prior: dropout with weight decay is variational inference with the prior
N(0, 1/l²) on each weight (Gal and Ghahramani 2016). With kept inputs scaled by 1/q, as here,
  weight decay = l² / (q N tau),   l = sqrt(q * weight decay * N * tau)
for the keep probability q of the layer's inputs, N training images, and tau = 1 (softmax).
metrics.json gives l of each layer as prior_length_scale. Without weight decay the prior is flat.
AdamW's weight decay is decoupled from the loss and stands for no such prior.

Examples:
  host train --out out
  host train --out out --recipe best                more accurate, better calibrated, takes longer
  host train --out out --epochs 2 --dropout 0.5,0.5,0.5 --seed 7
  host train --out out --resume --epochs 20
  host train --out clothes --dataset fashion-mnist --weight-decay 1e-4
  host train --out better --extra flagged --oversample 5
  host train --out parts --dataset pictures/        one sub-folder of images per class";

impl Changes {
    /// The recipe asked for, on top of `base`.
    fn apply(self, base: Recipe) -> anyhow::Result<Recipe> {
        let dropout = match self.dropout.as_deref() {
            None => base.dropout,
            Some(given) => <[f64; SITES]>::try_from(given)
                .map_err(|_| anyhow!("--dropout takes {SITES} numbers, not {}", given.len()))?,
        };
        let deformed = base.augmentation;
        let recipe = Recipe {
            dataset: self.dataset.unwrap_or(base.dataset),
            without: self.without.unwrap_or(base.without),
            extra: self.extra.unwrap_or(base.extra),
            oversample: self.oversample.unwrap_or(base.oversample),
            validation: self.validation.unwrap_or(base.validation),
            epochs: self.epochs.unwrap_or(base.epochs),
            batch_size: self.batch_size.unwrap_or(base.batch_size),
            optimizer: self.optimizer.unwrap_or(base.optimizer),
            learning_rate: self.lr.unwrap_or(base.learning_rate),
            schedule: self.schedule.unwrap_or(base.schedule),
            lr_step: self.lr_step.unwrap_or(base.lr_step),
            lr_gamma: self.lr_gamma.unwrap_or(base.lr_gamma),
            momentum: self.momentum.unwrap_or(base.momentum),
            weight_decay: self.weight_decay.unwrap_or(base.weight_decay),
            averaging: self.averaging.unwrap_or(base.averaging),
            augmentation: Augmentation {
                rotation: self.rotation.unwrap_or(deformed.rotation),
                scale: self.scale.unwrap_or(deformed.scale),
                shear: self.shear.unwrap_or(deformed.shear),
                shift: self.shift.unwrap_or(deformed.shift),
                elastic: self.elastic.unwrap_or(deformed.elastic),
            },
            dropout,
            temperature_scaling: self.temperature_scaling.unwrap_or(base.temperature_scaling),
            seed: self.seed.unwrap_or(base.seed),
            limit_train: self.limit_train.or(base.limit_train),
        };
        recipe.validate().map_err(|reason| anyhow!(reason))?;
        Ok(recipe)
    }
}

/// Trains.
///
/// # Errors
/// A flag is out of range, or the data, the device or the output folder fails.
pub fn run(args: Args) -> anyhow::Result<()> {
    torch::let_waiting_threads_sleep();
    if args.passes == 0 || args.passes > shared::mask::MaskSource::MAX_PASSES {
        bail!("--passes must be at least 1");
    }
    if args.log_interval == 0 {
        bail!("--log-interval must be at least 1");
    }
    if args.calibration_images == 0 {
        bail!("--calibration-images must be at least 1");
    }
    if !(0.0..1.0).contains(&args.flag_rate) {
        bail!("--flag-rate must be at least 0 and below 1");
    }
    let base = match args.recipe {
        Some(name) => name.recipe(),
        None if args.resume => recipe_of(&args.out)?,
        None => RecipeName::Source.recipe(),
    };
    let job = Job {
        recipe: args.changes.apply(base)?,
        resume: args.resume,
        out: args.out,
        passes: args.passes,
        limit_test: args.limit_test,
        calibration_images: args.calibration_images,
        flag_rate: args.flag_rate,
        log_interval: args.log_interval,
        threads: torch::set_threads(args.threads)?,
        device: args.device.resolve()?,
    };
    let stop = stop_flag()?;
    let progress = Bar::new();
    let result = train(&job, &stop, &progress);
    progress.clear();
    let metrics = match result {
        Err(error) if error.is::<Interrupted>() => {
            tracing::warn!("{error}");
            std::process::exit(INTERRUPTED);
        }
        result => result?,
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{metrics}")?;
        return Ok(());
    }
    let percent = |value: &serde_json::Value| 100.0 * value.as_f64().unwrap_or(f64::NAN);
    let nats = |value: &serde_json::Value| value.as_f64().unwrap_or(f64::NAN);
    let (mc, standard, triage) = (
        &metrics["mc_dropout"],
        &metrics["standard"],
        &metrics["triage"],
    );
    writeln!(
        out,
        "MC dropout (T={}): average loss {:.4}, accuracy {:.2} %",
        job.passes,
        nats(&mc["nll_mean_logits"]),
        percent(&mc["accuracy"])
    )?;
    writeln!(
        out,
        "standard:           average loss {:.4}, accuracy {:.2} %",
        nats(&standard["nll"]),
        percent(&standard["accuracy"])
    )?;
    writeln!(
        out,
        "default thresholds: {:.2} % of the test images flagged, accuracy of the rest {:.2} %",
        percent(&triage["flagged"]),
        percent(&triage["accuracy_accepted"])
    )?;
    writeln!(out, "results in {}", job.out.display())?;
    Ok(())
}

/// A progress bar on a terminal, log lines on stderr in any case.
struct Bar(Mutex<ProgressBar>);

impl Bar {
    fn new() -> Self {
        Self(Mutex::new(ProgressBar::hidden()))
    }

    fn clear(&self) {
        self.current().finish_and_clear();
    }

    fn current(&self) -> MutexGuard<'_, ProgressBar> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Bar {
    fn begin(&self, phase: &'static str, total: u64, done: u64) {
        self.clear();
        *self.current() = progress_bar(phase, total, done);
    }

    fn advance(&self, units: u64) {
        self.current().inc(units);
    }

    fn note(&self, line: &str) {
        self.current().suspend(|| tracing::info!("{line}"));
    }
}
