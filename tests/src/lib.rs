//! What the end-to-end tests have in common: the built programs, serial lines without hardware, and
//! small model files.

pub mod board;
pub mod colour;
pub mod delivery;
pub mod digits;
pub mod emulated;
pub mod emulator;
pub mod faults;
pub mod firmware;
pub mod guest;
pub mod line;
pub mod model;
pub mod networks;
pub mod parity;
pub mod programs;
pub mod recording;
pub mod simulation;
pub mod terminal;
pub mod vivid;
pub mod wear;
