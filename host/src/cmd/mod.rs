//! One file per subcommand.

pub mod adopt;
pub mod bench;
pub mod calibrate;
pub mod data;
pub mod deploy;
pub mod doctor;
mod engine;
pub mod evaluate;
pub mod export;
pub mod flash;
pub mod keygen;
pub mod label;
mod long;
pub mod monitor;
mod page;
pub mod report;
pub mod send;
pub mod sign;
pub mod study;
#[cfg(feature = "train")]
pub mod train;
mod view;
