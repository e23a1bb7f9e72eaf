//! Convolutions, which linear layers are too, one pass at a time: inputs that are 0 and outputs that
//! are dropped cost next to nothing.

use super::layout::Words;
use super::masks::{MaskAt, Masks};
use super::number::Number;
use crate::engine::native::{Conv, Drop};

/// Outputs whose masks are looked at together.
const BITS: usize = u32::BITS as usize;

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
                if !N::is_zero(values) {
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

/// The live inputs of a row of output pixels: factors, and places of their weights.
#[derive(Debug)]
pub(super) struct Gathered<'a> {
    pub(super) pairs: &'a mut [[u32; 2]],
    /// For each column where its inputs begin in `pairs`; at last their number.
    pub(super) starts: &'a mut [u16],
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
        // SAFETY: the caller's.
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
        Self {
            conv,
            weights,
            biases: &constants[..outputs],
            scales: &constants[(N::CONSTANTS - 1) * outputs..][..outputs],
            masks,
            input,
        }
    }

    /// Does it, row by row.
    #[inline(never)]
    pub(super) fn run(
        &self,
        live: &Live<'_>,
        gathered: &mut Gathered<'_>,
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
        let mask = |drop: Option<Drop>, pixels| Some(self.masks?.site(drop?, pixels));
        let before = mask(conv.before, whole.height * whole.width);
        let after = mask(conv.after, written.height * written.width);
        for window_row in 0..written.height {
            for position_row in 0..rows {
                let row = window_row * row_step + position_row;
                self.gather(live, row, gathered);
                for window_column in 0..written.width {
                    let window = window_row * written.width + window_column;
                    for position_column in 0..columns {
                        let column = window_column * column_step + position_column;
                        let place = Place {
                            output: window * stride,
                            first: position_row + position_column == 0,
                            masks: [
                                before.map(|at| at.pixel(row * whole.width + column)),
                                after.map(|at| at.pixel(window)),
                            ],
                        };
                        self.pixel(place, self.of_column(column, gathered), target);
                    }
                }
            }
        }
    }

    /// Lists the live inputs of a row of output pixels, each as a factor and the place of its weights:
    /// column by column, so that those of one pixel lie side by side.
    #[inline(never)]
    #[allow(unsafe_code)]
    fn gather(&self, live: &Live<'_>, row: usize, gathered: &mut Gathered<'_>) {
        let geometry = &self.conv.geometry;
        let outputs = self.biases.len() as u32;
        let groups = geometry.input.channels.div_ceil(N::GROUP);
        let width = geometry.input.width;
        let (first_row, last_row) = geometry.rows(row);
        let y = row * geometry.stride[0] + first_row - geometry.padding[0];
        let mut count = 0;
        for x in 0..width {
            gathered.starts[x] = count as u16;
            let mut pixel = y * width + x;
            let mut tap = (x * geometry.kernel[0] + first_row) * groups;
            for _ in first_row..last_row {
                let run = live.run(pixel, pixel + 1);
                // Group and tap rise together along a run.
                let tap_of_first = (tap as u32).wrapping_sub((pixel * groups) as u32);
                let room = &mut gathered.pairs[count..][..run.len()];
                // SAFETY: `Live` lists groups of this input only.
                unsafe {
                    N::gather(
                        run,
                        self.input,
                        outputs,
                        tap_of_first.wrapping_mul(outputs),
                        room,
                    );
                };
                count += run.len();
                pixel += width;
                tap += groups;
            }
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

    /// Works out those of a pixel's channels that are kept, as many together as there are registers
    /// for.
    fn pixel(&self, place: Place, inputs: Inputs<'_>, target: &mut Target<'_, N>) {
        let outputs = self.biases.len();
        let zero = N::ZERO;
        if let (Target::Values(values), true) = (&mut *target, place.first) {
            values[place.output..][..outputs].fill(zero);
        }
        for first in (0..outputs).step_by(BITS) {
            let channels = BITS.min(outputs - first);
            let all = u32::MAX >> (BITS - channels);
            let mut kept = all;
            if let Some(masks) = self.masks {
                for at in place.masks.into_iter().flatten() {
                    kept &= masks.kept(at, first, channels);
                }
            }
            // Where the window may hold less than 0, what is dropped counts.
            if let (Target::Values(values), false) = (&mut *target, place.first || self.conv.relu) {
                let mut dropped = all & !kept;
                while dropped != 0 {
                    let [channel] = take(&mut dropped, first);
                    raise::<N>(place, &mut values[place.output + channel], zero);
                }
            }
            while kept != 0 {
                match kept.count_ones() {
                    1 => self.some::<1>(place, inputs, take(&mut kept, first), target),
                    2 => self.some::<2>(place, inputs, take(&mut kept, first), target),
                    3 => self.some::<3>(place, inputs, take(&mut kept, first), target),
                    _ => self.some::<4>(place, inputs, take(&mut kept, first), target),
                }
            }
        }
    }

    /// Works out some channels of a pixel: here all the time goes.
    #[inline(never)]
    #[allow(unsafe_code)]
    fn some<const C: usize>(
        &self,
        place: Place,
        inputs: Inputs<'_>,
        channels: [usize; C],
        target: &mut Target<'_, N>,
    ) {
        let columns = channels.map(|channel| Column::new(&self.weights[channel..], inputs.shift));
        let sums = channels.map(|channel| N::bias(self.biases[channel]));
        // SAFETY: `gather` yields places of taps, because `Live` lists the groups of a pixel in order
        // and no others, and `of_column` those within the kernel; from a channel's first weight on,
        // its weights for all of these lie within the weights.
        let sums = unsafe { N::sums(inputs.pairs, columns, sums) };
        for (channel, sum) in channels.into_iter().zip(sums) {
            let scale = self.scales[channel];
            match target {
                Target::Logits(logits) => logits[channel] = N::logit(sum, scale),
                Target::Values(values) => {
                    let value = N::value(sum, scale, self.conv.relu);
                    raise::<N>(place, &mut values[place.output + channel], value);
                }
            }
        }
    }

    /// Does a layer whose weights are four to a word: every input, no gathering.
    #[inline(never)]
    pub(super) fn packed(&self, target: &mut Target<'_, N>) {
        let conv = self.conv;
        let mask = |drop: Option<Drop>| Some(self.masks?.site(drop?, 1).pixel(0));
        let place = Place {
            output: 0,
            first: true,
            masks: [mask(conv.before), mask(conv.after)],
        };
        let outputs = self.biases.len();
        let input: &[u32] = bytemuck::cast_slice(self.input);
        if let Target::Values(values) = target {
            values[..outputs].fill(N::ZERO);
        }
        for first in (0..outputs).step_by(BITS) {
            let channels = BITS.min(outputs - first);
            let mut kept = u32::MAX >> (BITS - channels);
            if let Some(masks) = self.masks {
                for at in place.masks.into_iter().flatten() {
                    kept &= masks.kept(at, first, channels);
                }
            }
            while kept != 0 {
                match kept.count_ones() {
                    1 => self.some_packed::<1>(input, take(&mut kept, first), target),
                    2 => self.some_packed::<2>(input, take(&mut kept, first), target),
                    _ => self.some_packed::<3>(input, take(&mut kept, first), target),
                }
            }
        }
    }

    #[inline(never)]
    fn some_packed<const C: usize>(
        &self,
        input: &[u32],
        channels: [usize; C],
        target: &mut Target<'_, N>,
    ) {
        let words = input.len();
        let rows = channels.map(|channel| &self.weights[channel * words..][..words]);
        let mut sums = channels.map(|channel| N::bias(self.biases[channel]));
        for (word, values) in input.iter().enumerate() {
            if *values != 0 {
                for i in 0..C {
                    sums[i] = N::multiply_add_packed(sums[i], rows[i][word], *values);
                }
            }
        }
        for (channel, sum) in channels.into_iter().zip(sums) {
            let scale = self.scales[channel];
            match target {
                Target::Logits(logits) => logits[channel] = N::logit(sum, scale),
                Target::Values(values) => values[channel] = N::value(sum, scale, self.conv.relu),
            }
        }
    }
}

/// One output pixel.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Where its channels go in the output.
    output: usize,
    /// Whether it is the first of its window.
    first: bool,
    /// Of the dropouts before the pooling and behind it.
    masks: [Option<MaskAt>; 2],
}

/// The first of the channels whose bits are set, which are then no more.
#[inline(always)]
fn take<const C: usize>(bits: &mut u32, first: usize) -> [usize; C] {
    [(); C].map(|()| {
        let channel = first + bits.trailing_zeros() as usize;
        *bits &= bits.wrapping_sub(1);
        channel
    })
}

/// Writes a value, or the larger one of it and that of an earlier place in the window.
#[inline(always)]
fn raise<N: Number>(place: Place, slot: &mut N::Value, value: N::Value) {
    if place.first || value > *slot {
        *slot = value;
    }
}
