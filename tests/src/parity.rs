//! The suite of models that every engine runs on every processor, and what libtorch computes for them.

use std::fs;
use std::path::{Path, PathBuf};

use device::engine::{Engine, EngineError};
use host::data::{DatasetName, Split};
use host::lenet::{LibtorchEngine, TrainedModel};
use parity::{Case, Frame, Refusal};
use shared::image::PixelFormat;

use crate::model;
use crate::networks::{Layer, build, uniform};

/// Seed of weights, inputs and masks.
const SEED: u64 = 0x0F1E_2D3C_4B5A_6978;
/// Passes a frame: a batch of 16, and one of 4.
const PASSES: u32 = 20;
const FRAMES: u32 = 4;
/// Cases of the suite.
pub const CASES: usize = 31;
/// Passes a digit.
const DIGIT_PASSES: u32 = 100;

/// Networks that PyTorch exported, and what of each the native engine lacks.
const PYTORCH: [(&str, Option<&str>); 6] = [
    ("averaged", None),
    ("convolutional", Some("does not fit")),
    ("perceptron", Some("Tanh")),
    ("residual", Some("2 groups")),
    ("sequential", None),
    ("spatial", None),
];

/// A network that this test makes.
struct Made {
    name: &'static str,
    opset: i64,
    shape: [i64; 3],
    layers: &'static [Layer],
    /// What of it the native engine lacks.
    native_lacks: Option<&'static str>,
}

const MADE: [Made; 9] = {
    use Layer::{
        AvgPool, BatchNorm, Conv, Dropout, Dropout2d, Flatten, Grouped, Identity, Linear, MaxPool,
        Relu,
    };
    const PLAIN: [i64; 4] = [0; 4];
    const fn fits(
        name: &'static str,
        opset: i64,
        shape: [i64; 3],
        layers: &'static [Layer],
    ) -> Made {
        Made {
            name,
            opset,
            shape,
            layers,
            native_lacks: None,
        }
    }
    [
        fits(
            "made.mlp.opset13",
            13,
            [1, 8, 8],
            &[
                Flatten,
                Linear(48),
                Relu,
                Dropout(0.5),
                Linear(32),
                Relu,
                Dropout(0.25),
                Linear(10),
            ],
        ),
        fits(
            "made.batch-norm.opset17",
            17,
            [1, 12, 12],
            &[
                Conv(8, [3, 3], [1, 1], PLAIN),
                BatchNorm,
                Relu,
                Dropout(0.3),
                MaxPool(2, 2, 0),
                Conv(12, [3, 3], [1, 1], PLAIN),
                BatchNorm,
                Relu,
                Dropout(0.5),
                Flatten,
                Linear(10),
            ],
        ),
        fits(
            "made.dropout2d.opset18",
            18,
            [2, 10, 10],
            &[
                Conv(6, [3, 3], [1, 1], PLAIN),
                Dropout2d(0.4),
                Relu,
                Conv(8, [3, 3], [1, 1], [1; 4]),
                Relu,
                MaxPool(2, 2, 0),
                Dropout2d(0.5),
                Flatten,
                Linear(6),
            ],
        ),
        fits(
            "made.strides-padding.opset13",
            13,
            [3, 11, 9],
            &[
                Conv(6, [3, 3], [2, 1], [1, 0, 2, 1]),
                Relu,
                Dropout(0.2),
                MaxPool(3, 2, 1),
                Conv(8, [2, 3], [1, 2], [0, 1, 1, 1]),
                Relu,
                Dropout(0.5),
                AvgPool(2),
                Flatten,
                Linear(5),
            ],
        ),
        Made {
            name: "made.grouped.opset17",
            opset: 17,
            shape: [4, 8, 8],
            layers: &[
                Conv(8, [3, 3], [1, 1], PLAIN),
                Relu,
                Dropout(0.4),
                Grouped(6, 3, 2),
                Relu,
                Flatten,
                Dropout(0.5),
                Linear(7),
            ],
            native_lacks: Some("2 groups"),
        },
        fits(
            "made.wide.opset17",
            17,
            [1, 16, 16],
            &[
                Conv(64, [3, 3], [1, 1], PLAIN),
                Relu,
                Dropout(0.5),
                MaxPool(2, 2, 0),
                Conv(128, [3, 3], [1, 1], PLAIN),
                Relu,
                Dropout(0.5),
                MaxPool(2, 2, 0),
                Flatten,
                Linear(512),
                Relu,
                Dropout(0.5),
                Linear(100),
            ],
        ),
        // What a logit is 0 for are the masks: nothing but dropout comes before it.
        fits(
            "masks.half.opset13",
            13,
            [3, 5, 7],
            &[Dropout(0.5), Flatten, Identity],
        ),
        fits(
            "masks.uneven.opset17",
            17,
            [3, 5, 7],
            &[Dropout(0.3), Flatten, Identity],
        ),
        fits(
            "masks.channels.opset18",
            18,
            [1, 4, 4],
            &[
                Conv(12, [2, 2], [1, 1], PLAIN),
                Dropout2d(0.25),
                Flatten,
                Identity,
            ],
        ),
    ]
};

