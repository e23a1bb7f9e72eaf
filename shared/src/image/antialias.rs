//! Bilinear and bicubic resampling with antialiasing, bit for bit as Pillow resamples 8-bit pictures.
//!
//! When an axis shrinks, the filter's kernel grows by the same factor, so that every pixel has its
//! share. An axis at a time, rows first; weights are rounded to 22 bits behind the point and what
//! comes of each axis to 8 bits, as in Pillow's `Resample.c`. (The definition is that of Pillow; the
//! code is not.) Torchvision's and timm's transforms resample pictures by calling Pillow.

use super::preprocess::Target;
use super::resample::{Axis, Resampler};
use super::{FrameView, PixelFormat};

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
    fn taps(self, kernel: Kernel) -> usize {
        2 * libm::ceil(self.support(kernel)) as usize + 1
    }

    /// The first of the pixels that output value `index` is made of; writes their weights, and gives
    /// how many there are.
    ///
    /// # Panics
    /// If `weights` has not room for [`Axis::taps`].
    fn weigh(self, kernel: Kernel, index: usize, weights: &mut [i32]) -> (usize, usize) {
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
const HALF: i32 = 1 << (BITS - 1);

/// The sum of weighted pixels, and [`HALF`], as a pixel.
#[inline]
fn clipped(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

/// With a kernel: first each row of the region, then the columns of what came of that.
pub(super) fn run<const C: usize>(
    resampler: &Resampler,
    frame: &FrameView<'_>,
    pixel: impl Fn(&[u8], usize) -> [u8; C],
    kernel: Kernel,
    scratch: &mut [u32],
    out: &mut [f32],
    target: Target,
) {
    let Resampler { region, axes, .. } = resampler;
    let sizes = Scratch::of(resampler, kernel, C);
    let (weights, scratch) = scratch.split_at_mut(sizes.weights);
    let (bounds, scratch) = scratch.split_at_mut(sizes.bounds);
    let (weights_down, scratch) = scratch.split_at_mut(sizes.weights_down);
    let (unpacked, rows) = scratch.split_at_mut(sizes.row);
    let weights: &mut [i32] = bytemuck::cast_slice_mut(weights);
    let weights_down: &mut [i32] = bytemuck::cast_slice_mut(weights_down);
    let unpacked = &mut bytemuck::cast_slice_mut(unpacked)[..region.width * C];
    let rows: &mut [u8] = bytemuck::cast_slice_mut(rows);

    let [taps, _] = sizes.taps;
    let bounds = bounds.as_chunks_mut::<2>().0;
    for (x, (weights, bound)) in weights.chunks_exact_mut(taps).zip(&mut *bounds).enumerate() {
        let (start, count) = axes.across.weigh(kernel, x, weights);
        *bound = [start as u32, count as u32];
    }
    let is_direct = matches!(
        (frame.format(), C),
        (PixelFormat::Grey8, 1) | (PixelFormat::Rgb8, 3)
    );
    let plane = region.height * axes.width;
    // Rows that no output row needs are left out.
    let (first, _) = axes.down.weigh(kernel, 0, weights_down);
    let (last, count) = axes.down.weigh(kernel, axes.height - 1, weights_down);
    for y in first..last + count {
        let row = frame.row(region.y + y);
        let pixels = if is_direct {
            &row[region.x * C..][..region.width * C]
        } else {
            for (x, out) in (region.x..).zip(unpacked.as_chunks_mut::<C>().0) {
                *out = pixel(row, x);
            }
            &*unpacked
        };
        for (x, (weights, &[start, count])) in weights.chunks_exact(taps).zip(&*bounds).enumerate()
        {
            let mut sums = [HALF; C];
            let pixels = &pixels.as_chunks::<C>().0[start as usize..][..count as usize];
            for (values, weight) in pixels.iter().zip(weights) {
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum += weight * i32::from(*value);
                }
            }
            for (channel, sum) in sums.into_iter().enumerate() {
                rows[channel * plane + y * axes.width + x] = clipped(sum);
            }
        }
    }
    for y in 0..axes.height {
        let (start, count) = axes.down.weigh(kernel, y, weights_down);
        for channel in 0..C {
            let rows = &rows[channel * plane + start * axes.width..][..count * axes.width];
            let at = channel * target.plane + target.start + y * target.stride;
            let out = &mut out[at..][..axes.width];
            combine(rows, axes.width, &weights_down[..count], out);
        }
    }
}

/// The weighted sum of rows of `width` pixels, divided by 255.
fn combine(rows: &[u8], width: usize, weights: &[i32], out: &mut [f32]) {
    /// As many sums as fit into registers.
    const LANES: usize = 16;
    let (blocks, rest) = out.as_chunks_mut::<LANES>();
    let whole = blocks.len() * LANES;
    for (block, out) in blocks.iter_mut().enumerate() {
        let mut sums = [HALF; LANES];
        for (row, &weight) in rows.chunks_exact(width).zip(weights) {
            let values = &row[block * LANES..][..LANES];
            for (sum, &value) in sums.iter_mut().zip(values) {
                *sum += weight * i32::from(value);
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = f32::from(clipped(sum)) / 255.0;
        }
    }
    for (x, out) in (whole..).zip(rest) {
        let columns = rows.chunks_exact(width).zip(weights);
        let sum = columns.fold(HALF, |sum, (row, &weight)| sum + weight * i32::from(row[x]));
        *out = f32::from(clipped(sum)) / 255.0;
    }
}

/// How scratch memory is divided, in words.
#[derive(Debug)]
pub(super) struct Scratch {
    /// Most pixels that an output value is made of, across and down.
    taps: [usize; 2],
    /// Of every output column, taps of them.
    weights: usize,
    /// Of every output column the first pixel, and how many.
    bounds: usize,
    /// Of one output row.
    weights_down: usize,
    /// One row of the region, where its pixels have to be unpacked.
    row: usize,
    /// All rows of the region at the output's width.
    rows: usize,
}

impl Scratch {
    pub(super) fn of(resampler: &Resampler, kernel: Kernel, planes: usize) -> Self {
        let Resampler { region, axes, .. } = resampler;
        let taps = [axes.across.taps(kernel), axes.down.taps(kernel)];
        Self {
            taps,
            weights: axes.width * taps[0],
            bounds: 2 * axes.width,
            weights_down: taps[1],
            row: (region.width * planes).div_ceil(4),
            rows: (region.height * axes.width * planes).div_ceil(4),
        }
    }

    pub(super) fn total(&self) -> usize {
        self.weights + self.bounds + self.weights_down + self.row + self.rows
    }
}
