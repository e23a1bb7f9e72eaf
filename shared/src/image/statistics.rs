//! Numbers about an image, and the map from luma to what a model expects.

use core::ops::AddAssign;
use postcard_schema::Schema;

use serde::{Deserialize, Serialize};

/// What an image looks like, whatever is in it. Measured at the model's input size, so that
/// thresholds carry over from one camera to another.
///
/// Luma is rounded to the 256 levels `0/255` to `255/255` first; everything after that is whole
/// numbers up to one last division.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, Schema)]
pub struct FrameStatistics {
    /// Mean luma, 0..=1.
    pub mean: f32,
    /// Black level: the lowest luma that at least a twentieth of the pixels do not exceed, 0..=1.
    /// Over-exposure and fog raise it, under-exposure does not.
    pub black: f32,
    /// White level: the highest luma that at least a fiftieth of the pixels reach, 0..=1. It falls
    /// with exposure, however little of the picture is bright.
    pub white: f32,
    /// Michelson contrast (1927), `(white − black) / (white + black)`, 0..=1; 0 for a constant
    /// image. Fog lowers it, dimming does not.
    pub contrast: f32,
    /// The steepest edges: the largest difference that at least a hundredth of the pairs of
    /// neighbours reach, divided by `white − black`; 0 for a constant image. 1 for hard edges,
    /// `1 / (σ √(2π))` after a Gaussian blur of σ pixels; more than 1 is noise, or detail too small
    /// for the levels. Neither dimming nor fog changes it.
    pub sharpness: f32,
    /// Share of pixels at 250/255 or above, 0..=1. Glare raises it.
    pub saturated: f32,
    /// Share of pixels inside even areas of one grey, 0..=1: unlike the neighbours to the left and
    /// above by 2/255 at most, more than 12/255 above `black`, not saturated, and no further from each
    /// other than a fiftieth of `white − black`; of such greys the most frequent. Something opaque in
    /// front raises it; an even background, which gives the black level, does not, and a sky or a
    /// road, whose shade changes slowly, does so little.
    pub plateau: f32,
}

impl FrameStatistics {
    /// For frames whose picture no threshold looks at.
    pub const UNUSED: Self = Self {
        mean: 0.5,
        black: 0.0,
        white: 1.0,
        contrast: 0.25,
        sharpness: 1.0,
        saturated: 0.0,
        plateau: 0.0,
    };
    /// The level from which a pixel counts as saturated, of 255.
    pub const SATURATED: u8 = 250;
    /// How many levels neighbours in an even area differ by at most.
    pub const EVEN: u8 = 2;
    /// The levels of one grey differ by at most `white − black` divided by this: where there is little
    /// light, or fog, all greys are close to each other.
    pub const GREYS: u8 = 50;
    /// How many levels above black an area is no background any more.
    pub const ABOVE_BLACK: u8 = 12;

    /// Measures an image of luma values in 0..=1, row-major `[height][width]`, in one pass over it.
    /// Takes 1.5 KiB of stack, or twice as much from 32,768 pixels on.
    ///
    /// # Panics
    /// If `luma.len() != width * height`, or if it is empty.
    #[must_use]
    pub fn measure(luma: &[f32], width: usize, height: usize) -> Self {
        assert!(
            !luma.is_empty() && width.checked_mul(height) == Some(luma.len()),
            "{} values are no {width}×{height} image",
            luma.len()
        );
        Self::of_luma(luma, width, (width, height))
    }

    /// As [`FrameStatistics::measure`], of the `size` (width, height) at the beginning of a plane whose
    /// rows are `stride` values apart.
    pub(super) fn of_luma(plane: &[f32], stride: usize, size: (usize, usize)) -> Self {
        Self::of(|at| level(plane[at]), stride, size)
    }

    #[cfg(feature = "colour")]
    /// As [`FrameStatistics::of_luma`], of the luma of red, green and blue, each rounded to a level first.
    pub(super) fn of_colour(planes: [&[f32]; 3], stride: usize, size: (usize, usize)) -> Self {
        Self::of(
            |at| super::luma(planes.map(|plane| level(plane[at]))),
            stride,
            size,
        )
    }

    fn of(levels: impl Fn(usize) -> u8, stride: usize, (width, height): (usize, usize)) -> Self {
        if width * height <= usize::from(u16::MAX / 2) {
            Self::count::<u16>(levels, stride, width, height)
        } else {
            Self::count::<u32>(levels, stride, width, height)
        }
    }

