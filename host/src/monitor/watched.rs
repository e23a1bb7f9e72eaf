//! One state, changed by the thread that reads the line, looked at by those that show it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Live;

/// A handle on a [`Live`] and on the clock that began with it; clones are of the same state.
#[derive(Clone, Debug)]
pub struct Watched {
    live: Arc<Mutex<Live>>,
    began: Instant,
}

impl Default for Watched {
    fn default() -> Self {
        Self {
            live: Arc::default(),
            began: Instant::now(),
        }
    }
}

impl Watched {
    /// Looks at the state and the time since monitoring began. The line waits meanwhile: copy or
    /// format, and return.
    pub fn look<T>(&self, look: impl FnOnce(&Live, Duration) -> T) -> T {
        look(&self.lock(), self.began.elapsed())
    }

    /// Changes the state, given the time since monitoring began.
    pub fn change(&self, change: impl FnOnce(&mut Live, Duration)) {
        change(&mut self.lock(), self.began.elapsed());
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
