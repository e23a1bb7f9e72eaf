//! Convolutions of the head, which linear layers are too, and what follows them.

use super::kernels::MaskAt;
use super::plan::{Conv, Site};
use super::simd::{Kernel, Simd};

/// Where the live inputs of an output pixel come from: pairs of an element and the place of its
/// weights.
pub(super) enum Gathered<'a> {
    /// Those of all pixels are listed, each pixel's up to its end.
    Listed(&'a [[u32; 2]], &'a [u32]),
    /// There is room for those of one pixel.
    Room(&'a mut [[u32; 2]]),
}

/// Lists the live inputs of an output pixel, and returns how many there are. So each tile of
/// channels is one loop, not one for each row of the kernel.
#[inline(always)]
pub(super) fn gather(
    conv: &Conv,
    live: &[u32],
    starts: &[u32],
    [row, column]: [usize; 2],
    gathered: &mut [[u32; 2]],
) -> usize {
    let geometry = &conv.geometry;
    let (inputs, outputs) = (geometry.input.channels, geometry.output.channels);
    let (first_row, last_row) = geometry.rows(row);
    let (first_column, last_column) = geometry.columns(column);
    let mut count = 0;
    for kernel_row in first_row..last_row {
        let y = row * geometry.stride[0] + kernel_row - geometry.padding[0];
        let line = y * geometry.input.width;
        let x = column * geometry.stride[1];
        let first = line + x + first_column - geometry.padding[1];
        let last = line + x + last_column - geometry.padding[1];
        let run = if geometry.input.height * geometry.input.width == 1 {
            // A linear layer, whose input may have been an image when the list was made.
            live
        } else {
            &live[starts[first] as usize..starts[last] as usize]
        };
        let tap = (kernel_row * geometry.kernel[1] + first_column) * inputs;
        // Element and tap rise together along a run.
        let tap_of_first = (tap as u32).wrapping_sub((first * inputs) as u32);
        let places = &mut gathered[count..][..run.len()];
        for (place, element) in places.iter_mut().zip(run) {
            let tap = element.wrapping_add(tap_of_first);
            *place = [*element, tap.wrapping_mul(outputs as u32)];
        }
        count += run.len();
    }
    count
}

/// Weighted sums of live inputs, and what follows them.
pub(super) struct ConvKernel<'a> {
    pub(super) conv: &'a Conv,
    pub(super) weights: &'a [f32],
    pub(super) sites: &'a [Site],
    pub(super) masks: &'a [u32],
    pub(super) shift: u32,
    pub(super) live: &'a [u32],
    pub(super) starts: &'a [u32],
    pub(super) gathered: Gathered<'a>,
    pub(super) input: &'a [f32],
    pub(super) output: &'a mut [f32],
}

/// One output pixel, and its place in a window of the pooling.
#[derive(Debug, Clone, Copy)]
struct Pixel {
    row: usize,
    column: usize,
    /// How many are computed before it.
    index: usize,
    /// Where its channels go in the output.
    output: usize,
    /// Whether it is the first, and the last, of its window.
    first: bool,
    last: bool,
    before: Option<MaskAt>,
    after: Option<MaskAt>,
}

impl Kernel for ConvKernel<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let conv = self.conv;
        let whole = conv.geometry.output;
        let written = conv.output();
        let ([rows, columns], [row_step, column_step]) = match conv.pool {
            Some(pool) => (pool.kernel, pool.stride),
            None => ([1, 1], [1, 1]),
        };
        for window_row in 0..written.height {
            for window_column in 0..written.width {
                let window = window_row * written.width + window_column;
                let after = conv.after.map(|drop| {
                    MaskAt::new(self.sites, drop, window, written.height * written.width)
                });
                for position in 0..rows * columns {
                    let row = window_row * row_step + position / columns;
                    let column = window_column * column_step + position % columns;
                    let before = conv.before.map(|drop| {
                        let pixel = row * whole.width + column;
                        MaskAt::new(self.sites, drop, pixel, whole.height * whole.width)
                    });
                    self.pixel(
                        simd,
                        Pixel {
                            row,
                            column,
                            index: window * rows * columns + position,
                            output: window * written.channels,
                            first: position == 0,
                            last: position + 1 == rows * columns,
                            before,
                            after,
                        },
                    );
                }
            }
        }
    }
}

