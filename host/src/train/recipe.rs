//! What determines a training run.

use serde::{Deserialize, Serialize};

use super::augment::Augmentation;
use super::optimizer::Optimizer;
use crate::lenet::{Architecture, SITES};

/// How the learning rate changes over a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Multiplied by --lr-gamma every --lr-step epochs
    Step,
    /// Rises evenly to --lr over the first tenth of the run, then falls to 0 as half a cosine
    Cosine,
}

/// Share of a run over which the rate of [`Schedule::Cosine`] rises.
const WARM_UP: f64 = 0.1;

/// Recipes that have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum RecipeName {
    /// Dropout 1/2 and plain SGD for 12 epochs, as in the source of this network
    Source,
    /// Tuned on held-out training images for accuracy and calibrated uncertainty
    Best,
}

impl RecipeName {
    /// What it stands for, on MNIST and with seed 1.
    #[must_use]
    pub fn recipe(self) -> Recipe {
        let source = Recipe {
            dataset: "mnist".into(),
            without: Vec::new(),
            extra: Vec::new(),
            oversample: 1,
            validation: 0,
            epochs: 12,
            batch_size: 64,
            optimizer: Optimizer::Sgd,
            learning_rate: 0.01,
            schedule: Schedule::Step,
            momentum: 0.9,
            weight_decay: 0.0,
            lr_step: 10,
            lr_gamma: 0.1,
            averaging: 0.0,
            augmentation: Augmentation::default(),
            dropout: [0.5; SITES],
            temperature_scaling: false,
            seed: 1,
            limit_train: None,
        };
        match self {
            Self::Source => source,
            Self::Best => Recipe {
                validation: 5000,
                epochs: 20,
                optimizer: Optimizer::Adamw,
                learning_rate: 0.002,
                schedule: Schedule::Cosine,
                weight_decay: 0.1,
                averaging: 0.999,
                augmentation: Augmentation {
                    rotation: 8.0,
                    scale: 0.08,
                    shear: 0.1,
                    shift: 0.5,
                    elastic: 0.5,
                },
                dropout: [0.125, 0.125, 0.0],
                temperature_scaling: true,
                ..source
            },
        }
    }
}

/// Everything that the trained parameters depend on. Two runs with equal recipes, on the same
/// processor with the same number of threads, end in the same bits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// `mnist`, `fashion-mnist` or a folder.
    pub dataset: String,
    /// Classes of it that are left out of training.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
    /// Folders with one sub-folder of images per class, which training images are added from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra: Vec<String>,
    /// How often each of these is seen in an epoch.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub oversample: u32,
    /// The last so many training images are kept out of training.
    pub validation: usize,
    /// Passes over the training images.
    pub epochs: u32,
    /// Images per step.
    pub batch_size: usize,
    /// The rule of a step.
    pub optimizer: Optimizer,
    /// Greatest step length.
    pub learning_rate: f64,
    /// How the step length changes.
    pub schedule: Schedule,
    /// Share of the last step that goes into the next, in `0..1`; Adam's β₁.
    pub momentum: f64,
    /// Multiple of the parameters that is added to their gradient (SGD) or step (AdamW).
    pub weight_decay: f64,
    /// Epochs after which the learning rate is multiplied by `lr_gamma`, again and again.
    pub lr_step: u32,
    /// See `lr_step`.
    pub lr_gamma: f64,
    /// Decay, per step, of the moving average of the parameters that is the result, in `0..1`; 0
    /// takes the parameters themselves.
    pub averaging: f64,
    /// How training images are deformed.
    pub augmentation: Augmentation,
    /// Probability of dropping an element, per site.
    pub dropout: [f64; SITES],
    /// Whether the logits are divided by the temperature that suits the validation images best.
    pub temperature_scaling: bool,
    /// Seed of parameters, order, deformations and masks.
    pub seed: u64,
    /// Only the first so many training images, validation images included.
    pub limit_train: Option<usize>,
}

const fn once() -> u32 {
    1
}

