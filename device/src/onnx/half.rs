//! Half precision widened to single.
//!
//! Engines compute in single precision, and masks are drawn in it. Single precision holds every half
//! exactly, so a widened model differs from its file by the rounding that it leaves out.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};
use tract_onnx::prelude::f16;

const HALF: i32 = DataType::Float16 as i32;
const SINGLE: i32 = DataType::Float as i32;

/// Makes every half-precision constant, and every node that makes halves, one of single precision.
/// Constants have their data in `raw_data`. The declared type of the input stays.
pub(super) fn widen(graph: &mut GraphProto) {
    graph.initializer.iter_mut().for_each(tensor);
    for node in &mut graph.node {
        attributes(node);
    }
}

fn attributes(node: &mut NodeProto) {
    for attribute in &mut node.attribute {
        if matches!(attribute.name.as_str(), "to" | "dtype") && attribute.i == i64::from(HALF) {
            attribute.i = SINGLE.into();
        }
        attribute.t.iter_mut().for_each(tensor);
    }
}

fn tensor(tensor: &mut TensorProto) {
    if tensor.data_type != HALF {
        return;
    }
    let (halves, _) = tensor.raw_data.as_chunks::<2>();
    let single = |bytes: &[u8; 2]| f16::from_bits(u16::from_le_bytes(*bytes)).to_f32();
    tensor.raw_data = halves
        .iter()
        .flat_map(|b| single(b).to_le_bytes())
        .collect();
    tensor.data_type = SINGLE;
}
