//! From an ONNX model to layers.

use std::collections::HashMap;

use tract_onnx::pb::{NodeProto, TensorProto};

use super::layer::{Layer, Network, Window};
use super::plan::Plan;
use super::planner::PlanError;
use crate::onnx::Model;
use crate::onnx::proto::{attribute, floats, int_attribute, int_values, node_name};

impl Plan {
    /// Plans an ONNX model.
    ///
    /// # Errors
    /// If the model is not a sequence of layers that the engine has. The error names the first that
    /// does not fit.
    pub fn from_model(model: &Model) -> Result<Self, PlanError> {
        Self::new(&Network::from_model(model)?)
    }
}

impl Network {
    /// The layers of an ONNX model.
    ///
    /// # Errors
    /// As [`Plan::from_model`].
    pub fn from_model(model: &Model) -> Result<Self, PlanError> {
        let graph = model.masks_as_inputs().graph.as_ref();
        let graph = graph.ok_or_else(|| PlanError::new("", "the model holds no graph"))?;
        let mut reader = Reader {
            model,
            constants: graph
                .initializer
                .iter()
                .map(|t| (t.name.as_str(), t))
                .collect(),
            current: graph.input.first().map_or("", |input| &input.name),
            layers: Vec::new(),
            scaled: None,
        };
        for node in &graph.node {
            reader.node(node)?;
        }
        if let Some(name) = reader.scaled {
            return Err(PlanError::new(
                name,
                "a multiplication that belongs to no Dropout",
            ));
        }
        Ok(Self {
            input: model.input_shape(),
            layers: reader.layers,
        })
    }
}

struct Reader<'a> {
    model: &'a Model,
    constants: HashMap<&'a str, &'a TensorProto>,
    /// The tensor that the layers so far write.
    current: &'a str,
    layers: Vec<(String, Layer)>,
    /// The name of the multiplication by 1/q that comes before one by a mask.
    scaled: Option<&'a str>,
}

impl<'a> Reader<'a> {
    fn node(&mut self, node: &'a NodeProto) -> Result<(), PlanError> {
        let name = node_name(node);
        let kind = node.op_type.as_str();
        let error = |reason: String| PlanError::new(&format!("{name} ({kind})"), reason);
        // What else a node reads is constant, or a mask: then the network is a sequence.
        let others: Vec<&str> = node
            .input
            .iter()
            .map(String::as_str)
            .filter(|i| *i != self.current)
            .collect();
        let masked = self
            .model
            .sites()
            .iter()
            .position(|site| others.contains(&site.mask_input().as_str()));
        let stray = others.iter().find(|input| {
            !input.is_empty() && !self.constants.contains_key(**input) && masked.is_none()
        });
        if others.len() + 1 != node.input.len() || stray.is_some() {
            return Err(error("it does not just continue the layer before it: only a sequence of layers is supported".into()));
        }
        if self.scaled.is_some() && masked.is_none() {
            return Err(error(
                "it reads a multiplication that belongs to no Dropout".into(),
            ));
        }
        self.current = node.output.first().map_or("", String::as_str);
        let layer = match kind {
            "Identity" => return Ok(()),
            // PyTorch puts one before a pooling, whether there is padding or not.
            "Pad" => {
                let pads = match others.first() {
                    Some(pads) => self.integers(pads).map_err(error)?,
                    None => int_values(node, "pads"),
                };
                if pads.iter().any(|pad| *pad != 0) {
                    return Err(error("padding by a step of its own".into()));
                }
                return Ok(());
            }
            "Relu" => Layer::Relu,
            "GlobalAveragePool" => Layer::GlobalAvgPool,
            "Flatten" if int_attribute(node, "axis").unwrap_or(1) == 1 => Layer::Flatten,
            "Reshape" => self.reshape(&others).map_err(error)?,
            "Squeeze" => Layer::Flatten,
            "ReduceMean" => {
                let axes = match others.first() {
                    Some(axes) => self.integers(axes).map_err(error)?,
                    None => int_values(node, "axes"),
                };
                if !matches!(axes[..], [2, 3] | [-2, -1] | [-1, -2] | [3, 2]) {
                    return Err(error(format!(
                        "a mean over axes {axes:?}, not over rows and columns"
                    )));
                }
                if int_attribute(node, "keepdims") == Some(0) {
                    self.layers.push((name.into(), Layer::GlobalAvgPool));
                    Layer::Flatten
                } else {
                    Layer::GlobalAvgPool
                }
            }
            "Conv" => self.conv(node, &others).map_err(error)?,
            "MaxPool" => {
                if node.output.len() > 1 {
                    return Err(error("its second output is used".into()));
                }
                Layer::MaxPool(window(node, None).map_err(error)?)
            }
            "AveragePool" => Layer::AvgPool {
                window: window(node, None).map_err(error)?,
                count_padding: int_attribute(node, "count_include_pad") == Some(1),
            },
            "Gemm" => self.gemm(node, &others).map_err(error)?,
            "MatMul" => {
                if node.input[0] == others[0] {
                    return Err(error("the weights are on the left".into()));
                }
                let (weights, dims) = self.tensor(others[0]).map_err(error)?;
                let [inputs, outputs] = dims[..] else {
                    return Err(error(format!("weights of shape {dims:?}")));
                };
                Layer::Linear {
                    weights: transposed(&weights, inputs, outputs),
                    bias: vec![0.0; outputs],
                }
            }
            "Add" => return self.add(&others).map_err(error),
            "BatchNormalization" => self.batch_norm(node).map_err(error)?,
            "Mul" => match masked {
                Some(index) => {
                    if self.scaled.take().is_none() {
                        return Err(error("a mask without its scaling".into()));
                    }
                    let site = &self.model.sites()[index];
                    Layer::Dropout {
                        site: index as u32,
                        keep: site.keep,
                        scale: site.scale(),
                        // One element a channel, in a channel of any size.
                        per_channel: matches!(site.shape[..], [_, 1, 1]),
                    }
                }
                None if self
                    .tensor(others[0])
                    .is_ok_and(|(values, _)| values.len() == 1) =>
                {
                    self.scaled = Some(name);
                    return Ok(());
                }
                None => return Err(error("a multiplication that belongs to no Dropout".into())),
            },
            _ => return Err(error("there is no such layer in it".into())),
        };
        self.layers.push((format!("{name} ({kind})"), layer));
        Ok(())
    }

