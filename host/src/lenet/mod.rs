//! The network: LeNet with a dropout after each of its first three layers.
//!
//! ```text
//! image [1,28,28] → conv1 5×5 → dropout1 [10,24,24] → maxpool 2 → relu
//!                 → conv2 5×5 → dropout2 [20,8,8]   → maxpool 2 → relu
//!                 → flatten 320 → fc1 → relu → dropout3 [50] → fc2 → logits [classes]
//! ```
//!
//! Dropout is element-wise and stays on when the network is used. A site's *dropout* is the
//! probability that an element is dropped; its keep probability is `q = 1 − dropout`, in steps of
//! 1/65536, and what is kept is multiplied by `1/q`.

pub(crate) mod checkpoint;
#[cfg(feature = "train")]
mod engine;
#[cfg(feature = "train")]
mod network;
mod trained;

use serde::{Deserialize, Serialize};
use shared::mask::KeepProbability;

#[cfg(feature = "train")]
pub use engine::LibtorchEngine;
#[cfg(feature = "train")]
pub use network::{Masks, Network};
#[cfg(feature = "train")]
pub(crate) use network::{parameter, tensor};
#[cfg(test)]
pub(crate) use trained::tests;
pub use trained::{ModelError, Parameter, TrainedModel};

/// Columns and rows of the network's input, a plane of luma.
pub const SIDE: usize = 28;
/// Number of dropout sites.
pub const SITES: usize = 3;
/// Their names, in the order in which the network meets them (= their number in `shared::mask`).
pub const SITE_NAMES: [&str; SITES] = ["dropout1", "dropout2", "dropout3"];
/// What one sample looks like at each site.
pub const SITE_SHAPES: [&[usize]; SITES] = [&[10, 24, 24], &[20, 8, 8], &[50]];

/// What distinguishes one LeNet from another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Architecture {
    /// Number of classes, at least 2.
    pub classes: usize,
    /// Probability of dropping an element, per site, in `0..1`.
    pub dropout: [f64; SITES],
}

impl Architecture {
    /// Probability of keeping an element, per site; `None` if a dropout is not in `0..1`.
    #[must_use]
    pub fn keep(&self) -> Option<[KeepProbability; SITES]> {
        let [a, b, c] = self.dropout.map(|p| KeepProbability::from_f64(1.0 - p));
        Some([a?, b?, c?])
    }

    /// The prior length-scale `l` that weight decay amounts to in the variational view, where the
    /// prior of a weight is N(0, l⁻²); one per layer whose inputs are dropped: conv2, fc1, fc2.
    /// `images` is the number of training images.
    ///
    /// Gal and Ghahramani (2016, eq. 7) minimise `1/N Σ E + λ Σ M²` with `λ = q l² / (2 N τ)`: `q`
    /// the probability of *keeping* an input, `N` the number of training images, `τ` the precision
    /// of the observation noise, which is 1 for a softmax likelihood, and a sampled weight is `M`
    /// or 0. Here kept inputs are scaled by 1/q, so a sampled weight is `w/q` or 0: `M = w/q`, and
    /// the same objective reads `λ = l² / (2 q N τ)` on `w` (as in Gal, Hron and Kendall 2017). SGD
    /// adds `weight_decay · w` to the gradient of `1/N Σ E`, so `λ = weight_decay / 2` and
    ///
    /// ```text
    /// l = √(q · weight_decay · N · τ)
    /// ```
    ///
    /// Without weight decay `l = 0`: the prior is flat.
    #[must_use]
    pub fn prior_length_scale(&self, weight_decay: f64, images: usize) -> [f64; SITES] {
        self.dropout
            .map(|p| ((1.0 - p) * weight_decay * images as f64).sqrt())
    }

    /// Names and shapes of the parameters, in PyTorch's layout and order.
    #[must_use]
    pub fn parameters(&self) -> [(&'static str, Vec<usize>); 8] {
        [
            ("conv1.weight", vec![10, 1, 5, 5]),
            ("conv1.bias", vec![10]),
            ("conv2.weight", vec![20, 10, 5, 5]),
            ("conv2.bias", vec![20]),
            ("fc1.weight", vec![50, 320]),
            ("fc1.bias", vec![50]),
            ("fc2.weight", vec![self.classes, 50]),
            ("fc2.bias", vec![self.classes]),
        ]
    }
}

/// Elements of one sample at a site.
///
/// # Panics
/// `site` is not below [`SITES`].
#[must_use]
pub fn site_elements(site: usize) -> usize {
    SITE_SHAPES[site].iter().product()
}
