//! Dropout written out as arithmetic: `x · b / q`, where `b` is 1 with probability `q`, else 0.
//!
//! ONNX has no operator that drops whole channels (spatial dropout, Tompson et al. 2015). PyTorch's
//! exporter writes `nn.Dropout2d` as `x · (Cast(RandomUniformLike(s) < q) / q)`, with `s` of the
//! shape `[batch, channels, 1, 1]`, and people write dropout of their own alike. A product of this
//! form becomes the same Dropout as one of a node; random numbers used otherwise are refused, since
//! no other engine could repeat them.

use std::collections::{BTreeMap, HashSet};

use tract_onnx::pb::{NodeProto, TensorProto};

use super::OnnxError;
use super::dropout::{self, Judgement};
use super::liveness::Liveness;
use super::proto::{attribute, floats, node_name};

/// Whether the operator draws random numbers.
pub(super) fn draws(op: &str) -> bool {
    matches!(
        op,
        "Bernoulli"
            | "Multinomial"
            | "RandomNormal"
            | "RandomNormalLike"
            | "RandomUniform"
            | "RandomUniformLike"
    )
}

/// Refuses random numbers that no dropout has been made of.
pub(super) fn refuse_others(nodes: &[NodeProto]) -> Result<(), OnnxError> {
    match nodes.iter().find(|node| draws(&node.op_type)) {
        None => Ok(()),
        Some(node) => Err(OnnxError::UnsupportedOperator {
            op: node.op_type.clone(),
            node: node_name(node).into(),
            hint: ": it draws random numbers of its own, which no other engine could repeat (of these only the dropout x · (Cast(random < q) / q) is supported); use plain Dropout layers",
        }),
    }
}

/// A dropout that was found.
pub(super) struct Product {
    /// What is dropped from and, unless the site has its shape already, a tensor of the shape of
    /// the masks.
    pub(super) inputs: Vec<String>,
    pub(super) judgement: Judgement,
}

/// The nodes and constants before a product.
pub(super) struct Before<'a> {
    pub(super) nodes: &'a [NodeProto],
    pub(super) constants: &'a BTreeMap<String, TensorProto>,
    /// Random tensors that are masks of a site already.
    pub(super) taken: &'a mut HashSet<String>,
}

/// Zeros and ones.
struct Mask<'a> {
    /// The random tensor they are made of.
    source: &'a str,
    /// Probability of a one, `None` if it is not one constant.
    keep: Option<f32>,
    shape: Shape<'a>,
}

