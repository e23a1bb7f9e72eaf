//! Networks to test with: with what the engine does differently in each, and drawn at random.

use std::vec::Vec;

use shared::mask::KeepProbability;

use crate::engine::InputShape;
use crate::engine::native::layer::{Layer, Network, Window};

/// Numbers that look random, about −1 to 1, a third of them 0 if `sparse`.
pub(in crate::engine) fn numbers(count: usize, seed: u32, sparse: bool) -> Vec<f32> {
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

pub(in crate::engine) struct Builder(pub(in crate::engine) Network, u32);

impl Builder {
    pub(in crate::engine) fn new(channels: usize, height: usize, width: usize) -> Self {
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

    pub(in crate::engine) fn add(mut self, layer: Layer) -> Self {
        let name = std::format!("layer{}", self.0.layers.len());
        self.0.layers.push((name, layer));
        self
    }

    pub(in crate::engine) fn conv(self, inputs: usize, outputs: usize, window: Window) -> Self {
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

    pub(in crate::engine) fn linear(self, inputs: usize, outputs: usize) -> Self {
        let seed = self.0.layers.len() as u32 + 200;
        let scale = (inputs as f32).sqrt().recip();
        let weights = numbers(outputs * inputs, seed, false);
        self.add(Layer::Linear {
            weights: weights.into_iter().map(|w| w * scale).collect(),
            bias: numbers(outputs, seed + 50, false),
        })
    }

    pub(in crate::engine) fn norm(self, channels: usize) -> Self {
        let seed = self.0.layers.len() as u32 + 300;
        self.add(Layer::BatchNorm {
            scale: numbers(channels, seed, false),
            shift: numbers(channels, seed + 50, false),
        })
    }

    pub(in crate::engine) fn dropout(mut self, q: f64, per_channel: bool) -> Self {
        let site = self.1;
        self.1 += 1;
        self.add(Layer::Dropout {
            site,
            keep: KeepProbability::from_f64(q).expect("a probability"),
            scale: (1.0 / q) as f32,
            per_channel,
        })
    }

    pub(in crate::engine) fn relu(self) -> Self {
        self.add(Layer::Relu)
    }

    pub(in crate::engine) fn pool(self, side: usize) -> Self {
        self.add(Layer::MaxPool(Window::square(side)))
    }

    pub(in crate::engine) fn flatten(self) -> Self {
        self.add(Layer::Flatten)
    }
}

pub(in crate::engine) fn window(kernel: usize, stride: usize, padding: usize) -> Window {
    Window {
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [padding; 4],
    }
}

/// A network with what the engine does differently in each.
pub(in crate::engine) fn networks() -> Vec<(&'static str, Network)> {
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

/// A sequence of layers drawn at random, with a dropout at least.
pub(in crate::engine) fn random_network(seed: u32) -> Network {
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
