//! The board's interrupts, of which the loop needs one.

use cortex_m::interrupt::InterruptNumber;
use platform::line;

use crate::{Uart0, uart0};

/// A byte has arrived at the first UART.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Uart0Receive;

// SAFETY: this is its number, and the table below has as many entries.
unsafe impl InterruptNumber for Uart0Receive {
    fn number(self) -> u16 {
        0
    }
}

/// What follows the processor's own exceptions in the vector table.
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
static __INTERRUPTS: [unsafe extern "C" fn(); 1] = [uart0_receive];

extern "C" fn uart0_receive() {
    uart0::INTERRUPTS.write(uart0::ALL_INTERRUPTS);
    line::keep::<Uart0>();
}
