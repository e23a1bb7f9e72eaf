//! What goes into a network and what comes out: one image, and one row of class scores.

use std::collections::HashSet;

use tract_onnx::pb::tensor_proto::DataType;

use super::analysis::Facts;
use super::limits::{MAX_CLASSES, MAX_ELEMENTS, MAX_PASS_VALUES, MAX_VALUES};
use super::network::Network;
use super::{LOGITS, OnnxError};
use crate::engine::InputShape;

/// Sizes of one image with a batch axis of one in front.
pub(super) fn image_dims(network: &Network) -> Result<Vec<usize>, OnnxError> {
    let name = &network.input.name;
    let dims = &network.input.dims;
    let ([batch, rest @ ..], 2 | 4) = (dims.as_slice(), dims.len()) else {
        let sizes: Vec<String> = dims
            .iter()
            .map(|size| size.map_or("?".into(), |n| n.to_string()))
            .collect();
        return Err(OnnxError::Input(format!(
            "input {name} has the shape [{}]: an image classifier reads [batch, channels, height, width] or [batch, values]",
            sizes.join(", ")
        )));
    };
    if let Some(batch) = batch.filter(|&n| n != 1) {
        return Err(OnnxError::Input(format!(
            "input {name} has a fixed batch of {batch}: export the model with a batch of 1 or a dynamic one"
        )));
    }
    let mut dims = vec![1];
    for size in rest {
        match size.map(usize::try_from) {
            Some(Ok(n)) if (1..=MAX_ELEMENTS).contains(&n) => dims.push(n),
            Some(_) => {
                return Err(OnnxError::Input(format!(
                    "input {name} has a size that cannot be: {:?}",
                    network.input.dims
                )));
            }
            None => {
                return Err(OnnxError::Input(format!(
                    "input {name} has a dynamic size beside the batch: export the model with fixed channels, height and width"
                )));
            }
        }
    }
    Ok(dims)
}

/// The image that a model's input is for.
pub(super) fn input_shape(name: &str, dims: &[usize]) -> Result<InputShape, OnnxError> {
    let values = dims.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
    let Some(values) = values.filter(|&n| n <= MAX_ELEMENTS) else {
        return Err(OnnxError::Input(format!(
            "input {name} has the impossible shape {dims:?}"
        )));
    };
    if let [_, channels, height, width] = *dims {
        return Ok(InputShape {
            channels,
            height,
            width,
        });
    }
    let side = values.isqrt();
    let (height, width) = if side * side == values {
        (side, side)
    } else {
        (1, values)
    };
    Ok(InputShape {
        channels: 1,
        height,
        width,
    })
}

/// The output that holds the class scores.
pub(super) fn scores(network: &Network, facts: &Facts) -> Result<String, OnnxError> {
    let describe = |name: &String| match facts.get(name) {
        Some(fact) => format!("{name} {:?}", fact.shape),
        None => format!("{name} of unknown shape"),
    };
    let is_scores = |name: &&String| {
        facts.get(*name).is_some_and(|fact| {
            fact.data_type == DataType::Float
                && matches!(fact.shape[..], [1, classes] if classes > 1)
        })
    };
    let scores: Vec<&String> = network.outputs.iter().filter(is_scores).collect();
    let chosen = match scores[..] {
        [only] => only,
        [] => {
            let found: Vec<String> = network.outputs.iter().map(describe).collect();
            let found = if found.is_empty() {
                "none".into()
            } else {
                found.join(", ")
            };
            return Err(OnnxError::Output(format!(
                "no output holds class scores, which have the shape [batch, classes] with 2 classes or more: found {found}"
            )));
        }
        [..] => *scores.iter().find(|name| **name == LOGITS).ok_or_else(|| {
            let names: Vec<&str> = scores.iter().map(|name| name.as_str()).collect();
            OnnxError::Output(format!(
                "the outputs {} could all be the class scores: export only one, or name it {LOGITS}",
                names.join(", ")
            ))
        })?,
    };
    if let Some(&[_, classes]) = facts.get(chosen).map(|fact| &fact.shape[..])
        && classes > MAX_CLASSES
    {
        return Err(OnnxError::Output(format!(
            "the output {chosen} has {classes} classes: {MAX_CLASSES} are supported"
        )));
    }
    if random_tensors(network).contains(chosen) {
        Ok(chosen.clone())
    } else {
        Err(OnnxError::Deterministic {
            found: format!("its Dropout nodes do not lead to the output {chosen}"),
        })
    }
}

/// Refuses tensors that take more memory than there is on a small device: an engine holds those that
/// depend on a live Dropout for a batch of passes.
pub(super) fn activations(network: &Network, facts: &Facts) -> Result<(), OnnxError> {
    let random = random_tensors(network);
    for name in network.nodes.iter().filter_map(|node| node.output.first()) {
        let Some(fact) = facts.get(name) else {
            return Err(OnnxError::Shapes(format!(
                "tensor {name} has a shape that is unknown, or none that can be"
            )));
        };
        let count: usize = fact.shape.iter().product();
        let (most, of) = if random.contains(name) {
            (MAX_PASS_VALUES, "a pass")
        } else {
            (MAX_VALUES, "an image")
        };
        if count > most && !fact.constant {
            return Err(OnnxError::Shapes(format!(
                "tensor {name} has {count} values for {of}: {most} are supported"
            )));
        }
    }
    Ok(())
}

/// Tensors that depend on a live Dropout.
fn random_tensors(network: &Network) -> HashSet<&String> {
    let mut random = HashSet::new();
    for node in &network.nodes {
        if node.op_type == "Dropout" || node.input.iter().any(|i| random.contains(i)) {
            random.extend(&node.output);
        }
    }
    random
}
