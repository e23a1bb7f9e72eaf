//! Convolutions, which linear layers are too, one pass at a time: inputs that are 0 and outputs that
//! are dropped cost next to nothing.

use super::layout::Words;
use super::masks::{MaskAt, Masks};
use super::number::Number;
use crate::engine::native::Conv;

/// Outputs that are worked out together.
const TOGETHER: usize = 4;

/// Which groups of a convolution's input are not 0, in rising order.
#[derive(Debug)]
pub(super) struct Live<'a> {
    groups: &'a mut [u16],
    /// For each pixel where its groups begin in `groups`; at last their number.
    starts: &'a mut [u16],
    pixels: usize,
    count: usize,
}

impl<'a> Live<'a> {
    /// An empty list, to be filled pixel by pixel.
    pub(super) fn new(groups: &'a mut [u16], starts: &'a mut [u16]) -> Self {
        Self {
            groups,
            starts,
            pixels: 0,
            count: 0,
        }
    }

    /// Forgets what is listed.
    pub(super) fn clear(&mut self) {
        self.pixels = 0;
        self.count = 0;
    }

    /// Begins the next pixel.
    #[inline(always)]
    pub(super) fn pixel(&mut self) {
        self.starts[self.pixels] = self.count as u16;
        self.pixels += 1;
    }

    /// Adds a group of the pixel begun last, behind those before it.
    #[inline(always)]
    pub(super) fn push(&mut self, group: usize) {
        self.groups[self.count] = group as u16;
        self.count += 1;
    }

    /// Looks through an image of `pixels`, each of so many `groups`.
    #[inline(never)]
    pub(super) fn collect<N: Number>(&mut self, pixels: usize, groups: usize, input: &[N::Value]) {
        let mut group = 0;
        let mut values = input.chunks_exact(N::GROUP);
        for _ in 0..pixels {
            self.pixel();
            for values in values.by_ref().take(groups) {
                if N::factor(values) != 0 {
                    self.push(group);
                }
                group += 1;
            }
        }
    }

    /// The groups of the pixels from `first` to before `end`.
    #[inline(always)]
    fn run(&self, first: usize, end: usize) -> &[u16] {
        let from = usize::from(self.starts[first]);
        let to = if end < self.pixels {
            self.starts[end].into()
        } else {
            self.count
        };
        &self.groups[from..to]
    }
}

/// Where what a convolution yields goes to.
#[derive(Debug)]
pub(super) enum Target<'a, N: Number> {
    /// To be read by the next operation.
    Values(&'a mut [N::Value]),
    /// The end.
    Logits(&'a mut [f32]),
}

/// A convolution and all that it reads.
#[derive(Debug)]
pub(super) struct Task<'a, N: Number> {
    pub(super) conv: &'a Conv,
    /// From those of this convolution on.
    pub(super) weights: &'a [u32],
    /// None in the stem.
    pub(super) masks: Option<&'a Masks<'a>>,
    pub(super) input: &'a [N::Value],
}

