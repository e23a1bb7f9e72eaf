//! What is computed in every pass.

use core::ops::Range;

use shared::mask::MaskSource;

use super::conv::{Gathered, Target, Task};
use super::file::PlanFile;
use super::layout::{Layout, Words};
use super::masks::{self, Masks};
use super::number::Number;
use super::pick;
use super::record::is_last;
use super::stem::{Parts, packed, parts};
use crate::engine::native::{Geometry, Op};

/// A plan with the memory in which the stem has left its output.
pub(super) struct Run<'a, N: Number> {
    plan: &'a PlanFile<'a>,
    stem: &'a [N::Value],
    live: &'a [u32],
    needed: &'a [u32],
    masks: &'a mut [u8],
    picked: &'a mut [N::Value],
    areas: [&'a mut [N::Value]; 2],
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
            gathered,
        }
    }

    /// Makes ready for the passes of a frame: the stem and its input were in the same memory, and what
    /// is not live is read as 0, as are masks that are not drawn.
    pub(super) fn clear(&mut self) {
        let zero = N::ZERO;
        self.masks.fill(0);
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
        pick::choose::<N>(&pick, self.stem, self.live, &masks, self.picked);
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
                if Words::is_packed(N::FORMAT, conv) {
                    task.packed(&mut target);
                } else {
                    task.run(&mut self.gathered, &mut target);
                }
            } else {
                let input = &from[..Words::of(N::FORMAT, op.input())];
                pointwise::<N>(self.plan, &op, Some(&masks), input, to);
            }
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
                        masks.keeps(masks.site(*drop, shape.channels).pixel(pixel), channel)
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
