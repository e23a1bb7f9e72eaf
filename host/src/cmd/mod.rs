//! One file per subcommand.

pub mod bench;
pub mod calibrate;
pub mod data;
pub mod doctor;
pub mod evaluate;
pub mod export;
mod long;
pub mod monitor;
#[cfg(feature = "train")]
pub mod train;
