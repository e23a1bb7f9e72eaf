//! Convolutions, which linear layers are too, one pass at a time: inputs that are 0 and outputs that
//! are dropped cost next to nothing.

use super::layout::Words;
use super::masks::{MaskAt, Masks};
use super::number::Number;
use crate::engine::native::{Conv, Drop};

/// Outputs whose masks are looked at together.
const BITS: usize = u32::BITS as usize;

/// The live inputs of a row of output pixels: factors, and places of their weights.
#[derive(Debug)]
pub(super) struct Gathered<'a> {
    pub(super) pairs: &'a mut [[u32; 2]],
    /// For each column where its inputs begin in `pairs`; at last their number.
    pub(super) starts: &'a mut [u16],
}

/// A column of an image: some pixels one below the other.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Strip<'a, V> {
    /// From the first pixel on.
    pub(super) values: &'a [V],
    pub(super) rows: usize,
    /// Values of a pixel, and from one to the next.
    pub(super) pixel: usize,
    pub(super) down: usize,
    /// Of the weights of the first group, and from one group to the next.
    pub(super) place: u32,
    pub(super) outputs: u32,
}

impl<V> Strip<'_, V> {
    /// As [`Number::gather`].
    #[inline(always)]
    pub(super) fn gather(
        self,
        group: usize,
        factor: impl Fn(&[V]) -> u32,
        room: &mut [[u32; 2]],
    ) -> usize {
        let (mut place, mut count) = (self.place, 0);
        for row in 0..self.rows {
            let pixel = &self.values[row * self.down..][..self.pixel];
            let room = &mut room[count..][..self.pixel / group];
            let mut written = 0;
            for values in pixel.chunks_exact(group) {
                let factor = factor(values);
                if factor != 0 {
                    room[written] = [factor, place];
                    written += 1;
                }
                place = place.wrapping_add(self.outputs);
            }
            count += written;
        }
        count
    }
}

/// Those of one output pixel.
#[derive(Debug, Clone, Copy)]
struct Inputs<'a> {
    pairs: &'a [[u32; 2]],
    /// What places are too large by.
    shift: usize,
}

/// The weights of an output channel.
#[derive(Debug, Clone, Copy)]
pub struct Column<'a> {
    weights: &'a [u32],
    shift: usize,
}

impl<'a> Column<'a> {
    fn new(weights: &'a [u32], shift: usize) -> Self {
        Self { weights, shift }
    }

    /// Where the weight of place 0 would lie.
    #[cfg(all(target_arch = "arm", feature = "dsp"))]
    pub(super) fn begin(self) -> *const u32 {
        self.weights.as_ptr().wrapping_sub(self.shift)
    }

    /// The weight of a place.
    ///
    /// # Safety
    /// The place is that of a tap.
    #[inline(always)]
    #[allow(unsafe_code)]
    pub(super) unsafe fn at(self, place: u32) -> u32 {
        let place = (place as usize).wrapping_sub(self.shift);
        debug_assert!(place < self.weights.len());
        // SAFETY: the place is that of a tap, as the caller promises.
        unsafe { *self.weights.get_unchecked(place) }
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
    conv: &'a Conv,
    weights: &'a [u32],
    biases: &'a [u32],
    scales: &'a [u32],
    /// None in the stem.
    masks: Option<&'a Masks<'a>>,
    /// Of the dropouts before the pooling and behind it.
    drops: [Option<MaskAt>; 2],
    input: &'a [N::Value],
}

impl<'a, N: Number> Task<'a, N> {
    /// `weights` are all of the plan's; there are no masks in the stem.
    pub(super) fn new(
        conv: &'a Conv,
        weights: &'a [u32],
        masks: Option<&'a Masks<'a>>,
        input: &'a [N::Value],
    ) -> Self {
        let outputs = conv.geometry.output.channels;
        let taps = Words::taps(N::FORMAT, conv).unwrap_or(0) * outputs;
        let (weights, constants) = weights[conv.weights..].split_at(taps);
        let at = |drop: Option<Drop>| Some(masks?.site(drop?, outputs));
        Self {
            conv,
            weights,
            biases: &constants[..outputs],
            scales: &constants[(N::CONSTANTS - 1) * outputs..][..outputs],
            masks,
            drops: [at(conv.before), at(conv.after)],
            input,
        }
    }

