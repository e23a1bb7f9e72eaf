//! Dropout masks as a pure function of `(seed, frame, pass, site, element)`.
//!
//! Philox4x32-10 (Salmon et al., *Parallel Random Numbers: As Easy as 1, 2, 3*, SC 2011) is keyed
//! with the 64-bit seed and counts over
//!
//! ```text
//! [element / 4,  (pass / 32) | (plane << 24),  site,  frame]
//! ```
//!
//! Bit `pass % 32` of output word `element % 4` is a fair coin of that element and pass, so one
//! call serves 4 elements × 32 passes. One such *bit plane* is a mask of keep probability ½. Any
//! other keep probability `q = 0.b₁…b₁₆` (binary) takes up to 16 planes, folded from the least
//! significant bit: `r ← bᵢ ? (r | wᵢ) : (r & wᵢ)`, where `wᵢ` is plane `i − 1`. That is the
//! comparison of a uniform 16-bit number with `q`, done for 32 passes at a time.
//!
//! Elements are numbered per sample, row-major (channel, height, width); sites in the order in
//! which the network meets them, from 0.

use core::ops::Range;

/// Bits in which a keep probability is counted.
const FRACTION_BITS: u32 = 16;
/// Keep probability 1, in steps.
const KEEP_ALL: u32 = 1 << FRACTION_BITS;
/// Passes that one generator word serves.
const PASSES_PER_BLOCK: u32 = u32::BITS;
/// Elements that one generator call serves.
const ELEMENTS_PER_BLOCK: usize = 4;
/// Elements that [`MaskSource::fill`] expands together: one pass over them writes 256 bytes.
const TILE: usize = 64;

/// The probability `q` that an element is kept, in steps of 1/65536 (dropout probability = 1 − q).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeepProbability(u32);

impl KeepProbability {
    /// q = ½: the only one that needs a single generator call per block.
    pub const HALF: Self = Self(KEEP_ALL / 2);
    /// q = 1: keeps everything.
    pub const ONE: Self = Self(KEEP_ALL);

    /// `bits` / 65536; `None` unless `bits` is in 1..=65536.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits >= 1 && bits <= KEEP_ALL {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// The step nearest to `q`; `None` if `q` is not in (0, 1], or so small that it rounds to 0.
    #[must_use]
    pub fn from_f64(q: f64) -> Option<Self> {
        if q > 0.0 && q <= 1.0 {
            Self::from_bits(libm::round(q * f64::from(KEEP_ALL)) as u32)
        } else {
            None
        }
    }

    /// The number of 1/65536 steps, 1..=65536.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The probability, in (0, 1].
    #[must_use]
    pub fn value(self) -> f64 {
        f64::from(self.0) / f64::from(KEEP_ALL)
    }
}

/// The Philox4x32 block function with ten rounds (Salmon et al. 2011, section 3.3).
#[must_use]
#[inline]
pub const fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    const MULTIPLIER_0: u64 = 0xD251_1F53;
    const MULTIPLIER_1: u64 = 0xCD9E_8D57;
    const WEYL_0: u32 = 0x9E37_79B9;
    const WEYL_1: u32 = 0xBB67_AE85;

    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    let mut round = 0;
    while round < 10 {
        let p0 = MULTIPLIER_0 * c0 as u64;
        let p1 = MULTIPLIER_1 * c2 as u64;
        c0 = (p1 >> 32) as u32 ^ c1 ^ k0;
        c1 = p1 as u32;
        c2 = (p0 >> 32) as u32 ^ c3 ^ k1;
        c3 = p0 as u32;
        k0 = k0.wrapping_add(WEYL_0);
        k1 = k1.wrapping_add(WEYL_1);
        round += 1;
    }
    [c0, c1, c2, c3]
}

/// Blocks that [`philox_wide`] computes together: what vector instructions hold.
const WIDE: usize = 8;

