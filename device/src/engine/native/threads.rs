//! The engine on Linux: on one thread, or on several that share the passes of a frame.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::vec;
use std::vec::Vec;

use shared::mask::MaskSource;

use super::frame::Frame;
use super::head::{Head, Seen};
use super::layout::Layout;
use super::limit::{Census, dense_multiply_adds, of_stem};
use super::plan::Plan;
use super::simd::Level;
use super::{NAME, NativeError, frame};
use crate::engine::call::{CallError, check_input, check_passes};
use crate::engine::{Engine, EngineError, InputShape};

/// Multiply-adds, zeros included, that take longer than waking a thread: some tenths of a
/// millisecond without vectors, a tenth with them.
const WORTH_A_THREAD: u64 = 12_000_000;

/// Runs a plan; allocates nothing after it is made.
///
/// With more than one thread the passes of a [`Engine::sample`] call are split among them. The
/// logits are the same to the bit, however many there are.
#[derive(Debug)]
pub struct NativeEngine {
    shared: Arc<Shared>,
    memory: HeadMemory,
    workers: Vec<Worker>,
    /// Workers that the last call of `sample` had work for.
    helped: usize,
    frame: Option<u32>,
}

/// What all threads read.
#[derive(Debug)]
struct Shared {
    plan: Plan,
    layout: Layout,
    level: Level,
    masks: MaskSource,
    /// Vectors of passes that are worth waking a thread for.
    least_groups: u32,
    /// Written between calls of `sample` only.
    frame: RwLock<FrameMemory>,
}

#[derive(Debug)]
struct FrameMemory {
    values: Vec<f32>,
    words: Vec<u32>,
}

#[derive(Debug)]
struct HeadMemory {
    values: Vec<f32>,
    words: Vec<u32>,
}

impl From<NativeError> for EngineError {
    fn from(error: NativeError) -> Self {
        match error {
            NativeError::Call(error) => error.into(),
            NativeError::Scratch => Self::run(NAME, "head", &error),
        }
    }
}

impl NativeEngine {
    /// Prepares a plan for `level` on up to `threads` threads, as many as there is work for; `seed`
    /// selects the masks.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn new(plan: Plan, level: Level, seed: u64, threads: usize) -> Result<Self, EngineError> {
        Self::with_worth(plan, level, seed, threads, WORTH_A_THREAD)
    }

    /// `worth` are the multiply-adds that are worth waking a thread for.
    pub(super) fn with_worth(
        plan: Plan,
        level: Level,
        seed: u64,
        threads: usize,
        worth: u64,
    ) -> Result<Self, EngineError> {
        let layout = Layout::new(&plan.program(), level);
        let of_group = dense_multiply_adds(plan.program().head).max(1) * level.lanes() as u64;
        let needed = plan.program().scratch(level);
        let memory = || HeadMemory {
            values: vec![0.0; needed.head_values],
            words: vec![0; needed.head_words],
        };
        let shared = Arc::new(Shared {
            layout,
            level,
            masks: MaskSource::new(seed),
            least_groups: worth.div_ceil(of_group).clamp(1, u64::from(u32::MAX)) as u32,
            frame: RwLock::new(FrameMemory {
                values: vec![0.0; needed.frame_values],
                words: vec![0; needed.frame_words],
            }),
            plan,
        });
        let workers = (1..threads.max(1))
            .map(|_| Worker::start(Arc::clone(&shared), memory()))
            .collect::<std::io::Result<_>>()
            .map_err(|e| EngineError::prepare(NAME, "threads", &e))?;
        Ok(Self {
            memory: memory(),
            shared,
            workers,
            helped: 0,
            frame: None,
        })
    }

    /// Multiply-adds that `passes` passes of the frame begun last cannot do without, stem included:
    /// those of inputs that are not 0 in every pass.
    ///
    /// # Errors
    /// As [`Engine::sample`].
    pub fn necessary_multiply_adds(&mut self, passes: u32) -> Result<u64, EngineError> {
        let frame = self.frame.ok_or(CallError::NoFrame)?;
        let program = self.shared.plan.program();
        let mut logits = vec![0.0; passes as usize * program.classes];
        check_passes(program.classes, &(0..passes), &logits)?;
        let mut census = Census::new(&program);
        // One pass at a time, so that no lane is of another pass.
        for pass in 0..passes {
            let row = &mut logits[pass as usize * program.classes..][..program.classes];
            let observe = |seen: Seen<'_>| census.note(seen, pass as usize % seen.lanes);
            self.shared
                .sample(frame, &mut self.memory, pass..pass + 1, row, observe);
        }
        Ok(of_stem(&program) + u64::from(passes) * census.per_pass(&program))
    }

    /// The instructions in use.
    #[must_use]
    pub fn level(&self) -> Level {
        self.shared.level
    }
}