    fn tensor(&self, name: &str) -> Result<(Vec<f32>, Vec<usize>), String> {
        let tensor = self
            .constants
            .get(name)
            .ok_or_else(|| format!("{name:?} is not a constant"))?;
        let values = floats(tensor).ok_or_else(|| format!("{name:?} does not hold floats"))?;
        Ok((values, tensor.dims.iter().map(|&n| n as usize).collect()))
    }

    fn integers(&self, name: &str) -> Result<Vec<i64>, String> {
        let tensor = self
            .constants
            .get(name)
            .ok_or_else(|| format!("{name:?} is not a constant"))?;
        let (values, _) = tensor.raw_data.as_chunks::<8>();
        Ok(values
            .iter()
            .map(|bytes| i64::from_le_bytes(*bytes))
            .collect())
    }

    fn reshape(&self, others: &[&str]) -> Result<Layer, String> {
        let shape = self.integers(others.first().ok_or("it has no shape")?)?;
        match shape[..] {
            [_, _] => Ok(Layer::Flatten),
            _ => Err(format!("a reshape to {shape:?}, not to [batch, values]")),
        }
    }

    fn conv(&self, node: &NodeProto, others: &[&str]) -> Result<Layer, String> {
        let group = int_attribute(node, "group").unwrap_or(1);
        if group != 1 {
            return Err(format!("{group} groups, only one is supported"));
        }
        let (weights, dims) = self.tensor(others[0])?;
        let [outputs, _, rows, columns] = dims[..] else {
            return Err(format!(
                "weights of shape {dims:?}: only images are supported"
            ));
        };
        let bias = match others.get(1).filter(|name| !name.is_empty()) {
            Some(bias) => self.tensor(bias)?.0,
            None => vec![0.0; outputs],
        };
        Ok(Layer::Conv {
            window: window(node, Some([rows, columns]))?,
            weights,
            bias,
        })
    }

