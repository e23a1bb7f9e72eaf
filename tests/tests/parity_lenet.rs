//! One model, three engines, the same masks: libtorch, tract and onnxruntime agree pass by pass,
//! and a frame replayed gives the same bits.

use device::engine::Engine;
use device::engine::ort::OrtEngine;
use device::engine::tract::TractEngine;
use device::onnx::Model;
use host::data::{Dataset, DatasetName, Split};
use host::lenet::{LibtorchEngine, TrainedModel};

const DIGITS: u32 = 200;
const PASSES: u32 = 100;
const CLASSES: usize = 10;
const BLOCK: usize = 100;
/// Largest difference of a logit between two engines.
const TOLERANCE: f32 = 1e-4;

fn input(digits: &Dataset, index: u32, model: &TrainedModel) -> Vec<f32> {
    let luma: Vec<f32> = digits
        .image(index as usize)
        .iter()
        .map(|&pixel| f32::from(pixel) / 255.0)
        .collect();
    let mut input = vec![0.0; luma.len()];
    model.normalisation.apply(&luma, &mut input);
    input
}

fn logits<E: Engine>(engine: &mut E, frame: u32, input: &[f32]) -> Vec<f32> {
    let mut logits = vec![0.0; PASSES as usize * CLASSES];
    let done = engine
        .begin(frame, input)
        .and_then(|()| engine.sample(0..PASSES, &mut logits));
    assert!(done.is_ok(), "{} fails", engine.name());
    logits
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

#[track_caller]
fn agree(one: &[f32], other: &[f32], what: &str, frame: u32) -> f32 {
    assert_eq!(one.len(), other.len());
    let mut largest = 0.0f32;
    for (index, (a, b)) in one.iter().zip(other).enumerate() {
        let difference = (a - b).abs();
        assert!(
            difference <= TOLERANCE,
            "{what}: frame {frame} pass {} class {}: {a} and {b}",
            index / CLASSES,
            index % CLASSES
        );
        largest = largest.max(difference);
    }
    largest
}

#[test]
fn engines_agree_pass_by_pass_and_replay_to_the_bit() {
    let folder = tests::model::folder();
    let trained = TrainedModel::load(&folder.join("model.safetensors")).expect("trained");
    let model = Model::load(&folder.join("model.onnx")).expect("exported");
    let seed = model.metadata().seed;
    assert_eq!(seed, trained.seed);
    let digits = DatasetName::Mnist
        .load(Split::Test)
        .expect("MNIST is installed");

    // One frame is too little work to share; threads that wait for each other would only spin.
    tch::set_num_threads(1);
    let mut libtorch = LibtorchEngine::new(&trained, seed).expect("libtorch runs it");
    let mut tract = TractEngine::new(&model, BLOCK, seed).expect("tract runs it");
    let mut onnxruntime = OrtEngine::new(&model, BLOCK, seed).expect("onnxruntime runs it");
    let (mut largest, mut first) = (0.0f32, None);
    for frame in 0..DIGITS {
        let input = input(&digits, frame, &trained);
        let reference = logits(&mut libtorch, frame, &input);
        let from_tract = logits(&mut tract, frame, &input);
        let from_ort = logits(&mut onnxruntime, frame, &input);
        assert_ne!(
            reference[..CLASSES],
            reference[CLASSES..2 * CLASSES],
            "passes of frame {frame} do not differ: dropout is off"
        );
        largest = largest
            .max(agree(&reference, &from_tract, "libtorch and tract", frame))
            .max(agree(
                &reference,
                &from_ort,
                "libtorch and onnxruntime",
                frame,
            ))
            .max(agree(
                &from_tract,
                &from_ort,
                "tract and onnxruntime",
                frame,
            ));
        if frame == 0 {
            first = Some([reference, from_tract, from_ort]);
        }
    }
    println!("largest difference of a logit: {largest:e}");

    // The first frame again, after 199 others.
    let input = input(&digits, 0, &trained);
    let again = [
        logits(&mut libtorch, 0, &input),
        logits(&mut tract, 0, &input),
        logits(&mut onnxruntime, 0, &input),
    ];
    for (before, after) in first.expect("200 frames ran").iter().zip(&again) {
        assert_eq!(bits(before), bits(after));
    }
    // Another frame number draws other masks for the same picture.
    assert_ne!(bits(&again[1]), bits(&logits(&mut tract, 1, &input)));
}
