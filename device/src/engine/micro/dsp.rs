//! Several products in one instruction, where the processor has it (the DSP extension of Armv7E-M
//! and Armv8-M). What the instructions compute is whole numbers, so every processor gets the same.

use super::conv::Column;
#[cfg(all(target_arch = "arm", feature = "dsp"))]
use super::conv::Strip;

/// `a₀·b₀ + a₁·b₁ + sum`, of pairs of signed 16-bit numbers; wraps.
#[cfg(not(all(target_arch = "arm", feature = "dsp")))]
#[inline(always)]
fn multiply_add_pairs(a: u32, b: u32, sum: i32) -> i32 {
    let low = i32::from(a as i16) * i32::from(b as i16);
    let high = i32::from((a >> 16) as i16) * i32::from((b >> 16) as i16);
    low.wrapping_add(high).wrapping_add(sum)
}

/// Of four bytes each the larger one of `largest` and `value`, if bit `bit` of the byte of `mask` is
/// set.
#[cfg(all(target_arch = "arm", feature = "dsp"))]
#[inline(always)]
#[allow(unsafe_code)]
pub(super) fn largest_kept(largest: u32, value: u32, mask: u32, bit: u32) -> u32 {
    // The bit asked for goes to the top of its byte, where the addition carries it out.
    let top = mask << (7 - bit);
    let result;
    // SAFETY: these instructions read and write registers, and the flags of the bytes, only.
    unsafe {
        core::arch::asm!(
            "uadd8 {t}, {t}, {tops}",
            "sel {v}, {v}, {zero}",
            "usub8 {t}, {v}, {largest}",
            "sel {v}, {v}, {largest}",
            t = inout(reg) top => _,
            tops = in(reg) 0x8080_8080_u32,
            zero = in(reg) 0,
            v = inout(reg) value => result,
            largest = in(reg) largest,
            options(pure, nomem, nostack)
        );
    }
    result
}

/// As the instructions do it.
#[cfg(not(all(target_arch = "arm", feature = "dsp")))]
#[inline(always)]
pub(super) fn largest_kept(largest: u32, value: u32, mask: u32, bit: u32) -> u32 {
    let [mut largest, value, mask] = [largest, value, mask].map(u32::to_ne_bytes);
    for i in 0..4 {
        if mask[i] >> bit & 1 == 1 {
            largest[i] = largest[i].max(value[i]);
        }
    }
    u32::from_ne_bytes(largest)
}

/// As [`super::Number::gather`].
#[cfg(all(target_arch = "arm", feature = "dsp"))]
#[inline(always)]
#[allow(unsafe_code)]
pub(super) fn gather(strip: Strip<'_, u8>, room: &mut [[u32; 2]]) -> usize {
    let bytes = strip.pixel / 2 * 2;
    if bytes == 0 || strip.rows == 0 {
        return 0;
    }
    assert!(strip.rows * (bytes / 2) <= room.len());
    assert!((strip.rows - 1) * strip.down + bytes <= strip.values.len());
    let first = room.as_mut_ptr();
    let end: *mut [u32; 2];
    // SAFETY: it reads `bytes` of the values of each row, two at a time, which can lie at an odd
    // address, and writes at most as many pairs: there are these values, and this room.
    unsafe {
        core::arch::asm!(
            "2:",
            "add {end}, {values}, {bytes}",
            "3:",
            "ldrh r3, [{values}], #2",
            "cbz r3, 4f",
            "orr r3, r3, r3, lsl #8",
            "bic r3, r3, #0xFF00FF00",
            "strd r3, {place}, [{to}], #8",
            "4:",
            "add {place}, {outputs}",
            "cmp {values}, {end}",
            "bne 3b",
            "add {values}, {skip}",
            "subs {rows}, #1",
            "bne 2b",
            values = inout(reg) strip.values.as_ptr() => _,
            end = out(reg) _,
            bytes = in(reg) bytes,
            skip = in(reg) strip.down.wrapping_sub(bytes),
            rows = inout(reg) strip.rows => _,
            place = inout(reg) strip.place => _,
            outputs = in(reg) strip.outputs,
            to = inout(reg) first => end,
            out("r3") _, // CBZ reads one of the lower registers
            options(nostack)
        );
        end.offset_from_unsigned(first)
    }
}

