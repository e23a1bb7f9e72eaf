//! Cutting a network into the stem, which is the same in every pass, and the head, which is not.

use std::collections::{BTreeSet, HashMap, HashSet};

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto};

use super::OnnxError;
use super::analysis::{Fact, Facts};
use super::network::{Network, fresh, needed_by};
use super::proto::{Dim, float_scalar, integers, node, node_name, tensor_attribute, value_info};

/// Name of the head's output.
pub const LOGITS: &str = "logits";
/// Name of the first dimension of masks and of the head's output.
pub(crate) const PASSES_DIMENSION: &str = "passes";
/// IR version 4 is the first in which weights need not be listed as inputs.
const MIN_IR_VERSION: i64 = 4;
const FIRST_WITH_CONSTANT_OF_SHAPE: i64 = 9;

/// What a tensor depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    /// The weights only.
    Constant,
    /// The image too.
    Stem,
    /// A dropout mask too.
    Head,
}

/// A network with every Dropout replaced by a multiplication with a mask input.
pub(super) struct Cut {
    network: Network,
    /// All nodes after the replacement, in order, each with its side.
    nodes: Vec<(Side, NodeProto)>,
    /// Tensors of the stem that the head reads, in the order of first use.
    crossing: Vec<String>,
    facts: Facts,
    /// Constants that stand for sizes which the stem works out, by the tensor they replace.
    known: HashMap<String, String>,
    ir_version: i64,
}

impl Cut {
    /// `facts` describe the network for one image; sites have their shapes.
    pub(super) fn new(network: Network, facts: Facts, ir_version: i64) -> Result<Self, OnnxError> {
        let mut cut = Self {
            nodes: Vec::with_capacity(network.nodes.len() + 2 * network.sites.len()),
            network,
            crossing: Vec::new(),
            facts,
            known: HashMap::new(),
            ir_version: ir_version.max(MIN_IR_VERSION),
        };
        cut.free_name(LOGITS);
        cut.replace_dropouts()?;
        cut.join_sides()?;
        Ok(cut)
    }

    fn output(&self) -> &str {
        &self.network.outputs[0]
    }

    /// Renames the tensor that bears `name` unless it is the output, and gives `name` to the
    /// output.
    fn free_name(&mut self, name: &str) {
        let output = self.output().to_owned();
        if output == name {
            return;
        }
        let elsewhere = self.fresh(&format!("{name}.inner"));
        let rename = |tensor: &mut String| {
            if *tensor == name {
                tensor.clone_from(&elsewhere);
            } else if *tensor == output {
                name.clone_into(tensor);
            }
        };
        for node in &mut self.network.nodes {
            node.input.iter_mut().for_each(rename);
            node.output.iter_mut().for_each(rename);
        }
        self.network
            .sites
            .iter_mut()
            .for_each(|(tensor, _)| rename(tensor));
        rename(&mut self.network.input.name);
        self.network.outputs.iter_mut().for_each(rename);
        for old in [name.to_owned(), output.clone()] {
            let mut new = old.clone();
            rename(&mut new);
            if let Some(mut tensor) = self.network.initializers.remove(&old) {
                tensor.name.clone_from(&new);
                self.network.initializers.insert(new.clone(), tensor);
            }
        }
        let mut facts = Facts::with_capacity(self.facts.len());
        for (mut tensor, fact) in self.facts.drain() {
            rename(&mut tensor);
            facts.insert(tensor, fact);
        }
        self.facts = facts;
    }

    /// A tensor name nobody uses, `base` if possible.
    fn fresh(&self, base: &str) -> String {
        let made = |name: &str| {
            self.nodes
                .iter()
                .any(|(_, n)| n.output.iter().any(|o| o == name))
        };
        fresh(base, |name| self.network.has(name) || made(name))
    }

