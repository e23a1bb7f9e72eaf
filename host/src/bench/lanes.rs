//! Frames in flight: as many engines side by side, each on a thread of its own.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use anyhow::anyhow;
use device::onnx::Model;

use super::Setup;
use super::contender::{Contender, open};
use super::worker::Inputs;

/// Frames, as numbers that select inputs and masks: the first, and how many.
pub(super) type Frames = (usize, usize);

/// What came of a round: milliseconds a frame, one or more of them, and the passes run for each
/// frame.
pub(super) type Times = (Vec<f64>, Vec<u32>);

/// One engine after another frame, or several at once.
pub(super) enum Lanes {
    One(Box<dyn Contender>),
    Many(Vec<Lane>),
}

/// An engine on another thread, where it is made, because not every runtime's may be moved.
pub(super) struct Lane {
    start: Sender<Frames>,
    done: Receiver<anyhow::Result<Vec<u32>>>,
}

impl Lanes {
    /// # Errors
    /// The engine cannot be made ready.
    pub(super) fn open(
        setup: &Setup,
        model: &Arc<Model>,
        inputs: &Arc<Inputs>,
    ) -> anyhow::Result<Self> {
        if setup.in_flight == 1 {
            return Ok(Self::One(open(setup, model, inputs.of(0))?));
        }
        let lanes: Vec<Lane> = (0..setup.in_flight)
            .map(|_| Lane::new(setup.clone(), Arc::clone(model), Arc::clone(inputs)))
            .collect();
        for lane in &lanes {
            lane.wait()?;
        }
        Ok(Self::Many(lanes))
    }

    /// Takes `count` frames from number `first` on; side by side, `count` for each lane, which is
    /// timed as a whole: what matters there is how many frames get done.
    ///
    /// # Errors
    /// The engine fails.
    pub(super) fn round(
        &mut self,
        (first, count): Frames,
        inputs: &Inputs,
    ) -> anyhow::Result<Times> {
        match self {
            Self::One(contender) => {
                let (mut ms, mut passes) = (Vec::new(), Vec::new());
                for frame in first..first + count {
                    let timed = contender.frame(frame as u32, inputs.of(frame))?;
                    ms.push(timed.ms);
                    passes.push(timed.passes);
                }
                Ok((ms, passes))
            }
            Self::Many(lanes) => {
                let started = Instant::now();
                for (number, lane) in lanes.iter().enumerate() {
                    let frames = (first + number * count, count);
                    lane.start.send(frames).map_err(|_| ended())?;
                }
                let mut passes = Vec::new();
                for lane in &*lanes {
                    passes.extend(lane.wait()?);
                }
                let frames = (lanes.len() * count) as f64;
                let ms = started.elapsed().as_secs_f64() * 1000.0 / frames;
                Ok((vec![ms], passes))
            }
        }
    }
}

impl Lane {
    fn new(setup: Setup, model: Arc<Model>, inputs: Arc<Inputs>) -> Self {
        let (start, frames) = channel::<Frames>();
        let (send, done) = channel();
        thread::spawn(move || {
            let mut contender = match open(&setup, &model, inputs.of(0)) {
                Ok(contender) => contender,
                Err(error) => return send.send(Err(error)).unwrap_or_default(),
            };
            let mut result = Ok(Vec::new());
            // Ends when the other side is gone.
            while send.send(result).is_ok() {
                let Ok((first, count)) = frames.recv() else {
                    return;
                };
                result = (first..first + count)
                    .map(|frame| Ok(contender.frame(frame as u32, inputs.of(frame))?.passes))
                    .collect();
            }
        });
        Self { start, done }
    }

    fn wait(&self) -> anyhow::Result<Vec<u32>> {
        self.done.recv().map_err(|_| ended())?
    }
}

fn ended() -> anyhow::Error {
    anyhow!("a thread of the benchmark ended early")
}
