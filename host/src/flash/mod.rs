//! Firmware and plan onto a microcontroller: building, checking, and the ways onto a board.

pub mod board;
pub mod build;
pub mod image;
pub mod plan;
pub mod port;
pub mod probe;
pub mod qemu;
pub mod tool;
pub mod uf2;
pub mod volume;