    /// Fills `nodes` from the network's nodes and their sides.
    fn replace_dropouts(&mut self) -> Result<(), OnnxError> {
        let mut sides: HashMap<String, Side> = HashMap::new();
        sides.insert(self.network.input.name.clone(), Side::Stem);
        for source in self.network.nodes.clone() {
            let reads = source.input.iter().filter_map(|i| sides.get(i)).max();
            let side = reads.copied().unwrap_or(Side::Constant);
            let site = self
                .network
                .sites
                .iter()
                .find(|(tensor, _)| *tensor == source.output[0]);
            let Some((_, site)) = site.cloned() else {
                sides.extend(source.output.iter().map(|o| (o.clone(), side)));
                self.nodes.push((side, source));
                continue;
            };
            if side == Side::Constant {
                return Err(OnnxError::Dropout {
                    site: site.name,
                    reason: "it drops weights instead of activations, which is not supported"
                        .into(),
                });
            }
            let name = node_name(&source).to_owned();
            let scale = self.fresh(&format!("{name}.scale"));
            let tensor = float_scalar(scale.clone(), site.scale());
            self.network.initializers.insert(scale.clone(), tensor);
            let scaled = self.fresh(&format!("{name}.scaled"));
            let mask = site.mask_input();
            if self.network.has(&mask) {
                return Err(OnnxError::Invalid(format!(
                    "it has a tensor named {mask:?}, the name of the mask of Dropout {}",
                    site.name
                )));
            }
            self.nodes.push((
                side,
                node(
                    "Mul",
                    format!("{name}.scale"),
                    &[&source.input[0], &scale],
                    &scaled,
                ),
            ));
            self.nodes.push((
                Side::Head,
                node("Mul", name.clone(), &[&scaled, &mask], &source.output[0]),
            ));
            sides.insert(scaled, side);
            sides.extend(source.output.into_iter().map(|o| (o, Side::Head)));
        }
        Ok(())
    }

    /// Finds the tensors that cross from stem to head, and makes them meet a batch of passes.
    fn join_sides(&mut self) -> Result<(), OnnxError> {
        let mut sides: HashMap<String, Side> = HashMap::new();
        sides.insert(self.network.input.name.clone(), Side::Stem);
        let mut joined: Vec<(Side, NodeProto)> = Vec::with_capacity(self.nodes.len());
        for (side, mut reader) in std::mem::take(&mut self.nodes) {
            sides.extend(reader.output.iter().map(|o| (o.clone(), side)));
            if side == Side::Head {
                for index in 0..reader.input.len() {
                    let tensor = reader.input[index].clone();
                    if sides.get(&tensor) != Some(&Side::Stem) {
                        continue;
                    }
                    if let Some(constant) = self.known_integers(&tensor) {
                        reader.input[index] = constant;
                        continue;
                    }
                    let tensor = if tensor == self.network.input.name {
                        self.image_copy(&mut joined)
                    } else {
                        tensor
                    };
                    if !self.crossing.contains(&tensor) {
                        self.crossing.push(tensor.clone());
                    }
                    reader.input[index] = if broadcasts(&reader.op_type) {
                        tensor
                    } else {
                        self.repeat(&tensor, &reader, &sides, &mut joined)?
                    };
                }
            }
            joined.push((side, reader));
        }
        self.nodes = joined;
        match self
            .crossing
            .iter()
            .find(|tensor| self.fact(tensor).is_none())
        {
            None => Ok(()),
            Some(tensor) => Err(OnnxError::Shapes(format!(
                "the shape of {tensor:?} depends on the image"
            ))),
        }
    }

    /// A size that the stem works out is the same for every image: a constant of the head.
    fn known_integers(&mut self, tensor: &str) -> Option<String> {
        if let Some(name) = self.known.get(tensor) {
            return Some(name.clone());
        }
        let fact = self.facts.get(tensor)?;
        let values = fact.integers.as_ref()?;
        let name = self.fresh(&format!("{tensor}.known"));
        let mut constant = integers(name.clone(), values);
        constant.dims = fact.shape.iter().map(|&n| n as i64).collect();
        self.network.initializers.insert(name.clone(), constant);
        self.known.insert(tensor.to_owned(), name.clone());
        Some(name)
    }

