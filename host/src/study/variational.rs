//! Dropout as variational inference, in nats.
//!
//! Gal and Ghahramani (2016) read dropout as an approximate posterior q(ω) over the weights: of
//! each layer `M_l · diag(z)`, with z drawn from Bernoulli(q_l). Training maximises (their eq. 4
//! and 7, up to constants)
//!
//! ```text
//! ELBO = Σ_n E_q[ln p(y_n | x_n, ω)] − KL(q(ω) ‖ p(ω))
//! KL  ≈ Σ_l ( q_l l_l² / 2 · ‖M_l‖² + l_l² / 2 · ‖m_l‖² )  + constants
//! ```
//!
//! with q_l the probability of *keeping* an input of layer l, biases m_l, and the prior N(0, l_l⁻²)
//! on each weight. This network scales kept inputs by 1/q, so `M = w/q`; weight decay λ over N
//! images stands for `l² = q λ N` ([`Architecture::prior_length_scale`]), and every term becomes
//! `λ N / 2 · ‖w‖²`: minus the ELBO is N times the loss that SGD minimises.
//!
//! Left out are constants that no parameter changes: the entropies of the Bernoulli distributions
//! and the normalisation of the prior. So figures of models compare where dropout and prior are the
//! same. Of a convolution, whose inputs are dropped element by element, the equality with a
//! distribution over its weights is an approximation (Gal and Ghahramani 2015).
//!
//! The expectation is a mean over passes: `ln p(y | x, ω_t)` is unbiased already for one. The log
//! of the *mean* likelihood, `ln 1/T Σ_t p(y | x, ω_t)`, is never below the mean of the logs
//! (Jensen); it grows with T as the bound of Burda et al. (2016, theorem 1) does. Here it is taken
//! image by image, where it is minus the loss of the prediction, and no bound on the evidence of
//! all images together.

use std::fmt;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use shared::uncertainty::log_softmax;

use super::sampler::{Passes, over_images};
use crate::data::Dataset;
use crate::evaluate::{Setup, weights_of};
use crate::lenet::{Architecture, TrainedModel};

/// The objective of a trained model and its terms. All but `*_norm` and `length_scale` in nats per
/// training image: of the whole set it is [`Variational::training_images`] times as much.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Variational {
    /// Images that the model was trained on, N.
    pub training_images: usize,
    /// Stochastic passes per image, T.
    pub passes: u32,
    /// The prior's weight decay, λ; 0 for a flat prior.
    pub weight_decay: f64,
    /// Where λ comes from.
    pub prior: Prior,
    /// Layer by layer, those without dropout at their inputs with q = 1.
    pub layers: Vec<Layer>,
    /// Sum over the layers.
    pub kl: f64,
    /// Expected log-likelihood of training images minus `kl`, from T passes.
    pub elbo: Estimate,
    /// The same from one pass per image.
    pub elbo_one_pass: Estimate,
    /// Training images.
    pub training: Likelihood,
    /// Test images.
    pub test: Likelihood,
}

/// Where a prior comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prior {
    /// The weight decay that the model was trained with, or its absence, which is a flat prior.
    Trained,
    /// The training's objective has none, because its optimiser decays weights beside the gradient
    /// (AdamW): taken as flat.
    None,
    /// Given, whatever the training was.
    Assumed,
}

/// What a layer adds to the Kullback-Leibler divergence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// conv1, conv2, fc1 or fc2.
    pub name: String,
    /// Probability that an input of the layer is kept, q.
    pub keep: f64,
    /// Prior length-scale l of its weights; 0 stands for a flat prior, which adds nothing.
    pub length_scale: f64,
    /// ‖M‖² = ‖w‖²/q².
    pub weight_norm: f64,
    /// ‖m‖².
    pub bias_norm: f64,
    /// `(q l²/2 · ‖M‖² + l_b²/2 · ‖m‖²) / N`; no bias is dropped, so that `l_b² = λ N`.
    pub kl: f64,
}

/// A mean over images with the error that the choice of masks leaves in it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The estimate.
    pub mean: f64,
    /// Monte-Carlo standard error: √(Σ_i s_i²/T) / images, with the variance s_i² of image i
    /// between its passes. `None` for one pass in all.
    pub standard_error: Option<f64>,
}

/// Log-likelihoods of the right answers, nats per image, at most 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Likelihood {
    /// Images looked at.
    pub images: usize,
    /// Mean over passes and images of `ln p(y | x, ω_t)`.
    pub expected: Estimate,
    /// The same from the first pass of each image.
    pub expected_one_pass: Estimate,
    /// Mean over images of `ln 1/T Σ_t p(y | x, ω_t)`: minus it is the negative log-likelihood of
    /// the prediction. Never below `expected`.
    pub log_mean: f64,
}

