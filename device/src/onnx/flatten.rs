//! Pictures that are flattened with their channels last.
//!
//! A network from TensorFlow computes with the channels last. Its exporter has the convolutions with
//! channels first, and a Transpose before the picture becomes a row, whose weights expect that order.
//! With their rows in the other order the Transpose can go, and engines that know no Transpose run the
//! network. Masks of a dropout in between belong to elements in the new order then.

use tract_onnx::pb::{NodeProto, TensorProto};

use super::analysis::Facts;
use super::network::{Network, fresh};
use super::proto::{attribute, floats, int_attribute};

/// Removes each such Transpose that the weights behind it can make up for. `facts` stay true of every
/// tensor that is left.
pub(super) fn fold(network: &mut Network, facts: &Facts) {
    for index in 0..network.nodes.len() {
        let node = &network.nodes[index];
        let is_last = |node: &NodeProto| {
            node.op_type == "Transpose"
                && attribute(node, "perm").is_some_and(|a| a.ints == [0, 2, 3, 1])
        };
        let picture = facts.get(&node.input.first().cloned().unwrap_or_default());
        let (true, Some(&[1, channels, rows, columns])) =
            (is_last(node), picture.map(|fact| &fact.shape[..]))
        else {
            continue;
        };
        let source = node.input[0].clone();
        let Some((flatten, product)) = follow(network, facts, &node.output[0]) else {
            continue;
        };
        let (gemm, old) = {
            let node = &network.nodes[product];
            (node.op_type == "Gemm", node.input[1].clone())
        };
        let by_rows = !gemm || int_attribute(&network.nodes[product], "transB").unwrap_or(0) == 0;
        let area = rows * columns;
        let place = |to: usize| to % area * channels + to / area;
        let weights = network.initializers.get(&old);
        let Some(mut new) = weights.and_then(|w| permuted(w, by_rows, channels * area, place))
        else {
            continue;
        };
        new.name = fresh(&format!("{old}.channels_first"), |name| network.has(name));
        network.nodes[product].input[1].clone_from(&new.name);
        network.initializers.insert(new.name.clone(), new);
        network.nodes[flatten].input[0] = source;
    }
}

/// From a picture with channels last, the node that makes it a row and the one that weighs that, if
/// nothing else reads what is in between.
fn follow(network: &Network, facts: &Facts, picture: &str) -> Option<(usize, usize)> {
    let reader = |tensor: &str| {
        let mut readers = network.nodes.iter().enumerate();
        let mut readers = readers
            .by_ref()
            .filter(|(_, n)| n.input.iter().any(|i| i == tensor));
        let only = readers.next()?;
        let alone = readers.next().is_none() && !network.outputs.iter().any(|o| o == tensor);
        (alone && only.1.input[0] == tensor).then_some(only)
    };
    let (flatten, node) = reader(picture)?;
    let makes_row = matches!(facts.get(&node.output[0])?.shape[..], [1, _]);
    (makes_row && matches!(node.op_type.as_str(), "Reshape" | "Flatten")).then_some(())?;
    let mut row = &node.output[0];
    loop {
        let (index, node) = reader(row)?;
        match node.op_type.as_str() {
            "Relu" => {}
            "Dropout" if node.input.len() == 1 => {}
            "MatMul" => return Some((flatten, index)),
            "Gemm" if int_attribute(node, "transA").unwrap_or(0) == 0 => {
                return Some((flatten, index));
            }
            _ => return None,
        }
        row = &node.output[0];
    }
}

/// A matrix with its rows, or its columns, in another order: `place` tells where each comes from.
fn permuted(
    matrix: &TensorProto,
    by_rows: bool,
    inputs: usize,
    place: impl Fn(usize) -> usize,
) -> Option<TensorProto> {
    let values = floats(matrix)?;
    let [rows, columns] = matrix.dims[..] else {
        return None;
    };
    let (rows, columns) = (rows as usize, columns as usize);
    if inputs != if by_rows { rows } else { columns } || values.len() != rows * columns {
        return None;
    }
    let mut raw = Vec::with_capacity(4 * values.len());
    for row in 0..rows {
        for column in 0..columns {
            let from = if by_rows {
                place(row) * columns + column
            } else {
                row * columns + place(column)
            };
            raw.extend(values[from].to_le_bytes());
        }
    }
    Some(TensorProto {
        dims: matrix.dims.clone(),
        data_type: tract_onnx::pb::tensor_proto::DataType::Float as i32,
        raw_data: raw,
        ..TensorProto::default()
    })
}
