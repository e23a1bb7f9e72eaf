//! Models of every form, made here; those that PyTorch exports are tested in the `tests` package.

#![allow(clippy::unwrap_used)]

mod bad;
mod bernoulli;
mod build;
mod external;
mod forms;
mod graphs;
mod inputs;
mod metadata;
mod outputs;

use super::{Model, OnnxError};
use crate::engine::Engine as _;
use crate::engine::tract::{StandardEngine, TractEngine};
use build::Build;

const SEED: u64 = 7;
const FRAME: u32 = 3;
const PASSES: u32 = 40;

#[track_caller]
fn load(build: &Build) -> Model {
    Model::from_bytes(&build.bytes()).unwrap_or_else(|e| panic!("{e}"))
}

/// The message that the model is refused with.
#[track_caller]
fn refusal(build: &Build) -> String {
    refusal_of(Model::from_bytes(&build.bytes()))
}

#[track_caller]
fn refusal_of(result: Result<Model, OnnxError>) -> String {
    let message = result
        .map(|_| ())
        .expect_err("this model has to be refused")
        .to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

/// Logits of `PASSES` passes over `input`, in blocks that leave a remainder.
#[track_caller]
fn sample(model: &Model, input: &[f32]) -> Vec<Vec<f32>> {
    let mut engine = TractEngine::new(model, 16, SEED).unwrap_or_else(|e| panic!("{e}"));
    let mut logits = vec![0.0; PASSES as usize * model.classes()];
    engine.begin(FRAME, input).unwrap_or_else(|e| panic!("{e}"));
    engine
        .sample(0..PASSES, &mut logits)
        .unwrap_or_else(|e| panic!("{e}"));
    logits
        .chunks(model.classes())
        .map(<[f32]>::to_vec)
        .collect()
}

/// Logits without dropout.
#[track_caller]
fn standard(model: &Model, input: &[f32]) -> Vec<f32> {
    let mut engine = StandardEngine::new(model).unwrap_or_else(|e| panic!("{e}"));
    let mut logits = vec![0.0; 2 * model.classes()];
    assert!(engine.sample(0..2, &mut logits).is_err(), "no frame yet");
    engine.begin(FRAME, input).unwrap_or_else(|e| panic!("{e}"));
    assert!(engine.sample(0..1, &mut logits).is_err(), "too long");
    engine
        .sample(0..2, &mut logits)
        .unwrap_or_else(|e| panic!("{e}"));
    let (first, second) = logits.split_at(model.classes());
    assert_eq!(first, second);
    first.to_vec()
}

/// The mask of a site in one pass, as 0 or 1 over (1 − ratio).
fn scaled_mask(model: &Model, site: usize, pass: u32) -> Vec<f32> {
    let masks = shared::mask::MaskSource::new(SEED);
    let which = &model.sites()[site];
    (0..which.elements() as u32)
        .map(|e| masks.keep(FRAME, pass, site as u32, e, which.keep))
        .map(|kept| if kept { which.scale() } else { 0.0 })
        .collect()
}

#[track_caller]
fn assert_close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * (1.0 + b.abs());
    assert!(a.iter().zip(b).all(close), "{a:?} is not {b:?}");
}
