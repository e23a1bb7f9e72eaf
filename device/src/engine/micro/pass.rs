//! What is computed in every pass.

use core::ops::Range;

use shared::mask::MaskSource;

use super::conv::{Gathered, Live, Target, Task};
use super::file::PlanFile;
use super::layout::{Layout, Words};
use super::masks::{self, Masks};
use super::number::Number;
use super::record::is_last;
use super::stem::{Parts, packed, parts};
use crate::engine::native::{Geometry, Op, Pick};

/// A plan with the memory in which the stem has left its output.
pub(super) struct Run<'a, N: Number> {
    plan: &'a PlanFile<'a>,
    stem: &'a [N::Value],
    live: &'a [u32],
    needed: &'a [u32],
    masks: &'a mut [u8],
    picked: &'a mut [N::Value],
    areas: [&'a mut [N::Value]; 2],
    listed: &'a mut [u16],
    starts: &'a mut [u16],
    gathered: Gathered<'a>,
}

impl<'a, N: Number> Run<'a, N> {
    pub(super) fn new(plan: &'a PlanFile<'a>, layout: &Layout, memory: &'a mut [u32]) -> Self {
        let Parts {
            stem,
            live,
            needed,
            masks,
            shared,
            listed,
            starts,
            gathered,
        } = parts(layout, memory);
        let (picked, areas) = shared.split_at_mut(layout.picked);
        let (a, b) = areas.split_at_mut(layout.head_area);
        let b = &mut b[..layout.head_area];
        Self {
            plan,
            stem: bytemuck::cast_slice(stem),
            live,
            needed,
            masks: bytemuck::cast_slice_mut(masks),
            picked: bytemuck::cast_slice_mut(picked),
            areas: [bytemuck::cast_slice_mut(a), bytemuck::cast_slice_mut(b)],
            listed,
            starts,
            gathered,
        }
    }

    /// Makes ready for the passes of a frame: the stem has worked in the same memory, and what is
    /// not live is read as 0.
    pub(super) fn clear(&mut self) {
        let zero = N::ZERO;
        self.picked.fill(zero);
        self.areas[0].fill(zero);
        self.areas[1].fill(zero);
    }

    /// Draws the masks of the eight passes from `first` on.
    pub(super) fn draw(&mut self, source: MaskSource, frame: u32, first: u32) {
        masks::draw(self.plan, source, frame, first, self.needed, self.masks);
    }

    /// Runs one pass whose masks are drawn. Calls `observe` with what each operation has written,
    /// the head's begin first.
    pub(super) fn pass(
        &mut self,
        pass: u32,
        logits: &mut [f32],
        mut observe: impl FnMut(usize, &[N::Value]),
    ) {
        let Ok(pick) = self.plan.pick() else { return };
        let masks = Masks {
            plan: self.plan,
            bytes: self.masks,
            bit: pass % masks::PASSES,
        };
        let mut live = Live::new(&mut *self.listed, &mut *self.starts);
        // A linear layer reads an image as one pixel, and in eight bits it needs no list.
        let mut listed = match self.plan.head().next() {
            Some(Ok(Op::Conv(conv))) => {
                conv.geometry.input == pick.windows.output
                    && !(N::PACKED && Words::is_linear(&conv))
            }
            _ => false,
        };
        choose::<N>(
            &pick,
            self.plan.order(),
            self.stem,
            self.live,
            &masks,
            self.picked,
            listed.then_some(&mut live),
        );
        observe(0, self.picked);
        let [a, b] = &mut self.areas;
        let (mut from, mut to): (&mut [N::Value], &mut [N::Value]) = (&mut *self.picked, &mut **a);
        let mut spare: Option<&mut [N::Value]> = Some(&mut **b);
        let last = self.plan.head().len().wrapping_sub(1);
        let mut written = false;
        for (index, op) in self.plan.head().flatten().enumerate() {
            if let Op::Conv(conv) = &op {
                let ends = index == last && is_last(conv);
                let mut target = if ends {
                    Target::Logits(&mut *logits)
                } else {
                    Target::Values(&mut *to)
                };
                written |= ends;
                let input = packed::<N>(conv, from);
                let task = Task::<N>::new(conv, self.plan.weights(), Some(&masks), input);
                if N::PACKED && Words::is_linear(conv) {
                    task.packed(&mut target);
                } else {
                    if !listed {
                        let shape = conv.geometry.input;
                        let groups = shape.channels.div_ceil(N::GROUP);
                        live.clear();
                        live.collect::<N>(shape.height * shape.width, groups, input);
                    }
                    task.run(&live, &mut self.gathered, &mut target);
                }
            } else {
                let input = &from[..Words::of(N::FORMAT, op.input())];
                pointwise::<N>(self.plan, &op, Some(&masks), input, to);
            }
            listed = false;
            observe(index + 1, to);
            // The next writes where this one has read, unless that was the head's first input.
            let read = core::mem::replace(&mut from, to);
            to = spare.take().unwrap_or(read);
        }
        if !written {
            for (logit, value) in logits.iter_mut().zip(&*from) {
                *logit = N::logit(N::plain(*value), 1.0_f32.to_bits());
            }
        }
    }
}

