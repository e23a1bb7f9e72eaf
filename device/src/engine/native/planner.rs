//! From layers to a plan: what runs once a frame, what runs in every pass, and which layers one
//! operation can do together.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use shared::mask::KeepProbability;

use super::layer::{Layer, Network, Window};
use super::plan::{Conv, Drop, Geometry, Op, Pick, Plan, Shape, Site};
use super::simd::LANES;

/// Zeros behind the last weight.
pub(in crate::engine) const PADDING: usize = LANES;

/// Why a network cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanError {
    /// The first layer that does not fit; empty if it is the network as a whole.
    pub layer: String,
    /// What is wrong with it.
    pub reason: String,
}

impl PlanError {
    pub(super) fn new(layer: &str, reason: impl Into<String>) -> Self {
        Self {
            layer: layer.into(),
            reason: reason.into(),
        }
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.layer.is_empty() {
            write!(
                f,
                "the network does not fit the native engine: {}",
                self.reason
            )
        } else {
            write!(
                f,
                "layer {} does not fit the native engine: {}",
                self.layer, self.reason
            )
        }
    }
}

impl core::error::Error for PlanError {}

impl Plan {
    /// Plans a network.
    ///
    /// # Errors
    /// If shapes do not fit each other, a weight is not finite, or there is no dropout. The error
    /// names the first layer at fault.
    pub fn new(network: &Network) -> Result<Self, PlanError> {
        let layers = fold_batch_norms(&network.layers)?;
        let first = layers
            .iter()
            .position(|(_, layer)| matches!(layer, Layer::Dropout { .. }));
        let first = first.ok_or_else(|| PlanError::new("", "it has no live dropout"))?;
        let input = Shape {
            height: network.input.height,
            width: network.input.width,
            channels: network.input.channels,
        };
        let mut planner = Planner {
            shape: input,
            sites: Vec::new(),
            weights: Vec::new(),
        };
        let stem = planner.ops(&layers[..first])?;
        let (pick, used) = planner.pick(&layers[..first], &layers[first..])?;
        let head = planner.ops(&layers[first + used..])?;
        let output = planner.shape;
        if output.height * output.width != 1 {
            return Err(PlanError::new(
                "",
                "its output is an image, not one value per class",
            ));
        }
        let mut words = 0;
        for site in &mut planner.sites {
            site.words = words;
            words += site.elements.next_multiple_of(4);
        }
        // Whole vectors are read, even where fewer weights are left.
        planner.weights.extend([0.0; PADDING]);
        Ok(Self {
            input: network.input,
            classes: output.channels,
            stem,
            pick,
            head,
            sites: planner.sites,
            weights: planner.weights,
        })
    }
}

type Named = (String, Layer);

/// Takes each BatchNorm into the Conv or Linear right before it. What is left stays a step of its
/// own.
fn fold_batch_norms(layers: &[Named]) -> Result<Vec<Named>, PlanError> {
    let mut folded: Vec<Named> = Vec::new();
    for (name, layer) in layers {
        if let Layer::BatchNorm { scale, shift } = layer
            && let Some((_, Layer::Conv { weights, bias, .. } | Layer::Linear { weights, bias })) =
                folded.last_mut()
        {
            if scale.len() != bias.len() || shift.len() != bias.len() {
                return Err(PlanError::new(
                    name,
                    "it has another number of channels than its input",
                ));
            }
            let per_output = weights.len() / bias.len().max(1);
            for (output, (bias, (scale, shift))) in
                bias.iter_mut().zip(scale.iter().zip(shift)).enumerate()
            {
                *bias = *bias * scale + shift;
                for weight in &mut weights[output * per_output..][..per_output] {
                    *weight *= scale;
                }
            }
            continue;
        }
        folded.push((name.clone(), layer.clone()));
    }
    Ok(folded)
}

struct Planner {
    /// Of what the operations so far write.
    shape: Shape,
    sites: Vec<Site>,
    weights: Vec<f32>,
}

