//! Which output holds the class scores, and what they are as far as the graph tells.
//!
//! A Softmax at the end is found behind nodes that only change shape or type, and cut off: what it
//! reads are logits. One Softmax at most is cut, so that the softmax of what is left is the file's own
//! answer. Scores that come straight from a product, a convolution or their sums are logits. What
//! neither holds for is left to be tried ([`super::trial`]).

use std::cell::Cell;
use std::collections::HashSet;

use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;

use super::analysis::{Fact, Facts};
use super::limits::MAX_CLASSES;
use super::network::Network;
use super::output::OutputKind;
use super::proto::{floats, int_attribute};
use super::{LOGITS, OnnxError};

/// First opset in which Softmax is along one axis, and not over all axes from one on.
const FIRST_WITH_SOFTMAX_OF_ONE_AXIS: i64 = 13;
/// Nodes that are looked at for one output at most. Where it ends is told by a few.
const STEPS: usize = 256;

/// How logits are made of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// It holds scores whose softmax is the answer.
    Logits,
    /// It holds probabilities, or a multiple of them.
    Probabilities,
    /// It holds one score, whose sigmoid is the probability of the second class.
    BinaryLogit,
    /// It holds the probability of the second class.
    BinaryProbability,
}

impl Form {
    /// Of an output from which nothing has been cut.
    pub(super) fn of(kind: OutputKind) -> Self {
        match kind {
            OutputKind::Logits | OutputKind::LogProbabilities => Self::Logits,
            OutputKind::Probabilities => Self::Probabilities,
            OutputKind::BinaryLogit => Self::BinaryLogit,
            OutputKind::BinaryProbability => Self::BinaryProbability,
        }
    }
}

/// The tensor from which logits are made.
#[derive(Debug, Clone)]
pub(super) struct Scores {
    /// The output as the file calls it.
    pub(super) output: String,
    pub(super) tensor: String,
    /// Values of the tensor per image: the number of classes, or 1 for two classes.
    pub(super) values: usize,
    /// What the output is and how logits are made of `tensor`, where the graph tells.
    pub(super) known: Option<(OutputKind, Form)>,
    /// The operator at the end, if it is one that yields nothing negative, such as those of
    /// evidential networks.
    pub(super) positive: Option<String>,
}

/// Finds the output that holds the class scores. `stated` is what the file says that they are.
pub(super) fn find(
    network: &Network,
    facts: &Facts,
    stated: Option<OutputKind>,
) -> Result<Scores, OnnxError> {
    let describe = |name: &String| match facts.get(name) {
        Some(fact) => format!("{name} {:?}", fact.shape),
        None => format!("{name} of unknown shape"),
    };
    let all = &network.outputs;
    let of = |wanted: &dyn Fn(&Fact) -> bool| {
        let is_wanted = |name: &&String| facts.get(*name).is_some_and(wanted);
        all.iter().filter(is_wanted).collect::<Vec<_>>()
    };
    // A plain row of scores before one with axes of size one, and that before a single score.
    let mut found = of(&|fact| matches!(fact.shape[..], [1, _]) && values(fact) > Some(1));
    if found.is_empty() {
        found = of(&|fact| values(fact) > Some(1));
    }
    if found.is_empty() {
        found = of(&|fact| values(fact) == Some(1));
    }
    let end = End {
        network,
        facts,
        steps: Cell::new(STEPS),
    };
    let mut scores: Vec<Scores> = Vec::new();
    for output in found {
        let next = end.scores(output, stated)?;
        match scores.iter_mut().find(|known| known.tensor == next.tensor) {
            None => scores.push(next),
            Some(same) if same.known.is_none() => *same = next,
            Some(_) => {}
        }
    }
    let chosen = match &scores[..] {
        [_] => scores.swap_remove(0),
        [] => {
            let found: Vec<String> = all.iter().map(describe).collect();
            let found = if found.is_empty() {
                "none".into()
            } else {
                found.join(", ")
            };
            return Err(OnnxError::Output(format!(
                "no output holds class scores, which have the shape [batch, classes]: found {found}"
            )));
        }
        [..] => {
            let named = |scores: &Scores| scores.tensor == LOGITS || scores.output == LOGITS;
            let names: Vec<&str> = scores.iter().map(|s| s.output.as_str()).collect();
            let error = OnnxError::Output(format!(
                "the outputs {} could all be the class scores: say which one is (--output NAME), export only one, or name it {LOGITS}",
                names.join(", ")
            ));
            let index = scores.iter().position(named).ok_or(error)?;
            scores.swap_remove(index)
        }
    };
    if chosen.values > MAX_CLASSES {
        return Err(OnnxError::Output(format!(
            "the output {} has {} classes: {MAX_CLASSES} are supported",
            chosen.output, chosen.values
        )));
    }
    if !random_tensors(network).contains(&chosen.tensor) {
        return Err(OnnxError::Deterministic {
            found: format!(
                "its Dropout nodes do not lead to the output {}",
                chosen.output
            ),
        });
    }
    Ok(chosen)
}