    /// A graph's output cannot be its input, so an image that the head reads crosses as a copy.
    fn image_copy(&mut self, joined: &mut Vec<(Side, NodeProto)>) -> String {
        let image = self.network.input.name.clone();
        let is_copy = |n: &&(Side, NodeProto)| n.1.op_type == "Identity" && n.1.input[0] == image;
        if let Some((_, copy)) = joined.iter().find(is_copy) {
            return copy.output[0].clone();
        }
        let copy = self.fresh(&format!("{image}.frame"));
        joined.push((Side::Stem, node("Identity", copy.clone(), &[&image], &copy)));
        copy
    }

    /// Repeats a stem tensor as often as there are passes, for operators that do not broadcast.
    ///
    /// By Gather of its row 0, not by Expand or Tile: tract 0.23 makes these a broadcast, which it
    /// then moves through a matrix product wrongly.
    fn repeat(
        &mut self,
        tensor: &str,
        reader: &NodeProto,
        sides: &HashMap<String, Side>,
        joined: &mut Vec<(Side, NodeProto)>,
    ) -> Result<String, OnnxError> {
        let cannot = |what: &str| {
            OnnxError::Batch(format!(
                "node {} ({}) {what}",
                node_name(reader),
                reader.op_type
            ))
        };
        let of_passes = |name: &&String| sides.get(*name) == Some(&Side::Head);
        let batched = reader.input.iter().find(of_passes);
        let batched = batched.ok_or_else(|| cannot("reads no tensor of the passes"))?;
        if self.network.opset < FIRST_WITH_CONSTANT_OF_SHAPE {
            return Err(cannot("needs ConstantOfShape, which this opset has not"));
        }
        let name = |what: &str| self.fresh(&format!("{tensor}.{}.{what}", node_name(reader)));
        let [shape, first, passes] = ["shape", "first", "passes"].map(name);
        let [rows, repeated] = ["rows", "repeated"].map(name);
        let mut zeros = node("ConstantOfShape", rows.clone(), &[&passes], &rows);
        zeros
            .attribute
            .push(tensor_attribute("value", integers("", &[0])));
        for step in [
            node("Shape", shape.clone(), &[batched], &shape),
            node("Gather", passes.clone(), &[&shape, &first], &passes),
            zeros,
            node("Gather", repeated.clone(), &[tensor, &rows], &repeated),
        ] {
            joined.push((Side::Head, step));
        }
        let constant = integers(first.clone(), &[0]);
        self.network.initializers.insert(first, constant);
        Ok(repeated)
    }

    /// What runs once a frame: the image in, the crossing tensors out.
    pub(super) fn stem(&self) -> ModelProto {
        let nodes = self.nodes.iter().filter(|(side, _)| *side != Side::Head);
        let outputs = self.crossing.iter().map(|tensor| self.declare(tensor));
        let image = Dim::Fixed(1);
        self.model(
            "stem",
            nodes,
            &[self.image(image)],
            &outputs.collect::<Vec<_>>(),
        )
    }

    /// What runs for every pass: the crossing tensors and the masks in, the logits out.
    pub(super) fn head(&self) -> ModelProto {
        let nodes = self.nodes.iter().filter(|(side, _)| *side != Side::Stem);
        let mut inputs: Vec<_> = self
            .crossing
            .iter()
            .map(|tensor| self.declare(tensor))
            .collect();
        inputs.extend(self.masks());
        self.model("head", nodes, &inputs, &[self.logits()])
    }

    /// Both in one graph.
    pub(super) fn whole(&self) -> ModelProto {
        let mut inputs = vec![self.image(Dim::Named("images"))];
        inputs.extend(self.masks());
        self.model(
            "masks_as_inputs",
            self.nodes.iter(),
            &inputs,
            &[self.logits()],
        )
    }

    fn image(&self, batch: Dim) -> tract_onnx::pb::ValueInfoProto {
        let name = &self.network.input.name;
        let per_image = self
            .facts
            .get(name)
            .map_or(&[][..], |fact| &fact.shape[1..]);
        let mut dims = vec![batch];
        dims.extend(per_image.iter().map(|&n| Dim::Fixed(n)));
        value_info(name, DataType::Float, &dims)
    }

