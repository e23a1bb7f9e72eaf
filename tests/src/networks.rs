//! Classifiers written as layers, which become an ONNX file and, apart from that, a network of libtorch.

use std::ops::Range;

use device::engine::{Engine, EngineError, InputShape};
use prost::Message as _;
use shared::mask::{KeepProbability, MaskSource, philox4x32_10};
use tch::{Kind, Tensor};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

/// A step of a network. Weights are drawn when it is built.
#[derive(Debug, Clone, Copy)]
pub enum Layer {
    /// Convolution with a bias: output channels, kernel, stride, padding (top, left, bottom, right).
    Conv(i64, [i64; 2], [i64; 2], [i64; 4]),
    /// The same in as many groups as the last number says, square, without stride and padding.
    Grouped(i64, i64, i64),
    /// BatchNorm with statistics of its own, at inference.
    BatchNorm,
    /// Negative values become 0.
    Relu,
    /// Largest value: kernel, stride, padding on all sides.
    MaxPool(i64, i64, i64),
    /// Mean of a square window.
    AvgPool(i64),
    /// Image to vector.
    Flatten,
    /// Every output from every input, with a bias.
    Linear(i64),
    /// Every output is an input.
    Identity,
    /// Live dropout with the given ratio.
    Dropout(f32),
    /// The same of whole channels, in the form in which PyTorch exports `Dropout2d`.
    Dropout2d(f32),
}

/// A network, in both forms.
#[derive(Debug)]
pub struct Built {
    /// The ONNX file.
    pub onnx: Vec<u8>,
    /// The network in libtorch.
    pub torch: Torch,
}

/// What libtorch does, step by step.
#[derive(Debug)]
enum Step {
    Conv(Tensor, Tensor, [i64; 2], [i64; 4], i64),
    BatchNorm([Tensor; 4]),
    Relu,
    MaxPool(i64, i64, i64),
    AvgPool(i64),
    Flatten,
    Linear(Tensor, Tensor),
    /// Shape of a pass's mask, the probability to keep, and what is kept is multiplied by.
    Dropout(Vec<i64>, KeepProbability, f64),
}

/// A network in libtorch, as an engine.
#[derive(Debug)]
pub struct Torch {
    steps: Vec<Step>,
    shape: InputShape,
    classes: usize,
    masks: MaskSource,
    frame: Option<(u32, Tensor)>,
}

/// libtorch's own default, and ONNX's.
const EPSILON: f64 = 1e-5;

/// Builds the network of `layers` for one image of `shape`, `[channel][row][column]`, in an operator set;
/// `seed` selects weights and masks.
///
/// # Panics
/// If the layers do not fit.
#[must_use]
pub fn build(opset: i64, shape: [i64; 3], layers: &[Layer], seed: u64) -> Built {
    let mut graph = Graph::new(seed);
    let mut steps = Vec::new();
    // libtorch says what shape a layer gives.
    let mut shown = Tensor::zeros(
        [1, shape[0], shape[1], shape[2]],
        (Kind::Float, tch::Device::Cpu),
    );
    for &layer in layers {
        let step = graph.layer(layer, &shown.size()[1..]);
        shown = step.run(
            &shown,
            &mut |shape| Tensor::ones(shape, (Kind::Float, tch::Device::Cpu)),
            1,
        );
        steps.push(step);
    }
    let [1, classes] = shown.size()[..] else {
        panic!("the last layer gives {:?}", shown.size());
    };
    let [channels, height, width] = shape.map(|n| n as usize);
    Built {
        onnx: graph.file(opset, shape, classes).encode_to_vec(),
        torch: Torch {
            steps,
            shape: InputShape {
                channels,
                height,
                width,
            },
            classes: classes as usize,
            masks: MaskSource::new(seed),
            frame: None,
        },
    }
}

