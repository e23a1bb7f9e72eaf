//! The engine against the layers done one by one in `f64`, and its plans against damage.

use std::vec;
use std::vec::Vec;

use shared::image::{Normalisation, Preprocessing};
use shared::mask::MaskSource;
use shared::stopping::Delta;
use shared::triage::Thresholds;

use super::file::{HEADER, UNCOVERED};
use super::{About, F32, Format, Int8, Micro, MicroError, Number, PlanFile, PlanFileError, Ranges};
use crate::engine::native::Plan;
use crate::engine::native::tests::networks::{Builder, networks, numbers, random_network, window};
use crate::engine::native::tests::reference::reference;
use crate::engine::{CallError, Engine};

const SEED: u64 = 11;

fn about() -> About {
    About {
        model: 0x1234_5678,
        seed: SEED,
        passes: 32,
        adaptive: Some(Delta::DEFAULT),
        thresholds: Thresholds::uncalibrated(10),
        preprocessing: Preprocessing::grey(Normalisation::MNIST),
        labels: vec!["zero".into(), "a label that is rather long".into()],
    }
}

/// Bytes where numbers can lie.
fn aligned(bytes: &[u8]) -> Vec<u32> {
    bytemuck::pod_collect_to_vec(bytes)
}

fn parse(words: &[u32]) -> PlanFile<'_> {
    PlanFile::parse(bytemuck::cast_slice(words)).expect("just written")
}

