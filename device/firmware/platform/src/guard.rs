//! What lies below the stack faults. Whether it would do so by itself depends on the chip.

use cortex_m::peripheral::MPU;

/// Armv8-M compares every stack pointer with a limit, which cortex-m-rt sets.
#[cfg(armv8m)]
pub(crate) fn start(_: &mut MPU) {}

/// Forbids the 8 MiB below the RAM, in which no chip here has anything that the program needs. A
/// single region of the memory protection unit, on top of the default map (Armv7-M ARM, B3.5).
#[cfg(not(armv8m))]
pub(crate) fn start(mpu: &mut MPU) {
    const BELOW: u32 = 0x1F80_0000;
    /// Of this address, in region 0.
    const VALID: u32 = 1 << 4;
    /// No access, no execution, 2^23 bytes, enabled.
    const FORBIDDEN: u32 = 1 << 28 | 22 << 1 | 1;
    /// Enabled, but not in the fault handler; elsewhere the default map.
    const ON: u32 = 1 | 1 << 2;
    // SAFETY: nothing in that region is used, and all else stays as it is.
    unsafe {
        mpu.rbar.write(BELOW | VALID);
        mpu.rasr.write(FORBIDDEN);
        mpu.ctrl.write(ON);
    }
    cortex_m::asm::dsb();
    cortex_m::asm::isb();
}
