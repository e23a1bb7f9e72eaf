//! What a service manager is told. Where none listens (`NOTIFY_SOCKET`), all this does nothing.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// The service manager's view of this program.
pub(super) struct Service {
    /// Between two signs of life: a quarter of what the watchdog allows; `None` without a watchdog.
    interval: Option<Duration>,
    last: Option<Instant>,
}

impl Service {
    pub(super) fn new() -> Self {
        Self {
            interval: sd_notify::watchdog_enabled().map(|allowed| allowed / 4),
            last: None,
        }
    }

    /// Everything is open, and frames are looked for from now on.
    pub(super) fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// A turn of the loop has begun. Nothing else feeds the watchdog, so that an engine or a line that
    /// hangs is noticed; waiting for a camera are turns, too.
    pub(super) fn alive(&mut self) {
        let Some(interval) = self.interval else {
            return;
        };
        if self.last.is_none_or(|at| at.elapsed() >= interval) {
            tell(&[NotifyState::Watchdog]);
            self.last = Some(Instant::now());
        }
    }

    /// One line for `systemctl status`.
    pub(super) fn status(&self, text: &str) {
        tell(&[NotifyState::Status(text)]);
    }

    pub(super) fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("the service manager does not listen: {error}");
    }
}