fn engine<N: Number>(plan: PlanFile<'_>) -> Micro<'_, Vec<u32>, N> {
    // What was there before must not matter.
    let memory = vec![u32::MAX; plan.memory_words()];
    Micro::new(plan, SEED, memory).expect("the memory is long enough")
}

fn logits<E: Engine>(engine: &mut E, passes: core::ops::Range<u32>) -> Vec<f32> {
    let mut logits = vec![f32::NAN; passes.len() * engine.classes()];
    assert!(engine.sample(passes, &mut logits).is_ok());
    logits
}

#[test]
fn networks_drawn_at_random_do_what_their_layers_say() {
    let drawn = (0..300).map(|seed| (seed, random_network(seed)));
    let named = networks().into_iter().map(|(_, network)| (7, network));
    for (seed, network) in drawn.chain(named) {
        let plan = Plan::new(&network).expect("it fits");
        let file = aligned(&plan.to_file(&about()).expect("small enough"));
        let mut engine = engine::<F32>(parse(&file));
        for frame in [seed, seed + 1] {
            let input = numbers(network.input.len(), frame, true);
            assert_eq!(engine.begin(frame, &input), Ok(()));
            for passes in [30..35, 2..4] {
                let got = logits(&mut engine, passes.clone());
                for (pass, row) in passes.zip(got.chunks(engine.classes())) {
                    let expected = reference(&network, frame, pass, &input);
                    for (got, expected) in row.iter().zip(expected) {
                        let difference = (f64::from(*got) - expected).abs();
                        assert!(
                            difference <= 2e-5 * expected.abs().max(1.0),
                            "network {seed}, pass {pass}: {got}, not {expected}: {:?}",
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
}

/// A plan in eight bits, scaled by inputs like those it is tested with.
fn quantised(plan: &Plan) -> Result<Vec<u32>, super::QuantiseError> {
    let mut ranges = Ranges::new(plan.clone(), about())?;
    for seed in 0..20 {
        ranges.meet(&picture(plan, 1000 + seed), 8);
    }
    Ok(aligned(&ranges.to_file()?))
}

/// A normalised picture, most of it black.
fn picture(plan: &Plan, seed: u32) -> Vec<f32> {
    let luma = numbers(plan.program().input.len(), seed, true);
    let luma: Vec<f32> = luma.iter().map(|v| v.max(0.0)).collect();
    let mut input = vec![0.0; luma.len()];
    Normalisation::MNIST.apply(&luma, &mut input);
    input
}

#[test]
fn eight_bits_are_near_single_precision() {
    let fitting = [
        ("lenet", networks().swap_remove(1).1),
        ("mlp", networks().swap_remove(2).1),
        (
            "odd channels",
            Builder::new(1, 11, 12)
                .conv(1, 3, window(2, 1, 0))
                .relu()
                .dropout(0.75, true)
                .conv(3, 5, window(3, 2, 1))
                .relu()
                .dropout(0.5, false)
                .add(crate::engine::native::layer::Layer::AvgPool {
                    window: window(2, 1, 0),
                    count_padding: false,
                })
                .dropout(0.5, false)
                .flatten()
                .linear(100, 7)
                .relu()
                .linear(7, 3)
                .0,
        ),
    ];
    for (name, network) in fitting {
        let plan = Plan::new(&network).expect(name);
        let file = quantised(&plan).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut eight = engine::<Int8>(parse(&file));
        let exact = aligned(&plan.to_file(&about()).expect(name));
        let mut exact = engine::<F32>(parse(&exact));
        let (mut squares, mut errors) = (0.0, 0.0);
        for frame in 0..20 {
            let input = picture(&plan, frame);
            assert_eq!(eight.begin(frame, &input), Ok(()));
            assert_eq!(exact.begin(frame, &input), Ok(()));
            let got = logits(&mut eight, 0..20);
            assert_eq!(got, logits(&mut eight, 0..20), "{name}");
            let wanted = logits(&mut exact, 0..20);
            let mean = wanted.iter().sum::<f32>() / wanted.len() as f32;
            for (got, wanted) in got.iter().zip(&wanted) {
                squares += f64::from((wanted - mean) * (wanted - mean));
                errors += f64::from((got - wanted) * (got - wanted));
            }
        }
        assert!(
            errors < 0.02 * 0.02 * squares,
            "{name}: {errors} of {squares}"
        );
    }
}

#[test]
fn networks_that_eight_bits_cannot_do_are_told() {
    let refused = |builder: Builder| {
        let plan = Plan::new(&builder.0).expect("it fits");
        let error = quantised(&plan).expect_err("it does not fit eight bits");
        std::format!("{error}")
    };
    let small = || Builder::new(1, 6, 6);
    for (network, reason) in [
        (
            small()
                .conv(1, 2, window(3, 1, 0))
                .dropout(0.5, false)
                .flatten()
                .linear(32, 2),
            "its first dropout reads values that may be negative",
        ),
        (
            small().dropout(0.5, false).relu().flatten().linear(36, 2),
            "it does not begin with a convolution or linear layer",
        ),
        (
            small()
                .conv(1, 2, window(3, 1, 1))
                .relu()
                .dropout(0.5, false)
                .flatten()
                .linear(72, 2),
            "its first convolution pads an input in which black is not 0",
        ),
        (
            small()
                .flatten()
                .linear(36, 4)
                .relu()
                .dropout(0.5, false)
                .linear(4, 4)
                .linear(4, 2),
            "a convolution or linear layer without a ReLU right behind it",
        ),
        (
            small()
                .flatten()
                .linear(36, 4)
                .relu()
                .dropout(0.5, false)
                .linear(4, 2)
                .relu(),
            "it does not end with a linear layer",
        ),
    ] {
        assert_eq!(
            refused(network),
            std::format!("the network does not fit eight bits: {reason}; export it in f32")
        );
    }
    let plan = Plan::new(&networks().swap_remove(1).1).expect("it fits");
    let ranges = Ranges::new(plan, about()).expect("it fits");
    assert_eq!(ranges.to_file().err(), Some(super::QuantiseError::NoInputs));
}

fn lenet() -> Vec<u32> {
    let plan = Plan::new(&networks().swap_remove(1).1).expect("it fits");
    aligned(&plan.to_file(&about()).expect("small enough"))
}

#[test]
fn a_file_says_what_was_written() {
    let words = lenet();
    let plan = parse(&words);
    let about = about();
    assert_eq!(plan.format(), Format::F32);
    assert_eq!(plan.len(), 4 * words.len());
    assert_eq!([plan.classes(), plan.input().len()], [10, 784]);
    assert_eq!((plan.model(), plan.seed()), (about.model, about.seed));
    assert_eq!((plan.passes(), plan.adaptive()), (32, Some(Delta::DEFAULT)));
    assert_eq!(plan.thresholds(), about.thresholds);
    assert_eq!(plan.preprocessing(), Some(about.preprocessing));
    assert_eq!(
        plan.labels().collect::<Vec<_>>(),
        ["zero", "a label that is "]
    );
    // What lies behind it is not part of it.
    let mut longer = words.clone();
    longer.extend([u32::MAX; 100]);
    assert_eq!(parse(&longer).crc32(), plan.crc32());
}

#[test]
fn damage_of_any_byte_is_found() {
    let words = lenet();
    let mut bytes: Vec<u8> = bytemuck::cast_slice(&words).to_vec();
    let parse = |bytes: &[u8]| {
        let words = aligned(bytes);
        PlanFile::parse(&bytemuck::cast_slice(&words)[..bytes.len()]).err()
    };
    let places = (0..HEADER + 500).chain((HEADER + 500..bytes.len()).step_by(997));
    for at in places {
        bytes[at] ^= 0x10;
        let error = parse(&bytes);
        match at {
            0..4 => assert_eq!(error, Some(PlanFileError::Missing)),
            4..6 => assert!(matches!(error, Some(PlanFileError::Version { .. })), "{at}"),
            // Not used.
            6..8 => assert_eq!(error, None),
            8..12 => assert!(
                matches!(
                    error,
                    Some(PlanFileError::Length { .. } | PlanFileError::Checksum)
                ),
                "{at}"
            ),
            _ => assert_eq!(error, Some(PlanFileError::Checksum), "{at}"),
        }
        bytes[at] ^= 0x10;
    }
    for length in [
        0,
        3,
        4,
        10,
        HEADER - 1,
        HEADER,
        bytes.len() - 4,
        bytes.len() - 1,
    ] {
        let error = parse(&bytes[..length]);
        match length {
            0..4 => assert_eq!(error, Some(PlanFileError::Missing)),
            _ => assert!(
                matches!(error, Some(PlanFileError::Length { .. })),
                "{length}"
            ),
        }
    }
    assert_eq!(
        PlanFile::parse(&[0xFF; 4096]).err(),
        Some(PlanFileError::Missing)
    );
    let shifted: Vec<u8> = [0].iter().chain(&bytes).copied().collect();
    let shifted = aligned(&shifted);
    let error = PlanFile::parse(&bytemuck::cast_slice(&shifted)[1..]).err();
    assert_eq!(error, Some(PlanFileError::Alignment));
}

/// Someone who wants to do harm can set the checksum right.
#[test]
fn what_makes_no_sense_is_refused_or_runs() {
    let words = lenet();
    let bytes: Vec<u8> = bytemuck::cast_slice(&words).to_vec();
    let tables = HEADER + 2 * 16 + 3 * 12 + 5 * 64;
    let mut refused = 0;
    for seed in 0..4000_u32 {
        let [place, value, ..] = shared::mask::philox4x32_10([seed, 0, 0, 0], [3, 0]);
        let mut bytes = bytes.clone();
        let at = 4 + place as usize % (tables - 4);
        bytes[at] = value as u8;
        let crc = shared::wire::crc32(&bytes[UNCOVERED..]);
        if !(12..16).contains(&at) {
            bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        }
        let words = aligned(&bytes);
        let Ok(plan) = PlanFile::parse(bytemuck::cast_slice(&words)) else {
            refused += 1;
            continue;
        };
        if plan.format() == Format::F32 && plan.memory_words() < 1 << 22 {
            let mut engine = engine::<F32>(plan);
            let input = vec![0.5; plan.input().len()];
            assert_eq!(engine.begin(0, &input), Ok(()));
            let mut logits = vec![0.0; plan.classes()];
            assert_eq!(engine.sample(0..1, &mut logits), Ok(()));
        }
    }
    assert!(refused > 1000, "{refused}");
}

#[test]
fn calls_that_make_no_sense_are_refused() {
    let words = lenet();
    let plan = parse(&words);
    let needed = plan.memory_words();
    assert_eq!(
        Micro::<_, Int8>::new(plan, 0, vec![0; needed]).err(),
        Some(MicroError::Format {
            plan: Format::F32,
            engine: Format::Int8
        })
    );
    assert_eq!(
        Micro::<_, F32>::new(plan, 0, vec![0; needed - 1]).err(),
        Some(MicroError::Memory {
            expected: 4 * needed,
            got: 4 * needed - 4
        })
    );
    let mut engine = engine::<F32>(plan);
    let mut row = [0.0; 10];
    assert_eq!(
        engine.sample(0..1, &mut row),
        Err(CallError::NoFrame.into())
    );
    assert_eq!(
        engine.begin(0, &[0.0; 5]),
        Err(CallError::InputLength {
            expected: 784,
            got: 5
        }
        .into())
    );
    assert_eq!(engine.begin(0, &[0.0; 784]), Ok(()));
    assert_eq!(
        engine.sample(0..2, &mut row),
        Err(CallError::LogitsLength {
            expected: 20,
            got: 10
        }
        .into())
    );
    let last = MaskSource::MAX_PASSES;
    assert_eq!(
        engine.sample(last..last + 1, &mut row),
        Err(CallError::PassRange(last).into())
    );
    assert_eq!(engine.sample(last - 1..last, &mut row), Ok(()));
}
