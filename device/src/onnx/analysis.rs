//! Shapes, element types and known integer values of every tensor, worked out by tract.

use std::collections::{BTreeMap, HashMap};

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto};
use tract_onnx::prelude::{
    DatumType, InferenceFact, InferenceModel, InferenceModelExt, OutletId, TractError, TractResult,
};
use tract_onnx::tract_hir::infer::{Factoid, ShapeFactoid};

use super::guard::guarded;
use super::limits::{MAX_CONSTANTS, MAX_ELEMENTS};
use super::network::Network;
use super::proto::{Dim, value_info};
use super::{OnnxError, one_line, validate};

/// What is known about one tensor.
#[derive(Debug, Clone)]
pub(super) struct Fact {
    pub(super) data_type: DataType,
    pub(super) shape: Vec<usize>,
    /// Whether its value depends on constants only.
    pub(super) constant: bool,
    /// The value of an integer vector that depends on shapes and constants only.
    pub(super) integers: Option<Vec<i64>>,
}

pub(super) type Facts = HashMap<String, Fact>;

/// A graph to analyse; every input has a fixed shape.
pub(super) struct Question<'a> {
    pub(super) opset: i64,
    pub(super) nodes: &'a [NodeProto],
    pub(super) initializers: &'a BTreeMap<String, TensorProto>,
    pub(super) inputs: Vec<(&'a str, DataType, Vec<usize>)>,
    pub(super) outputs: &'a [String],
}

impl Question<'_> {
    /// Facts by tensor name, of those tensors about which all is known.
    pub(super) fn answer(&self) -> Result<Facts, OnnxError> {
        guarded(|| self.ask(), OnnxError::Shapes)
    }

    fn ask(&self) -> Result<Facts, OnnxError> {
        let untyped = |name: &String| tract_onnx::pb::ValueInfoProto {
            name: name.clone(),
            ..Default::default()
        };
        let inputs = self.inputs.iter().map(|(name, data_type, shape)| {
            let dims: Vec<Dim> = shape.iter().map(|&n| Dim::Fixed(n)).collect();
            value_info(name, *data_type, &dims)
        });
        let model = ModelProto {
            ir_version: 8,
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: self.opset,
            }],
            graph: Some(GraphProto {
                node: self.nodes.to_vec(),
                initializer: self.initializers.values().cloned().collect(),
                input: inputs.collect(),
                output: self.outputs.iter().map(untyped).collect(),
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        };
        let explain = |e: TractError| OnnxError::Shapes(one_line(&format!("{e:#}")));
        let mut parsed = tract_onnx::onnx()
            .with_ignore_output_shapes(true)
            .with_ignore_value_info(true)
            .parse(&model, None)
            .map_err(explain)?;
        // One pass in the graph's order, in which every node is checked before tract looks at it:
        // tract trusts that a convolution and its input have the same number of axes.
        let rank = |model: &InferenceModel, outlets: &HashMap<String, OutletId>, tensor: &str| {
            let fact = model.outlet_fact(*outlets.get(tensor)?).ok()?;
            usize::try_from(fact.shape.rank().concretize()?).ok()
        };
        let mut room = MAX_CONSTANTS;
        for tensor in self.initializers.values() {
            let count = validate::elements(tensor).unwrap_or(0);
            room = room.saturating_add(count);
        }
        for node in self.nodes {
            validate::axes(node, |tensor| {
                rank(&parsed.model, &parsed.outlets_by_name, tensor)
            })?;
            if let Some(outlet) = parsed.outlets_by_name.get(&node.output[0]) {
                infer(&mut parsed.model, outlet.node, &mut room).map_err(explain)?;
            }
        }
        parsed.model.analyse(false).map_err(explain)?;

        let mut facts = Facts::new();
        for (name, outlet) in parsed.outlets_by_name {
            let Ok(fact) = parsed.model.outlet_fact(outlet) else {
                continue;
            };
            let shape = fact.shape.concretize().and_then(|dims| {
                let sizes = dims.iter().map(|d| usize::try_from(d.as_i64()?).ok());
                sizes.collect::<Option<Vec<usize>>>()
            });
            let data_type = fact.datum_type.concretize().and_then(onnx_type);
            let (Some(shape), Some(data_type)) = (shape, data_type) else {
                continue;
            };
            let count = shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
            if count.is_none_or(|n| n > MAX_ELEMENTS) {
                return Err(OnnxError::Shapes(format!(
                    "tensor {name} would have the shape {shape:?}"
                )));
            }
            let integers = fact
                .value
                .concretize()
                .filter(|_| data_type == DataType::Int64)
                .and_then(|tensor| {
                    let tensor = tensor.cast_to::<i64>().ok()?;
                    let view = tensor.to_plain_array_view::<i64>().ok()?;
                    Some(view.iter().copied().collect())
                });
            let fact = Fact {
                data_type,
                constant: fact.value.is_concrete(),
                shape,
                integers,
            };
            facts.insert(name, fact);
        }
        Ok(facts)
    }
}

