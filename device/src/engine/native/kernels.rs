//! The operations of the head but for convolutions, for any number of lanes. The stem uses some,
//! with one.

use super::frame::Frame;
use super::plan::{Drop, Geometry, Op, Site};
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
            ..
        } = self;
        let output = S::slots_mut(self.output);
        if self.dense {
            for slot in &mut *output {
                simd.store(simd.splat(0.0), slot);
            }
        }
        let mut entry = 0;
        for (element, end) in frame.outputs.iter().zip(frame.ends) {
            let mut largest = simd.splat(0.0);
            let entries = entry..*end as usize;
            let values = frame.values[entries.clone()].iter();
            for (value, place) in values.zip(&frame.elements[entries]) {
                let bits = masks[*place as usize] >> shift;
                largest = simd.pick(bits, simd.splat(*value), largest);
            }
            entry = *end as usize;
            simd.store(largest, &mut output[*element as usize]);
        }
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
pub(super) struct MaskAt {
    pub(super) first: usize,
    pub(super) step: usize,
}

impl MaskAt {
    #[inline(always)]
    pub(super) fn new(sites: &[Site], drop: Drop, pixel: usize, pixels: usize) -> Self {
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
