use std::path::Path;

use prost::Message as _;

use super::library::environment;
use super::*;
use crate::engine::Engine as _;

/// A network whose head works out shapes from the number of passes.
fn model() -> Model {
    let fixture = "../tests/fixtures/pytorch/convolutional.legacy17.onnx";
    Model::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join(fixture)).expect("a model")
}

fn logits(engine: &mut OrtEngine, passes: u32) -> Vec<f32> {
    let input: Vec<f32> = (0..engine.input_shape().len())
        .map(|i| (i % 7) as f32 / 3.0 - 1.0)
        .collect();
    let mut logits = vec![0.0; passes as usize * engine.classes()];
    engine.begin(5, &input).expect("begun");
    engine.sample(0..passes, &mut logits).expect("sampled");
    logits
}

/// As on a GPU, but on the processor.
#[test]
fn batches_of_one_size_give_the_same_passes() {
    let model = model();
    let mut free = OrtEngine::new(&model, 8, 3).expect("onnxruntime runs it");
    let fixed = |batch| {
        let prepare = || Ort::prepare(&model, &Place::default(), Some(batch));
        OrtEngine::with_runtime(&model, batch, 3, prepare).expect("onnxruntime runs it")
    };
    for (batch, passes) in [(8, 8), (8, 21), (5, 3), (1, 4)] {
        let expected = logits(&mut free, passes);
        assert!(expected.iter().any(|&logit| logit != expected[0]));
        for (a, b) in expected.iter().zip(logits(&mut fixed(batch), passes)) {
            assert!(
                (a - b).abs() < 1e-5,
                "{passes} in batches of {batch}: {a} and {b}"
            );
        }
    }
    // More passes at once than a batch holds, with masks given.
    let mut engine = fixed(4);
    let classes = engine.classes();
    let mut all = vec![0.0; 10 * classes];
    logits(&mut engine, 1);
    let given = &mut |_: usize, mask: &mut [f32]| mask.fill(1.0);
    crate::engine::GivenMasks::sample_given(&mut engine, 10, given, &mut all).expect("sampled");
    for row in all.chunks(classes) {
        for (a, b) in row.iter().zip(&all) {
            assert!((a - b).abs() < 1e-5, "the same masks, but {a} and {b}");
        }
    }
}

/// What a provider is prevented from by: the library has to know the option, whose name it does not
/// check.
#[test]
fn without_the_processor_a_part_that_nothing_else_takes_is_refused() {
    let session = Session::builder(environment().expect("onnxruntime is installed"))
        .expect("a builder")
        .with_disable_cpu_fallback()
        .expect("an option")
        .commit_from_memory(&model().head().encode_to_vec());
    let error = session.expect_err("refused").to_string();
    assert!(error.contains("CPU EP"), "{error}");
}

#[test]
fn a_provider_that_the_library_has_not_is_an_error() {
    let options = |provider| OrtOptions {
        provider: Some(provider),
        engine_cache: None,
    };
    let has = providers().expect("onnxruntime is installed");
    assert!(has.contains(&Provider::Cpu));
    for provider in Provider::ALL {
        let engine = OrtEngine::with_options(&model(), 8, 3, 1, &options(provider));
        if provider == Provider::Cpu {
            assert_eq!(engine.expect("the processor").name(), "ort");
        } else if !has.contains(&provider) {
            let error = engine.expect_err("not in the library").to_string();
            assert!(
                error.contains(provider.as_str()) && error.contains("has only: cpu"),
                "{error}"
            );
        }
    }
}
