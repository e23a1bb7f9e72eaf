//! Vectors of lanes, one pass per lane, and the choice of instructions at run time.
//!
//! This module and its children are the only ones of the engine with `unsafe` code, for one reason:
//! an instruction that the processor lacks must not be reached. A [`Level`] for such instructions
//! is made by detecting them and in no other way, and their code is entered through [`Level::run`]
//! only. Vectors are loaded from and stored to references to whole slots, so no pointer is ever
//! computed.

#[cfg(target_arch = "aarch64")]
#[allow(unsafe_code)]
mod neon;
mod plain;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86;

/// Lanes of every level but the scalar one.
pub(super) const LANES: usize = 16;

/// Operations on vectors of one `f32` per lane.
pub(super) trait Simd: Copy {
    /// A vector in memory.
    type Slot: Copy;
    /// A vector in registers.
    type Vector: Copy;
    /// Lanes of a vector: 1, or [`LANES`].
    const LANES: usize;
    /// How many vectors the registers hold as accumulators.
    const TILE: usize;

    /// The values as whole slots; what is left over at the end is not part of it.
    fn slots(values: &[f32]) -> &[Self::Slot];
    /// As [`Simd::slots`].
    fn slots_mut(values: &mut [f32]) -> &mut [Self::Slot];
    /// One value in every lane.
    fn splat(self, value: f32) -> Self::Vector;
    fn load(self, slot: &Self::Slot) -> Self::Vector;
    fn store(self, vector: Self::Vector, slot: &mut Self::Slot);
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a · b + c`, rounded once where the processor can.
    fn multiply_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// The larger in each lane.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `new` in lanes whose bit is set (lane 0 = bit 0), `old` in the others.
    fn pick(self, bits: u32, new: Self::Vector, old: Self::Vector) -> Self::Vector;
    /// `value` in lanes whose bit is set, 0 in the others.
    fn keep(self, bits: u32, value: Self::Vector) -> Self::Vector;
    /// Whether a lane is not 0.
    fn any(self, value: Self::Vector) -> bool;
}

/// Work that is compiled for every level.
pub(super) trait Kernel {
    /// What it yields.
    type Output;
    /// Does the work. Implementations are `#[inline(always)]`, down to the operations of `simd`:
    /// only what is inlined is compiled for the level's instructions.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Which instructions are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Scalar,
    Plain,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Level {
    /// One pass at a time, without vectors.
    pub const SCALAR: Self = Self(Kind::Scalar);
    /// Sixteen passes at a time, in code that is vectorised by the compiler as far as it can.
    pub const PLAIN: Self = Self(Kind::Plain);

    /// The fastest that this processor has.
    #[must_use]
    pub fn detect() -> Self {
        let fallback = if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
            Self::PLAIN
        } else {
            Self::SCALAR
        };
        Self::available().next().unwrap_or(fallback)
    }

    /// Every level that this processor has, the fastest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::vector_levels()
            .into_iter()
            .flatten()
            .chain([Self::PLAIN, Self::SCALAR])
    }

    #[cfg(target_arch = "x86_64")]
    fn vector_levels() -> [Option<Self>; 2] {
        [
            x86::has_avx512().then_some(Self(Kind::Avx512)),
            x86::has_avx2().then_some(Self(Kind::Avx2)),
        ]
    }

    #[cfg(target_arch = "aarch64")]
    fn vector_levels() -> [Option<Self>; 1] {
        // Part of the target's baseline.
        [cfg!(target_feature = "neon").then_some(Self(Kind::Neon))]
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn vector_levels() -> [Option<Self>; 0] {
        []
    }

    /// Its name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            Kind::Scalar => "scalar",
            Kind::Plain => "plain",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => "neon",
        }
    }

    /// Passes that are computed together.
    #[must_use]
    pub const fn lanes(self) -> usize {
        match self.0 {
            Kind::Scalar => 1,
            _ => LANES,
        }
    }

    /// Runs a kernel with this level's instructions.
    #[allow(unsafe_code)]
    pub(super) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Kind::Scalar => kernel.run(plain::Scalar),
            Kind::Plain => kernel.run(plain::Plain),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a `Level` of this kind exists only where `has_avx2` found its features.
            Kind::Avx2 => unsafe { x86::run_avx2(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a `Level` of this kind exists only where `has_avx512` found its features.
            Kind::Avx512 => unsafe { x86::run_avx512(kernel) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: a `Level` of this kind exists only where NEON is in the baseline.
            Kind::Neon => unsafe { neon::run(kernel) },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// Every operation, as the bits of what it yields in each lane.
    struct Everything;

    impl Kernel for Everything {
        type Output = Vec<Vec<u32>>;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Self::Output {
            let a: Vec<f32> = (0..S::LANES).map(|i| i as f32 - 3.5).collect();
            let b: Vec<f32> = (0..S::LANES).map(|i| 0.25 * (i * i) as f32 - 9.0).collect();
            let [a, b] = [&a, &b].map(|values| simd.load(&S::slots(values)[0]));
            let one_lane = |lane| simd.keep(1_u32 << lane, simd.splat(-1.0));
            let mut results: Vec<Vec<u32>> = [
                simd.splat(2.5),
                a,
                simd.add(a, b),
                // Exact in either rounding.
                simd.multiply_add(a, b, simd.splat(0.5)),
                simd.max(a, b),
                simd.pick(0xA5C3_A5C3, a, b),
                simd.pick(0, a, b),
                simd.keep(0x5A3C_5A3D, b),
                simd.keep(u32::MAX, b),
            ]
            .into_iter()
            .map(|vector| {
                let mut memory = [f32::NAN; LANES];
                simd.store(vector, &mut S::slots_mut(&mut memory)[0]);
                memory[..S::LANES].iter().map(|v| v.to_bits()).collect()
            })
            .collect();
            let nothing = [simd.splat(0.0), simd.splat(-0.0)].map(|v| u32::from(simd.any(v)));
            results.push(nothing.to_vec());
            results.push(
                (0..S::LANES)
                    .map(|lane| u32::from(simd.any(one_lane(lane))))
                    .collect(),
            );
            results
        }
    }

    #[test]
    fn levels_agree_on_every_operation() {
        let expected = Level::PLAIN.run(Everything);
        assert_eq!(expected[9], [0, 0]);
        assert_eq!(expected[10], [1; LANES]);
        assert_eq!(
            expected[5][..4],
            [0xC060_0000, 0xC020_0000, 0xC100_0000, 0xC0D8_0000]
        );
        for level in Level::available() {
            for (got, expected) in level.run(Everything).iter().zip(&expected) {
                assert_eq!(got[..], expected[..got.len()], "{}", level.name());
            }
        }
    }

    #[test]
    fn the_fastest_level_comes_first() {
        assert_eq!(Some(Level::detect()), Level::available().next());
        assert_eq!(Level::available().last(), Some(Level::SCALAR));
    }
}
