//! Plans, checked before they go into flash.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use device::engine::micro::{Format, OwnedPlan};
use device::signature::{Kind, Trust};

use super::board::Board;

/// A plan file that a board takes.
#[derive(Debug)]
pub struct Plan {
    /// Its file.
    pub path: PathBuf,
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// How its numbers are written.
    pub format: Format,
    /// Whether it sees colours, which firmware has to know.
    pub is_colour: bool,
}

impl Plan {
    /// Reads the plan file at `path` and checks that it is whole and that `board` has room for it.
    ///
    /// # Errors
    /// If it cannot be read, is damaged or no plan, is too long, not signed by a key that the firmware is
    /// to trust.
    pub fn open(path: &Path, board: &Board, trust: &Trust) -> anyhow::Result<Self> {
        let file = path.display();
        let bytes = std::fs::read(path).with_context(|| format!("cannot read plan {file}"))?;
        let checked = trust.check(Kind::Plan, &bytes).map(|_| ());
        checked.with_context(|| format!("cannot flash {file}"))?;
        let plan = OwnedPlan::new(&bytes).with_context(|| format!("cannot flash {file}"))?;
        let format = plan.view().format();
        let room = board.plan.length as usize;
        ensure!(
            bytes.len() <= room,
            "plan {file} has {} bytes, {} has room for {room}",
            bytes.len(),
            board.name
        );
        let wanted = plan.view().preprocessing().unwrap_or_default();
        Ok(Self {
            path: path.to_owned(),
            bytes,
            format,
            is_colour: wanted.channels.is_colour(),
        })
    }
}
