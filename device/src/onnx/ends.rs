//! Shapes: that of an image, and those that take too much memory.

use super::OnnxError;
use super::analysis::Facts;
use super::limits::{MAX_ELEMENTS, MAX_PASS_VALUES, MAX_VALUES};
use super::network::Network;
use super::scores::random_tensors;
use crate::engine::InputShape;

/// The image that a model's input is for; `size` are the rows and columns of one that is flat, if they
/// are known.
pub(super) fn input_shape(
    name: &str,
    dims: &[usize],
    size: Option<(usize, usize)>,
) -> Result<InputShape, OnnxError> {
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
    let (height, width) = match size {
        Some(size) => size,
        None if side * side == values => (side, side),
        None => (1, values),
    };
    Ok(InputShape {
        channels: 1,
        height,
        width,
    })
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
