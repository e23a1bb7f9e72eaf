//! The device program, a model and a configuration onto a board that runs Linux, or into the root folder
//! of an image.

mod board;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail, ensure};
use device::onnx::Model;
use device::signature::{Kind, Trust};

pub use self::board::Board;
use crate::flash::tool;

/// The configuration that the package brings.
const CONFIGURATION: &str = include_str!("../../device/packaging/device.toml");
/// Runs on the board.
const INSTALL: &str = include_str!("../../device/packaging/install.sh");
/// Where the service looks for its model, below the root folder.
const MODEL: &str = "var/lib/mcdropout/model.onnx";

/// Where the key lies that models have to be signed with.
pub const TRUSTED: &str = "/etc/mcdropout/trust.pub";

/// Kind of processor, by Debian's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Architecture {
    /// 64-bit Arm.
    Arm64,
    /// x86-64.
    Amd64,
}

impl Architecture {
    /// Debian's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Arm64 => "arm64",
            Self::Amd64 => "amd64",
        }
    }

    /// What `uname -m` says of it, if it is one of these.
    #[must_use]
    pub fn of_machine(machine: &str) -> Option<Self> {
        match machine {
            "aarch64" => Some(Self::Arm64),
            "x86_64" => Some(Self::Amd64),
            _ => None,
        }
    }
}

/// What is deployed.
#[derive(Debug, Default)]
pub struct Bundle {
    /// A Debian package of the program; `None` leaves the program there as it is.
    pub package: Option<PathBuf>,
    /// An ONNX model, or a plan; `None` leaves the model there as it is.
    pub model: Option<PathBuf>,
    /// The key that models have to be signed with; `None` leaves the one there as it is.
    pub trust: Option<PathBuf>,
    /// Text of the configuration; `None` leaves it there as it is.
    pub configuration: Option<String>,
}

impl Bundle {
    /// Lays everything out in `folder` as the board gets it.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub fn lay_out(&self, folder: &Path) -> anyhow::Result<()> {
        let copy = |from: &Path, name: &str| -> anyhow::Result<()> {
            fs::copy(from, folder.join(name))
                .with_context(|| format!("cannot read {}", from.display()))?;
            Ok(())
        };
        fs::write(folder.join("install.sh"), INSTALL)?;
        if let Some(package) = &self.package {
            copy(package, "mcdropout.deb")?;
        }
        if let Some(model) = &self.model {
            copy(model, "model.onnx")?;
        }
        if let Some(key) = &self.trust {
            copy(key, "trust.pub")?;
        }
        if let Some(text) = &self.configuration {
            fs::write(folder.join("device.toml"), text)?;
        }
        Ok(())
    }

    /// Puts everything below `root` as the package manager and the board would, for an image. The
    /// service is enabled; the package manager's records stay as they are.
    ///
    /// # Errors
    /// If a file cannot be read or written, or there is no dpkg on this machine.
    pub fn install_below(&self, root: &Path, stop: &AtomicBool) -> anyhow::Result<()> {
        fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))?;
        if let Some(package) = &self.package {
            ensure!(
                tool::find("dpkg-deb").is_some(),
                "dpkg-deb is not installed, which unpacks the package: apt-get install dpkg"
            );
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("-x").arg(package).arg(root);
            tool::run(&mut unpack, "unpacking the package", stop)?;
            let wants = root.join("etc/systemd/system/multi-user.target.wants");
            fs::create_dir_all(&wants)?;
            let link = wants.join("mcdropout.service");
            // Of an image that is built again, it is there.
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink("/usr/lib/systemd/system/mcdropout.service", link)
                .context("cannot enable the service")?;
        }
        let place = |name: &str, content: &[u8]| -> anyhow::Result<()> {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap_or(root))?;
            crate::files::write(&path, content)
        };
        if let Some(key) = &self.trust {
            place(TRUSTED.trim_start_matches('/'), &fs::read(key)?)?;
        }
        if let Some(text) = &self.configuration {
            place("etc/mcdropout/device.toml", text.as_bytes())?;
        }
        if let Some(model) = &self.model {
            place(MODEL, &fs::read(model)?)?;
        }
        Ok(())
    }
}

