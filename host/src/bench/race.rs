//! The rows' processes, and how they take turns.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use super::worker::Reply;
use super::{Interrupted, Rounds, Setup};
use crate::data::DatasetName;

/// SIGINT's number: Ctrl-C reaches the rows' processes, too.
const SIGINT: i32 = 2;

/// Is told how far a run has come.
pub trait Progress {
    /// `steps` more steps begin, which are about `what`.
    fn begin(&self, what: &'static str, steps: u64);
    /// One of them is done.
    fn step(&self);
}

/// What all rows have in common.
#[allow(missing_debug_implementations)] // Holds a caller's trait object.
pub struct Race<'a> {
    /// Where the frames come from: its test part.
    pub dataset: &'a DatasetName,
    /// How much is timed.
    pub rounds: Rounds,
    /// Set from outside to end the run.
    pub stop: &'a AtomicBool,
    /// Is told how far the run has come.
    pub progress: &'a dyn Progress,
}

/// What was measured of one setup.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Samples {
    /// Milliseconds a frame, of all rounds.
    pub ms: Vec<f64>,
    /// Passes of each frame.
    pub passes: Vec<u32>,
    /// The most memory its process held, in MiB.
    pub peak_rss_mib: Option<f64>,
}

impl Race<'_> {
    /// Measures the setups, each in a process of its own (this program, with the subcommand
    /// `bench-worker`), in turn: a round of one, then of the next. Gives, in their order, what was
    /// measured or why it could not be.
    ///
    /// # Errors
    /// [`Interrupted`], or this program cannot be started again.
    pub fn run(
        &self,
        what: &'static str,
        setups: &[Setup],
    ) -> anyhow::Result<Vec<Result<Samples, String>>> {
        let steps = setups.len() * (1 + self.rounds.rounds);
        self.progress.begin(what, steps as u64);
        let mut rows = Vec::new();
        for setup in setups {
            let mut worker = Worker::start(setup, self.dataset, self.rounds)?;
            let ready = self.step(|| worker.reply())?;
            rows.push(ready.map(|_| (worker, Samples::default())));
        }
        for _ in 0..self.rounds.rounds {
            for row in &mut rows {
                let reply = self.step(|| match row {
                    Ok((worker, _)) => worker.round(),
                    Err(reason) => Err(Failure::Row(reason.clone())),
                })?;
                match (reply, &mut *row) {
                    (Ok(reply), Ok((_, samples))) => samples.add(reply),
                    (Err(reason), row) => *row = Err(reason),
                    (Ok(_), Err(_)) => {}
                }
            }
        }
        let samples = rows.into_iter().map(|row| row.map(|(_, samples)| samples));
        Ok(samples.collect())
    }

    /// Lets one process do one thing.
    fn step(
        &self,
        act: impl FnOnce() -> Result<Reply, Failure>,
    ) -> Result<Result<Reply, String>, Interrupted> {
        let result = act();
        if self.stop.load(Ordering::Relaxed) {
            return Err(Interrupted);
        }
        self.progress.step();
        match result {
            Ok(reply) => Ok(Ok(reply)),
            Err(Failure::Row(reason)) => Ok(Err(reason)),
            Err(Failure::Interrupted) => Err(Interrupted),
        }
    }
}

impl Samples {
    fn add(&mut self, reply: Reply) {
        if let Reply::Round {
            ms,
            passes,
            peak_rss_mib,
        } = reply
        {
            self.ms.extend(ms);
            self.passes.extend(passes);
            self.peak_rss_mib = peak_rss_mib;
        }
    }
}

/// Why there is no answer.
enum Failure {
    /// This row failed, the others go on.
    Row(String),
    /// The process was interrupted, and so is this one.
    Interrupted,
}

/// One row's process. It ends with this value at the latest.
struct Worker {
    process: Child,
    /// Until the end; what closes it tells the process to end.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Worker {
    fn start(setup: &Setup, dataset: &DatasetName, rounds: Rounds) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut process = Command::new(&program)
            .args(["bench-worker", "--engine", setup.engine.as_str()])
            .args(["--threads", &setup.threads.to_string()])
            .args(["--passes", &setup.passes.to_string()])
            .args(["--in-flight", &setup.in_flight.to_string()])
            .args(["--frames", &rounds.frames.to_string()])
            .args(["--rounds", &rounds.rounds.to_string()])
            .arg(format!("--dataset={dataset}"))
            .arg("--model")
            .arg(&setup.model)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let input = process.stdin.take();
        let output = process.stdout.take().context("its output is piped")?;
        Ok(Self {
            input,
            output: BufReader::new(output),
            process,
        })
    }

    fn round(&mut self) -> Result<Reply, Failure> {
        // If it has ended, there is no answer either, and that says why.
        let _ = self.input.as_mut().map(|input| input.write_all(b"round\n"));
        self.reply()
    }

    fn reply(&mut self) -> Result<Reply, Failure> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line);
        match serde_json::from_str(&line) {
            Ok(Reply::Failed(reason)) => Err(Failure::Row(reason)),
            Ok(reply) => Ok(reply),
            Err(_) if read.is_ok() && line.is_empty() => Err(self.ended()),
            Err(error) => Err(Failure::Row(format!("its answer is not one: {error}"))),
        }
    }

    /// Why the process said nothing more.
    fn ended(&mut self) -> Failure {
        match self.process.wait() {
            Ok(status) if status.signal() == Some(SIGINT) => Failure::Interrupted,
            status => {
                let status = status
                    .as_ref()
                    .map_or("unknown".into(), ExitStatus::to_string);
                Failure::Row(format!("its process ended early ({status})"))
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.input.take());
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
