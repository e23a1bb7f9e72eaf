//! What a model file tells about itself, in ONNX `metadata_props`.
//!
//! Each entry is a key beginning with `mcdropout.` and a JSON value, so that any ONNX tool can
//! show it.

use prost::Message as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared::image::Preprocessing;
use shared::triage::Thresholds;
use tract_onnx::pb::{ModelProto, StringStringEntryProto};

use super::fields::field;
use super::{Calibration, DropoutSite, OnnxError, one_line, preprocessing};
use crate::engine::InputShape;
use crate::signature::{self, Kind};

pub(super) const CALIBRATION: &str = "mcdropout.calibration";
/// SHA-256 of the files beside the model, in hexadecimal digits, by name.
pub(super) const DATA: &str = "mcdropout.data";
pub(super) const LABELS: &str = "mcdropout.labels";
pub(super) const SEED: &str = "mcdropout.seed";
const SITES: &str = "mcdropout.sites";
pub(super) const THRESHOLDS: &str = "mcdropout.thresholds";
const TRAINING: &str = "mcdropout.training";

/// What a model file tells about itself. What a file does not say has a default.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metadata {
    /// Names of the classes; by default their numbers.
    pub labels: Vec<String>,
    /// What becomes of a picture before the model sees it; `None` if the file does not say.
    pub preprocessing: Option<Preprocessing>,
    /// Seed of the masks; by default 0.
    pub seed: u64,
    /// Limits that flag a frame.
    pub thresholds: Option<Thresholds>,
    /// What was promised about these limits, and how it was found.
    pub calibration: Option<Calibration>,
    /// Summary of the training, for people to read.
    pub training: Option<serde_json::Value>,
}

/// How a site is described in the file: JSON with the keys `name`, `ratio`, `keep_bits` (keep
/// probability in steps of 1/65536) and `shape` (without the batch axis).
#[derive(Serialize, Deserialize)]
struct SiteEntry {
    name: String,
    ratio: f32,
    keep_bits: u32,
    shape: Vec<usize>,
}

pub(super) fn json<T: Serialize>(
    key: &str,
    value: &T,
) -> Result<StringStringEntryProto, OnnxError> {
    let value = serde_json::to_string(value).map_err(|e| refuse(key, &e))?;
    Ok(StringStringEntryProto {
        key: key.into(),
        value,
    })
}

/// The entry of a key, if there is one.
pub(super) fn parse<T: DeserializeOwned>(
    entries: &[StringStringEntryProto],
    key: &str,
) -> Result<Option<T>, OnnxError> {
    let entry = entries.iter().find(|e| e.key == key);
    let value = entry.map(|e| serde_json::from_str(&e.value));
    value.transpose().map_err(|e| refuse(key, &e))
}

/// The bytes of a model file with `entries` in place of those with `keys`. It is no longer signed;
/// nothing else changes, not even what this library does not know.
pub(super) fn replace(
    file: &[u8],
    keys: &[&str],
    entries: Vec<StringStringEntryProto>,
) -> Result<Vec<u8>, OnnxError> {
    /// The number of `metadata_props` in a model.
    const METADATA_PROPS: u64 = 14;
    let not_onnx = || OnnxError::NotOnnx("its fields cannot be told apart".into());
    let mut rest = Kind::Model.split(file).0;
    let mut out = Vec::with_capacity(file.len());
    while !rest.is_empty() {
        let field = field(&mut rest).ok_or_else(not_onnx)?;
        let replaced = field.number == METADATA_PROPS && {
            let alone = ModelProto::decode(field.all).map_err(|_| not_onnx())?;
            let key = |key: &str| keys.contains(&key) || key == signature::KEY;
            alone.metadata_props.iter().any(|entry| key(&entry.key))
        };
        if !replaced {
            out.extend_from_slice(field.all);
        }
    }
    // A message that follows another one adds to its lists.
    let more = ModelProto {
        metadata_props: entries,
        ..ModelProto::default()
    };
    out.extend(more.encode_to_vec());
    Ok(out)
}

pub(super) fn refuse(key: &str, reason: &impl ToString) -> OnnxError {
    OnnxError::Metadata {
        key: key.into(),
        reason: one_line(&reason.to_string()),
    }
}

