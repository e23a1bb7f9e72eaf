//! The engine against the layers done one by one in `f64`, for every level.

use std::string::String;
use std::vec;
use std::vec::Vec;

use shared::mask::{KeepProbability, MaskSource};

use super::layer::{Layer, Network, Window};
use super::{Level, Native, NativeEngine, NativeError, Plan, Scratch};
use crate::engine::{Engine, EngineError, InputShape};

const SEED: u64 = 11;
const PASSES: u32 = 37;

/// Numbers that look random, about −1 to 1, a third of them 0 if `sparse`.
fn numbers(count: usize, seed: u32, sparse: bool) -> Vec<f32> {
    (0..count as u32)
        .map(|i| {
            let word = shared::mask::philox4x32_10([i, 0, 0, 0], [seed, 0])[0];
            if sparse && word.is_multiple_of(3) {
                0.0
            } else {
                word as f32 / u32::MAX as f32 * 2.0 - 1.0
            }
        })
        .collect()
}

struct Builder(Network, u32);

impl Builder {
    fn new(channels: usize, height: usize, width: usize) -> Self {
        let input = InputShape {
            channels,
            height,
            width,
        };
        Self(
            Network {
                input,
                layers: Vec::new(),
            },
            0,
        )
    }

    fn add(mut self, layer: Layer) -> Self {
        let name = std::format!("layer{}", self.0.layers.len());
        self.0.layers.push((name, layer));
        self
    }

    fn conv(self, inputs: usize, outputs: usize, window: Window) -> Self {
        let seed = self.0.layers.len() as u32 + 100;
        let size = inputs * window.kernel[0] * window.kernel[1];
        let scale = (size as f32).sqrt().recip();
        let weights = numbers(outputs * size, seed, false);
        self.add(Layer::Conv {
            window,
            weights: weights.into_iter().map(|w| w * scale).collect(),
            bias: numbers(outputs, seed + 50, false),
        })
    }

    fn linear(self, inputs: usize, outputs: usize) -> Self {
        let seed = self.0.layers.len() as u32 + 200;
        let scale = (inputs as f32).sqrt().recip();
        let weights = numbers(outputs * inputs, seed, false);
        self.add(Layer::Linear {
            weights: weights.into_iter().map(|w| w * scale).collect(),
            bias: numbers(outputs, seed + 50, false),
        })
    }

    fn norm(self, channels: usize) -> Self {
        let seed = self.0.layers.len() as u32 + 300;
        self.add(Layer::BatchNorm {
            scale: numbers(channels, seed, false),
            shift: numbers(channels, seed + 50, false),
        })
    }

    fn dropout(mut self, q: f64, per_channel: bool) -> Self {
        let site = self.1;
        self.1 += 1;
        self.add(Layer::Dropout {
            site,
            keep: KeepProbability::from_f64(q).expect("a probability"),
            scale: (1.0 / q) as f32,
            per_channel,
        })
    }

    fn relu(self) -> Self {
        self.add(Layer::Relu)
    }

    fn pool(self, side: usize) -> Self {
        self.add(Layer::MaxPool(Window::square(side)))
    }

    fn flatten(self) -> Self {
        self.add(Layer::Flatten)
    }
}

fn window(kernel: usize, stride: usize, padding: usize) -> Window {
    Window {
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [padding; 4],
    }
}

