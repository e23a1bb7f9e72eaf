//! The training rule, one step at a time.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use shared::mask::{KeepProbability, MaskSource};
use tch::{Device, Kind, TchError, Tensor};

use super::images::Images;
use super::optimizer::State;
use super::recipe::Recipe;
use crate::data::{Purpose, Random};
use crate::files;
use crate::lenet::{Architecture, Masks, ModelError, Network, SITES, checkpoint};

/// A training run between two steps: with the recipe, all that the steps to come depend on.
#[derive(Debug)]
pub(super) struct Trainer {
    recipe: Recipe,
    network: Network,
    state: State,
    keep: [KeepProbability; SITES],
    masks: MaskSource,
    /// Steps done since the start of the run.
    step: u64,
    device: Device,
    /// Images in an epoch; all there are if `None`.
    epoch_images: Option<usize>,
    /// The order of the images in an epoch.
    order: Option<(u32, Tensor)>,
}

/// What a checkpoint tells beside its tensors.
#[derive(Serialize, Deserialize)]
struct Header {
    recipe: Recipe,
    classes: usize,
    step: u64,
}

impl Trainer {
    /// A run at its start.
    pub(super) fn new(recipe: Recipe, classes: usize, device: Device) -> anyhow::Result<Self> {
        let architecture = Architecture {
            classes,
            dropout: recipe.dropout,
        };
        let network = {
            // The generator is one for the whole process: networks may be made on several threads.
            static GENERATOR: Mutex<()> = Mutex::new(());
            let _lock = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
            tch::manual_seed(Random::new(recipe.seed, Purpose::Torch, 0).next_u64() as i64);
            Network::new(architecture, device)
        };
        let state = State::new(&recipe, network.tensors());
        Self::at(recipe, network, state, 0, device)
    }

    /// The run that a checkpoint was left by; its recipe says how it was started.
    pub(super) fn load(path: &Path, device: Device) -> anyhow::Result<(Self, Recipe)> {
        let bytes = std::fs::read(path).map_err(|error| ModelError::Read {
            path: path.to_path_buf(),
            error,
        })?;
        let refuse = |reason| ModelError::Content {
            path: path.to_path_buf(),
            reason,
        };
        let (mut tensors, header): (_, Header) =
            checkpoint::from_safetensors(&bytes).map_err(refuse)?;
        header.recipe.validate().map_err(refuse)?;
        let architecture = Architecture {
            classes: header.classes,
            dropout: header.recipe.dropout,
        };
        let parameters = checkpoint::pick(&mut tensors, &architecture, "").map_err(refuse)?;
        let network = Network::from_parameters(architecture, &parameters, device)?;
        let mut state = State::new(&header.recipe, network.tensors());
        for (prefix, values) in state.kinds_mut() {
            if values.is_empty() {
                continue;
            }
            let saved = checkpoint::pick(&mut tensors, &architecture, prefix).map_err(refuse)?;
            *values = saved
                .iter()
                .map(|parameter| crate::lenet::tensor(parameter, device))
                .collect::<Result<_, TchError>>()?;
        }
        let recipe = header.recipe.clone();
        let trainer = Self::at(header.recipe, network, state, header.step, device)?;
        Ok((trainer, recipe))
    }

    fn at(
        recipe: Recipe,
        network: Network,
        state: State,
        step: u64,
        device: Device,
    ) -> anyhow::Result<Self> {
        let masks = Random::new(recipe.seed, Purpose::TrainingMasks, 0).next_u64();
        Ok(Self {
            keep: network
                .architecture()
                .keep()
                .context("a dropout is not in 0..1")?,
            masks: MaskSource::new(masks),
            recipe,
            network,
            state,
            step,
            device,
            epoch_images: None,
            order: None,
        })
    }

    /// Writes all of it to a file, whole or not at all.
    pub(super) fn save(&self, path: &Path) -> anyhow::Result<()> {
        let mut tensors = self.network.parameters()?;
        let names = self.network.architecture().parameters();
        for (prefix, values) in self.state.kinds() {
            for ((name, _), value) in names.iter().zip(values) {
                tensors.push(crate::lenet::parameter(&format!("{prefix}{name}"), value)?);
            }
        }
        let header = Header {
            recipe: self.recipe.clone(),
            classes: self.network.architecture().classes,
            step: self.step,
        };
        files::write(path, &checkpoint::to_safetensors(&tensors, &header)?)
    }

