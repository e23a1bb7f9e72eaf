//! An interrupt every few milliseconds, so that a processor that rests wakes up for what is due.

use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::exception;

/// Ticks a second.
const RATE: u32 = 200;

/// Starts ticking. `core_hz` is the processor's clock, at most 3.3 GHz.
pub(crate) fn start(timer: &mut SYST, core_hz: u32) {
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(core_hz / RATE - 1);
    timer.clear_current();
    timer.enable_counter();
    timer.enable_interrupt();
}

/// Rests until the next interrupt: a tick, or a byte on the line.
pub fn rest() {
    cortex_m::asm::wfi();
}

#[exception]
fn SysTick() {
    // It has woken the processor up.
}
