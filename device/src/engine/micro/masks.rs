//! Keep masks of eight passes at a time: a byte for each element.

use shared::mask::MaskSource;

use super::file::{PlanFile, Site};
use crate::engine::native::{Drop, Op};

/// Passes that a byte serves.
pub(super) const PASSES: u32 = 8;
/// Passes that a word of the mask source serves.
const PASSES_PER_WORD: u32 = u32::BITS;

/// The masks of one pass.
#[derive(Debug)]
pub(super) struct Masks<'a> {
    pub(super) plan: &'a PlanFile<'a>,
    /// Of every site, one behind the other, each rounded up to a multiple of four; in a site they lie as
    /// the values do that they are for, pixel by pixel.
    pub(super) bytes: &'a [u8],
    /// The pass, of those drawn together.
    pub(super) bit: u32,
}

/// Where a dropout's masks lie: the byte of channel `c` of a pixel is at `first + c`, for the first
/// pixel, and for the next one `next` behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct MaskAt {
    pub(super) first: usize,
    pub(super) next: usize,
}

impl MaskAt {
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
    /// The masks of a dropout of an image of so many `channels`.
    pub(super) fn site(&self, drop: Drop, channels: usize) -> MaskAt {
        MaskAt {
            first: begin(self.plan, drop.site),
            next: if drop.per_channel { 0 } else { channels },
        }
    }

    /// Whether a channel is kept.
    #[inline(always)]
    pub(super) fn keeps(&self, at: MaskAt, channel: usize) -> bool {
        self.bytes[at.first + channel] >> self.bit & 1 == 1
    }

    /// Which of 32 channels at most of a pixel are kept: bit 0 is that of `channel`.
    #[inline(never)]
    pub(super) fn kept(&self, at: MaskAt, pixel: usize, channel: usize, channels: usize) -> u32 {
        let first = at.first + pixel * at.next + channel;
        let (fours, rest) = self.bytes[first..][..channels].as_chunks::<4>();
        let mut kept = 0;
        let mut place = 0;
        for four in fours {
            let bits = u32::from_le_bytes(*four) >> self.bit & 0x0101_0101;
            // Bits 0, 8, 16 and 24 go to 28, 29, 30 and 31; nothing else gets there.
            kept |= bits.wrapping_mul(0x1020_4080) >> 28 << place;
            place += 4;
        }
        for byte in rest {
            kept |= u32::from(byte >> self.bit & 1) << place;
            place += 1;
        }
        kept
    }
}

/// Where a site's bytes begin.
fn begin(plan: &PlanFile<'_>, site: usize) -> usize {
    (0..site)
        .filter_map(|site| plan.site(site))
        .map(|site| site.elements.next_multiple_of(4))
        .sum()
}

/// Draws the masks of `pass` and those beside it that share its bytes. Of the head's first dropout
/// only the blocks of four elements whose bits are set in `needed`, and some beside them; the others stay as they are.
#[inline(never)]
pub(super) fn draw(
    plan: &PlanFile<'_>,
    source: MaskSource,
    frame: u32,
    pass: u32,
    needed: &[u32],
    bytes: &mut [u8],
) {
    let Ok(pick) = plan.pick() else { return };
    let mut draw = |drop: Drop, channels, order, needed| {
        let Some(site) = plan.site(drop.site) else {
            return;
        };
        let drawing = Drawing {
            source,
            frame,
            pass,
            site,
            channels,
            order,
            needed,
        };
        drawing.draw(&mut bytes[begin(plan, drop.site)..][..site.elements]);
    };
    let channels = pick.windows.input.channels;
    draw(pick.drop, channels, plan.order(), needed);
    for op in plan.head().flatten() {
        let drops = match &op {
            Op::Conv(conv) => [conv.before, conv.after],
            Op::Dropout { drop, .. } => [Some(*drop), None],
            _ => [None, None],
        };
        for drop in drops.into_iter().flatten() {
            draw(drop, op.output().channels, None, &[]);
        }
    }
}

/// The masks of a site.
struct Drawing<'a> {
    source: MaskSource,
    frame: u32,
    pass: u32,
    site: Site,
    channels: usize,
    /// Which channel of the dropout each one in memory is, if not the same.
    order: Option<&'a [u32]>,
    /// A bit for each block of four elements; where there are no bits, all are.
    needed: &'a [u32],
}

impl Drawing<'_> {
    /// Elements count channel by channel, their bytes lie pixel by pixel.
    #[inline(never)]
    fn draw(&self, bytes: &mut [u8]) {
        let (elements, channels) = (bytes.len(), self.channels);
        let pixels = elements / channels;
        let shift = self.pass % PASSES_PER_WORD / PASSES * PASSES;
        let pass_block = self.pass / PASSES_PER_WORD;
        let (mut channel, mut pixel) = (0, 0);
        let mut place = self.position(0);
        for block in 0..elements.div_ceil(4) {
            let needed = self.needed.get(block / 32);
            let skipped = needed.is_some_and(|bits| bits >> (block % 32) & 1 == 0);
            if skipped && pixel + 4 < pixels {
                (place, pixel) = (place + 4 * channels, pixel + 4);
                continue;
            }
            let words = self.source.block(
                self.frame,
                self.site.number,
                pass_block,
                block as u32,
                self.site.keep,
            );
            for word in words {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = (word >> shift) as u8;
                }
                (place, pixel) = (place + channels, pixel + 1);
                if pixel == pixels {
                    (channel, pixel) = (channel + 1, 0);
                    place = self.position(channel);
                }
            }
        }
    }

    /// Where the byte of a channel's first element lies; behind all bytes if there is no such channel.
    fn position(&self, channel: usize) -> usize {
        match self.order {
            _ if channel >= self.channels => self.site.elements,
            Some(order) => {
                let position = order.iter().position(|of| *of as usize == channel);
                position.unwrap_or(self.site.elements)
            }
            None => channel,
        }
    }
}