/// Calls a function that is generic in a number, 1 to 24, that is known at run time only.
macro_rules! with_number {
    ($n:expr, $call:ident, $($number:literal)*) => {
        match $n {
            $($number => $call!($number),)*
            _ => unreachable!("a tile holds 1 to 24 vectors"),
        }
    };
}

impl ConvKernel<'_> {
    #[inline(always)]
    fn pixel<S: Simd>(&mut self, simd: S, pixel: Pixel) {
        match &mut self.gathered {
            Gathered::Listed(all, ends) => {
                let first = match pixel.index {
                    0 => 0,
                    index => ends[index - 1] as usize,
                };
                let gathered = &all[first..ends[pixel.index] as usize];
                self.outputs(simd, pixel, gathered);
            }
            Gathered::Room(room) => {
                let room = core::mem::take(room);
                let place = [pixel.row, pixel.column];
                let count = gather(self.conv, self.live, self.starts, place, room);
                self.outputs(simd, pixel, &room[..count]);
                self.gathered = Gathered::Room(room);
            }
        }
    }

    #[inline(always)]
    fn outputs<S: Simd>(&mut self, simd: S, pixel: Pixel, gathered: &[[u32; 2]]) {
        let outputs = self.conv.geometry.output.channels;
        let tiles = outputs.div_ceil(S::TILE);
        let mut channel = 0;
        for tile in 0..tiles {
            let end = outputs * (tile + 1) / tiles;
            macro_rules! tile {
                ($n:literal) => {
                    if $n <= S::TILE {
                        let sums = self.sums::<S, $n>(simd, gathered, channel);
                        self.write(simd, pixel, channel, sums);
                    }
                };
            }
            with_number!(end - channel, tile, 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24);
            channel = end;
        }
    }

    /// Pre-activations of `N` channels from `channel` on, of those inputs that were gathered.
    #[inline(always)]
    fn sums<S: Simd, const N: usize>(
        &self,
        simd: S,
        gathered: &[[u32; 2]],
        channel: usize,
    ) -> [S::Vector; N] {
        let input = S::slots(self.input);
        let (weights, bias) = self.weights.split_at(self.conv.taps());
        let mut sums = [simd.splat(0.0); N];
        for i in 0..N {
            sums[i] = simd.splat(bias[channel + i]);
        }
        for [element, place] in gathered {
            let value = simd.load(&input[*element as usize]);
            let weights = &weights[*place as usize..][channel..][..N];
            for i in 0..N {
                sums[i] = simd.multiply_add(simd.splat(weights[i]), value, sums[i]);
            }
        }
        sums
    }

    /// Writes the outputs of the channels from `channel` on.
    #[inline(always)]
    fn write<S: Simd, const N: usize>(
        &mut self,
        simd: S,
        pixel: Pixel,
        channel: usize,
        sums: [S::Vector; N],
    ) {
        let output = &mut S::slots_mut(self.output)[pixel.output + channel..][..N];
        let zero = simd.splat(0.0);
        for (i, (slot, mut value)) in output.iter_mut().zip(sums).enumerate() {
            if let Some(mask) = pixel.before {
                value = simd.keep(
                    self.masks[mask.first + (channel + i) * mask.step] >> self.shift,
                    value,
                );
            }
            if !pixel.first {
                value = simd.max(value, simd.load(slot));
            } else if self.conv.relu {
                value = simd.max(value, zero);
            }
            if pixel.last
                && let Some(mask) = pixel.after
            {
                value = simd.keep(
                    self.masks[mask.first + (channel + i) * mask.step] >> self.shift,
                    value,
                );
            }
            simd.store(value, slot);
        }
    }
}
