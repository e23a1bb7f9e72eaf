//! A line that does its worst, the same for the same seed: what becomes of each byte depends on its
//! place in the stream alone, however the stream is cut.

/// How often what happens, as a probability per byte.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// A bit is flipped.
    pub flip: f64,
    /// A burst of up to [`LONGEST`] bytes is lost.
    pub lose: f64,
    /// The last up to [`LONGEST`] bytes come again.
    pub double: f64,
    /// Up to [`LONGEST`] bytes of garbage come in between, as from an end at another speed.
    pub garbage: f64,
}

/// Most bytes of a burst.
pub const LONGEST: usize = 64;

impl Faults {
    /// About one byte of a hundred is hit, in every way.
    pub const ONE_IN_A_HUNDRED: Self = Self {
        flip: 0.008,
        lose: 0.000_06,
        double: 0.000_03,
        garbage: 0.000_03,
    };
}

/// One direction of a line.
#[derive(Debug)]
pub struct FaultyLine {
    faults: Faults,
    random: Random,
    /// Bytes that are still to be lost.
    losing: usize,
    recent: Vec<u8>,
    /// Bytes that came in.
    pub carried: u64,
    /// Bytes that did not come out as they came in, or that nobody had sent.
    pub spoilt: u64,
}

impl FaultyLine {
    /// A line with these faults.
    #[must_use]
    pub fn new(faults: Faults, seed: u64) -> Self {
        Self {
            faults,
            random: Random(seed),
            losing: 0,
            recent: Vec::new(),
            carried: 0,
            spoilt: 0,
        }
    }

    /// What comes out for what goes in.
    pub fn carry(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            self.carried += 1;
            self.recent.push(byte);
            if self.recent.len() > 2 * LONGEST {
                self.recent.drain(..LONGEST);
            }
            if self.random.happens(self.faults.lose) {
                self.losing = 1 + self.random.below(LONGEST);
            }
            if self.losing > 0 {
                self.losing -= 1;
                self.spoilt += 1;
                continue;
            }
            if self.random.happens(self.faults.flip) {
                self.spoilt += 1;
                out.push(byte ^ 1 << self.random.below(8));
            } else {
                out.push(byte);
            }
            if self.random.happens(self.faults.double) {
                let count = (1 + self.random.below(LONGEST)).min(self.recent.len());
                self.spoilt += count as u64;
                out.extend_from_slice(&self.recent[self.recent.len() - count..]);
            }
            if self.random.happens(self.faults.garbage) {
                let count = 1 + self.random.below(LONGEST);
                self.spoilt += count as u64;
                out.extend((0..count).map(|_| self.random.next() as u8));
            }
        }
        out
    }
}

/// `SplitMix64` (Steele, Lea and Flood 2014): small, and enough for faults.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    #[allow(clippy::should_implement_trait)] // It never ends.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// A number below `limit`.
    ///
    /// # Panics
    /// If the limit is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// Whether something of this probability happens.
    pub fn happens(&mut self, probability: f64) -> bool {
        ((self.next() >> 11) as f64) < probability * (1_u64 << 53) as f64
    }
}
