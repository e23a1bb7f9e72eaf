//! What commands that take long have in common: threads, a progress bar, and an orderly end on
//! Ctrl-C.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

/// What a shell reports for a program that Ctrl-C ended: 128 + SIGINT.
pub(super) const INTERRUPTED: i32 = 130;

/// A flag that Ctrl-C sets; a second Ctrl-C ends the program at once.
pub(super) fn stop_flag() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED);
        }
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(stop)
}

/// Ends the program that the flag of [`stop_flag`] stopped.
pub(super) fn interrupted() -> ! {
    tracing::warn!("interrupted");
    std::process::exit(INTERRUPTED)
}

/// By how many the work is done.
#[derive(Debug, clap::Args)]
pub(super) struct Threads {
    /// Threads, each with its own engine [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl Threads {
    /// How many threads.
    pub(super) fn count(&self) -> anyhow::Result<usize> {
        match self.threads {
            Some(threads) => Ok(usize::from(threads)),
            None => Ok(std::thread::available_parallelism()
                .context("cannot count the cores")?
                .get()),
        }
    }
}

/// A bar for `total` units, `done` of them done already. It draws on stderr, and only if that is a
/// terminal.
pub(super) fn progress_bar(phase: &'static str, total: u64, done: u64) -> ProgressBar {
    let bar = ProgressBar::new(total)
        .with_position(done)
        .with_message(phase);
    let style = ProgressStyle::with_template("{msg:14} {wide_bar} {pos}/{len} {per_sec} eta {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.reset_eta();
    bar
}