/// How many random numbers are drawn.
enum Shape<'a> {
    /// As many as this tensor has elements, and in its shape.
    Of(&'a str),
    /// These sizes.
    Sizes(&'a [i64]),
}

impl<'a> Before<'a> {
    /// What `node` drops, under the name `site`; `None` if it does something else.
    ///
    /// The form is `x · (b / q)` or `(x · b) / q`, with factors in either order.
    pub(super) fn dropout(
        &mut self,
        node: &NodeProto,
        site: &str,
    ) -> Result<Option<Product>, OnnxError> {
        let found = match node.op_type.as_str() {
            "Mul" => factors(node).find_map(|[x, scaled]| {
                let scaled = self.writer(scaled, "Div")?;
                Some((x, self.mask(&scaled.input[0])?, &scaled.input[1]))
            }),
            "Div" => self.writer(&node.input[0], "Mul").and_then(|product| {
                let mut pairs = factors(product);
                pairs.find_map(|[x, mask]| Some((x, self.mask(mask)?, &node.input[1])))
            }),
            _ => None,
        };
        let Some((activation, mask, divisor)) = found else {
            return Ok(None);
        };
        let refuse = |reason: String| OnnxError::Dropout {
            site: site.to_owned(),
            reason,
        };
        let keep = mask.keep.ok_or_else(|| {
            refuse("its keep probability is not one number in the file: make it a constant".into())
        })?;
        if self.number(divisor) != Some(keep) {
            return Err(refuse(format!(
                "it keeps with the probability {keep}, and divides by something else"
            )));
        }
        let mut inputs = vec![activation.to_owned()];
        let mut shape = Vec::new();
        match mask.shape {
            Shape::Of(like) => inputs.push(like.to_owned()),
            Shape::Sizes(sizes) => {
                let [1, rest @ ..] = sizes else {
                    return Err(refuse(format!(
                        "its random numbers have the shape {sizes:?}, not one of a batch of one"
                    )));
                };
                shape = rest.iter().map(|&n| n.max(0) as usize).collect();
            }
        }
        if !self.taken.insert(mask.source.to_owned()) {
            return Err(refuse(format!(
                "its random numbers {:?} drop elsewhere, too: draw some for each dropout",
                mask.source
            )));
        }
        let why = Liveness::OwnRandomNumbers;
        let mut judgement = dropout::judge_ratio(site, ratio(keep), why)?;
        if let Judgement::Live(report) = &mut judgement {
            report.shape = shape;
        }
        Ok(Some(Product { inputs, judgement }))
    }

    /// The zeros and ones that `tensor` holds: `Bernoulli(q)`, or `u < q` with `u` uniform in 0..1.
    fn mask(&self, tensor: &str) -> Option<Mask<'a>> {
        let mut node = self.node(tensor)?;
        while node.op_type == "Cast" {
            node = self.node(&node.input[0])?;
        }
        if node.op_type == "Bernoulli" {
            return Some(Mask {
                source: &node.output[0],
                keep: self.same_everywhere(&node.input[0]),
                shape: Shape::Of(&node.input[0]),
            });
        }
        let [uniform, threshold] = (node.op_type == "Less").then_some(&node.input[..])? else {
            return None;
        };
        let source = self.node(uniform)?;
        let bound = |name, default| attribute(source, name).map_or(default, |a| a.f);
        if [bound("low", 0.0), bound("high", 1.0)] != [0.0, 1.0] {
            return None;
        }
        let shape = match source.op_type.as_str() {
            "RandomUniformLike" => Shape::Of(&source.input[0]),
            "RandomUniform" => Shape::Sizes(&attribute(source, "shape")?.ints),
            _ => return None,
        };
        Some(Mask {
            source: uniform,
            keep: self.number(threshold),
            shape,
        })
    }

    fn node(&self, tensor: &str) -> Option<&'a NodeProto> {
        let writes = |node: &&NodeProto| node.output[0] == tensor;
        self.nodes.iter().rev().find(writes)
    }

    fn writer(&self, tensor: &str, op: &str) -> Option<&'a NodeProto> {
        self.node(tensor).filter(|node| node.op_type == op)
    }

    /// The value of a constant that broadcasts to any shape without adding axes.
    fn number(&self, tensor: &str) -> Option<f32> {
        let tensor = self.constants.get(tensor).filter(|t| t.dims.len() < 2)?;
        match floats(tensor)?[..] {
            [value] => Some(value),
            _ => None,
        }
    }

    /// The value of all elements of a tensor of which only the shape may be worked out later.
    fn same_everywhere(&self, tensor: &str) -> Option<f32> {
        let all_alike = |values: Vec<f32>| {
            let first = *values.first()?;
            values.iter().all(|v| *v == first).then_some(first)
        };
        if let Some(tensor) = self.constants.get(tensor) {
            return all_alike(floats(tensor)?);
        }
        let node = self.node(tensor)?;
        match node.op_type.as_str() {
            "Expand" => self.number(&node.input[0]),
            "ConstantOfShape" => all_alike(floats(attribute(node, "value")?.t.as_ref()?)?),
            _ => None,
        }
    }
}

/// The ratio of a keep probability, without the digits that come of its rounding to `f32`: of 0.6
/// it is 0.4, not 0.39999998.
fn ratio(keep: f32) -> f32 {
    const DECIMALS: f64 = 1e7;
    (((1.0 - f64::from(keep)) * DECIMALS).round() / DECIMALS) as f32
}

/// Both factors of a product, in both orders.
fn factors(product: &NodeProto) -> impl Iterator<Item = [&str; 2]> {
    let [a, b] = [&product.input[0], &product.input[1]];
    [[a.as_str(), b], [b.as_str(), a]].into_iter()
}