/// [`philox4x32_10`] for counters that differ in their first word only: words 0 and 1, and words 2
/// and 3, of each block, the earlier in the lower half.
///
/// Until the end words lie in the lower halves of 64 bits, because vector instructions multiply
/// these; what is in the upper halves does not matter.
#[inline(always)]
fn philox_wide(first: [u32; WIDE], rest: [u32; 3], key: [u32; 2]) -> [[u64; WIDE]; 2] {
    const MULTIPLIER_0: u64 = 0xD251_1F53;
    const MULTIPLIER_1: u64 = 0xCD9E_8D57;
    const WEYL_0: u32 = 0x9E37_79B9;
    const WEYL_1: u32 = 0xBB67_AE85;
    const LOW: u64 = u32::MAX as u64;

    let mut c0 = [0; WIDE];
    for i in 0..WIDE {
        c0[i] = u64::from(first[i]);
    }
    let mut c1 = [u64::from(rest[0]); WIDE];
    let mut c2 = [u64::from(rest[1]); WIDE];
    let mut c3 = [u64::from(rest[2]); WIDE];
    let [mut k0, mut k1] = key;
    for _ in 0..10 {
        for i in 0..WIDE {
            let p0 = MULTIPLIER_0 * (c0[i] & LOW);
            let p1 = MULTIPLIER_1 * (c2[i] & LOW);
            c0[i] = (p1 >> 32) ^ c1[i] ^ u64::from(k0);
            c1[i] = p1;
            c2[i] = (p0 >> 32) ^ c3[i] ^ u64::from(k1);
            c3[i] = p0;
        }
        k0 = k0.wrapping_add(WEYL_0);
        k1 = k1.wrapping_add(WEYL_1);
    }
    let mut pairs = [[0; WIDE]; 2];
    for i in 0..WIDE {
        pairs[0][i] = (c0[i] & LOW) | (c1[i] << 32);
        pairs[1][i] = (c2[i] & LOW) | (c3[i] << 32);
    }
    pairs
}

/// Blocks of four elements each: block `b` holds the elements `4·b ..+4`.
#[derive(Debug, Clone)]
pub enum ElementBlocks<'a> {
    /// Those in a row.
    Range(Range<u32>),
    /// Those listed.
    List(&'a [u32]),
}

impl ElementBlocks<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Range(range) => range.len(),
            Self::List(list) => list.len(),
        }
    }

    /// The blocks from index `first` on; behind the last come any numbers.
    #[inline(always)]
    fn wide(&self, first: usize) -> [u32; WIDE] {
        let mut blocks = [0; WIDE];
        match self {
            Self::Range(range) => {
                for (i, block) in blocks.iter_mut().enumerate() {
                    *block = range.start.wrapping_add((first + i) as u32);
                }
            }
            Self::List(list) => match list[first..].first_chunk() {
                // As it lies: put together number by number it could not be read as a vector.
                Some(chunk) => blocks = *chunk,
                None => blocks[..list.len() - first].copy_from_slice(&list[first..]),
            },
        }
        blocks
    }
}

/// All masks of one seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MaskSource {
    key: [u32; 2],
}

impl MaskSource {
    /// Passes are numbered below this; beyond it the counter's fields would overlap.
    pub const MAX_PASSES: u32 = 1 << 29;

