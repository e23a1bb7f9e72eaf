//! What of an ELF file goes into a board's flash.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use object::LittleEndian;
use object::elf::{EM_ARM, FileHeader32, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};

use super::board::Board;

/// Bytes with their place in flash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Address of the first.
    pub address: u32,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Firmware as it goes into flash.
#[derive(Debug)]
pub struct Firmware {
    /// Its file.
    pub path: PathBuf,
    /// Its parts, in the file's order.
    pub segments: Vec<Segment>,
}

impl Firmware {
    /// Reads the ELF file at `path` and checks that it is for `board`.
    ///
    /// # Errors
    /// If it cannot be read, is not firmware of an Arm microcontroller, or does not lie where the
    /// board's does.
    pub fn open(path: &Path, board: &Board) -> anyhow::Result<Self> {
        let file = path.display();
        let bytes = std::fs::read(path).with_context(|| format!("cannot read firmware {file}"))?;
        let segments =
            segments(&bytes).with_context(|| format!("{file} is not a board's firmware"))?;
        for segment in &segments {
            ensure!(
                [board.firmware, board.plan]
                    .iter()
                    .any(|region| region.holds(segment.address, segment.bytes.len())),
                "{file} is not firmware of {}: {} bytes of it belong at {:#010x}, its code lies in {}",
                board.name,
                segment.bytes.len(),
                segment.address,
                board.firmware
            );
        }
        Ok(Self {
            path: path.to_owned(),
            segments,
        })
    }

    /// Whether a plan was linked in.
    #[must_use]
    pub fn holds_plan(&self, board: &Board) -> bool {
        self.segments
            .iter()
            .any(|segment| board.plan.holds(segment.address, 1))
    }
}

/// What is loaded, at the addresses where it lies before the firmware runs.
fn segments(bytes: &[u8]) -> anyhow::Result<Vec<Segment>> {
    let header = FileHeader32::<LittleEndian>::parse(bytes).context("not a 32-bit ELF file")?;
    let endian = header
        .endian()
        .context("not an ELF file for a little-endian processor")?;
    ensure!(
        header.e_machine(endian) == EM_ARM,
        "an ELF file for another processor than Arm"
    );
    let mut segments = Vec::new();
    for part in header.program_headers(endian, bytes)? {
        if part.p_type(endian) != PT_LOAD || part.p_filesz(endian) == 0 {
            continue;
        }
        let Ok(bytes) = part.data(endian, bytes) else {
            bail!("the ELF file is shorter than it says");
        };
        segments.push(Segment {
            address: part.p_paddr(endian),
            bytes: bytes.to_vec(),
        });
    }
    ensure!(!segments.is_empty(), "an ELF file with nothing to load");
    Ok(segments)
}
