//! What is computed once a frame: the stem, and the sorted windows at the head's begin.

use super::conv::gather;
use super::kernels::{Elementwise, Pool, PoolKind};
use super::layout::{COUNTS, Layout};
use super::plan::{Conv, Op, Pick, Program};
use super::simd::{Kernel, LANES, Level, Simd};

/// Pixels whose sums are taken together.
const PIXELS: usize = 8;

/// The head's begin for one frame: in each *live* window the values that can be its largest.
///
/// A window in which no value is positive is 0 in every pass, and never looked at again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    /// Values of all live windows, those of one in rising order, scaled by 1/q.
    pub(super) values: &'a [f32],
    /// For each value the element of the mask that keeps it.
    pub(super) elements: &'a [u32],
    /// For each live window the element of the head's input that it yields, in rising order.
    pub(super) outputs: &'a [u32],
    /// For each live window where its values end.
    pub(super) ends: &'a [u32],
    /// For each pixel the first of its live windows, and at last their number.
    pub(super) starts: &'a [u32],
    /// The mask's blocks of four elements that keep a value.
    pub(super) mask_blocks: &'a [u32],
    /// Live inputs of each output pixel of the head's first convolution, and where each pixel's end;
    /// empty if there is no such list.
    pub(super) listed: &'a [[u32; 2]],
    pub(super) listed_ends: &'a [u32],
}

/// The frame's words, cut into lists.
struct Lists<'a> {
    elements: &'a mut [u32],
    outputs: &'a mut [u32],
    ends: &'a mut [u32],
    starts: &'a mut [u32],
    mask_blocks: &'a mut [u32],
    /// Live windows; mask blocks.
    counts: &'a mut [u32],
    listed_ends: &'a mut [u32],
    listed: &'a mut [[u32; 2]],
}

impl<'a> Lists<'a> {
    fn new(layout: &Layout, words: &'a mut [u32]) -> Self {
        let (elements, words) = words.split_at_mut(layout.window_entries);
        let (outputs, words) = words.split_at_mut(layout.windows);
        let (ends, words) = words.split_at_mut(layout.windows);
        let (starts, words) = words.split_at_mut(layout.pixels);
        let (mask_blocks, words) = words.split_at_mut(layout.mask_blocks);
        let (counts, words) = words.split_at_mut(COUNTS);
        let (listed_ends, words) = words.split_at_mut(layout.listed_pixels);
        Self {
            elements,
            outputs,
            ends,
            starts,
            mask_blocks,
            counts,
            listed_ends,
            listed: &mut words.as_chunks_mut().0[..layout.listed],
        }
    }
}

impl<'a> Frame<'a> {
    /// What [`begin`] left.
    pub(super) fn new(layout: &Layout, values: &'a [f32], words: &'a [u32]) -> Self {
        let (elements, words) = words.split_at(layout.window_entries);
        let (outputs, words) = words.split_at(layout.windows);
        let (ends, words) = words.split_at(layout.windows);
        let (starts, words) = words.split_at(layout.pixels);
        let (mask_blocks, words) = words.split_at(layout.mask_blocks);
        let (counts, words) = words.split_at(COUNTS);
        let (listed_ends, words) = words.split_at(layout.listed_pixels);
        let [windows, blocks] = [counts[0] as usize, counts[1] as usize];
        Self {
            values: &values[layout.window_values..],
            elements,
            outputs: &outputs[..windows],
            ends: &ends[..windows],
            starts,
            mask_blocks: &mask_blocks[..blocks],
            listed: &words.as_chunks().0[..layout.listed],
            listed_ends,
        }
    }
}

