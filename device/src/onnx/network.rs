//! The graph in the one form that the later steps read: weights are initializers, each tensor has
//! one name, BatchNormalization infers, and every Dropout left is live.

use std::collections::{BTreeMap, HashMap, HashSet};

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto, ValueInfoProto};

use super::analysis::Facts;
use super::bernoulli::{self, Before};
use super::dropout::{self, Judgement};
use super::liveness::{DropoutSite, Idle, IdleDropout};
use super::proto::{attribute, declared, integers, node_name};
use super::{ElementType, OnnxError, validate};

/// The image input as the file declares it.
#[derive(Debug, Clone)]
pub(super) struct ImageInput {
    pub(super) name: String,
    pub(super) dims: Vec<Option<i64>>,
    pub(super) element: ElementType,
    /// The type that the graph's nodes read.
    pub(super) data_type: DataType,
}

impl ImageInput {
    /// The sizes, once all are known.
    pub(super) fn sizes(&self) -> Vec<usize> {
        let sizes = self.dims.iter().flatten();
        sizes.map(|&n| n.max(0) as usize).collect()
    }
}

#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) opset: i64,
    pub(super) nodes: Vec<NodeProto>,
    pub(super) initializers: BTreeMap<String, TensorProto>,
    pub(super) input: ImageInput,
    /// Candidates for the class scores, in the file's order.
    pub(super) outputs: Vec<String>,
    /// Live Dropouts by the tensor they write, in the nodes' order. Shapes are not known before
    /// [`dropout::shape_sites`]; until then a node's second input may be of the shape of its masks.
    pub(super) sites: Vec<(String, DropoutSite)>,
    /// Dropouts that do nothing, and why.
    pub(super) idle: Vec<IdleDropout>,
}

impl Network {
    /// `only` is the output that holds the class scores, if that is said.
    pub(super) fn new(
        graph: GraphProto,
        opset: i64,
        only: Option<&str>,
    ) -> Result<Self, OnnxError> {
        let mut initializers: BTreeMap<String, TensorProto> = graph
            .initializer
            .into_iter()
            .map(|tensor| (tensor.name.clone(), tensor))
            .collect();
        let mut free_inputs: Vec<_> = graph.input;
        free_inputs.retain(|input| !initializers.contains_key(&input.name));
        let free_names: HashSet<String> = free_inputs.iter().map(|i| i.name.clone()).collect();

        let mut nodes = Vec::with_capacity(graph.node.len());
        let mut alias: HashMap<String, String> = HashMap::new();
        // Outputs that are not class scores: dropout masks and BatchNormalization's statistics.
        let mut by_products: HashSet<String> = HashSet::new();
        let mut sites: Vec<(String, DropoutSite)> = Vec::new();
        let mut idle = Vec::new();
        let mut training_inputs: HashSet<String> = HashSet::new();
        let mut taken: HashSet<String> = HashSet::new();
        for mut node in graph.node {
            for input in &mut node.input {
                if let Some(original) = alias.get(input) {
                    input.clone_from(original);
                }
            }
            let dropout = match node.op_type.as_str() {
                "Constant" => {
                    let tensor = constant(node)?;
                    initializers.insert(tensor.name.clone(), tensor);
                    continue;
                }
                "Identity" => {
                    alias.insert(node.output.swap_remove(0), node.input.swap_remove(0));
                    continue;
                }
                "BatchNormalization" => {
                    infer_batch_normalisation(&mut node, &mut by_products)?;
                    None
                }
                "Dropout" => {
                    by_products.extend(node.output.drain(1..).filter(|o| !o.is_empty()));
                    let name = unique_name(&node, &sites);
                    let judgement =
                        dropout::judge(&node, &name, opset, &initializers, &free_names)?;
                    let training = node.input.drain(1..).nth(1);
                    training_inputs.extend(training.filter(|name| free_names.contains(name)));
                    Some((name, judgement))
                }
                "Mul" | "Div" => {
                    let name = unique_name(&node, &sites);
                    let mut before = Before {
                        nodes: &nodes,
                        constants: &initializers,
                        taken: &mut taken,
                    };
                    before.dropout(&node, &name)?.map(|product| {
                        node.op_type = "Dropout".into();
                        node.input = product.inputs;
                        (name, product.judgement)
                    })
                }
                _ => None,
            };
            match dropout {
                None => {}
                Some((_, Judgement::Live(report))) => sites.push((node.output[0].clone(), report)),
                Some((name, Judgement::Idle(reason))) => {
                    alias.insert(node.output.swap_remove(0), node.input.swap_remove(0));
                    idle.push(IdleDropout { name, reason });
                    continue;
                }
            }
            nodes.push(node);
        }
        check_by_products(&nodes, &by_products)?;

        free_inputs.retain(|input| !training_inputs.contains(&input.name));
        let input = image_input(&free_inputs)?;
        let mut outputs: Vec<String> = Vec::new();
        for output in named(graph.output, only)? {
            let name = alias.get(&output.name).cloned().unwrap_or(output.name);
            if !by_products.contains(&name) && !outputs.contains(&name) {
                outputs.push(name);
            }
        }
        let mut network = Self {
            opset,
            nodes,
            initializers,
            input,
            outputs,
            sites,
            idle,
        };
        network.keep_needed();
        bernoulli::refuse_others(&network.nodes)?;
        Ok(network)
    }

