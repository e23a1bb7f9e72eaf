//! The firmware's loop: frames come in over the serial line or from a camera, each is judged by
//! Monte Carlo dropout, and a report goes out. A pin tells whether the last frame was flagged.
//!
//! Nothing here knows a board ([`board`] says what one must bring), allocates, or is `unsafe`, so
//! the loop runs and is tested on a workstation, too.
//!
//! A device is never silent and never starts again without end: where its plan is missing or
//! damaged it says so every few seconds. The watchdog is fed by a finished turn of the loop and by
//! nothing else, so whatever stands still is ended, and told after the next start.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

#[cfg(all(feature = "f32", feature = "int8"))]
compile_error!("one number format per build: --no-default-features --features int8");
#[cfg(not(any(feature = "f32", feature = "int8")))]
compile_error!("choose a number format: feature f32 or int8");

#[cfg(all(feature = "text", feature = "sealed"))]
compile_error!("text cannot be sealed: leave one of the two features out");

pub mod board;
mod channel;
mod judge;
#[cfg(any(feature = "signed", feature = "sealed"))]
mod key;
mod memory;
#[cfg(feature = "provoke")]
pub mod provoke;
mod receive;
mod report;
#[cfg(all(test, not(feature = "sealed")))]
mod tests;
mod turn;

pub use board::{Board, Camera, Clock, Line, NoCamera, Residue, Watchdog};
pub use channel::last_words;
pub use memory::Memory;
pub use report::text;
pub use turn::Device;

use embedded_hal::digital::OutputPin;

/// Runs a board for ever with the plan that `plan` begins with. `memory` is all the working memory
/// besides the stack.
pub fn run<L: Line, F: OutputPin, C: Clock, W: Watchdog, V: Camera>(
    board: Board<L, F, C, W, V>,
    plan: &'static [u8],
    memory: &'static mut Memory,
) -> ! {
    let mut device = Device::new(board);
    device.load(plan, memory);
    loop {
        device.turn();
    }
}
