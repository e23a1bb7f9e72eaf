//! Keep masks of eight passes at a time: a byte for each element.

use shared::mask::MaskSource;

use super::file::PlanFile;
use crate::engine::native::Drop;

/// Passes that a byte serves.
pub(super) const PASSES: u32 = 8;
/// Passes that a word of the mask source serves.
const PASSES_PER_WORD: u32 = u32::BITS;

/// The masks of one pass.
#[derive(Debug)]
pub(super) struct Masks<'a> {
    pub(super) plan: &'a PlanFile<'a>,
    /// Of every site, one behind the other, each rounded up to a multiple of four.
    pub(super) bytes: &'a [u8],
    /// The pass, of those drawn together.
    pub(super) bit: u32,
}

/// A dropout's masks for one pixel: the byte of channel `c` is at `first + c · step`.
#[derive(Debug, Clone, Copy)]
pub(super) struct MaskAt {
    first: usize,
    step: usize,
}

impl Masks<'_> {
    /// Where the masks of a pixel lie.
    pub(super) fn at(&self, drop: Drop, pixel: usize, pixels: usize) -> MaskAt {
        let begin = begin(self.plan, drop.site);
        if drop.per_channel {
            MaskAt {
                first: begin,
                step: 1,
            }
        } else {
            MaskAt {
                first: begin + pixel,
                step: pixels,
            }
        }
    }

    /// Whether a channel is kept.
    #[inline(always)]
    pub(super) fn keeps(&self, at: MaskAt, channel: usize) -> bool {
        self.bytes[at.first + channel * at.step] >> self.bit & 1 == 1
    }
}

impl Masks<'_> {
    /// As [`Masks::keeps`], for a pixel that is `place` behind the one of `at`.
    #[inline(always)]
    pub(super) fn keeps_near(
        &self,
        at: MaskAt,
        channel: usize,
        place: usize,
        per_channel: bool,
    ) -> bool {
        let place = if per_channel { 0 } else { place };
        self.bytes[at.first + channel * at.step + place] >> self.bit & 1 == 1
    }
}

/// Where a site's bytes begin.
pub(super) fn begin(plan: &PlanFile<'_>, site: usize) -> usize {
    (0..site)
        .filter_map(|site| plan.site(site))
        .map(|site| site.elements.next_multiple_of(4))
        .sum()
}

/// Draws the masks of `pass` and those beside it that share its bytes. Of the first site only the
/// blocks of four elements that `needed` says.
#[inline(never)]
pub(super) fn draw(
    plan: &PlanFile<'_>,
    source: MaskSource,
    frame: u32,
    pass: u32,
    mut needed: impl FnMut(usize) -> bool,
    bytes: &mut [u8],
) {
    let shift = pass % PASSES_PER_WORD / PASSES * PASSES;
    let picked = plan.pick().map_or(0, |pick| pick.drop.site);
    let mut rest = bytes;
    for index in 0..plan.sites() {
        let Some(site) = plan.site(index) else {
            continue;
        };
        let (own, others) = rest.split_at_mut(site.elements.next_multiple_of(4));
        rest = others;
        for (block, bytes) in own.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            if index == picked && !needed(block) {
                continue;
            }
            let pass_block = pass / PASSES_PER_WORD;
            let words = source.block(frame, site.number, pass_block, block as u32, site.keep);
            *bytes = words.map(|word| (word >> shift) as u8);
        }
    }
}
