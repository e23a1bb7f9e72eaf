//! What a file has to satisfy before anything is computed from it.
//!
//! tract and onnxruntime trust much of what a model declares, and a damaged file could make them
//! allocate without bound or panic. So names, sizes and attributes are checked here first.

use std::collections::HashSet;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto};

use super::limits::{MAX_ELEMENTS, MAX_EXTENT};
use super::proto::{attribute, element_size, node_name};
use super::{OPSETS, OnnxError, bernoulli};

fn invalid(reason: impl Into<String>) -> OnnxError {
    OnnxError::Invalid(reason.into())
}

/// The version of the standard operator set.
pub(super) fn opset(model: &ModelProto) -> Result<i64, OnnxError> {
    let version = model
        .opset_import
        .iter()
        .find(|set| is_standard_domain(&set.domain))
        .map(|set| set.version)
        .ok_or_else(|| invalid("it names no operator set"))?;
    if OPSETS.contains(&version) {
        Ok(version)
    } else {
        Err(OnnxError::Opset(version))
    }
}

fn is_standard_domain(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

/// Number of elements the tensor declares.
pub(super) fn elements(tensor: &TensorProto) -> Result<usize, String> {
    let mut dims = tensor.dims.iter().map(|&d| usize::try_from(d).ok());
    dims.try_fold(1_usize, |count, d| count.checked_mul(d?))
        .filter(|&count| count <= MAX_ELEMENTS)
        .ok_or_else(|| format!("its shape {:?} is impossible", tensor.dims))
}

/// Number of bytes the tensor's data have.
pub(super) fn byte_length(tensor: &TensorProto) -> Result<usize, String> {
    let size = element_size(tensor.data_type).ok_or_else(|| {
        let name = DataType::try_from(tensor.data_type)
            .map_or_else(|_| tensor.data_type.to_string(), |t| t.as_str_name().into());
        format!("its element type {name} is not supported")
    })?;
    Ok(elements(tensor)? * size)
}

/// Checks the tensor and moves its data to `raw_data`, the form every later step reads.
pub(super) fn tensor(tensor: &mut TensorProto) -> Result<(), OnnxError> {
    normalise(tensor).map_err(|reason| OnnxError::Tensor {
        tensor: tensor.name.clone(),
        reason,
    })?;
    finite(tensor)
}

fn normalise(tensor: &mut TensorProto) -> Result<(), String> {
    let expected = byte_length(tensor)?;
    if tensor.segment.is_some() {
        return Err("it is stored in segments, which is not supported".into());
    }
    if tensor.raw_data.is_empty() {
        tensor.raw_data = typed_data(tensor)?;
    }
    tensor.float_data.clear();
    tensor.double_data.clear();
    tensor.int32_data.clear();
    tensor.int64_data.clear();
    tensor.uint64_data.clear();
    if tensor.raw_data.len() == expected {
        Ok(())
    } else {
        Err(format!(
            "it has {} bytes of data, and its shape {:?} needs {expected}",
            tensor.raw_data.len(),
            tensor.dims
        ))
    }
}

/// Little-endian bytes of the field that ONNX prescribes for the tensor's type.
fn typed_data(tensor: &TensorProto) -> Result<Vec<u8>, String> {
    let narrow = |bytes: usize| -> Vec<u8> {
        let values = tensor.int32_data.iter();
        values
            .flat_map(|v| v.to_le_bytes()[..bytes].to_vec())
            .collect()
    };
    let data_type = DataType::try_from(tensor.data_type).map_err(|e| e.to_string())?;
    Ok(match data_type {
        DataType::Float => tensor
            .float_data
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect(),
        DataType::Double => tensor
            .double_data
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect(),
        DataType::Int64 => tensor
            .int64_data
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect(),
        DataType::Uint64 => tensor
            .uint64_data
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect(),
        DataType::Uint32 => {
            let values = tensor.uint64_data.iter();
            values.flat_map(|v| (*v as u32).to_le_bytes()).collect()
        }
        _ => narrow(element_size(tensor.data_type).unwrap_or(0)),
    })
}

/// Refuses NaN anywhere, and infinities except in a scalar (the bound of a Clip is often one).
fn finite(tensor: &TensorProto) -> Result<(), OnnxError> {
    let class = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Float) => worst(&tensor.raw_data, |b: [u8; 4]| f32::from_le_bytes(b).into()),
        Ok(DataType::Double) => worst(&tensor.raw_data, f64::from_le_bytes),
        // The exponent's bits all set, and then the mantissa tells infinity from NaN.
        Ok(DataType::Float16) => {
            worst(&tensor.raw_data, |b| match u16::from_le_bytes(b) & 0x7fff {
                0..0x7c00 => 0.0,
                0x7c00 => f64::INFINITY,
                _ => f64::NAN,
            })
        }
        _ => None,
    };
    let value = match class {
        Some(v) if v.is_nan() => "NaN",
        Some(_) if tensor.dims.iter().product::<i64>() > 1 => "infinite",
        _ => return Ok(()),
    };
    Err(OnnxError::NonFinite {
        tensor: tensor.name.clone(),
        value,
    })
}

