//! `host keygen`: a pair of keys, to sign models with and to check signatures with.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use device::signature::SigningKey;

/// Make a pair of keys: NAME.key signs models and stays secret, NAME.pub goes onto devices.
///
/// Both are PEM files of Ed25519 keys, as OpenSSL writes them; the private one is not encrypted.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  host keygen release                                     writes release.key and release.pub
  host sign --key release.key out/model.onnx
  device run --model out/model.onnx --trust release.pub

Exit codes: 0 done, 1 failed (also if a file is there already), 2 wrong usage.")]
pub struct Args {
    /// Where to write, without the ending.
    #[arg(value_name = "NAME")]
    name: PathBuf,
}

/// Runs `host keygen`.
///
/// # Errors
/// If a file is there already or cannot be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut seed = [0; SigningKey::SEED];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut seed))
        .context("cannot read random bytes from /dev/urandom")?;
    let key = SigningKey::from_seed(seed).context("the random bytes are all zeros")?;
    let path = |ending: &str| {
        let mut path = args.name.clone().into_os_string();
        path.push(ending);
        PathBuf::from(path)
    };
    let [private, public] = [path(".key"), path(".pub")];
    create(&private, 0o600, &key.to_pem())?;
    create(&public, 0o644, &key.public().to_pem())?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} (secret)", private.display())?;
    writeln!(out, "{}", public.display())?;
    Ok(())
}

/// A new file: a key that is there already is never replaced.
fn create(path: &Path, mode: u32, text: &str) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}