impl Engine for NativeEngine {
    type Error = EngineError;

    fn name(&self) -> &'static str {
        NAME
    }

    fn input_shape(&self) -> InputShape {
        self.shared.plan.input
    }

    fn classes(&self) -> usize {
        self.shared.plan.classes
    }

    fn begin(&mut self, frame: u32, input: &[f32]) -> Result<(), EngineError> {
        self.frame = None;
        let shared = &*self.shared;
        let program = shared.plan.program();
        check_input(program.input.len(), input)?;
        // They need a moment to wake up, which the stem takes anyway.
        self.workers[..self.helped].iter().for_each(Worker::wake);
        let mut memory = shared.frame.write().unwrap_or_else(PoisonError::into_inner);
        let FrameMemory { values, words } = &mut *memory;
        frame::begin(&program, &shared.layout, shared.level, input, values, words);
        self.frame = Some(frame);
        Ok(())
    }

    fn sample(&mut self, passes: Range<u32>, logits: &mut [f32]) -> Result<(), EngineError> {
        let frame = self.frame.ok_or(CallError::NoFrame)?;
        check_passes(self.shared.plan.program().classes, &passes, logits)?;
        let classes = self.shared.plan.classes;
        // Whole vectors, so that no two threads compute the same one.
        let lanes = self.shared.level.lanes() as u32;
        let first = passes.start / lanes;
        let groups = passes.end.div_ceil(lanes).saturating_sub(first);
        let most = (groups / self.shared.least_groups).max(1);
        let threads = most.min(self.workers.len() as u32 + 1);
        self.helped = threads as usize - 1;
        let bound = |thread: u32| {
            let group = first + groups * thread / threads;
            (group * lanes).clamp(passes.start, passes.end.max(passes.start))
        };
        let part = |thread: u32| bound(thread)..bound(thread + 1);
        for (thread, worker) in (1..threads).zip(&self.workers) {
            worker.give(frame, part(thread));
        }
        let own = part(0);
        let (own_logits, mut rest) = logits.split_at_mut(own.len() * classes);
        self.shared
            .sample(frame, &mut self.memory, own, own_logits, |_| {});
        let mut result = Ok(());
        for (thread, worker) in (1..threads).zip(&self.workers) {
            let (logits, after) = rest.split_at_mut(part(thread).len() * classes);
            rest = after;
            // All are waited for, even if one has failed.
            result = result.and(worker.take(logits));
        }
        result
    }
}

impl Shared {
    fn sample(
        &self,
        frame_number: u32,
        memory: &mut HeadMemory,
        passes: Range<u32>,
        logits: &mut [f32],
        observe: impl FnMut(Seen<'_>),
    ) {
        let frame = self.frame.read().unwrap_or_else(PoisonError::into_inner);
        let head = Head {
            program: &self.plan.program(),
            layout: &self.layout,
            level: self.level,
            masks: self.masks,
            frame_number,
            frame: Frame::new(&self.layout, &frame.values, &frame.words),
        };
        head.sample(
            &mut memory.values,
            &mut memory.words,
            passes,
            logits,
            observe,
        );
    }
}

/// A thread that waits for passes.
#[derive(Debug)]
struct Worker {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

/// Where work is put down, and its results.
#[derive(Debug)]
struct Desk {
    state: Mutex<State>,
    changed: Condvar,
    /// Counts changes, so that one can be waited for without the lock.
    changes: AtomicU32,
}

#[derive(Debug)]
struct State {
    work: Work,
    logits: Vec<f32>,
}

#[derive(Debug, Clone, PartialEq)]
enum Work {
    Nothing,
    /// There is work soon.
    Soon,
    Sample {
        frame: u32,
        passes: Range<u32>,
    },
    Done,
    Leave,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, work: Work) {
        self.lock().work = work;
        self.tell();
    }

