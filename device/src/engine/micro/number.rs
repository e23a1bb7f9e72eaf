//! What a plan's numbers are, and the few operations on them that make all the difference.

use bytemuck::Pod;

use super::conv::{Column, Strip};
use super::file::Format;
use super::layout::Words;
use super::pick::View;

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
    const GROUP: usize = Words::group(Self::FORMAT);
    /// Words for each output channel behind the weights; the first is its bias, the last its scale.
    #[doc(hidden)]
    const CONSTANTS: usize = Words::constants(Self::FORMAT);

    /// Nothing.
    #[doc(hidden)]
    const ZERO: Self::Value;
    /// An input of the model; `scale` is what a step is worth, and which step is 0.
    #[doc(hidden)]
    fn input(value: f32, scale: [f32; 2]) -> Self::Value;
    /// A group's values as a factor for a word of weights; 0 if all are 0.
    #[doc(hidden)]
    fn factor(group: &[Self::Value]) -> u32;
    /// Lists the groups of a strip that are not 0: each as its factor, and the place of its weights.
    /// There must be room for all. Tells how many there are.
    #[doc(hidden)]
    #[inline(always)]
    fn gather(strip: Strip<'_, Self::Value>, room: &mut [[u32; 2]]) -> usize {
        strip.gather(Self::GROUP, Self::factor, room)
    }
    /// Writes what the head reads first; every window has so many rows and columns, if that is not 0.
    #[doc(hidden)]
    fn choose<const SIDE: usize>(view: &View<'_, Self::Value>, output: &mut [Self::Value]);
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
    /// A sum that begins with a bias.
    #[doc(hidden)]
    fn bias(word: u32) -> Self::Sum;
    /// Adds to the sums of some channels the products of their rows of weights with values, four of each
    /// in a word.
    ///
    /// # Panics
    /// If a row is shorter than the values.
    #[doc(hidden)]
    fn packed_sums<const C: usize>(
        values: &[u32],
        rows: [&[u32]; C],
        sums: [Self::Sum; C],
    ) -> [Self::Sum; C];
    /// Writes a sum as an activation, if it is larger than what was written before, at least 0; or else
    /// if it is the `first` of those that may be negative.
    #[doc(hidden)]
    fn raise(value: &mut Self::Value, sum: Self::Sum, scale: u32, first: bool);
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
    const ZERO: f32 = 0.0;

    #[inline(always)]
    fn input(value: f32, _: [f32; 2]) -> f32 {
        value
    }
    #[inline(always)]
    fn factor(group: &[f32]) -> u32 {
        group[0].to_bits()
    }
    #[inline(always)]
    fn choose<const SIDE: usize>(view: &View<'_, f32>, output: &mut [f32]) {
        view.one_by_one::<SIDE>(0.0, output);
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
                // SAFETY: each place is that of a tap of each column, as the caller promises.
                let weight = unsafe { columns[i].at(*place) };
                sums[i] += f32::from_bits(weight) * f32::from_bits(*factor);
            }
        }
        sums
    }
    #[inline(always)]
    fn bias(word: u32) -> f32 {
        f32::from_bits(word)
    }
    fn packed_sums<const C: usize>(_: &[u32], _: [&[u32]; C], sums: [f32; C]) -> [f32; C] {
        sums
    }
    #[inline(always)]
    fn raise(value: &mut f32, sum: f32, _: u32, first: bool) {
        if first || sum > *value {
            *value = sum;
        }
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
    const ZERO: u8 = 0;

    #[inline(always)]
    fn input(value: f32, [step, zero]: [f32; 2]) -> u8 {
        // Casting clips to 0..=255.
        (value / step + zero + 0.5) as u8
    }
    #[inline(always)]
    fn factor(group: &[u8]) -> u32 {
        u32::from(group[0]) | u32::from(group[1]) << 16
    }
    #[cfg(all(target_arch = "arm", feature = "dsp"))]
    #[inline(always)]
    fn gather(strip: Strip<'_, u8>, room: &mut [[u32; 2]]) -> usize {
        super::dsp::gather(strip, room)
    }
    #[inline(always)]
    fn choose<const SIDE: usize>(view: &View<'_, u8>, output: &mut [u8]) {
        if view.channels() < 4 {
            view.one_by_one::<SIDE>(0, output);
        } else {
            view.four_by_four::<SIDE>(output);
        }
    }
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn sums<const C: usize>(
        gathered: &[[u32; 2]],
        columns: [Column<'_>; C],
        sums: [i32; C],
    ) -> [i32; C] {
        // SAFETY: each place is that of a tap of each column, as the caller promises.
        unsafe { super::dsp::sums(gathered, columns, sums) }
    }
    #[inline(always)]
    fn bias(word: u32) -> i32 {
        word as i32
    }
    #[inline(always)]
    fn packed_sums<const C: usize>(values: &[u32], rows: [&[u32]; C], sums: [i32; C]) -> [i32; C] {
        super::dsp::packed_sums(values, rows, sums)
    }
    #[inline(always)]
    fn raise(value: &mut u8, sum: i32, scale: u32, _: bool) {
        // What is negative becomes 0, which is the ReLU.
        if sum > 0 {
            // Rounded to the nearest step.
            let sum = (sum as f32 * f32::from_bits(scale) + 0.5) as u32;
            *value = sum.min(u8::MAX.into()).max((*value).into()) as u8;
        }
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