impl Step {
    /// `mask` draws the next site's masks, given their shape with the passes in front.
    fn run(&self, x: &Tensor, mask: &mut dyn FnMut(&[i64]) -> Tensor, passes: i64) -> Tensor {
        match self {
            Self::Conv(weights, bias, stride, [top, left, bottom, right], groups) => x
                .constant_pad_nd([*left, *right, *top, *bottom])
                .conv2d(weights, Some(bias), stride, [0, 0], [1, 1], *groups),
            Self::BatchNorm([scale, shift, mean, variance]) => x.batch_norm(
                Some(scale),
                Some(shift),
                Some(mean),
                Some(variance),
                false,
                0.0,
                EPSILON,
                false,
            ),
            Self::Relu => x.relu(),
            Self::MaxPool(kernel, stride, padding) => x.max_pool2d(
                [*kernel, *kernel],
                [*stride, *stride],
                [*padding, *padding],
                [1, 1],
                false,
            ),
            Self::AvgPool(kernel) => {
                let side = [*kernel, *kernel];
                x.avg_pool2d(side, side, [0, 0], false, true, None)
            }
            Self::Flatten => x.flatten(1, -1),
            Self::Linear(weights, bias) => x.linear(weights, Some(bias)),
            Self::Dropout(shape, _, scale) => {
                let shape: Vec<i64> = std::iter::once(passes)
                    .chain(shape.iter().copied())
                    .collect();
                x * mask(&shape) * *scale
            }
        }
    }
}

impl Engine for Torch {
    type Error = EngineError;

    fn name(&self) -> &'static str {
        "torch"
    }

    fn input_shape(&self) -> InputShape {
        self.shape
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn begin(&mut self, frame: u32, input: &[f32]) -> Result<(), EngineError> {
        let InputShape {
            channels,
            height,
            width,
        } = self.shape;
        let image =
            Tensor::from_slice(input).view([1, channels as i64, height as i64, width as i64]);
        self.frame = Some((frame, image));
        Ok(())
    }

    fn sample(&mut self, passes: Range<u32>, logits: &mut [f32]) -> Result<(), EngineError> {
        let (frame, image) = self.frame.as_ref().ok_or(EngineError::NoFrame)?;
        let keeps = self.steps.iter().filter_map(|step| match step {
            Step::Dropout(_, keep, _) => Some(*keep),
            _ => None,
        });
        let mut sites = (0..).zip(keeps);
        let mut draw = |shape: &[i64]| {
            let (site, keep) = sites.next().expect("a mask is drawn for every site");
            let elements = shape[1..].iter().product::<i64>() as usize;
            let mut mask = vec![0.0; passes.len() * elements];
            self.masks
                .fill(*frame, site, keep, passes.clone(), elements, &mut mask);
            Tensor::from_slice(&mask).view(shape)
        };
        let count = passes.len() as i64;
        let start = image.repeat([count, 1, 1, 1]);
        let run = |x: Tensor, step: &Step| step.run(&x, &mut draw, count);
        let output = tch::no_grad(|| self.steps.iter().fold(start, run));
        output.copy_data(logits, output.numel());
        Ok(())
    }
}

/// An ONNX graph that grows.
struct Graph {
    seed: u64,
    nodes: Vec<NodeProto>,
    weights: Vec<TensorProto>,
    /// Name of the last tensor.
    last: String,
}

