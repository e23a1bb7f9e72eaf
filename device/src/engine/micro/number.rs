//! What a plan's numbers are, and the few operations on them that make all the difference.

use bytemuck::Pod;

use super::conv::Column;
use super::file::Format;

/// A number format.
pub trait Number: sealed::Sealed + core::fmt::Debug {
    /// The format as plans name it.
    const FORMAT: Format;
    /// An activation in memory.
    #[doc(hidden)]
    type Value: Pod + PartialOrd + core::fmt::Debug;
    /// A sum of products.
    #[doc(hidden)]
    type Sum: Copy;
    /// Neighbouring channels that a word of weights is for.
    #[doc(hidden)]
    const GROUP: usize;
    /// Words for each output channel behind the weights; the first is its bias, the last its scale.
    #[doc(hidden)]
    const CONSTANTS: usize;
    /// Whether linear layers have four weights in a word.
    #[doc(hidden)]
    const PACKED: bool;

    /// Nothing.
    #[doc(hidden)]
    const ZERO: Self::Value;
    /// An input of the model; `scale` is what a step is worth, and which step is 0.
    #[doc(hidden)]
    fn input(value: f32, scale: [f32; 2]) -> Self::Value;
    /// For each group of a run its values as a factor for a word of weights, and the place of its
    /// weights: `group · outputs + place_of_first`.
    ///
    /// # Safety
    /// Each group of the run lies within the values.
    #[doc(hidden)]
    #[allow(unsafe_code)]
    unsafe fn gather(
        run: &[u16],
        values: &[Self::Value],
        outputs: u32,
        place_of_first: u32,
        gathered: &mut [[u32; 2]],
    );
    /// Adds the products of what was gathered to the sums of some channels. Here all the time goes.
    ///
    /// # Safety
    /// Each place gathered is that of a tap of each column.
    #[doc(hidden)]
    #[allow(unsafe_code)]
    unsafe fn sums<const C: usize>(
        gathered: &[[u32; 2]],
        columns: [Column<'_>; C],
        sums: [Self::Sum; C],
    ) -> [Self::Sum; C];
    /// Whether all values of a group are 0.
    #[doc(hidden)]
    fn is_zero(values: &[Self::Value]) -> bool;
    /// A sum that begins with a bias.
    #[doc(hidden)]
    fn bias(word: u32) -> Self::Sum;
    /// `weights · values + sum`, four of each.
    #[doc(hidden)]
    fn multiply_add_packed(sum: Self::Sum, weights: u32, values: u32) -> Self::Sum;
    /// A sum as an activation.
    #[doc(hidden)]
    fn value(sum: Self::Sum, scale: u32, relu: bool) -> Self::Value;
    /// A sum as a logit.
    #[doc(hidden)]
    fn logit(sum: Self::Sum, scale: u32) -> f32;
    /// An activation as a sum.
    #[doc(hidden)]
    fn plain(value: Self::Value) -> Self::Sum;
    /// `value · scale`, if scales are not kept apart from values.
    #[doc(hidden)]
    fn scaled(value: Self::Value, scale: f32) -> Self::Value;
    /// `value · scale + shift`.
    #[doc(hidden)]
    fn affine(value: Self::Value, scale: u32, shift: u32) -> Self::Value;
    /// The mean of `count` values, of which the iterator gives those that are not 0 by definition.
    #[doc(hidden)]
    fn mean(values: impl Iterator<Item = Self::Value>, count: usize) -> Self::Value;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::F32 {}
    impl Sealed for super::Int8 {}
}

/// Single precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct F32;

impl Number for F32 {
    const FORMAT: Format = Format::F32;
    type Value = f32;
    type Sum = f32;
    const GROUP: usize = 1;
    const CONSTANTS: usize = 1;
    const PACKED: bool = false;
    const ZERO: f32 = 0.0;

