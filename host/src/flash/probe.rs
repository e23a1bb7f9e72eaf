//! Real boards through a debug probe, by the program `probe-rs`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, ensure};

use super::tool;

/// The program.
pub const PROGRAM: &str = "probe-rs";
/// How to get it.
pub const INSTALL: &str = "cargo install probe-rs-tools --locked, or see https://probe.rs";
const RULES: &str = "https://probe.rs/docs/getting-started/probe-setup/";

/// A debug probe and the chip behind it.
#[derive(Debug)]
pub struct Probe<'a> {
    program: PathBuf,
    chip: &'static str,
    selector: Option<&'a str>,
    stop: &'a AtomicBool,
}

impl<'a> Probe<'a> {
    /// Finds the program and the probe to `chip`: the one that `selector` (`VID:PID[:SERIAL]`) names,
    /// else the only one. Setting `stop` ends whatever goes on. `connect` says what has to be
    /// connected.
    ///
    /// # Errors
    /// If probe-rs is not installed, or there is no probe, several, or none that may be opened.
    pub fn find(
        chip: &'static str,
        connect: &str,
        selector: Option<&'a str>,
        stop: &'a AtomicBool,
    ) -> anyhow::Result<Self> {
        let program = tool::find(PROGRAM)
            .with_context(|| format!("{PROGRAM} is not installed: {INSTALL}"))?;
        let said = tool::run(
            Command::new(&program).arg("list"),
            "looking for a debug probe",
            stop,
        )?;
        let found: Vec<_> = said.lines().filter(|line| line.starts_with('[')).collect();
        ensure!(
            !found.is_empty(),
            "no debug probe found: connect {connect}; if that is done, this user may lack the right to \
             open it, which udev rules give ({RULES})"
        );
        ensure!(
            !found.iter().all(|line| line.contains("(inaccessible)")),
            "this user may not open the debug probe: install the udev rules ({RULES}) and plug it in again"
        );
        ensure!(
            found.len() == 1 || selector.is_some(),
            "there are several debug probes, choose one with --probe VID:PID[:SERIAL]: {}",
            found.join("; ")
        );
        Ok(Self {
            program,
            chip,
            selector,
            stop,
        })
    }

    /// Writes the file `plan` to flash at `address`, and reads it back.
    ///
    /// # Errors
    /// If probe-rs fails, or was stopped.
    pub fn write_plan(&self, plan: &Path, address: u32) -> anyhow::Result<()> {
        let address = format!("{address:#x}");
        let mut command = self.command("download");
        command.args([
            "--verify",
            "--binary-format",
            "bin",
            "--base-address",
            &address,
        ]);
        tool::run(command.arg(plan), "writing the plan to flash", self.stop).map(drop)
    }

    /// Writes the ELF file `firmware` to flash, reads it back, and starts it.
    ///
    /// # Errors
    /// If probe-rs fails, or was stopped.
    pub fn write_firmware(&self, firmware: &Path) -> anyhow::Result<()> {
        let mut command = self.command("download");
        command.args(["--verify", "--binary-format", "elf"]);
        command.arg(firmware);
        tool::run(&mut command, "writing the firmware to flash", self.stop)?;
        tool::run(&mut self.command("reset"), "starting it", self.stop).map(drop)
    }

    fn command(&self, what: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args([what, "--chip", self.chip]);
        if let Some(selector) = self.selector {
            command.args(["--probe", selector]);
        }
        command
    }
}
