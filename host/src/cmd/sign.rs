//! `host sign`: models and plans that devices take which trust a key.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use device::engine::micro::OwnedPlan;
use device::signature::{Kind, SigningKey};

use crate::files;

/// Sign models and plans, in their place.
///
/// The signature lies in the file: in the metadata of an ONNX file, where other programs pass over it,
/// and behind a plan. It covers every byte, and the weights beside an ONNX file. Whatever changes the
/// file (host calibrate does) takes the signature away.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The private key, of host keygen.
    #[arg(long, value_name = "KEY")]
    key: PathBuf,
    /// ONNX models and plan files.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// Runs `host sign`.
///
/// # Errors
/// If the key or a file cannot be read, is none, or the file cannot be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let key = SigningKey::open(&args.key)?;
    for path in &args.files {
        // Through a link the file itself is replaced, not the link.
        let path = path
            .canonicalize()
            .with_context(|| format!("cannot read {}", path.display()))?;
        let bytes = signed(&path, &key)?;
        files::write(&path, &bytes)?;
        writeln!(std::io::stdout(), "{}", path.display())?;
    }
    Ok(())
}

fn signed(path: &Path, key: &SigningKey) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let file = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    if Kind::of(&file) == Kind::Plan {
        OwnedPlan::new(&file).with_context(|| format!("cannot sign {shown}"))?;
        return Ok(key.sign(Kind::Plan, &file));
    }
    Ok(device::onnx::sign(path, key)?)
}