impl Planner {
    fn ops(&mut self, layers: &[Named]) -> Result<Vec<Op>, PlanError> {
        let mut ops = Vec::new();
        let mut rest = layers;
        while let [(name, layer), after @ ..] = rest {
            rest = after;
            let op = match layer {
                Layer::Conv {
                    window,
                    weights,
                    bias,
                } => {
                    let used;
                    let conv = self.conv(name, *window, weights, bias)?;
                    (ops, used) = self.absorb(ops, conv, rest)?;
                    rest = &rest[used..];
                    continue;
                }
                Layer::Linear { weights, bias } => {
                    let used;
                    let conv = self.linear(name, weights, bias)?;
                    (ops, used) = self.absorb(ops, conv, rest)?;
                    rest = &rest[used..];
                    continue;
                }
                // The order in which a linear layer's weights are planned does it.
                Layer::Flatten => continue,
                Layer::Relu => Op::Relu(self.shape),
                Layer::MaxPool(window) => Op::MaxPool(self.geometry(name, *window)?),
                Layer::AvgPool {
                    window,
                    count_padding,
                } => Op::AvgPool {
                    geometry: self.geometry(name, *window)?,
                    count_padding: *count_padding,
                },
                Layer::GlobalAvgPool => {
                    let whole = [self.shape.height, self.shape.width];
                    let window = Window {
                        kernel: whole,
                        stride: whole,
                        padding: [0; 4],
                    };
                    Op::AvgPool {
                        geometry: self.geometry(name, window)?,
                        count_padding: false,
                    }
                }
                Layer::BatchNorm { scale, shift } => {
                    if scale.len() != self.shape.channels || shift.len() != self.shape.channels {
                        return Err(PlanError::new(
                            name,
                            "it has another number of channels than its input",
                        ));
                    }
                    Op::Affine {
                        shape: self.shape,
                        weights: self.store(name, scale.iter().chain(shift).copied())?,
                    }
                }
                Layer::Dropout {
                    site,
                    keep,
                    scale,
                    per_channel,
                } => Op::Dropout {
                    shape: self.shape,
                    drop: self.drop(*site, *keep, *per_channel, self.shape),
                    scale: *scale,
                },
            };
            self.shape = op.output();
            ops.push(op);
        }
        Ok(ops)
    }

    fn geometry(&self, name: &str, window: Window) -> Result<Geometry, PlanError> {
        let size = [self.shape.height, self.shape.width];
        let output = window
            .output(size)
            .filter(|output| output[0] * output[1] > 0);
        let [height, width] = output.ok_or_else(|| {
            let [rows, columns] = window.kernel;
            PlanError::new(
                name,
                alloc::format!(
                    "a window of {rows}x{columns} does not fit an image of {}x{}",
                    size[0],
                    size[1]
                ),
            )
        })?;
        let [top, left, bottom, right] = window.padding;
        if top.max(bottom) >= window.kernel[0].max(1) || left.max(right) >= window.kernel[1].max(1)
        {
            return Err(PlanError::new(
                name,
                "its padding is not smaller than its kernel",
            ));
        }
        Ok(Geometry {
            input: self.shape,
            output: Shape {
                height,
                width,
                channels: self.shape.channels,
            },
            kernel: window.kernel,
            stride: window.stride,
            padding: [top, left],
        })
    }

    fn conv(
        &mut self,
        name: &str,
        window: Window,
        weights: &[f32],
        bias: &[f32],
    ) -> Result<Conv, PlanError> {
        let mut geometry = self.geometry(name, window)?;
        let (inputs, outputs) = (self.shape.channels, bias.len());
        let [rows, columns] = window.kernel;
        geometry.output.channels = outputs;
        if outputs == 0 || weights.len() != outputs * inputs * rows * columns {
            return Err(PlanError::new(name, "its weights do not fit its input"));
        }
        let offset = self.weights.len();
        for row in 0..rows {
            for column in 0..columns {
                for input in 0..inputs {
                    for output in 0..outputs {
                        self.weights.push(
                            weights[((output * inputs + input) * rows + row) * columns + column],
                        );
                    }
                }
            }
        }
        self.finish(name, geometry, offset, bias)
    }

    /// A linear layer is a convolution by a kernel as large as the image.
    fn linear(&mut self, name: &str, weights: &[f32], bias: &[f32]) -> Result<Conv, PlanError> {
        let Shape { height, width, .. } = self.shape;
        self.conv(
            name,
            Window {
                kernel: [height, width],
                stride: [1, 1],
                padding: [0; 4],
            },
            weights,
            bias,
        )
        .map(|mut conv| {
            // All of the input is one run of memory.
            let flat = Shape {
                height: 1,
                width: 1,
                channels: conv.geometry.input.len(),
            };
            conv.geometry.input = flat;
            conv.geometry.kernel = [1, 1];
            conv
        })
    }

