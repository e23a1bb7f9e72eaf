//! Arm's MPS2+ with the AN386 image, a Cortex-M4F.

#![no_std]
#![no_main]

use cortex_m as _;
use cortex_m_rt::entry;

platform::last_words!(mps2::Uart0);

#[entry]
fn main() -> ! {
    mps2::run("mps2-an386")
}
