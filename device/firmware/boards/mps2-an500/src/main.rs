//! Arm's MPS2+ with the AN500 image, a Cortex-M7.

#![no_std]
#![no_main]

use cortex_m as _;
use cortex_m_rt::entry;

platform::last_words!(mps2::Uart0);

#[entry]
fn main() -> ! {
    mps2::run("mps2-an500")
}
