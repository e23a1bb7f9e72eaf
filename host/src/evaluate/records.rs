//! A line per judged frame, for whoever wants to look further than the metrics do.

use std::path::Path;

use serde::Serialize;
use shared::triage::Cause;
use shared::uncertainty::Measures;

use super::frames::Frames;
use super::judged::{Judged, Standard};
use super::score::{Named, SCORE_NAMES, STANDARD_SCORE_NAMES};
use crate::files;

/// What the network put out for a frame, means over its passes, `[classes]` each.
#[derive(Debug, Clone)]
pub struct Outputs {
    /// Probabilities.
    pub probabilities: Box<[f64]>,
    /// Raw outputs, before the softmax.
    pub logits: Box<[f64]>,
}

impl Outputs {
    /// Those measured.
    #[must_use]
    pub fn of<const N: usize>(measures: &Measures<N>) -> Self {
        Self {
            probabilities: measures.mean_probabilities().into(),
            logits: measures.mean_logits().into(),
        }
    }
}

/// What is kept of the outputs of both test phases, one entry per frame.
#[derive(Debug, Clone)]
pub struct BothPhases<O = Outputs> {
    /// Of Monte Carlo dropout.
    pub monte_carlo: Vec<O>,
    /// Of the standard test phase; empty where it cannot be run.
    pub standard: Vec<O>,
}

/// A frame's line.
#[derive(Serialize)]
struct Record<'a> {
    frame: usize,
    set: &'a str,
    /// Index in the set.
    index: usize,
    label: Option<usize>,
    class: usize,
    probabilities: &'a [f64],
    logits: &'a [f64],
    scores: Named<f64>,
    causes: Vec<&'static str>,
    passes: u32,
    standard: Option<StandardRecord<'a>>,
}

#[derive(Serialize)]
struct StandardRecord<'a> {
    class: usize,
    probabilities: &'a [f64],
    logits: &'a [f64],
    scores: Named<f64>,
}

/// Writes one JSON object per line and frame; numbers have all the digits that they need to be read
/// back as they are.
///
/// # Errors
/// The file cannot be written.
///
/// # Panics
/// If there are not as many frames, judged frames and outputs.
pub fn write_records(
    path: &Path,
    frames: &Frames,
    judged: &[Judged],
    outputs: &BothPhases,
) -> anyhow::Result<()> {
    assert_eq!(frames.len(), judged.len(), "every frame is judged");
    assert_eq!(frames.len(), outputs.monte_carlo.len(), "and has outputs");
    let mut lines = Vec::new();
    for (number, (judged, output)) in judged.iter().zip(&outputs.monte_carlo).enumerate() {
        let (set, index) = frames.find(number);
        let causes = Cause::ALL
            .into_iter()
            .filter(|&cause| judged.causes.contains(cause));
        let standard = |(said, output)| standard(said, output);
        let record = Record {
            frame: number,
            set: &set.name,
            index,
            label: judged.answer.map(|answer| answer.label),
            class: judged.class,
            probabilities: &output.probabilities,
            logits: &output.logits,
            scores: Named(SCORE_NAMES.into_iter().zip(judged.scores.0).collect()),
            causes: causes.map(Cause::name).collect(),
            passes: judged.passes,
            standard: judged
                .standard
                .as_ref()
                .zip(outputs.standard.get(number))
                .map(standard),
        };
        serde_json::to_writer(&mut lines, &record)?;
        lines.push(b'\n');
    }
    files::write(path, &lines)
}

fn standard<'a>(said: &Standard, output: &'a Outputs) -> StandardRecord<'a> {
    let scores = STANDARD_SCORE_NAMES.into_iter().zip(said.scores());
    StandardRecord {
        class: said.class,
        probabilities: &output.probabilities,
        logits: &output.logits,
        scores: Named(scores.collect()),
    }
}
