//! Logits made of what a model puts out.

use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::DataType;

use super::analysis::Facts;
use super::network::{Network, fresh};
use super::proto::{float_scalar, integers, node, with_int};
use super::scores::{Form, Scores};

/// Adds what makes `[batch, values]` of 32-bit floats of the scores, and tells the tensor's name.
pub(super) fn as_row(network: &mut Network, facts: &Facts, scores: &Scores) -> String {
    let mut end = End {
        network,
        last: scores.tensor.clone(),
    };
    let Some(fact) = facts.get(&scores.tensor) else {
        return end.last;
    };
    if fact.data_type != DataType::Float {
        end.push("Cast", "float", None);
        let to = with_int("to", DataType::Float as i64);
        end.network
            .nodes
            .last_mut()
            .into_iter()
            .for_each(|n| n.attribute = vec![to.clone()]);
    }
    match fact.shape[..] {
        [_, _] => {}
        [_] => {
            end.push("Reshape", "row", Some(integers("", &[-1, 1])));
        }
        _ => {
            end.push("Flatten", "row", None);
            let axis = with_int("axis", 1);
            end.network
                .nodes
                .last_mut()
                .into_iter()
                .for_each(|n| n.attribute = vec![axis.clone()]);
        }
    }
    end.last
}

/// Adds what makes logits of a tensor `[batch, values]`, and tells their name.
///
/// The logarithm of a probability is a logit, for the softmax of these is the probability again.
/// The smallest normal number is added to it first, which changes only what is next to 0: an engine
/// must not yield infinities. A lone score `z` becomes `[0, z]`.
pub(super) fn make(network: &mut Network, tensor: &str, form: Form) -> String {
    let mut end = End {
        network,
        last: tensor.to_owned(),
    };
    let row = |values: [f32; 2]| TensorProto {
        dims: vec![1, 2],
        data_type: DataType::Float as i32,
        raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ..TensorProto::default()
    };
    match form {
        Form::Logits | Form::Probabilities => {}
        // A product, since every engine has that.
        Form::BinaryLogit => end.push("MatMul", "two_logits", Some(row([0.0, 1.0]))),
        Form::BinaryProbability => {
            end.push("MatMul", "signed", Some(row([-1.0, 1.0])));
            end.push("Add", "two_probabilities", Some(row([1.0, 0.0])));
        }
    }
    if matches!(form, Form::Probabilities | Form::BinaryProbability) {
        // Rounding may have left something below 0.
        end.push("Relu", "not_negative", None);
        end.push("Add", "positive", Some(float_scalar("", f32::MIN_POSITIVE)));
        end.push("Log", "logits", None);
    }
    end.last
}

struct End<'a> {
    network: &'a mut Network,
    last: String,
}

impl End<'_> {
    /// Adds a node that reads the last tensor and a constant.
    fn push(&mut self, op: &str, what: &str, constant: Option<TensorProto>) {
        let name = fresh(&format!("{}.{what}", self.last), |name| {
            self.network.has(name)
        });
        let mut inputs = vec![self.last.clone()];
        if let Some(mut tensor) = constant {
            tensor.name = fresh(&format!("{name}.constant"), |name| self.network.has(name));
            inputs.push(tensor.name.clone());
            self.network
                .initializers
                .insert(tensor.name.clone(), tensor);
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let step = node(op, name.clone(), &inputs, &name);
        self.network.nodes.push(step);
        self.last = name;
    }
}
