//! What was measured, how, and where: what it takes to repeat it.

use std::path::Path;
use std::time::SystemTime;

use anyhow::Context;
use device::onnx::Calibration;
use serde::Serialize;
use sha2::{Digest, Sha256};
use shared::triage::Thresholds;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::bench::Machine;
use crate::evaluate::{Frames, Run, Setup};
use device::hexadecimal;

/// What was measured, how, and where.
#[derive(Debug, Clone, Serialize)]
pub struct Configuration {
    /// The model's file name.
    pub model: String,
    /// SHA-256 of that file, in hexadecimal.
    pub sha256: String,
    /// The model's classes, in label order.
    pub labels: Vec<String>,
    /// Its dropout sites, in words.
    pub dropout: Vec<String>,
    /// The limits that flag a frame, if the file has any; else generic ones were in force.
    pub thresholds: Option<Thresholds>,
    /// What `host calibrate` promises about them, if it set them.
    pub calibration: Option<Calibration>,
    /// Summary of its training, as the file tells.
    pub training: Option<serde_json::Value>,
    /// What was judged.
    pub sets: Vec<JudgedSet>,
    /// The seed of the masks.
    pub seed: u64,
    /// The engine, the passes, and how fast it was.
    pub run: Run,
    /// The machine.
    pub machine: Machine,
    /// When the report was made: UTC, as in RFC 3339.
    pub made: String,
    /// The version of this program.
    pub version: &'static str,
}

/// One set of judged images.
#[derive(Debug, Clone, Serialize)]
pub struct JudgedSet {
    /// Its name.
    pub name: String,
    /// Images judged.
    pub frames: usize,
    /// Whether it shows the model's classes; else it is out of distribution.
    pub known: bool,
}

impl Configuration {
    /// What is known of a run over `frames` of the model in `setup`.
    ///
    /// # Errors
    /// The model cannot be read, or this machine's clock not be told.
    pub fn new(setup: &Setup, frames: &Frames, run: &Run) -> anyhow::Result<Self> {
        let path: &Path = &setup.model;
        let bytes = std::fs::read(path)
            .with_context(|| format!("cannot read the model {}", path.display()))?;
        let model = setup.model()?;
        let metadata = model.metadata();
        let sites = model.sites().iter();
        let now = OffsetDateTime::from(SystemTime::now()).replace_nanosecond(0)?;
        Ok(Self {
            model: path
                .file_name()
                .unwrap_or(path.as_os_str())
                .to_string_lossy()
                .into_owned(),
            sha256: hexadecimal::encode(&Sha256::digest(bytes)),
            labels: metadata.labels.clone(),
            dropout: sites
                .map(|site| format!("{}: p = {} on {:?}", site.name, site.ratio, site.shape))
                .collect(),
            thresholds: metadata.thresholds,
            calibration: metadata.calibration.clone(),
            training: metadata.training.clone(),
            sets: frames
                .sets()
                .iter()
                .map(|set| JudgedSet {
                    name: set.name.clone(),
                    frames: set.images.len(),
                    known: set.known,
                })
                .collect(),
            seed: setup.seed.unwrap_or(metadata.seed),
            run: run.clone(),
            machine: Machine::this(),
            made: now.format(&Rfc3339).context("cannot tell the date")?,
            version: env!("CARGO_PKG_VERSION"),
        })
    }
}
