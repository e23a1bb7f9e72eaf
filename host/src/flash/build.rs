//! Building a board's firmware from its sources.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, ensure};

use device::signature::PublicKey;

use super::board::Board;
use super::tool;

/// `device/firmware` of the sources that this program was built from.
#[must_use]
pub fn own_sources() -> PathBuf {
    let host = Path::new(env!("CARGO_MANIFEST_DIR"));
    host.with_file_name("device").join("firmware")
}

/// Builds the firmware of `board` from `sources`, a folder `device/firmware`, for plans of `format`
/// (`f32` or `int8`), which reports in the form `wire` (`binary` or `text`), and takes only plans signed with `trust` if that is
/// given. Returns the ELF file.
/// `scripts/cross` of the same sources chooses the compiler.
///
/// # Errors
/// If the sources or the compiler are not there, the firmware does not build, or `stop` was set.
pub fn build(
    sources: &Path,
    board: &Board,
    format: &str,
    wire: &str,
    trust: Option<PublicKey>,
    stop: &AtomicBool,
) -> anyhow::Result<PathBuf> {
    let script = sources.join("../../scripts/cross");
    ensure!(
        sources.join("Cargo.toml").is_file() && script.is_file(),
        "{} does not hold the firmware's sources: name the folder device/firmware of mcdropout's \
         sources with --firmware, or firmware built before with --elf",
        sources.display()
    );
    let name = board.name;
    let mut command = Command::new(&script);
    command.args(["firmware-build", name, format, wire]);
    if let Some(key) = trust {
        command.env("MCDROPOUT_TRUST", key.to_hexadecimal());
    }
    let said = tool::run(
        &mut command,
        &format!("building the {format} firmware of {name}"),
        stop,
    )?;
    let elf = said.lines().last().map(PathBuf::from);
    elf.filter(|elf| elf.is_file())
        .with_context(|| format!("{} did not tell what it has built", script.display()))
}
