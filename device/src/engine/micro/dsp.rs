//! Several products in one instruction, where the processor has it (the DSP extension of Armv7E-M
//! and Armv8-M). What the instructions compute is whole numbers, so every processor gets the same.

use super::conv::Column;

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
    let [weights, values] = [signed_halves(weights), unsigned_halves(values)];
    let even = multiply_add_pairs(weights[0], values[0], sum);
    multiply_add_pairs(weights[1], values[1], even)
}

/// Bytes 0 and 2, and bytes 1 and 3, as unsigned 16-bit numbers.
#[inline(always)]
fn unsigned_halves(bytes: u32) -> [u32; 2] {
    [bytes & 0x00FF_00FF, bytes >> 8 & 0x00FF_00FF]
}

/// Bytes 0 and 2, and bytes 1 and 3, as signed 16-bit numbers.
#[cfg(all(target_arch = "arm", feature = "dsp"))]
#[inline(always)]
#[allow(unsafe_code)]
fn signed_halves(bytes: u32) -> [u32; 2] {
    let (even, odd);
    // SAFETY: as above.
    unsafe {
        core::arch::asm!("sxtb16 {e}, {b}", "sxtb16 {o}, {b}, ror #8", e = out(reg) even,
            o = lateout(reg) odd, b = in(reg) bytes, options(pure, nomem, nostack, preserves_flags));
    }
    [even, odd]
}

/// As the instructions do it.
#[cfg(not(all(target_arch = "arm", feature = "dsp")))]
#[inline(always)]
fn signed_halves(bytes: u32) -> [u32; 2] {
    let extend = |byte: u32| u32::from(i16::from(byte as i8) as u16);
    [bytes, bytes >> 8].map(|bytes| extend(bytes) | extend(bytes >> 16) << 16)
}

/// As [`super::Number::gather`].
///
/// # Safety
/// Each group of the run lies within the values.
#[cfg(all(target_arch = "arm", feature = "dsp"))]
#[inline(always)]
#[allow(unsafe_code)]
pub(super) unsafe fn gather(
    run: &[u16],
    values: &[u8],
    outputs: u32,
    place_of_first: u32,
    gathered: &mut [[u32; 2]],
) {
    debug_assert_eq!(run.len(), gathered.len());
    let run = run.as_ptr_range();
    if run.is_empty() {
        return;
    }
    // SAFETY: it reads the run from its begin to its end and writes as many pairs, of which there are
    // as many; that the values can be read is the caller's. A pair of bytes lies at an even address or
    // not: both can be loaded.
    unsafe {
        core::arch::asm!(
            "2:",
            "ldrh {g}, [{run}], #2",
            "ldrh {f}, [{values}, {g}, lsl #1]",
            "mla {g}, {g}, {outputs}, {first}",
            "orr {f}, {f}, {f}, lsl #8",
            "bic {f}, {f}, #0xFF00FF00",
            "strd {f}, {g}, [{to}], #8",
            "cmp {run}, {end}",
            "bne 2b",
            run = inout(reg) run.start => _,
            end = in(reg) run.end,
            values = in(reg) values.as_ptr(),
            outputs = in(reg) outputs,
            first = in(reg) place_of_first,
            to = inout(reg) gathered.as_mut_ptr() => _,
            g = out(reg) _,
            f = out(reg) _,
            options(nostack)
        );
    }
}

/// As the instructions do it.
///
/// # Safety
/// Each group of the run lies within the values.
#[cfg(not(all(target_arch = "arm", feature = "dsp")))]
#[inline(always)]
#[allow(unsafe_code)]
pub(super) unsafe fn gather(
    run: &[u16],
    values: &[u8],
    outputs: u32,
    place_of_first: u32,
    gathered: &mut [[u32; 2]],
) {
    for (gathered, group) in gathered.iter_mut().zip(run) {
        let element = 2 * usize::from(*group);
        debug_assert!(element + 1 < values.len());
        // SAFETY: the caller's.
        let values = unsafe { values.get_unchecked(element..element + 2) };
        let factor = u32::from(values[0]) | u32::from(values[1]) << 16;
        let place = u32::from(*group).wrapping_mul(outputs);
        *gathered = [factor, place.wrapping_add(place_of_first)];
    }
}

