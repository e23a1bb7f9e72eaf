//! Monte-Carlo dropout over many images, and the test phases that the results are stated in.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use shared::mask::{KeepProbability, MaskSource};
use shared::uncertainty::{Measures, PassAccumulator, log_softmax};
use tch::{Device, Kind, Tensor};

use super::images::Images;
use super::{Interrupted, MAX_CLASSES};
use crate::lenet::{Masks, Network, SITES};
use crate::parallel::in_blocks;

/// Images whose stem is computed together.
const BLOCK: usize = 16;
/// Images of the standard test that are run together.
const BATCH: usize = 1000;

/// How to sample.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sampling {
    pub(super) passes: u32,
    pub(super) masks: MaskSource,
    pub(super) keep: [KeepProbability; SITES],
    pub(super) device: Device,
    /// Images sampled side by side, each on one processor thread.
    pub(super) threads: usize,
}

impl Sampling {
    /// The measures of the images at `indices`, in that order. An image's masks are those of the
    /// frame with its index, so any engine can repeat them.
    pub(super) fn measure(
        &self,
        network: &Network,
        images: &Images,
        indices: &[u32],
        stop: &AtomicBool,
        advance: &dyn Fn(u64),
    ) -> anyhow::Result<Vec<Measures<MAX_CLASSES>>> {
        let classes = network.architecture().classes;
        let each = |logits: &[f32]| measures(logits, classes);
        self.sample(network, images, indices, stop, advance, &each)
    }

    /// What `each` makes of the logits of an image's passes, `[pass][class]`; the images and masks
    /// are those of [`Sampling::measure`].
    pub(super) fn sample<T: Send>(
        &self,
        network: &Network,
        images: &Images,
        indices: &[u32],
        stop: &AtomicBool,
        advance: &dyn Fn(u64),
        each: &(dyn Fn(&[f32]) -> anyhow::Result<T> + Sync),
    ) -> anyhow::Result<Vec<T>> {
        let workers = match self.device {
            Device::Cpu => self.threads.min(indices.len().div_ceil(BLOCK)).max(1),
            _ => 1,
        };
        let starts = (0..workers).map(|_| {
            let (network, images) = (network.share(), images.share());
            move || {
                if workers > 1 {
                    tch::set_num_threads(1);
                }
                let no_grad = tch::no_grad_guard();
                Ok(move |block: Range<usize>| {
                    let _while_this_lives = &no_grad;
                    self.sample_block(&network, &images, &indices[block], each)
                })
            }
        });
        let results = in_blocks(indices.len(), BLOCK, starts, stop, advance)?;
        tch::set_num_threads(self.threads as i32);
        results.ok_or_else(|| Interrupted.into())
    }

    fn sample_block<T>(
        &self,
        network: &Network,
        images: &Images,
        indices: &[u32],
        each: &dyn Fn(&[f32]) -> anyhow::Result<T>,
    ) -> anyhow::Result<Vec<T>> {
        let classes = network.architecture().classes;
        let positions: Vec<i64> = indices.iter().map(|&index| i64::from(index)).collect();
        let (inputs, _) = images.select(&Tensor::from_slice(&positions).to_device(self.device));
        let stem = network.stem(&inputs);
        let mut logits = vec![0.0; self.passes as usize * classes];
        let mut results = Vec::with_capacity(indices.len());
        for (position, &frame) in indices.iter().enumerate() {
            let masks = Masks::draw(&self.masks, frame, 0..self.passes, self.keep, self.device);
            network.sample(&stem.narrow(0, position as i64, 1), &masks, &mut logits)?;
            results.push(each(&logits)?);
        }
        Ok(results)
    }
}

/// The measures of passes with these logits, `[pass][class]`.
pub(super) fn measures(logits: &[f32], classes: usize) -> anyhow::Result<Measures<MAX_CLASSES>> {
    let mut accumulator = PassAccumulator::<MAX_CLASSES>::new(classes)?;
    for pass in logits.chunks_exact(classes) {
        accumulator
            .push(pass)
            .context("the training diverged: try a smaller --lr")?;
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
    pub(super) fn mc_dropout(measures: &[Measures<MAX_CLASSES>], labels: &[u16]) -> Self {
        Self::new(
            measures
                .iter()
                .map(Measures::mean_logits)
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