    pub(super) fn producer(&self, tensor: &str) -> Option<&NodeProto> {
        self.nodes
            .iter()
            .find(|n| n.output.iter().any(|o| o == tensor))
    }

    /// Whether a tensor bears this name.
    pub(super) fn has(&self, tensor: &str) -> bool {
        self.input.name == tensor
            || self.initializers.contains_key(tensor)
            || self.producer(tensor).is_some()
    }

    /// Rewrites every Reshape that keeps a batch of `batch` so that it keeps any batch.
    ///
    /// A model exported with a fixed batch says `[1, 320]`, one with a dynamic batch works the
    /// same list out from `Shape` nodes. `facts` know the list either way; a leading 0 means "as
    /// in the input".
    pub(super) fn keep_batch(&mut self, facts: &Facts, batch: usize) {
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            if node.op_type != "Reshape" {
                continue;
            }
            let of_batch = |tensor: &str| {
                let shape = &facts.get(tensor)?.shape;
                (shape.len() > 1 && shape[0] == batch).then_some(shape)
            };
            let (Some(_), Some(to)) = (of_batch(&node.input[0]), of_batch(&node.output[0])) else {
                continue;
            };
            if to.contains(&0) {
                continue;
            }
            let mut sizes: Vec<i64> = to.iter().map(|&n| n as i64).collect();
            sizes[0] = 0;
            let name = fresh(&format!("{}.sizes", node.output[0]), |name| self.has(name));
            self.initializers
                .insert(name.clone(), integers(name.clone(), &sizes));
            let node = &mut self.nodes[index];
            node.input[1] = name;
            node.attribute.retain(|a| a.name != "allowzero");
        }
    }

    /// Keeps only the nodes that an output needs.
    fn keep_needed(&mut self) {
        let needed = needed_by(&self.nodes, self.outputs.iter().map(String::as_str));
        let mut keep = needed.into_iter();
        self.nodes.retain(|_| keep.next().unwrap_or(false));
    }

    /// Keeps only what the output needs, and tells which live Dropouts it does not need.
    pub(super) fn prune(&mut self, output: &str) {
        self.outputs = vec![output.to_owned()];
        self.keep_needed();
        let written: HashSet<&str> = self.nodes.iter().map(|n| n.output[0].as_str()).collect();
        let idle = &mut self.idle;
        self.sites.retain(|(tensor, report)| {
            let used = written.contains(tensor.as_str());
            if !used {
                idle.push(IdleDropout {
                    name: report.name.clone(),
                    reason: Idle::Unused,
                });
            }
            used
        });
        let read: HashSet<&str> = self
            .nodes
            .iter()
            .flat_map(|n| &n.input)
            .map(String::as_str)
            .collect();
        self.initializers
            .retain(|name, _| read.contains(name.as_str()));
    }
}

/// `base`, or `base` with a number if that name is taken.
pub(crate) fn fresh(base: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut name = base.to_owned();
    let mut n = 0;
    while taken(&name) {
        n += 1;
        name = format!("{base}.{n}");
    }
    name
}

/// Which nodes the tensors depend on, in the nodes' order.
pub(super) fn needed_by<'a>(
    nodes: &[NodeProto],
    tensors: impl Iterator<Item = &'a str>,
) -> Vec<bool> {
    let mut wanted: HashSet<String> = tensors.map(str::to_owned).collect();
    let mut needed: Vec<bool> = nodes
        .iter()
        .rev()
        .map(|node| {
            let is_needed = node.output.iter().any(|o| wanted.contains(o));
            if is_needed {
                wanted.extend(node.input.iter().cloned());
            }
            is_needed
        })
        .collect();
    needed.reverse();
    needed
}

fn unique_name(node: &NodeProto, sites: &[(String, DropoutSite)]) -> String {
    fresh(node_name(node), |name| {
        sites.iter().any(|(_, site)| site.name == name)
    })
}

