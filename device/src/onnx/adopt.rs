//! Gives somebody's model what this project keeps in model files.

use std::collections::HashSet;
use std::path::Path;

use prost::Message as _;
use shared::image::Preprocessing;
use tract_onnx::pb::{GraphProto, StringStringEntryProto, tensor_shape_proto, type_proto};

use super::metadata::{self, CALIBRATION, LABELS, SEED, THRESHOLDS, json};
use super::{
    EndOptions, Layout, Model, OnnxError, OutputKind, Trust, external, folder_of, parse,
    preprocessing, read, validate,
};

/// What a model file is given. What is `None` stays as the file has it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Adoption {
    /// Names of the classes, in the order of the outputs.
    pub labels: Option<Vec<String>>,
    /// What becomes of a picture before the model sees it. If the file said otherwise, its thresholds and
    /// their calibration are taken out: they were set on other inputs.
    pub preprocessing: Option<Preprocessing>,
    /// Seed of the masks.
    pub seed: Option<u64>,
    /// What is said of its input and output: written into the graph, so that nobody needs to say it again.
    pub ends: EndOptions,
}

impl Adoption {
    /// The bytes of the model file at `path` with these entries. Weights that lie beside it are taken into
    /// the file; otherwise nothing but the entries changes. It is no longer signed.
    ///
    /// # Errors
    ///
    /// [`OnnxError::InFile`], if it is no model that can be sampled, or the entries do not fit it.
    pub fn write(&self, path: &Path) -> Result<Vec<u8>, OnnxError> {
        let write = || {
            let options = self.ends.load_options(&Trust::default());
            let model = Model::decode(&read(path)?, Some(folder_of(path)), &options)?;
            let (keys, entries) = self.entries(&model)?;
            let file = metadata::replace(&self.complete(path, &model)?, &keys, entries)?;
            // What is written is read, with all checks.
            Model::from_bytes(&file)?;
            Ok(file)
        };
        write().map_err(|error| OnnxError::InFile {
            path: path.into(),
            error: Box::new(error),
        })
    }

    /// The keys of what is replaced, and what replaces it.
    fn entries(
        &self,
        model: &Model,
    ) -> Result<(Vec<&'static str>, Vec<StringStringEntryProto>), OnnxError> {
        let (mut keys, mut entries) = (vec![metadata::DATA], Vec::new());
        if let Some(labels) = &self.labels {
            keys.push(LABELS);
            entries.push(json(LABELS, labels)?);
        }
        if let Some(wanted) = &self.preprocessing {
            keys.extend([preprocessing::KEY, preprocessing::OLDER]);
            entries.push(preprocessing::entry(wanted, model.input_shape().channels)?);
            if model.metadata().preprocessing != Some(*wanted) {
                keys.extend([THRESHOLDS, CALIBRATION]);
            }
        }
        // Said once, it need not be tried at every start.
        keys.push(OutputKind::KEY);
        entries.push(model.output_kind().entry());
        if let Some(seed) = self.seed {
            keys.push(SEED);
            entries.push(json(SEED, &seed)?);
        }
        Ok((keys, entries))
    }

    /// The bytes of a model file, with the weights that lie beside it, and what was left open said.
    fn complete(&self, path: &Path, about: &Model) -> Result<Vec<u8>, OnnxError> {
        let bytes = read(path)?;
        let mut model = parse(&bytes)?;
        let hashes = metadata::parse(&model.metadata_props, metadata::DATA)?;
        let folder = folder_of(path);
        let mut beside = external::Beside::new(Some(folder), hashes.unwrap_or_default(), false);
        let mut changed = false;
        if let Some(graph) = &mut model.graph {
            let constants = graph.node.iter_mut().flat_map(|n| &mut n.attribute);
            let constants = constants.filter_map(|a| a.t.as_mut());
            for tensor in graph.initializer.iter_mut().chain(constants) {
                if external::is_external(tensor) {
                    beside.inline(tensor)?;
                    validate::tensor(tensor)?;
                    changed = true;
                }
            }
            if let Some(name) = &self.ends.output {
                graph.output.retain(|output| output.name == *name);
                changed = true;
            }
            if self.ends.input_size.is_some() {
                fix_size(graph, about);
                changed = true;
            }
        }
        Ok(if changed {
            model.encode_to_vec()
        } else {
            bytes
        })
    }
}

/// Writes the height and width of the input into the graph.
fn fix_size(graph: &mut GraphProto, about: &Model) {
    let shape = about.input_shape();
    let (height, width) = (shape.height as i64, shape.width as i64);
    let sizes = match about.layout() {
        Layout::ChannelsFirst => vec![(2, height), (3, width)],
        Layout::ChannelsLast => vec![(1, height), (2, width)],
        Layout::Flat => vec![(1, height * width)],
    };
    let weights: HashSet<&str> = graph
        .initializer
        .iter()
        .map(|it| it.name.as_str())
        .collect();
    let input = graph
        .input
        .iter_mut()
        .find(|input| !weights.contains(input.name.as_str()));
    let value = input.and_then(|input| input.r#type.as_mut()?.value.as_mut());
    if let Some(type_proto::Value::TensorType(tensor)) = value
        && let Some(declared) = &mut tensor.shape
    {
        for (axis, size) in sizes {
            if let Some(axis) = declared.dim.get_mut(axis) {
                axis.value = Some(tensor_shape_proto::dimension::Value::DimValue(size));
            }
        }
    }
}
