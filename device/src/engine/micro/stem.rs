//! What is computed once a frame: the stem, and which windows at the head's begin can be other than
//! 0.

use super::conv::{Gathered, Target, Task};
use super::file::PlanFile;
use super::layout::{Layout, Words};
use super::number::Number;
use super::pass::pointwise;
use crate::engine::native::{Conv, Op, Pick};

/// The working memory, cut into its parts.
pub(super) struct Parts<'a> {
    pub(super) stem: &'a mut [u32],
    pub(super) live: &'a mut [u32],
    pub(super) needed: &'a mut [u32],
    pub(super) masks: &'a mut [u32],
    pub(super) shared: &'a mut [u32],
    pub(super) gathered: Gathered<'a>,
}

/// Cuts the working memory.
pub(super) fn parts<'a>(layout: &Layout, memory: &'a mut [u32]) -> Parts<'a> {
    let (stem, rest) = memory.split_at_mut(layout.stem);
    let (live, rest) = rest.split_at_mut(layout.live);
    let (needed, rest) = rest.split_at_mut(layout.needed);
    let (masks, rest) = rest.split_at_mut(layout.masks);
    let (shared, rest) = rest.split_at_mut(layout.shared());
    let (gathered, rest) = rest.split_at_mut(layout.gathered);
    let (columns, _) = rest.split_at_mut(layout.columns);
    Parts {
        stem,
        live,
        needed,
        masks,
        shared,
        gathered: Gathered {
            pairs: bytemuck::cast_slice_mut(gathered),
            starts: bytemuck::cast_slice_mut(columns),
        },
    }
}

/// Room for one input: masks are drawn when it has been read.
pub(super) fn room<'a>(
    plan: &PlanFile<'_>,
    layout: &Layout,
    memory: &'a mut [u32],
) -> &'a mut [f32] {
    let masks = parts(layout, memory).masks;
    &mut bytemuck::cast_slice_mut(masks)[..plan.input().len()]
}

/// Runs the stem on one input, `[channel][row][column]`, that of [`room`] if none is given, and marks the
/// live windows of its output.
/// Calls `observe` with what each operation has written.
pub(super) fn run<N: Number>(
    plan: &PlanFile<'_>,
    layout: &Layout,
    memory: &mut [u32],
    input: Option<&[f32]>,
    mut observe: impl FnMut(usize, &[N::Value]),
) {
    let Parts {
        stem,
        live,
        needed,
        masks,
        shared,
        mut gathered,
    } = parts(layout, memory);
    let Ok(pick) = plan.pick() else { return };
    let [operations, _] = plan.lengths();
    let areas = &mut shared[..2 * layout.stem_area];
    // What lies between the channels and the end of their group is not written again.
    areas.fill(0);
    stem.fill(0);
    let (from, to) = areas.split_at_mut(layout.stem_area);
    let mut from: &mut [N::Value] = bytemuck::cast_slice_mut(from);
    let mut to: &mut [N::Value] = bytemuck::cast_slice_mut(to);
    let stem: &mut [N::Value] = bytemuck::cast_slice_mut(stem);
    let first = if operations == 0 {
        &mut *stem
    } else {
        &mut *from
    };
    let room = &bytemuck::cast_slice(masks)[..plan.input().len()];
    channels_last::<N>(plan, input.unwrap_or(room), first);
    for (index, op) in plan.stem().flatten().enumerate() {
        let read = &from[..Words::of(N::FORMAT, op.input())];
        let write = if index + 1 == operations {
            &mut *stem
        } else {
            &mut *to
        };
        if let Op::Conv(conv) = &op {
            let task = Task::<N>::new(conv, plan.weights(), None, packed::<N>(conv, from));
            let mut target = Target::Values(&mut *write);
            if Words::is_packed(N::FORMAT, conv) {
                task.packed(&mut target);
            } else {
                task.run(&mut gathered, &mut target);
            }
        } else {
            pointwise::<N>(plan, &op, None, read, write);
        }
        observe(index, write);
        core::mem::swap(&mut from, &mut to);
    }
    scale::<N>(&pick, stem);
    mark::<N>(&pick, plan.order(), stem, live, needed);
}

fn channels_last<N: Number>(plan: &PlanFile<'_>, input: &[f32], output: &mut [N::Value]) {
    let channels = plan.input().channels;
    let stride = Words::channels(N::FORMAT, channels);
    let scale = plan.input_scale();
    let pixels = input.len() / channels;
    for (channel, plane) in input.chunks_exact(pixels).enumerate() {
        for (pixel, value) in plane.iter().enumerate() {
            output[pixel * stride + channel] = N::input(*value, scale);
        }
    }
}

/// The multiplication by 1/q, and the ReLU, of the head's first dropout.
fn scale<N: Number>(pick: &Pick, stem: &mut [N::Value]) {
    let zero = N::ZERO;
    for value in stem {
        *value = if pick.relu && *value < zero {
            zero
        } else {
            N::scaled(*value, pick.scale)
        };
    }
}

/// Sets the bits of the windows in which a value is not 0, and of the masks that are needed.
fn mark<N: Number>(
    pick: &Pick,
    order: Option<&[u32]>,
    stem: &[N::Value],
    live: &mut [u32],
    needed: &mut [u32],
) {
    let geometry = &pick.windows;
    let zero = N::ZERO;
    let stride = Words::channels(N::FORMAT, geometry.input.channels);
    let words = geometry.output.channels.div_ceil(32);
    live.fill(0);
    for pixel in 0..geometry.output.height * geometry.output.width {
        let [rows, columns] = super::pass::window(geometry, pixel);
        for channel in 0..geometry.output.channels {
            let any = rows.clone().any(|row| {
                columns.clone().any(|column| {
                    stem[(row * geometry.input.width + column) * stride + channel] != zero
                })
            });
            live[pixel * words + channel / 32] |= u32::from(any) << (channel % 32);
        }
    }
    needed.fill(0);
    let pixels = geometry.input.height * geometry.input.width;
    for pixel in 0..pixels {
        let values = &stem[pixel * stride..][..geometry.input.channels];
        for (channel, value) in values.iter().enumerate() {
            let channel = order.map_or(channel, |order| order[channel] as usize);
            let element = if pick.drop.per_channel {
                channel
            } else {
                channel * pixels + pixel
            };
            needed[element / 128] |= u32::from(*value != zero) << (element / 4 % 32);
        }
    }
}

/// What a convolution reads: of one whose weights are four to a word whole words, of which the last
/// may hold what is no input.
pub(super) fn packed<'v, N: Number>(conv: &Conv, values: &'v [N::Value]) -> &'v [N::Value] {
    if Words::is_packed(N::FORMAT, conv) {
        &values[..4 * Words::taps(N::FORMAT, conv).unwrap_or(0)]
    } else {
        &values[..Words::of(N::FORMAT, conv.geometry.input)]
    }
}