/// As [`super::Number::sums`].
///
/// # Safety
/// Each place gathered is that of a tap of each column.
#[inline(always)]
#[allow(unsafe_code)]
pub(super) unsafe fn sums<const C: usize>(
    gathered: &[[u32; 2]],
    columns: [Column<'_>; C],
    mut sums: [i32; C],
) -> [i32; C] {
    #[cfg(all(target_arch = "arm", feature = "dsp"))]
    if C == 4 {
        let columns = [0, 1, 2, 3].map(|i| columns[i].begin());
        let four = [0, 1, 2, 3].map(|i| sums[i]);
        // SAFETY: that the weights can be read is the caller's.
        let four = unsafe { four_sums(gathered, columns, four) };
        sums.copy_from_slice(&four);
        return sums;
    }
    for [factor, place] in gathered {
        for i in 0..C {
            // SAFETY: the caller's.
            let weights = unsafe { columns[i].at(*place) };
            sums[i] = multiply_add_pairs(weights, *factor, sums[i]);
        }
    }
    sums
}

/// [`sums`] of four channels, all of whose numbers are in registers: compilers keep some in memory.
#[cfg(all(target_arch = "arm", feature = "dsp"))]
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn four_sums(gathered: &[[u32; 2]], columns: [*const u32; 4], sums: [i32; 4]) -> [i32; 4] {
    let [mut a, mut b, mut c, mut d] = sums;
    let places = gathered.as_ptr_range();
    if places.is_empty() {
        return sums;
    }
    // SAFETY: it reads the pairs from the first to the last, and writes to no memory but for the
    // stack, where the end of the pairs lies while there is no register for it; that the weights can
    // be read is the caller's.
    unsafe {
        core::arch::asm!(
            "push {{{w}}}",
            // An odd number of pairs begins in the middle.
            "sub {w}, {w}, {at}",
            "tst {w}, #8",
            "bne 3f",
            "2:",
            "ldrd {f}, {p}, [{at}], #8",
            "ldr {w}, [{c0}, {p}, lsl #2]",
            "smlad {s0}, {w}, {f}, {s0}",
            "ldr {w}, [{c1}, {p}, lsl #2]",
            "smlad {s1}, {w}, {f}, {s1}",
            "ldr {w}, [{c2}, {p}, lsl #2]",
            "smlad {s2}, {w}, {f}, {s2}",
            "ldr {w}, [{c3}, {p}, lsl #2]",
            "smlad {s3}, {w}, {f}, {s3}",
            "3:",
            "ldrd {f}, {p}, [{at}], #8",
            "ldr {w}, [{c0}, {p}, lsl #2]",
            "smlad {s0}, {w}, {f}, {s0}",
            "ldr {w}, [{c1}, {p}, lsl #2]",
            "smlad {s1}, {w}, {f}, {s1}",
            "ldr {w}, [{c2}, {p}, lsl #2]",
            "ldr {p}, [{c3}, {p}, lsl #2]",
            "smlad {s2}, {w}, {f}, {s2}",
            "ldr {w}, [sp]",
            "smlad {s3}, {p}, {f}, {s3}",
            "cmp {at}, {w}",
            "bne 2b",
            "add sp, #4",
            at = inout(reg) places.start => _,
            w = inout(reg) places.end => _,
            c0 = in(reg) columns[0],
            c1 = in(reg) columns[1],
            c2 = in(reg) columns[2],
            c3 = in(reg) columns[3],
            s0 = inout(reg) a,
            s1 = inout(reg) b,
            s2 = inout(reg) c,
            s3 = inout(reg) d,
            f = out(reg) _,
            p = out(reg) _,
        );
    }
    [a, b, c, d]
}
