//! What determines a training run.

use serde::{Deserialize, Serialize};

use crate::lenet::{Architecture, SITES};

/// Everything that the trained parameters depend on. Two runs with equal recipes, on the same
/// processor with the same number of threads, end in the same bits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// `mnist`, `fashion-mnist` or a folder.
    pub dataset: String,
    /// Passes over the training images.
    pub epochs: u32,
    /// Images per step.
    pub batch_size: usize,
    /// Step length of the first epochs.
    pub learning_rate: f64,
    /// Share of the last step that goes into the next, in `0..1`.
    pub momentum: f64,
    /// Multiple of the parameters that is added to their gradient.
    pub weight_decay: f64,
    /// Epochs after which the learning rate is multiplied by `lr_gamma`, again and again.
    pub lr_step: u32,
    /// See `lr_step`.
    pub lr_gamma: f64,
    /// Probability of dropping an element, per site.
    pub dropout: [f64; SITES],
    /// Seed of parameters, order and masks.
    pub seed: u64,
    /// Only the first so many training images.
    pub limit_train: Option<usize>,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            dataset: "mnist".into(),
            epochs: 12,
            batch_size: 64,
            learning_rate: 0.01,
            momentum: 0.9,
            weight_decay: 0.0,
            lr_step: 10,
            lr_gamma: 0.1,
            dropout: [0.5; SITES],
            seed: 1,
            limit_train: None,
        }
    }
}

impl Recipe {
    /// Whether every number is in its range.
    ///
    /// # Errors
    /// The first that is not, named as its flag.
    pub fn validate(&self) -> Result<(), String> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let checks = [
            (self.epochs > 0, "--epochs must be at least 1"),
            (self.batch_size > 0, "--batch-size must be at least 1"),
            (
                positive(self.learning_rate),
                "--lr must be a positive number",
            ),
            (
                (0.0..1.0).contains(&self.momentum),
                "--momentum must be at least 0 and below 1",
            ),
            (
                self.weight_decay == 0.0 || positive(self.weight_decay),
                "--weight-decay must be 0 or a positive number",
            ),
            (self.lr_step > 0, "--lr-step must be at least 1"),
            (
                positive(self.lr_gamma),
                "--lr-gamma must be a positive number",
            ),
            (
                Architecture {
                    classes: 2,
                    dropout: self.dropout,
                }
                .keep()
                .is_some(),
                "--dropout must be at least 0 and below 1 at every site",
            ),
            (
                self.dropout.iter().any(|&p| p > 0.0),
                "--dropout must be above 0 at one site at least: without dropout there is no Monte-Carlo dropout",
            ),
            (
                self.limit_train != Some(0),
                "--limit-train must be at least 1",
            ),
        ];
        match checks.iter().find(|(holds, _)| !holds) {
            None => Ok(()),
            Some((_, message)) => Err((*message).into()),
        }
    }

    /// The learning rate in an epoch (from 0).
    #[must_use]
    pub fn learning_rate_in(&self, epoch: u32) -> f64 {
        self.learning_rate * self.lr_gamma.powf(f64::from(epoch / self.lr_step))
    }

    /// The first number in which a run to be continued differs, named as its flag; the number of
    /// epochs may.
    #[must_use]
    pub fn difference(&self, earlier: &Self) -> Option<String> {
        fn differs<T: PartialEq + std::fmt::Debug>(
            flag: &str,
            now: &T,
            then: &T,
        ) -> Option<String> {
            (now != then).then(|| format!("{flag} was {then:?}, not {now:?}"))
        }
        differs("--dataset", &self.dataset, &earlier.dataset)
            .or_else(|| differs("--batch-size", &self.batch_size, &earlier.batch_size))
            .or_else(|| differs("--lr", &self.learning_rate, &earlier.learning_rate))
            .or_else(|| differs("--momentum", &self.momentum, &earlier.momentum))
            .or_else(|| differs("--weight-decay", &self.weight_decay, &earlier.weight_decay))
            .or_else(|| differs("--lr-step", &self.lr_step, &earlier.lr_step))
            .or_else(|| differs("--lr-gamma", &self.lr_gamma, &earlier.lr_gamma))
            .or_else(|| differs("--dropout", &self.dropout, &earlier.dropout))
            .or_else(|| differs("--seed", &self.seed, &earlier.seed))
            .or_else(|| differs("--limit-train", &self.limit_train, &earlier.limit_train))
    }

    /// See [`Architecture::prior_length_scale`].
    #[must_use]
    pub fn prior_length_scale(&self, images: usize) -> [f64; SITES] {
        let architecture = Architecture {
            classes: 2,
            dropout: self.dropout,
        };
        architecture.prior_length_scale(self.weight_decay, images)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_falls_every_lr_step_epochs() {
        let recipe = Recipe::default();
        let rates: Vec<f64> = [0, 9, 10, 19, 20]
            .iter()
            .map(|&epoch| recipe.learning_rate_in(epoch))
            .collect();
        for (rate, expected) in rates.iter().zip([1e-2, 1e-2, 1e-3, 1e-3, 1e-4]) {
            assert!((rate / expected - 1.0).abs() < 1e-12, "{rates:?}");
        }
    }

    #[test]
    fn length_scale_and_weight_decay_are_two_names_of_one_number() {
        let recipe = Recipe {
            weight_decay: 1e-4,
            dropout: [0.5, 0.2, 0.0],
            ..Recipe::default()
        };
        for (l, q) in recipe
            .prior_length_scale(60_000)
            .iter()
            .zip([0.5, 0.8, 1.0])
        {
            // Gal and Ghahramani's λ acts on M = w/q.
            let lambda = q * l * l / (2.0 * 60_000.0);
            let on_w = lambda / (q * q);
            assert!((2.0 * on_w - 1e-4).abs() < 1e-18, "{l}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        let refused = |change: &dyn Fn(&mut Recipe)| {
            let mut recipe = Recipe::default();
            change(&mut recipe);
            recipe.validate().expect_err("refused")
        };
        assert_eq!(Recipe::default().validate(), Ok(()));
        assert!(refused(&|r| r.learning_rate = f64::NAN).contains("--lr "));
        assert!(refused(&|r| r.dropout = [0.5, 1.0, 0.5]).contains("--dropout"));
        assert!(refused(&|r| r.dropout = [0.0; 3]).contains("Monte-Carlo"));
        assert!(refused(&|r| r.weight_decay = -1.0).contains("--weight-decay"));
        assert!(refused(&|r| r.momentum = 1.0).contains("--momentum"));
    }

    #[test]
    fn only_the_number_of_epochs_may_change() {
        let then = Recipe::default();
        assert_eq!(
            Recipe {
                epochs: 20,
                ..then.clone()
            }
            .difference(&then),
            None
        );
        let now = Recipe {
            seed: 2,
            ..then.clone()
        };
        assert_eq!(
            now.difference(&then).as_deref(),
            Some("--seed was 1, not 2")
        );
    }
}
