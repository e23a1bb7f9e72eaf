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
    let of_one = analysis::one_image(network, &network.input.sizes())
        .map_err(|error| refuse(format!("without which {error}")))?;
    let mut of_image: HashSet<&String> = HashSet::from([&network.input.name]);
    for node in &network.nodes {
        if !node.input.iter().any(|input| of_image.contains(input)) {
            continue;
        }
        of_image.extend(&node.output);
        let holds = node.output.iter().any(|output| {
            let sizes = |facts: &Facts| Some(facts.get(output)?.shape.clone());
            let is_size = |facts: &Facts| {
                facts
                    .get(output)
                    .is_some_and(|f| f.data_type == DataType::Int64 && f.integers.is_some())
            };
            if is_size(&of_many) && is_size(&of_one) {
                return false;
            }
            match (sizes(&of_many).as_deref(), sizes(&of_one).as_deref()) {
                (Some([many, rest @ ..]), Some([one, others @ ..])) => {
                    (*many, *one) != (batch, 1) || rest != others
                }
                (None, None) => false,
                _ => true,
            }
        });
        if holds {
            let name = node_name(node);
            return Err(refuse(format!(
                "which its node {name} ({}) holds or mixes",
                node.op_type
            )));
        }
    }
    Ok(())
}