/// A NaN if there is one, else an infinity if there is one.
fn worst<const N: usize>(data: &[u8], read: impl Fn([u8; N]) -> f64) -> Option<f64> {
    let values = data.as_chunks::<N>().0.iter().map(|&bytes| read(bytes));
    let mut odd = values.filter(|v| !v.is_finite());
    let first = odd.next()?;
    Some(odd.find(|v| v.is_nan()).unwrap_or(first))
}

/// Checks names, order, operators and attributes of the graph's nodes.
pub(super) fn graph(graph: &GraphProto, model: &ModelProto) -> Result<(), OnnxError> {
    if !graph.sparse_initializer.is_empty() {
        return Err(invalid("it has sparse weights, which are not supported"));
    }
    let register = tract_onnx::onnx().op_register.0;
    let mut defined: HashSet<&str> = HashSet::new();
    for tensor in &graph.initializer {
        if tensor.name.is_empty() || !defined.insert(&tensor.name) {
            return Err(invalid(format!(
                "the weight name {:?} is empty or used twice",
                tensor.name
            )));
        }
    }
    let mut inputs: HashSet<&str> = HashSet::new();
    for input in &graph.input {
        // Files older than IR version 4 list the weights among the inputs.
        defined.insert(&input.name);
        if input.name.is_empty() || !inputs.insert(&input.name) {
            return Err(invalid(format!(
                "the input name {:?} is empty or used twice",
                input.name
            )));
        }
    }
    for node in &graph.node {
        operator(node, model, |op| register.contains_key(op))?;
        let missing = node
            .input
            .iter()
            .find(|name| !name.is_empty() && !defined.contains(name.as_str()));
        if let Some(missing) = missing {
            return Err(invalid(format!(
                "node {} ({}) reads {missing:?}, which nothing before it writes",
                node_name(node),
                node.op_type
            )));
        }
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            if !defined.insert(output) {
                return Err(invalid(format!("{output:?} is written twice")));
            }
        }
        attributes(node)?;
    }
    match graph
        .output
        .iter()
        .find(|o| !defined.contains(o.name.as_str()))
    {
        None => Ok(()),
        Some(output) => Err(invalid(format!(
            "nothing writes the output {:?}",
            output.name
        ))),
    }
}

fn operator(
    node: &NodeProto,
    model: &ModelProto,
    known: impl Fn(&str) -> bool,
) -> Result<(), OnnxError> {
    let refuse = |hint| {
        let op = if is_standard_domain(&node.domain) {
            node.op_type.clone()
        } else {
            format!("{}:{}", node.domain, node.op_type)
        };
        Err(OnnxError::UnsupportedOperator {
            op,
            node: node_name(node).into(),
            hint,
        })
    };
    let is_function = |f: &tract_onnx::pb::FunctionProto| {
        f.name.as_deref() == Some(&node.op_type) && f.domain.as_deref() == Some(&node.domain)
    };
    match node.op_type.as_str() {
        "If" | "Loop" | "Scan" => refuse(": control flow cannot be cut into stem and head"),
        _ if model.functions.iter().any(is_function) => {
            refuse(": it is a function of the model's own; inline it with onnx.inliner")
        }
        _ if !is_standard_domain(&node.domain) => refuse(""),
        op if !known(op) && !bernoulli::draws(op) => refuse(""),
        _ if node
            .attribute
            .iter()
            .any(|a| a.g.is_some() || !a.graphs.is_empty()) =>
        {
            refuse(": control flow cannot be cut into stem and head")
        }
        _ => Ok(()),
    }
}

