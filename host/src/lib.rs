//! What the `host` program is made of: data sets, training, export, evaluation, and the monitor.
//!
//! Everything that needs libtorch sits behind the feature `train`; the rest builds without it.

#![warn(missing_docs)]

pub mod adopt;
pub mod bench;
pub mod calibrate;
pub mod cmd;
pub mod data;
pub mod deploy;
pub mod evaluate;
pub mod export;
pub mod files;
pub mod flash;
pub mod label;
pub mod lenet;
pub mod monitor;
mod parallel;
mod png;
pub mod report;
pub mod study;
#[cfg(feature = "train")]
pub mod torch;
#[cfg(feature = "train")]
pub mod train;
pub mod tui;
pub mod web;