impl Metadata {
    /// Reads our entries, for a model of `channels` input planes; others are left alone.
    ///
    /// # Errors
    ///
    /// [`OnnxError::Metadata`] when an entry of ours is not the JSON it should be.
    pub fn read(entries: &[StringStringEntryProto], channels: usize) -> Result<Self, OnnxError> {
        let default = Self::default();
        let metadata = Self {
            labels: parse(entries, LABELS)?.unwrap_or(default.labels),
            preprocessing: preprocessing::read(entries, channels)?,
            seed: parse(entries, SEED)?.unwrap_or(default.seed),
            thresholds: parse::<Option<Thresholds>>(entries, THRESHOLDS)?.flatten(),
            calibration: parse::<Option<Calibration>>(entries, CALIBRATION)?.flatten(),
            training: parse(entries, TRAINING)?,
        };
        if let Some(thresholds) = &metadata.thresholds {
            thresholds.validate().map_err(|e| refuse(THRESHOLDS, &e))?;
        }
        // They are shown on terminals, which obey control characters.
        let strange = |text: &String| text.contains(char::is_control);
        if metadata.labels.iter().any(strange) {
            return Err(refuse(LABELS, &"a label holds control characters"));
        }
        if let Some(it) = &metadata.calibration
            && [&it.method, &it.data, &it.engine].into_iter().any(strange)
        {
            return Err(refuse(CALIBRATION, &"a text holds control characters"));
        }
        Ok(metadata)
    }

    /// Writes the entries, and that of `sites`, into a model of `channels` input planes in place of those
    /// it has.
    ///
    /// # Errors
    ///
    /// [`OnnxError::Metadata`] when a number is not one that JSON can hold.
    pub fn write(
        &self,
        model: &mut ModelProto,
        channels: usize,
        sites: &[DropoutSite],
    ) -> Result<(), OnnxError> {
        let sites: Vec<SiteEntry> = sites
            .iter()
            .map(|site| SiteEntry {
                name: site.name.clone(),
                ratio: site.ratio,
                keep_bits: site.keep.bits(),
                shape: site.shape.clone(),
            })
            .collect();
        let mut entries = vec![
            json(LABELS, &self.labels)?,
            json(SEED, &self.seed)?,
            json(SITES, &sites)?,
        ];
        if let Some(wanted) = &self.preprocessing {
            entries.push(preprocessing::entry(wanted, channels)?);
        }
        if let Some(thresholds) = &self.thresholds {
            entries.push(json(THRESHOLDS, thresholds)?);
        }
        if let Some(calibration) = &self.calibration {
            entries.push(json(CALIBRATION, calibration)?);
        }
        if let Some(training) = &self.training {
            entries.push(json(TRAINING, training)?);
        }
        let ours = [
            CALIBRATION,
            LABELS,
            preprocessing::KEY,
            preprocessing::OLDER,
            SEED,
            SITES,
            THRESHOLDS,
            TRAINING,
        ];
        model
            .metadata_props
            .retain(|e| !ours.contains(&e.key.as_str()));
        model.metadata_props.extend(entries);
        Ok(())
    }

    /// The model with these entries.
    pub(super) fn attached(
        &self,
        mut model: ModelProto,
        channels: usize,
        sites: &[DropoutSite],
    ) -> Result<ModelProto, OnnxError> {
        self.write(&mut model, channels, sites)?;
        Ok(model)
    }

    /// Checks the entries against the model and fills in its class numbers as default labels.
    pub(super) fn complete(&mut self, classes: usize, input: InputShape) -> Result<(), OnnxError> {
        if self.labels.is_empty() {
            self.labels = (0..classes).map(|class| class.to_string()).collect();
        }
        if self.labels.len() != classes {
            let count = self.labels.len();
            return Err(refuse(
                LABELS,
                &format!("{count} labels for {classes} classes"),
            ));
        }
        let wanted = self.preprocessing;
        wanted.map_or(Ok(()), |wanted| {
            wanted
                .validate(input.channels, input.height, input.width)
                .map_err(|error| refuse(preprocessing::KEY, &error))
        })
    }
}