/// Runs the stem on one input, `[channel][row][column]`, and sorts the windows of its output.
pub(super) fn begin(
    program: &Program<'_>,
    layout: &Layout,
    level: Level,
    input: &[f32],
    values: &mut [f32],
    words: &mut [u32],
) {
    let (areas, window_values) = values.split_at_mut(layout.window_values);
    let (mut from, mut to) = areas.split_at_mut(layout.stem_area);
    channels_last(input, program.input.channels, from);
    for op in program.stem {
        let (read, write) = (&from[..op.input().len()], &mut *to);
        match op {
            Op::Conv(conv) => level.run(StemConv {
                conv,
                weights: &program.weights[conv.weights..],
                input: read,
                output: write,
            }),
            Op::MaxPool(geometry) => Level::SCALAR.run(Pool {
                kind: PoolKind::Max,
                geometry,
                input: read,
                output: write,
            }),
            Op::AvgPool {
                geometry,
                count_padding,
            } => Level::SCALAR.run(Pool {
                kind: PoolKind::Mean {
                    count_padding: *count_padding,
                },
                geometry,
                input: read,
                output: write,
            }),
            Op::Relu(_) | Op::Affine { .. } | Op::Dropout { .. } => {
                Level::SCALAR.run(Elementwise {
                    op,
                    weights: program.weights,
                    masks: &[],
                    sites: program.sites,
                    shift: 0,
                    input: read,
                    output: write,
                });
            }
        }
        if let Op::Conv(Conv {
            pool: Some(pool), ..
        }) = op
        {
            core::mem::swap(&mut from, &mut to);
            Level::SCALAR.run(Pool {
                kind: PoolKind::Max,
                geometry: pool,
                input: &from[..pool.input.len()],
                output: to,
            });
        }
        core::mem::swap(&mut from, &mut to);
    }
    let mut lists = Lists::new(layout, words);
    sort_windows(program.pick, from, window_values, &mut lists);
    if let (Some(Op::Conv(conv)), false) = (program.head.first(), lists.listed_ends.is_empty()) {
        level.run(ListInputs {
            conv,
            live: &lists.outputs[..lists.counts[0] as usize],
            starts: lists.starts,
            listed: lists.listed,
            ends: lists.listed_ends,
        });
    }
}

/// Lists the live inputs of all output pixels of the head's first convolution.
struct ListInputs<'a> {
    conv: &'a Conv,
    live: &'a [u32],
    starts: &'a [u32],
    listed: &'a mut [[u32; 2]],
    ends: &'a mut [u32],
}

impl Kernel for ListInputs<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let mut count = 0;
        for (end, pixel) in self.ends.iter_mut().zip(self.conv.pixels()) {
            let room = &mut self.listed[count..];
            count += gather(self.conv, self.live, self.starts, pixel, room);
            *end = count as u32;
        }
    }
}

fn channels_last(input: &[f32], channels: usize, output: &mut [f32]) {
    let pixels = input.len() / channels.max(1);
    for (channel, plane) in input.chunks_exact(pixels.max(1)).enumerate() {
        for (pixel, value) in plane.iter().enumerate() {
            output[pixel * channels + channel] = *value;
        }
    }
}

/// A convolution of one image, with output channels as lanes.
struct StemConv<'a> {
    conv: &'a Conv,
    weights: &'a [f32],
    input: &'a [f32],
    output: &'a mut [f32],
}

impl Kernel for StemConv<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let geometry = &self.conv.geometry;
        for row in 0..geometry.output.height {
            let mut column = 0;
            while column < geometry.output.width {
                let whole = (0, geometry.kernel[1]);
                let together = column + PIXELS <= geometry.output.width
                    && geometry.columns(column) == whole
                    && geometry.columns(column + PIXELS - 1) == whole;
                if together {
                    self.pixels::<S, PIXELS>(simd, row, column);
                    column += PIXELS;
                } else {
                    self.pixels::<S, 1>(simd, row, column);
                    column += 1;
                }
            }
        }
    }
}

