//! A model as a plan file, for microcontrollers.

use anyhow::Context;
use device::engine::micro::{About, Ranges};
use device::engine::native::Plan;
use device::inference::MAX_CHANNELS;
use device::onnx::Model;
use device::session::normalisations;
use shared::image::{Fit, GrayFrame, Normalisation, resize};
use shared::stopping::Delta;
use shared::triage::Thresholds;

use crate::data::{Dataset, SIDE};

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
    let normalisation = normalisations(model)?;
    let about = About {
        model: model.crc32(),
        seed: metadata.seed,
        passes: settings.passes,
        adaptive: settings.adaptive,
        thresholds: metadata
            .thresholds
            .unwrap_or_else(|| Thresholds::uncalibrated(model.classes())),
        normalisation,
        labels: metadata.labels.clone(),
    };
    let plan = Plan::from_model(model)?;
    let Some(images) = &settings.images else {
        return Ok(plan.to_file(&about)?);
    };
    let mut ranges = Ranges::new(plan, about)?;
    for index in 0..images.len() {
        let input = input(model, &normalisation, images.image(index))
            .with_context(|| format!("image {index}"))?;
        ranges.meet(&input, PASSES);
    }
    Ok(ranges.to_file()?)
}

/// An image as the model reads it.
fn input(
    model: &Model,
    normalisation: &[Normalisation; MAX_CHANNELS],
    pixels: &[u8],
) -> anyhow::Result<Vec<f32>> {
    let shape = model.input_shape();
    let picture = GrayFrame::new(SIDE, SIDE, SIDE, pixels)?;
    let mut luma = vec![0.0; shape.height * shape.width];
    resize(
        &picture,
        None,
        Fit::default(),
        shape.width,
        shape.height,
        &mut luma,
    )?;
    let mut input = vec![0.0; shape.len()];
    for (channel, normalisation) in input.chunks_exact_mut(luma.len()).zip(normalisation) {
        normalisation.apply(&luma, channel);
    }
    Ok(input)
}
