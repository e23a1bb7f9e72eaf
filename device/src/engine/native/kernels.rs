//! The operations of the head, for any number of lanes. The stem uses those without weights, with
//! one.

use super::frame::Frame;
use super::plan::{Conv, Drop, Geometry, Op, Site};
use super::simd::{Kernel, Simd};

/// Which of the inputs of a convolution are not 0 in every lane, in rising order.
#[derive(Debug)]
pub(super) struct Live<'a> {
    pub(super) elements: &'a mut [u32],
    /// For each pixel where its elements begin in `elements`; at last their number.
    pub(super) starts: &'a mut [u32],
}

/// The head's first input: of each window the largest value that is kept.
pub(super) struct Picker<'a> {
    pub(super) frame: &'a Frame<'a>,
    pub(super) masks: &'a [u32],
    pub(super) shift: u32,
    /// Whether elements outside of live windows are to be written, too.
    pub(super) dense: bool,
    pub(super) live: Live<'a>,
    pub(super) output: &'a mut [f32],
}

impl Kernel for Picker<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self {
            frame,
            masks,
            shift,
            live,
            ..
        } = self;
        let output = S::slots_mut(self.output);
        if self.dense {
            for slot in &mut *output {
                simd.store(simd.splat(0.0), slot);
            }
        }
        let (mut entry, mut count) = (0, 0);
        for (pixel, window) in frame.starts.windows(2).enumerate() {
            live.starts[pixel] = count as u32;
            let windows = window[0] as usize..window[1] as usize;
            for (element, end) in frame.outputs[windows.clone()]
                .iter()
                .zip(&frame.ends[windows])
            {
                let mut largest = simd.splat(0.0);
                let entries = entry..*end as usize;
                for (value, place) in frame.values[entries.clone()]
                    .iter()
                    .zip(&frame.elements[entries])
                {
                    let bits = masks[*place as usize] >> shift;
                    largest = simd.pick(bits, simd.splat(*value), largest);
                }
                entry = *end as usize;
                simd.store(largest, &mut output[*element as usize]);
                live.elements[count] = *element;
                count += usize::from(simd.any(largest));
            }
        }
        live.starts[frame.starts.len() - 1] = count as u32;
    }
}

/// Finds the live inputs of a convolution.
pub(super) struct Collect<'a> {
    pub(super) channels: usize,
    pub(super) pixels: usize,
    pub(super) live: Live<'a>,
    pub(super) input: &'a [f32],
}

impl Kernel for Collect<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let input = S::slots(self.input);
        let mut count = 0;
        for (pixel, slots) in input
            .chunks_exact(self.channels)
            .take(self.pixels)
            .enumerate()
        {
            self.live.starts[pixel] = count as u32;
            for (channel, slot) in slots.iter().enumerate() {
                self.live.elements[count] = (pixel * self.channels + channel) as u32;
                count += usize::from(simd.any(simd.load(slot)));
            }
        }
        self.live.starts[self.pixels] = count as u32;
    }
}

/// A dropout's mask words for one pixel: the word of channel `c` is at `first + c · step`.
#[derive(Debug, Clone, Copy)]
struct MaskAt {
    first: usize,
    step: usize,
}

impl MaskAt {
    #[inline(always)]
    fn new(sites: &[Site], drop: Drop, pixel: usize, pixels: usize) -> Self {
        let words = sites[drop.site].words;
        if drop.per_channel {
            Self {
                first: words,
                step: 1,
            }
        } else {
            Self {
                first: words + pixel,
                step: pixels,
            }
        }
    }
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
    /// Room for the live inputs of one output pixel.
    pub(super) gathered: &'a mut [[u32; 2]],
    pub(super) input: &'a [f32],
    pub(super) output: &'a mut [f32],
}