impl<N: Number> Task<'_, N> {
    /// Does it. `gathered` has room for a pair for each tap.
    #[inline(never)]
    pub(super) fn run(
        &self,
        live: &Live<'_>,
        gathered: &mut [[u32; 2]],
        target: &mut Target<'_, N>,
    ) {
        let conv = self.conv;
        let whole = conv.geometry.output;
        let written = conv.output();
        let ([rows, columns], [row_step, column_step]) = match conv.pool {
            Some(pool) => (pool.kernel, pool.stride),
            None => ([1, 1], [1, 1]),
        };
        let stride = Words::channels(N::FORMAT, written.channels);
        for window in 0..written.height * written.width {
            let (window_row, window_column) = (window / written.width, window % written.width);
            let after = self.mask(conv.after, window, written.height * written.width);
            for position in 0..rows * columns {
                let row = window_row * row_step + position / columns;
                let column = window_column * column_step + position % columns;
                let pixel = row * whole.width + column;
                let before = self.mask(conv.before, pixel, whole.height * whole.width);
                let count = self.gather(live, [row, column], gathered);
                let pixel = Pixel {
                    output: window * stride,
                    first: position == 0,
                    before,
                    after,
                };
                self.pixel(pixel, &gathered[..count], target);
            }
        }
    }

    fn mask(
        &self,
        drop: Option<crate::engine::native::Drop>,
        pixel: usize,
        pixels: usize,
    ) -> Option<MaskAt> {
        Some(self.masks?.at(drop?, pixel, pixels))
    }

    /// Lists the live inputs of an output pixel, each as a factor and the place of its weights, and
    /// returns how many there are.
    #[inline(always)]
    fn gather(
        &self,
        live: &Live<'_>,
        [row, column]: [usize; 2],
        gathered: &mut [[u32; 2]],
    ) -> usize {
        let geometry = &self.conv.geometry;
        let outputs = geometry.output.channels;
        let groups = geometry.input.channels.div_ceil(N::GROUP);
        let (first_row, last_row) = geometry.rows(row);
        let (first_column, last_column) = geometry.columns(column);
        let x = column * geometry.stride[1] + first_column - geometry.padding[1];
        let mut count = 0;
        for kernel_row in first_row..last_row {
            let y = row * geometry.stride[0] + kernel_row - geometry.padding[0];
            let first = y * geometry.input.width + x;
            let run = live.run(first, first + last_column - first_column);
            // Group and tap rise together along a run.
            let tap = (kernel_row * geometry.kernel[1] + first_column) * groups;
            let tap_of_first = (tap as u32).wrapping_sub((first * groups) as u32);
            let room = &mut gathered[count..][..run.len()];
            for (gathered, group) in room.iter_mut().zip(run) {
                let values = &self.input[usize::from(*group) * N::GROUP..][..N::GROUP];
                let tap = u32::from(*group).wrapping_add(tap_of_first);
                *gathered = [N::factor(values), tap * outputs as u32];
            }
            count += run.len();
        }
        count
    }

    /// Works out those of a pixel's channels that are kept.
    #[inline(always)]
    fn pixel(&self, pixel: Pixel, gathered: &[[u32; 2]], target: &mut Target<'_, N>) {
        let outputs = self.conv.geometry.output.channels;
        let mut chosen = [0; TOGETHER];
        let mut count = 0;
        for channel in 0..outputs {
            let kept = |at: Option<MaskAt>| match (self.masks, at) {
                (Some(masks), Some(at)) => masks.keeps(at, channel),
                _ => true,
            };
            if kept(pixel.before) && kept(pixel.after) {
                chosen[count] = channel;
                count += 1;
                if count == TOGETHER {
                    self.some::<TOGETHER>(pixel, gathered, chosen, target);
                    count = 0;
                }
            } else {
                raise::<N>(pixel, channel, bytemuck::Zeroable::zeroed(), target);
            }
        }
        match chosen[..count] {
            [a] => self.some(pixel, gathered, [a], target),
            [a, b] => self.some(pixel, gathered, [a, b], target),
            [a, b, c] => self.some(pixel, gathered, [a, b, c], target),
            _ => {}
        }
    }

    #[inline(always)]
    fn some<const C: usize>(
        &self,
        pixel: Pixel,
        gathered: &[[u32; 2]],
        channels: [usize; C],
        target: &mut Target<'_, N>,
    ) {
        let outputs = self.conv.geometry.output.channels;
        let taps = Words::taps(N::FORMAT, self.conv).unwrap_or(0) * outputs;
        let (weights, constants) = self.weights.split_at(taps);
        let mut sums = [N::bias(0); C];
        for i in 0..C {
            sums[i] = N::bias(constants[channels[i]]);
        }
        sums = sum::<N, C>(gathered, weights, outputs, channels, sums);
        let scales = &constants[(N::CONSTANTS - 1) * outputs..];
        for (channel, sum) in channels.into_iter().zip(sums) {
            let scale = scales[channel];
            match target {
                Target::Logits(logits) => logits[channel] = N::logit(sum, scale),
                Target::Values(_) => {
                    let value = N::value(sum, scale, self.conv.relu);
                    raise::<N>(pixel, channel, value, target);
                }
            }
        }
    }

    /// A layer whose weights are four to a word: every input, no gathering.
    #[inline(never)]
    pub(super) fn packed(&self, target: &mut Target<'_, N>) {
        let conv = self.conv;
        let outputs = conv.geometry.output.channels;
        let words = Words::taps(N::FORMAT, conv).unwrap_or(0);
        let input: &[u32] = bytemuck::cast_slice(self.input);
        let (weights, constants) = self.weights.split_at(words * outputs);
        let (biases, scales) = constants.split_at(outputs);
        let at = [self.mask(conv.before, 0, 1), self.mask(conv.after, 0, 1)];
        for channel in 0..outputs {
            let kept = at
                .iter()
                .flatten()
                .all(|at| self.masks.is_none_or(|masks| masks.keeps(*at, channel)));
            let mut sum = N::bias(biases[channel]);
            if kept {
                let row = &weights[channel * words..][..words];
                for (weights, values) in row.iter().zip(input) {
                    if *values != 0 {
                        sum = N::multiply_add_packed(sum, *weights, *values);
                    }
                }
            }
            match target {
                Target::Logits(logits) => logits[channel] = N::logit(sum, scales[channel]),
                Target::Values(values) => {
                    values[channel] = if kept {
                        N::value(sum, scales[channel], conv.relu)
                    } else {
                        bytemuck::Zeroable::zeroed()
                    };
                }
            }
        }
    }
}

/// One output pixel, and its place in a window of the pooling.
#[derive(Debug, Clone, Copy)]
struct Pixel {
    /// Where its channels go in the output.
    output: usize,
    /// Whether it is the first of its window.
    first: bool,
    before: Option<MaskAt>,
    after: Option<MaskAt>,
}

/// Writes a value, or the larger one of it and that of an earlier place in the window.
#[inline(always)]
fn raise<N: Number>(pixel: Pixel, channel: usize, value: N::Value, target: &mut Target<'_, N>) {
    if let Target::Values(values) = target {
        let slot = &mut values[pixel.output + channel];
        if pixel.first || value > *slot {
            *slot = value;
        }
    }
}

/// Adds the products of what was gathered to `sums`, of so many channels: where all the time goes.
///
/// # Panics
/// If a channel is not below `outputs`.
#[inline(always)]
#[allow(unsafe_code)]
fn sum<N: Number, const C: usize>(
    gathered: &[[u32; 2]],
    weights: &[u32],
    outputs: usize,
    channels: [usize; C],
    mut sums: [N::Sum; C],
) -> [N::Sum; C] {
    assert!(channels.iter().all(|channel| *channel < outputs));
    for [factor, place] in gathered {
        let place = *place as usize;
        debug_assert!(place + outputs <= weights.len());
        for i in 0..C {
            // SAFETY: `gather` yields places `tap · outputs` of taps within the kernel, because
            // `Live` lists the groups of a pixel in order and no others, so that with the assertion
            // above the index lies within the weights.
            let word = unsafe { *weights.get_unchecked(place + channels[i]) };
            sums[i] = N::multiply_add(sums[i], word, *factor);
        }
    }
    sums
}
