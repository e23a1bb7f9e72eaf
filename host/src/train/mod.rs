//! Training with dropout, and the two tests that follow it.
//!
//! A run is a pure function of its [`Recipe`]: parameters are drawn from the seed, and the images
//! of a step, their deformations and masks from the seed and the step's number. On a processor,
//! with the same number of threads, it repeats to the bit, and a run that was stopped and continued
//! ends where an undisturbed one does.

mod augment;
mod fit;
mod images;
mod log;
mod optimizer;
mod recipe;
mod report;
mod sampling;
mod selection;
mod temperature;
mod trainer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, bail};
use shared::image::Normalisation;
use tch::Device;

use crate::data::DatasetName;
use crate::lenet::SIDE;
pub use augment::Augmentation;
pub use fit::fit;
use images::{Images, luma, normalisation};
use log::Log;
pub use optimizer::Optimizer;
pub use recipe::{Recipe, RecipeName, Schedule};
use report::{Data, report};
use trainer::Trainer;

/// Most classes a model can have.
pub const MAX_CLASSES: usize = 64;

/// Name of the file that a run is continued from.
pub const CHECKPOINT: &str = "checkpoint.safetensors";

/// A run and what is measured after it.
#[derive(Debug, Clone)]
pub struct Job {
    /// What to train.
    pub recipe: Recipe,
    /// Continue the run in `out` instead of starting one.
    pub resume: bool,
    /// Folder of the results.
    pub out: PathBuf,
    /// Stochastic passes per image in the tests.
    pub passes: u32,
    /// Only the first so many test images.
    pub limit_test: Option<usize>,
    /// Training images that the default thresholds are set on, where there are no validation
    /// images to set them on.
    pub calibration_images: usize,
    /// Share of them that the default thresholds flag.
    pub flag_rate: f64,
    /// Steps between two log lines.
    pub log_interval: u64,
    /// Where to compute.
    pub device: Device,
    /// Processor threads in use.
    pub threads: usize,
}

/// What a run tells while it goes on.
pub trait Progress {
    /// A phase of `total` units begins, `done` of them done already.
    fn begin(&self, phase: &'static str, total: u64, done: u64);
    /// That many more units are done.
    fn advance(&self, units: u64);
    /// A line for the log.
    fn note(&self, line: &str);
}

/// The run was asked to stop. Everything that it takes to continue is saved.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("interrupted; the same command with --resume continues")]
pub struct Interrupted;

/// Trains, tests and writes `model.safetensors`, `model.onnx`, `metrics.json` and `log.jsonl`.
/// Returns the metrics. When `stop` is set it ends after the current step, with the run saved.
///
/// # Errors
/// [`Interrupted`]; or the data, the device or the output folder fails.
pub fn train(
    job: &Job,
    stop: &AtomicBool,
    progress: &dyn Progress,
) -> anyhow::Result<serde_json::Value> {
    std::fs::create_dir_all(&job.out)
        .with_context(|| format!("cannot create the folder {}", job.out.display()))?;
    let checkpoint = job.out.join(CHECKPOINT);
    let (mut trainer, mut log) = if job.resume {
        resume(job)?
    } else {
        (None, Log::default())
    };
    // Fails now rather than after the training, if the folder cannot be written.
    log.save(&job.out)?;

    let name: DatasetName = job.recipe.dataset.parse()?;
    let (mut data, extra) = selection::training(&job.recipe)?;
    if job.recipe.validation >= data.len() {
        bail!(
            "--validation {} leaves no image to train on: {name} has {} training images",
            job.recipe.validation,
            data.len()
        );
    }
    let validation = data.split_off(data.len() - job.recipe.validation);
    let mut pixels = luma(&data)?;
    let normalisation = match name {
        DatasetName::Mnist => Normalisation::MNIST,
        _ => normalisation(&pixels),
    };
    data.truncate(job.recipe.limit_train.unwrap_or(usize::MAX));
    pixels.truncate(data.len() * SIDE * SIDE);
    data.append(&extra);
    pixels.extend(luma(&extra)?);
    let classes = data.class_names.len();
    if classes > MAX_CLASSES {
        bail!("{name} has {classes} classes, at most {MAX_CLASSES} are supported");
    }
    let images = Images::new(&pixels, &data.labels, normalisation, job.device);
    drop(pixels);
    let trainer = match &mut trainer {
        Some(trainer) => trainer,
        None => trainer.insert(Trainer::new(job.recipe.clone(), classes, job.device)?),
    };
    if trainer.classes() != classes {
        bail!(
            "{name} has {classes} classes, not those of {}",
            checkpoint.display()
        );
    }
    let seconds = run(job, trainer, &images, &checkpoint, &mut log, stop, progress)?;
    let data = Data {
        train: data,
        validation,
        normalisation,
    };
    report(job, trainer, &data, seconds, stop, progress)
}

/// The recipe of the run in `out`.
///
/// # Errors
/// There is no run to continue.
pub fn recipe_of(out: &Path) -> anyhow::Result<Recipe> {
    Ok(Trainer::load(&checkpoint_in(out)?, Device::Cpu)?.1)
}

fn checkpoint_in(out: &Path) -> anyhow::Result<PathBuf> {
    let path = out.join(CHECKPOINT);
    if !path.exists() {
        bail!("nothing to resume: {} is missing", path.display());
    }
    Ok(path)
}

fn resume(job: &Job) -> anyhow::Result<(Option<Trainer>, Log)> {
    let (mut trainer, earlier) = Trainer::load(&checkpoint_in(&job.out)?, job.device)?;
    if let Some(difference) = job.recipe.difference(&earlier) {
        bail!(
            "the run in {} is another one: {difference}",
            job.out.display()
        );
    }
    trainer.set_epochs(job.recipe.epochs);
    let log = Log::load(&job.out, trainer.step())?;
    Ok((Some(trainer), log))
}

/// Trains to the end of the last epoch; returns the seconds it took.
fn run(
    job: &Job,
    trainer: &mut Trainer,
    images: &Images,
    checkpoint: &Path,
    log: &mut Log,
    stop: &AtomicBool,
    progress: &dyn Progress,
) -> anyhow::Result<f64> {
    let start = Instant::now();
    let per_epoch = trainer.steps_per_epoch(images);
    let total = per_epoch * u64::from(trainer.recipe().epochs);
    progress.begin("training", total, trainer.step());
    while trainer.step() < total {
        let step = trainer.step();
        let loss = trainer.advance(images)?;
        progress.advance(1);
        if step.is_multiple_of(job.log_interval) || trainer.step() == total {
            let loss = loss.double_value(&[]) as f32;
            let epoch = (step / per_epoch) as u32;
            let line = log::Line {
                epoch: epoch + 1,
                step: trainer.step(),
                images: ((step % per_epoch + 1) * trainer.recipe().batch_size as u64)
                    .min(images.len() as u64),
                of: images.len() as u64,
                loss,
                learning_rate: trainer.recipe().learning_rate_at(step, per_epoch),
            };
            progress.note(&line.to_string());
            log.push(line);
            if !loss.is_finite() {
                bail!("the training diverged at step {step} (loss {loss}): try a smaller --lr");
            }
        }
        let interrupted = stop.load(Ordering::Relaxed);
        if interrupted || trainer.step().is_multiple_of(per_epoch) {
            trainer.save(checkpoint)?;
            log.save(&job.out)?;
        }
        if interrupted {
            return Err(Interrupted.into());
        }
    }
    Ok(start.elapsed().as_secs_f64())
}