/// What was measured of one image.
#[derive(Debug, Clone, Copy)]
struct OfImage {
    mean: f64,
    first: f64,
    log_mean: f64,
    /// Between passes; 0 for one pass.
    variance: f64,
}

/// A trained model of `host train`, and what its training says of the prior.
#[derive(Debug)]
pub struct Trained {
    model: TrainedModel,
    /// The data set that it was trained on, as its command line named it.
    pub dataset: String,
    /// How many images of it, the first ones.
    pub images: usize,
    /// `None` if it is no term of an objective.
    weight_decay: Option<f64>,
}

impl Trained {
    /// Reads the weights beside an ONNX file, in a folder, or themselves.
    ///
    /// # Errors
    /// There are none, or they do not say how they were trained.
    pub fn load(model: &std::path::Path) -> anyhow::Result<Self> {
        let path = weights_of(model)?;
        let model = TrainedModel::load(&path)?;
        let said = || -> Option<_> {
            let training = model.training.as_ref()?;
            let recipe = training.get("recipe")?;
            let weight_decay = recipe.get("weight_decay")?.as_f64()?;
            let has_prior = !training.get("prior_length_scale")?.is_null();
            Some((
                recipe.get("dataset")?.as_str()?.to_owned(),
                usize::try_from(training.get("images")?.as_u64()?).ok()?,
                has_prior.then_some(weight_decay),
            ))
        };
        let (dataset, images, weight_decay) = said().with_context(|| {
            format!(
                "{} does not say how it was trained: train it again with `host train`",
                path.display()
            )
        })?;
        ensure!(
            images > 0,
            "{} says that it was trained on no image",
            path.display()
        );
        Ok(Self {
            model,
            dataset,
            images,
            weight_decay,
        })
    }
}

/// Measures the objective on images that `trained` was trained on, `training`, and the likelihoods
/// of `test` beside it. `setup` samples the same model; `weight_decay` replaces that of its
/// training. The result does not depend on `threads`. `None` if `stop` was set before the end.
///
/// # Errors
/// There are no images, the model cannot be used, or its outputs are not finite.
#[expect(clippy::too_many_arguments, reason = "two data sets, and how to run")]
pub fn variational(
    setup: &Setup,
    trained: &Trained,
    weight_decay: Option<f64>,
    training: &Dataset,
    test: &Dataset,
    threads: usize,
    stop: &AtomicBool,
    advance: &dyn Fn(u64),
) -> anyhow::Result<Option<Variational>> {
    let likelihood = |data| likelihood(setup, data, threads, stop, advance);
    let Some(training) = likelihood(training)? else {
        return Ok(None);
    };
    let Some(test) = likelihood(test)? else {
        return Ok(None);
    };
    let prior = match (weight_decay, trained.weight_decay) {
        (Some(_), _) => Prior::Assumed,
        (None, Some(_)) => Prior::Trained,
        (None, None) => Prior::None,
    };
    let decay = weight_decay.or(trained.weight_decay).unwrap_or(0.0);
    let layers = layers(&trained.model, decay, trained.images);
    let kl = layers.iter().map(|layer| layer.kl).sum();
    let elbo = |expected: Estimate| Estimate {
        mean: expected.mean - kl,
        ..expected
    };
    Ok(Some(Variational {
        training_images: trained.images,
        passes: setup.passes,
        weight_decay: decay,
        prior,
        layers,
        kl,
        elbo: elbo(training.expected),
        elbo_one_pass: elbo(training.expected_one_pass),
        training,
        test,
    }))
}

/// The terms of the divergence, for `images` training images.
fn layers(model: &TrainedModel, weight_decay: f64, images: usize) -> Vec<Layer> {
    let Architecture { dropout, .. } = model.architecture;
    let [conv2, fc1, fc2] = model.architecture.prior_length_scale(weight_decay, images);
    // What keeps every input, as the first layer does, has the length-scale of q = 1.
    let whole = (weight_decay * images as f64).sqrt();
    let inputs = [
        (1.0, whole),
        (1.0 - dropout[0], conv2),
        (1.0 - dropout[1], fc1),
        (1.0 - dropout[2], fc2),
    ];
    let squares = |values: &[f32]| values.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
    // Parameters are a weight and a bias of each layer in turn.
    let parameters = model.parameters.chunks_exact(2);
    parameters
        .zip(inputs)
        .map(|(parameters, (keep, length_scale))| {
            let weight_norm = squares(&parameters[0].values) / (keep * keep);
            let bias_norm: f64 = squares(&parameters[1].values);
            let kl = keep * length_scale * length_scale * weight_norm + whole * whole * bias_norm;
            let name = parameters[0].name.trim_end_matches(".weight");
            Layer {
                name: name.to_owned(),
                keep,
                length_scale,
                weight_norm,
                bias_norm,
                kl: kl / 2.0 / images as f64,
            }
        })
        .collect()
}

