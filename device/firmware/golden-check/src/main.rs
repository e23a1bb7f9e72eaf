//! Checks on a Cortex-M4F that masks and measures have the bits they have everywhere else. Prints
//! the counts, or the first difference, over semihosting; the exit code tells which.

#![no_std]
#![no_main]

use cortex_m as _;
use cortex_m_rt::entry;
use cortex_m_semihosting::debug::{self, EXIT_FAILURE, EXIT_SUCCESS};
use cortex_m_semihosting::{heprintln, hprintln};
use panic_semihosting as _;

#[entry]
fn main() -> ! {
    let status = match golden::check() {
        Ok(counts) => {
            hprintln!("golden: {counts}");
            EXIT_SUCCESS
        }
        Err(mismatch) => {
            heprintln!("golden: {mismatch}");
            EXIT_FAILURE
        }
    };
    loop {
        debug::exit(status);
    }
}
