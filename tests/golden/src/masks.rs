//! Keep bits: one line per call of the generator.

use shared::mask::{KeepProbability, MaskSource};

use crate::Mismatch;
use crate::words::{Words, lines};

/// Blocks of 4 elements up to which `fill`, which starts at element 0, is checked as well.
const FILLED_BLOCKS: u32 = 16;

/// Checks `block`, `keep` and (for the first elements) `fill` on every line; gives the number of
/// words checked.
///
/// # Errors
/// The first [`Mismatch`].
pub fn check_masks(text: &str) -> Result<usize, Mismatch> {
    let mut checked = 0;
    for (line, content) in lines(text) {
        let case = Case::read(content).ok_or(Mismatch::Syntax {
            file: "masks.txt",
            line,
        })?;
        case.check()
            .map_err(|function| Mismatch::Mask { line, function })?;
        checked += case.words.len();
    }
    Ok(checked)
}

struct Case {
    masks: MaskSource,
    frame: u32,
    site: u32,
    pass_block: u32,
    element_block: u32,
    q: KeepProbability,
    words: [u32; 4],
}

impl Case {
    fn read(line: &str) -> Option<Self> {
        let mut words = Words::of(line);
        let case = Self {
            masks: MaskSource::new(words.u64()?),
            frame: words.u32()?,
            site: words.u32()?,
            pass_block: words.u32().filter(|block| *block < 1 << 24)?,
            element_block: words.u32().filter(|block| *block < 1 << 30)?,
            q: KeepProbability::from_bits(words.u32()?)?,
            words: [words.u32()?, words.u32()?, words.u32()?, words.u32()?],
        };
        words.ended().then_some(case)
    }

    /// The first function that disagrees.
    fn check(&self) -> Result<(), &'static str> {
        let Self {
            masks,
            frame,
            site,
            pass_block,
            element_block,
            q,
            words,
        } = *self;
        if masks.block(frame, site, pass_block, element_block, q) != words {
            return Err("block");
        }
        let first_pass = pass_block * 32;
        for (element, word) in words.into_iter().enumerate() {
            let element = element_block * 4 + element as u32;
            for pass in 0..32 {
                let kept = word >> pass & 1 == 1;
                if masks.keep(frame, first_pass + pass, site, element, q) != kept {
                    return Err("keep");
                }
            }
        }
        if element_block < FILLED_BLOCKS {
            let elements = (element_block as usize + 1) * 4;
            let mut filled = [f32::NAN; FILLED_BLOCKS as usize * 4];
            let filled = &mut filled[..elements];
            for pass in 0..32 {
                let number = first_pass + pass;
                masks.fill(frame, site, q, number..number + 1, elements, filled);
                for (value, word) in filled[elements - 4..].iter().zip(words) {
                    if *value != (word >> pass & 1) as f32 {
                        return Err("fill");
                    }
                }
            }
        }
        Ok(())
    }
}
