//! The micro engine on an emulated Cortex-M4F against this machine: the same masks, logits and
//! measures. Slow because the first build of the firmware takes minutes, and emulation seconds.

use std::path::Path;

use device::engine::Engine;
use device::engine::micro::{F32, Int8, Micro, Number, OwnedPlan};
use device::engine::native::{Level, NativeEngine, Plan};
use device::onnx::Model;
use serde_json::Value;
use shared::image::{Normalisation, PixelFormat};
use shared::mask::{KeepProbability, MaskSource};
use shared::uncertainty::PassAccumulator;
use shared::wire::crc32;
use tests::emulator::{Keys, Tried, built, plan, trial};
use tests::model;
use tests::programs::succeed;

const DIGITS: usize = 100;
const PASSES: u32 = 32;
const PIXELS: usize = 28 * 28;

/// The first digits of the test set.
fn digits() -> Vec<u8> {
    let set = host::data::DatasetName::Mnist
        .load(host::data::Split::Test)
        .expect("installed");
    let pixels = |index| {
        let picture = set.frame(index, PixelFormat::Grey8).expect("in memory");
        picture.pixels.clone()
    };
    (0..DIGITS).flat_map(pixels).collect()
}

fn input(digit: &[u8]) -> Vec<f32> {
    let luma: Vec<f32> = digit
        .iter()
        .map(|pixel| f32::from(*pixel) / 255.0)
        .collect();
    let mut input = vec![0.0; luma.len()];
    Normalisation::MNIST.apply(&luma, &mut input);
    input
}

/// Runs the digits through a plan of the test model in `format`, on the emulator.
fn tried(format: &str) -> (OwnedPlan, Vec<Tried>) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let to = folder.path().join("plan");
    let passes = PASSES.to_string();
    let bytes = plan(&model::trained(), format, &["--passes", &passes], &to);
    let tried = trial(
        &built("trial", format, "binary", Keys::default()),
        &bytes,
        &digits(),
        PIXELS,
    );
    (OwnedPlan::new(&bytes).expect("just exported"), tried)
}

/// Compares every pass's masks with those of the engine on this machine, and has `compare` look at
/// its logits; the measures must be those of the logits, bit for bit.
fn check<N: Number>(
    plan: &OwnedPlan,
    tried: &[Tried],
    mut compare: impl FnMut(&Tried, u32, &[f32], &[f32]),
) {
    let view = plan.view();
    let memory = vec![0; view.memory_words()];
    let mut engine = Micro::<_, N>::new(view, view.seed(), memory).expect("the same format");
    for ((number, digit), tried) in (0..).zip(digits().chunks(PIXELS)).zip(tried) {
        engine.begin(number, &input(digit)).expect("a digit");
        let mut accumulator = PassAccumulator::<10>::new(10).expect("ten classes");
        assert_eq!(tried.passes.len(), PASSES as usize);
        for (pass, got) in (0..).zip(&tried.passes) {
            let mut here = [0.0; 10];
            engine.sample(pass..pass + 1, &mut here).expect("a pass");
            assert_eq!(
                got.masks,
                crc32(engine.mask_bytes()),
                "frame {number}, pass {pass}"
            );
            let logits: Vec<f32> = got
                .logits
                .iter()
                .map(|bits| f32::from_bits(*bits))
                .collect();
            accumulator.push(&logits).expect("finite");
            compare(tried, pass, &logits, &here);
        }
        let measures = accumulator.measures().expect("passes");
        let expected = [
            measures.confidence,
            measures.predictive_entropy,
            measures.expected_entropy,
            measures.mutual_information,
            measures.variation_ratio,
            measures.margin,
        ];
        assert_eq!(tried.measures, expected.map(f64::to_bits), "frame {number}");
        assert_eq!(tried.class, measures.class);
        assert!(
            tried.same || tried.adaptive_passes < PASSES,
            "frame {number}"
        );
    }
    // One in a thousand may be decided otherwise.
    assert!(tried.iter().filter(|tried| !tried.same).count() <= 2);
}

#[test]
fn single_precision_is_that_of_the_native_engine() {
    let (plan, tried) = tried("f32");
    let model = Model::load(&model::trained()).expect("trained");
    let native = Plan::from_model(&model).expect("sequential");
    let seed = model.metadata().seed;
    let mut native = NativeEngine::new(native, Level::detect(), seed, 1).expect("it starts");
    let digits = digits();
    let mut expected = vec![0.0; PASSES as usize * 10];
    let mut frame = 0;
    let mut worst = 0.0_f32;
    check::<F32>(&plan, &tried, |_, pass, got, _| {
        if pass == 0 {
            let digit = &digits[frame * PIXELS..][..PIXELS];
            native.begin(frame as u32, &input(digit)).expect("a digit");
            native.sample(0..PASSES, &mut expected).expect("passes");
            frame += 1;
        }
        let row = &expected[pass as usize * 10..][..10];
        for (got, expected) in got.iter().zip(row) {
            worst = worst.max((got - expected).abs());
        }
    });
    assert_eq!(frame, DIGITS);
    assert!(worst <= 1e-4, "logits are {worst} apart");
}

