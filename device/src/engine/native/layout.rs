//! Where things lie in the working memory.

use super::plan::{Op, Program};
use super::simd::{LANES, Level};

/// Offsets and lengths, in elements; those of the head's values in slots.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Two areas of this many values, which the stem's operations read and write in turn.
    pub(super) stem_area: usize,
    /// The values of the windows, behind the stem's areas.
    pub(super) window_values: usize,
    pub(super) frame_values: usize,
    /// Words for each of [`super::frame`]'s lists, in its order.
    pub(super) window_entries: usize,
    pub(super) windows: usize,
    pub(super) pixels: usize,
    pub(super) mask_blocks: usize,
    /// Output pixels of the head's first convolution whose live inputs are listed once a frame, and
    /// room for those of all of them; 0 if they are listed group by group.
    pub(super) listed_pixels: usize,
    pub(super) listed: usize,
    pub(super) frame_words: usize,
    /// Slots of the head's first input.
    pub(super) picked: usize,
    /// Two areas of this many slots behind it, which the head's operations use in turn.
    pub(super) head_area: usize,
    pub(super) head_values: usize,
    /// Words of all masks.
    pub(super) mask_words: usize,
    /// Longest list of live inputs, and of where each pixel's begin; behind them lie, in pairs, those
    /// of one output pixel.
    pub(super) live: usize,
    pub(super) starts: usize,
    pub(super) head_words: usize,
}

impl Layout {
    pub(super) fn new(program: &Program<'_>, level: Level) -> Self {
        let pick = program.pick;
        let (stem_output, picked) = (pick.windows.input, pick.windows.output);
        let written = |ops: &[Op]| ops.iter().map(|op| op.output().len()).max().unwrap_or(0);
        // In the stem a convolution is written whole before it is pooled.
        let unpooled = program.stem.iter().map(|op| match op {
            Op::Conv(conv) => conv.geometry.output.len(),
            _ => 0,
        });
        let unpooled = unpooled.max().unwrap_or(0);
        // A whole vector of channels may be written behind the last pixel's.
        let stem_area = written(program.stem).max(unpooled).max(program.input.len()) + LANES;
        let entries = picked.len() * pick.windows.kernel[0] * pick.windows.kernel[1];
        // Windows that do not overlap cannot hold more values than there are.
        let overlap = (0..2).any(|axis| pick.windows.kernel[axis] > pick.windows.stride[axis]);
        let window_entries = if overlap {
            entries
        } else {
            entries.min(stem_output.len())
        };
        let windows = picked.len();
        let pixels = picked.height * picked.width + 1;
        let first = program.sites.first().map_or(0, |site| site.elements);
        let mask_blocks = first.div_ceil(4);
        let head_area = written(program.head);
        let mask_words = program
            .sites
            .iter()
            .map(|site| site.elements.next_multiple_of(4))
            .sum();
        let inputs = || program.head.iter().map(Op::input).chain([picked]);
        let live = inputs().map(|shape| shape.len()).max().unwrap_or(0);
        let starts = inputs()
            .map(|shape| shape.height * shape.width + 1)
            .max()
            .unwrap_or(0);
        let gathered = program.head.iter().map(|op| match op {
            Op::Conv(conv) => conv.taps() / conv.geometry.output.channels,
            _ => 0,
        });
        let gathered = gathered.max().unwrap_or(0);
        let (listed_pixels, listed) = match program.head.first() {
            Some(Op::Conv(conv)) if level.lanes() > 1 && pixels > 2 => {
                let pixels = conv.pixels().count();
                let inputs = pixels * conv.taps() / conv.geometry.output.channels;
                if inputs <= LISTED_MOST {
                    (pixels, inputs)
                } else {
                    (0, 0)
                }
            }
            _ => (0, 0),
        };
        Self {
            stem_area,
            window_values: 2 * stem_area,
            frame_values: 2 * stem_area + window_entries,
            window_entries,
            windows,
            pixels,
            mask_blocks,
            listed_pixels,
            listed,
            frame_words: window_entries
                + 2 * windows
                + pixels
                + mask_blocks
                + COUNTS
                + listed_pixels
                + 2 * listed,
            picked: picked.len(),
            head_area,
            head_values: picked.len() + 2 * head_area,
            mask_words,
            live,
            starts,
            head_words: mask_words + live + starts + 2 * gathered,
        }
    }
}

/// Inputs that are listed once a frame at most (8 bytes each): more would not stay in the cache.
const LISTED_MOST: usize = 1 << 16;
/// Words that hold how long the frame's lists are.
pub(super) const COUNTS: usize = 2;
