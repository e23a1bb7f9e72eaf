//! A batch that the file fixes, made one of one image.

use std::collections::HashSet;

use tract_onnx::pb::tensor_proto::DataType;

use super::OnnxError;
use super::analysis::{self, Facts};
use super::network::Network;
use super::proto::node_name;

/// Rewrites a network for batches of `batch` images into one for single images.
///
/// A Reshape that spells the batch out is told to keep it. Then the shapes that follow from one image
/// have to be those that follow from `batch` images but for their first size: a network that ties the
/// images together, or spells the batch out elsewhere, is refused.
pub(super) fn make_one(network: &mut Network, batch: usize) -> Result<(), OnnxError> {
    let of_many = analysis::one_image(network, &network.input.sizes())?;
    network.keep_batch(&of_many, batch);
    network.input.dims[0] = Some(1);
    let refuse = |what: String| {
        OnnxError::Input(format!(
            "input {} has a fixed batch of {batch}, {what}: export the model with a batch of 1 or a dynamic one",
            network.input.name
        ))
    };
    // One image may fit no more, and then the node that holds the batch shows among many.
    let of_one = analysis::one_image(network, &network.input.sizes());
    let one = of_one.as_ref().ok();
    let mut of_image: HashSet<&String> = HashSet::from([&network.input.name]);
    for node in &network.nodes {
        if !node.input.iter().any(|input| of_image.contains(input)) {
            continue;
        }
        of_image.extend(&node.output);
        let differs = |output: &String| differs(output, batch, &of_many, one);
        if node.output.iter().any(differs) {
            return Err(refuse(format!(
                "which its node {} ({}) holds or mixes",
                node_name(node),
                node.op_type
            )));
        }
    }
    match of_one {
        Ok(_) => Ok(()),
        Err(error) => Err(refuse(format!("without which {error}"))),
    }
}

/// Whether a tensor of the image has other sizes for one image than for many, but for the first.
fn differs(tensor: &String, batch: usize, of_many: &Facts, of_one: Option<&Facts>) -> bool {
    let is_size = |facts: &Facts| {
        let fact = facts.get(tensor);
        fact.is_some_and(|f| f.data_type == DataType::Int64 && f.integers.is_some())
    };
    if is_size(of_many) {
        return false;
    }
    let per_image = |facts: &Facts, images: usize| {
        let shape = &facts.get(tensor)?.shape;
        (shape.first() == Some(&images)).then(|| shape[1..].to_vec())
    };
    let Some(one) = of_one else {
        return of_many.contains_key(tensor) && per_image(of_many, batch).is_none();
    };
    match (per_image(of_many, batch), per_image(one, 1)) {
        (Some(many), Some(one)) => many != one,
        _ => of_many.contains_key(tensor) || one.contains_key(tensor),
    }
}
