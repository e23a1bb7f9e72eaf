//! What a plan's numbers are, and the few operations on them that make all the difference.

use bytemuck::Pod;

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

    /// An input of the model; `scale` is what a step is worth, and which step is 0.
    #[doc(hidden)]
    fn input(value: f32, scale: [f32; 2]) -> Self::Value;
    /// A group's values as a factor for a word of weights; 0 if all are.
    #[doc(hidden)]
    fn factor(values: &[Self::Value]) -> u32;
    /// A sum that begins with a bias.
    #[doc(hidden)]
    fn bias(word: u32) -> Self::Sum;
    /// `weights · factor + sum`.
    #[doc(hidden)]
    fn multiply_add(sum: Self::Sum, weights: u32, factor: u32) -> Self::Sum;
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

    #[inline(always)]
    fn input(value: f32, _: [f32; 2]) -> f32 {
        value
    }
    #[inline(always)]
    fn factor(values: &[f32]) -> u32 {
        // −0 is 0, too.
        if values[0] == 0.0 {
            0
        } else {
            values[0].to_bits()
        }
    }
    #[inline(always)]
    fn bias(word: u32) -> f32 {
        f32::from_bits(word)
    }
    #[inline(always)]
    fn multiply_add(sum: f32, weights: u32, factor: u32) -> f32 {
        f32::from_bits(weights) * f32::from_bits(factor) + sum
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

    #[inline(always)]
    fn input(value: f32, [step, zero]: [f32; 2]) -> u8 {
        // Casting clips to 0..=255.
        (value / step + zero + 0.5) as u8
    }
    #[inline(always)]
    fn factor(values: &[u8]) -> u32 {
        u32::from(values[0]) | u32::from(values[1]) << 16
    }
    #[inline(always)]
    fn bias(word: u32) -> i32 {
        word as i32
    }
    #[inline(always)]
    fn multiply_add(sum: i32, weights: u32, factor: u32) -> i32 {
        super::dsp::multiply_add_pairs(weights, factor, sum)
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
