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

/// Where a dropout's masks lie: the byte of channel `c` of a pixel is at `first + c · step`, for the
/// first pixel, and for the next one `next` behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct MaskAt {
    first: usize,
    step: usize,
    next: usize,
}

impl MaskAt {
    /// Where the byte of channel 0 is.
    #[inline(always)]
    pub(super) fn begin(self) -> usize {
        self.first
    }

    /// How far a channel's byte is from that of channel 0.
    #[inline(always)]
    pub(super) fn of_channel(self, channel: usize) -> usize {
        channel * self.step
    }

    /// How far the byte of a pixel is from that of another, so many before it.
    #[inline(always)]
    pub(super) fn of_pixel(self, pixels: usize) -> usize {
        pixels * self.next
    }

    /// For a pixel.
    #[inline(always)]
    pub(super) fn pixel(self, pixel: usize) -> Self {
        Self {
            first: self.first + pixel * self.next,
            ..self
        }
    }
}

impl Masks<'_> {
    /// The masks of a dropout of an image of `pixels`.
    pub(super) fn site(&self, drop: Drop, pixels: usize) -> MaskAt {
        let first = begin(self.plan, drop.site);
        if drop.per_channel {
            MaskAt {
                first,
                step: 1,
                next: 0,
            }
        } else {
            MaskAt {
                first,
                step: pixels,
                next: 1,
            }
        }
    }

    /// Whether a channel is kept.
    #[inline(always)]
    pub(super) fn keeps(&self, at: MaskAt, channel: usize) -> bool {
        self.bytes[at.first + channel * at.step] >> self.bit & 1 == 1
    }

    /// Which of 32 channels at most are kept: bit 0 is that of `channel`.
    #[inline(never)]
    #[allow(unsafe_code)]
    pub(super) fn kept(&self, at: MaskAt, channel: usize, channels: usize) -> u32 {
        let first = at.first + channel * at.step;
        let mut place = first + channels * at.step;
        assert!(place - at.step < self.bytes.len() || channels == 0);
        let mut kept = 0;
        for _ in 0..channels {
            place -= at.step;
            // SAFETY: not behind the last place, which was checked.
            let byte = unsafe { *self.bytes.get_unchecked(place) };
            kept = kept << 1 | u32::from(byte >> self.bit & 1);
        }
        kept
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
/// blocks of four elements whose bits are set in `needed`; the others are 0.
#[inline(never)]
pub(super) fn draw(
    plan: &PlanFile<'_>,
    source: MaskSource,
    frame: u32,
    pass: u32,
    needed: &[u32],
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
            if index == picked && needed[block / 32] >> (block % 32) & 1 == 0 {
                *bytes = [0; 4];
                continue;
            }
            let pass_block = pass / PASSES_PER_WORD;
            let words = source.block(frame, site.number, pass_block, block as u32, site.keep);
            *bytes = words.map(|word| (word >> shift) as u8);
        }
    }
}