impl StemConv<'_> {
    /// `P` neighbours in a row; all of the kernel's columns are the same for all of them.
    #[inline(always)]
    fn pixels<S: Simd, const P: usize>(&mut self, simd: S, row: usize, column: usize) {
        let geometry = &self.conv.geometry;
        let (inputs, outputs) = (geometry.input.channels, geometry.output.channels);
        let (first_row, last_row) = geometry.rows(row);
        let (first_column, last_column) = geometry.columns(column);
        let bias = &self.weights[self.conv.taps()..];
        let step = geometry.stride[1] * inputs;
        let line = geometry.input.width * inputs;
        for channel in (0..outputs).step_by(S::LANES) {
            let mut sums = [simd.load(&S::slots(&bias[channel..][..S::LANES])[0]); P];
            for kernel_row in first_row..last_row {
                let y = row * geometry.stride[0] + kernel_row - geometry.padding[0];
                let x = column * geometry.stride[1] + first_column - geometry.padding[1];
                let taps = (last_column - first_column) * inputs;
                let tap = (kernel_row * geometry.kernel[1] + first_column) * inputs;
                let weights = &self.weights[tap * outputs + channel..];
                let input = &self.input[y * line + x * inputs..][..(P - 1) * step + taps];
                for tap in 0..taps {
                    let weights = simd.load(&S::slots(&weights[tap * outputs..][..S::LANES])[0]);
                    for (pixel, sum) in sums.iter_mut().enumerate() {
                        let value = simd.splat(input[pixel * step + tap]);
                        *sum = simd.multiply_add(value, weights, *sum);
                    }
                }
            }
            let lanes = S::LANES.min(outputs - channel);
            for (pixel, mut sum) in sums.into_iter().enumerate() {
                if self.conv.relu {
                    sum = simd.max(sum, simd.splat(0.0));
                }
                let at = (row * geometry.output.width + column + pixel) * outputs + channel;
                if outputs <= S::LANES {
                    // What is too much for this pixel is written over by the next.
                    let whole = &mut self.output[at..at + S::LANES];
                    simd.store(sum, &mut S::slots_mut(whole)[0]);
                } else {
                    let mut vector = [0.0; LANES];
                    simd.store(sum, &mut S::slots_mut(&mut vector)[0]);
                    self.output[at..at + lanes].copy_from_slice(&vector[..lanes]);
                }
            }
        }
    }
}

/// Fills the lists of a [`Frame`].
fn sort_windows(pick: &Pick, stem: &[f32], values: &mut [f32], lists: &mut Lists<'_>) {
    let geometry = &pick.windows;
    let (input, output) = (geometry.input, geometry.output);
    let mut sorter = Sorter {
        pick,
        stem,
        values,
        lists,
        entries: 0,
        windows: 0,
    };
    sorter.lists.mask_blocks.fill(0);
    for row in 0..output.height {
        let (first_row, last_row) = geometry.rows(row);
        let y = row * geometry.stride[0] + first_row - geometry.padding[0];
        for column in 0..output.width {
            let (first_column, last_column) = geometry.columns(column);
            let x = column * geometry.stride[1] + first_column - geometry.padding[1];
            let size = [last_row - first_row, last_column - first_column];
            let pixel = row * output.width + column;
            let place = y * input.width + x;
            sorter.lists.starts[pixel] = sorter.windows as u32;
            match size {
                [1, 1] => sorter.pixel::<1, 1>(pixel, place),
                [2, 2] => sorter.pixel::<2, 4>(pixel, place),
                [3, 3] => sorter.pixel::<3, 9>(pixel, place),
                _ => sorter.any_pixel(pixel, place, size),
            }
        }
    }
    let Sorter {
        lists,
        entries: _,
        windows,
        ..
    } = sorter;
    lists.starts[output.height * output.width] = windows as u32;
    let mut blocks = 0;
    for block in 0..lists.mask_blocks.len() {
        let needed = lists.mask_blocks[block];
        lists.mask_blocks[blocks] = block as u32;
        blocks += needed as usize;
    }
    lists.counts[0] = windows as u32;
    lists.counts[1] = blocks as u32;
}

struct Sorter<'a, 'b> {
    pick: &'a Pick,
    stem: &'a [f32],
    values: &'a mut [f32],
    lists: &'a mut Lists<'b>,
    entries: usize,
    windows: usize,
}

