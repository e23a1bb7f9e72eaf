//! What the command-line programs have in common: logs on stderr, and how a failure is told.

use std::error::Error;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use tracing::level_filters::LevelFilter;

use crate::engine::provider::OptionError;

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
        .with_writer(io::stderr)
        .with_ansi(colour)
        .with_max_level(level)
        .with_target(false)
        .without_time()
        .try_init();
}

/// 0, or after telling the error on one line 1, or 2 where options do not go together. A closed pipe at stdout ends a program quietly.
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
