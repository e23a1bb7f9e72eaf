//! Building a board's firmware from its sources.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, ensure};

use device::engine::micro::Format;
use device::hexadecimal;
use device::signature::PublicKey;
use shared::wire::seal::Key;

use super::board::Board;
use super::tool;

/// `device/firmware` of the sources that this program was built from.
#[must_use]
pub fn own_sources() -> PathBuf {
    let host = Path::new(env!("CARGO_MANIFEST_DIR"));
    host.with_file_name("device").join("firmware")
}

/// A firmware to be built.
#[derive(Debug, Clone, Copy)]
pub struct Build<'a> {
    /// For which board.
    pub board: &'a Board,
    /// Number format of its plans.
    pub format: Format,
    /// Whether its plans see colours.
    pub is_colour: bool,
    /// Form in which it reports: `binary` or `text`.
    pub wire: &'a str,
    /// It takes only plans signed with this.
    pub trust: Option<PublicKey>,
    /// It seals its line with this.
    pub key: Option<&'a Key>,
}

impl Build<'_> {
    /// Builds it from `sources`, a folder `device/firmware`, and returns the ELF file. `scripts/cross` of
    /// the same sources chooses the compiler.
    ///
    /// # Errors
    /// If the sources or the compiler are not there, the firmware does not build, or `stop` was set.
    pub fn run(&self, sources: &Path, stop: &AtomicBool) -> anyhow::Result<PathBuf> {
        let script = sources.join("../../scripts/cross");
        ensure!(
            sources.join("Cargo.toml").is_file() && script.is_file(),
            "{} does not hold the firmware's sources: name the folder device/firmware of mcdropout's \
             sources with --firmware, or firmware built before with --elf",
            sources.display()
        );
        let (name, format) = (self.board.name, self.format.name());
        let features = if self.is_colour {
            format!("{format},colour")
        } else {
            format.to_owned()
        };
        let mut command = Command::new(&script);
        command.args(["firmware-build", name, &features, self.wire]);
        if let Some(key) = self.trust {
            command.env("MCDROPOUT_TRUST", key.to_hexadecimal());
        }
        // Not as an argument, which all users of the machine can read.
        if let Some(key) = self.key {
            command.env("MCDROPOUT_KEY", hexadecimal::encode(&key.0));
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
}
