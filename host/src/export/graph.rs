//! The LeNet's graph in ONNX's messages.

use device::onnx::proto::{Dim, float_scalar, value_info};
use shared::mask::KeepProbability;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    ValueInfoProto,
};

use crate::lenet::{SIDE, SITE_NAMES, SITE_SHAPES, SITES, TrainedModel};

/// Dropout has its `training_mode` since 12; 13 is what most runtimes know.
const OPSET: i64 = 13;
/// The file format's version that goes with opset 13.
const IR_VERSION: i64 = 7;

/// The model with live Dropout nodes, without metadata.
///
/// A wider net, which only its parameters' shapes tell, is written just so.
pub(super) fn lenet(model: &TrainedModel, keep: &[KeepProbability; SITES]) -> ModelProto {
    let mut graph = Graph {
        units: std::array::from_fn(|site| {
            let bias = model.parameters.get(2 * site + 1);
            bias.map_or(0, |bias| bias.values.len())
        }),
        ..Graph::default()
    };
    graph
        .inputs
        .push(value("image", DataType::Float, &[1, SIDE, SIDE]));
    graph.outputs.push(value(
        "logits",
        DataType::Float,
        &[model.architecture.classes],
    ));
    for parameter in &model.parameters {
        graph.initializers.push(TensorProto {
            name: parameter.name.clone(),
            dims: parameter.shape.iter().map(|&size| size as i64).collect(),
            data_type: DataType::Float as i32,
            raw_data: parameter
                .values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
            ..TensorProto::default()
        });
    }
    graph.initializers.push(TensorProto {
        name: "training_mode".into(),
        data_type: DataType::Bool as i32,
        raw_data: vec![1],
        ..TensorProto::default()
    });

    let x = graph.layer("Conv", "conv1", "image", &[ints("kernel_shape", &[5, 5])]);
    let x = graph.dropout(0, &x, keep);
    let x = graph.pool("1", &x);
    let x = graph.layer("Conv", "conv2", &x, &[ints("kernel_shape", &[5, 5])]);
    let x = graph.dropout(1, &x, keep);
    let x = graph.pool("2", &x);
    let x = graph.node("Flatten", "flatten", &[&x], &[int("axis", 1)]);
    let x = graph.layer("Gemm", "fc1", &x, &[int("transB", 1)]);
    let x = graph.node("Relu", "relu3", &[&x], &[]);
    let x = graph.dropout(2, &x, keep);
    graph.layer("Gemm", "fc2", &x, &[int("transB", 1)]);
    // The last layer's output is the graph's.
    if let Some(last) = graph.nodes.last_mut() {
        last.output = vec!["logits".into()];
    }

    ModelProto {
        ir_version: IR_VERSION,
        opset_import: vec![OperatorSetIdProto {
            version: OPSET,
            ..OperatorSetIdProto::default()
        }],
        producer_name: "mcdropout host export".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(GraphProto {
            name: "lenet".into(),
            node: graph.nodes,
            initializer: graph.initializers,
            input: graph.inputs,
            output: graph.outputs,
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

#[derive(Default)]
struct Graph {
    /// Channels or units of the layer before each site.
    units: [usize; SITES],
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    inputs: Vec<ValueInfoProto>,
    outputs: Vec<ValueInfoProto>,
}

impl Graph {
    /// A node with one output, named as the node. Returns that name.
    fn node(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&str],
        attributes: &[AttributeProto],
    ) -> String {
        self.nodes.push(NodeProto {
            op_type: op.into(),
            name: name.into(),
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![name.into()],
            attribute: attributes.to_vec(),
            ..NodeProto::default()
        });
        name.into()
    }

    /// A node with the weight and bias of the layer `name`.
    fn layer(
        &mut self,
        op: &str,
        name: &str,
        input: &str,
        attributes: &[AttributeProto],
    ) -> String {
        let inputs = [input, &format!("{name}.weight"), &format!("{name}.bias")];
        self.node(op, name, &inputs, attributes)
    }

    fn pool(&mut self, number: &str, input: &str) -> String {
        let window = [ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
        let pooled = self.node("MaxPool", &format!("pool{number}"), &[input], &window);
        self.node("Relu", &format!("relu{number}"), &[&pooled], &[])
    }

    /// A live Dropout whose mask is an output of the graph; nothing where everything is kept.
    fn dropout(&mut self, site: usize, input: &str, keep: &[KeepProbability; SITES]) -> String {
        if keep[site] == KeepProbability::ONE {
            return input.into();
        }
        let name = SITE_NAMES[site];
        let ratio = format!("{name}.ratio");
        // Exact: both are multiples of 2⁻¹⁶ not above 1.
        let dropped = (1.0 - keep[site].value()) as f32;
        self.initializers.push(float_scalar(&ratio, dropped));
        let output = self.node("Dropout", name, &[input, &ratio, "training_mode"], &[]);
        let mask = format!("keep_mask.{name}");
        let mut shape = SITE_SHAPES[site].to_vec();
        shape[0] = self.units[site];
        self.outputs.push(value(&mask, DataType::Bool, &shape));
        if let Some(node) = self.nodes.last_mut() {
            node.output.push(mask);
        }
        output
    }
}

/// A graph input or output: `[batch, …shape]`.
fn value(name: &str, element: DataType, shape: &[usize]) -> ValueInfoProto {
    let mut dims = vec![Dim::Named("batch")];
    dims.extend(shape.iter().map(|&size| Dim::Fixed(size)));
    value_info(name, element, &dims)
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Int as i32,
        i: value,
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
