//! One file per subcommand.

pub mod data;
pub mod doctor;
pub mod export;
pub mod monitor;
#[cfg(feature = "train")]
pub mod train;
