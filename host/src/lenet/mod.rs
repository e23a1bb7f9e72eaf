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
