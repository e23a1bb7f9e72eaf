//! A board that runs Linux, reached by the system's ssh and scp.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, ensure};
use tempfile::TempDir;

use super::Architecture;
use crate::flash::tool;

/// A board, or with `dry_run` what would be done to it.
#[derive(Debug)]
pub struct Board<'a> {
    target: &'a str,
    options: Vec<String>,
    dry_run: bool,
    stop: &'a AtomicBool,
    /// Holds the socket by which all commands share one connection.
    _folder: TempDir,
}

impl<'a> Board<'a> {
    /// The board at `target`, as ssh takes it (`user@board`, or a name of its configuration), which may
    /// be in a `configuration` of its own. Nothing is asked: who may log in, may do so without a
    /// password.
    ///
    /// # Errors
    /// If ssh or scp are not installed, or `target` would be read as an option.
    pub fn new(
        target: &'a str,
        configuration: Option<&Path>,
        dry_run: bool,
        stop: &'a AtomicBool,
    ) -> anyhow::Result<Self> {
        for name in ["ssh", "scp"] {
            ensure!(
                dry_run || tool::find(name).is_some(),
                "{name} is not installed: apt-get install openssh-client"
            );
        }
        ensure!(
            !target.starts_with('-') && !target.contains(char::is_whitespace),
            "'{target}' is no board: expected user@board"
        );
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let mut options: Vec<String> = Vec::new();
        if let Some(file) = configuration {
            options.extend(["-F".into(), file.display().to_string()]);
        }
        let socket = format!("ControlPath={}/%C", folder.path().display());
        for option in [
            "BatchMode=yes",
            "ConnectTimeout=10",
            "ControlMaster=auto",
            "ControlPersist=60",
            &socket,
        ] {
            options.extend(["-o".into(), option.into()]);
        }
        Ok(Self {
            target,
            options,
            dry_run,
            stop,
            _folder: folder,
        })
    }

    /// Runs a shell command there and returns what it says; `None` when only shown.
    fn run(&self, command: &str, what: &str) -> anyhow::Result<Option<String>> {
        let mut ssh = Command::new("ssh");
        ssh.args(&self.options).arg(self.target).arg(command);
        self.start(&mut ssh, what)
    }

    fn start(&self, command: &mut Command, what: &str) -> anyhow::Result<Option<String>> {
        if self.dry_run {
            println!("{}", shown(command));
            return Ok(None);
        }
        tool::run(command, what, self.stop).map(Some)
    }

    /// Its kind of processor; `None` in a dry run.
    ///
    /// # Errors
    /// If it cannot be reached, or is of an unknown kind.
    pub fn architecture(&self) -> anyhow::Result<Option<Architecture>> {
        let reached = self.run("uname -m", "asking the board for its processor");
        let said = reached.with_context(|| {
            format!(
                "cannot log in at {}; does 'ssh {}' work without a password?",
                self.target, self.target
            )
        })?;
        let Some(machine) = said else {
            return Ok(None);
        };
        let machine = machine.trim();
        Architecture::of_machine(machine)
            .map(Some)
            .with_context(|| {
                format!(
                    "{} has a processor of kind {machine}, not aarch64 or x86_64",
                    self.target
                )
            })
    }

    /// Copies the files of `folder` there, and runs its `install.sh` as root. Returns whether the service
    /// runs then; if it should but does not, its last words are on stderr.
    ///
    /// # Errors
    /// If a file cannot be copied, the user cannot become root, or the installation fails.
    pub fn install(&self, folder: &Path) -> anyhow::Result<bool> {
        let there = match self.run("mktemp -d /tmp/mcdropout.XXXXXX", "making a folder there")? {
            Some(said) => said.trim().to_owned(),
            None => "/tmp/mcdropout.XXXXXX".to_owned(),
        };
        ensure!(
            there.starts_with("/tmp/mcdropout.") && !there.contains(char::is_whitespace),
            "the board's mktemp says '{there}', which is no folder"
        );
        let installed = self.copy_and_install(folder, &there);
        // Also after a failure; what matters then is that one.
        let removed = self.run(&format!("rm -rf {there}"), "cleaning up");
        let running = installed?;
        removed?;
        self.leave();
        Ok(running)
    }

    fn copy_and_install(&self, folder: &Path, there: &str) -> anyhow::Result<bool> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        files.sort();
        let mut scp = Command::new("scp");
        scp.arg("-q").args(&self.options).args(&files);
        scp.arg(format!("{}:{there}/", self.target));
        self.start(&mut scp, "copying")?;

        self.run(&as_root("true"), "becoming root")
            .with_context(|| {
                format!(
                    "{} cannot become root without a password: log in as root, or allow it sudo",
                    self.target
                )
            })?;
        let installed = self.run(&as_root(&format!("sh {there}/install.sh")), "installing");
        if installed.is_err() {
            self.last_words();
        }
        if let Some(said) = installed?
            && said.contains("not started")
        {
            return Ok(false);
        }
        // A program that ends soon after its start is seen, too.
        let alive = "sleep 2; systemctl is-active mcdropout";
        let state = self.run(alive, "looking whether the service runs");
        if state.is_err() {
            self.last_words();
        }
        state.context("the service does not run")?;
        Ok(true)
    }

    /// Shows the end of the service's log.
    fn last_words(&self) {
        let journal = as_root("journalctl --no-pager --output=cat --lines=20 --unit=mcdropout");
        if let Ok(Some(said)) = self.run(&journal, "reading the service's log") {
            for line in said.lines() {
                eprintln!("  | {line}");
            }
        }
    }

    /// Ends the connection that the commands have shared. It would end by itself.
    fn leave(&self) {
        let mut ssh = Command::new("ssh");
        ssh.args(&self.options)
            .args(["-O", "exit"])
            .arg(self.target);
        let _ = self.start(&mut ssh, "logging out");
    }
}

/// A shell command as root, who may have logged in.
fn as_root(command: &str) -> String {
    format!("if [ \"$(id -u)\" = 0 ]; then {command}; else sudo -n {command}; fi")
}

/// A command as one would type it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted = words.map(|word| {
        let word = word.to_string_lossy();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=@:%,+".contains(&byte);
        if !word.is_empty() && word.bytes().all(plain) {
            word.into_owned()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}