// By reference, as serde asks.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_once(times: &u32) -> bool {
    *times == 1
}

impl Default for Recipe {
    /// [`RecipeName::Source`]'s.
    fn default() -> Self {
        RecipeName::Source.recipe()
    }
}

impl Recipe {
    /// Whether every number is in its range.
    ///
    /// # Errors
    /// The first that is not, named as its flag.
    pub fn validate(&self) -> Result<(), String> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let not_negative = |value: f64| value.is_finite() && value >= 0.0;
        let checks = [
            (self.epochs > 0, "--epochs must be at least 1"),
            (self.oversample > 0, "--oversample must be at least 1"),
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
                not_negative(self.weight_decay),
                "--weight-decay must be 0 or a positive number",
            ),
            (
                (0.0..1.0).contains(&self.averaging),
                "--averaging must be at least 0 and below 1",
            ),
            (
                (0.0..=180.0).contains(&self.augmentation.rotation),
                "--rotation must be in 0..=180 degrees",
            ),
            (
                not_negative(self.augmentation.scale),
                "--scale must be 0 or a positive number",
            ),
            (
                not_negative(self.augmentation.shear),
                "--shear must be 0 or a positive number",
            ),
            (
                not_negative(self.augmentation.shift),
                "--shift must be 0 or a positive number of pixels",
            ),
            (
                not_negative(self.augmentation.elastic),
                "--elastic must be 0 or a positive number of pixels",
            ),
            (
                self.validation > 0 || !self.temperature_scaling,
                "--temperature-scaling true needs images to set the temperature on: --validation must be at least 1",
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

    /// The learning rate of a step (from 0), of `steps_per_epoch` in an epoch.
    #[must_use]
    pub fn learning_rate_at(&self, step: u64, steps_per_epoch: u64) -> f64 {
        let factor = match self.schedule {
            Schedule::Step => {
                let epoch = (step / steps_per_epoch) as u32;
                self.lr_gamma.powf(f64::from(epoch / self.lr_step))
            }
            Schedule::Cosine => {
                let steps = (steps_per_epoch * u64::from(self.epochs)) as f64;
                let warm_up = WARM_UP * steps;
                let step = step as f64;
                if step < warm_up {
                    ((step + 1.0) / warm_up).min(1.0)
                } else {
                    let fallen = (step - warm_up) / (steps - warm_up);
                    0.5 * (1.0 + (std::f64::consts::PI * fallen).cos())
                }
            }
        };
        self.learning_rate * factor
    }

    /// The first number in which a run to be continued differs, named as its flag. The number of
    /// epochs may where the learning rate does not depend on it.
    #[must_use]
    pub fn difference(&self, earlier: &Self) -> Option<String> {
        let (now, then) = (self.flags(), earlier.flags());
        now.iter().zip(then).find_map(|((flag, now), (_, then))| {
            let may = *flag == "--epochs" && self.schedule == Schedule::Step;
            (*now != then && !may).then(|| format!("{flag} was {then}, not {now}"))
        })
    }

    /// Every flag that changes a recipe, with its value in this one.
    #[must_use]
    pub fn flags(&self) -> [(&'static str, String); 24] {
        fn show(value: impl Serialize) -> String {
            let value = serde_json::json!(value).to_string();
            value.replace(['"', '[', ']'], "").replace("null", "all")
        }
        let list = |names: &[String]| {
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(",")
            }
        };
        [
            ("--dataset", show(&self.dataset)),
            ("--without", list(&self.without)),
            ("--extra", list(&self.extra)),
            ("--oversample", show(self.oversample)),
            ("--validation", show(self.validation)),
            ("--batch-size", show(self.batch_size)),
            ("--optimizer", show(self.optimizer)),
            ("--lr", show(self.learning_rate)),
            ("--schedule", show(self.schedule)),
            ("--epochs", show(self.epochs)),
            ("--momentum", show(self.momentum)),
            ("--weight-decay", show(self.weight_decay)),
            ("--lr-step", show(self.lr_step)),
            ("--lr-gamma", show(self.lr_gamma)),
            ("--averaging", show(self.averaging)),
            ("--rotation", show(self.augmentation.rotation)),
            ("--scale", show(self.augmentation.scale)),
            ("--shear", show(self.augmentation.shear)),
            ("--shift", show(self.augmentation.shift)),
            ("--elastic", show(self.augmentation.elastic)),
            ("--dropout", show(self.dropout)),
            ("--temperature-scaling", show(self.temperature_scaling)),
            ("--seed", show(self.seed)),
            ("--limit-train", show(self.limit_train)),
        ]
    }

    /// See [`Architecture::prior_length_scale`]. AdamW's decay is no term of an objective
    /// (Loshchilov and Hutter 2019), so it stands for no prior: `None`.
    #[must_use]
    pub fn prior_length_scale(&self, images: usize) -> Option<[f64; SITES]> {
        let architecture = Architecture {
            classes: 2,
            dropout: self.dropout,
        };
        let flat = self.weight_decay == 0.0;
        (flat || self.optimizer == Optimizer::Sgd)
            .then(|| architecture.prior_length_scale(self.weight_decay, images))
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
            .map(|&epoch| recipe.learning_rate_at(7 * epoch + 6, 7))
            .collect();
        for (rate, expected) in rates.iter().zip([1e-2, 1e-2, 1e-3, 1e-3, 1e-4]) {
            assert!((rate / expected - 1.0).abs() < 1e-12, "{rates:?}");
        }
    }

    #[test]
    fn a_cosine_rises_for_a_tenth_of_the_run_and_falls_to_nothing() {
        let recipe = Recipe {
            learning_rate: 0.5,
            schedule: Schedule::Cosine,
            epochs: 10,
            ..Recipe::default()
        };
        let at = |step| recipe.learning_rate_at(step, 20);
        assert!((at(0) - 0.025).abs() < 1e-12, "{}", at(0));
        assert!((at(9) - 0.25).abs() < 1e-12, "{}", at(9));
        assert_eq!((at(19), at(20)), (0.5, 0.5));
        assert!((at(110) - 0.25).abs() < 1e-12, "{}", at(110));
        assert!(at(199) < 1e-4 && at(199) > 0.0);
        assert!((20..199).all(|step| at(step + 1) < at(step)));
    }

    #[test]
    fn length_scale_and_weight_decay_are_two_names_of_one_number() {
        let recipe = Recipe {
            weight_decay: 1e-4,
            dropout: [0.5, 0.2, 0.0],
            ..Recipe::default()
        };
        let scale = recipe.prior_length_scale(60_000).expect("SGD");
        for (l, q) in scale.iter().zip([0.5, 0.8, 1.0]) {
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
        assert_eq!(RecipeName::Best.recipe().validate(), Ok(()));
        assert!(refused(&|r| r.learning_rate = f64::NAN).contains("--lr "));
        assert!(refused(&|r| r.dropout = [0.5, 1.0, 0.5]).contains("--dropout"));
        assert!(refused(&|r| r.dropout = [0.0; 3]).contains("Monte-Carlo"));
        assert!(refused(&|r| r.weight_decay = -1.0).contains("--weight-decay"));
        assert!(refused(&|r| r.momentum = 1.0).contains("--momentum"));
        assert!(refused(&|r| r.averaging = 1.0).contains("--averaging"));
        assert!(refused(&|r| r.augmentation.shift = f64::INFINITY).contains("--shift"));
        assert!(refused(&|r| r.temperature_scaling = true).contains("--validation"));
    }

    #[test]
    fn only_the_number_of_epochs_may_change_and_not_below_a_cosine() {
        let then = Recipe::default();
        let longer = |recipe: &Recipe| Recipe {
            epochs: 99,
            ..recipe.clone()
        };
        assert_eq!(longer(&then).difference(&then), None);
        let best = RecipeName::Best.recipe();
        let refused = longer(&best).difference(&best).expect("refused");
        assert!(refused.starts_with("--epochs was "), "{refused}");
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