/// The tensor a Constant node holds, under the name of its output.
fn constant(mut node: NodeProto) -> Result<TensorProto, OnnxError> {
    let invalid =
        |reason: &str| OnnxError::Invalid(format!("Constant node {} {reason}", node_name(&node)));
    let Some(value) = node.attribute.iter().find(|a| a.name.starts_with("value")) else {
        return Err(invalid("holds no supported value"));
    };
    let floats = |values: &[f32], dims| TensorProto {
        dims,
        data_type: DataType::Float as i32,
        float_data: values.to_vec(),
        ..TensorProto::default()
    };
    let mut tensor = match (value.name.as_str(), value.r#type) {
        ("value", t) if t == AttributeType::Tensor as i32 => {
            value.t.clone().ok_or_else(|| invalid("holds no tensor"))?
        }
        ("value_float", _) => floats(&[value.f], vec![]),
        ("value_floats", _) => floats(&value.floats, vec![value.floats.len() as i64]),
        ("value_int", _) => TensorProto {
            dims: vec![],
            ..integers("", &[value.i])
        },
        ("value_ints", _) => integers("", &value.ints),
        _ => return Err(invalid("holds no supported value")),
    };
    tensor.name = node.output.swap_remove(0);
    validate::tensor(&mut tensor)?;
    Ok(tensor)
}

/// Makes the node use its running statistics.
///
/// An export in training mode, which is how PyTorch keeps Dropout, also leaves its BatchNorm
/// layers in training mode: they would normalise by the statistics of the current batch, here the
/// passes over one image. MC dropout samples the weights of the trained network, whose
/// normalisation is that of the running statistics (inputs 3 and 4 of the node).
fn infer_batch_normalisation(
    node: &mut NodeProto,
    by_products: &mut HashSet<String>,
) -> Result<(), OnnxError> {
    if attribute(node, "spatial").is_some_and(|a| a.i == 0) {
        return Err(OnnxError::UnsupportedOperator {
            op: node.op_type.clone(),
            node: node_name(node).into(),
            hint: " with spatial=0",
        });
    }
    by_products.extend(node.output.drain(1..).filter(|o| !o.is_empty()));
    node.attribute.retain(|a| a.name != "training_mode");
    node.input.truncate(5);
    Ok(())
}

/// What exists only in training cannot feed the class scores.
fn check_by_products(nodes: &[NodeProto], by_products: &HashSet<String>) -> Result<(), OnnxError> {
    for node in nodes {
        if let Some(tensor) = node.input.iter().find(|i| by_products.contains(*i)) {
            return Err(OnnxError::Invalid(format!(
                "node {} ({}) reads {tensor:?}, which exists only in training",
                node_name(node),
                node.op_type
            )));
        }
    }
    Ok(())
}

/// The outputs, or the one of this name.
fn named(
    mut outputs: Vec<ValueInfoProto>,
    only: Option<&str>,
) -> Result<Vec<ValueInfoProto>, OnnxError> {
    let Some(only) = only else {
        return Ok(outputs);
    };
    let names: Vec<String> = outputs.iter().map(|output| output.name.clone()).collect();
    outputs.retain(|output| output.name == only);
    if outputs.is_empty() {
        return Err(OnnxError::Output(format!(
            "the model has no output {only:?}: it has {}",
            names.join(", ")
        )));
    }
    Ok(outputs)
}

fn image_input(free: &[ValueInfoProto]) -> Result<ImageInput, OnnxError> {
    let [input] = free else {
        let names: Vec<&str> = free.iter().map(|i| i.name.as_str()).collect();
        return Err(OnnxError::Input(if names.is_empty() {
            "the model has no input".into()
        } else {
            format!(
                "the model has {} inputs ({}), and only the image can be one: make the others constants",
                names.len(),
                names.join(", ")
            )
        }));
    };
    let (data_type, dims) = declared(input)
        .ok_or_else(|| OnnxError::Input(format!("input {} is not a tensor", input.name)))?;
    let Some(element) = ElementType::of(data_type) else {
        let name = DataType::try_from(data_type).map_or_else(
            |_| data_type.to_string(),
            |t| t.as_str_name().to_lowercase(),
        );
        return Err(OnnxError::Input(format!(
            "input {} has elements of type {name}, and only float (32 or 16 bits) and uint8 are supported",
            input.name
        )));
    };
    let dims =
        dims.ok_or_else(|| OnnxError::Input(format!("input {} declares no shape", input.name)))?;
    Ok(ImageInput {
        name: input.name.clone(),
        dims,
        element,
        data_type: element.widened(),
    })
}