impl Graph {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            nodes: Vec::new(),
            weights: Vec::new(),
            last: "image".into(),
        }
    }

    /// Adds a layer that reads the last tensor, of `shape` without the batch, and gives what libtorch
    /// does in its place.
    fn layer(&mut self, layer: Layer, shape: &[i64]) -> Step {
        match layer {
            Layer::Conv(channels, kernel, stride, padding) => {
                self.conv(shape[0], channels, kernel, stride, padding, 1)
            }
            Layer::Grouped(channels, side, groups) => {
                self.conv(shape[0], channels, [side, side], [1, 1], [0; 4], groups)
            }
            Layer::BatchNorm => {
                let drawn = |graph: &mut Self, mean: f32, spread: f32| {
                    graph.drawn(&[shape[0]], mean, spread)
                };
                let (scale, shift) = (drawn(self, 1.0, 0.5), drawn(self, 0.0, 0.5));
                let (mean, variance) = (drawn(self, 0.2, 0.5), drawn(self, 1.0, 0.7));
                let all = [scale, shift, mean, variance];
                let names = all.each_ref().map(|(name, _)| name.as_str());
                let attributes = [float("epsilon", EPSILON as f32)];
                self.node("BatchNormalization", &names, &attributes);
                Step::BatchNorm(all.map(|(_, tensor)| tensor))
            }
            Layer::Relu => {
                self.node("Relu", &[], &[]);
                Step::Relu
            }
            Layer::MaxPool(kernel, stride, padding) => {
                let attributes = [
                    ints("kernel_shape", &[kernel; 2]),
                    ints("strides", &[stride; 2]),
                    ints("pads", &[padding; 4]),
                ];
                self.node("MaxPool", &[], &attributes);
                Step::MaxPool(kernel, stride, padding)
            }
            Layer::AvgPool(kernel) => {
                let attributes = [
                    ints("kernel_shape", &[kernel; 2]),
                    ints("strides", &[kernel; 2]),
                ];
                self.node("AveragePool", &[], &attributes);
                Step::AvgPool(kernel)
            }
            Layer::Flatten => {
                self.node("Flatten", &[], &[]);
                Step::Flatten
            }
            Layer::Linear(outputs) => {
                let spread = (6.0 / shape[0] as f32).sqrt();
                let weights = self.drawn(&[outputs, shape[0]], 0.0, spread);
                let bias = self.drawn(&[outputs], 0.0, 0.3);
                self.linear(weights, bias)
            }
            Layer::Identity => {
                let weights = Tensor::eye(shape[0], (Kind::Float, tch::Device::Cpu));
                let bias = Tensor::zeros([shape[0]], (Kind::Float, tch::Device::Cpu));
                let (weights, bias) = (self.constant(weights), self.constant(bias));
                self.linear(weights, bias)
            }
            Layer::Dropout(ratio) => {
                let ratio_name = self.scalar(ratio);
                let training = format!("w{}", self.weights.len());
                self.weights.push(TensorProto {
                    name: training.clone(),
                    data_type: DataType::Bool as i32,
                    int32_data: vec![1],
                    ..TensorProto::default()
                });
                self.node("Dropout", &[&ratio_name, &training], &[]);
                dropout(shape.to_vec(), ratio)
            }
            Layer::Dropout2d(ratio) => {
                let activations = self.last.clone();
                let sizes = format!("w{}", self.weights.len());
                self.weights.push(TensorProto {
                    name: sizes.clone(),
                    dims: vec![4],
                    data_type: DataType::Int64 as i32,
                    int64_data: vec![1, shape[0], 1, 1],
                    ..TensorProto::default()
                });
                let keep = self.scalar(1.0 - ratio);
                self.last = sizes;
                self.node("ConstantOfShape", &[], &[]);
                self.node("RandomUniformLike", &[], &[]);
                self.node("Less", &[&keep], &[]);
                self.node("Cast", &[], &[int("to", DataType::Float as i64)]);
                self.node("Div", &[&keep], &[]);
                self.node("Mul", &[&activations], &[]);
                dropout(vec![shape[0], 1, 1], ratio)
            }
        }
    }

    fn conv(
        &mut self,
        inputs: i64,
        channels: i64,
        kernel: [i64; 2],
        stride: [i64; 2],
        padding: [i64; 4],
        groups: i64,
    ) -> Step {
        let shape = [channels, inputs / groups, kernel[0], kernel[1]];
        let spread = (6.0 / shape[1..].iter().product::<i64>() as f32).sqrt();
        let weights = self.drawn(&shape, 0.0, spread);
        let bias = self.drawn(&[channels], 0.0, 0.3);
        let attributes = [
            ints("kernel_shape", &kernel),
            ints("strides", &stride),
            ints("pads", &padding),
            int("group", groups),
        ];
        self.node("Conv", &[&weights.0, &bias.0], &attributes);
        Step::Conv(weights.1, bias.1, stride, padding, groups)
    }

    fn linear(&mut self, weights: (String, Tensor), bias: (String, Tensor)) -> Step {
        self.node("Gemm", &[&weights.0, &bias.0], &[int("transB", 1)]);
        Step::Linear(weights.1, bias.1)
    }

    /// Adds a node that reads the last tensor, and `more`.
    fn node(&mut self, op: &str, more: &[&str], attributes: &[AttributeProto]) {
        let output = format!("t{}", self.nodes.len());
        let mut input = vec![std::mem::replace(&mut self.last, output.clone())];
        input.extend(more.iter().map(|&name| name.to_owned()));
        self.nodes.push(NodeProto {
            op_type: op.into(),
            name: format!("{op}_{output}"),
            input,
            output: vec![output],
            attribute: attributes.to_vec(),
            ..NodeProto::default()
        });
    }

    /// Weights drawn uniformly from `mean ± spread`.
    fn drawn(&mut self, shape: &[i64], mean: f32, spread: f32) -> (String, Tensor) {
        let count = shape.iter().product::<i64>() as usize;
        let unit = uniform(self.seed, self.weights.len() as u32, count);
        let values: Vec<f32> = unit.map(|v| mean + spread * (2.0 * v - 1.0)).collect();
        self.constant(Tensor::from_slice(&values).view(shape))
    }

    fn constant(&mut self, tensor: Tensor) -> (String, Tensor) {
        let name = format!("w{}", self.weights.len());
        let mut values = vec![0.0f32; tensor.numel()];
        tensor.copy_data(&mut values, tensor.numel());
        self.weights.push(TensorProto {
            name: name.clone(),
            dims: tensor.size(),
            data_type: DataType::Float as i32,
            raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            ..TensorProto::default()
        });
        (name, tensor)
    }

    fn scalar(&mut self, value: f32) -> String {
        let name = format!("w{}", self.weights.len());
        self.weights.push(TensorProto {
            name: name.clone(),
            data_type: DataType::Float as i32,
            float_data: vec![value],
            ..TensorProto::default()
        });
        name
    }

    fn file(self, opset: i64, [c, h, w]: [i64; 3], classes: i64) -> ModelProto {
        ModelProto {
            ir_version: 8,
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: opset,
            }],
            graph: Some(GraphProto {
                name: "network".into(),
                input: vec![value("image", &[1, c, h, w])],
                output: vec![value(&self.last, &[1, classes])],
                node: self.nodes,
                initializer: self.weights,
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        }
    }
}

fn dropout(shape: Vec<i64>, ratio: f32) -> Step {
    let keep = 1.0 - f64::from(ratio);
    let probability = KeepProbability::from_f64(keep).expect("a probability");
    Step::Dropout(shape, probability, 1.0 / keep)
}

/// Numbers in 0..1.
pub fn uniform(seed: u64, index: u32, count: usize) -> impl Iterator<Item = f32> {
    let key = [seed as u32, (seed >> 32) as u32];
    let words = (0..).flat_map(move |block| philox4x32_10([block, 1, 2, index], key));
    words.map(|word| word as f32 / u32::MAX as f32).take(count)
}

/// An input or output of single-precision numbers.
#[must_use]
pub fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().map(|&n| Dimension {
        value: Some(dimension::Value::DimValue(n)),
        ..Dimension::default()
    });
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: DataType::Float as i32,
                shape: Some(TensorShapeProto { dim: dim.collect() }),
            })),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Int as i32,
        i,
        ..AttributeProto::default()
    }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Ints as i32,
        ints: values.to_vec(),
        ..AttributeProto::default()
    }
}

fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Float as i32,
        f,
        ..AttributeProto::default()
    }
}
