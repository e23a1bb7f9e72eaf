//! What `host calibrate` promises about a model's thresholds, and how it leaves it in the file.

use std::fmt;

use prost::Message as _;
use serde::{Deserialize, Serialize};
use shared::triage::Thresholds;
use tract_onnx::pb::ModelProto;

use super::OnnxError;
use super::fields::field;
use super::metadata::{CALIBRATION, THRESHOLDS, json};

/// A promise about a model's thresholds: with probability `1 - delta` over the calibration frames,
/// at most a share `max_risk` of the frames that are accepted is answered wrongly, for frames drawn
/// as the calibration frames were and judged with as many passes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// How it was found: the method and its test, such as `learn-then-test, binomial`.
    pub method: String,
    /// Upper bound of the error rate among accepted frames, between 0 and 1.
    pub max_risk: f64,
    /// Probability that the bound does not hold, between 0 and 1.
    pub delta: f64,
    /// Share of the tuning frames that the loosest thresholds tried flag, in `0..1`.
    pub unusual: f64,
    /// The images.
    pub data: String,
    /// Frames that the order of the tests was fixed on.
    pub tuning: usize,
    /// Frames that were tested on.
    pub frames: usize,
    /// Clips that these frames are from, if a clip counts once.
    pub clips: Option<usize>,
    /// Of the frames tested on, those accepted.
    pub accepted: usize,
    /// Of those, the wrong ones.
    pub errors: usize,
    /// `accepted / frames`.
    pub coverage: f64,
    /// Probability, at most, of so few errors if the bound did not hold.
    pub p_value: f64,
    /// Stochastic passes per frame.
    pub passes: u32,
    /// The engine.
    pub engine: String,
    /// Seed of the masks and of the split.
    pub seed: u64,
}

impl Calibration {
    /// The bytes of a model file with these thresholds and this calibration in place of its own.
    /// Nothing else changes, not even what this library does not know.
    ///
    /// # Errors
    /// The bytes are not an ONNX model, or a number is not one that JSON can hold.
    pub fn write(&self, file: &[u8], thresholds: &Thresholds) -> Result<Vec<u8>, OnnxError> {
        let not_onnx = || OnnxError::NotOnnx("its fields cannot be told apart".into());
        let mut out = Vec::with_capacity(file.len());
        let mut rest = file;
        while !rest.is_empty() {
            let field = field(&mut rest).ok_or_else(not_onnx)?;
            let ours = field.number == METADATA_PROPS && {
                let alone = ModelProto::decode(field.all).map_err(|_| not_onnx())?;
                let mut entries = alone.metadata_props.iter();
                entries.any(|entry| [THRESHOLDS, CALIBRATION].contains(&entry.key.as_str()))
            };
            if !ours {
                out.extend_from_slice(field.all);
            }
        }
        // A message that follows another one adds to its lists.
        let more = ModelProto {
            metadata_props: vec![json(THRESHOLDS, thresholds)?, json(CALIBRATION, self)?],
            ..ModelProto::default()
        };
        out.extend(more.encode_to_vec());
        Ok(out)
    }
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            max_risk,
            delta,
            data,
            frames,
            accepted,
            errors,
            coverage,
            passes,
            ..
        } = self;
        write!(
            f,
            "at most {} % of the accepted frames wrong, with confidence {} %: {errors} of {accepted} accepted ({:.1} % of {frames} frames of {data}",
            percent(*max_risk),
            percent(1.0 - delta),
            100.0 * coverage
        )?;
        if let Some(clips) = self.clips {
            write!(f, " from {clips} clips")?;
        }
        write!(f, "), {passes} passes")
    }
}

/// Of a share, without the digits that binary fractions add.
fn percent(share: f64) -> f64 {
    (share * 1e8).round() / 1e6
}

/// The number of `metadata_props` in a model.
const METADATA_PROPS: u64 = 14;