    fn finish(
        &mut self,
        name: &str,
        geometry: Geometry,
        offset: usize,
        bias: &[f32],
    ) -> Result<Conv, PlanError> {
        self.store(name, bias.iter().copied())?;
        if self.weights[offset..]
            .iter()
            .any(|weight| !weight.is_finite())
        {
            return Err(PlanError::new(name, "a weight is NaN or infinite"));
        }
        self.shape = geometry.output;
        Ok(Conv {
            geometry,
            weights: offset,
            relu: false,
            before: None,
            pool: None,
            after: None,
        })
    }

    fn store(&mut self, name: &str, values: impl Iterator<Item = f32>) -> Result<usize, PlanError> {
        let offset = self.weights.len();
        self.weights.extend(values);
        if self.weights[offset..].iter().all(|value| value.is_finite()) {
            Ok(offset)
        } else {
            Err(PlanError::new(name, "a weight is NaN or infinite"))
        }
    }

    fn drop(&mut self, site: u32, keep: KeepProbability, per_channel: bool, shape: Shape) -> Drop {
        self.sites.push(Site {
            number: site,
            keep,
            elements: if per_channel {
                shape.channels
            } else {
                shape.len()
            },
            words: 0,
        });
        Drop {
            site: self.sites.len() - 1,
            per_channel,
        }
    }

    /// Lets a convolution do what follows it, as far as it can. ReLU, a scaling by 1/q and the
    /// largest of a window may change places with each other and with dropout, because none of
    /// them cares about a factor that is not negative.
    fn absorb(
        &mut self,
        mut ops: Vec<Op>,
        mut conv: Conv,
        layers: &[Named],
    ) -> Result<(Vec<Op>, usize), PlanError> {
        let mut used = 0;
        for (name, layer) in layers {
            match layer {
                Layer::Relu => conv.relu = true,
                Layer::Flatten => {}
                Layer::Dropout {
                    site,
                    keep,
                    scale,
                    per_channel,
                } => {
                    let place = if conv.pool.is_none() {
                        &mut conv.before
                    } else {
                        &mut conv.after
                    };
                    if place.is_some() {
                        break;
                    }
                    *place = Some(self.drop(*site, *keep, *per_channel, self.shape));
                    let end = conv.weights + conv.taps() + conv.geometry.output.channels;
                    for weight in &mut self.weights[conv.weights..end] {
                        *weight *= scale;
                    }
                }
                Layer::MaxPool(window)
                    if conv.pool.is_none()
                        && window.padding == [0; 4]
                        && (0..2).all(|axis| window.stride[axis] >= window.kernel[axis]) =>
                {
                    let pool = self.geometry(name, *window)?;
                    conv.pool = Some(pool);
                    self.shape = pool.output;
                }
                _ => break,
            }
            used += 1;
        }
        ops.push(Op::Conv(conv));
        Ok((ops, used))
    }

    /// The head's begin, and how many layers it takes in.
    fn pick(&mut self, stem: &[Named], head: &[Named]) -> Result<(Pick, usize), PlanError> {
        let [
            (
                name,
                Layer::Dropout {
                    site,
                    keep,
                    scale,
                    per_channel,
                },
            ),
            rest @ ..,
        ] = head
        else {
            return Err(PlanError::new("", "it has no live dropout"));
        };
        let drop = self.drop(*site, *keep, *per_channel, self.shape);
        let mut relu = stem.iter().rev().map(|(_, layer)| layer).find(|layer| {
            !matches!(
                layer,
                Layer::MaxPool(_) | Layer::AvgPool { .. } | Layer::GlobalAvgPool | Layer::Flatten
            )
        }) == Some(&Layer::Relu);
        let mut used = 1;
        let mut pool = None;
        for (name, layer) in rest {
            match layer {
                Layer::Relu => relu = true,
                Layer::Flatten => {}
                Layer::MaxPool(window) if pool.is_none() => {
                    // Without ReLU a window's largest may be negative: two separate steps, then.
                    let later = rest[used..]
                        .iter()
                        .find(|(_, layer)| *layer != Layer::Flatten);
                    if !relu && !matches!(later, Some((_, Layer::Relu))) {
                        break;
                    }
                    relu = true;
                    pool = Some(self.geometry(name, *window)?);
                }
                _ => break,
            }
            used += 1;
        }
        let windows = match pool {
            Some(pool) => pool,
            None => self.geometry(name, Window::square(1))?,
        };
        self.shape = windows.output;
        Ok((
            Pick {
                windows,
                drop,
                scale: *scale,
                relu,
            },
            used,
        ))
    }
}