impl Sorter<'_, '_> {
    /// Sorts the windows of one output pixel, of all channels: `SIDE` values wide and high, `N` in
    /// all.
    #[inline(always)]
    fn pixel<const SIDE: usize, const N: usize>(&mut self, pixel: usize, place: usize) {
        let input = self.pick.windows.input;
        let channels = input.channels;
        let [per_channel, per_place] = self.numbering();
        let (scale, relu) = (self.pick.scale, self.pick.relu);
        let mut rows: [&[f32]; SIDE] = [&[]; SIDE];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = &self.stem[(place + i * input.width) * channels..][..SIDE * channels];
        }
        for channel in 0..channels {
            let mut values = [0.0; N];
            let mut largest = f32::NEG_INFINITY;
            for i in 0..SIDE {
                for j in 0..SIDE {
                    let value = rows[i][j * channels + channel] * scale;
                    values[i * SIDE + j] = value;
                    largest = if value > largest { value } else { largest };
                }
            }
            // What an image shows as background is so in many windows side by side.
            if relu && largest <= 0.0 {
                continue;
            }
            let begin = self.entries;
            let mut keys = [0; N];
            for i in 0..SIDE {
                for j in 0..SIDE {
                    let value = values[i * SIDE + j];
                    let live = if relu { value > 0.0 } else { value != 0.0 };
                    let element = channel * per_channel + (place + i * input.width + j) * per_place;
                    self.lists.mask_blocks[element / 4] |= u32::from(live);
                    keys[i * SIDE + j] = key(value, element) * u64::from(live);
                }
            }
            sort(&mut keys);
            for key in keys {
                // Written whether live or not: what is not is written over. Branches on which of a
                // window's values are positive would be foreseen badly.
                if self.entries < self.values.len() {
                    self.write(self.entries, key);
                }
                self.entries += usize::from(key != 0);
            }
            self.end_window(begin, pixel * channels + channel);
        }
    }

    /// As [`Sorter::pixel`], for windows of any size.
    fn any_pixel(&mut self, pixel: usize, place: usize, size: [usize; 2]) {
        let input = self.pick.windows.input;
        let [per_channel, per_place] = self.numbering();
        for channel in 0..input.channels {
            let begin = self.entries;
            for i in 0..size[0] * size[1] {
                let place = place + i / size[1] * input.width + i % size[1];
                let value = self.stem[place * input.channels + channel] * self.pick.scale;
                if value > 0.0 || (!self.pick.relu && value != 0.0) {
                    let element = channel * per_channel + place * per_place;
                    self.lists.mask_blocks[element / 4] = 1;
                    self.insert(begin, key(value, element));
                }
            }
            self.end_window(begin, pixel * input.channels + channel);
        }
    }

    /// The mask's element of channel `c` at place `p` is `c` times the first plus `p` times the
    /// second.
    fn numbering(&self) -> [usize; 2] {
        let input = self.pick.windows.input;
        if self.pick.drop.per_channel {
            [1, 0]
        } else {
            [input.height * input.width, 1]
        }
    }

    /// The window that began at entry `begin` yields `output`, if anything.
    #[inline(always)]
    fn end_window(&mut self, begin: usize, output: usize) {
        if self.entries > begin {
            self.lists.outputs[self.windows] = output as u32;
            self.lists.ends[self.windows] = self.entries as u32;
            self.windows += 1;
        }
    }

    fn write(&mut self, at: usize, key: u64) {
        self.values[at] = f32::from_bits((key >> 32) as u32);
        self.lists.elements[at] = key as u32;
    }

    /// Puts a value among those of its window, in rising order.
    fn insert(&mut self, begin: usize, key: u64) {
        let value = f32::from_bits((key >> 32) as u32);
        let mut at = self.entries;
        while at > begin && self.values[at - 1] > value {
            self.values[at] = self.values[at - 1];
            self.lists.elements[at] = self.lists.elements[at - 1];
            at -= 1;
        }
        self.write(at, key);
        self.entries += 1;
    }
}

/// Positive numbers are in the order of their bits, so whole keys can be compared.
#[inline(always)]
fn key(value: f32, element: usize) -> u64 {
    u64::from(value.to_bits()) << 32 | element as u64
}

/// Sorts a few keys without branches.
#[inline(always)]
fn sort<const N: usize>(keys: &mut [u64; N]) {
    for end in (1..N).rev() {
        for i in 0..end {
            let (a, b) = (keys[i], keys[i + 1]);
            keys[i] = a.min(b);
            keys[i + 1] = a.max(b);
        }
    }
}
