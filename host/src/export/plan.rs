//! A model as a plan file, for microcontrollers.

use anyhow::Context;
use device::engine::micro::{About, Ranges};
use device::engine::native::Plan;
use device::onnx::Model;
use device::preprocessing::Preparer;
use shared::stopping::Delta;
use shared::triage::Thresholds;

use crate::data::Dataset;

/// Passes in which each image is met to find what eight bits are scaled by.
const PASSES: u32 = 8;

/// How a plan is to be run, and what it is scaled by.
#[derive(Debug, Clone)]
pub struct PlanExport {
    /// Stochastic passes per frame, at least 1; with `adaptive`, at most.
    pub passes: u32,
    /// Stop when the decision is settled, with this probability to differ from that of all passes.
    pub adaptive: Option<Delta>,
    /// Eight bits, scaled by these images; single precision if `None`.
    pub images: Option<Dataset>,
}

/// The bytes of a plan file. Thresholds, labels, normalisation and seed are those of the model.
///
/// # Errors
/// The model does not fit the device's own engines, or eight bits, or a plan file.
pub fn to_plan(model: &Model, settings: &PlanExport) -> anyhow::Result<Vec<u8>> {
    let metadata = model.metadata();
    let preprocessing = metadata
        .preprocessing
        .context("the model does not say what becomes of a picture: see host adopt")?;
    let preprocessing = model.scaled(preprocessing);
    let about = About {
        model: model.crc32(),
        seed: metadata.seed,
        passes: settings.passes,
        adaptive: settings.adaptive,
        thresholds: metadata
            .thresholds
            .unwrap_or_else(|| Thresholds::uncalibrated(model.classes())),
        preprocessing,
        labels: metadata.labels.clone(),
    };
    let plan = Plan::from_model(model)?;
    let Some(images) = &settings.images else {
        return Ok(plan.to_file(&about)?);
    };
    let mut preparer = Preparer::new(preprocessing, model.input_shape());
    let mut ranges = Ranges::new(plan, about)?;
    for index in 0..images.len() {
        let picture = images.frame(index, preprocessing.pixel_format())?;
        let input = preparer
            .prepare(&picture.view()?)
            .with_context(|| format!("image {index}"))?;
        ranges.meet(input, PASSES);
    }
    Ok(ranges.to_file()?)
}
