//! `host deploy`: program, model and configuration onto a board that runs Linux.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use anyhow::{bail, ensure};
use device::signature::Trust;

use super::long::{interrupted, stop_flag};
use crate::deploy::{self, Architecture, Board, Bundle};
use crate::flash::tool::Interrupted;

/// Put the device program, a model and a configuration onto a board that runs Linux, as a service.
///
/// Over ssh and scp, as a Debian package that is built for the board's processor. The board needs systemd
/// and dpkg (Debian, Ubuntu, a Jetson, a Raspberry Pi), a login without a password, and root or sudo
/// without one. The model is checked on the board, and swapped at once; a service that runs takes it
/// between two frames.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  host deploy ubuntu@jetson --model out/lenet/model.onnx --set serial=/dev/ttyTHS1
  host deploy ubuntu@jetson --model out/lenet/model.onnx --no-package   # another model, nothing else
  host deploy ubuntu@jetson --config device.toml --package mcdropout_0.1.0-1_arm64.deb
  host deploy --to image/root --arch arm64 --model out/lenet/model.onnx
  host deploy ubuntu@jetson --model out/lenet/model.onnx --dry-run

Ports, keys and jumps are ssh's own business: see ssh_config(5).
On the board: systemctl status mcdropout, journalctl -u mcdropout, /etc/mcdropout/device.toml.
Exit codes: 0 done, 1 failed (also if the service does not run), 2 wrong usage, 130 interrupted.")]
pub struct Args {
    /// The board, as ssh takes it: user@board, or a name of its configuration.
    #[arg(value_name = "USER@BOARD", required_unless_present = "to")]
    board: Option<String>,
    /// Put everything below this folder instead, for an image.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["board", "ssh_config", "dry_run"])]
    to: Option<PathBuf>,
    /// The model: an ONNX file with live dropout, or a plan [default: the one that is there]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// The configuration [default: the one that is there, or else the package's]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set an option of device run in that configuration, or in the package's.
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// The board takes only models that are signed with this key (KEY.pub of host keygen) from now on.
    #[arg(long, value_name = "KEY")]
    trust: Option<PathBuf>,
    /// A package built before [default: it is built, by scripts/package]
    #[arg(long, value_name = "FILE", conflicts_with = "no_package")]
    package: Option<PathBuf>,
    /// Leave the program there as it is.
    #[arg(long)]
    no_package: bool,
    /// Kind of processor, for --to and --dry-run [default: the package's]
    #[arg(long, value_enum)]
    arch: Option<Architecture>,
    /// Configuration of ssh, instead of your own.
    #[arg(long, value_name = "FILE")]
    ssh_config: Option<PathBuf>,
    /// Show the commands, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("expected NAME=VALUE, for example serial=/dev/ttyTHS1".to_owned()),
    }
}

/// Runs `host deploy`.
///
/// # Errors
/// If a file makes no sense, the package does not build, the board cannot be reached, or something fails
/// there.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let stop = stop_flag()?;
    match deploy(args, &stop) {
        Err(error) if error.is::<Interrupted>() => interrupted(),
        result => result,
    }
}

fn deploy(args: &Args, stop: &AtomicBool) -> anyhow::Result<()> {
    let mut set = args.set.clone();
    if args.trust.is_some() {
        set.push(("trust".to_owned(), deploy::TRUSTED.to_owned()));
    }
    ensure!(
        !args.no_package || args.model.is_some() || args.config.is_some() || !set.is_empty(),
        "there is nothing to deploy: give --model, --config or --set, or leave --no-package out"
    );
    let trust = Trust::open(args.trust.as_slice())?;
    // Whatever can be wrong is looked for before anything is built.
    if let Some(model) = &args.model {
        deploy::check_model(model, &trust)?;
    }
    let configuration = if args.config.is_some() || !set.is_empty() {
        Some(deploy::configuration(args.config.as_deref(), &set)?)
    } else {
        None
    };
    let mut bundle = Bundle {
        package: None,
        model: args.model.clone(),
        trust: args.trust.clone(),
        configuration,
    };
    if let Some(root) = &args.to {
        bundle.package = package(args, args.arch, stop)?;
        bundle.install_below(root, stop)?;
        println!("{} holds what a board needs", root.display());
        return Ok(());
    }
    let Some(target) = &args.board else {
        bail!("no board is named");
    };
    let board = Board::new(target, args.ssh_config.as_deref(), args.dry_run, stop)?;
    let found = board.architecture()?;
    if let (Some(asked), Some(found)) = (args.arch, found) {
        ensure!(
            asked == found,
            "{target} is {}, not {}: leave --arch out",
            found.name(),
            asked.name()
        );
    }
    let folder = tempfile::tempdir()?;
    if args.dry_run && args.package.is_none() && !args.no_package {
        println!(
            "scripts/package {}",
            args.arch.map_or("ARCH", Architecture::name)
        );
        std::fs::write(folder.path().join("mcdropout.deb"), "")?;
    } else {
        bundle.package = package(args, found.or(args.arch), stop)?;
    }
    bundle.lay_out(folder.path())?;
    let running = board.install(folder.path())?;
    if args.dry_run {
        return Ok(());
    }
    if running {
        println!("mcdropout runs on {target}");
    } else {
        println!("mcdropout is installed on {target}, but there is no model yet: give --model");
    }
    Ok(())
}

/// The package that was named, which has to be for `wanted`, or one that is built.
fn package(
    args: &Args,
    wanted: Option<Architecture>,
    stop: &AtomicBool,
) -> anyhow::Result<Option<PathBuf>> {
    if args.no_package {
        return Ok(None);
    }
    if let Some(package) = &args.package {
        let found = deploy::architecture_of(package, stop)?;
        ensure!(
            wanted.is_none_or(|wanted| wanted == found),
            "{} is for {}, but the board is {}",
            package.display(),
            found.name(),
            wanted.map_or("another", Architecture::name)
        );
        return Ok(Some(package.clone()));
    }
    let Some(wanted) = wanted else {
        bail!("for which kind of processor? give --arch or --package");
    };
    deploy::build_package(wanted, stop).map(Some)
}