/// Refuses what no device takes before anything is built or copied.
///
/// # Errors
/// If the file is no plan and no model with live dropout that is complete in one file, or not signed by
/// a key that the board is to trust.
pub fn check_model(path: &Path, trust: &Trust) -> anyhow::Result<()> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let kind = Kind::of(&bytes);
    let checked = trust.check(kind, &bytes).map(|_| ());
    checked.with_context(|| format!("{} cannot be deployed", path.display()))?;
    if kind == Kind::Plan {
        return Ok(()); // The board checks it as a whole.
    }
    Model::from_bytes(&bytes)
        .with_context(|| format!("{} cannot be deployed", path.display()))
        .map(|_| ())
}

/// The configuration in `base`, or else the package's, with options set anew: `("serial", "/dev/…")`.
///
/// # Errors
/// If the file cannot be read.
pub fn configuration(base: Option<&Path>, set: &[(String, String)]) -> anyhow::Result<String> {
    let mut text = match base {
        Some(path) => {
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?
        }
        None => CONFIGURATION.to_owned(),
    };
    for (name, value) in set {
        let is_it = |line: &&str| {
            let (key, rest) = line.split_once('=').unwrap_or((line, ""));
            key.trim() == name && !rest.is_empty()
        };
        let mut kept: String = text
            .lines()
            .filter(|line| !is_it(line))
            .flat_map(|line| [line, "\n"])
            .collect();
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        // The device reads text as whatever the option is.
        let _ = writeln!(kept, "{name} = \"{value}\"");
        text = kept;
    }
    Ok(text)
}

/// Builds the package of this program's own sources for an architecture.
///
/// # Errors
/// If the sources or the compiler are not there, the program does not build, or `stop` was set.
pub fn build_package(architecture: Architecture, stop: &AtomicBool) -> anyhow::Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("scripts/package");
    ensure!(
        script.is_file(),
        "mcdropout's sources are no longer where this program was built: name a package with --package"
    );
    let name = architecture.name();
    let said = tool::run(
        Command::new(&script).arg(name),
        &format!("building the package for {name}"),
        stop,
    )?;
    let package = said.lines().last().map(PathBuf::from);
    package
        .filter(|package| package.is_file())
        .with_context(|| format!("{} did not tell what it has built", script.display()))
}

/// The architecture that a package is for.
///
/// # Errors
/// If the file is no package of this program for a kind of processor known here.
pub fn architecture_of(package: &Path, stop: &AtomicBool) -> anyhow::Result<Architecture> {
    let shown = package.display();
    ensure!(package.is_file(), "there is no package {shown}");
    let mut ask = Command::new("dpkg-deb");
    ask.arg("-f").arg(package).args(["Package", "Architecture"]);
    let said = tool::run(&mut ask, "reading the package", stop)?;
    if !said.contains("Package: mcdropout\n") {
        bail!("{shown} is not a package of mcdropout");
    }
    [Architecture::Arm64, Architecture::Amd64]
        .into_iter()
        .find(|known| said.contains(&format!("Architecture: {}\n", known.name())))
        .with_context(|| format!("{shown} is for a kind of processor that is not supported"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_set_anew_take_the_place_of_those_in_the_file() {
        let set = [
            ("serial".to_owned(), "/dev/ttyTHS1".to_owned()),
            ("name".to_owned(), "a \"b\"".to_owned()),
            ("serial".to_owned(), "/dev/ttyS2".to_owned()),
        ];
        let text = configuration(None, &set).expect("the package's");
        let lines = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!(
            (lines("serial ="), lines("name ="), lines("model =")),
            (1, 1, 1)
        );
        assert!(
            text.ends_with("name = \"a \\\"b\\\"\"\nserial = \"/dev/ttyS2\"\n"),
            "{text}"
        );
        assert_eq!(
            configuration(None, &[]).expect("the package's"),
            CONFIGURATION
        );
    }
}