    /// Does it, row by row.
    #[inline(never)]
    pub(super) fn run(&self, gathered: &mut Gathered<'_>, target: &mut Target<'_, N>) {
        let conv = self.conv;
        let whole = conv.geometry.output;
        let written = conv.output();
        let ([rows, columns], [row_step, column_step]) = match conv.pool {
            Some(pool) => (pool.kernel, pool.stride),
            None => ([1, 1], [1, 1]),
        };
        for window_row in 0..written.height {
            for position_row in 0..rows {
                let row = window_row * row_step + position_row;
                self.gather(row, gathered);
                for window_column in 0..written.width {
                    for position_column in 0..columns {
                        let column = window_column * column_step + position_column;
                        let place = Place {
                            first: position_row + position_column == 0,
                            pixels: [
                                row * whole.width + column,
                                window_row * written.width + window_column,
                            ],
                        };
                        self.pixel(place, self.of_column(column, gathered), target);
                    }
                }
            }
        }
    }

    /// Lists the inputs of a row of output pixels that are not 0, each as a factor and the place of its
    /// weights: column by column, so that those of one pixel lie side by side.
    #[inline(never)]
    fn gather(&self, row: usize, gathered: &mut Gathered<'_>) {
        let geometry = &self.conv.geometry;
        let outputs = self.biases.len();
        let (width, channels) = (geometry.input.width, geometry.input.channels);
        let stride = Words::channels(N::FORMAT, channels);
        let groups = stride / N::GROUP;
        let (first_row, last_row) = geometry.rows(row);
        let y = row * geometry.stride[0] + first_row - geometry.padding[0];
        let image = &self.input[y * width * stride..];
        let mut count = 0;
        let mut place = first_row * groups * outputs;
        for x in 0..width {
            gathered.starts[x] = count as u16;
            let strip = Strip {
                values: &image[x * stride..],
                rows: last_row - first_row,
                pixel: stride,
                down: width * stride,
                place: place as u32,
                outputs: outputs as u32,
            };
            count += N::gather(strip, &mut gathered.pairs[count..]);
            place += geometry.kernel[0] * groups * outputs;
        }
        gathered.starts[width] = count as u16;
    }

    /// What was gathered for an output pixel.
    fn of_column<'g>(&self, column: usize, gathered: &'g Gathered<'_>) -> Inputs<'g> {
        let geometry = &self.conv.geometry;
        let (first, last) = geometry.columns(column);
        let x = column * geometry.stride[1] + first - geometry.padding[1];
        let [from, to] = [x, x + last - first].map(|x| usize::from(gathered.starts[x]));
        // Places count from the first column of the image, the kernel's from its own.
        let groups = geometry.input.channels.div_ceil(N::GROUP);
        let per_column = geometry.kernel[0] * groups * self.biases.len();
        Inputs {
            pairs: &gathered.pairs[from..to],
            shift: x.wrapping_sub(first).wrapping_mul(per_column),
        }
    }

    /// Which of 32 channels at most of a pixel are kept: bit 0 is that of `first`.
    #[inline(always)]
    fn kept(&self, pixels: [usize; 2], first: usize) -> u32 {
        let channels = BITS.min(self.biases.len() - first);
        let mut kept = u32::MAX >> (BITS - channels);
        if let Some(masks) = self.masks {
            for (at, pixel) in self.drops.into_iter().zip(pixels) {
                if let Some(at) = at {
                    kept &= masks.kept(at, pixel, first, channels);
                }
            }
        }
        kept
    }

    /// Works out those of a pixel's channels that are kept, as many together as there are registers
    /// for.
    #[inline(never)]
    fn pixel(&self, place: Place, inputs: Inputs<'_>, target: &mut Target<'_, N>) {
        let outputs = self.biases.len();
        let mut target = match target {
            Target::Values(values) => {
                let stride = Words::channels(N::FORMAT, outputs);
                let values = &mut values[place.pixels[1] * stride..][..outputs];
                if place.first {
                    values.fill(N::ZERO);
                }
                Target::Values(values)
            }
            Target::Logits(logits) => Target::Logits(logits),
        };
        for first in (0..outputs).step_by(BITS) {
            let mut kept = self.kept(place.pixels, first);
            // Where the window may hold less than 0, what is dropped counts.
            if let (Target::Values(values), false) = (&mut target, place.first || self.conv.relu) {
                for (channel, value) in values[first..].iter_mut().take(BITS).enumerate() {
                    if kept >> channel & 1 == 0 && *value < N::ZERO {
                        *value = N::ZERO;
                    }
                }
            }
            while kept != 0 {
                let mut channels = [0; 4];
                match take(&mut kept, first, &mut channels) {
                    1 => self.some::<1>(place, inputs, &channels, &mut target),
                    2 => self.some::<2>(place, inputs, &channels, &mut target),
                    3 => self.some::<3>(place, inputs, &channels, &mut target),
                    _ => self.some::<4>(place, inputs, &channels, &mut target),
                }
            }
        }
    }

