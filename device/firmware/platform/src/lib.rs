//! What every Cortex-M board here shares, and all of its `unsafe` code: where plan and stack lie,
//! the line between UART and loop, and what happens when the firmware fails.
//!
//! A board's program has one UART ([`line::Uart`]) and names it to [`last_words!`].

#![no_std]
#![deny(missing_docs)]

pub mod crash;
pub mod line;
pub mod tick;

mod guard;
mod memory;

pub use line::Line;
pub use memory::{plan, residue, stack_free};

/// Sets the processor up: guards the stack, and ticks. `core_hz` is the processor's clock.
pub fn start(mut core: cortex_m::Peripherals, core_hz: u32) {
    guard::start(&mut core.MPU);
    tick::start(&mut core.SYST, core_hz);
}
