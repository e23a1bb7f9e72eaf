//! A region of a frame, scaled, as planes of values in 0..=1.

use super::antialias::{self, HALF, Kernel, pixel};
use super::preprocess::{Region, Target};
use super::{FrameView, ImageError, PixelFormat, area};

/// Both axes of a resampling.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axes {
    pub(super) across: antialias::Axis,
    pub(super) down: antialias::Axis,
    /// How many values of each are wanted.
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Axes {
    /// All of `region` at `width` × `height`.
    pub(super) fn scaled(region: Region, width: usize, height: usize) -> Self {
        let axis = |from, to| antialias::Axis { from, to, first: 0 };
        Self {
            across: axis(region.width, width),
            down: axis(region.height, height),
            width,
            height,
        }
    }

    /// Whether nothing is scaled.
    pub(super) fn is_copy(&self) -> bool {
        let copies = |axis: antialias::Axis| axis.from == axis.to;
        copies(self.across) && copies(self.down)
    }
}

/// How a region is scaled, and to which planes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resampler {
    pub(super) region: Region,
    pub(super) axes: Axes,
    /// With antialiasing, by this kernel.
    pub(super) kernel: Option<Kernel>,
    /// Otherwise the nearest pixel, or by area.
    pub(super) is_nearest: bool,
    /// Red, green and blue; luma if not.
    pub(super) colour: bool,
}

impl Resampler {
    /// Words of scratch memory for frames of any format.
    pub(super) fn scratch_length(&self) -> usize {
        self.kernel
            .map_or(0, |kernel| self.scratch(kernel, self.planes()).total())
    }

    fn planes(&self) -> usize {
        if self.colour { 3 } else { 1 }
    }

    /// Writes planes of values in 0..=1 to `target` in `out`: luma, or red, green and blue.
    pub(super) fn run(
        &self,
        frame: &FrameView<'_>,
        scratch: &mut [u32],
        out: &mut [f32],
        target: Target,
    ) -> Result<(), ImageError> {
        let colour = self.colour && frame.format().is_colour();
        if let Some(kernel) = self.kernel {
            let expected = self.scratch(kernel, self.planes()).total();
            let Some(scratch) = scratch.get_mut(..expected) else {
                return Err(ImageError::Scratch {
                    expected,
                    got: scratch.len(),
                });
            };
            if colour {
                self.antialiased::<3>(frame, kernel, scratch, out, target);
            } else {
                self.antialiased::<1>(frame, kernel, scratch, out, target);
            }
        } else if colour {
            self.direct(frame, |row, x| frame.colour(row, x), out, target);
        } else if frame.format() == PixelFormat::Grey8 {
            self.direct(frame, |row, x| [row[x]], out, target);
        } else {
            self.direct(frame, |row, x| [frame.luma(row, x)], out, target);
        }
        if self.colour && !colour {
            let first = target.start..target.plane;
            for plane in 1..3 {
                out.copy_within(first.clone(), plane * target.plane + target.start);
            }
        }
        Ok(())
    }

    /// What needs no memory of its own: the nearest pixel, or by area.
    fn direct<const C: usize>(
        &self,
        frame: &FrameView<'_>,
        pixel: impl Fn(&[u8], usize) -> [u8; C],
        out: &mut [f32],
        target: Target,
    ) {
        if self.is_nearest {
            self.nearest(frame, pixel, out, target);
        } else {
            self.by_area(frame, pixel, out, target);
        }
    }

    fn nearest<const C: usize>(
        &self,
        frame: &FrameView<'_>,
        pixel: impl Fn(&[u8], usize) -> [u8; C],
        out: &mut [f32],
        target: Target,
    ) {
        let Self { region, axes, .. } = self;
        for (y, from_y) in axes.down.nearest().take(axes.height).enumerate() {
            let row = frame.row(region.y + from_y);
            let start = target.start + y * target.stride;
            for (x, from_x) in axes.across.nearest().take(axes.width).enumerate() {
                for (plane, value) in pixel(row, region.x + from_x).into_iter().enumerate() {
                    out[plane * target.plane + start + x] = f32::from(value) / 255.0;
                }
            }
        }
    }

