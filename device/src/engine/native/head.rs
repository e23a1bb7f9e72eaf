//! What is computed for every pass.

use core::ops::Range;

use shared::mask::{ElementBlocks, MaskSource};

use super::conv::{ConvKernel, Gathered};
use super::frame::Frame;
use super::kernels::{Collect, Elementwise, Live, Picker, Pool, PoolKind};
use super::layout::Layout;
use super::plan::{Op, Program};
use super::simd::{Kernel, Level, Simd};

/// Passes that one mask word serves.
const PASSES_PER_WORD: u32 = u32::BITS;
/// Bytes of a cache line: vectors that straddle two take twice as long.
const CACHE_LINE: usize = 64;

/// The head over one frame.
pub(super) struct Head<'a> {
    pub(super) program: &'a Program<'a>,
    pub(super) layout: &'a Layout,
    pub(super) level: Level,
    pub(super) masks: MaskSource,
    pub(super) frame_number: u32,
    pub(super) frame: Frame<'a>,
}

impl Head<'_> {
    /// Runs `passes` and writes their logits, `[pass][class]`. Calls `observe` before each convolution
    /// of each group of passes.
    #[inline]
    pub(super) fn sample(
        &self,
        values: &mut [f32],
        words: &mut [u32],
        passes: Range<u32>,
        logits: &mut [f32],
        mut observe: impl FnMut(Seen<'_>),
    ) {
        let lanes = self.level.lanes() as u32;
        let (masks, words) = words.split_at_mut(self.layout.mask_words);
        let (live, words) = words.split_at_mut(self.layout.live);
        let (starts, gathered) = words.split_at_mut(self.layout.starts);
        let (gathered, _) = gathered.as_chunks_mut();
        let values = if lanes > 1 {
            aligned(values, self.layout.head_values * lanes as usize)
        } else {
            values
        };
        let classes = self.program.classes;
        let mut drawn = None;
        let mut first = passes.start - passes.start % lanes;
        while first < passes.end {
            let block = first / PASSES_PER_WORD;
            if drawn != Some(block) {
                self.level.run(Draw {
                    head: self,
                    block,
                    masks,
                });
                drawn = Some(block);
            }
            let result = self.group(
                values,
                masks,
                Live {
                    elements: live,
                    starts,
                },
                gathered,
                first % PASSES_PER_WORD,
                &mut observe,
            );
            // Lane by lane, the first of them in `passes`.
            let group = first.max(passes.start)..passes.end.min(first + lanes);
            for pass in group {
                let lane = (pass - first) as usize;
                let row = (pass - passes.start) as usize * classes;
                for (class, logit) in logits[row..row + classes].iter_mut().enumerate() {
                    *logit = result[class * lanes as usize + lane];
                }
            }
            first += lanes;
        }
    }

    /// Runs the passes of one vector; the result is `[class][lane]`.
    fn group<'v>(
        &self,
        values: &'v mut [f32],
        masks: &[u32],
        lists: Live<'_>,
        gathered: &mut [[u32; 2]],
        shift: u32,
        observe: &mut impl FnMut(Seen<'_>),
    ) -> &'v [f32] {
        let (level, lanes) = (self.level, self.level.lanes());
        let Live {
            elements: live,
            starts,
        } = lists;
        let (picked, areas) = values.split_at_mut(self.layout.picked * lanes);
        let (mut to, spare) = areas.split_at_mut(self.layout.head_area * lanes);
        let mut spare = Some(spare);
        level.run(Picker {
            frame: &self.frame,
            masks,
            shift,
            dense: !matches!(self.program.head.first(), Some(Op::Conv(_))),
            output: picked,
        });
        let mut from: &mut [f32] = picked;
        for (index, op) in self.program.head.iter().enumerate() {
            let input = &from[..op.input().len() * lanes];
            match op {
                Op::Conv(conv) => {
                    let shape = op.input();
                    let lists = Live {
                        elements: &mut *live,
                        starts: &mut *starts,
                    };
                    // That a live window is 0 in each of the passes is too rare to look for.
                    let (live, starts): (&[u32], &[u32]) = if index == 0 {
                        (self.frame.outputs, self.frame.starts)
                    } else {
                        let pixels = shape.height * shape.width;
                        level.run(Collect {
                            channels: shape.channels,
                            pixels,
                            live: lists,
                            input,
                        });
                        (&live[..starts[pixels] as usize], &starts[..=pixels])
                    };
                    observe(Seen {
                        op: index,
                        live,
                        input,
                        lanes,
                    });
                    level.run(ConvKernel {
                        conv,
                        weights: &self.program.weights[conv.weights..],
                        sites: self.program.sites,
                        masks,
                        shift,
                        live,
                        starts,
                        gathered: if index == 0 && !self.frame.listed_ends.is_empty() {
                            Gathered::Listed(self.frame.listed, self.frame.listed_ends)
                        } else {
                            Gathered::Room(&mut *gathered)
                        },
                        input,
                        output: to,
                    });
                }
                Op::MaxPool(geometry) => level.run(Pool {
                    kind: PoolKind::Max,
                    geometry,
                    input,
                    output: to,
                }),
                Op::AvgPool {
                    geometry,
                    count_padding,
                } => level.run(Pool {
                    kind: PoolKind::Mean {
                        count_padding: *count_padding,
                    },
                    geometry,
                    input,
                    output: to,
                }),
                Op::Relu(_) | Op::Affine { .. } | Op::Dropout { .. } => level.run(Elementwise {
                    op,
                    weights: self.program.weights,
                    sites: self.program.sites,
                    masks,
                    shift,
                    input,
                    output: to,
                }),
            }
            // The next writes where this one has read, unless that was the head's first input.
            let read = core::mem::replace(&mut from, to);
            to = spare.take().unwrap_or(read);
        }
        from
    }
}

/// What a convolution of the head is about to do.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "std"), allow(dead_code))] // Only the computation of the limit looks.
pub(super) struct Seen<'a> {
    /// Its number among the operations of the head.
    pub(super) op: usize,
    /// The elements of its input that it reads.
    pub(super) live: &'a [u32],
    /// Its input, `[element][lane]`.
    pub(super) input: &'a [f32],
    /// Lanes of the input.
    pub(super) lanes: usize,
}

/// Draws the masks of one word's passes for every site.
struct Draw<'a> {
    head: &'a Head<'a>,
    block: u32,
    masks: &'a mut [u32],
}

impl Kernel for Draw<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { head, block, masks } = self;
        for (index, site) in head.program.sites.iter().enumerate() {
            let out = &mut masks[site.words..];
            let (frame, number, keep) = (head.frame_number, site.number, site.keep);
            if index == head.program.pick.drop.site {
                let needed = ElementBlocks::List(head.frame.mask_blocks);
                head.masks.words(frame, number, block, keep, &needed, out);
            } else {
                let all = ElementBlocks::Range(0..site.elements.div_ceil(4) as u32);
                head.masks.words(frame, number, block, keep, &all, out);
            }
        }
    }
}

/// `length` values that begin where a cache line does.
fn aligned(values: &mut [f32], length: usize) -> &mut [f32] {
    let offset = values.as_ptr().align_offset(CACHE_LINE);
    // Unaligned is slower and no more: if alignment cannot be had, go without.
    let offset = if offset + length <= values.len() {
        offset
    } else {
        0
    };
    &mut values[offset..][..length]
}