    fn gemm(&self, node: &NodeProto, others: &[&str]) -> Result<Layer, String> {
        if int_attribute(node, "transA").unwrap_or(0) != 0 || node.input[0] == others[0] {
            return Err("the weights are not on the right".into());
        }
        let factor = |name| attribute(node, name).map_or(1.0, |a| a.f);
        let (weights, dims) = self.tensor(others[0])?;
        let [a, b] = dims[..] else {
            return Err(format!("weights of shape {dims:?}"));
        };
        let (mut weights, outputs) = if int_attribute(node, "transB").unwrap_or(0) == 0 {
            (transposed(&weights, a, b), b)
        } else {
            (weights, a)
        };
        let mut bias = match others.get(1).filter(|name| !name.is_empty()) {
            Some(bias) => self.tensor(bias)?.0,
            None => vec![0.0; outputs],
        };
        if bias.len() == 1 {
            bias = vec![bias[0]; outputs];
        }
        if bias.len() != outputs {
            return Err(format!("{} biases for {outputs} outputs", bias.len()));
        }
        for weight in &mut weights {
            *weight *= factor("alpha");
        }
        for bias in &mut bias {
            *bias *= factor("beta");
        }
        Ok(Layer::Linear { weights, bias })
    }

    /// A constant that is added to the outputs of a layer with biases is more bias.
    fn add(&mut self, others: &[&str]) -> Result<(), String> {
        let (values, dims) = self.tensor(others[0])?;
        let per_output = |outputs: usize, image: bool| {
            let wanted: &[usize] = if image { &[outputs, 1, 1] } else { &[outputs] };
            let ones = dims.len().saturating_sub(wanted.len());
            values.len() == outputs
                && dims[..ones].iter().all(|&n| n == 1)
                && dims[ones..] == *wanted
        };
        let fits = match self.layers.last() {
            Some((_, Layer::Linear { bias, .. })) => per_output(bias.len(), false),
            Some((_, Layer::Conv { bias, .. })) => per_output(bias.len(), true),
            _ => false,
        };
        match self.layers.last_mut() {
            Some((_, Layer::Linear { bias, .. } | Layer::Conv { bias, .. })) if fits => {
                bias.iter_mut()
                    .zip(values)
                    .for_each(|(bias, value)| *bias += value);
                Ok(())
            }
            _ => Err("it is not the bias of the layer before it".into()),
        }
    }

    fn batch_norm(&self, node: &NodeProto) -> Result<Layer, String> {
        let mut statistics = Vec::new();
        for name in &node.input[1..] {
            statistics.push(self.tensor(name)?.0);
        }
        let [scale, shift, mean, variance] = &statistics[..] else {
            return Err("it does not have four statistics".into());
        };
        let epsilon = attribute(node, "epsilon").map_or(1e-5, |a| a.f);
        let scale: Vec<f32> = scale
            .iter()
            .zip(variance)
            .map(|(s, v)| s / (v + epsilon).sqrt())
            .collect();
        let shift = shift
            .iter()
            .zip(mean)
            .zip(&scale)
            .map(|((b, m), s)| b - m * s)
            .collect();
        Ok(Layer::BatchNorm { scale, shift })
    }
}

fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns)
        .flat_map(|column| (0..rows).map(move |row| values[row * columns + column]))
        .collect()
}

/// The window of a Conv or a pooling.
fn window(node: &NodeProto, kernel: Option<[usize; 2]>) -> Result<Window, String> {
    let sizes = |name: &str| {
        int_values(node, name)
            .into_iter()
            .map(|n| n.max(0) as usize)
            .collect::<Vec<_>>()
    };
    let pair = |name: &str| match sizes(name)[..] {
        [] => Ok(None),
        [rows, columns] => Ok(Some([rows, columns])),
        _ => Err(format!("its {name} are not for an image")),
    };
    let kernel = pair("kernel_shape")?
        .or(kernel)
        .ok_or("it has no kernel_shape")?;
    if pair("dilations")?.is_some_and(|dilations| dilations != [1, 1]) {
        return Err("its kernel is dilated".into());
    }
    if int_attribute(node, "ceil_mode").unwrap_or(0) != 0 {
        return Err("it rounds its size up (ceil_mode)".into());
    }
    let auto_pad = attribute(node, "auto_pad").map_or(&b"NOTSET"[..], |a| &a.s);
    let padding = match (auto_pad, &sizes("pads")[..]) {
        (b"NOTSET" | b"", [top, left, bottom, right]) => [*top, *left, *bottom, *right],
        (b"NOTSET" | b"" | b"VALID", _) => [0; 4],
        _ => {
            return Err(format!(
                "its auto_pad is {}",
                String::from_utf8_lossy(auto_pad)
            ));
        }
    };
    Ok(Window {
        kernel,
        stride: pair("strides")?.unwrap_or([1, 1]),
        padding,
    })
}
