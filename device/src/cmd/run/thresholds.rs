//! The options that replace the model file's thresholds.

use anyhow::Context;
use shared::triage::{Cause, Thresholds};

/// Thresholds that replace the model file's own.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ThresholdArgs {
    /// Flag pictures whose darkest twentieth reaches beyond this luma, 0 to 1 (cause: overexposed).
    #[arg(long, value_name = "LUMA")]
    max_black: Option<f32>,
    /// Flag pictures with more than this share of pixels in even areas of one grey (cause: occluded).
    #[arg(long, value_name = "SHARE")]
    max_plateau: Option<f32>,
    /// Flag pictures with more than this share of saturated pixels (cause: glare).
    #[arg(long, value_name = "SHARE")]
    max_saturated: Option<f32>,
    /// Flag pictures whose brightest fiftieth stays below this luma, 0 to 1 (cause: underexposed).
    #[arg(long, value_name = "LUMA")]
    min_white: Option<f32>,
    /// Flag pictures less sharp than this (cause: blurred).
    #[arg(long, value_name = "RATIO")]
    min_sharpness: Option<f32>,
    /// Flag pictures of less contrast: (white − black) / (white + black), Michelson's, 0 to 1 (cause:
    /// low-contrast).
    #[arg(long, value_name = "SHARE")]
    min_contrast: Option<f32>,
    /// Flag frames of a mutual information above this, in nats (cause: unfamiliar).
    #[arg(long, value_name = "NATS")]
    max_mutual_information: Option<f32>,
    /// Flag frames of an expected entropy above this, in nats (cause: ambiguous).
    #[arg(long, value_name = "NATS")]
    max_expected_entropy: Option<f32>,
    /// Flag frames of a predictive entropy above this, in nats (cause: uncertain).
    #[arg(long, value_name = "NATS")]
    max_predictive_entropy: Option<f32>,
}

impl ThresholdArgs {
    pub(super) fn apply(&self, mut thresholds: Thresholds) -> anyhow::Result<Thresholds> {
        for (cause, given) in [
            (Cause::Overexposed, self.max_black),
            (Cause::Occluded, self.max_plateau),
            (Cause::Glare, self.max_saturated),
            (Cause::Underexposed, self.min_white),
            (Cause::Blurred, self.min_sharpness),
            (Cause::LowContrast, self.min_contrast),
            (Cause::Unfamiliar, self.max_mutual_information),
            (Cause::Ambiguous, self.max_expected_entropy),
            (Cause::Uncertain, self.max_predictive_entropy),
        ] {
            if let Some(given) = given {
                *thresholds.limit_mut(cause) = given;
            }
        }
        thresholds
            .validate()
            .context("these thresholds make no sense")?;
        Ok(thresholds)
    }
}