    fn tell(&self) {
        self.changes.fetch_add(1, Ordering::Release);
        self.changed.notify_all();
    }

    /// Waits for work such as `until` says. What is about to come is waited for awake, but not for
    /// long: a virtual machine takes the processor from who spins.
    fn wait(&self, until: impl Fn(&Work) -> bool) -> MutexGuard<'_, State> {
        /// Looks before sleeping: some microseconds.
        const LOOKS: u32 = 200;
        let mut looks = 0;
        loop {
            let seen = self.changes.load(Ordering::Acquire);
            let state = self.lock();
            if until(&state.work) {
                return state;
            }
            if looks >= LOOKS {
                let slept = self.changed.wait_while(state, |state| !until(&state.work));
                return slept.unwrap_or_else(PoisonError::into_inner);
            }
            drop(state);
            while looks < LOOKS && self.changes.load(Ordering::Acquire) == seen {
                std::hint::spin_loop();
                looks += 1;
            }
        }
    }
}

impl Worker {
    fn start(shared: Arc<Shared>, mut memory: HeadMemory) -> std::io::Result<Self> {
        let desk = Arc::new(Desk {
            state: Mutex::new(State {
                work: Work::Nothing,
                logits: Vec::new(),
            }),
            changed: Condvar::new(),
            changes: AtomicU32::new(0),
        });
        let own = Arc::clone(&desk);
        let thread = std::thread::Builder::new()
            .name("native".into())
            .spawn(move || {
                // Whatever ends this thread, nobody waits for it in vain.
                let _leave = Leave(&own);
                own.put(Work::Done);
                loop {
                    let mut state = own.wait(|work| *work != Work::Nothing && *work != Work::Done);
                    if state.work == Work::Soon {
                        drop(state);
                        state = own.wait(|work| matches!(work, Work::Sample { .. } | Work::Leave));
                    }
                    let Work::Sample { frame, passes } = state.work.clone() else {
                        return;
                    };
                    let length = passes.len() * shared.plan.classes;
                    // Grows to the largest block that is asked for, and then no more.
                    state.logits.resize(length, 0.0);
                    shared.sample(frame, &mut memory, passes, &mut state.logits, |_| {});
                    state.work = Work::Done;
                    drop(state);
                    own.tell();
                }
            })?;
        // What a thread allocates while it starts belongs to starting, not to the first frames.
        let mut state = desk.wait(|work| matches!(work, Work::Done | Work::Leave));
        if state.work == Work::Done {
            state.work = Work::Nothing;
        }
        drop(state);
        Ok(Self {
            desk,
            thread: Some(thread),
        })
    }

    fn wake(&self) {
        self.change(Work::Soon);
    }

    fn give(&self, frame: u32, passes: Range<u32>) {
        self.change(Work::Sample { frame, passes });
    }

    /// A thread that has left stays away.
    fn change(&self, work: Work) {
        let mut state = self.desk.lock();
        if state.work != Work::Leave {
            state.work = work;
        }
        drop(state);
        self.desk.tell();
    }

    fn take(&self, logits: &mut [f32]) -> Result<(), EngineError> {
        let mut state = self
            .desk
            .wait(|work| matches!(work, Work::Done | Work::Leave));
        if state.work == Work::Leave || state.logits.len() != logits.len() {
            return Err(EngineError::run(NAME, "head", &"a thread has ended"));
        }
        logits.copy_from_slice(&state.logits);
        state.work = Work::Nothing;
        Ok(())
    }
}

struct Leave<'a>(&'a Desk);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.put(Work::Leave);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.desk.put(Work::Leave);
        if let Some(thread) = self.thread.take() {
            // A panic has been reported by the thread itself.
            let _ = thread.join();
        }
    }
}
