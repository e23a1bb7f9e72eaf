//! The layers done one by one.

use std::vec::Vec;

use shared::mask::MaskSource;

use super::SEED;
use crate::engine::InputShape;
use crate::engine::native::layer::{Layer, Network, Window};

/// One pass, layer by layer, `[channel][row][column]`, in `f64`.
pub(in crate::engine) fn reference(
    network: &Network,
    frame: u32,
    pass: u32,
    input: &[f32],
) -> Vec<f64> {
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
