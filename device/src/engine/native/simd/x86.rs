//! AVX2 with FMA, and AVX-512.
//!
//! Intrinsics are `unsafe` to call outside of functions compiled for their features. The vector
//! types below are private to [`super`], and only [`run_avx2`] and [`run_avx512`] make them, whose
//! callers vouch for the features: that is the safety argument of every block here. Vectors are read
//! and written as the arrays they are, without pointers.

use core::arch::x86_64::{
    __m256, __m512, _CMP_NEQ_UQ, _mm256_add_ps, _mm256_and_ps, _mm256_and_si256, _mm256_blendv_ps,
    _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_cmpeq_epi32, _mm256_fmadd_ps, _mm256_max_ps,
    _mm256_movemask_ps, _mm256_or_ps, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setr_epi32,
    _mm256_setzero_ps, _mm512_add_ps, _mm512_cmp_ps_mask, _mm512_fmadd_ps, _mm512_mask_mov_ps,
    _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_set1_ps, _mm512_setzero_ps,
};
use core::mem::transmute;

use super::{Kernel, LANES, Simd};

/// Whether [`run_avx2`] may be called.
pub(super) fn has_avx2() -> bool {
    #[cfg(feature = "std")]
    let has =
        std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma");
    #[cfg(not(feature = "std"))]
    let has = cfg!(all(target_feature = "avx2", target_feature = "fma"));
    has
}

/// Whether [`run_avx512`] may be called.
pub(super) fn has_avx512() -> bool {
    #[cfg(feature = "std")]
    let has = std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512vl")
        && std::arch::is_x86_feature_detected!("avx512dq");
    #[cfg(not(feature = "std"))]
    let has = cfg!(all(
        target_feature = "avx512f",
        target_feature = "avx512vl",
        target_feature = "avx512dq"
    ));
    has && has_avx2()
}

/// Runs a kernel on [`Avx2`].
///
/// # Safety
/// The processor has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(()))
}

/// Runs a kernel on [`Avx512`].
///
/// # Safety
/// The processor has AVX2, FMA, and AVX-512 F, VL and DQ.
#[target_feature(enable = "avx2,fma,avx512f,avx512vl,avx512dq")]
pub(super) unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(()))
}

/// Sixteen lanes in two registers of eight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2(());

/// All ones in the lanes whose bit is set, for lanes 0..8 and 8..16.
#[inline(always)]
fn lane_masks(bits: u32) -> [__m256; 2] {
    // SAFETY: see the module.
    unsafe {
        let bits = _mm256_set1_epi32(bits as i32);
        let low = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
        let high = _mm256_setr_epi32(
            1 << 8,
            1 << 9,
            1 << 10,
            1 << 11,
            1 << 12,
            1 << 13,
            1 << 14,
            1 << 15,
        );
        [
            _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(bits, low), low)),
            _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(bits, high), high)),
        ]
    }
}

impl Simd for Avx2 {
    type Slot = [f32; LANES];
    type Vector = [__m256; 2];
    const LANES: usize = LANES;
    // 12 of the 16 registers; two more hold the input, one a weight.
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
        let one = unsafe { _mm256_set1_ps(value) };
        [one, one]
    }
    #[inline(always)]
    fn load(self, slot: &Self::Slot) -> Self::Vector {
        // SAFETY: both are sixteen `f32`, of which any bits are valid.
        unsafe { transmute::<[f32; LANES], [__m256; 2]>(*slot) }
    }
    #[inline(always)]
    fn store(self, vector: Self::Vector, slot: &mut Self::Slot) {
        // SAFETY: both are sixteen `f32`, of which any bits are valid.
        *slot = unsafe { transmute::<[__m256; 2], [f32; LANES]>(vector) };
    }
    #[inline(always)]
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: see the module.
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn multiply_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        // SAFETY: see the module.
        unsafe {
            [
                _mm256_fmadd_ps(a[0], b[0], c[0]),
                _mm256_fmadd_ps(a[1], b[1], c[1]),
            ]
        }
    }
    #[inline(always)]
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: see the module.
        unsafe { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn pick(self, bits: u32, new: Self::Vector, old: Self::Vector) -> Self::Vector {
        let masks = lane_masks(bits);
        // SAFETY: see the module.
        unsafe {
            [
                _mm256_blendv_ps(old[0], new[0], masks[0]),
                _mm256_blendv_ps(old[1], new[1], masks[1]),
            ]
        }
    }
    #[inline(always)]
    fn keep(self, bits: u32, value: Self::Vector) -> Self::Vector {
        let masks = lane_masks(bits);
        // SAFETY: see the module.
        unsafe {
            [
                _mm256_and_ps(value[0], masks[0]),
                _mm256_and_ps(value[1], masks[1]),
            ]
        }
    }
    #[inline(always)]
    fn any(self, value: Self::Vector) -> bool {
        // SAFETY: see the module.
        unsafe {
            let zero = _mm256_setzero_ps();
            let low = _mm256_cmp_ps::<_CMP_NEQ_UQ>(value[0], zero);
            let high = _mm256_cmp_ps::<_CMP_NEQ_UQ>(value[1], zero);
            _mm256_movemask_ps(_mm256_or_ps(low, high)) != 0
        }
    }
}

/// Sixteen lanes in one register.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512(());

impl Simd for Avx512 {
    type Slot = [f32; LANES];
    type Vector = __m512;
    const LANES: usize = LANES;
    // Of 32 registers; weights are broadcast from memory by the instruction that multiplies.
    const TILE: usize = 24;

    #[inline(always)]
    fn slots(values: &[f32]) -> &[Self::Slot] {
        values.as_chunks().0
    }
    #[inline(always)]
    fn slots_mut(values: &mut [f32]) -> &mut [Self::Slot] {
        values.as_chunks_mut().0
    }
    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: see the module.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    fn load(self, slot: &Self::Slot) -> __m512 {
        // SAFETY: both are sixteen `f32`, of which any bits are valid.
        unsafe { transmute::<[f32; LANES], __m512>(*slot) }
    }
    #[inline(always)]
    fn store(self, vector: __m512, slot: &mut Self::Slot) {
        // SAFETY: both are sixteen `f32`, of which any bits are valid.
        *slot = unsafe { transmute::<__m512, [f32; LANES]>(vector) };
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see the module.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn multiply_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see the module.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see the module.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn pick(self, bits: u32, new: __m512, old: __m512) -> __m512 {
        // SAFETY: see the module.
        unsafe { _mm512_mask_mov_ps(old, bits as u16, new) }
    }
    #[inline(always)]
    fn keep(self, bits: u32, value: __m512) -> __m512 {
        // SAFETY: see the module.
        unsafe { _mm512_maskz_mov_ps(bits as u16, value) }
    }
    #[inline(always)]
    fn any(self, value: __m512) -> bool {
        // SAFETY: see the module.
        unsafe { _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(value, _mm512_setzero_ps()) != 0 }
    }
}
