//! Reading and building the protobuf messages of ONNX.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

pub(crate) fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|a| a.name == name)
}

pub(crate) fn int_attribute(node: &NodeProto, name: &str) -> Option<i64> {
    attribute(node, name).map(|a| a.i)
}

/// A list of integers; empty if the node does not have it.
pub(crate) fn int_values(node: &NodeProto, name: &str) -> Vec<i64> {
    attribute(node, name).map_or_else(Vec::new, |a| a.ints.clone())
}

/// What messages call a node: its name, or that of its first output when it has none.
pub(crate) fn node_name(node: &NodeProto) -> &str {
    if node.name.is_empty() {
        node.output.iter().find(|o| !o.is_empty()).map_or("", |o| o)
    } else {
        &node.name
    }
}

/// Bytes of one element, for the types this library can hold.
pub(super) fn element_size(data_type: i32) -> Option<usize> {
    match DataType::try_from(data_type).ok()? {
        DataType::Bool | DataType::Uint8 | DataType::Int8 => Some(1),
        DataType::Uint16 | DataType::Int16 | DataType::Float16 => Some(2),
        DataType::Float | DataType::Int32 | DataType::Uint32 => Some(4),
        DataType::Double | DataType::Int64 | DataType::Uint64 => Some(8),
        _ => None,
    }
}

fn raw_values<const N: usize, T>(tensor: &TensorProto, read: fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = tensor.raw_data.as_chunks::<N>();
    chunks.iter().map(|bytes| read(*bytes)).collect()
}

/// The values of a floating-point tensor whose data are in `raw_data`.
pub(crate) fn floats(tensor: &TensorProto) -> Option<Vec<f32>> {
    match DataType::try_from(tensor.data_type).ok()? {
        DataType::Float => Some(raw_values(tensor, f32::from_le_bytes)),
        DataType::Double => Some(
            raw_values(tensor, f64::from_le_bytes)
                .into_iter()
                .map(|v| v as f32)
                .collect(),
        ),
        _ => None,
    }
}

/// The value of a boolean scalar whose data are in `raw_data`.
pub(super) fn boolean(tensor: &TensorProto) -> Option<bool> {
    let is_boolean = tensor.data_type == DataType::Bool as i32;
    (is_boolean && tensor.raw_data.len() == 1).then(|| tensor.raw_data[0] != 0)
}

/// A constant without dimensions.
#[must_use]
pub fn float_scalar(name: impl Into<String>, value: f32) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type: DataType::Float as i32,
        raw_data: value.to_le_bytes().to_vec(),
        ..TensorProto::default()
    }
}

pub(super) fn integers(name: impl Into<String>, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: vec![values.len() as i64],
        data_type: DataType::Int64 as i32,
        raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

pub(super) fn node(op: &str, name: impl Into<String>, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: name.into(),
        input: inputs.iter().map(|&s| s.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
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

pub(super) fn with_int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Int as i32,
        i: value,
        ..AttributeProto::default()
    }
}

pub(super) fn with_ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Ints as i32,
        ints: values.to_vec(),
        ..AttributeProto::default()
    }
}

/// One dimension of a declared shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// Of this size.
    Fixed(usize),
    /// Of a size that the caller chooses.
    Named(&'static str),
}

/// An input or output of a graph.
#[must_use]
pub fn value_info(name: &str, data_type: DataType, dims: &[Dim]) -> ValueInfoProto {
    let dim = dims
        .iter()
        .map(|dim| Dimension {
            value: Some(match dim {
                Dim::Fixed(n) => dimension::Value::DimValue(*n as i64),
                Dim::Named(name) => dimension::Value::DimParam((*name).into()),
            }),
            ..Dimension::default()
        })
        .collect();
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: data_type as i32,
                shape: Some(TensorShapeProto { dim }),
            })),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

/// The declared element type and dimensions of a graph input; a dimension without a fixed size is
/// `None`.
pub(super) fn declared(info: &ValueInfoProto) -> Option<(i32, Option<Vec<Option<i64>>>)> {
    let type_proto::Value::TensorType(tensor) = info.r#type.as_ref()?.value.as_ref()?;
    let dims = tensor.shape.as_ref().map(|shape| {
        shape
            .dim
            .iter()
            .map(|d| match d.value {
                Some(dimension::Value::DimValue(n)) => Some(n),
                _ => None,
            })
            .collect()
    });
    Some((tensor.elem_type, dims))
}