#[test]
fn eight_bits_are_the_same_on_every_processor() {
    let (plan, tried) = tried("int8");
    check::<Int8>(&plan, &tried, |_, pass, got, here| {
        let bits = |logits: &[f32]| {
            logits
                .iter()
                .map(|logit| logit.to_bits())
                .collect::<Vec<_>>()
        };
        assert_eq!(bits(got), bits(here), "pass {pass}");
    });
}

/// The bytes of masks that the engine tells are those of the mask source.
#[test]
fn masks_are_those_of_the_source() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let to = folder.path().join("plan");
    let bytes = plan(&model::trained(), "f32", &[], &to);
    let plan = OwnedPlan::new(&bytes).expect("just exported");
    let view = plan.view();
    let memory = vec![0; view.memory_words()];
    let mut engine = Micro::<_, F32>::new(view, view.seed(), memory).expect("in f32");
    let source = MaskSource::new(view.seed());
    // Pixels and channels.
    let sizes = [[24 * 24, 10], [8 * 8, 20], [1, 50]];
    for (number, digit) in (0..).zip(digits().chunks(PIXELS).take(5)) {
        engine.begin(number, &input(digit)).expect("a digit");
        for pass in [0, 7, 8, 21, 31, 32, 99] {
            engine
                .sample(pass..pass + 1, &mut [0.0; 10])
                .expect("a pass");
            let mut begin = 0;
            let (mut drawn, mut kept) = (0, 0);
            for (site, [pixels, channels]) in (0..).zip(sizes) {
                let elements = pixels * channels;
                let masks = &engine.mask_bytes()[begin..][..elements];
                for (place, byte) in masks.iter().enumerate() {
                    // Elements count channel by channel, bytes lie pixel by pixel.
                    let element = (place % channels * pixels + place / channels) as u32;
                    let keep = source.keep(number, pass, site, element, KeepProbability::HALF);
                    // What cannot matter is not drawn at the first site.
                    if *byte != 0 || site > 0 {
                        assert_eq!(byte >> (pass % 8) & 1 == 1, keep, "{site} {element}");
                        drawn += 1;
                        kept += u32::from(keep);
                    }
                }
                begin += elements.next_multiple_of(4);
            }
            assert!(drawn > 2000 && kept > 800, "{drawn} {kept}");
        }
    }
}

/// Class, verdict and entropies of each of the first test digits, by a plan.
fn judged(folder: &Path, format: &str) -> Vec<(bool, bool, [f64; 2])> {
    let to = folder.join(format);
    let _ = plan(&model::trained(), format, &[], &to);
    let (model, records) = (
        to.display().to_string(),
        folder.join("records").display().to_string(),
    );
    let settings = ["--limit", "2000", "--passes", "32", "--bootstrap", "0"];
    let files = ["--model", &model, "--records", &records];
    succeed("host", ["evaluate"].iter().chain(&settings).chain(&files));
    let records = std::fs::read_to_string(records).expect("written");
    let lines = records
        .lines()
        .map(|line| -> Value { serde_json::from_str(line).expect("JSON") });
    lines
        .map(|record| {
            let scores = ["predictive_entropy", "expected_entropy"];
            (
                record["class"] == record["label"],
                record["causes"].as_array().is_some_and(Vec::is_empty),
                scores.map(|score| record["scores"][score].as_f64().expect("a number")),
            )
        })
        .collect()
}

#[test]
fn eight_bits_answer_as_single_precision_does() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let exact = judged(folder.path(), "f32");
    let eight = judged(folder.path(), "int8");
    assert_eq!([exact.len(), eight.len()], [2000; 2]);
    let right = |judged: &[(bool, bool, _)]| judged.iter().filter(|(right, ..)| *right).count();
    let [exact_right, eight_right] = [right(&exact), right(&eight)];
    // 0.2 points of 2000.
    assert!(
        exact_right.abs_diff(eight_right) <= 4,
        "{exact_right} {eight_right}"
    );
    let pairs = || exact.iter().zip(&eight);
    let same = pairs().filter(|(a, b)| a.1 == b.1).count();
    assert!(same >= 1980, "{same} verdicts are the same");
    for score in 0..2 {
        let apart: f64 = pairs().map(|(a, b)| (a.2[score] - b.2[score]).abs()).sum();
        assert!(
            apart / 2000.0 <= 0.02,
            "entropies are {} apart",
            apart / 2000.0
        );
    }
}
