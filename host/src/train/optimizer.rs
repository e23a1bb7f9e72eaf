//! How parameters follow their gradients.

use serde::{Deserialize, Serialize};
use tch::{TchError, Tensor};

use super::recipe::Recipe;

/// Adam's β₂ and ε, as Kingma and Ba (2015) propose them.
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// The rule of a step; g is the gradient, w a parameter, rate the learning rate of the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// Stochastic gradient descent with momentum μ, as PyTorch has it:
    /// v ← μ v + g + decay · w; w ← w − rate · v
    Sgd,
    /// Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019), β₁ = the
    /// momentum: w ← w − rate · (m̂ / (√v̂ + ε) + decay · w)
    Adamw,
}

/// What a run carries from step to step beside its parameters: a tensor per parameter of each
/// kind, none of a kind that the recipe does not ask for.
#[derive(Debug)]
pub(super) struct State {
    /// SGD's v, Adam's m.
    momentum: Vec<Tensor>,
    /// Adam's v.
    variance: Vec<Tensor>,
    /// The exponential moving average of the parameters.
    average: Vec<Tensor>,
}

impl State {
    /// That of a run at its start.
    pub(super) fn new(recipe: &Recipe, parameters: &[Tensor]) -> Self {
        let zeros = || parameters.iter().map(Tensor::zeros_like).collect();
        Self {
            momentum: zeros(),
            variance: match recipe.optimizer {
                Optimizer::Sgd => Vec::new(),
                Optimizer::Adamw => zeros(),
            },
            average: if recipe.averaging > 0.0 {
                parameters
                    .iter()
                    .map(|value| value.detach().copy())
                    .collect()
            } else {
                Vec::new()
            },
        }
    }

    /// Every kind, with what its tensors' names begin with in a checkpoint.
    pub(super) fn kinds(&self) -> [(&'static str, &[Tensor]); 3] {
        [
            ("momentum.", &self.momentum),
            ("variance.", &self.variance),
            ("average.", &self.average),
        ]
    }

    /// The same to put a checkpoint's tensors into.
    pub(super) fn kinds_mut(&mut self) -> [(&'static str, &mut Vec<Tensor>); 3] {
        [
            ("momentum.", &mut self.momentum),
            ("variance.", &mut self.variance),
            ("average.", &mut self.average),
        ]
    }

    /// The averaged parameters; `None` if the recipe does not average.
    pub(super) fn average(&self) -> Option<&[Tensor]> {
        (!self.average.is_empty()).then_some(&self.average)
    }

    /// Step number `step` (from 0): changes `parameters` by their `gradients`.
    pub(super) fn step(
        &mut self,
        recipe: &Recipe,
        rate: f64,
        step: u64,
        parameters: &[Tensor],
        gradients: &[Tensor],
    ) -> Result<(), TchError> {
        let _no_grad = tch::no_grad_guard();
        for (index, (value, gradient)) in parameters.iter().zip(gradients).enumerate() {
            let mut value = value.shallow_clone();
            let momentum = &mut self.momentum[index];
            match recipe.optimizer {
                Optimizer::Sgd => {
                    let mut velocity = momentum.f_mul_scalar_(recipe.momentum)?.f_add_(gradient)?;
                    if recipe.weight_decay > 0.0 {
                        velocity = velocity.f_add_(&(&value * recipe.weight_decay))?;
                    }
                    let _ = value.f_sub_(&(velocity * rate))?;
                }
                Optimizer::Adamw => {
                    let _ = value.f_mul_scalar_(1.0 - rate * recipe.weight_decay)?;
                    let _ = momentum.f_lerp_(gradient, 1.0 - recipe.momentum)?;
                    let variance = &mut self.variance[index];
                    let _ = variance.f_lerp_(&(gradient * gradient), 1.0 - BETA2)?;
                    let correct = |beta: f64| 1.0 - beta.powf((step + 1) as f64);
                    let deviation = (&*variance / correct(BETA2)).f_sqrt()? + EPSILON;
                    let _ = value
                        .f_sub_(&(&*momentum * (rate / correct(recipe.momentum)) / deviation))?;
                }
            }
            if let Some(average) = self.average.get_mut(index) {
                let _ = average.f_lerp_(&value, 1.0 - decay_of_average(recipe.averaging, step))?;
            }
        }
        Ok(())
    }
}

/// The average's decay in a step: early ones forget the start faster.
fn decay_of_average(decay: f64, step: u64) -> f64 {
    decay.min((1.0 + step as f64) / (10.0 + step as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::RecipeName;

    /// Three steps of `recipe` from w = 1 by gradients 0.5, -1, 2; what is left, and the average.
    fn three_steps(recipe: &Recipe) -> (f64, Option<f64>) {
        let parameters = [Tensor::from_slice(&[1.0f32])];
        let mut state = State::new(recipe, &parameters);
        for (step, gradient) in [0.5f32, -1.0, 2.0].into_iter().enumerate() {
            let gradients = [Tensor::from_slice(&[gradient])];
            state
                .step(recipe, 0.1, step as u64, &parameters, &gradients)
                .expect("stepped");
        }
        let average = state.average().map(|values| values[0].double_value(&[0]));
        (parameters[0].double_value(&[0]), average)
    }

    #[test]
    fn sgd_and_adamw_are_what_pytorch_computes() {
        let source = RecipeName::Source.recipe();
        // torch.optim.SGD([w], lr=0.1, momentum=0.9, weight_decay=0.01), PyTorch 2.11.
        let (sgd, average) = three_steps(&Recipe {
            weight_decay: 0.01,
            ..source.clone()
        });
        assert!(
            (sgd - 0.848_984_749).abs() < 1e-6 && average.is_none(),
            "{sgd}"
        );
        // torch.optim.AdamW([w], lr=0.1, betas=(0.9, 0.999), weight_decay=0.01).
        let (adamw, _) = three_steps(&Recipe {
            weight_decay: 0.01,
            optimizer: Optimizer::Adamw,
            ..source
        });
        assert!((adamw - 0.891_811_081).abs() < 1e-6, "{adamw}");
    }

    #[test]
    fn the_average_is_the_one_computed_by_hand() {
        // Plain SGD: w = 0.95, 1.05, 0.85; decays 1/10, 2/11, and 0.2, which is below 3/12.
        let recipe = Recipe {
            momentum: 0.0,
            averaging: 0.2,
            ..RecipeName::Source.recipe()
        };
        let (value, average) = three_steps(&recipe);
        let first = 1.0 * 0.1 + 0.95 * 0.9;
        let second = first * 2.0 / 11.0 + 1.05 * 9.0 / 11.0;
        let third = second * 0.2 + 0.85 * 0.8;
        assert!((value - 0.85).abs() < 1e-6, "{value}");
        assert!((average.expect("averaged") - third).abs() < 1e-6);
    }
}
