//! A trained model as ONNX, for any runtime, and a model as a plan file, for microcontrollers. Needs no
//! libtorch.

mod graph;
mod plan;

use device::onnx::{Metadata, Model, OnnxError};
use prost::Message;

use shared::image::Preprocessing;

use crate::lenet::TrainedModel;
pub use plan::{PlanExport, to_plan};

/// Why a model cannot be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The graph built is not one that a device can run.
    #[error("the exported model cannot be run on a device: {0}")]
    Device(#[from] OnnxError),
    /// Every site keeps everything.
    #[error("the model has no live dropout: it was trained with --dropout 0,0,0")]
    Deterministic,
}

/// One ONNX file whose dropout is live: input `image` `[batch, 1, 28, 28]`, output `logits`
/// `[batch, classes]`, and the keep mask of each site as a further output `keep_mask.<site>`.
///
/// The mask outputs are what keeps dropout alive: onnxruntime's optimiser removes a Dropout in
/// training mode, and with it all uncertainty, unless its mask is used.
///
/// # Errors
/// The model has no dropout, or the device library refuses it.
pub fn to_onnx(model: &TrainedModel) -> Result<Vec<u8>, ExportError> {
    let keep = model
        .architecture
        .keep()
        .ok_or(ExportError::Deterministic)?;
    if keep
        .iter()
        .all(|q| *q == shared::mask::KeepProbability::ONE)
    {
        return Err(ExportError::Deterministic);
    }
    let mut proto = graph::lenet(model, &keep);
    // The device's own reading of the graph says which sites it has.
    let sites = Model::from_bytes(&proto.encode_to_vec())?;
    let metadata = Metadata {
        labels: model.labels.clone(),
        preprocessing: Some(Preprocessing::grey(model.normalisation)),
        seed: model.seed,
        thresholds: model.thresholds,
        calibration: model.calibration.clone(),
        training: model.training.clone(),
    };
    metadata.write(&mut proto, 1, sites.sites())?;
    let bytes = proto.encode_to_vec();
    Model::from_bytes(&bytes)?;
    Ok(bytes)
}

/// One ONNX file with a keep mask of zeros and ones per site as an input, for runtimes without
/// live dropout: `image` `[images, 1, 28, 28]` and `keep_mask.<site>` `[passes, …site shape]` in,
/// `logits` `[passes, classes]` out.
///
/// # Errors
/// As [`to_onnx`].
pub fn to_onnx_with_mask_inputs(model: &TrainedModel) -> Result<Vec<u8>, ExportError> {
    Ok(Model::from_bytes(&to_onnx(model)?)?
        .masks_as_inputs()
        .encode_to_vec())
}

/// Two ONNX files: the stem, which runs once an image, and the head, which runs once a pass.
///
/// # Errors
/// As [`to_onnx`].
pub fn to_onnx_split(model: &TrainedModel) -> Result<[Vec<u8>; 2], ExportError> {
    let model = Model::from_bytes(&to_onnx(model)?)?;
    Ok([model.stem().encode_to_vec(), model.head().encode_to_vec()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lenet::tests::example;

    #[test]
    fn the_device_reads_back_what_was_exported() {
        let model = example([0.5, 0.25, 0.125]);
        let bytes = to_onnx(&model).expect("exported");
        let read = Model::from_bytes(&bytes).expect("read");
        assert_eq!(read.classes(), 10);
        assert_eq!(read.opset(), 13);
        let shape = read.input_shape();
        assert_eq!((shape.channels, shape.height, shape.width), (1, 28, 28));
        let sites = read.sites();
        for (site, (name, shape)) in sites.iter().zip(
            crate::lenet::SITE_NAMES
                .iter()
                .zip(crate::lenet::SITE_SHAPES),
        ) {
            assert_eq!((site.name.as_str(), site.shape.as_slice()), (*name, shape));
        }
        let ratios: Vec<f32> = sites.iter().map(|site| site.ratio).collect();
        assert_eq!(ratios, [0.5, 0.25, 0.125]);
        let metadata = read.metadata();
        assert_eq!(metadata.labels, model.labels);
        assert_eq!(
            metadata.preprocessing,
            Some(Preprocessing::grey(model.normalisation))
        );
        assert_eq!(metadata.seed, model.seed);
        assert_eq!(metadata.thresholds, model.thresholds);
        assert_eq!(metadata.calibration, model.calibration);
        assert_eq!(metadata.training, model.training);
        assert_eq!(bytes, to_onnx(&model).expect("exported again"));
    }

    #[test]
    fn a_site_without_dropout_is_left_out() {
        let read = Model::from_bytes(&to_onnx(&example([0.0, 0.5, 0.0])).expect("exported"))
            .expect("read");
        let names: Vec<_> = read.sites().iter().map(|site| site.name.as_str()).collect();
        assert_eq!(names, ["dropout2"]);
        assert!(matches!(
            to_onnx(&example([0.0; 3])),
            Err(ExportError::Deterministic)
        ));
    }
}