/// Facts about the network for one image, or for as many as `dims` begin with, with dropout left out.
pub(super) fn one_image(network: &Network, dims: &[usize]) -> Result<Facts, OnnxError> {
    let without_dropout = |node: &NodeProto| {
        let mut node = node.clone();
        if node.op_type == "Dropout" {
            node.op_type = "Identity".into();
            node.input.truncate(1);
            node.attribute.clear();
        }
        node
    };
    Question {
        opset: network.opset,
        nodes: &network
            .nodes
            .iter()
            .map(without_dropout)
            .collect::<Vec<_>>(),
        initializers: &network.initializers,
        inputs: vec![(&network.input.name, network.input.data_type, dims.to_vec())],
        outputs: &network.outputs,
    }
    .answer()
}

/// Works out what one node's inputs tell about its outputs. `room` is the elements that constants may
/// still have: tract works them out at once.
fn infer(model: &mut InferenceModel, id: usize, room: &mut usize) -> TractResult<()> {
    fn owned<'a>(facts: impl IntoIterator<Item = &'a InferenceFact>) -> Vec<InferenceFact> {
        facts.into_iter().cloned().collect()
    }
    let (inputs, outputs) = model.node_facts(id)?;
    let (inputs, outputs) = (owned(inputs), owned(outputs));
    let node = model.node(id);
    if node.op.nboutputs()? != outputs.len() {
        return Err(TractError::msg(format!(
            "{} writes {} tensors, not {}",
            node.name,
            node.op.nboutputs()?,
            outputs.len()
        )));
    }
    let observed = node.op.observe_outlets(model, node)?;
    let observed = observed.into_iter().map(|o| model.outlet_fact(o));
    let observed = owned(observed.collect::<TractResult<Vec<_>>>()?);
    let op = &mut model.node_mut(id).op;
    if inputs.iter().all(|fact| fact.value.is_concrete()) {
        let (_, outputs, _) = op.infer_facts(
            inputs.iter().collect(),
            outputs.iter().collect(),
            observed.iter().collect(),
        )?;
        for count in outputs.iter().filter_map(|fact| elements(&fact.shape)) {
            *room = room
                .checked_sub(count)
                .ok_or_else(|| TractError::msg("its constants take too much memory"))?;
        }
    }
    let (_, outputs, _) = model.node_mut(id).op.infer(
        inputs.iter().collect(),
        outputs.iter().collect(),
        observed.iter().collect(),
    )?;
    for (slot, fact) in outputs.into_iter().enumerate() {
        model.set_outlet_fact(OutletId::new(id, slot), fact)?;
    }
    Ok(())
}

/// Number of elements of a shape, if that is known; `usize::MAX` if there is no such number.
fn elements(shape: &ShapeFactoid) -> Option<usize> {
    let count = shape.concretize()?.iter().try_fold(1_usize, |count, dim| {
        count.checked_mul(usize::try_from(dim.as_i64()?).ok()?)
    });
    Some(count.unwrap_or(usize::MAX))
}

/// tract's type for sizes counts as the integers that ONNX declares them to be.
fn onnx_type(datum_type: DatumType) -> Option<DataType> {
    Some(match datum_type {
        DatumType::Bool => DataType::Bool,
        DatumType::F32 => DataType::Float,
        DatumType::F64 => DataType::Double,
        DatumType::F16 => DataType::Float16,
        DatumType::I8 => DataType::Int8,
        DatumType::I16 => DataType::Int16,
        DatumType::I32 => DataType::Int32,
        DatumType::I64 | DatumType::TDim => DataType::Int64,
        DatumType::U8 => DataType::Uint8,
        DatumType::U16 => DataType::Uint16,
        DatumType::U32 => DataType::Uint32,
        DatumType::U64 => DataType::Uint64,
        _ => return None,
    })
}