/// A network with what the engine does differently in each.
fn networks() -> Vec<(&'static str, Network)> {
    let lenet = Builder::new(1, 28, 28)
        .conv(1, 10, window(5, 1, 0))
        .dropout(0.5, false)
        .pool(2)
        .relu()
        .conv(10, 20, window(5, 1, 0))
        .dropout(0.5, false)
        .pool(2)
        .relu()
        .flatten()
        .linear(320, 50)
        .relu()
        .dropout(0.5, false)
        .linear(50, 10);
    let mlp = Builder::new(1, 6, 6)
        .flatten()
        .linear(36, 33)
        .relu()
        .dropout(0.9, false)
        .linear(33, 26)
        .dropout(0.3, false)
        .relu()
        .linear(26, 3);
    let normed = Builder::new(3, 13, 11)
        .conv(3, 7, window(3, 2, 1))
        .norm(7)
        .relu()
        .add(Layer::MaxPool(window(3, 1, 1)))
        .dropout(0.75, true)
        .norm(7)
        .conv(7, 27, window(3, 1, 1))
        .norm(27)
        .relu()
        .dropout(0.5, true)
        .pool(2)
        .dropout(0.8, false)
        .conv(27, 5, window(1, 1, 0))
        .add(Layer::GlobalAvgPool)
        .flatten()
        .linear(5, 4);
    let unfused = Builder::new(2, 9, 9)
        .conv(2, 5, window(2, 1, 0))
        .dropout(0.5, false)
        .pool(2)
        .dropout(0.6, false)
        .add(Layer::AvgPool {
            window: window(3, 1, 1),
            count_padding: true,
        })
        .norm(5)
        .relu()
        .add(Layer::AvgPool {
            window: window(2, 2, 1),
            count_padding: false,
        })
        .conv(5, 6, window(2, 1, 1))
        .add(Layer::MaxPool(window(2, 1, 0)))
        .flatten()
        .relu()
        .dropout(0.5, false)
        .linear(54, 2);
    let first = Builder::new(1, 8, 8)
        .dropout(0.5, false)
        .conv(1, 3, window(3, 1, 0))
        .pool(2)
        .dropout(0.25, false)
        .flatten()
        .linear(27, 5);
    let overlapping = Builder::new(1, 9, 9)
        .conv(1, 4, window(3, 1, 1))
        .relu()
        .dropout(0.5, false)
        .add(Layer::MaxPool(window(3, 2, 1)))
        .flatten()
        .linear(100, 40);
    let deep_stem = Builder::new(2, 19, 18)
        .conv(2, 3, window(3, 1, 1))
        .relu()
        .pool(2)
        .conv(3, 17, window(3, 1, 0))
        .norm(17)
        .pool(2)
        .relu()
        .add(Layer::AvgPool {
            window: window(2, 1, 0),
            count_padding: true,
        })
        .norm(17)
        .dropout(0.5, true)
        .flatten()
        .linear(68, 9)
        .relu()
        .dropout(0.35, false)
        .linear(9, 3);
    [
        ("deep stem", deep_stem),
        ("lenet", lenet),
        ("mlp", mlp),
        ("normed", normed),
        ("unfused", unfused),
        ("dropout first", first),
        ("overlapping windows", overlapping),
    ]
    .map(|(name, builder)| (name, builder.0))
    .into()
}

/// One pass, layer by layer, `[channel][row][column]`, in `f64`.
fn reference(network: &Network, frame: u32, pass: u32, input: &[f32]) -> Vec<f64> {
    let InputShape {
        channels,
        height,
        width,
    } = network.input;
    let mut shape = [channels, height, width];
    let mut x: Vec<f64> = input.iter().map(|v| f64::from(*v)).collect();
    for (_, layer) in &network.layers {
        let [channels, height, width] = shape;
        // Values of a window, with what lies in the padding as `None`.
        let look =
            |window: &Window, channel: usize, row: usize, column: usize| -> Vec<Option<f64>> {
                let mut values = Vec::new();
                for i in 0..window.kernel[0] {
                    for j in 0..window.kernel[1] {
                        let y = (row * window.stride[0] + i).checked_sub(window.padding[0]);
                        let z = (column * window.stride[1] + j).checked_sub(window.padding[1]);
                        values.push(match (y, z) {
                            (Some(y), Some(z)) if y < height && z < width => {
                                Some(x[(channel * height + y) * width + z])
                            }
                            _ => None,
                        });
                    }
                }
                values
            };
        let pooled = |window: &Window, f: &dyn Fn(Vec<Option<f64>>) -> f64| {
            let [rows, columns] = window.output([height, width]).expect("it fits");
            let mut out = Vec::new();
            for channel in 0..channels {
                for row in 0..rows {
                    for column in 0..columns {
                        out.push(f(look(window, channel, row, column)));
                    }
                }
            }
            (out, [channels, rows, columns])
        };
        (x, shape) = match layer {
            Layer::Conv {
                window,
                weights,
                bias,
            } => {
                let [rows, columns] = window.output([height, width]).expect("it fits");
                let size = window.kernel[0] * window.kernel[1];
                let mut out = Vec::new();
                for (output, bias) in bias.iter().enumerate() {
                    for row in 0..rows {
                        for column in 0..columns {
                            let mut sum = f64::from(*bias);
                            for channel in 0..channels {
                                for (tap, value) in
                                    look(window, channel, row, column).into_iter().enumerate()
                                {
                                    let weight =
                                        weights[(output * channels + channel) * size + tap];
                                    sum += f64::from(weight) * value.unwrap_or(0.0);
                                }
                            }
                            out.push(sum);
                        }
                    }
                }
                (out, [bias.len(), rows, columns])
            }
            Layer::Linear { weights, bias } => {
                let rows = weights.chunks(x.len()).zip(bias);
                let sum = |(row, bias): (&[f32], &f32)| {
                    f64::from(*bias)
                        + row
                            .iter()
                            .zip(&x)
                            .map(|(w, x)| f64::from(*w) * x)
                            .sum::<f64>()
                };
                (rows.map(sum).collect(), [bias.len(), 1, 1])
            }
            Layer::MaxPool(window) => pooled(window, &|values| {
                values
                    .into_iter()
                    .flatten()
                    .fold(f64::NEG_INFINITY, f64::max)
            }),
            Layer::AvgPool {
                window,
                count_padding,
            } => pooled(window, &|values| {
                let all = values.len();
                let inside: Vec<f64> = values.into_iter().flatten().collect();
                let count = if *count_padding { all } else { inside.len() };
                inside.iter().sum::<f64>() / count as f64
            }),
            Layer::GlobalAvgPool => {
                let mean = |plane: &[f64]| plane.iter().sum::<f64>() / plane.len() as f64;
                (
                    x.chunks(height * width).map(mean).collect(),
                    [channels, 1, 1],
                )
            }
            Layer::Relu => (x.iter().map(|v| v.max(0.0)).collect(), shape),
            Layer::BatchNorm { scale, shift } => {
                let plane = height * width;
                let f = |(i, v): (usize, &f64)| {
                    v * f64::from(scale[i / plane]) + f64::from(shift[i / plane])
                };
                (x.iter().enumerate().map(f).collect(), shape)
            }
            Layer::Flatten => (x, [channels * height * width, 1, 1]),
            Layer::Dropout {
                site,
                keep,
                scale,
                per_channel,
            } => {
                let f = |(i, v): (usize, &f64)| {
                    let element = if *per_channel {
                        i / (height * width)
                    } else {
                        i
                    };
                    let kept =
                        MaskSource::new(SEED).keep(frame, pass, *site, element as u32, *keep);
                    if kept { v * f64::from(*scale) } else { 0.0 }
                };
                (x.iter().enumerate().map(f).collect(), shape)
            }
        };
    }
    x
}