/// The head's first input: of each live window the largest value that is kept, or 0. Lists those
/// that are not 0.
#[inline(never)]
fn choose<N: Number>(
    pick: &Pick,
    order: Option<&[u32]>,
    stem: &[N::Value],
    live: &[u32],
    masks: &Masks<'_>,
    output: &mut [N::Value],
    mut list: Option<&mut Live<'_>>,
) {
    let geometry = &pick.windows;
    let (input, channels) = (geometry.input, geometry.output.channels);
    let stride = Words::channels(N::FORMAT, channels);
    let words = channels.div_ceil(32);
    let site = masks.site(pick.drop, input.height * input.width);
    let view = View::<N> {
        values: stem,
        masks: masks.bytes,
        bit: 1 << masks.bit,
        step: site.of_channel(1),
        right: [site.of_pixel(1), stride],
        down: [site.of_pixel(input.width), input.width * stride],
        relu: pick.relu,
    };
    let mut pixel = 0;
    for row in 0..geometry.output.height {
        let (first_row, last_row) = geometry.rows(row);
        let y = row * geometry.stride[0] + first_row - geometry.padding[0];
        for column in 0..geometry.output.width {
            if let Some(list) = &mut list {
                list.pixel();
            }
            for word in 0..words {
                let bits = live[pixel * words + word];
                if bits == 0 {
                    continue;
                }
                let (first_column, last_column) = geometry.columns(column);
                let x = column * geometry.stride[1] + first_column - geometry.padding[1];
                let (place, channel) = (y * input.width + x, 32 * word);
                let first = [site.pixel(place).begin(), place * stride + channel];
                let order =
                    order.map_or(Order::Same(channel), |order| Order::Of(&order[channel..]));
                let output = &mut output[pixel * stride + channel..];
                let size = [last_row - first_row, last_column - first_column];
                let mut found = match size {
                    [1, 1] => view.windows::<1>(bits, order, first, output),
                    [2, 2] => view.windows::<2>(bits, order, first, output),
                    [3, 3] => view.windows::<3>(bits, order, first, output),
                    size => view.largest(bits, order, first, size, output),
                };
                if let Some(list) = &mut list {
                    let first = (pixel * stride + channel) / N::GROUP;
                    while found != 0 {
                        let group = found.trailing_zeros() as usize / N::GROUP;
                        found &= u32::MAX
                            .checked_shl(((group + 1) * N::GROUP) as u32)
                            .unwrap_or(0);
                        list.push(first + group);
                    }
                }
            }
            pixel += 1;
        }
    }
}

/// Which of the dropout's channels some channels are.
#[derive(Clone, Copy)]
enum Order<'a> {
    /// Those from this one on.
    Same(usize),
    /// These.
    Of(&'a [u32]),
}

/// The stem's output and its masks in one pass.
struct View<'a, N: Number> {
    values: &'a [N::Value],
    masks: &'a [u8],
    /// The pass's bit.
    bit: u8,
    /// How far masks are from one channel to the next.
    step: usize,
    /// How far masks and values are from one column to the next, and from one row to the next.
    right: [usize; 2],
    down: [usize; 2],
    relu: bool,
}

