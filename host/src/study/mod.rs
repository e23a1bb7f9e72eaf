//! What Monte-Carlo dropout means, made visible and measured.
//!
//! Each study is a function that returns its figures, which serialise to JSON and print as a table.

mod correlation;
mod means;
mod sampler;

pub mod causes;
pub mod corruptions;
pub mod epistemic;
pub mod precision;
pub mod rotation;
pub mod variational;

pub use correlation::{Correlations, spearman};
pub use means::Means;