    /// The network trained so far: of averaged parameters, if the recipe averages.
    pub(super) fn network(&self) -> Network {
        match self.state.average() {
            Some(average) => self.network.with(average),
            None => self.network.share(),
        }
    }

    pub(super) fn classes(&self) -> usize {
        self.network.architecture().classes
    }

    pub(super) fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Lets a run that is continued go on for longer.
    pub(super) fn set_epochs(&mut self, epochs: u32) {
        self.recipe.epochs = epochs;
    }

    /// Makes epochs of `images` images, whatever the number that there are: an epoch takes its
    /// images from an endless row of permutations of all, where the last one stopped.
    pub(super) fn set_epoch_images(&mut self, images: usize) {
        self.epoch_images = Some(images);
    }

    pub(super) fn step(&self) -> u64 {
        self.step
    }

    /// Steps in an epoch; the last one takes what images are left.
    pub(super) fn steps_per_epoch(&self, images: &Images) -> u64 {
        self.epoch_images(images).div_ceil(self.recipe.batch_size) as u64
    }

    fn epoch_images(&self, images: &Images) -> usize {
        self.epoch_images.unwrap_or(images.len())
    }

    /// One step of the recipe's optimizer. Returns the loss before it, still on the device.
    ///
    /// The images of a step, their deformations and its masks follow from the seed and the step's
    /// number alone, which is what lets a run be stopped and continued without a trace.
    pub(super) fn advance(&mut self, images: &Images) -> anyhow::Result<Tensor> {
        let steps = self.steps_per_epoch(images);
        let (epoch, within) = ((self.step / steps) as u32, (self.step % steps) as usize);
        let first = within * self.recipe.batch_size;
        let epoch_images = self.epoch_images(images);
        let count = self.recipe.batch_size.min(epoch_images - first);
        let batch =
            self.order_of(epoch, epoch_images, images.len())
                .narrow(0, first as i64, count as i64);
        let (inputs, labels) = images.select(&batch);
        let mut random = Random::new(self.recipe.seed, Purpose::Augmentation, self.step);
        let inputs = self
            .recipe
            .augmentation
            .apply(&inputs, &mut random, self.device);

        let frame = u32::try_from(self.step).context("too many steps")?;
        let masks = Masks::draw(&self.masks, frame, 0..count as u32, self.keep, self.device);
        let logits = self.network.head(&self.network.stem(&inputs), Some(&masks));
        let loss = logits.log_softmax(-1, Kind::Float).nll_loss(&labels);

        let gradients = Tensor::f_run_backward(&[&loss], self.network.tensors(), false, false)?;
        let rate = self.recipe.learning_rate_at(self.step, steps);
        let parameters = self.network.tensors();
        self.state
            .step(&self.recipe, rate, self.step, parameters, &gradients)?;
        self.step += 1;
        Ok(loss.detach())
    }

    /// The images of an epoch: the next `epoch_images` of an endless row of permutations of all
    /// `images`; one permutation an epoch, if an epoch is as long as that.
    fn order_of(&mut self, epoch: u32, epoch_images: usize, images: usize) -> &Tensor {
        if self.order.as_ref().is_none_or(|(drawn, _)| *drawn != epoch) {
            let first = epoch as usize * epoch_images;
            let order: Vec<i64> = (first / images..(first + epoch_images).div_ceil(images))
                .flat_map(|permutation| {
                    Random::new(self.recipe.seed, Purpose::Order, permutation as u64)
                        .permutation(images)
                })
                .skip(first % images)
                .take(epoch_images)
                .map(i64::from)
                .collect();
            self.order = Some((epoch, Tensor::from_slice(&order).to_device(self.device)));
        }
        let (_, order) = self.order.as_ref().expect("drawn above");
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_of_any_length_take_every_image_equally_often() {
        let recipe = Recipe::default();
        let permutation = |index| -> Vec<i64> {
            let order = Random::new(recipe.seed, Purpose::Order, index).permutation(7);
            order.into_iter().map(i64::from).collect()
        };
        let row: Vec<i64> = (0..10).flat_map(permutation).collect();
        let mut trainer = Trainer::new(recipe.clone(), 2, Device::Cpu).expect("a network");
        for epoch_images in [7, 5, 16] {
            for epoch in 0..4 {
                trainer.order = None;
                let order: Vec<i64> = trainer
                    .order_of(epoch, epoch_images, 7)
                    .try_into()
                    .expect("numbers");
                let first = epoch as usize * epoch_images;
                assert_eq!(order, row[first..first + epoch_images]);
            }
        }
    }
}
