//! `device swap`: a checked model into the place of another, at once.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use device::onnx::Model;
use device::session::EngineKind;
use device::signature::Kind;

use super::TrustArgs;

/// Between two looks at whether a check has ended.
const POLL: Duration = Duration::from_millis(20);

/// Check a model and put it in the place of another; `device run --hot-swap` takes it from there.
///
/// The file is complete in its place or not there at all, whatever happens meanwhile.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  device swap new.onnx --to /var/lib/mcdropout/model.onnx

Exit codes: 0 done, 1 the model was refused or could not be written, 2 wrong usage.")]
pub(crate) struct Args {
    /// The new model: an ONNX classifier with live dropout, or a plan.
    #[arg(value_name = "FILE")]
    model: PathBuf,
    /// The place of the model.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// The engine that will run it, as for device check.
    #[arg(long)]
    engine: Option<EngineKind>,
    #[command(flatten)]
    trust: TrustArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    check(&args.model, args.engine, &args.trust, &Arc::default())?;
    copy_into_place(&args.model, &args.to)?;
    writeln!(
        io::stdout(),
        "{} is in place at {}",
        args.model.display(),
        args.to.display()
    )?;
    Ok(())
}

/// What `device check` says of the file, in a process of its own, which a model may make crash.
/// Setting `stop` ends it.
///
/// # Errors
/// If the file is refused, or its weights lie in a file beside it, which no swap would carry along.
pub(crate) fn check(
    path: &Path,
    engine: Option<EngineKind>,
    trust: &TrustArgs,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let kind = Kind::of(&bytes);
    let checked = trust.open()?.check(kind, &bytes).map(|_| ());
    checked.with_context(|| path.display().to_string())?;
    if kind == Kind::Plan {
        return Ok(()); // A plan is checked as a whole where it is opened.
    }
    Model::from_bytes(&bytes).context("a model that is swapped has to be complete in one file")?;
    drop(bytes);
    // By this name it is found also if the program was replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command.arg("check").arg(path);
    if let Some(engine) = engine {
        command.args(["--engine", engine.name()]);
    }
    for key in &trust.trust {
        command.arg("--trust").arg(key);
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start device check")?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if stop.load(Ordering::Relaxed) {
            child.kill()?;
            child.wait()?;
            bail!("the check was ended");
        }
        thread::sleep(POLL);
    };
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut said)?;
    }
    let reason = said.lines().find_map(|line| line.strip_prefix("error: "));
    ensure!(
        status.success(),
        "{}",
        reason.map_or_else(|| format!("device check ended with {status}"), String::from)
    );
    Ok(())
}

/// `model.onnx.good` for `model.onnx`.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// Copies a file so that it is complete at `to`, or not there, even if the power fails.
///
/// # Errors
/// If it cannot be read or written.
pub(crate) fn copy_into_place(from: &Path, to: &Path) -> anyhow::Result<()> {
    let new = beside(to, "new");
    let copied = (|| -> io::Result<()> {
        fs::copy(from, &new)?;
        File::open(&new)?.sync_all()?;
        fs::rename(&new, to)?;
        let folder = to.parent().filter(|folder| *folder != Path::new(""));
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    })();
    copied.with_context(|| {
        // Half a copy is of no use.
        let _ = fs::remove_file(&new);
        format!("cannot copy {} to {}", from.display(), to.display())
    })
}
