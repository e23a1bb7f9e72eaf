//! Whether a Dropout node drops anything, decided from the file alone, and in which shape.

use std::collections::{BTreeMap, HashSet};

use shared::mask::KeepProbability;
use tract_onnx::pb::{NodeProto, TensorProto};

use super::OnnxError;
use super::analysis::Facts;
use super::liveness::{DropoutSite, Idle, Liveness};
use super::network::Network;
use super::proto::{attribute, boolean, floats};

/// First opset in which ratio and training mode are inputs.
const FIRST_WITH_TRAINING_MODE: i64 = 12;
/// The ratio of a Dropout that states none.
const DEFAULT_RATIO: f32 = 0.5;

pub(super) enum Judgement {
    Live(DropoutSite),
    Idle(Idle),
}

/// Judges the node under the name `site`.
pub(super) fn judge(
    node: &NodeProto,
    site: &str,
    opset: i64,
    initializers: &BTreeMap<String, TensorProto>,
    free_inputs: &HashSet<String>,
) -> Result<Judgement, OnnxError> {
    let refuse = |reason: String| OnnxError::Dropout {
        site: site.to_owned(),
        reason,
    };
    let operand = |index: usize| node.input.get(index).filter(|name| !name.is_empty());

    let (ratio, why) = if opset < FIRST_WITH_TRAINING_MODE {
        let ratio = attribute(node, "ratio").map_or(DEFAULT_RATIO, |a| a.f);
        (ratio, Liveness::OpsetWithoutTrainingMode)
    } else {
        let why = match operand(2) {
            None => return Ok(Judgement::Idle(Idle::NoTrainingMode)),
            Some(name) if free_inputs.contains(name) => Liveness::TrainingModeInput,
            Some(name) => match initializers.get(name).map(boolean) {
                Some(Some(true)) => Liveness::TrainingMode,
                Some(Some(false)) => return Ok(Judgement::Idle(Idle::TrainingModeFalse)),
                Some(None) => {
                    return Err(refuse(format!(
                        "its training_mode {name:?} is not one boolean"
                    )));
                }
                None => {
                    return Err(refuse(format!(
                        "its training_mode {name:?} is computed, so whether it is live cannot be told: make it a constant"
                    )));
                }
            },
        };
        let ratio = match operand(1) {
            None => DEFAULT_RATIO,
            Some(name) => {
                let tensor = initializers.get(name).ok_or_else(|| {
                    refuse(format!(
                        "its ratio {name:?} is not in the file: make it a constant"
                    ))
                })?;
                match floats(tensor).as_deref() {
                    Some([ratio]) => *ratio,
                    _ => return Err(refuse(format!("its ratio {name:?} is not one number"))),
                }
            }
        };
        (ratio, why)
    };
    judge_ratio(site, ratio, why)
}

/// Judges a Dropout that is switched on, as `why` tells, by its ratio.
pub(super) fn judge_ratio(site: &str, ratio: f32, why: Liveness) -> Result<Judgement, OnnxError> {
    let refuse = |reason: String| OnnxError::Dropout {
        site: site.to_owned(),
        reason,
    };
    if !(0.0..1.0).contains(&ratio) {
        return Err(refuse(format!(
            "its ratio is {ratio}, which is not at least 0 and below 1"
        )));
    }
    if ratio == 0.0 {
        return Ok(Judgement::Idle(Idle::RatioZero));
    }
    match KeepProbability::from_f64(1.0 - f64::from(ratio)) {
        Some(keep) if keep != KeepProbability::ONE => Ok(Judgement::Live(DropoutSite {
            name: site.to_owned(),
            ratio,
            keep,
            shape: Vec::new(),
            why,
        })),
        _ => Err(refuse(format!(
            "its ratio {ratio} is closer to 0 or 1 than masks can express (steps of 1/65536)"
        ))),
    }
}

/// Tells every site the shape of its masks. From then on the nodes read the activations alone.
pub(super) fn shape_sites(network: &mut Network, facts: &Facts) -> Result<(), OnnxError> {
    let shape_of = |tensor: &str| match facts.get(tensor)?.shape.as_slice() {
        [1, shape @ ..] => Some(shape.to_vec()),
        _ => None,
    };
    for (tensor, site) in &mut network.sites {
        let name = &site.name;
        let refuse = |reason: String| OnnxError::Dropout {
            site: name.clone(),
            reason,
        };
        let fixed = |tensor: &str, what: &str| {
            shape_of(tensor).ok_or_else(|| {
                refuse(format!(
                    "{what} has no fixed shape with a batch axis in front"
                ))
            })
        };
        let activation = fixed(tensor, "what it drops from")?;
        let node = network.nodes.iter_mut().find(|n| n.output[0] == *tensor);
        let like = node.and_then(|node| node.input.drain(1..).next());
        let shape = match like {
            Some(like) => fixed(&like, "its mask")?,
            None if site.shape.is_empty() => activation.clone(),
            None => std::mem::take(&mut site.shape),
        };
        let mut channels = activation.clone();
        channels.iter_mut().skip(1).for_each(|n| *n = 1);
        if shape != activation && shape != channels {
            return Err(refuse(format!(
                "its masks have the shape {shape:?} and what it drops from {activation:?}: only single elements or whole channels can be dropped"
            )));
        }
        site.shape = shape;
    }
    Ok(())
}
