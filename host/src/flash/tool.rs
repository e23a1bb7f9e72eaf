//! Other programs, run to their end.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::{Pid, Signal, kill_process_group};

/// Lines of a failed program that are shown.
const TAIL: usize = 20;
const POLL: Duration = Duration::from_millis(50);

/// A program was ended because this one is to end.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Where the program `name` lies, if it is installed.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Ends a program that leads a process group of its own, and all that it has started.
pub(super) fn end(child: &mut Child, signal: Signal) {
    // It may have ended by itself.
    let _ = kill_process_group(Pid::from_child(child), signal);
    let _ = child.wait();
}

/// Runs `command` to its end and returns its standard output. What it says on its standard error
/// passes by beside `what` on a terminal, and whole with `-v`; if it fails, its last lines are shown.
/// Setting `stop` ends it.
///
/// # Errors
/// If it cannot be started or fails; [`Interrupted`] if it was stopped.
pub fn run(command: &mut Command, what: &str, stop: &AtomicBool) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    tracing::info!("{what}");
    // Without the environment, which may hold a key.
    let args = command.get_args();
    tracing::debug!("{:?} {args:?}", command.get_program());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C is for this program, which ends the other as a whole.
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let (Some(mut stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        bail!("cannot read what {name} says");
    };

    let bar = ProgressBar::new_spinner().with_prefix(what.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed}: {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(POLL * 2);
    let said = thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let shown = bar.clone();
    let tail = thread::spawn(move || {
        let mut tail = VecDeque::new();
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            shown.set_message(line.trim().to_owned());
            shown.suspend(|| tracing::debug!("{line}"));
            if tail.len() == TAIL {
                tail.pop_front();
            }
            tail.push_back(line);
        }
        tail
    });
    let status = loop {
        if stop.load(Ordering::Relaxed) {
            end(&mut child, Signal::TERM);
            bar.finish_and_clear();
            return Err(Interrupted.into());
        }
        if let Some(status) = child.try_wait()? {
            break status;
        }
        thread::sleep(POLL);
    };
    let tail = tail.join().unwrap_or_default();
    bar.finish_and_clear();
    if !status.success() {
        for line in tail {
            // Set off, so that another's `error:` is not taken for this program's.
            eprintln!("  | {line}");
        }
        bail!("{what} failed: {name} ended with {status}, see its last lines above");
    }
    said.join()
        .unwrap_or_else(|_| Ok(String::new()))
        .with_context(|| format!("cannot read what {name} says"))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_is_returned_failure_told_and_a_stop_ends_it_all() {
        let go = AtomicBool::new(false);
        let out = run(&mut shell("echo out; echo err >&2"), "trying", &go);
        assert_eq!(out.expect("succeeds"), "out\n");
        let error = run(&mut shell("exit 3"), "trying", &go).expect_err("it fails");
        assert!(error.to_string().contains("trying failed"), "{error}");
        assert!(run(&mut Command::new("/does/not/exist"), "trying", &go).is_err());

        let begun = Instant::now();
        let stop = AtomicBool::new(true);
        // A child of the child holds the pipes open.
        let error = run(&mut shell("sleep 60 & sleep 60"), "trying", &stop);
        assert!(error.expect_err("stopped").is::<Interrupted>());
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
