//! A builder of small ONNX files.

use prost::Message as _;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

/// How a Dropout node says what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Attribute,
    DefaultAttribute,
    Initializers,
    Constants,
    ThroughIdentity,
    DefaultRatio,
    TrainingInput,
}

#[derive(Debug, Clone)]
pub(super) struct Build {
    pub(super) model: ModelProto,
}

pub(super) fn float(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: DataType::Float as i32,
        raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

pub(super) fn ints(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: vec![values.len() as i64],
        data_type: DataType::Int64 as i32,
        int64_data: values.to_vec(),
        ..TensorProto::default()
    }
}

pub(super) fn boolean(name: &str, value: bool) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type: DataType::Bool as i32,
        int32_data: vec![value.into()],
        ..TensorProto::default()
    }
}

pub(super) fn int_attribute(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Int as i32,
        i,
        ..AttributeProto::default()
    }
}

pub(super) fn ints_attribute(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Ints as i32,
        ints: values.to_vec(),
        ..AttributeProto::default()
    }
}

pub(super) fn float_attribute(name: &str, f: f32) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Float as i32,
        f,
        ..AttributeProto::default()
    }
}

pub(super) fn tensor_attribute(name: &str, tensor: TensorProto) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Tensor as i32,
        t: Some(tensor),
        ..AttributeProto::default()
    }
}

/// A dimension of 0 is dynamic.
pub(super) fn value(name: &str, data_type: DataType, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().map(|&n| Dimension {
        value: Some(if n == 0 {
            dimension::Value::DimParam("batch".into())
        } else {
            dimension::Value::DimValue(n)
        }),
        ..Dimension::default()
    });
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: data_type as i32,
                shape: Some(TensorShapeProto { dim: dim.collect() }),
            })),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

/// Values that differ from each other, some of them negative.
pub(super) fn pattern(count: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 7 + 3) % 11) as f32 / 5.5 - 0.9)
        .collect()
}

impl Build {
    /// A graph with the input `x`; a dimension of 0 is dynamic.
    pub(super) fn new(opset: i64, input: &[i64]) -> Self {
        let graph = GraphProto {
            name: "test".into(),
            input: vec![value("x", DataType::Float, input)],
            ..GraphProto::default()
        };
        Self {
            model: ModelProto {
                ir_version: 8,
                opset_import: vec![OperatorSetIdProto {
                    domain: String::new(),
                    version: opset,
                }],
                graph: Some(graph),
                ..ModelProto::default()
            },
        }
    }

    pub(super) fn graph(&mut self) -> &mut GraphProto {
        self.model.graph.as_mut().unwrap()
    }

    fn opset(&self) -> i64 {
        self.model.opset_import[0].version
    }

    pub(super) fn tensor(mut self, tensor: TensorProto) -> Self {
        self.graph().initializer.push(tensor);
        self
    }

    pub(super) fn weight(self, name: &str, dims: &[i64]) -> Self {
        let count = dims.iter().product::<i64>() as usize;
        self.tensor(float(name, dims, &pattern(count)))
    }

    pub(super) fn input(mut self, input: ValueInfoProto) -> Self {
        self.graph().input.push(input);
        self
    }

    pub(super) fn output(mut self, name: &str) -> Self {
        let output = value(name, DataType::Float, &[0, 0]);
        self.graph().output.push(output);
        self
    }

    /// A node named after its operator and first output.
    pub(super) fn node(
        mut self,
        op: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[AttributeProto],
    ) -> Self {
        self.graph().node.push(NodeProto {
            op_type: op.into(),
            name: format!("{op}_{}", outputs[0]),
            input: inputs.iter().map(|&s| s.into()).collect(),
            output: outputs.iter().map(|&s| s.into()).collect(),
            attribute: attributes.to_vec(),
            ..NodeProto::default()
        });
        self
    }

    pub(super) fn constant(self, tensor: TensorProto) -> Self {
        let name = tensor.name.clone();
        self.node(
            "Constant",
            &[],
            &[&name],
            &[tensor_attribute("value", tensor)],
        )
    }

    /// A Dropout in the given form. Forms without a ratio of their own drop half.
    pub(super) fn dropout(self, form: Form, input: &str, output: &str, ratio: f32) -> Self {
        let (r, t, u) = (
            format!("{output}.r"),
            format!("{output}.t"),
            format!("{output}.u"),
        );
        let (r, t, u) = (r.as_str(), t.as_str(), u.as_str());
        match form {
            Form::Attribute => self.node(
                "Dropout",
                &[input],
                &[output],
                &[float_attribute("ratio", ratio)],
            ),
            Form::DefaultAttribute => self.node("Dropout", &[input], &[output], &[]),
            Form::Initializers => self
                .tensor(float(r, &[], &[ratio]))
                .tensor(boolean(t, true))
                .node("Dropout", &[input, r, t], &[output], &[]),
            Form::Constants => self
                .constant(float(r, &[], &[ratio]))
                .constant(boolean(t, true))
                .node("Dropout", &[input, r, t], &[output], &[]),
            Form::ThroughIdentity => self
                .tensor(float(r, &[], &[ratio]))
                .constant(boolean(t, true))
                .node("Identity", &[t], &[u], &[])
                .node("Dropout", &[input, r, u], &[output], &[]),
            Form::DefaultRatio => {
                self.tensor(boolean(t, true))
                    .node("Dropout", &[input, "", t], &[output], &[])
            }
            Form::TrainingInput => self
                .tensor(float(r, &[], &[ratio]))
                .input(value(t, DataType::Bool, &[]))
                .node("Dropout", &[input, r, t], &[output], &[]),
        }
    }

    /// A live Dropout in a form the opset has.
    pub(super) fn live(self, input: &str, output: &str, ratio: f32) -> Self {
        let form = if self.opset() < 12 {
            Form::Attribute
        } else {
            Form::Constants
        };
        self.dropout(form, input, output, ratio)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.model.encode_to_vec()
    }
}

/// `y = dropout(x) · W`, four values to three classes.
pub(super) fn smallest(opset: i64, form: Form, ratio: f32) -> Build {
    Build::new(opset, &[0, 4])
        .dropout(form, "x", "dropped", ratio)
        .weight("w", &[4, 3])
        .node("MatMul", &["dropped", "w"], &["y"], &[])
        .output("y")
}
