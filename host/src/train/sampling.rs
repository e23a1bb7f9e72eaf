//! Monte-Carlo dropout over many images, and the test phases that the results are stated in.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use device::engine::Engine;
use device::onnx::Model;
use device::preprocessing::Preparer;
use device::session::{EngineKind, Options, open_engine};
use shared::image::{FrameStatistics, Preprocessing};
use shared::uncertainty::{Measures, PassAccumulator, log_softmax};
use tch::Kind;

use super::images::Images;
use super::{Interrupted, MAX_CLASSES, Progress};
use crate::data::Dataset;
use crate::export;
use crate::lenet::{Network, TrainedModel};
use crate::parallel::in_blocks;

/// Images that a thread takes at a time.
const BLOCK: usize = 16;
/// Images of the standard test that are run together.
const BATCH: usize = 1000;

/// What was found about an image: the measures of its passes, and what the picture looks like.
pub(super) type Sampled = (Measures<MAX_CLASSES>, FrameStatistics);

/// How images are sampled.
pub(super) struct Sampling<'a> {
    pub(super) passes: u32,
    /// Images sampled side by side, each on one processor thread.
    pub(super) threads: usize,
    pub(super) stop: &'a AtomicBool,
    pub(super) progress: &'a dyn Progress,
}

impl Sampling<'_> {
    /// What `each` makes of the logits of the passes, `[pass][class]`, and of the picture's statistics,
    /// of each image at `indices`.
    ///
    /// They are those of the device's own engine, so what is measured is what is deployed, whatever
    /// the network was trained on. An image's masks are those of the frame with its index.
    pub(super) fn sample<T: Send>(
        &self,
        phase: &'static str,
        model: &TrainedModel,
        data: &Dataset,
        indices: &[u32],
        each: impl Fn(&[f32], &FrameStatistics) -> anyhow::Result<T> + Sync,
    ) -> anyhow::Result<Vec<T>> {
        let onnx = export::to_onnx(model).context(DIVERGED)?;
        let onnx = Model::from_bytes(&onnx)?;
        let workers = self.threads.min(indices.len().div_ceil(BLOCK)).max(1);
        let starts = (0..workers).map(|_| {
            let (onnx, each, passes) = (&onnx, &each, self.passes);
            move || {
                let kind = Some(EngineKind::Native);
                let mut engine = open_engine(kind, onnx, passes, model.seed, &Options::default())?;
                let mut logits = vec![0.0; passes as usize * engine.classes()];
                let wanted = Preprocessing::grey(model.normalisation);
                let mut preparer = Preparer::new(wanted, engine.input_shape());
                Ok(move |block: Range<usize>| {
                    let mut one = |&frame: &u32| {
                        let picture = data.frame(frame as usize, wanted.pixel_format())?;
                        let statistics = preparer.measure(&picture.view()?)?;
                        engine.begin(frame, preparer.input())?;
                        engine.sample(0..passes, &mut logits)?;
                        each(&logits, &statistics)
                    };
                    indices[block].iter().map(&mut one).collect()
                })
            }
        });
        self.progress.begin(phase, indices.len() as u64, 0);
        let advance = |images| self.progress.advance(images);
        let results = in_blocks(indices.len(), BLOCK, starts, self.stop, &advance)?;
        results.ok_or_else(|| Interrupted.into())
    }

    /// The measures of the images at `indices`, in that order.
    pub(super) fn measure(
        &self,
        phase: &'static str,
        model: &TrainedModel,
        data: &Dataset,
        indices: &[u32],
    ) -> anyhow::Result<Vec<Sampled>> {
        let classes = model.architecture.classes;
        self.sample(phase, model, data, indices, |logits, statistics| {
            Ok((measures(logits, classes)?, *statistics))
        })
    }
}

const DIVERGED: &str = "the training diverged: try a smaller --lr";

/// The measures of passes with these logits, `[pass][class]`.
pub(super) fn measures(logits: &[f32], classes: usize) -> anyhow::Result<Measures<MAX_CLASSES>> {
    let mut accumulator = PassAccumulator::<MAX_CLASSES>::new(classes)?;
    for pass in logits.chunks_exact(classes) {
        accumulator.push(pass).context(DIVERGED)?;
    }
    accumulator.measures().context("at least one pass")
}

/// What a test phase finds.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(super) struct TestResult {
    pub(super) correct: usize,
    pub(super) images: usize,
    pub(super) accuracy: f64,
    /// Mean negative log-likelihood, in nats.
    pub(super) nll: f64,
}

impl TestResult {
    /// Of one row of raw outputs per image.
    fn new<'a>(rows: impl Iterator<Item = (&'a [f64], u16)>) -> Self {
        let (mut correct, mut images, mut nll) = (0, 0, 0.0);
        let mut scores = [0.0; MAX_CLASSES];
        for (logits, label) in rows {
            let scores = &mut scores[..logits.len()];
            log_softmax(logits, scores);
            nll -= scores[usize::from(label)];
            correct += usize::from(shared::uncertainty::argmax(logits) == usize::from(label));
            images += 1;
        }
        let count = images.max(1) as f64;
        Self {
            correct,
            images,
            accuracy: correct as f64 / count,
            nll: nll / count,
        }
    }

    /// The source's `mcdropout_test`: of the mean of the raw outputs over the passes.
    pub(super) fn mc_dropout(sampled: &[Sampled], labels: &[u16]) -> Self {
        Self::new(
            sampled
                .iter()
                .map(|(measures, _)| measures.mean_logits())
                .zip(labels.iter().copied()),
        )
    }

    /// The standard test phase: one pass with all activations, dropout off.
    pub(super) fn standard(
        network: &Network,
        images: &Images,
        labels: &[u16],
    ) -> anyhow::Result<Self> {
        let _no_grad = tch::no_grad_guard();
        let classes = network.architecture().classes;
        let mut outputs = Vec::with_capacity(labels.len() * classes);
        for start in (0..images.len()).step_by(BATCH) {
            let count = BATCH.min(images.len() - start);
            let logits = network.head(&network.stem(&images.range(start, count)), None);
            let mut values = vec![0.0f64; count * classes];
            logits
                .to_kind(Kind::Double)
                .f_copy_data(&mut values, count * classes)?;
            outputs.extend(values);
        }
        Ok(Self::new(
            outputs.chunks_exact(classes).zip(labels.iter().copied()),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_result_counts_and_averages() {
        let rows = [([2.0, 0.0], 0), ([0.0, 0.0], 1)];
        let result = TestResult::new(rows.iter().map(|(row, label)| (&row[..], *label)));
        // The tie goes to class 0, so the second is wrong.
        assert_eq!((result.correct, result.images), (1, 2));
        let expected = f64::midpoint((1.0 + (-2.0f64).exp()).ln(), 2.0f64.ln());
        assert!((result.nll - expected).abs() < 1e-12, "{}", result.nll);
    }
}