/// One output pixel, and its place in a window of the pooling.
#[derive(Debug, Clone, Copy)]
struct Pixel {
    row: usize,
    column: usize,
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
        let count = self.gather(pixel);
        if S::LANES == 1 {
            return self.kept(simd, pixel, count);
        }
        let outputs = self.conv.geometry.output.channels;
        let tiles = outputs.div_ceil(S::TILE);
        let mut channel = 0;
        for tile in 0..tiles {
            let end = outputs * (tile + 1) / tiles;
            macro_rules! tile {
                ($n:literal) => {
                    if $n <= S::TILE {
                        let channels = core::array::from_fn(|i| channel + i);
                        let sums = self.sums::<S, $n>(simd, count, channels);
                        self.write(simd, pixel, channel, sums);
                    }
                };
            }
            with_number!(end - channel, tile, 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24);
            channel = end;
        }
    }

    /// Lists the live inputs of an output pixel, each with the place of its weights, and returns how
    /// many there are. So each tile of channels is one loop, not one for each row of the kernel.
    #[inline(always)]
    fn gather(&mut self, pixel: Pixel) -> usize {
        let geometry = &self.conv.geometry;
        let (inputs, outputs) = (geometry.input.channels, geometry.output.channels);
        let (first_row, last_row) = geometry.rows(pixel.row);
        let (first_column, last_column) = geometry.columns(pixel.column);
        let mut count = 0;
        for kernel_row in first_row..last_row {
            let y = pixel.row * geometry.stride[0] + kernel_row - geometry.padding[0];
            let line = y * geometry.input.width;
            let x = pixel.column * geometry.stride[1];
            let first = line + x + first_column - geometry.padding[1];
            let last = line + x + last_column - geometry.padding[1];
            let run = if geometry.input.height * geometry.input.width == 1 {
                // A linear layer, whose input may have been an image when the list was made.
                self.live
            } else {
                &self.live[self.starts[first] as usize..self.starts[last] as usize]
            };
            let tap = (kernel_row * geometry.kernel[1] + first_column) * inputs;
            // Element and tap rise together along a run.
            let tap_of_first = (tap as u32).wrapping_sub((first * inputs) as u32);
            let places = &mut self.gathered[count..][..run.len()];
            for (place, element) in places.iter_mut().zip(run) {
                let tap = element.wrapping_add(tap_of_first);
                *place = [*element, tap.wrapping_mul(outputs as u32)];
            }
            count += run.len();
        }
        count
    }

    /// Pre-activations of `N` channels, of those inputs that were gathered: of `channels[0]` and the
    /// channels behind it, or, with one lane, of any.
    #[inline(always)]
    fn sums<S: Simd, const N: usize>(
        &self,
        simd: S,
        gathered: usize,
        channels: [usize; N],
    ) -> [S::Vector; N] {
        let outputs = self.conv.geometry.output.channels;
        let input = S::slots(self.input);
        let (weights, bias) = self.weights.split_at(self.conv.taps());
        let mut sums = [simd.splat(0.0); N];
        for i in 0..N {
            sums[i] = simd.splat(bias[channels[i]]);
        }
        for [element, place] in &self.gathered[..gathered] {
            let value = simd.load(&input[*element as usize]);
            if S::LANES == 1 {
                let weights = &weights[*place as usize..][..outputs];
                for i in 0..N {
                    sums[i] = simd.multiply_add(simd.splat(weights[channels[i]]), value, sums[i]);
                }
            } else {
                let weights = &weights[*place as usize..][channels[0]..][..N];
                for i in 0..N {
                    sums[i] = simd.multiply_add(simd.splat(weights[i]), value, sums[i]);
                }
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

    /// With one lane: only outputs that are kept are worked out, four at a time.
    #[inline(always)]
    fn kept<S: Simd>(&mut self, simd: S, pixel: Pixel, gathered: usize) {
        let outputs = self.conv.geometry.output.channels;
        let mut chosen = [0; 4];
        let mut count = 0;
        for channel in 0..outputs {
            let kept = |mask: Option<MaskAt>| {
                mask.is_none_or(|mask| {
                    self.masks[mask.first + channel * mask.step] >> self.shift & 1 == 1
                })
            };
            if kept(pixel.before) && kept(pixel.after) {
                chosen[count] = channel;
                count += 1;
            } else {
                self.write(simd, pixel, channel, [simd.splat(0.0)]);
            }
            if count == chosen.len() {
                self.some::<S, 4>(simd, pixel, gathered, chosen);
                count = 0;
            }
        }
        match chosen[..count] {
            [a] => self.some(simd, pixel, gathered, [a]),
            [a, b] => self.some(simd, pixel, gathered, [a, b]),
            [a, b, c] => self.some(simd, pixel, gathered, [a, b, c]),
            _ => {}
        }
    }

    #[inline(always)]
    fn some<S: Simd, const N: usize>(
        &mut self,
        simd: S,
        pixel: Pixel,
        gathered: usize,
        channels: [usize; N],
    ) {
        let sums = self.sums::<S, N>(simd, gathered, channels);
        for (channel, sum) in channels.into_iter().zip(sums) {
            self.write(simd, pixel, channel, [sum]);
        }
    }
}

/// Pooling that is a step of its own.
pub(super) struct Pool<'a> {
    pub(super) geometry: &'a Geometry,
    pub(super) kind: PoolKind,
    pub(super) input: &'a [f32],
    pub(super) output: &'a mut [f32],
}

/// What a window becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PoolKind {
    /// Its largest value.
    Max,
    /// Its mean.
    Mean {
        /// Whether padding counts as zeros.
        count_padding: bool,
    },
}

