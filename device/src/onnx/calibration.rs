//! What `host calibrate` promises about a model's thresholds, and how it leaves it in the file.

use std::fmt;

use serde::{Deserialize, Serialize};
use shared::triage::Thresholds;

use super::OnnxError;
use super::metadata::{CALIBRATION, THRESHOLDS, json, replace};

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
    /// The data set whose training pictures the limits on the picture are usual among; `None` for
    /// the frames that the order of the tests was fixed on.
    pub pictures: Option<String>,
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
    /// Nothing else changes, not even what this library does not know; but it is no longer signed.
    ///
    /// # Errors
    /// The bytes are not an ONNX model, or a number is not one that JSON can hold.
    pub fn write(&self, file: &[u8], thresholds: &Thresholds) -> Result<Vec<u8>, OnnxError> {
        let entries = vec![json(THRESHOLDS, thresholds)?, json(CALIBRATION, self)?];
        replace(file, &[THRESHOLDS, CALIBRATION], entries)
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