/// Tensors that depend on a live Dropout.
pub(super) fn random_tensors(network: &Network) -> HashSet<&String> {
    let mut random = HashSet::new();
    for node in &network.nodes {
        if node.op_type == "Dropout" || node.input.iter().any(|i| random.contains(i)) {
            random.extend(&node.output);
        }
    }
    random
}

/// Values per image of a tensor of numbers that has one image along its first axis and more than one
/// value along one other axis at most.
fn values(fact: &Fact) -> Option<usize> {
    let is_real = matches!(fact.data_type, DataType::Float | DataType::Double);
    let [1, rest @ ..] = &fact.shape[..] else {
        return None;
    };
    let mut long = rest.iter().filter(|&&n| n != 1);
    let count = long.next().copied().unwrap_or(1);
    (is_real && count > 0 && long.next().is_none()).then_some(count)
}

struct End<'a> {
    network: &'a Network,
    facts: &'a Facts,
    /// Nodes that may still be looked at.
    steps: Cell<usize>,
}

impl<'a> End<'a> {
    fn scores(&self, output: &str, stated: Option<OutputKind>) -> Result<Scores, OnnxError> {
        let count = self.facts.get(output).and_then(values).unwrap_or(0);
        self.steps.set(STEPS);
        let scores = |tensor: &str, known| Scores {
            output: output.into(),
            tensor: tensor.into(),
            values: count,
            known,
            positive: self.positive(output),
        };
        let looked = self.look(output, count);
        if let Some(kind) = stated {
            if kind.is_binary() != (count == 1) {
                return Err(OnnxError::Metadata {
                    key: OutputKind::KEY.into(),
                    reason: format!(
                        "it says {}, and the output {output} has {count} value(s) per image",
                        kind.word()
                    ),
                });
            }
            return Ok(match looked {
                Some((tensor, found, form)) if found == kind => scores(&tensor, Some((kind, form))),
                _ => scores(output, Some((kind, Form::of(kind)))),
            });
        }
        Ok(match looked {
            Some((tensor, kind, form)) => scores(&tensor, Some((kind, form))),
            None => scores(output, None),
        })
    }

    /// What makes the values of `output`, and from which tensor logits are made how.
    fn look(&self, output: &str, count: usize) -> Option<(String, OutputKind, Form)> {
        let node = self.writer(output);
        let op = node.map_or("", |n| n.op_type.as_str());
        if let Some(node) = node {
            let before = || node.input[0].clone();
            if count == 1 && op == "Sigmoid" {
                return Some((before(), OutputKind::BinaryProbability, Form::BinaryLogit));
            }
            if op == "Softmax" && self.is_over_classes(node) {
                return Some((before(), OutputKind::Probabilities, Form::Logits));
            }
            if op == "LogSoftmax" && self.is_over_classes(node) {
                return Some((before(), OutputKind::LogProbabilities, Form::Logits));
            }
            if op == "Log"
                && let Some(softmax) = self.writer(&node.input[0])
                && softmax.op_type == "Softmax"
                && self.is_over_classes(softmax)
            {
                let before = softmax.input[0].clone();
                return Some((before, OutputKind::LogProbabilities, Form::Logits));
            }
        }
        let all = output.to_owned();
        if count > 1 && self.is_distribution(output) {
            return Some((all, OutputKind::Probabilities, Form::Probabilities));
        }
        if self.is_linear(output) {
            return Some(if count == 1 {
                (all, OutputKind::BinaryLogit, Form::BinaryLogit)
            } else {
                (all, OutputKind::Logits, Form::Logits)
            });
        }
        None
    }