/// Fewest inputs of operators whose readers index them without looking.
fn fewest_inputs(op: &str) -> usize {
    match op {
        "BatchNormalization" => 5,
        "InstanceNormalization" | "Where" => 3,
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Mod" | "And" | "Or" | "Xor" | "Equal"
        | "Greater" | "Less" | "GreaterOrEqual" | "LessOrEqual" | "MatMul" | "Gemm" | "Conv"
        | "ConvTranspose" | "Reshape" | "Gather" | "GatherElements" | "GatherND" | "Expand"
        | "Tile" | "PRelu" | "LayerNormalization" => 2,
        "Constant" | "RandomNormal" | "RandomUniform" | "Range" | "EyeLike" => 0,
        _ => 1,
    }
}

fn attributes(node: &NodeProto) -> Result<(), OnnxError> {
    let fail = |reason: String| {
        Err(invalid(format!(
            "node {} ({}): {reason}",
            node_name(node),
            node.op_type
        )))
    };
    let fewest = fewest_inputs(&node.op_type);
    let given = node
        .input
        .iter()
        .take_while(|name| !name.is_empty())
        .count();
    if given < fewest {
        return fail(format!("it has {given} inputs and needs {fewest}"));
    }
    if node.output.first().is_none_or(String::is_empty) {
        return fail("it has no output".into());
    }
    if matches!(
        node.op_type.as_str(),
        "Conv" | "ConvTranspose" | "MaxPool" | "AveragePool" | "LpPool"
    ) {
        for (name, lowest) in [
            ("kernel_shape", 1),
            ("strides", 1),
            ("dilations", 1),
            ("pads", 0),
        ] {
            let values = attribute(node, name).map_or(&[][..], |a| &a.ints);
            if values.iter().any(|v| !(lowest..=MAX_EXTENT).contains(v)) {
                return fail(format!("{name} {values:?} is out of range"));
            }
        }
        if let Some(group) = attribute(node, "group")
            && !(1..=MAX_EXTENT).contains(&group.i)
        {
            return fail(format!("group {} is out of range", group.i));
        }
    }
    Ok(())
}

/// Checks that a node's input has as many axes as its attributes and weights are for; `rank` tells
/// the number of axes of a tensor.
pub(super) fn axes(
    node: &NodeProto,
    rank: impl Fn(&str) -> Option<usize>,
) -> Result<(), OnnxError> {
    let fail = |reason: String| {
        Err(OnnxError::Shapes(format!(
            "node {} ({}) {reason}",
            node_name(node),
            node.op_type
        )))
    };
    let spatial = match node.op_type.as_str() {
        "Conv" | "ConvTranspose" => rank(&node.input[1]).and_then(|rank| rank.checked_sub(2)),
        "MaxPool" | "AveragePool" | "LpPool" => {
            attribute(node, "kernel_shape").map(|a| a.ints.len())
        }
        "BatchNormalization"
        | "InstanceNormalization"
        | "GlobalAveragePool"
        | "GlobalMaxPool"
        | "GlobalLpPool"
        | "LRN"
        | "DepthToSpace"
        | "SpaceToDepth" => {
            return match rank(&node.input[0]) {
                Some(rank) if rank >= 2 => Ok(()),
                _ => fail("needs an input of 2 axes or more".into()),
            };
        }
        _ => return Ok(()),
    };
    let Some(spatial) = spatial.filter(|&n| n > 0) else {
        return fail("has a kernel of unknown or no extent".into());
    };
    let input = rank(&node.input[0]);
    if input != Some(spatial + 2) {
        let got = input.map_or("unknown many".into(), |n| n.to_string());
        return fail(format!("needs an input of {} axes, not {got}", spatial + 2));
    }
    for (name, expected) in [
        ("kernel_shape", spatial),
        ("strides", spatial),
        ("dilations", spatial),
        ("output_padding", spatial),
        ("pads", 2 * spatial),
    ] {
        if let Some(given) = attribute(node, name).map(|a| a.ints.len())
            && given != expected
        {
            return fail(format!(
                "has {given} {name}, and its kernel needs {expected}"
            ));
        }
    }
    Ok(())
}
