//! Sources that do not wait for who reads them: a thread takes frames as they come, and the reader
//! gets the newest.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{CameraError, Frame, LiveState, Next};

/// How long one wait for a frame lasts before the thread looks whether it is to end.
const POLL: Duration = Duration::from_millis(200);
/// The first and the longest pause before a lost camera is tried again.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// Something that can be opened again when it was lost.
pub(super) trait Camera: Send + 'static {
    /// It, open.
    type Stream: Stream + Send;

    /// Opens it.
    fn open(&mut self) -> Result<Self::Stream, CameraError>;

    /// What it is called in messages.
    fn name(&self) -> String;

    /// Whether it goes on without who reads, so that old frames are left out, and comes back when it
    /// was lost. A file does neither.
    fn is_live(&self) -> bool {
        true
    }
}

/// An open camera.
pub(super) trait Stream {
    /// Waits for a frame, for [`POLL`] or a little longer, and writes picture and time to `frame`:
    /// here the time of `monotonic`(crate::machine::monotonic). What was lost or damaged on the way is counted in `state`.
    fn read(
        &mut self,
        frame: &mut Frame,
        wait: Duration,
        state: &mut LiveState,
    ) -> Result<Next, CameraError>;
}

/// What the thread and the reader share.
#[derive(Debug, Default)]
struct Slot {
    frame: Frame,
    /// Whether `frame` was not read yet.
    full: bool,
    state: LiveState,
    /// Set once, when no frame will come any more.
    end: Option<Result<(), CameraError>>,
}

#[derive(Debug, Default)]
struct Shared {
    slot: Mutex<Slot>,
    changed: Condvar,
    stop: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        // A slot makes sense after every single assignment.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Sleeps until `pause` is over or the reader has gone.
    fn sleep(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut slot = self.lock();
        while !self.is_stopped() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            slot = self.wait(slot, left);
        }
    }

    fn wait<'a>(&self, slot: MutexGuard<'a, Slot>, at_most: Duration) -> MutexGuard<'a, Slot> {
        let waited = self.changed.wait_timeout(slot, at_most);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// A camera and the thread that reads it.
#[derive(Debug)]
pub(super) struct Live {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    drops: bool,
}

impl Live {
    /// Opens `camera` and begins to read it. Frames tell their time since `epoch`, a time of
    /// `monotonic`.
    pub(super) fn start(mut camera: impl Camera, epoch: Duration) -> Result<Self, CameraError> {
        let stream = camera.open()?;
        let shared = Arc::new(Shared::default());
        let drops = camera.is_live();
        let reader = Reader {
            camera,
            epoch,
            shared: Arc::clone(&shared),
            state: LiveState::default(),
            lost: None,
            pause: PAUSES[0],
        };
        let thread = thread::Builder::new()
            .name("camera".to_owned())
            .spawn(move || reader.run(stream))
            .map_err(CameraError::Thread)?;
        Ok(Self {
            shared,
            thread: Some(thread),
            drops,
        })
    }

    /// The newest frame, if one comes within `wait`.
    pub(super) fn poll(&self, frame: &mut Frame, wait: Duration) -> Result<Next, CameraError> {
        let until = Instant::now() + wait;
        let mut slot = self.shared.lock();
        loop {
            if slot.full {
                slot.full = false;
                std::mem::swap(frame, &mut slot.frame);
                self.shared.changed.notify_all();
                return Ok(Next::Frame);
            }
            match slot.end.take() {
                Some(Ok(())) => {
                    slot.end = Some(Ok(()));
                    return Ok(Next::End);
                }
                Some(Err(error)) => {
                    slot.end = Some(Ok(()));
                    return Err(error);
                }
                None => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Next::NotYet);
            }
            slot = self.shared.wait(slot, left);
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.drops
    }

    pub(super) fn state(&self) -> LiveState {
        self.shared.lock().state.clone()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

/// The thread's side.
struct Reader<C> {
    camera: C,
    epoch: Duration,
    shared: Arc<Shared>,
    /// What was counted, on its way to the slot.
    state: LiveState,
    /// When the last frame before a loss came, until one comes again.
    lost: Option<Instant>,
    /// How long to wait before the camera is opened again.
    pause: Duration,
}

impl<C: Camera> Reader<C> {
    fn run(mut self, stream: C::Stream) {
        let mut frame = Frame::default();
        let mut opened = Ok(stream);
        let end = loop {
            let began = Instant::now();
            match opened.and_then(|stream| self.read(stream, &mut frame)) {
                Err(error) if self.camera.is_live() && !self.shared.is_stopped() => {
                    if began.elapsed() > PAUSES[1] {
                        self.pause = PAUSES[0];
                    }
                    self.tell_lost(&error);
                }
                result => break result,
            }
            self.shared.sleep(self.pause);
            self.pause = (2 * self.pause).min(PAUSES[1]);
            opened = self.camera.open();
        };
        self.shared.lock().end = Some(end);
        self.shared.changed.notify_all();
    }

    /// Reads frames until there are no more, the reader has gone, or the camera is lost.
    fn read(&mut self, mut stream: C::Stream, frame: &mut Frame) -> Result<(), CameraError> {
        while !self.shared.is_stopped() {
            match stream.read(frame, POLL, &mut self.state)? {
                Next::Frame => {
                    self.tell_back();
                    frame.captured = frame.captured.saturating_sub(self.epoch);
                    self.state.captured += 1;
                    self.hand_over(frame);
                }
                Next::NotYet => self.shared.lock().state.clone_from(&self.state),
                Next::End => break,
            }
        }
        Ok(())
    }

    /// Puts the frame where the reader finds it, and takes the buffers of an older one.
    fn hand_over(&mut self, frame: &mut Frame) {
        let mut slot = self.shared.lock();
        while slot.full && !self.camera.is_live() && !self.shared.is_stopped() {
            slot = self.shared.wait(slot, POLL);
        }
        self.state.dropped += u64::from(slot.full);
        slot.state.clone_from(&self.state);
        slot.full = true;
        std::mem::swap(&mut slot.frame, frame);
        drop(slot);
        self.shared.changed.notify_all();
    }

    /// Says once why no frames come any more.
    fn tell_lost(&mut self, error: &CameraError) {
        if self.lost.is_some() {
            tracing::debug!("not yet: {error}");
            return;
        }
        tracing::warn!("the camera is lost: {error}; waiting for it to come back");
        self.lost = Some(Instant::now());
        self.state.absent = Some(error.to_string());
        self.shared.lock().state.clone_from(&self.state);
    }

    fn tell_back(&mut self) {
        if let Some(lost) = self.lost.take() {
            let (name, seconds) = (self.camera.name(), lost.elapsed().as_secs_f64());
            tracing::info!("{name} is back after {seconds:.1} s");
            self.state.absent = None;
            self.state.reconnects += 1;
        }
    }
}
