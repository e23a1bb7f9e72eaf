//! Decimal fractions without floating-point formatting.

use core::fmt;

/// A number with `DIGITS` decimals, rounded half away from zero, through integers: the formatting
/// of floats in `core` costs a microcontroller some 20 KiB of flash.
pub(super) struct Fixed<const DIGITS: u32>(pub(super) f32);

impl<const DIGITS: u32> fmt::Display for Fixed<DIGITS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_nan() {
            return f.write_str("nan");
        }
        if self.0.is_sign_negative() {
            f.write_str("-")?;
        }
        if self.0.is_infinite() {
            return f.write_str("inf");
        }
        // |value| = significand · 2^exponent
        let bits = self.0.abs().to_bits();
        let biased = bits >> 23;
        let significand = (bits & 0x7F_FFFF) | if biased > 0 { 1 << 23 } else { 0 };
        let exponent = biased.max(1) as i32 - 150;
        let scale = 10_u64.pow(DIGITS);
        let (whole, fraction) = if exponent >= 0 {
            (u128::from(significand) << exponent, 0)
        } else {
            let shift = exponent.unsigned_abs();
            let scaled = u64::from(significand) * scale;
            let rounded = if shift < u64::BITS {
                (scaled + (1 << (shift - 1))) >> shift
            } else {
                0
            };
            (u128::from(rounded / scale), rounded % scale)
        };
        write!(f, "{whole}.{fraction:0width$}", width = DIGITS as usize)
    }
}
