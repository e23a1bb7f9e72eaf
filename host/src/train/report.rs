//! What is measured on the trained network, and the files that it leaves.

use std::sync::atomic::AtomicBool;

use anyhow::Context;
use serde_json::{Value, json};
use shared::image::{FrameStatistics, Normalisation};
use shared::mask::MaskSource;
use shared::triage::Thresholds;
use shared::uncertainty::Measures;

use super::images::Images;
use super::sampling::{Sampling, TestResult, measures};
use super::thresholds::default_thresholds;
use super::trainer::Trainer;
use super::{Job, MAX_CLASSES, Progress, temperature};
use crate::data::{Dataset, DatasetName, Purpose, Random, SIDE, Split};
use crate::evaluate::{calibration, ranking};
use crate::lenet::{Network, TrainedModel};
use crate::{export, files, torch};

/// What a run may look at before its test.
pub(super) struct Data {
    pub(super) train: Dataset,
    /// Kept out of training; may be empty.
    pub(super) validation: Dataset,
    pub(super) normalisation: Normalisation,
}

/// Measures the trained network and writes the results.
pub(super) fn report(
    job: &Job,
    trainer: &Trainer,
    data: &Data,
    seconds: f64,
    stop: &AtomicBool,
    progress: &dyn Progress,
) -> anyhow::Result<Value> {
    let (network, recipe) = (trainer.network(), trainer.recipe());
    let keep = network.architecture().keep();
    let phase = Phase {
        job,
        sampling: Sampling {
            passes: job.passes,
            masks: MaskSource::new(recipe.seed),
            keep: keep.context("a dropout is not in 0..1")?,
            device: job.device,
            threads: job.threads,
        },
        normalisation: data.normalisation,
        stop,
        progress,
    };
    let (network, thresholds, validation) = if data.validation.is_empty() {
        let thresholds = phase.thresholds_of_training(&network, &data.train, recipe.seed)?;
        (network, thresholds, None)
    } else {
        let found = phase.validate(&network, &data.validation, recipe.temperature_scaling)?;
        let network = network.at_temperature(found.temperature);
        (network, found.thresholds, Some(found.figures))
    };

    let name: DatasetName = recipe.dataset.parse()?;
    let mut test = name.load(Split::Test)?;
    test.truncate(job.limit_test.unwrap_or(usize::MAX));
    let test_images = Images::new(&test, data.normalisation, job.device);
    progress.begin("mc-dropout test", test.len() as u64, 0);
    let indices: Vec<u32> = (0..test.len() as u32).collect();
    let advance = |units| progress.advance(units);
    let measures = phase
        .sampling
        .measure(&network, &test_images, &indices, stop, &advance)?;
    let mc_dropout = TestResult::mc_dropout(&measures, &test.labels);
    let standard = TestResult::standard(&network, &test_images, &test.labels)?;
    let triage = triage(&thresholds, &measures, &test);

    // What lies in the model does not depend on the clock, so that equal runs give equal files.
    let scale = recipe.prior_length_scale(data.train.len());
    let mut training = json!({
        "recipe": recipe,
        "images": data.train.len(),
        "prior_length_scale": scale.map(|scale| scale.map(six_decimals)),
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
    if let Some(validation) = validation {
        training["validation"] = validation;
    }
    let model = TrainedModel {
        architecture: *network.architecture(),
        parameters: network.parameters()?,
        labels: data.train.class_names.clone(),
        normalisation: data.normalisation,
        seed: recipe.seed,
        thresholds: Some(thresholds),
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
    if let (Some(metrics), Value::Object(more)) = (metrics.as_object_mut(), more) {
        metrics.extend(more);
    }
    let mut text = serde_json::to_vec_pretty(&metrics)?;
    text.push(b'\n');
    files::write(&job.out.join("metrics.json"), &text)?;
    Ok(metrics)
}

/// How images are measured.
struct Phase<'a> {
    job: &'a Job,
    sampling: Sampling,
    normalisation: Normalisation,
    stop: &'a AtomicBool,
    progress: &'a dyn Progress,
}

/// What validation images say about a network.
struct Validation {
    /// What its logits are to be divided by.
    temperature: f64,
    thresholds: Thresholds,
    /// How good it is on them, at this temperature.
    figures: Value,
}

impl Phase<'_> {
    /// Default thresholds from images that the network was trained on, for want of others.
    fn thresholds_of_training(
        &self,
        network: &Network,
        train: &Dataset,
        seed: u64,
    ) -> anyhow::Result<Thresholds> {
        let mut chosen = Random::new(seed, Purpose::Calibration, 0).permutation(train.len());
        chosen.truncate(self.job.calibration_images);
        let images = Images::new(train, self.normalisation, self.job.device);
        self.progress.begin("thresholds", chosen.len() as u64, 0);
        let advance = |units| self.progress.advance(units);
        let measures = self
            .sampling
            .measure(network, &images, &chosen, self.stop, &advance)?;
        Ok(self.thresholds(measures, train, &chosen))
    }

    /// Temperature, thresholds and figures from images that were kept out of training.
    fn validate(
        &self,
        network: &Network,
        validation: &Dataset,
        scale_temperature: bool,
    ) -> anyhow::Result<Validation> {
        let (images, labels) = (
            Images::new(validation, self.normalisation, self.job.device),
            &validation.labels,
        );
        let indices: Vec<u32> = (0..validation.len() as u32).collect();
        self.progress.begin("validation", indices.len() as u64, 0);
        let advance = |units| self.progress.advance(units);
        let classes = network.architecture().classes;
        let keep = |logits: &[f32]| {
            // Tells of logits that are not finite.
            measures(logits, classes)?;
            Ok(logits.to_vec())
        };
        let mut logits = self
            .sampling
            .sample(network, &images, &indices, self.stop, &advance, &keep)?
            .concat();
        let nll = |temperature| {
            temperature::negative_log_likelihood(&logits, classes, labels, temperature)
        };
        let raw = nll(1.0);
        let temperature = if scale_temperature {
            six_decimals(temperature::fit(&logits, classes, labels))
        } else {
            1.0
        };
        let scaled = nll(temperature);
        for logit in &mut logits {
            *logit = (f64::from(*logit) / temperature) as f32;
        }
        let measures = logits
            .chunks_exact(self.sampling.passes as usize * classes)
            .map(|image| measures(image, classes))
            .collect::<anyhow::Result<Vec<_>>>()?;

        let confidence: Vec<f64> = measures.iter().map(|m| m.confidence).collect();
        let entropy: Vec<f64> = measures.iter().map(|m| m.predictive_entropy).collect();
        let correct: Vec<bool> = measures
            .iter()
            .zip(labels)
            .map(|(measures, &label)| measures.class == usize::from(label))
            .collect();
        let wrong: Vec<bool> = correct.iter().map(|&correct| !correct).collect();
        let right = correct.iter().filter(|&&correct| correct).count();
        let figures = json!({
            "images": validation.len(),
            "temperature": temperature,
            "nll_before_scaling": six_decimals(raw),
            "nll": six_decimals(scaled),
            "accuracy": six_decimals(right as f64 / correct.len() as f64),
            "ece": six_decimals(calibration::expected_calibration_error(&confidence, &correct)),
            "aurc": six_decimals(ranking::aurc(&entropy, &wrong)),
        });
        Ok(Validation {
            temperature,
            thresholds: self.thresholds(measures, validation, &indices),
            figures,
        })
    }

    fn thresholds(
        &self,
        measures: Vec<Measures<MAX_CLASSES>>,
        data: &Dataset,
        indices: &[u32],
    ) -> Thresholds {
        let frames: Vec<_> = measures
            .into_iter()
            .zip(indices)
            .map(|(measures, &index)| (measures, statistics(data.image(index as usize))))
            .collect();
        default_thresholds(&frames, self.job.flag_rate)
    }
}

/// For people to read; and a number this short passes through JSON unchanged.
fn six_decimals(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

fn statistics(pixels: &[u8]) -> FrameStatistics {
    let luma: Vec<f32> = pixels
        .iter()
        .map(|&pixel| f32::from(pixel) / 255.0)
        .collect();
    FrameStatistics::measure(&luma, SIDE, SIDE)
}

/// What the default thresholds do to the test images.
fn triage(thresholds: &Thresholds, measures: &[Measures<MAX_CLASSES>], test: &Dataset) -> Value {
    let (mut accepted, mut correct) = (0usize, 0usize);
    for (index, measures) in measures.iter().enumerate() {
        if thresholds
            .judge(measures, &statistics(test.image(index)))
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