impl<N: Number> View<'_, N> {
    /// As [`View::largest`], for windows of so many rows and columns.
    #[inline(never)]
    fn windows<const SIDE: usize>(
        &self,
        bits: u32,
        order: Order<'_>,
        first: [usize; 2],
        output: &mut [N::Value],
    ) -> u32 {
        self.largest(bits, order, first, [SIDE; 2], output)
    }

    /// Writes for each of 32 channels at most, those whose `bits` are set, the largest value of a
    /// window that is kept, or 0, and tells where that is not 0. `first` are the places of the
    /// window's first mask, of channel 0, and value.
    #[inline(always)]
    #[allow(unsafe_code)]
    fn largest(
        &self,
        mut bits: u32,
        order: Order<'_>,
        first: [usize; 2],
        [rows, columns]: [usize; 2],
        output: &mut [N::Value],
    ) -> u32 {
        let mut found = 0;
        let (masks, values) = (self.masks.get(first[0]..), self.values.get(first[1]..));
        let (Some(masks), Some(values)) = (masks, values) else {
            return 0;
        };
        // Without ReLU a window is a single value, which may be negative.
        let signed = rows * columns == 1 && !self.relu;
        while bits != 0 {
            let channel = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            let of_mask = match order {
                Order::Same(first) => first + channel,
                Order::Of(order) => order[channel] as usize,
            };
            let (masks, values) = (&masks[of_mask * self.step..], &values[channel..]);
            let mut largest = N::ZERO;
            for row in 0..rows {
                for column in 0..columns {
                    let mask = row * self.down[0] + column * self.right[0];
                    let value = row * self.down[1] + column * self.right[1];
                    debug_assert!(mask < masks.len() && value < values.len());
                    // SAFETY: the window lies within the image, as `PlanFile::parse` has checked; the
                    // stem's output and the masks of its site are as large as the image.
                    let (mask, value) =
                        unsafe { (*masks.get_unchecked(mask), *values.get_unchecked(value)) };
                    if mask & self.bit != 0 && (value > largest || signed) {
                        largest = value;
                    }
                }
            }
            output[channel] = largest;
            found |= u32::from(largest != N::ZERO) << channel;
        }
        found
    }
}

/// Rows and columns of the image in the window that yields a pixel.
#[inline(always)]
pub(super) fn window(geometry: &Geometry, pixel: usize) -> [Range<usize>; 2] {
    let (row, column) = (pixel / geometry.output.width, pixel % geometry.output.width);
    let (first_row, last_row) = geometry.rows(row);
    let (first_column, last_column) = geometry.columns(column);
    let y = row * geometry.stride[0] + first_row - geometry.padding[0];
    let x = column * geometry.stride[1] + first_column - geometry.padding[1];
    [
        y..y + last_row - first_row,
        x..x + last_column - first_column,
    ]
}

/// Whatever is no convolution.
#[inline(never)]
pub(super) fn pointwise<N: Number>(
    plan: &PlanFile<'_>,
    op: &Op,
    masks: Option<&Masks<'_>>,
    input: &[N::Value],
    output: &mut [N::Value],
) {
    let zero = N::ZERO;
    let shape = op.output();
    let stride = Words::channels(N::FORMAT, shape.channels);
    let pixels = shape.height * shape.width;
    for pixel in 0..pixels {
        for channel in 0..shape.channels {
            let element = pixel * stride + channel;
            output[element] = match op {
                Op::MaxPool(geometry) | Op::AvgPool { geometry, .. } => {
                    let [rows, columns] = window(geometry, pixel);
                    let count = match op {
                        Op::AvgPool {
                            count_padding: true,
                            ..
                        } => geometry.kernel[0] * geometry.kernel[1],
                        _ => rows.len() * columns.len(),
                    };
                    let mut values = rows.flat_map(|row| {
                        columns.clone().map(move |column| {
                            input[(row * geometry.input.width + column) * stride + channel]
                        })
                    });
                    if matches!(op, Op::MaxPool(_)) {
                        let first = values.next().unwrap_or(zero);
                        values.fold(first, |a, b| if b > a { b } else { a })
                    } else {
                        N::mean(values, count)
                    }
                }
                Op::Affine { weights, .. } => {
                    let words = &plan.weights()[*weights..][..2 * shape.channels];
                    N::affine(
                        input[element],
                        words[channel],
                        words[shape.channels + channel],
                    )
                }
                Op::Dropout { drop, scale, .. } => {
                    let kept = masks.is_some_and(|masks| {
                        masks.keeps(masks.site(*drop, pixels).pixel(pixel), channel)
                    });
                    if kept {
                        N::scaled(input[element], *scale)
                    } else {
                        zero
                    }
                }
                _ if input[element] < zero => zero,
                _ => input[element],
            };
        }
    }
}
