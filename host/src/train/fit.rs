//! Training alone, for studies: no files, no tests.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::ensure;
use serde_json::json;
use shared::image::Normalisation;
use tch::Device;

use super::images::{Images, luma};
use super::recipe::Recipe;
use super::trainer::Trainer;
use crate::data::Dataset;
use crate::lenet::TrainedModel;

/// Trains on `data` (normalised as MNIST) for `steps` steps on the processor, whatever the number
/// of images: `recipe.epochs` parts of the steps count as its epochs, so the learning rate falls at
/// the same steps. May be called from several threads at a time. `None` if `stop` was set before
/// the end. `advance` hears how many more steps are done.
///
/// # Errors
/// The recipe is out of range, there is no image, or the training diverges.
pub fn fit(
    recipe: &Recipe,
    steps: u64,
    data: &Dataset,
    stop: &AtomicBool,
    advance: &dyn Fn(u64),
) -> anyhow::Result<Option<TrainedModel>> {
    recipe
        .validate()
        .map_err(|reason| anyhow::anyhow!(reason))?;
    ensure!(!data.is_empty(), "there are no training images");
    let normalisation = Normalisation::MNIST;
    let images = Images::new(&luma(data)?, &data.labels, normalisation, Device::Cpu);
    let mut trainer = Trainer::new(recipe.clone(), data.class_names.len(), Device::Cpu)?;
    let per_epoch = steps.div_ceil(u64::from(recipe.epochs)).max(1);
    trainer.set_epoch_images(per_epoch as usize * recipe.batch_size);
    let mut loss = 0.0;
    for _ in 0..steps {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        loss = trainer.advance(&images)?.double_value(&[]);
        advance(1);
    }
    ensure!(
        loss.is_finite(),
        "the training on {} images diverged (loss {loss})",
        data.len()
    );
    Ok(Some(TrainedModel {
        architecture: *trainer.network().architecture(),
        parameters: trainer.network().parameters()?,
        labels: data.class_names.clone(),
        normalisation,
        seed: recipe.seed,
        thresholds: None,
        calibration: None,
        training: Some(json!({"images": data.len(), "steps": steps})),
    }))
}

#[cfg(test)]
mod tests {
    use shared::image::PixelFormat;

    use super::*;

    #[test]
    fn a_fit_repeats_beside_others_and_stops() {
        let data = Dataset::in_memory(
            vec!["dark".into(), "light".into()],
            (0..10).map(|image| image / 5).collect(),
            (28, 28),
            PixelFormat::Grey8,
            (0..10).flat_map(|i| [25 * i; 28 * 28]).collect(),
        );
        let recipe = |seed| Recipe {
            batch_size: 4,
            seed,
            ..Recipe::default()
        };
        let go = AtomicBool::new(false);
        let train = |seed| {
            tch::set_num_threads(1);
            fit(&recipe(seed), 15, &data, &go, &|_| ())
                .expect("trained")
                .expect("not stopped")
        };
        let alone = train(1);
        let beside = std::thread::scope(|scope| {
            let others = [2, 3].map(|seed| scope.spawn(move || train(seed)));
            let beside = train(1);
            let others = others.map(|other| other.join().expect("trained"));
            assert!(
                others
                    .iter()
                    .all(|other| other.parameters != beside.parameters)
            );
            beside
        });
        assert_eq!(alone, beside);
        let stop = AtomicBool::new(true);
        let stopped = fit(&recipe(1), 15, &data, &stop, &|_| ()).expect("no failure");
        assert_eq!(stopped, None);
    }
}
