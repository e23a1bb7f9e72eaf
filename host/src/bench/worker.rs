//! The process behind one row: it makes its engine ready, then times a round of frames whenever it
//! is told to, and does nothing in between.

use std::fs;
use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::bail;
use device::onnx::Model;
use device::preprocessing::Preparer;
use serde::{Deserialize, Serialize};

use super::lanes::Lanes;
use super::{Rounds, Setup};
use crate::data::{Dataset, DatasetName, Split};

/// What a row's process answers, a line each: once when it is ready, then after every round.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// The engine is ready.
    Ready,
    /// It is not, or failed; that was the last word.
    Failed(String),
    /// A round is done.
    Round {
        /// Milliseconds a frame.
        ms: Vec<f64>,
        /// Passes of each frame.
        passes: Vec<u32>,
        /// The most memory the process has held, in MiB.
        peak_rss_mib: Option<f64>,
    },
}

/// Times the engine of `setup` on images of `dataset`: a round for every line on standard input,
/// until that ends. Its answers go to standard output.
///
/// # Errors
/// Standard input or output fails; what fails about the engine is an answer.
pub fn work(setup: &Setup, dataset: &DatasetName, rounds: Rounds) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let mut say = |reply: &Reply| -> anyhow::Result<()> {
        writeln!(out, "{}", serde_json::to_string(reply)?)?;
        Ok(out.flush()?)
    };
    let failed = |error: anyhow::Error| Reply::Failed(format!("{error:#}").replace('\n', " "));

    let (mut lanes, inputs) = match prepare(setup, dataset, rounds) {
        Ok(ready) => ready,
        Err(error) => return say(&failed(error)),
    };
    wait_until_idle();
    say(&Reply::Ready)?;
    let mut first = 0;
    for line in io::stdin().lock().lines() {
        line?;
        // The frame before pays for the caches that others have filled meanwhile.
        let result = lanes
            .round((first, 1), &inputs)
            .and_then(|_| lanes.round((first + 1, rounds.frames), &inputs));
        first += 1 + setup.in_flight * rounds.frames;
        match result {
            Ok((ms, passes)) => {
                wait_until_idle();
                say(&Reply::Round {
                    ms,
                    passes,
                    peak_rss_mib: peak_rss_mib(),
                })?;
            }
            Err(error) => return say(&failed(error)),
        }
    }
    Ok(())
}

fn prepare(
    setup: &Setup,
    dataset: &DatasetName,
    rounds: Rounds,
) -> anyhow::Result<(Lanes, Arc<Inputs>)> {
    let model = Model::load(&setup.model)?;
    let wanted = rounds.rounds * (1 + setup.in_flight * rounds.frames);
    let inputs = Arc::new(Inputs::new(dataset.load(Split::Test)?, &model, wanted)?);
    let lanes = Lanes::open(setup, &Arc::new(model), &inputs)?;
    Ok((lanes, inputs))
}

/// Normalised images, one after the other and then from the start again.
pub(super) struct Inputs(Vec<Vec<f32>>);

impl Inputs {
    /// The first `count` images of `data`, as `model` takes them.
    fn new(mut data: Dataset, model: &Model, count: usize) -> anyhow::Result<Self> {
        let Some(wanted) = model.metadata().preprocessing else {
            bail!("the model does not say what becomes of a picture: see host adopt");
        };
        let wanted = model.scaled(wanted);
        let mut preparer = Preparer::new(wanted, model.input_shape());
        data.truncate(count);
        let inputs = (0..data.len()).map(|index| {
            let picture = data.frame(index, wanted.pixel_format())?;
            Ok(preparer.prepare(&picture.view()?)?.to_vec())
        });
        Ok(Self(inputs.collect::<anyhow::Result<_>>()?))
    }

    /// The input of frame number `frame`.
    pub(super) fn of(&self, frame: usize) -> &[f32] {
        &self.0[frame % self.0.len()]
    }
}

/// Waits, a second at most, until no thread of this process spins any more: runtimes let theirs
/// spin for a while after their work, which the next row's process would suffer from.
fn wait_until_idle() {
    const PAUSE: Duration = Duration::from_millis(2);
    /// Share of a pause that counts as doing nothing; looking at the clock takes some.
    const IDLE: f64 = 0.25;
    let deadline = Instant::now() + Duration::from_secs(1);
    let mut before = processor_time();
    while Instant::now() < deadline {
        sleep(PAUSE);
        let now = processor_time();
        if now.saturating_sub(before) as f64 <= IDLE * PAUSE.as_nanos() as f64 {
            return;
        }
        before = now;
    }
}

/// What all threads of this process have used of the processors, in nanoseconds.
fn processor_time() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
    let times = tasks.flatten().map(|task| {
        // A thread may have ended since.
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let first = text.split_whitespace().next();
        first.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0)
    });
    times.sum()
}

/// The most memory this process has held, in MiB, as Linux counts it.
fn peak_rss_mib() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}