/// A sequence of layers drawn at random, with a dropout at least.
fn random_network(seed: u32) -> Network {
    let mut draws = 0;
    let mut below = |n: usize| {
        draws += 1;
        let [word, ..] = shared::mask::philox4x32_10([draws, seed, 0, 0], [77, 0]);
        word as usize % n
    };
    let mut shape = [1 + below(3), 5 + below(9), 5 + below(9)];
    let mut builder = Builder::new(shape[0], shape[1], shape[2]);
    let (mut flat, steps) = (false, 3 + below(8));
    for step in 0..=steps {
        let [channels, height, width] = shape;
        let (mut kernel, stride) = ([1 + below(3), 1 + below(3)], [1 + below(2), 1 + below(2)]);
        kernel = [kernel[0].min(height), kernel[1].min(width)];
        let moving = |padding| Window {
            kernel,
            stride,
            padding,
        };
        let padded = moving([0, 1, 2, 3].map(|side: usize| below(kernel[side % 2])));
        let q = 0.1 + 0.08 * below(10) as f64;
        let fitting = |window: Window| window.output([height, width]).expect("smaller");
        if step == steps {
            return builder
                .dropout(q, false)
                .flatten()
                .linear(channels * height * width, 2 + below(30))
                .0;
        }
        (builder, shape) = match below(if flat { 5 } else { 9 }) {
            0 => (builder.relu(), shape),
            1 => (builder.dropout(q, below(3) == 0), shape),
            2 => (builder.norm(channels), shape),
            3 if flat => {
                let outputs = 1 + below(40);
                (builder.linear(channels, outputs), [outputs, 1, 1])
            }
            3 | 4 if height * width == 1 => {
                flat = true;
                (builder.flatten(), shape)
            }
            3 | 5 => {
                let outputs = 1 + below(30);
                let [rows, columns] = fitting(padded);
                (
                    builder.conv(channels, outputs, padded),
                    [outputs, rows, columns],
                )
            }
            4 | 6 => {
                let window = if below(2) == 0 {
                    padded
                } else {
                    Window::square(2.min(height).min(width))
                };
                let [rows, columns] = fitting(window);
                (
                    builder.add(Layer::MaxPool(window)),
                    [channels, rows, columns],
                )
            }
            7 => {
                let [rows, columns] = fitting(padded);
                let layer = Layer::AvgPool {
                    window: padded,
                    count_padding: below(2) == 0,
                };
                (builder.add(layer), [channels, rows, columns])
            }
            _ => (builder.add(Layer::GlobalAvgPool), [channels, 1, 1]),
        };
    }
    unreachable!("the last step returns")
}

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
                let mut threaded =
                    NativeEngine::new(plan.clone(), level, SEED, threads).expect("threads start");
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
    assert_eq!(native.sample(0..1, &mut row), Err(NativeError::NoFrame));
    assert_eq!(
        native.begin(0, &[0.0; 5]),
        Err(NativeError::InputLength {
            expected: 36,
            got: 5
        })
    );
    assert_eq!(native.begin(0, &[0.0; 36]), Ok(()));
    assert_eq!(
        native.sample(0..2, &mut row),
        Err(NativeError::LogitsLength {
            expected: 6,
            got: 3
        })
    );
    let last = MaskSource::MAX_PASSES;
    assert_eq!(
        native.sample(last..last + 1, &mut row),
        Err(NativeError::PassRange(last))
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
