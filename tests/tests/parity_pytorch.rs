//! Models as PyTorch itself exports them give what PyTorch computes, pass by pass, on every engine.
//!
//! The fixtures are written by `scripts/fixtures`. Their masks come from an implementation apart
//! from `shared::mask`, and PyTorch applied them, so that agreement covers masks, scaling,
//! BatchNorm, the cut into stem and head, and the batching of passes at once.

use std::path::{Path, PathBuf};

use device::engine::native::{Level, NativeEngine, Plan};
use device::engine::ort::OrtEngine;
use device::engine::proof::prove;
use device::engine::tract::TractEngine;
use device::engine::{Engine, GivenMasks};
use device::onnx::{Liveness, Model};

/// Largest difference of a logit between two engines, or from PyTorch.
const TOLERANCE: f32 = 1e-4;

const NETWORKS: [&str; 6] = [
    "convolutional",
    "perceptron",
    "residual",
    "sequential",
    "averaged",
    "spatial",
];
/// Those that the native engine has all layers of.
const NATIVE: [&str; 3] = ["sequential", "averaged", "spatial"];

struct Reference {
    network: String,
    seed: u64,
    frame: u32,
    passes: u32,
    input: Vec<f32>,
    without_dropout: Vec<f32>,
    logits: Vec<f32>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pytorch")
}

fn references() -> Vec<Reference> {
    let found = NETWORKS.map(|network| {
        let text =
            std::fs::read_to_string(folder().join(format!("{network}.json"))).expect("fixture");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let integer = |key: &str| json[key].as_u64().expect("a number");
        let floats = |key: &str| -> Vec<f32> {
            let values = json[key].as_array().expect("a list");
            values
                .iter()
                .map(|v| v.as_f64().expect("a number") as f32)
                .collect()
        };
        Reference {
            network: network.into(),
            seed: integer("seed"),
            frame: integer("frame") as u32,
            passes: integer("passes") as u32,
            input: floats("input"),
            without_dropout: floats("without_dropout"),
            logits: floats("logits"),
        }
    });
    found.into()
}

/// The exports of one network: file name and model.
fn exports(network: &str) -> Vec<(String, Model)> {
    let entries = std::fs::read_dir(folder()).expect("fixtures");
    let mut found: Vec<(String, Model)> = entries
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "onnx"))
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.to_owned();
            let model = name.starts_with(network).then(|| Model::load(&path))?;
            Some((name, model.unwrap_or_else(|e| panic!("{e}"))))
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(found.len() >= 2, "{network}: the fixtures are incomplete");
    found
}

/// Engines for blocks of 16 passes: the last of 40 passes are a block of 8.
fn engines(model: &Model, seed: u64) -> Vec<Box<dyn Engine<Error = device::engine::EngineError>>> {
    let ort = OrtEngine::new(model, 16, seed).unwrap_or_else(|e| panic!("{e}"));
    let tract = TractEngine::new(model, 16, seed).unwrap_or_else(|e| panic!("{e}"));
    let mut engines: Vec<Box<dyn Engine<Error = _>>> = vec![Box::new(tract), Box::new(ort)];
    if let Ok(plan) = Plan::from_model(model) {
        for level in Level::available() {
            let native = NativeEngine::new(plan.clone(), level, seed, 1);
            engines.push(Box::new(native.unwrap_or_else(|e| panic!("{e}"))));
        }
    }
    engines
}

