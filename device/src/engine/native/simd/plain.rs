//! Levels without instructions of their own, in safe code.

use super::{LANES, Simd};

/// One lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scalar;

impl Simd for Scalar {
    type Slot = f32;
    type Vector = f32;
    const LANES: usize = 1;
    const TILE: usize = 4;

    #[inline(always)]
    fn slots(values: &[f32]) -> &[f32] {
        values
    }
    #[inline(always)]
    fn slots_mut(values: &mut [f32]) -> &mut [f32] {
        values
    }
    #[inline(always)]
    fn splat(self, value: f32) -> f32 {
        value
    }
    #[inline(always)]
    fn load(self, slot: &f32) -> f32 {
        *slot
    }
    #[inline(always)]
    fn store(self, vector: f32, slot: &mut f32) {
        *slot = vector;
    }
    #[inline(always)]
    fn add(self, a: f32, b: f32) -> f32 {
        a + b
    }
    #[inline(always)]
    fn multiply_add(self, a: f32, b: f32, c: f32) -> f32 {
        // Not fused: where the instruction is missing, `mul_add` is a slow function.
        a * b + c
    }
    #[inline(always)]
    fn max(self, a: f32, b: f32) -> f32 {
        if a > b { a } else { b }
    }
    #[inline(always)]
    fn pick(self, bits: u32, new: f32, old: f32) -> f32 {
        if bits & 1 == 1 { new } else { old }
    }
    #[inline(always)]
    fn keep(self, bits: u32, value: f32) -> f32 {
        if bits & 1 == 1 { value } else { 0.0 }
    }
    #[inline(always)]
    fn any(self, value: f32) -> bool {
        value != 0.0
    }
}

/// Sixteen lanes, an array.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plain;

#[inline(always)]
fn lanes(f: impl Fn(usize) -> f32) -> [f32; LANES] {
    core::array::from_fn(f)
}

impl Simd for Plain {
    type Slot = [f32; LANES];
    type Vector = [f32; LANES];
    const LANES: usize = LANES;
    const TILE: usize = 2;

    #[inline(always)]
    fn slots(values: &[f32]) -> &[Self::Slot] {
        values.as_chunks().0
    }
    #[inline(always)]
    fn slots_mut(values: &mut [f32]) -> &mut [Self::Slot] {
        values.as_chunks_mut().0
    }
    #[inline(always)]
    fn splat(self, value: f32) -> Self::Vector {
        [value; LANES]
    }
    #[inline(always)]
    fn load(self, slot: &Self::Slot) -> Self::Vector {
        *slot
    }
    #[inline(always)]
    fn store(self, vector: Self::Vector, slot: &mut Self::Slot) {
        *slot = vector;
    }
    #[inline(always)]
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        lanes(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn multiply_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        lanes(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        lanes(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn pick(self, bits: u32, new: Self::Vector, old: Self::Vector) -> Self::Vector {
        lanes(|i| if bits >> i & 1 == 1 { new[i] } else { old[i] })
    }
    #[inline(always)]
    fn keep(self, bits: u32, value: Self::Vector) -> Self::Vector {
        self.pick(bits, value, [0.0; LANES])
    }
    #[inline(always)]
    fn any(self, value: Self::Vector) -> bool {
        value.iter().any(|v| *v != 0.0)
    }
}