fn likelihood(
    setup: &Setup,
    data: &Dataset,
    threads: usize,
    stop: &AtomicBool,
    advance: &dyn Fn(u64),
) -> anyhow::Result<Option<Likelihood>> {
    ensure!(!data.is_empty(), "there are no images");
    let images = over_images(setup, data, threads, stop, advance, |passes, label| {
        of_image(&passes, label)
    })?;
    Ok(images.map(|images| sum_up(&images, setup.passes)))
}

fn of_image(passes: &Passes<'_>, label: usize) -> anyhow::Result<OfImage> {
    let mut scores = vec![0.0; passes.classes];
    let mut logs = Vec::new();
    for pass in passes.iter() {
        ensure!(
            pass.iter().all(|logit| logit.is_finite()),
            "the model's output is not a finite number"
        );
        let logits: Vec<f64> = pass.iter().map(|&logit| f64::from(logit)).collect();
        log_softmax(&logits, &mut scores);
        logs.push(scores[label]);
    }
    let count = logs.len() as f64;
    let mean = logs.iter().sum::<f64>() / count;
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logs.iter().map(|log| (log - largest).exp()).sum();
    let squares: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
    Ok(OfImage {
        mean,
        first: logs[0],
        log_mean: largest + (sum / count).ln(),
        variance: squares / (count - 1.0).max(1.0),
    })
}

fn sum_up(images: &[OfImage], passes: u32) -> Likelihood {
    let count = images.len() as f64;
    let mean = |value: &dyn Fn(&OfImage) -> f64| images.iter().map(value).sum::<f64>() / count;
    // Of one pass per image.
    let error = (mean(&|image| image.variance) / count).sqrt();
    let standard_error =
        |passes_of_image: f64| (passes > 1).then(|| error / passes_of_image.sqrt());
    Likelihood {
        images: images.len(),
        expected: Estimate {
            mean: mean(&|image| image.mean),
            standard_error: standard_error(f64::from(passes)),
        },
        expected_one_pass: Estimate {
            mean: mean(&|image| image.first),
            standard_error: standard_error(1.0),
        },
        log_mean: mean(&|image| image.log_mean),
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.standard_error {
            Some(error) => write!(f, "{:.5} ± {error:.5}", self.mean),
            None => write!(f, "{:.5}", self.mean),
        }
    }
}

impl fmt::Display for Variational {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            training, test, kl, ..
        } = self;
        writeln!(
            f,
            "nats per image; T = {} passes; ± Monte-Carlo standard error",
            self.passes
        )?;
        let images = [training.images, test.images].map(|images| format!("{images} images"));
        writeln!(f, "{:32} {:>22} {:>22}", "", "training", "test")?;
        writeln!(f, "{:32} {:>22} {:>22}", "", images[0], images[1])?;
        let mut row = |name: &str, training: String, test: String| {
            writeln!(f, "{name:32} {training:>22} {test:>22}")
        };
        row(
            "expected log-likelihood",
            training.expected.to_string(),
            test.expected.to_string(),
        )?;
        row(
            "  from one pass",
            training.expected_one_pass.to_string(),
            test.expected_one_pass.to_string(),
        )?;
        row(
            "log of the mean likelihood, −NLL",
            format!("{:.5}", training.log_mean),
            format!("{:.5}", test.log_mean),
        )?;
        row("KL term", format!("{kl:.5}"), String::new())?;
        row("ELBO", self.elbo.to_string(), String::new())?;
        row(
            "  from one pass",
            self.elbo_one_pass.to_string(),
            String::new(),
        )?;

        writeln!(
            f,
            "\nlayer   kept  length-scale l      ‖M‖²      ‖m‖²        KL"
        )?;
        for layer in &self.layers {
            writeln!(
                f,
                "{:6}  {:4.2}  {:14.4}  {:8.2}  {:8.3}  {:8.5}",
                layer.name,
                layer.keep,
                layer.length_scale,
                layer.weight_norm,
                layer.bias_norm,
                layer.kl
            )?;
        }
        let (decay, images) = (self.weight_decay, self.training_images);
        match self.prior {
            Prior::Trained if decay > 0.0 => {
                write!(f, "weight decay {decay} over {images} training images")
            }
            Prior::Trained => write!(
                f,
                "trained without weight decay: the prior is flat (l = 0) and adds nothing; \
                 --weight-decay shows what a prior would"
            ),
            Prior::None => write!(
                f,
                "trained with a weight decay that is no term of the objective (AdamW): no prior, \
                 nothing added; --weight-decay shows what one would"
            ),
            Prior::Assumed => write!(
                f,
                "weight decay {decay} over {images} training images, as assumed"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