    fn by_area<const C: usize>(
        &self,
        frame: &FrameView<'_>,
        pixel: impl Fn(&[u8], usize) -> [u8; C],
        out: &mut [f32],
        target: Target,
    ) {
        let Self { region, axes, .. } = self;
        let across = area::Axis::new(axes.across.from, axes.across.to);
        let down = area::Axis::new(axes.down.from, axes.down.to);
        let full_scale = (across.total() * down.total() * 255) as f64;
        for y in 0..axes.height {
            let start = target.start + y * target.stride;
            for x in 0..axes.width {
                let mut sums = [0; C];
                for (row, weight_y) in down.taps(axes.down.first + y) {
                    let row = frame.row(region.y + row);
                    let mut sums_row = [0; C];
                    for (column, weight) in across.taps(axes.across.first + x) {
                        let values = pixel(row, region.x + column);
                        for (sum, value) in sums_row.iter_mut().zip(values) {
                            *sum += weight * u64::from(value);
                        }
                    }
                    for (sum, of_row) in sums.iter_mut().zip(sums_row) {
                        *sum += weight_y * of_row;
                    }
                }
                for (plane, sum) in sums.into_iter().enumerate() {
                    out[plane * target.plane + start + x] = (sum as f64 / full_scale) as f32;
                }
            }
        }
    }

    fn scratch(&self, kernel: Kernel, planes: usize) -> Scratch {
        let Self { region, axes, .. } = self;
        let taps = [axes.across.taps(kernel), axes.down.taps(kernel)];
        Scratch {
            taps,
            weights: axes.width * taps[0],
            bounds: 2 * axes.width,
            weights_down: taps[1],
            row: (region.width * planes).div_ceil(4),
            rows: (region.height * axes.width * planes).div_ceil(4),
        }
    }

    /// With a kernel: first each row of the region, then the columns of what came of that.
    fn antialiased<const C: usize>(
        &self,
        frame: &FrameView<'_>,
        kernel: Kernel,
        scratch: &mut [u32],
        out: &mut [f32],
        target: Target,
    ) {
        let Self { region, axes, .. } = self;
        let sizes = self.scratch(kernel, C);
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
        let is_direct = frame.format().bytes() == C;
        let plane = region.height * axes.width;
        // Rows that no output row needs are left out.
        let (first, _) = axes.down.weigh(kernel, 0, weights_down);
        let (last, count) = axes.down.weigh(kernel, axes.height - 1, weights_down);
        for y in first..last + count {
            let row = frame.row(region.y + y);
            let pixels = if is_direct {
                &row[region.x * C..][..region.width * C]
            } else {
                self.unpack::<C>(frame, row, unpacked);
                &*unpacked
            };
            for (x, (weights, &[start, count])) in
                weights.chunks_exact(taps).zip(&*bounds).enumerate()
            {
                let mut sums = [HALF; C];
                let pixels = &pixels.as_chunks::<C>().0[start as usize..][..count as usize];
                for (values, weight) in pixels.iter().zip(weights) {
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum += weight * i32::from(*value);
                    }
                }
                for (channel, sum) in sums.into_iter().enumerate() {
                    rows[channel * plane + y * axes.width + x] = pixel(sum);
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

    /// The pixels of the region in `row`, as `C` bytes each.
    fn unpack<const C: usize>(&self, frame: &FrameView<'_>, row: &[u8], out: &mut [u8]) {
        for (x, out) in (self.region.x..).zip(out.as_chunks_mut::<C>().0) {
            if C == 1 {
                out.fill(frame.luma(row, x));
            } else {
                out.copy_from_slice(&frame.colour(row, x));
            }
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
            *out = f32::from(pixel(sum)) / 255.0;
        }
    }
    for (x, out) in (whole..).zip(rest) {
        let columns = rows.chunks_exact(width).zip(weights);
        let sum = columns.fold(HALF, |sum, (row, &weight)| sum + weight * i32::from(row[x]));
        *out = f32::from(pixel(sum)) / 255.0;
    }
}

/// How scratch memory is divided, in words.
struct Scratch {
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
    fn total(&self) -> usize {
        self.weights + self.bounds + self.weights_down + self.row + self.rows
    }
}
