//! What the command-line programs have in common: logs on stderr, and how a failure is told.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use tracing::level_filters::LevelFilter;

use crate::engine::provider::OptionError;

type Taker = Box<dyn Fn(&str) + Send>;

/// Who takes log lines instead of stderr.
static TAKER: Mutex<Option<Taker>> = Mutex::new(None);

/// Starts logging to stderr: information at 0, debug at 1, trace at 2 and more.
pub fn start(verbosity: u8) {
    let level = match verbosity {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // A second call (in tests) keeps the first logger.
    let _ = tracing_subscriber::fmt()
        .with_writer(|| Line)
        .with_ansi(colour)
        .with_max_level(level)
        .with_target(false)
        .without_time()
        .try_init();
}

/// Gives log lines to `take`, from now on until the value returned is dropped: a program that draws
/// on the whole terminal shows them where they do no harm. They go on to stderr as well where that
/// is not a terminal.
#[must_use]
pub fn divert(take: impl Fn(&str) + Send + 'static) -> Diverted {
    *TAKER.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(take));
    Diverted(())
}

/// See [`divert`].
#[derive(Debug)]
pub struct Diverted(());

impl Drop for Diverted {
    fn drop(&mut self) {
        *TAKER.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Takes one log line at a time.
struct Line;

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let taker = TAKER.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(take) = taker.as_ref() {
            take(String::from_utf8_lossy(line).trim_end());
            if io::stderr().is_terminal() {
                return Ok(line.len());
            }
        }
        io::stderr().write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// 0, or after telling the error on one line 1, or 2 where options do not go together. A closed pipe at
/// stdout ends a program quietly.
#[must_use]
pub fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", format!("{error:#}").replace('\n', " "));
            let usage = error.chain().any(<dyn Error>::is::<OptionError>);
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
