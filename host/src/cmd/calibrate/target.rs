//! The files that a calibration is written to.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use device::onnx::{Calibration, Model};
use device::signature::Kind;
use shared::triage::Thresholds;

use crate::files;
use crate::lenet::TrainedModel;

/// Where the thresholds go.
pub(super) struct Target {
    /// The model as it is.
    bytes: Vec<u8>,
    path: PathBuf,
    /// The weights that the model was exported from, and their file, if they are beside it.
    weights: Option<(PathBuf, TrainedModel)>,
}

impl Target {
    /// Makes sure, before anything is judged, that the model can be written.
    pub(super) fn new(model: &Path, out: Option<&Path>) -> anyhow::Result<Self> {
        ensure!(
            !model.is_dir(),
            "{} is a folder: name the ONNX file in it",
            model.display()
        );
        let found = Model::load(model)?;
        let bytes =
            std::fs::read(model).with_context(|| format!("cannot read {}", model.display()))?;
        let Some(out) = out else {
            // Through a link the file itself is replaced, not the link.
            let path = model.canonicalize().context("cannot follow links")?;
            writable(&path)?;
            return Ok(Self {
                bytes,
                weights: weights_of(&path, &found)?,
                path,
            });
        };
        let folder = |path: &Path| {
            path.parent()
                .and_then(|folder| Path::new(".").join(folder).canonicalize().ok())
        };
        if folder(out) != folder(model) && Model::from_bytes(&bytes).is_err() {
            bail!(
                "{} keeps its weights in another file beside it: --out must be in the same folder",
                model.display()
            );
        }
        if out.exists() {
            writable(out)?;
        }
        Ok(Self {
            bytes,
            path: out.to_path_buf(),
            weights: None,
        })
    }

    /// Writes the thresholds and returns the files that hold them.
    pub(super) fn write(
        self,
        thresholds: &Thresholds,
        calibration: &Calibration,
    ) -> anyhow::Result<Vec<PathBuf>> {
        let bytes = calibration.write(&self.bytes, thresholds)?;
        files::write(&self.path, &bytes)?;
        if Kind::Model.split(&self.bytes).1.is_some() {
            tracing::warn!(
                "{} is no longer signed, because it changed: sign it again with host sign",
                self.path.display()
            );
        }
        let mut written = vec![self.path];
        if let Some((path, weights)) = self.weights {
            let weights = TrainedModel {
                thresholds: Some(*thresholds),
                calibration: Some(calibration.clone()),
                ..weights
            };
            files::write(&path, &weights.to_bytes()?)?;
            written.push(path);
        }
        Ok(written)
    }
}

/// A file that is replaced need not be writable itself; one that is not is meant to stay.
fn writable(path: &Path) -> anyhow::Result<()> {
    let found =
        std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(
        !found.permissions().readonly(),
        "{} is read-only: name another file with --out",
        path.display()
    );
    Ok(())
}

/// The weights beside the ONNX file, if it was exported from them.
fn weights_of(model: &Path, found: &Model) -> anyhow::Result<Option<(PathBuf, TrainedModel)>> {
    let path = model.with_extension("safetensors");
    if !path.is_file() {
        return Ok(None);
    }
    let metadata = found.metadata();
    let same = TrainedModel::load(&path)
        .ok()
        .filter(|weights| weights.training == metadata.training && weights.seed == metadata.seed);
    let Some(weights) = same else {
        tracing::warn!(
            "{} is not what the model was exported from: left as it is",
            path.display()
        );
        return Ok(None);
    };
    writable(&path)?;
    Ok(Some((path, weights)))
}
