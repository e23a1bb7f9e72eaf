//! One file per subcommand.

pub mod bench;
pub mod data;
pub mod doctor;
pub mod export;
pub mod monitor;
#[cfg(feature = "train")]
pub mod train;

/// What a shell reports for a program that Ctrl-C ended: 128 + SIGINT.
const INTERRUPTED: i32 = 130;
