//! The engine against the layers done one by one in `f64`, for every level.

use std::string::String;
use std::vec;
use std::vec::Vec;

use shared::mask::MaskSource;

pub(in crate::engine) mod networks;
pub(in crate::engine) mod reference;

use networks::{Builder, networks, numbers, random_network, window};
use reference::reference;

use super::layer::Layer;
use super::{Level, Native, NativeEngine, NativeError, Plan, Scratch};
use crate::engine::{CallError, Engine, EngineError};

const SEED: u64 = 11;
const PASSES: u32 = 37;

#[test]
fn networks_drawn_at_random_do_what_their_layers_say() {
    for seed in 0..300 {
        let network = random_network(seed);
        let plan = Plan::new(&network).unwrap_or_else(|error| panic!("{error}: {network:?}"));
        let input = numbers(network.input.len(), seed, true);
        for level in Level::available() {
            let mut engine = engine(&plan, level);
            assert_eq!(engine.begin(seed, &input), Ok(()));
            let got = logits(&mut engine, 30..34);
            for (pass, row) in (30..34).zip(got.chunks(engine.classes())) {
                let expected = reference(&network, seed, pass, &input);
                for (got, expected) in row.iter().zip(expected) {
                    let difference = (f64::from(*got) - expected).abs();
                    assert!(
                        difference <= 2e-5 * expected.abs().max(1.0),
                        "{}: {got}, not {expected}: {:?}",
                        level.name(),
                        network
                            .layers
                            .iter()
                            .map(|(_, layer)| layer.kind())
                            .collect::<Vec<_>>()
                    );
                }
            }
        }
    }
}

fn engine(plan: &Plan, level: Level) -> Native<'_, Vec<f32>, Vec<u32>> {
    let needed = plan.program().scratch(level);
    let scratch = Scratch {
        // What was there before must not matter.
        frame_values: vec![f32::NAN; needed.frame_values],
        frame_words: vec![u32::MAX; needed.frame_words],
        head_values: vec![f32::NAN; needed.head_values],
        head_words: vec![u32::MAX; needed.head_words],
    };
    Native::new(plan.program(), level, SEED, scratch).expect("the lengths are right")
}

fn logits<E: Engine>(engine: &mut E, passes: core::ops::Range<u32>) -> Vec<f32> {
    let mut logits = vec![f32::NAN; passes.len() * engine.classes()];
    let done = engine.sample(passes, &mut logits);
    assert!(done.is_ok());
    logits
}

#[test]
fn every_level_does_what_the_layers_say() {
    for (name, network) in networks() {
        let plan = Plan::new(&network).expect(name);
        for level in Level::available() {
            let mut engine = engine(&plan, level);
            for frame in 0..3 {
                let input = numbers(network.input.len(), frame, true);
                assert_eq!(engine.begin(frame, &input), Ok(()));
                let got = logits(&mut engine, 0..PASSES);
                for (pass, row) in (0..PASSES).zip(got.chunks(engine.classes())) {
                    let expected = reference(&network, frame, pass, &input);
                    assert_eq!(row.len(), expected.len(), "{name}");
                    for (got, expected) in row.iter().zip(expected) {
                        let difference = (f64::from(*got) - expected).abs();
                        assert!(
                            difference <= 1e-5 * expected.abs().max(1.0),
                            "{name}, {}: frame {frame} pass {pass}: {got}, not {expected}",
                            level.name()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_pass_does_not_depend_on_those_beside_it() {
    for (name, network) in networks() {
        let plan = Plan::new(&network).expect(name);
        let input = numbers(network.input.len(), 5, true);
        for level in Level::available() {
            let mut engine = engine(&plan, level);
            assert_eq!(engine.begin(9, &input), Ok(()));
            let all = logits(&mut engine, 0..PASSES);
            let classes = engine.classes();
            for range in [0..1, 15..18, 31..33, 3..PASSES, 36..PASSES, 7..7] {
                let part = logits(&mut engine, range.clone());
                let expected = &all[range.start as usize * classes..range.end as usize * classes];
                assert_eq!(part, expected, "{name}, {}: {range:?}", level.name());
            }
            for threads in [1, 2, 3, 8] {
                let mut threaded = NativeEngine::with_worth(plan.clone(), level, SEED, threads, 0)
                    .expect("threads start");
                assert!(threaded.begin(9, &input).is_ok());
                for range in [0..PASSES, 5..6, 17..30] {
                    let expected =
                        &all[range.start as usize * classes..range.end as usize * classes];
                    assert_eq!(
                        logits(&mut threaded, range),
                        expected,
                        "{name}, {threads} threads"
                    );
                }
            }
        }
    }
}

#[test]
fn calls_that_make_no_sense_are_refused() {
    let (_, network) = networks().swap_remove(2);
    let plan = Plan::new(&network).expect("it fits");
    let mut native = engine(&plan, Level::SCALAR);
    let mut row = [0.0; 3];
    assert_eq!(
        native.sample(0..1, &mut row),
        Err(CallError::NoFrame.into())
    );
    assert_eq!(
        native.begin(0, &[0.0; 5]),
        Err(CallError::InputLength {
            expected: 36,
            got: 5
        }
        .into())
    );
    assert_eq!(native.begin(0, &[0.0; 36]), Ok(()));
    assert_eq!(
        native.sample(0..2, &mut row),
        Err(CallError::LogitsLength {
            expected: 6,
            got: 3
        }
        .into())
    );
    let last = MaskSource::MAX_PASSES;
    assert_eq!(
        native.sample(last..last + 1, &mut row),
        Err(CallError::PassRange(last).into())
    );
    assert_eq!(native.sample(last - 1..last, &mut row), Ok(()));
    let short = Scratch {
        frame_values: vec![0.0; 3],
        frame_words: Vec::new(),
        head_values: Vec::new(),
        head_words: Vec::new(),
    };
    assert_eq!(
        Native::new(plan.program(), Level::SCALAR, 0, short).err(),
        Some(NativeError::Scratch)
    );
    let mut threaded = NativeEngine::new(plan, Level::SCALAR, 0, 2).expect("threads start");
    assert!(matches!(
        threaded.sample(0..1, &mut row),
        Err(EngineError::NoFrame)
    ));
}

#[test]
fn a_network_that_cannot_be_planned_is_named() {
    let refused = |builder: Builder| {
        let error = Plan::new(&builder.0).expect_err("it does not fit");
        (error.layer, error.reason)
    };
    let at = |layer: &str, reason: &str| (String::from(layer), String::from(reason));
    let small = || Builder::new(1, 4, 4);
    assert_eq!(
        refused(small().flatten().linear(16, 2)),
        at("", "it has no live dropout")
    );
    assert_eq!(
        refused(small().dropout(0.5, false).conv(1, 2, window(5, 1, 0))),
        at("layer1", "a window of 5x5 does not fit an image of 4x4")
    );
    assert_eq!(
        refused(small().dropout(0.5, false).linear(15, 2)),
        at("layer1", "its weights do not fit its input")
    );
    assert_eq!(
        refused(small().dropout(0.5, false).conv(1, 2, window(3, 1, 0))),
        at("", "its output is an image, not one value per class")
    );
    let mut broken = small().dropout(0.5, false).linear(16, 2);
    let Some((_, Layer::Linear { weights, .. })) = broken.0.layers.last_mut() else {
        panic!("a linear layer was added");
    };
    weights[3] = f32::NAN;
    assert_eq!(refused(broken), at("layer1", "a weight is NaN or infinite"));
}
