//! NEON, which every 64-bit Arm processor that runs Linux has.
//!
//! Intrinsics are `unsafe` to call outside of functions compiled for their features. [`Neon`] is
//! private to [`super`], and only [`run`] makes it, whose caller vouches for the feature: that is
//! the safety argument of every block here. Vectors are read and written as the arrays they are,
//! without pointers.

use core::arch::aarch64::{
    float32x4_t, uint32x4_t, vaddq_f32, vandq_u32, vbslq_f32, vceqzq_f32, vdupq_n_f32, vdupq_n_u32,
    vfmaq_f32, vld1q_u32, vmaxq_f32, vminvq_u32, vtstq_u32,
};
use core::mem::transmute;

use super::{Kernel, LANES, Simd};

/// Registers of a vector.
const PARTS: usize = 4;

/// Runs a kernel on [`Neon`].
///
/// # Safety
/// The processor has NEON.
#[target_feature(enable = "neon")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Neon(()))
}

/// Sixteen lanes in four registers of four.
#[derive(Debug, Clone, Copy)]
pub(super) struct Neon(());

/// All ones in the lanes whose bit is set.
#[inline(always)]
fn lane_masks(bits: u32) -> [uint32x4_t; PARTS] {
    const LANE_BITS: [[u32; 4]; PARTS] = [
        [1, 1 << 1, 1 << 2, 1 << 3],
        [1 << 4, 1 << 5, 1 << 6, 1 << 7],
        [1 << 8, 1 << 9, 1 << 10, 1 << 11],
        [1 << 12, 1 << 13, 1 << 14, 1 << 15],
    ];
    // SAFETY: see the module; each of the constants is four values.
    unsafe {
        let bits = vdupq_n_u32(bits);
        [
            vtstq_u32(bits, vld1q_u32(LANE_BITS[0].as_ptr())),
            vtstq_u32(bits, vld1q_u32(LANE_BITS[1].as_ptr())),
            vtstq_u32(bits, vld1q_u32(LANE_BITS[2].as_ptr())),
            vtstq_u32(bits, vld1q_u32(LANE_BITS[3].as_ptr())),
        ]
    }
}

impl Simd for Neon {
    type Slot = [f32; LANES];
    type Vector = [float32x4_t; PARTS];
    const LANES: usize = LANES;
    // 24 of the 32 registers; four more hold the input, one a weight.
    const TILE: usize = 6;

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
        // SAFETY: see the module.
        [unsafe { vdupq_n_f32(value) }; PARTS]
    }
    #[inline(always)]
    fn load(self, slot: &Self::Slot) -> Self::Vector {
        // SAFETY: both are sixteen `f32`, of which any bits are valid.
        unsafe { transmute::<[f32; LANES], [float32x4_t; PARTS]>(*slot) }
    }
    #[inline(always)]
    fn store(self, vector: Self::Vector, slot: &mut Self::Slot) {
        // SAFETY: both are sixteen `f32`, of which any bits are valid.
        *slot = unsafe { transmute::<[float32x4_t; PARTS], [f32; LANES]>(vector) };
    }
    #[inline(always)]
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: see the module.
        unsafe {
            [
                vaddq_f32(a[0], b[0]),
                vaddq_f32(a[1], b[1]),
                vaddq_f32(a[2], b[2]),
                vaddq_f32(a[3], b[3]),
            ]
        }
    }
    #[inline(always)]
    fn multiply_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        // SAFETY: see the module.
        unsafe {
            [
                vfmaq_f32(c[0], a[0], b[0]),
                vfmaq_f32(c[1], a[1], b[1]),
                vfmaq_f32(c[2], a[2], b[2]),
                vfmaq_f32(c[3], a[3], b[3]),
            ]
        }
    }
    #[inline(always)]
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: see the module.
        unsafe {
            [
                vmaxq_f32(a[0], b[0]),
                vmaxq_f32(a[1], b[1]),
                vmaxq_f32(a[2], b[2]),
                vmaxq_f32(a[3], b[3]),
            ]
        }
    }
    #[inline(always)]
    fn pick(self, bits: u32, new: Self::Vector, old: Self::Vector) -> Self::Vector {
        let masks = lane_masks(bits);
        // SAFETY: see the module.
        unsafe {
            [
                vbslq_f32(masks[0], new[0], old[0]),
                vbslq_f32(masks[1], new[1], old[1]),
                vbslq_f32(masks[2], new[2], old[2]),
                vbslq_f32(masks[3], new[3], old[3]),
            ]
        }
    }
    #[inline(always)]
    fn keep(self, bits: u32, value: Self::Vector) -> Self::Vector {
        self.pick(bits, value, self.splat(0.0))
    }
    #[inline(always)]
    fn any(self, value: Self::Vector) -> bool {
        // SAFETY: see the module.
        unsafe {
            let low = vandq_u32(vceqzq_f32(value[0]), vceqzq_f32(value[1]));
            let high = vandq_u32(vceqzq_f32(value[2]), vceqzq_f32(value[3]));
            vminvq_u32(vandq_u32(low, high)) == 0
        }
    }
}
