//! What is measured on the trained network, and the files that it leaves.

use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};
use shared::image::Normalisation;
use shared::triage::{Evidence, Thresholds};

use super::images::{Images, luma};
use super::sampling::{Sampled, Sampling, TestResult, measures};
use super::trainer::Trainer;
use super::{Job, Progress, selection, temperature};
use crate::data::{Dataset, Purpose, Random};
use crate::evaluate::calibration::Calibration;
use crate::evaluate::ranking::Ranking;
use crate::evaluate::selective::aurc;
use crate::lenet::{Network, TrainedModel};
use crate::{calibrate, export, files, torch};

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
    let sampling = Sampling {
        passes: job.passes,
        threads: job.threads,
        stop,
        progress,
    };
    let mut model = TrainedModel {
        architecture: *network.architecture(),
        parameters: network.parameters()?,
        labels: data.train.class_names.clone(),
        normalisation: data.normalisation,
        seed: recipe.seed,
        thresholds: None,
        calibration: None,
        training: None,
    };
    let (thresholds, validation) = if data.validation.is_empty() {
        // Images that the network was trained on, for want of others.
        let mut chosen =
            Random::new(recipe.seed, Purpose::Calibration, 0).permutation(data.train.len());
        chosen.truncate(job.calibration_images);
        let sampled = sampling.measure("thresholds", &model, &data.train, &chosen)?;
        let thresholds = thresholds(&sampled, job.flag_rate);
        (thresholds, None)
    } else {
        let scale = recipe.temperature_scaling;
        let found = validate(&sampling, &model, &data.validation, scale, job.flag_rate)?;
        model.scale_temperature(found.temperature);
        (found.thresholds, Some(found.figures))
    };

    let mut test = selection::test(recipe, &model.labels)?;
    test.truncate(job.limit_test.unwrap_or(usize::MAX));
    let indices: Vec<u32> = (0..test.len() as u32).collect();
    let sampled = sampling.measure("mc-dropout test", &model, &test, &indices)?;
    let mc_dropout = TestResult::mc_dropout(&sampled, &test.labels);
    let network = Network::from_parameters(model.architecture, &model.parameters, job.device)?;
    let pixels = luma(&test)?;
    let test_images = Images::new(&pixels, &test.labels, data.normalisation, job.device);
    let standard = TestResult::standard(&network, &test_images, &test.labels)?;
    let triage = triage(&thresholds, &sampled, &test.labels);

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
    model.thresholds = Some(thresholds);
    model.training = Some(training.clone());
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

/// What validation images say about a network.
struct Validation {
    /// What its logits are to be divided by.
    temperature: f64,
    thresholds: Thresholds,
    /// How good it is on them, at this temperature.
    figures: Value,
}

/// Temperature (1 unless it is to `scale`), thresholds and figures from images that were kept out
/// of training.
fn validate(
    sampling: &Sampling,
    model: &TrainedModel,
    data: &Dataset,
    scale: bool,
    flag_rate: f64,
) -> anyhow::Result<Validation> {
    let (classes, labels) = (model.architecture.classes, &data.labels);
    let indices: Vec<u32> = (0..data.len() as u32).collect();
    let (logits, statistics): (Vec<_>, Vec<_>) = sampling
        .sample("validation", model, data, &indices, |logits, statistics| {
            Ok((logits.to_vec(), *statistics))
        })?
        .into_iter()
        .unzip();
    let mut logits = logits.concat();
    let nll =
        |temperature| temperature::negative_log_likelihood(&logits, classes, labels, temperature);
    let temperature = if scale {
        six_decimals(temperature::fit(&logits, classes, labels))
    } else {
        1.0
    };
    let (unscaled, scaled) = (nll(1.0), nll(temperature));
    for logit in &mut logits {
        *logit = (f64::from(*logit) / temperature) as f32;
    }
    let measures = logits
        .chunks_exact(sampling.passes as usize * classes)
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
    let (calibration, once) = (
        Calibration::new(&confidence, &correct),
        vec![1; correct.len()],
    );
    let figures = json!({
        "images": data.len(),
        "temperature": temperature,
        "nll_before_scaling": six_decimals(unscaled),
        "nll": six_decimals(scaled),
        "accuracy": six_decimals(right as f64 / correct.len() as f64),
        "ece": six_decimals(calibration.expected_error(&once)),
        "aurc": six_decimals(aurc(&Ranking::new(&entropy, &wrong).all())),
    });
    Ok(Validation {
        temperature,
        thresholds: thresholds(
            &measures.into_iter().zip(statistics).collect::<Vec<_>>(),
            flag_rate,
        ),
        figures,
    })
}

/// Default thresholds from what was found about images.
fn thresholds(sampled: &[Sampled], flag_rate: f64) -> Thresholds {
    let frames: Vec<_> = sampled
        .iter()
        .map(|(measures, statistics)| Evidence::new(measures, statistics))
        .collect();
    calibrate::usual(&frames, &frames, flag_rate)
}

/// For people to read; and a number this short passes through JSON unchanged.
fn six_decimals(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// What the default thresholds do to the test images.
fn triage(thresholds: &Thresholds, sampled: &[Sampled], labels: &[u16]) -> Value {
    let (mut accepted, mut correct) = (0usize, 0usize);
    for ((measures, statistics), label) in sampled.iter().zip(labels) {
        if thresholds.judge(measures, statistics).is_empty() {
            accepted += 1;
            correct += usize::from(measures.class == usize::from(*label));
        }
    }
    json!({
        "flagged": six_decimals(1.0 - accepted as f64 / sampled.len().max(1) as f64),
        "accuracy_accepted": six_decimals(correct as f64 / accepted.max(1) as f64),
    })
}