impl Kernel for Pool<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { geometry, kind, .. } = self;
        let (input, output) = (S::slots(self.input), S::slots_mut(self.output));
        let channels = geometry.output.channels;
        let line = geometry.input.width * channels;
        for row in 0..geometry.output.height {
            let (first_row, last_row) = geometry.rows(row);
            let y = row * geometry.stride[0] + first_row - geometry.padding[0];
            for column in 0..geometry.output.width {
                let (first_column, last_column) = geometry.columns(column);
                let x = column * geometry.stride[1] + first_column - geometry.padding[1];
                let (rows, columns) = (last_row - first_row, last_column - first_column);
                let count = match kind {
                    PoolKind::Mean {
                        count_padding: true,
                    } => geometry.kernel[0] * geometry.kernel[1],
                    _ => rows * columns,
                };
                let written = (row * geometry.output.width + column) * channels;
                for channel in 0..channels {
                    let first = y * line + x * channels + channel;
                    let mut result = match kind {
                        PoolKind::Max => simd.splat(f32::NEG_INFINITY),
                        PoolKind::Mean { .. } => simd.splat(0.0),
                    };
                    for i in 0..rows {
                        for j in 0..columns {
                            let value = simd.load(&input[first + i * line + j * channels]);
                            result = match kind {
                                PoolKind::Max => simd.max(result, value),
                                PoolKind::Mean { .. } => simd.add(result, value),
                            };
                        }
                    }
                    if kind != PoolKind::Max {
                        let share = simd.splat(1.0 / count as f32);
                        result = simd.multiply_add(result, share, simd.splat(0.0));
                    }
                    simd.store(result, &mut output[written + channel]);
                }
            }
        }
    }
}

/// What is done to each value alone.
pub(super) struct Elementwise<'a> {
    pub(super) op: &'a Op,
    pub(super) weights: &'a [f32],
    pub(super) sites: &'a [Site],
    pub(super) masks: &'a [u32],
    pub(super) shift: u32,
    pub(super) input: &'a [f32],
    pub(super) output: &'a mut [f32],
}

impl Kernel for Elementwise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let shape = self.op.output();
        let channels = shape.channels;
        let pixels = shape.height * shape.width;
        let input = S::slots(self.input).chunks_exact(channels);
        let output = S::slots_mut(self.output).chunks_exact_mut(channels);
        for (pixel, (input, output)) in input.zip(output).take(pixels).enumerate() {
            for (channel, (read, write)) in input.iter().zip(output).enumerate() {
                let value = simd.load(read);
                let value = match *self.op {
                    Op::Relu(_) => simd.max(value, simd.splat(0.0)),
                    Op::Affine { weights, .. } => {
                        let scale = self.weights[weights + channel];
                        let shift = self.weights[weights + channels + channel];
                        simd.multiply_add(value, simd.splat(scale), simd.splat(shift))
                    }
                    Op::Dropout { drop, scale, .. } => {
                        let mask = MaskAt::new(self.sites, drop, pixel, pixels);
                        let bits = self.masks[mask.first + channel * mask.step] >> self.shift;
                        let scaled = simd.multiply_add(value, simd.splat(scale), simd.splat(0.0));
                        simd.keep(bits, scaled)
                    }
                    _ => value,
                };
                simd.store(value, write);
            }
        }
    }
}