#[test]
fn the_native_engine_takes_sequences_and_names_what_it_lacks() {
    for network in NETWORKS {
        for (name, model) in exports(network) {
            match Plan::from_model(&model) {
                Ok(_) => assert!(NATIVE.contains(&network), "{name} fits"),
                Err(error) => {
                    assert!(!NATIVE.contains(&network), "{name}: {error}");
                    let message = error.to_string();
                    assert!(
                        message.starts_with("layer ") && message.contains("does not fit"),
                        "{message}"
                    );
                }
            }
        }
    }
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

#[test]
fn every_pass_is_what_pytorch_computes_with_the_same_masks() {
    for reference in references() {
        for (name, model) in exports(&reference.network) {
            assert_eq!(reference.input.len(), model.input_shape().len(), "{name}");
            for mut engine in engines(&model, reference.seed) {
                let mut logits = vec![0.0; reference.logits.len()];
                engine
                    .begin(reference.frame, &reference.input)
                    .expect("stem");
                engine
                    .sample(0..reference.passes, &mut logits)
                    .expect("head");
                let difference = largest_difference(&logits, &reference.logits);
                assert!(
                    difference < TOLERANCE,
                    "{name} on {}: {difference}",
                    engine.name()
                );
                // The passes are not the network without dropout in disguise.
                let classes = engine.classes();
                let plain =
                    |row: &[f32]| largest_difference(row, &reference.without_dropout) > TOLERANCE;
                assert!(
                    logits.chunks(classes).all(plain),
                    "{name} on {}",
                    engine.name()
                );
            }
        }
    }
}

#[test]
fn engines_agree_pass_by_pass_and_repeat_themselves() {
    for reference in references() {
        for (name, model) in exports(&reference.network) {
            let mut of_each = Vec::new();
            for mut engine in engines(&model, 99) {
                let mut replay = || {
                    let mut logits = vec![0.0; 3 * 40 * engine.classes()];
                    for (frame, logits) in logits.chunks_mut(40 * engine.classes()).enumerate() {
                        engine.begin(frame as u32, &reference.input).expect("stem");
                        engine.sample(0..40, logits).expect("head");
                    }
                    logits
                };
                let (first, second) = (replay(), replay());
                let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&first), bits(&second), "{name} on {}", engine.name());
                of_each.push(first);
            }
            for other in &of_each[1..] {
                let difference = largest_difference(&of_each[0], other);
                assert!(difference < TOLERANCE, "{name}: {difference}");
            }
        }
    }
}

#[test]
fn passes_do_not_depend_on_the_block_they_run_in() {
    for reference in references() {
        for (name, model) in exports(&reference.network) {
            for tract in [false, true] {
                let sample = |block: usize| {
                    let mut engine: Box<dyn Engine<Error = _>> = if tract {
                        Box::new(TractEngine::new(&model, block, 5).expect("tract"))
                    } else {
                        Box::new(OrtEngine::new(&model, block, 5).expect("ort"))
                    };
                    let mut logits = vec![0.0; 40 * engine.classes()];
                    engine.begin(3, &reference.input).expect("stem");
                    engine.sample(0..40, &mut logits).expect("head");
                    logits
                };
                let alone = sample(1);
                for block in [7, 32, 40, 64] {
                    let difference = largest_difference(&alone, &sample(block));
                    assert!(difference < 1e-5, "{name}, blocks of {block}: {difference}");
                }
            }
        }
    }
}

#[test]
fn every_export_is_proven_live_on_every_engine() {
    for network in NETWORKS {
        for (name, model) in exports(network) {
            let tract = TractEngine::new(&model, 64, 1).expect("tract");
            let ort = OrtEngine::new(&model, 64, 1).expect("ort");
            let engines: [Box<dyn GivenMasks>; 2] = [Box::new(tract), Box::new(ort)];
            for mut engine in engines {
                let proof = prove(&model, engine.as_mut(), 11);
                let proof = proof.unwrap_or_else(|e| panic!("{name} on {}: {e}", engine.name()));
                let names: Vec<&String> = proof.sites.iter().map(|site| &site.name).collect();
                assert!(
                    names
                        .iter()
                        .eq(&model.sites().iter().map(|s| &s.name).collect::<Vec<_>>())
                );
            }
        }
    }
}

#[test]
fn sites_are_those_of_the_source() {
    for (network, ratios) in [
        ("convolutional", &[0.5, 0.3, 0.5][..]),
        ("perceptron", &[0.1, 0.25]),
        ("residual", &[0.2, 0.5]),
        ("sequential", &[0.25, 0.5, 0.4]),
        ("averaged", &[0.3, 0.5]),
        ("spatial", &[0.4, 0.5, 0.3]),
    ] {
        for (name, model) in exports(network) {
            let found: Vec<f32> = model.sites().iter().map(|site| site.ratio).collect();
            assert_eq!(found, ratios, "{name}");
            let before_opset_12 = model.opset() < 12;
            for site in model.sites() {
                let expected = if before_opset_12 {
                    Liveness::OpsetWithoutTrainingMode
                } else if site.shape.len() == 3 && network == "spatial" {
                    Liveness::OwnRandomNumbers
                } else {
                    Liveness::TrainingMode
                };
                assert_eq!(site.why, expected, "{name}");
            }
            assert!(model.idle_dropouts().is_empty(), "{name}");
        }
    }
}

#[test]
fn dropout2d_drops_whole_channels() {
    for (name, model) in exports("spatial") {
        let shapes: Vec<&[usize]> = model.sites().iter().map(|s| s.shape.as_slice()).collect();
        assert_eq!(shapes, [&[6, 1, 1][..], &[8, 1, 1], &[16]], "{name}");
        let names: Vec<&str> = model.sites().iter().map(|s| s.name.as_str()).collect();
        assert!(names[0] != names[1], "{name}: {names:?}");
    }
}
