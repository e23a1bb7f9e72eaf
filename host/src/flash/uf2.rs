//! UF2 files for the RP2350's boot loader (<https://github.com/microsoft/uf2>).

use std::collections::BTreeMap;

use super::image::Segment;

/// Bytes of a block.
pub const BLOCK: usize = 512;
/// Bytes of a block that go into flash: a page of it, the only size that the RP2350 takes.
pub const PAYLOAD: usize = 256;

const MAGIC: [u32; 2] = [0x0a32_4655, 0x9e5d_5157];
const MAGIC_END: u32 = 0x0ab1_6f30;
const FAMILY_PRESENT: u32 = 0x2000;
const EXTENSIONS_PRESENT: u32 = 0x8000;

/// The family whose blocks lie at absolute addresses.
const ABSOLUTE_FAMILY: u32 = 0xe48b_ff57;
/// "Do not write this block": an extension of the RP2350's.
const IGNORE_BLOCK: u32 = 0x9957_e304;

/// One UF2 file of `segments` for chips of `family`. A page that the segments fill in part is filled
/// up with zeros; where they overlap, the later one holds.
///
/// Its first block is the work-around of erratum RP2350-E10 (RP2350 datasheet, appendix E), because of
/// which a file dropped onto a chip that holds a partition table may not arrive. The block is the
/// first of two of another file, as its numbers say, and is not written. picotool writes the same.
#[must_use]
pub fn file(segments: &[Segment], family: u32) -> Vec<u8> {
    let mut pages = BTreeMap::new();
    for segment in segments {
        let mut address = segment.address;
        let mut rest = &segment.bytes[..];
        while !rest.is_empty() {
            let offset = address as usize % PAYLOAD;
            let (now, later) = rest.split_at(rest.len().min(PAYLOAD - offset));
            let page = pages.entry(address - offset as u32).or_insert([0; PAYLOAD]);
            page[offset..offset + now.len()].copy_from_slice(now);
            // Behind the last byte of the address space there is no rest.
            address = address.wrapping_add(now.len() as u32);
            rest = later;
        }
    }
    let mut file = Vec::with_capacity((pages.len() + 1) * BLOCK);
    let flags = FAMILY_PRESENT | EXTENSIONS_PRESENT;
    let ignored = [0x10ff_ff00, PAYLOAD as u32, 0, 2, ABSOLUTE_FAMILY];
    append(&mut file, flags, ignored, &[0xef; PAYLOAD], IGNORE_BLOCK);
    let count = pages.len() as u32;
    for (number, (address, page)) in (0..).zip(&pages) {
        let fields = [*address, PAYLOAD as u32, number, count, family];
        append(&mut file, FAMILY_PRESENT, fields, page, 0);
    }
    file
}

/// Adds a block. `fields`: address, bytes of payload, number and count of blocks, family.
fn append(file: &mut Vec<u8>, flags: u32, fields: [u32; 5], payload: &[u8], extension: u32) {
    let start = file.len();
    for word in MAGIC.into_iter().chain([flags]).chain(fields) {
        file.extend(word.to_le_bytes());
    }
    file.extend(payload);
    file.extend(extension.to_le_bytes());
    file.resize(start + BLOCK - 4, 0);
    file.extend(MAGIC_END.to_le_bytes());
}
