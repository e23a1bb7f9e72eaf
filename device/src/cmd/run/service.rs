//! What a service manager is told. Where none listens (`NOTIFY_SOCKET`), all this does nothing.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Everything is open, and frames are looked for from now on.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// One line for `systemctl status`.
pub(super) fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The service manager's watchdog, which ends a program that shows no sign of life.
pub(super) struct Watchdog {
    /// Between two signs: a quarter of what is allowed; `None` without a watchdog.
    interval: Option<Duration>,
    last: Option<Instant>,
}

impl Watchdog {
    pub(super) fn new() -> Self {
        Self {
            interval: sd_notify::watchdog_enabled().map(|allowed| allowed / 4),
            last: None,
        }
    }

    /// A turn of the loop has begun. Nothing else feeds the watchdog, so that an engine or a line that
    /// hangs is noticed; waiting for a camera are turns, too.
    pub(super) fn feed(&mut self) {
        let Some(interval) = self.interval else {
            return;
        };
        if self.last.is_none_or(|at| at.elapsed() >= interval) {
            tell(&[NotifyState::Watchdog]);
            self.last = Some(Instant::now());
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("the service manager does not listen: {error}");
    }
}
