//! Reproducible random numbers for everything that is not a dropout mask.
//!
//! A stream is named, not carried along: the same seed, purpose and index give the same numbers
//! on any machine, so a resumed run needs no generator state.

use std::convert::Infallible;

use rand_core::TryRng;
use shared::mask::philox4x32_10;

/// What a stream is for; streams of different purposes are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// The order of the training images in an epoch (index = epoch).
    Order = 1,
    /// The seed of the training masks.
    TrainingMasks,
    /// The seed of libtorch's own generator (index = use).
    Torch,
    /// The choice of the images that default thresholds are set on.
    Calibration,
    /// The choice and order of the images of a mix.
    Mix,
    /// What is done to an image (index = image).
    Corruption,
    /// The weights of a network that is only timed (index = its width).
    Weights,
    /// The order in which training sets of growing size are filled.
    Study,
    /// The frames of a bootstrap resample (index = resample).
    Bootstrap,
    /// Which calibration frames thresholds are tuned on, and which they are tested on.
    CalibrationSplit,
    /// How training images are deformed (index = step).
    Augmentation,
    /// The images that a plan in eight bits is scaled by.
    PlanRanges,
    /// Which decoded pictures are let go of.
    Cache,
}

/// A stream of Philox4x32-10 blocks.
#[derive(Debug, Clone)]
pub struct Random {
    key: [u32; 2],
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
}

impl Random {
    /// The stream of `purpose` number `index` under `seed`.
    #[must_use]
    pub fn new(seed: u64, purpose: Purpose, index: u64) -> Self {
        Self {
            key: [seed as u32, (seed >> 32) as u32],
            // Mask counters never set the top bit of this word, so the two never meet.
            counter: [
                0,
                0x8000_0000 | purpose as u32,
                index as u32,
                (index >> 32) as u32,
            ],
            block: [0; 4],
            used: 4,
        }
    }

    /// 32 uniform bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox4x32_10(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// 64 uniform bits.
    pub fn next_u64(&mut self) -> u64 {
        u64::from(self.next_u32()) | u64::from(self.next_u32()) << 32
    }

    /// A uniform number in `0..bound`, without bias (Lemire 2019, "Fast random integer
    /// generation in an interval").
    ///
    /// # Panics
    /// `bound` is 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        assert!(bound > 0, "no number lies below 0");
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u64::from(self.next_u32()) * u64::from(bound);
            if product as u32 >= threshold {
                return (product >> 32) as u32;
            }
        }
    }

    /// A uniform number in `low..high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (f64::from(self.next_u32()) / 4_294_967_296.0)
    }

    /// `0..count` in random order (Fisher and Yates).
    ///
    /// # Panics
    /// `count` exceeds `u32::MAX`.
    pub fn permutation(&mut self, count: usize) -> Vec<u32> {
        let count = u32::try_from(count).expect("a data set has at most u32::MAX images");
        let mut order: Vec<u32> = (0..count).collect();
        for last in (1..count).rev() {
            order.swap(last as usize, self.below(last + 1) as usize);
        }
        order
    }
}

/// So that the distributions of `rand_distr` can draw from a stream.
impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(4) {
            chunk.copy_from_slice(&self.next_u32().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed, purpose, index| {
            let mut random = Random::new(seed, purpose, index);
            (0..9).map(|_| random.next_u64()).collect::<Vec<_>>()
        };
        let first = draw(1, Purpose::Order, 0);
        assert_eq!(first, draw(1, Purpose::Order, 0));
        for other in [
            draw(2, Purpose::Order, 0),
            draw(1, Purpose::Mix, 0),
            draw(1, Purpose::Order, 1),
        ] {
            assert!(first.iter().zip(&other).all(|(a, b)| a != b));
        }
    }

    #[test]
    fn a_permutation_holds_each_index_once() {
        let mut order = Random::new(3, Purpose::Order, 7).permutation(1000);
        assert_ne!(order, (0..1000).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn below_is_uniform() {
        let mut random = Random::new(5, Purpose::Mix, 0);
        let mut counts = [0u32; 6];
        for _ in 0..60_000 {
            counts[random.below(6) as usize] += 1;
        }
        // Binomial(60000, 1/6): standard deviation 91.3; five of them.
        assert!(
            counts.iter().all(|&count| count.abs_diff(10_000) < 457),
            "{counts:?}"
        );
    }
}
