//! Running the programs as a user does.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Path of the program `name`, built from this workspace.
///
/// # Panics
/// If it was not built.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("a running test has a path");
    let folder = this.parent().expect("a program lies in a folder");
    // Tests lie in target/<profile>/deps, programs beside that.
    let folder = match folder.parent() {
        Some(parent) if folder.ends_with("deps") => parent,
        _ => folder,
    };
    let program = folder.join(name);
    assert!(
        program.is_file(),
        "{} is not there: run cargo build --workspace first",
        program.display()
    );
    program
}

/// A command that runs `host` or `device` with nothing on its standard input.
#[must_use]
pub fn command<S: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(path(name));
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs a program to its end.
///
/// # Panics
/// If it cannot be started.
pub fn run<S: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = S>) -> Output {
    command(name, args)
        .output()
        .expect("a program that exists can be started")
}

/// A program that goes on while the test does, and ends with it at the latest.
#[derive(Debug)]
pub struct Running(Option<Child>);

impl Running {
    /// Starts `command`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        Self(Some(
            command
                .spawn()
                .expect("a program that exists can be started"),
        ))
    }

    /// The process.
    ///
    /// # Panics
    /// Never: only [`Running::end`] takes it.
    pub fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("only the end takes the process")
    }

    /// Waits for the end of a program that ought to end by itself; gives its exit code, standard
    /// output and standard error.
    ///
    /// # Panics
    /// If it does not end within a minute.
    #[must_use]
    pub fn end(mut self) -> (Option<i32>, String, String) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while self.child().try_wait().expect("waited").is_none() {
            assert!(Instant::now() < deadline, "the program did not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        let child = self.0.take().expect("only the end takes the process");
        let output = child.wait_with_output().expect("waited");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), stdout(&output), stderr)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Standard output as text.
#[must_use]
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a program that must succeed, and returns its standard output.
///
/// # Panics
/// If it fails; the message holds what it said.
#[track_caller]
pub fn succeed<S: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = S>) -> String {
    let output = run(name, args);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    stdout(&output)
}

/// Runs a program that must fail as a bad input should: exit code 1, one line that begins with
/// `error:` and holds every one of `words`, and no panic. Returns that line.
///
/// # Panics
/// If it succeeds, or fails otherwise.
#[track_caller]
pub fn fail<S: AsRef<OsStr>>(
    name: &str,
    args: impl IntoIterator<Item = S>,
    words: &[&str],
) -> String {
    let output = run(name, args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    let errors: Vec<_> = stderr
        .lines()
        .filter(|line| line.starts_with("error:"))
        .collect();
    assert_eq!(
        errors.len(),
        1,
        "one line that begins with 'error:' is expected: {stderr}"
    );
    assert_eq!(
        stderr.lines().last(),
        Some(errors[0]),
        "the error is the last word: {stderr}"
    );
    for word in words {
        assert!(
            errors[0].contains(word),
            "'{word}' is missing in: {}",
            errors[0]
        );
    }
    errors[0].to_owned()
}
