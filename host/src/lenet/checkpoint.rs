//! safetensors files: named `f32` tensors and one JSON entry in the header.

use std::collections::HashMap;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::{Deserialize, Serialize};

use super::{Architecture, Parameter};

/// The header's entry. One entry, because the order of several would change from run to run, and
/// with it the bytes of the file.
const HEADER_KEY: &str = "mcdropout";

/// The parameters of `architecture`, each named with `prefix`, out of what a file holds.
pub(crate) fn pick(
    found: &mut HashMap<String, Parameter>,
    architecture: &Architecture,
    prefix: &str,
) -> Result<Vec<Parameter>, String> {
    let mut parameters = Vec::new();
    for (name, shape) in architecture.parameters() {
        let name = format!("{prefix}{name}");
        let parameter = found
            .remove(&name)
            .ok_or_else(|| format!("tensor {name} is missing"))?;
        if parameter.shape != shape {
            return Err(format!(
                "tensor {name} has shape {:?}, not {shape:?}",
                parameter.shape
            ));
        }
        if let Some(value) = parameter.values.iter().find(|value| !value.is_finite()) {
            return Err(format!(
                "tensor {name} holds {value}: the training diverged"
            ));
        }
        parameters.push(parameter);
    }
    Ok(parameters)
}

/// Writes tensors and a header.
pub(crate) fn to_safetensors(
    parameters: &[Parameter],
    header: &impl Serialize,
) -> Result<Vec<u8>, SafeTensorError> {
    let bytes: Vec<Vec<u8>> = parameters
        .iter()
        .map(|parameter| {
            parameter
                .values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect()
        })
        .collect();
    let mut tensors = Vec::new();
    for (parameter, bytes) in parameters.iter().zip(&bytes) {
        let view = TensorView::new(Dtype::F32, parameter.shape.clone(), bytes)?;
        tensors.push((parameter.name.as_str(), view));
    }
    let header =
        serde_json::to_string(header).map_err(|error| SafeTensorError::IoError(error.into()))?;
    safetensors::serialize(
        tensors,
        Some(HashMap::from([(HEADER_KEY.to_owned(), header)])),
    )
}

/// Reads what [`to_safetensors`] wrote.
pub(crate) fn from_safetensors<H: for<'de> Deserialize<'de>>(
    bytes: &[u8],
) -> Result<(HashMap<String, Parameter>, H), String> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
    let header = metadata
        .metadata()
        .as_ref()
        .and_then(|entries| entries.get(HEADER_KEY))
        .ok_or_else(|| format!("its header has no entry {HEADER_KEY}"))?;
    let header = serde_json::from_str(header)
        .map_err(|error| format!("header entry {HEADER_KEY}: {error}"))?;
    let mut parameters = HashMap::new();
    for (name, view) in tensors.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(format!("tensor {name} is {:?}, not F32", view.dtype()));
        }
        let (values, _) = view.data().as_chunks::<4>();
        let parameter = Parameter {
            shape: view.shape().to_vec(),
            values: values
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect(),
            name: name.clone(),
        };
        parameters.insert(name, parameter);
    }
    Ok((parameters, header))
}