    /// The node that makes the values of a tensor, behind those that change shape or type only.
    fn writer(&self, tensor: &str) -> Option<&'a NodeProto> {
        let mut tensor = tensor.to_owned();
        loop {
            self.steps.set(self.steps.get().checked_sub(1)?);
            let node = self.network.producer(&tensor)?;
            if !self.keeps_values(node) {
                return Some(node);
            }
            tensor.clone_from(&node.input[0]);
        }
    }

    /// Whether a node writes the values that it reads, in their order.
    fn keeps_values(&self, node: &NodeProto) -> bool {
        let is_row = |tensor: &String| self.facts.get(tensor).and_then(values).is_some();
        match node.op_type.as_str() {
            "Cast" | "Identity" => self
                .facts
                .get(&node.input[0])
                .is_some_and(|fact| matches!(fact.data_type, DataType::Float | DataType::Double)),
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" => {
                is_row(&node.input[0]) && is_row(&node.output[0])
            }
            _ => false,
        }
    }

    /// Whether a Softmax is over all the values of an image, and over no more.
    fn is_over_classes(&self, node: &NodeProto) -> bool {
        let Some(fact) = self.facts.get(&node.input[0]) else {
            return false;
        };
        let Some(count) = values(fact).filter(|&count| count > 1) else {
            return false;
        };
        let rank = fact.shape.len() as i64;
        let of_one_axis = self.network.opset >= FIRST_WITH_SOFTMAX_OF_ONE_AXIS;
        let axis = int_attribute(node, "axis").unwrap_or(if of_one_axis { -1 } else { 1 });
        let axis = if axis < 0 { axis + rank } else { axis };
        let Some(axis) = usize::try_from(axis).ok().filter(|&axis| axis >= 1) else {
            return false;
        };
        let over = fact.shape.get(axis..).unwrap_or_default();
        let over = if of_one_axis {
            over.get(..1).unwrap_or_default()
        } else {
            over
        };
        over.iter().product::<usize>() == count
    }

    fn constant(&self, tensor: &str) -> bool {
        self.network.initializers.contains_key(tensor)
    }

    /// Whether the graph says that a tensor holds probabilities of classes that exclude each other, or
    /// a multiple of these.
    fn is_distribution(&self, tensor: &str) -> bool {
        let Some(node) = self.writer(tensor) else {
            return false;
        };
        let is_factor = |tensor: &String| {
            let constant = self.network.initializers.get(tensor);
            matches!(constant.and_then(floats).as_deref(), Some([value]) if *value > 0.0)
        };
        match node.op_type.as_str() {
            "Softmax" => self.is_over_classes(node),
            "Clip" => self.is_distribution(&node.input[0]),
            "Mul" if is_factor(&node.input[0]) => self.is_distribution(&node.input[1]),
            "Mul" | "Div" if is_factor(&node.input[1]) => self.is_distribution(&node.input[0]),
            "Add" | "Sum" | "Mean" => node.input.iter().all(|input| self.is_distribution(input)),
            _ => false,
        }
    }

    /// Whether a tensor can take any value, as a sum of weighted values does.
    fn is_linear(&self, tensor: &str) -> bool {
        let Some(node) = self.writer(tensor) else {
            // It leads to the input.
            return self.steps.get() > 0;
        };
        // The weighted mean of probabilities are probabilities again, for some weights.
        let weighs = |data: &String, weights: &String| {
            let writer = self.writer(data);
            let bounded =
                writer.is_some_and(|n| matches!(n.op_type.as_str(), "Softmax" | "Sigmoid"));
            self.constant(weights) && !bounded
        };
        let linear = |tensor: &String| self.constant(tensor) || self.is_linear(tensor);
        match node.op_type.as_str() {
            "Gemm" | "MatMul" | "Conv" | "ConvTranspose" => weighs(&node.input[0], &node.input[1]),
            "BatchNormalization" => true,
            "Add" | "Sub" => node.input.iter().all(linear),
            "Mul" => {
                (self.constant(&node.input[0]) || self.constant(&node.input[1]))
                    && node.input.iter().all(linear)
            }
            "Div" => self.constant(&node.input[1]) && self.is_linear(&node.input[0]),
            "Dropout" | "Neg" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose"
            | "Cast" => self.is_linear(&node.input[0]),
            // Features, one per class, of which the mean over the picture is the score (SqueezeNet).
            "GlobalAveragePool" | "AveragePool" | "ReduceMean" => {
                self.writer(&node.input[0])
                    .is_some_and(|n| n.op_type == "Relu")
                    || self.is_linear(&node.input[0])
            }
            _ => false,
        }
    }

    /// The operator that makes an output that is never negative, if it is one of those that networks
    /// put out evidence with.
    fn positive(&self, output: &str) -> Option<String> {
        let mut node = self.writer(output)?;
        while matches!(node.op_type.as_str(), "Add" | "Clip" | "Max") {
            let other = node.input.iter().find(|input| !self.constant(input))?;
            node = self.writer(other)?;
        }
        let is_positive = matches!(
            node.op_type.as_str(),
            "Softplus" | "Exp" | "Relu" | "Elu" | "Abs"
        );
        is_positive.then(|| node.op_type.clone())
    }
}
