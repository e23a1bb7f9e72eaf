//! What is computed in every pass.

use core::ops::Range;

use shared::mask::MaskSource;

use super::conv::{Live, Target, Task};
use super::file::PlanFile;
use super::layout::{Layout, Words};
use super::masks::{self, Masks};
use super::number::Number;
use super::record::is_last;
use super::stem::{Parts, parts};
use crate::engine::native::{Geometry, Op, Pick};

/// A plan with the memory in which the stem has left its output.
pub(super) struct Run<'a, N: Number> {
    plan: &'a PlanFile<'a>,
    stem: &'a [N::Value],
    live: &'a [u32],
    masks: &'a mut [u8],
    picked: &'a mut [N::Value],
    areas: [&'a mut [N::Value]; 2],
    listed: &'a mut [u16],
    starts: &'a mut [u16],
    gathered: &'a mut [[u32; 2]],
}

impl<'a, N: Number> Run<'a, N> {
    pub(super) fn new(plan: &'a PlanFile<'a>, layout: &Layout, memory: &'a mut [u32]) -> Self {
        let Parts {
            stem,
            live,
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
            masks: bytemuck::cast_slice_mut(masks),
            picked: bytemuck::cast_slice_mut(picked),
            areas: [bytemuck::cast_slice_mut(a), bytemuck::cast_slice_mut(b)],
            listed,
            starts,
            gathered,
        }
    }

    /// Draws the masks of the eight passes from `first` on, and makes ready for them.
    pub(super) fn draw(&mut self, source: MaskSource, frame: u32, first: u32) {
        // The stem has worked here; what is not live is read as 0.
        let zero = bytemuck::Zeroable::zeroed();
        self.picked.fill(zero);
        self.areas[0].fill(zero);
        self.areas[1].fill(zero);
        let Ok(pick) = self.plan.pick() else { return };
        let (stem, shape) = (self.stem, pick.windows.input);
        let pixels = shape.height * shape.width;
        let stride = Words::channels(N::FORMAT, shape.channels);
        let needed = |block: usize| {
            pick.drop.per_channel
                || (4 * block..4 * block + 4).any(|element| {
                    // Beyond the last element is nothing.
                    let value = stem.get(element % pixels * stride + element / pixels);
                    value.is_some_and(|value| *value != zero)
                })
        };
        masks::draw(self.plan, source, frame, first, needed, self.masks);
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
            let input = &from[..Words::of(N::FORMAT, op.input())];
            if let Op::Conv(conv) = &op {
                let ends = index == last && is_last(conv);
                let mut target = if ends {
                    Target::Logits(&mut *logits)
                } else {
                    Target::Values(&mut *to)
                };
                written |= ends;
                let task = Task::<N> {
                    conv,
                    weights: &self.plan.weights()[conv.weights..],
                    masks: Some(&masks),
                    input,
                };
                if N::PACKED && Words::is_linear(conv) {
                    // Whole words, of which the last may hold zeros.
                    let words = Words::taps(N::FORMAT, conv).unwrap_or(0);
                    let task = Task {
                        input: &from[..4 * words],
                        ..task
                    };
                    task.packed(&mut target);
                } else {
                    if !listed {
                        let shape = conv.geometry.input;
                        let groups = shape.channels.div_ceil(N::GROUP);
                        live.clear();
                        live.collect::<N>(shape.height * shape.width, groups, input);
                    }
                    task.run(&live, self.gathered, &mut target);
                }
            } else {
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
    stem: &[N::Value],
    live: &[u32],
    masks: &Masks<'_>,
    output: &mut [N::Value],
    mut list: Option<&mut Live<'_>>,
) {
    let zero: N::Value = bytemuck::Zeroable::zeroed();
    let geometry = &pick.windows;
    let (input, channels) = (geometry.input, geometry.output.channels);
    let stride = Words::channels(N::FORMAT, channels);
    let words = channels.div_ceil(32);
    let pixels = input.height * input.width;
    for pixel in 0..geometry.output.height * geometry.output.width {
        if let Some(list) = &mut list {
            list.pixel();
        }
        let [rows, columns] = window(geometry, pixel);
        let first = rows.start * input.width + columns.start;
        let at = masks.at(pick.drop, first, pixels);
        let mut listed = usize::MAX;
        for word in 0..words {
            let mut bits = live[pixel * words + word];
            while bits != 0 {
                let channel = 32 * word + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let mut largest = zero;
                for row in 0..rows.len() {
                    for column in 0..columns.len() {
                        let place = row * input.width + column;
                        let kept = masks.keeps_near(at, channel, place, pick.drop.per_channel);
                        let value = stem[(first + place) * stride + channel];
                        // Without ReLU a window is a single value, which may be negative.
                        if kept && (value > largest || !pick.relu) {
                            largest = value;
                        }
                    }
                }
                let element = pixel * stride + channel;
                output[element] = largest;
                let group = element / N::GROUP;
                if largest != zero && group != listed {
                    listed = group;
                    if let Some(list) = &mut list {
                        list.push(group);
                    }
                }
            }
        }
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
    let zero: N::Value = bytemuck::Zeroable::zeroed();
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
                    let kept = masks
                        .is_some_and(|masks| masks.keeps(masks.at(*drop, pixel, pixels), channel));
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