    #[inline(always)]
    fn input(value: f32, _: [f32; 2]) -> f32 {
        value
    }
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn gather(
        run: &[u16],
        values: &[f32],
        outputs: u32,
        place_of_first: u32,
        gathered: &mut [[u32; 2]],
    ) {
        for (gathered, group) in gathered.iter_mut().zip(run) {
            debug_assert!(usize::from(*group) < values.len());
            // SAFETY: the caller's.
            let value = unsafe { values.get_unchecked(usize::from(*group)) };
            let place = u32::from(*group).wrapping_mul(outputs);
            *gathered = [value.to_bits(), place.wrapping_add(place_of_first)];
        }
    }
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn sums<const C: usize>(
        gathered: &[[u32; 2]],
        columns: [Column<'_>; C],
        mut sums: [f32; C],
    ) -> [f32; C] {
        for [factor, place] in gathered {
            for i in 0..C {
                // SAFETY: the caller's.
                let weight = unsafe { columns[i].at(*place) };
                sums[i] += f32::from_bits(weight) * f32::from_bits(*factor);
            }
        }
        sums
    }
    #[inline(always)]
    fn is_zero(values: &[f32]) -> bool {
        // −0 is 0, too.
        values[0] == 0.0
    }
    #[inline(always)]
    fn bias(word: u32) -> f32 {
        f32::from_bits(word)
    }
    fn multiply_add_packed(sum: f32, _: u32, _: u32) -> f32 {
        sum
    }
    #[inline(always)]
    fn value(sum: f32, _: u32, relu: bool) -> f32 {
        if relu && sum <= 0.0 { 0.0 } else { sum }
    }
    #[inline(always)]
    fn logit(sum: f32, _: u32) -> f32 {
        sum
    }
    #[inline(always)]
    fn plain(value: f32) -> f32 {
        value
    }
    #[inline(always)]
    fn scaled(value: f32, scale: f32) -> f32 {
        value * scale
    }
    #[inline(always)]
    fn affine(value: f32, scale: u32, shift: u32) -> f32 {
        value * f32::from_bits(scale) + f32::from_bits(shift)
    }
    #[inline(always)]
    fn mean(values: impl Iterator<Item = f32>, count: usize) -> f32 {
        values.sum::<f32>() / count as f32
    }
}

/// Eight bits. An activation is a whole number of steps from 0 to 255; weights are whole numbers
/// from −127 to 127, with a step of its own for every output channel (Jacob et al. 2018, with
/// symmetric weights).
///
/// A convolution's weights take 16 bits each, in pairs, because they are read many times and the
/// instruction that multiplies two pairs at once (SMLAD) takes them so. Those of linear layers take
/// eight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Int8;

impl Number for Int8 {
    const FORMAT: Format = Format::Int8;
    type Value = u8;
    type Sum = i32;
    const GROUP: usize = 2;
    const CONSTANTS: usize = 2;
    const PACKED: bool = true;
    const ZERO: u8 = 0;

    #[inline(always)]
    fn input(value: f32, [step, zero]: [f32; 2]) -> u8 {
        // Casting clips to 0..=255.
        (value / step + zero + 0.5) as u8
    }
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn gather(
        run: &[u16],
        values: &[u8],
        outputs: u32,
        place_of_first: u32,
        gathered: &mut [[u32; 2]],
    ) {
        // SAFETY: the caller's.
        unsafe { super::dsp::gather(run, values, outputs, place_of_first, gathered) }
    }
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn sums<const C: usize>(
        gathered: &[[u32; 2]],
        columns: [Column<'_>; C],
        sums: [i32; C],
    ) -> [i32; C] {
        // SAFETY: the caller's.
        unsafe { super::dsp::sums(gathered, columns, sums) }
    }
    #[inline(always)]
    fn is_zero(values: &[u8]) -> bool {
        values[0] | values[1] == 0
    }
    #[inline(always)]
    fn bias(word: u32) -> i32 {
        word as i32
    }
    #[inline(always)]
    fn multiply_add_packed(sum: i32, weights: u32, values: u32) -> i32 {
        super::dsp::multiply_add_fours(weights, values, sum)
    }
    #[inline(always)]
    fn value(sum: i32, scale: u32, _: bool) -> u8 {
        // Rounded to the nearest step; casting clips, which is the ReLU.
        (sum as f32 * f32::from_bits(scale) + 0.5) as u8
    }
    #[inline(always)]
    fn logit(sum: i32, scale: u32) -> f32 {
        sum as f32 * f32::from_bits(scale)
    }
    #[inline(always)]
    fn plain(value: u8) -> i32 {
        value.into()
    }
    #[inline(always)]
    fn scaled(value: u8, _: f32) -> u8 {
        value
    }
    fn affine(value: u8, _: u32, _: u32) -> u8 {
        value
    }
    #[inline(always)]
    fn mean(values: impl Iterator<Item = u8>, count: usize) -> u8 {
        let sum: u32 = values.map(u32::from).sum();
        let count = count as u32;
        ((sum + count / 2) / count) as u8
    }
}