/// Folder of the models that PyTorch exported.
#[must_use]
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pytorch")
}

/// Writes the suite into `folder`: the models that PyTorch exported, with PyTorch's own logits; a
/// LeNet on so many digits; and networks made on the spot. The last two with libtorch's logits.
///
/// # Panics
/// If it cannot be written, or libtorch cannot run a model.
pub fn write(folder: &Path, digits: u32) {
    for (network, native_lacks) in PYTORCH {
        let mut case = Case::read(&fixtures().join(format!("{network}.json"))).expect("a fixture");
        case.refused = refused(native_lacks);
        let mut count = 0;
        for entry in fs::read_dir(fixtures()).expect("fixtures") {
            let path = entry.expect("entry").path();
            let name = path.file_name().and_then(|n| n.to_str()).expect("a name");
            if !name.starts_with(network) {
                continue;
            }
            // Weights beside the model lie beside the copy.
            fs::copy(&path, folder.join(name)).expect("copied");
            if let Some(export) = name.strip_suffix(".onnx") {
                case.write(folder, export).expect("written");
                count += 1;
            }
        }
        assert!(count >= 2, "{network}: the fixtures are incomplete");
    }
    for made in &MADE {
        let mut built = build(made.opset, made.shape, made.layers, SEED);
        let masks = made.name.starts_with("masks");
        let frames = (0..FRAMES).map(|frame| {
            // Frames of unlike contrast, so that some are less certain than others.
            let contrast = 0.5 + frame as f32;
            let length = made.shape.iter().product::<i64>() as usize;
            let draw = uniform(SEED, u32::MAX - frame, length);
            let input = draw.map(|v| if masks { 1.0 } else { v * 2.0 - 1.0 } * contrast);
            (1000 + frame, input.collect())
        });
        let case = Case {
            seed: SEED,
            passes: PASSES,
            frames: frames
                .map(|(frame, input)| computed(&mut built.torch, frame, input, PASSES))
                .collect(),
            refused: refused(made.native_lacks),
            logits_are_masks: masks,
        };
        fs::write(folder.join(format!("{}.onnx", made.name)), &built.onnx).expect("written");
        case.write(folder, made.name).expect("written");
    }
    lenet(folder, digits);
}

/// The LeNet that `host` trained and exported.
fn lenet(folder: &Path, digits: u32) {
    let trained = TrainedModel::load(&model::folder().join("model.safetensors")).expect("trained");
    let mut torch = LibtorchEngine::new(&trained, trained.seed).expect("libtorch runs it");
    let images = DatasetName::Mnist
        .load(Split::Test)
        .expect("MNIST is installed");
    let frames = (0..digits).map(|digit| {
        let picture = images.frame(digit as usize, PixelFormat::Grey8);
        let picture = picture.expect("in memory");
        let pixels = picture.pixels.iter();
        let luma: Vec<f32> = pixels.map(|&pixel| f32::from(pixel) / 255.0).collect();
        let mut input = vec![0.0; luma.len()];
        trained.normalisation.apply(&luma, &mut input);
        computed(&mut torch, digit, input, DIGIT_PASSES)
    });
    let case = Case {
        seed: trained.seed,
        passes: DIGIT_PASSES,
        frames: frames.collect(),
        refused: Vec::new(),
        logits_are_masks: false,
    };
    fs::copy(model::trained(), folder.join("lenet.onnx")).expect("copied");
    case.write(folder, "lenet").expect("written");
}

/// A frame with libtorch's logits.
fn computed<E>(torch: &mut E, number: u32, input: Vec<f32>, passes: u32) -> Frame
where
    E: Engine<Error = EngineError>,
{
    let mut logits = vec![0.0; passes as usize * torch.classes()];
    torch.begin(number, &input).expect("libtorch runs it");
    torch
        .sample(0..passes, &mut logits)
        .expect("libtorch runs it");
    Frame {
        number,
        input,
        logits,
    }
}

fn refused(native_lacks: Option<&str>) -> Vec<Refusal> {
    let refusal = |reason: &str| Refusal {
        engine: "native".into(),
        reason: reason.into(),
    };
    native_lacks.map(refusal).into_iter().collect()
}
