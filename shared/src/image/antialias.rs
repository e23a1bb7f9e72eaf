//! Bilinear and bicubic resampling with antialiasing, bit for bit as Pillow resamples 8-bit pictures.
//!
//! When an axis shrinks, the filter's kernel grows by the same factor, so that every pixel has its
//! share. An axis at a time, rows first; weights are rounded to 22 bits behind the point and what
//! comes of each axis to 8 bits, as in Pillow's `Resample.c`. (The definition is that of Pillow; the
//! code is not.) Torchvision's and timm's transforms resample pictures by calling Pillow.

/// Bits behind the point of a weight.
const BITS: u32 = 22;

/// A kernel, of one pixel's width where it does not shrink anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// A triangle.
    Bilinear,
    /// Keys' cubic (1981, eq. 15) with a = −½.
    Bicubic,
}

impl Kernel {
    /// How far it reaches to either side, in pixels.
    const fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Self::Bilinear if x < 1.0 => 1.0 - x,
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            _ => 0.0,
        }
    }
}

/// One axis: `from` pixels become `to`, of which those from `first` on are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) first: usize,
}

impl Axis {
    /// How much a step of the output is in pixels.
    fn scale(self) -> f64 {
        self.from as f64 / self.to as f64
    }

    fn support(self, kernel: Kernel) -> f64 {
        kernel.support() * self.scale().max(1.0)
    }

    /// Of every wanted output value the pixel that lies nearest. Places are added up as Pillow does, which
    /// decides where one lies between two pixels.
    pub(super) fn nearest(self) -> impl Iterator<Item = usize> {
        let scale = self.scale();
        let mut place = 0.5 * scale;
        let places = core::iter::repeat_with(move || {
            let here = place;
            place += scale;
            (here as usize).min(self.from - 1)
        });
        places.skip(self.first)
    }

    /// Most pixels that an output value is made of.
    pub(super) fn taps(self, kernel: Kernel) -> usize {
        2 * libm::ceil(self.support(kernel)) as usize + 1
    }

    /// The first of the pixels that output value `index` is made of; writes their weights, and gives
    /// how many there are.
    ///
    /// # Panics
    /// If `weights` has not room for [`Axis::taps`].
    pub(super) fn weigh(self, kernel: Kernel, index: usize, weights: &mut [i32]) -> (usize, usize) {
        let scale = self.scale();
        let support = self.support(kernel);
        let centre = ((index + self.first) as f64 + 0.5) * scale;
        let inverse = 1.0 / scale.max(1.0);
        // Casting cuts off, and what is below 0 becomes 0.
        let start = (centre - support + 0.5) as usize;
        let end = ((centre + support + 0.5) as usize).min(self.from);
        let weight = |pixel: usize| {
            let distance = pixel as f64 + start as f64 - centre + 0.5;
            kernel.at(distance * inverse)
        };
        let count = end - start;
        let total: f64 = (0..count).fold(0.0, |sum, pixel| sum + weight(pixel));
        for (pixel, out) in weights[..count].iter_mut().enumerate() {
            let share = weight(pixel);
            let share = if total == 0.0 { share } else { share / total };
            let half = if share < 0.0 { -0.5 } else { 0.5 };
            *out = (half + share * f64::from(1 << BITS)) as i32;
        }
        (start, count)
    }
}

/// Half a unit of the result, to which weighted pixels are added.
pub(super) const HALF: i32 = 1 << (BITS - 1);

/// The sum of weighted pixels, and [`HALF`], as a pixel.
#[inline]
pub(super) fn pixel(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}
