//! The model's file while frames go on: a new one is checked beside the loop.
//!
//! Beside the model lie `….good`, a copy of the last one that has proved itself in the loop, and
//! `….refused`, the last one that was refused. What is refused gives its place to the copy, so that a
//! start finds a model that runs.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use device::session::Session;

use super::Opening;
use crate::cmd::swap::{beside, check, copy_into_place};

/// Between two looks at the file; what has not changed from one to the next is complete.
const POLL: Duration = Duration::from_secs(1);

/// What became of a new file.
pub(super) enum Found {
    /// It is checked and ready to judge frames.
    Checked(Box<Session>),
    /// It is not taken: why.
    Refused(String),
}

/// What the loop has seen of the model in force.
enum Order {
    /// It has proved itself.
    Keep,
    /// It has failed; the one before is in force again.
    TakeBack,
}

/// The thread that watches.
pub(super) struct Watcher {
    found: Receiver<Found>,
    orders: Sender<Order>,
}

impl Watcher {
    /// Watches the file at `path`, which has last been `seen` when the session in force was opened from
    /// it. Setting `stop` ends a check.
    pub(super) fn start(
        path: &Path,
        seen: Option<Stamp>,
        opening: Opening,
        stop: &Arc<AtomicBool>,
    ) -> anyhow::Result<Self> {
        let (to_loop, found) = channel();
        let (orders, from_loop) = channel();
        let watch = Watch {
            path: path.to_owned(),
            seen,
            opening,
            stop: Arc::clone(stop),
        };
        thread::Builder::new()
            .name("model".to_owned())
            .spawn(move || watch.run(&from_loop, &to_loop))
            .context("cannot start a thread")?;
        Ok(Self { found, orders })
    }

    /// What was found since the last call.
    pub(super) fn found(&self) -> Option<Found> {
        self.found.try_recv().ok()
    }

    pub(super) fn keep(&self) {
        // Without the thread there is nothing to do.
        let _ = self.orders.send(Order::Keep);
    }

    pub(super) fn take_back(&self) {
        let _ = self.orders.send(Order::TakeBack);
    }
}

/// By what a file's content is known without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// `None` if there is no such file.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

struct Watch {
    path: PathBuf,
    /// The file as it was when it was last looked into.
    seen: Option<Stamp>,
    opening: Opening,
    stop: Arc<AtomicBool>,
}

impl Watch {
    fn run(mut self, orders: &Receiver<Order>, found: &Sender<Found>) {
        let mut settling = None;
        loop {
            match orders.recv_timeout(POLL) {
                Ok(Order::Keep) => self.keep(),
                Ok(Order::TakeBack) => self.set_aside(),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let now = Stamp::of(&self.path).filter(|now| Some(*now) != self.seen);
                    if now.is_some() && now == settling {
                        self.seen = now;
                        if found.send(self.consider()).is_err() {
                            return;
                        }
                    }
                    settling = now;
                }
            }
        }
    }

    fn consider(&mut self) -> Found {
        tracing::info!("checking the new {}", self.path.display());
        let opening = &self.opening;
        let checked = check(&self.path, opening.engine(), opening.trust(), &self.stop)
            .and_then(|()| opening.session(&self.path));
        match checked {
            Ok(session) => Found::Checked(Box::new(session)),
            Err(error) => {
                let reason = without_path(&format!("{error:#}"), &self.path);
                self.set_aside();
                Found::Refused(reason)
            }
        }
    }

    /// The copy that a refused model gives its place to.
    fn keep(&self) {
        let good = beside(&self.path, "good");
        if Stamp::of(&self.path) != self.seen || same_content(&self.path, &good) {
            return;
        }
        if let Err(error) = copy_into_place(&self.path, &good) {
            tracing::warn!(
                "cannot keep a copy of the model, so there is none to go back to after a restart: {error:#}"
            );
        }
    }

    fn set_aside(&mut self) {
        if Stamp::of(&self.path) != self.seen {
            return; // There is a newer one already.
        }
        if let Err(error) = give_place(&self.path) {
            tracing::error!(
                "the refused model stays at {}, where a restart will find it: {error:#}",
                self.path.display()
            );
        }
        self.seen = Stamp::of(&self.path);
    }
}

/// Puts the copy of the last good model in the place of a refused one.
fn give_place(path: &Path) -> anyhow::Result<()> {
    let good = beside(path, "good");
    if !good.is_file() {
        return Err(anyhow!("no model has proved itself so far"));
    }
    let refused = beside(path, "refused");
    fs::copy(path, &refused).with_context(|| format!("cannot write {}", refused.display()))?;
    copy_into_place(&good, path)
}

/// Opens the model, or the last good one where that fails: with why it failed.
///
/// # Errors
/// If neither can be opened: why the model cannot.
pub(super) fn open_or_good(
    path: &Path,
    opening: &Opening,
) -> anyhow::Result<(Session, Option<String>)> {
    let error = match opening.session(path) {
        Ok(session) => return Ok((session, None)),
        Err(error) => error,
    };
    let good = beside(path, "good");
    let Ok(session) = opening.session(&good) else {
        return Err(error);
    };
    tracing::error!("{error:#}; {} runs instead", good.display());
    Ok((session, Some(without_path(&format!("{error:#}"), path))))
}

/// A reason as it fits a notice: there is one model, so that its path says nothing.
fn without_path(reason: &str, path: &Path) -> String {
    let path = path.display().to_string();
    let reason = reason.strip_prefix(&path).unwrap_or(reason);
    reason.trim_start_matches([':', ' ']).to_owned()
}

fn same_content(a: &Path, b: &Path) -> bool {
    let read = |path: &Path| -> io::Result<Vec<u8>> { fs::read(path) };
    matches!((read(a), read(b)), (Ok(a), Ok(b)) if a == b)
}