/// As [`super::Number::sums`].
///
/// # Safety
/// Each place gathered is that of a tap of each column.
#[cfg(not(all(target_arch = "arm", feature = "dsp")))]
#[inline(always)]
#[allow(unsafe_code)]
pub(super) unsafe fn sums<const C: usize>(
    gathered: &[[u32; 2]],
    columns: [Column<'_>; C],
    mut sums: [i32; C],
) -> [i32; C] {
    for [factor, place] in gathered {
        for i in 0..C {
            // SAFETY: each place is that of a tap of each column, as the caller promises.
            let weights = unsafe { columns[i].at(*place) };
            sums[i] = multiply_add_pairs(weights, *factor, sums[i]);
        }
    }
    sums
}

/// As the instructions do it, four pairs in a turn; one and two of them come first, if need be. All
/// numbers are in registers but for the end of the pairs, which lies on the stack.
#[cfg(all(target_arch = "arm", feature = "dsp"))]
macro_rules! sums_in_registers {
    ($places:expr, [$($sum:ident $column:ident $begin:expr),*]) => {
        core::arch::asm!(
            "push {{{w}}}",
            "sub {w}, {at}",
            "tst {w}, #8",
            "beq 2f",
            sums_in_registers!(1 $($sum $column)*),
            "2:",
            "ldr {w}, [sp]",
            "sub {w}, {at}",
            "tst {w}, #16",
            "beq 3f",
            sums_in_registers!(2 $($sum $column)*),
            "3:",
            "ldr {w}, [sp]",
            "cmp {at}, {w}",
            "beq 5f",
            "4:",
            sums_in_registers!(4 $($sum $column)*),
            "ldr {w}, [sp]",
            "cmp {at}, {w}",
            "bne 4b",
            "5:",
            "add sp, #4",
            at = inout(reg) $places.start => _,
            w = inout(reg) $places.end => _,
            f = out(reg) _,
            p = out(reg) _,
            $($column = in(reg) $begin, $sum = inout(reg) $sum,)*
        )
    };
    ($times:literal $($sum:ident $column:ident)*) => {
        concat!(
            ".rept ", $times, "\n",
            "ldrd {f}, {p}, [{at}], #8\n",
            $(
                "ldr {w}, [{", stringify!($column), "}, {p}, lsl #2]\n",
                "smlad {", stringify!($sum), "}, {w}, {f}, {", stringify!($sum), "}\n",
            )*
            ".endr"
        )
    };
}

/// As [`super::Number::sums`], of four channels at most.
///
/// # Safety
/// Each place gathered is that of a tap of each column.
#[cfg(all(target_arch = "arm", feature = "dsp"))]
#[inline(always)]
#[allow(unsafe_code)]
pub(super) unsafe fn sums<const C: usize>(
    gathered: &[[u32; 2]],
    columns: [Column<'_>; C],
    sums: [i32; C],
) -> [i32; C] {
    let places = gathered.as_ptr_range();
    let begin = |i: usize| columns[i].begin();
    let [mut a, mut b, mut c, mut d] = core::array::from_fn(|i| sums.get(i).copied().unwrap_or(0));
    // SAFETY: it reads the pairs from the first to the last, and writes to no memory but for the
    // stack; that the weights can be read is the caller's.
    unsafe {
        match C {
            1 => sums_in_registers!(places, [a c0 begin(0)]),
            2 => sums_in_registers!(places, [a c0 begin(0), b c1 begin(1)]),
            3 => sums_in_registers!(places, [a c0 begin(0), b c1 begin(1), c c2 begin(2)]),
            _ => sums_in_registers!(
                places,
                [a c0 begin(0), b c1 begin(1), c c2 begin(2), d c3 begin(3)]
            ),
        }
    }
    let four = [a, b, c, d];
    core::array::from_fn(|i| four[i])
}

/// As [`super::Number::packed_sums`]: `Σ weightsᵢ·valuesᵢ + sum`, of signed bytes and unsigned ones.
#[cfg(not(all(target_arch = "arm", feature = "dsp")))]
#[inline(always)]
pub(super) fn packed_sums<const C: usize>(
    values: &[u32],
    rows: [&[u32]; C],
    mut sums: [i32; C],
) -> [i32; C] {
    for i in 0..C {
        for (values, weights) in values.iter().zip(&rows[i][..values.len()]) {
            for (value, weight) in values.to_le_bytes().into_iter().zip(weights.to_le_bytes()) {
                let product = i32::from(value) * i32::from(weight as i8);
                sums[i] = sums[i].wrapping_add(product);
            }
        }
    }
    sums
}

/// As the instructions do it: bytes 0 and 2, and bytes 1 and 3, become pairs.
#[cfg(all(target_arch = "arm", feature = "dsp"))]
macro_rules! packed_in_registers {
    ($values:expr, [$($sum:ident $row:ident $begin:expr),*]) => {
        core::arch::asm!(
            "2:",
            "ldr {o}, [{at}], #4",
            "uxtb16 {e}, {o}",
            "uxtb16 {o}, {o}, ror #8",
            $(
                concat!("ldr {v}, [{", stringify!($row), "}], #4"),
                "sxtb16 {w}, {v}",
                "sxtb16 {v}, {v}, ror #8",
                concat!("smlad {", stringify!($sum), "}, {w}, {e}, {", stringify!($sum), "}"),
                concat!("smlad {", stringify!($sum), "}, {v}, {o}, {", stringify!($sum), "}"),
            )*
            "cmp {at}, {end}",
            "bne 2b",
            at = inout(reg) $values.start => _,
            end = in(reg) $values.end,
            e = out(reg) _,
            o = out(reg) _,
            v = out(reg) _,
            w = out(reg) _,
            $($row = inout(reg) $begin => _, $sum = inout(reg) $sum,)*
            options(nostack, readonly)
        )
    };
}

/// As [`super::Number::packed_sums`], of three channels at most.
#[cfg(all(target_arch = "arm", feature = "dsp"))]
#[inline(always)]
#[allow(unsafe_code)]
pub(super) fn packed_sums<const C: usize>(
    values: &[u32],
    rows: [&[u32]; C],
    sums: [i32; C],
) -> [i32; C] {
    assert!(rows.iter().all(|row| row.len() >= values.len()));
    if values.is_empty() {
        return sums;
    }
    let values = values.as_ptr_range();
    let begin = |i: usize| rows[i].as_ptr();
    let [mut a, mut b, mut c] = core::array::from_fn(|i| sums.get(i).copied().unwrap_or(0));
    // SAFETY: it reads the values from the first to the last, and as many weights of each row; there
    // are as many.
    unsafe {
        match C {
            1 => packed_in_registers!(values, [a first begin(0)]),
            2 => packed_in_registers!(values, [a first begin(0), b second begin(1)]),
            _ => {
                packed_in_registers!(values, [a first begin(0), b second begin(1), c third begin(2)])
            }
        }
    }
    let three = [a, b, c];
    core::array::from_fn(|i| three[i])
}