    /// The masks of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            key: [seed as u32, (seed >> 32) as u32],
        }
    }

    /// Keep bits of elements `4·element_block ..+4` in passes `32·pass_block ..+32`: bit `p % 32`
    /// of word `e % 4`, set where element `e` is kept in pass `p`.
    ///
    /// # Panics
    /// If `pass_block` is not below [`Self::MAX_PASSES`] / 32.
    #[must_use]
    #[inline]
    pub fn block(
        &self,
        frame: u32,
        site: u32,
        pass_block: u32,
        element_block: u32,
        q: KeepProbability,
    ) -> [u32; 4] {
        assert!(
            pass_block < Self::MAX_PASSES / PASSES_PER_BLOCK,
            "pass block {pass_block} is out of range"
        );
        if q == KeepProbability::ONE {
            return [u32::MAX; 4];
        }
        let mut kept = [0; 4];
        // Planes below the last set bit would only be ANDed with zero.
        for bit in q.bits().trailing_zeros()..FRACTION_BITS {
            let plane = FRACTION_BITS - 1 - bit;
            let words = philox4x32_10(
                [element_block, pass_block | (plane << 24), site, frame],
                self.key,
            );
            if q.bits() >> bit & 1 == 1 {
                for (kept, word) in kept.iter_mut().zip(words) {
                    *kept |= word;
                }
            } else {
                for (kept, word) in kept.iter_mut().zip(words) {
                    *kept &= word;
                }
            }
        }
        kept
    }

    /// Keep bits of many elements in passes `32·pass_block ..+32`: bit `p % 32` of `out[e]`, for
    /// the elements `e` in `4·b ..+4` of every `b` in `element_blocks`. The rest of `out` is left
    /// as it is.
    ///
    /// As [`Self::block`] for each, and several times as fast: it is compiled for the vector
    /// instructions of whoever calls it.
    ///
    /// # Panics
    /// If `pass_block` is not below [`Self::MAX_PASSES`] / 32, or `out` ends before an element.
    #[inline(always)]
    pub fn words(
        &self,
        frame: u32,
        site: u32,
        pass_block: u32,
        q: KeepProbability,
        element_blocks: &ElementBlocks<'_>,
        out: &mut [u32],
    ) {
        assert!(
            pass_block < Self::MAX_PASSES / PASSES_PER_BLOCK,
            "pass block {pass_block} is out of range"
        );
        let (out, _) = out.as_chunks_mut::<ELEMENTS_PER_BLOCK>();
        self.each_block(
            frame,
            site,
            pass_block,
            q,
            element_blocks,
            |block, words| {
                out[block as usize] = words;
            },
        );
    }

    /// Calls `take` with each block's number and what [`Self::block`] gives for it.
    #[inline(always)]
    fn each_block(
        self,
        frame: u32,
        site: u32,
        pass_block: u32,
        q: KeepProbability,
        element_blocks: &ElementBlocks<'_>,
        mut take: impl FnMut(u32, [u32; 4]),
    ) {
        let all = element_blocks.len();
        for first in (0..all).step_by(WIDE) {
            let blocks = element_blocks.wide(first);
            let mut kept = [[if q == KeepProbability::ONE {
                u64::MAX
            } else {
                0
            }; WIDE]; 2];
            for bit in q.bits().trailing_zeros()..FRACTION_BITS {
                let plane = FRACTION_BITS - 1 - bit;
                let pairs =
                    philox_wide(blocks, [pass_block | (plane << 24), site, frame], self.key);
                // All ones where the bit is set: then `r | w`, else `r & w`.
                let either = 0_u64.wrapping_sub(u64::from(q.bits() >> bit & 1));
                for i in 0..WIDE {
                    for pair in 0..2 {
                        let (r, w) = (kept[pair][i], pairs[pair][i]);
                        kept[pair][i] = (r & w) | ((r | w) & either);
                    }
                }
            }
            for i in 0..WIDE.min(all - first) {
                let [low, high] = [kept[0][i], kept[1][i]];
                take(
                    blocks[i],
                    [
                        low as u32,
                        (low >> 32) as u32,
                        high as u32,
                        (high >> 32) as u32,
                    ],
                );
            }
        }
    }

    /// Whether one element is kept in one pass.
    ///
    /// # Panics
    /// If `pass` is not below [`Self::MAX_PASSES`].
    #[must_use]
    pub fn keep(&self, frame: u32, pass: u32, site: u32, element: u32, q: KeepProbability) -> bool {
        let words = self.block(frame, site, pass / PASSES_PER_BLOCK, element / 4, q);
        words[(element % 4) as usize] >> (pass % PASSES_PER_BLOCK) & 1 == 1
    }

    /// Writes the keep masks of `passes`, for elements `0..elements`, as 1.0 (kept) and 0.0
    /// (dropped), *not* scaled by 1/q; layout `[pass][element]`.
    ///
    /// # Panics
    /// If `out.len() != passes.len() * elements`, if `passes` reaches beyond
    /// [`Self::MAX_PASSES`], or if `elements` does not fit `u32`.
    pub fn fill(
        &self,
        frame: u32,
        site: u32,
        q: KeepProbability,
        passes: Range<u32>,
        elements: usize,
        out: &mut [f32],
    ) {
        let count = passes.end.saturating_sub(passes.start) as usize;
        assert!(
            count.checked_mul(elements) == Some(out.len()),
            "masks of {count} passes × {elements} elements do not fit {} values",
            out.len()
        );
        assert!(
            u32::try_from(elements).is_ok(),
            "{elements} elements are too many"
        );
        if count == 0 || elements == 0 {
            return;
        }
        assert!(
            passes.end <= Self::MAX_PASSES,
            "pass {} is out of range",
            passes.end
        );
        for pass_block in passes.start / PASSES_PER_BLOCK..=(passes.end - 1) / PASSES_PER_BLOCK {
            let first = passes.start.max(pass_block * PASSES_PER_BLOCK);
            let last = (passes.end - 1).min(pass_block * PASSES_PER_BLOCK + (PASSES_PER_BLOCK - 1));
            for tile_start in (0..elements).step_by(TILE) {
                let tile = TILE.min(elements - tile_start);
                let mut words = [0; TILE];
                let first_block = (tile_start / ELEMENTS_PER_BLOCK) as u32;
                let last_block = first_block + tile.div_ceil(ELEMENTS_PER_BLOCK) as u32;
                let (blocks, _) = words.as_chunks_mut::<ELEMENTS_PER_BLOCK>();
                let numbers = ElementBlocks::Range(first_block..last_block);
                self.each_block(frame, site, pass_block, q, &numbers, |block, words| {
                    blocks[(block - first_block) as usize] = words;
                });
                for pass in first..=last {
                    let row = (pass - passes.start) as usize * elements + tile_start;
                    let shift = pass % PASSES_PER_BLOCK;
                    for (value, word) in out[row..row + tile].iter_mut().zip(&words) {
                        // A bit is exact in f32, and the conversion, unlike a branch, vectorises.
                        *value = (word >> shift & 1) as i32 as f32;
                    }
                }
            }
        }
    }
}
