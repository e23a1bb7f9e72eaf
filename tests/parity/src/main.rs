//! `parity FOLDER`: runs a suite on every engine of this machine, and prints how far each is from
//! libtorch.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, ensure};

fn main() -> ExitCode {
    device::log::exit_code(run())
}

fn run() -> anyhow::Result<()> {
    let folder = std::env::args_os().nth(1).context("usage: parity FOLDER")?;
    let rows = parity::check(Path::new(&folder))?;
    ensure!(!rows.is_empty(), "the suite is empty");
    for row in rows {
        println!("{row}");
    }
    Ok(())
}