    fn masks(&self) -> impl Iterator<Item = tract_onnx::pb::ValueInfoProto> {
        self.network.sites.iter().map(|(_, site)| {
            let mut dims = vec![Dim::Named(PASSES_DIMENSION)];
            dims.extend(site.shape.iter().map(|&n| Dim::Fixed(n)));
            value_info(&site.mask_input(), DataType::Float, &dims)
        })
    }

    fn logits(&self) -> tract_onnx::pb::ValueInfoProto {
        let classes = self.facts.get(LOGITS).map_or(0, |fact| fact.shape[1]);
        value_info(
            LOGITS,
            DataType::Float,
            &[Dim::Named(PASSES_DIMENSION), Dim::Fixed(classes)],
        )
    }

    fn declare(&self, tensor: &str) -> tract_onnx::pb::ValueInfoProto {
        let fact = self.fact(tensor);
        let (data_type, shape) =
            fact.map_or((DataType::Float, &[][..]), |f| (f.data_type, &f.shape));
        let dims: Vec<Dim> = shape.iter().map(|&n| Dim::Fixed(n)).collect();
        value_info(tensor, data_type, &dims)
    }

    /// What is known of a tensor of the stem. Those made here (scaled activations, the image's
    /// copy) are of the same kind as what they are made from.
    fn fact(&self, tensor: &str) -> Option<&Fact> {
        self.facts.get(tensor).or_else(|| {
            let writes = |n: &&(Side, NodeProto)| n.1.output[0] == tensor;
            self.facts.get(&self.nodes.iter().find(writes)?.1.input[0])
        })
    }

    fn model<'a>(
        &self,
        name: &str,
        nodes: impl Iterator<Item = &'a (Side, NodeProto)>,
        inputs: &[tract_onnx::pb::ValueInfoProto],
        outputs: &[tract_onnx::pb::ValueInfoProto],
    ) -> ModelProto {
        let mut nodes: Vec<NodeProto> = nodes.map(|(_, node)| node.clone()).collect();
        let needed = needed_by(&nodes, outputs.iter().map(|o| o.name.as_str()));
        let mut keep = needed.into_iter();
        nodes.retain(|_| keep.next().unwrap_or(false));
        let read: BTreeSet<&str> = nodes
            .iter()
            .flat_map(|n| &n.input)
            .map(String::as_str)
            .collect();
        let weights = &self.network.initializers;
        let initializer: Vec<TensorProto> = read
            .iter()
            .filter_map(|name| weights.get(*name))
            .cloned()
            .collect();
        // The checker wants the names of nodes to differ; in tract, weights and inputs are nodes.
        let mut names: HashSet<String> = initializer.iter().map(|t| t.name.clone()).collect();
        names.extend(inputs.iter().map(|input| input.name.clone()));
        for (index, node) in nodes.iter_mut().enumerate() {
            if node.name.is_empty() || !names.insert(node.name.clone()) {
                let base = format!("{}.{index}", node.op_type);
                node.name = fresh(&base, |name| names.contains(name));
                names.insert(node.name.clone());
            }
        }
        ModelProto {
            ir_version: self.ir_version,
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: self.network.opset,
            }],
            producer_name: env!("CARGO_PKG_NAME").into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(GraphProto {
                name: name.into(),
                node: nodes,
                initializer,
                input: inputs.to_vec(),
                output: outputs.to_vec(),
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        }
    }
}

/// Operators that take one image's tensor beside a tensor of many passes as it is.
fn broadcasts(op: &str) -> bool {
    matches!(
        op,
        "Add"
            | "Sub"
            | "Mul"
            | "Div"
            | "Pow"
            | "Min"
            | "Max"
            | "Mean"
            | "Sum"
            | "And"
            | "Or"
            | "Xor"
            | "Equal"
            | "Greater"
            | "GreaterOrEqual"
            | "Less"
            | "LessOrEqual"
            | "Where"
            | "PRelu"
    )
}