    /// Works out the first of some channels of a pixel: here all the time goes.
    #[inline(never)]
    #[allow(unsafe_code)]
    fn some<const C: usize>(
        &self,
        place: Place,
        inputs: Inputs<'_>,
        channels: &[usize; 4],
        target: &mut Target<'_, N>,
    ) {
        let channels: [usize; C] = core::array::from_fn(|i| channels[i]);
        debug_assert!(channels.iter().all(|channel| *channel < self.biases.len()));
        // SAFETY: `take` yields channels of this layer, and each has a bias and weights; from
        // its first weight on, its weights for all inputs lie within the weights. `gather` yields places
        // of taps, and `of_column` those within the kernel.
        let sums = unsafe {
            let columns = channels
                .map(|channel| Column::new(self.weights.get_unchecked(channel..), inputs.shift));
            let sums = channels.map(|channel| N::bias(*self.biases.get_unchecked(channel)));
            N::sums(inputs.pairs, columns, sums)
        };
        // SAFETY: as above.
        unsafe { self.write(channels, sums, place.first, target) };
    }

    /// Writes some channels of a pixel, the `first` of its window or not.
    ///
    /// # Safety
    /// The channels are those of this layer.
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn write<const C: usize>(
        &self,
        channels: [usize; C],
        sums: [N::Sum; C],
        first: bool,
        target: &mut Target<'_, N>,
    ) {
        let first = first && !self.conv.relu;
        // SAFETY: there is a scale for each channel.
        let scale = |channel: usize| unsafe { *self.scales.get_unchecked(channel) };
        match target {
            Target::Logits(logits) => {
                for (channel, sum) in channels.into_iter().zip(sums) {
                    logits[channel] = N::logit(sum, scale(channel));
                }
            }
            Target::Values(values) => {
                let values = &mut values[..self.biases.len()];
                for (channel, sum) in channels.into_iter().zip(sums) {
                    // SAFETY: there is a value for each channel.
                    let value = unsafe { values.get_unchecked_mut(channel) };
                    N::raise(value, sum, scale(channel), first);
                }
            }
        }
    }

    /// Does a layer whose weights are four to a word: every input, no gathering.
    #[inline(never)]
    pub(super) fn packed(&self, target: &mut Target<'_, N>) {
        let outputs = self.biases.len();
        let input: &[u32] = bytemuck::cast_slice(self.input);
        if let Target::Values(values) = target {
            values[..outputs].fill(N::ZERO);
        }
        for first in (0..outputs).step_by(BITS) {
            let mut kept = self.kept([0; 2], first);
            while kept != 0 {
                let mut channels = [0; 3];
                match take(&mut kept, first, &mut channels) {
                    1 => self.some_packed::<1>(input, &channels, target),
                    2 => self.some_packed::<2>(input, &channels, target),
                    _ => self.some_packed::<3>(input, &channels, target),
                }
            }
        }
    }

    #[inline(never)]
    #[allow(unsafe_code)]
    fn some_packed<const C: usize>(
        &self,
        input: &[u32],
        channels: &[usize; 3],
        target: &mut Target<'_, N>,
    ) {
        let channels: [usize; C] = core::array::from_fn(|i| channels[i]);
        let words = input.len();
        let rows = channels.map(|channel| &self.weights[channel * words..][..words]);
        let biases = channels.map(|channel| N::bias(self.biases[channel]));
        let sums = N::packed_sums(input, rows, biases);
        // SAFETY: `take` yields channels of this layer.
        unsafe { self.write(channels, sums, true, target) };
    }
}

/// One output pixel.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Whether it is the first of its window.
    first: bool,
    /// Itself, and that of its window behind the pooling.
    pixels: [usize; 2],
}

/// The first of the channels whose bits are set, which are then no more; and how many these are.
#[inline(always)]
fn take<const C: usize>(bits: &mut u32, first: usize, channels: &mut [usize; C]) -> usize {
    for (count, channel) in channels.iter_mut().enumerate() {
        if *bits == 0 {
            return count;
        }
        *channel = first + bits.trailing_zeros() as usize;
        *bits &= *bits - 1;
    }
    C
}
