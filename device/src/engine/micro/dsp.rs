//! Several products in one instruction, where the processor has it (the DSP extension of Armv7E-M
//! and Armv8-M). What the instructions compute is whole numbers, so every processor gets the same.

/// `a₀·b₀ + a₁·b₁ + sum`, of pairs of signed 16-bit numbers; wraps.
#[cfg(all(target_arch = "arm", feature = "dsp"))]
#[inline(always)]
#[allow(unsafe_code)]
pub(super) fn multiply_add_pairs(a: u32, b: u32, sum: i32) -> i32 {
    let result;
    // SAFETY: the instruction reads and writes these registers only; feature `dsp` says that the
    // processor has it.
    unsafe {
        core::arch::asm!("smlad {r}, {a}, {b}, {s}", r = lateout(reg) result, a = in(reg) a,
            b = in(reg) b, s = in(reg) sum, options(pure, nomem, nostack));
    }
    result
}

/// As the instruction does it.
#[cfg(not(all(target_arch = "arm", feature = "dsp")))]
#[inline(always)]
pub(super) fn multiply_add_pairs(a: u32, b: u32, sum: i32) -> i32 {
    let low = i32::from(a as i16) * i32::from(b as i16);
    let high = i32::from((a >> 16) as i16) * i32::from((b >> 16) as i16);
    low.wrapping_add(high).wrapping_add(sum)
}

/// `Σ weightsᵢ·valuesᵢ + sum`, of four signed bytes and four unsigned ones.
#[inline(always)]
pub(super) fn multiply_add_fours(weights: u32, values: u32, sum: i32) -> i32 {
    let even = multiply_add_pairs(signed_evens(weights), values & 0x00FF_00FF, sum);
    let (weights, values) = (weights.rotate_right(8), values >> 8 & 0x00FF_00FF);
    multiply_add_pairs(signed_evens(weights), values, even)
}

/// Bytes 0 and 2 as signed 16-bit numbers.
#[cfg(all(target_arch = "arm", feature = "dsp"))]
#[inline(always)]
#[allow(unsafe_code)]
fn signed_evens(bytes: u32) -> u32 {
    let result;
    // SAFETY: as above.
    unsafe {
        core::arch::asm!("sxtb16 {r}, {b}", r = lateout(reg) result, b = in(reg) bytes,
            options(pure, nomem, nostack, preserves_flags));
    }
    result
}

/// As the instruction does it.
#[cfg(not(all(target_arch = "arm", feature = "dsp")))]
#[inline(always)]
fn signed_evens(bytes: u32) -> u32 {
    let extend = |byte: u32| u32::from(i16::from(byte as i8) as u16);
    extend(bytes) | extend(bytes >> 16) << 16
}
