//! Training with dropout, and the two tests that follow it.
//!
//! A run is a pure function of its [`Recipe`]: parameters are drawn from the seed, and the images
//! and masks of a step from the seed and the step's number. On a processor, with the same number
//! of threads, it repeats to the bit, and a run that was stopped and continued ends where an
//! undisturbed one does.

mod fit;
mod images;
mod log;
mod recipe;
mod sampling;
mod trainer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, bail};
use serde_json::json;
use shared::image::Normalisation;
use shared::mask::MaskSource;
use shared::triage::{Evidence, Thresholds};
use shared::uncertainty::Measures;
use tch::Device;

use crate::data::{Dataset, DatasetName, Purpose, Random, Split};
use crate::lenet::TrainedModel;
use crate::{calibrate, export, files, torch};
pub use fit::fit;
use images::Images;
use log::Log;
pub use recipe::Recipe;
use sampling::{Sampling, TestResult};
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
    /// Training images that the default thresholds are set on.
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
    let mut data = name.load(Split::Train)?;
    let normalisation = match name {
        DatasetName::Mnist => Normalisation::MNIST,
        _ => data.normalisation(),
    };
    data.truncate(job.recipe.limit_train.unwrap_or(usize::MAX));
    let classes = data.class_names.len();
    if classes > MAX_CLASSES {
        bail!("{name} has {classes} classes, at most {MAX_CLASSES} are supported");
    }
    let images = Images::new(&data, normalisation, job.device);
    let trainer = match &mut trainer {
        Some(trainer) => trainer,
        None => trainer.insert(Trainer::new(job.recipe.clone(), classes, job.device)?),
    };
    if trainer.network().architecture().classes != classes {
        bail!(
            "{name} has {classes} classes, not those of {}",
            checkpoint.display()
        );
    }
    let seconds = run(job, trainer, &images, &checkpoint, &mut log, stop, progress)?;
    report(
        job,
        trainer,
        &data,
        &images,
        normalisation,
        seconds,
        stop,
        progress,
    )
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
                learning_rate: trainer.recipe().learning_rate_in(epoch),
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

/// Measures the trained network and writes the results.
#[expect(
    clippy::too_many_arguments,
    reason = "the state of one run, used in one place"
)]
fn report(
    job: &Job,
    trainer: &Trainer,
    data: &Dataset,
    images: &Images,
    normalisation: Normalisation,
    seconds: f64,
    stop: &AtomicBool,
    progress: &dyn Progress,
) -> anyhow::Result<serde_json::Value> {
    let (network, recipe) = (trainer.network(), trainer.recipe());
    let sampling = Sampling {
        passes: job.passes,
        masks: MaskSource::new(recipe.seed),
        keep: network
            .architecture()
            .keep()
            .context("a dropout is not in 0..1")?,
        device: job.device,
        threads: job.threads,
    };
    let advance = |units| progress.advance(units);

    let mut chosen = Random::new(recipe.seed, Purpose::Calibration, 0).permutation(data.len());
    chosen.truncate(job.calibration_images);
    progress.begin("thresholds", chosen.len() as u64, 0);
    let measures = sampling.measure(network, images, &chosen, stop, &advance)?;
    let frames: Vec<_> = measures
        .into_iter()
        .zip(&chosen)
        .map(|(measures, &index)| Evidence::new(&measures, &data.statistics(index as usize)))
        .collect();
    let thresholds = calibrate::usual(&frames, job.flag_rate);

    let name: DatasetName = recipe.dataset.parse()?;
    let mut test = name.load(Split::Test)?;
    test.truncate(job.limit_test.unwrap_or(usize::MAX));
    let test_images = Images::new(&test, normalisation, job.device);
    progress.begin("mc-dropout test", test.len() as u64, 0);
    let indices: Vec<u32> = (0..test.len() as u32).collect();
    let measures = sampling.measure(network, &test_images, &indices, stop, &advance)?;
    let mc_dropout = TestResult::mc_dropout(&measures, &test.labels);
    let standard = TestResult::standard(network, &test_images, &test.labels)?;
    let triage = triage(&thresholds, &measures, &test);

    // What lies in the model does not depend on the clock, so that equal runs give equal files.
    let training = json!({
        "recipe": recipe,
        "images": data.len(),
        "prior_length_scale": recipe.prior_length_scale(data.len()).map(six_decimals),
        "mc_dropout": {
            "accuracy": six_decimals(mc_dropout.accuracy),
            "nll_mean_logits": six_decimals(mc_dropout.nll),
            "passes": job.passes,
        },
        "standard": {
            "accuracy": six_decimals(standard.accuracy),
            "nll": six_decimals(standard.nll),
        },
        "test_images": test.len(),
    });
    let model = TrainedModel {
        architecture: *network.architecture(),
        parameters: network.parameters()?,
        labels: data.class_names.clone(),
        normalisation,
        seed: recipe.seed,
        thresholds: Some(thresholds),
        calibration: None,
        training: Some(training.clone()),
    };
    files::write(&job.out.join("model.safetensors"), &model.to_bytes()?)?;
    files::write(&job.out.join("model.onnx"), &export::to_onnx(&model)?)?;
    let mut metrics = training;
    let more = json!({
        "epochs": recipe.epochs,
        "seconds": seconds,
        "device": torch::device_name(job.device),
        "threads": job.threads,
        "libtorch": torch::LIBTORCH_VERSION,
        "seed": recipe.seed,
        "thresholds": thresholds,
        "triage": triage,
    });
    if let (Some(metrics), serde_json::Value::Object(more)) = (metrics.as_object_mut(), more) {
        metrics.extend(more);
    }
    let mut text = serde_json::to_vec_pretty(&metrics)?;
    text.push(b'\n');
    files::write(&job.out.join("metrics.json"), &text)?;
    Ok(metrics)
}

/// For people to read; and a number this short passes through JSON unchanged.
fn six_decimals(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// What the default thresholds do to the test images.
fn triage(
    thresholds: &Thresholds,
    measures: &[Measures<MAX_CLASSES>],
    test: &Dataset,
) -> serde_json::Value {
    let (mut accepted, mut correct) = (0usize, 0usize);
    for (index, measures) in measures.iter().enumerate() {
        if thresholds
            .judge(measures, &test.statistics(index))
            .is_empty()
        {
            accepted += 1;
            correct += usize::from(measures.class == usize::from(test.labels[index]));
        }
    }
    json!({
        "flagged": six_decimals(1.0 - accepted as f64 / measures.len().max(1) as f64),
        "accuracy_accepted": six_decimals(correct as f64 / accepted.max(1) as f64),
    })
}