    /// Measures with counters that have room for twice the number of pixels; `levels` gives the level of
    /// the pixel at a place, and rows are `stride` places apart.
    // Within its caller, it would hold its stack while the passes run.
    #[inline(never)]
    fn count<T>(levels: impl Fn(usize) -> u8, stride: usize, width: usize, height: usize) -> Self
    where
        T: AddAssign + Copy + Default + From<bool> + Into<u64>,
    {
        let one = T::from(true);
        // Pixels by level; those in even areas, too; pairs of neighbours by difference.
        let mut pixels = [T::default(); LEVELS];
        let mut even = [T::default(); LEVELS];
        let mut steps = [T::default(); LEVELS];
        for y in 0..height {
            let row = y * stride;
            // Where there is no neighbour, a pixel is its own: they do not differ.
            let above = row - if y == 0 { 0 } else { stride };
            let mut left = levels(row);
            for x in 0..width {
                let (here, above) = (levels(row + x), levels(above + x));
                let (across, down) = (here.abs_diff(left), here.abs_diff(above));
                pixels[usize::from(here)] += one;
                even[usize::from(here)] += T::from(across.max(down) <= Self::EVEN);
                steps[usize::from(across)] += one;
                steps[usize::from(down)] += one;
                left = here;
            }
        }

        let count = (width * height) as u64;
        let pairs = (height * (width - 1) + width * (height - 1)) as u64;
        let black = first(pixels.iter(), count.div_ceil(20));
        let white = LEVELS - 1 - first(pixels.iter().rev(), count.div_ceil(50));
        let edge = LEVELS - 1 - first(steps.iter().rev(), pairs.div_ceil(100).max(1));
        let saturated = usize::from(Self::SATURATED);
        let above_black = (black + usize::from(Self::ABOVE_BLACK) + 1).min(saturated);
        let total = |of: &[T]| of.iter().map(|&n| n.into()).sum::<u64>();
        let greys =
            even[above_black..saturated].windows(1 + (white - black) / usize::from(Self::GREYS));
        let levels: u64 = (0_u64..)
            .zip(&pixels)
            .map(|(level, &n)| level * n.into())
            .sum();
        let luma = |level: usize| ratio(level as u64, 255);
        Self {
            mean: ratio(levels, 255 * count),
            black: luma(black),
            white: luma(white),
            contrast: ratio((white - black) as u64, (white + black) as u64),
            sharpness: ratio(edge as u64, (white - black) as u64),
            saturated: ratio(total(&pixels[saturated..]), count),
            plateau: ratio(greys.map(total).max().unwrap_or(0), count),
        }
    }
}

/// 0 if `of` is.
fn ratio(part: u64, of: u64) -> f32 {
    if of == 0 {
        return 0.0;
    }
    (part as f64 / of as f64) as f32
}

/// Luma levels told apart.
const LEVELS: usize = 256;

/// The nearest level.
fn level(luma: f32) -> u8 {
    // Casting clips to 0..=255.
    (luma * 255.0 + 0.5) as u8
}

/// The place at which the running total reaches `count`; the last one if it does not.
fn first<'a, T: Copy + Into<u64> + 'a>(
    totals: impl ExactSizeIterator<Item = &'a T>,
    count: u64,
) -> usize {
    let last = totals.len() - 1;
    let mut total = 0;
    for (place, &n) in totals.enumerate() {
        total += n.into();
        if total >= count {
            return place;
        }
    }
    last
}

/// The affine map from a plane's values to what the model was trained on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Normalisation {
    /// Subtracted first.
    pub mean: f32,
    /// Divided by; not 0.
    pub standard_deviation: f32,
}

impl Default for Normalisation {
    fn default() -> Self {
        Self::IDENTITY
    }
}

impl Normalisation {
    /// Leaves values as they are.
    pub const IDENTITY: Self = Self {
        mean: 0.0,
        standard_deviation: 1.0,
    };
    /// The training set of MNIST.
    pub const MNIST: Self = Self {
        mean: 0.1307,
        standard_deviation: 0.3081,
    };

    /// Whether the map is usable: finite, with a positive standard deviation.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.mean.is_finite()
            && self.standard_deviation.is_finite()
            && self.standard_deviation > 0.0
    }

    /// Writes `(luma − mean) / standard_deviation` to `out`, in single precision as torchvision's
    /// `Normalize` does.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn apply(&self, luma: &[f32], out: &mut [f32]) {
        assert_eq!(luma.len(), out.len(), "one output per value");
        for (out, &luma) in out.iter_mut().zip(luma) {
            *out = self.of(luma);
        }
    }

    /// As [`Normalisation::apply`], in the place of the luma.
    pub fn apply_in_place(&self, luma: &mut [f32]) {
        for value in luma {
            *value = self.of(*value);
        }
    }

    fn of(self, luma: f32) -> f32 {
        (luma - self.mean) / self.standard_deviation
    }
}
