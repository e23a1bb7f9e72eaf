//! One model, the same masks: libtorch, tract, onnxruntime and the native engine, with every set of
//! instructions that this machine has, agree pass by pass, and a frame replayed gives the same bits.

use device::engine::Engine;
use device::engine::native::{Level, NativeEngine, Plan};
use device::engine::ort::OrtEngine;
use device::engine::tract::TractEngine;
use device::onnx::Model;
use device::session::AnyEngine;
use host::data::{Dataset, DatasetName, Split};
use host::lenet::{LibtorchEngine, TrainedModel};

const DIGITS: u32 = 200;
const PASSES: u32 = 100;
const CLASSES: usize = 10;
const BLOCK: usize = 100;
/// Largest difference of a logit between two engines.
const TOLERANCE: f32 = 1e-4;
/// And between the native engine's own levels, relative to logits above 1.
const NATIVE_TOLERANCE: f32 = 1e-5;

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
fn agree(one: &[f32], other: &[f32], tolerance: f32, what: &str, frame: u32) -> f32 {
    assert_eq!(one.len(), other.len());
    let mut largest = 0.0f32;
    for (index, (a, b)) in one.iter().zip(other).enumerate() {
        let difference = (a - b).abs();
        assert!(
            difference <= tolerance * a.abs().max(1.0),
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
    let plan = Plan::from_model(&model).expect("the native engine has all its layers");
    let mut engines: Vec<(String, AnyEngine)> = vec![
        (
            "libtorch".into(),
            Box::new(LibtorchEngine::new(&trained, seed).expect("libtorch runs it")),
        ),
        (
            "tract".into(),
            Box::new(TractEngine::new(&model, BLOCK, seed).expect("tract runs it")),
        ),
        (
            "onnxruntime".into(),
            Box::new(OrtEngine::new(&model, BLOCK, seed).expect("onnxruntime runs it")),
        ),
    ];
    for level in Level::available() {
        let engine = NativeEngine::new(plan.clone(), level, seed, 1).expect("no thread to start");
        engines.push((format!("native ({})", level.name()), Box::new(engine)));
    }
    let (mut largest, mut first) = (0.0f32, Vec::new());
    for frame in 0..DIGITS {
        let input = input(&digits, frame, &trained);
        let all: Vec<Vec<f32>> = engines
            .iter_mut()
            .map(|(_, engine)| logits(engine, frame, &input))
            .collect();
        assert_ne!(
            all[0][..CLASSES],
            all[0][CLASSES..2 * CLASSES],
            "passes of frame {frame} do not differ: dropout is off"
        );
        for (i, one) in all.iter().enumerate() {
            for (j, other) in all.iter().enumerate().skip(i + 1) {
                let what = format!("{} and {}", engines[i].0, engines[j].0);
                let native = [i, j].iter().all(|&k| engines[k].0.starts_with("native"));
                let tolerance = if native { NATIVE_TOLERANCE } else { TOLERANCE };
                largest = largest.max(agree(one, other, tolerance, &what, frame));
            }
        }
        if frame == 0 {
            first = all;
        }
    }
    println!("largest difference of a logit: {largest:e}");

    // The first frame again, after 199 others.
    let input_0 = input(&digits, 0, &trained);
    for ((name, engine), before) in engines.iter_mut().zip(&first) {
        let again = logits(engine, 0, &input_0);
        assert_eq!(bits(before), bits(&again), "{name}");
        // Another frame number draws other masks for the same picture.
        assert_ne!(bits(&again), bits(&logits(engine, 1, &input_0)), "{name}");
    }
}
