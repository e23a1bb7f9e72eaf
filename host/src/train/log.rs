//! The lines that a run leaves while it trains, also as `log.jsonl`.

use std::fmt;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::files;

const FILE: &str = "log.jsonl";

/// The loss of one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    /// From 1.
    pub(super) epoch: u32,
    /// Steps done since the start of the run.
    pub(super) step: u64,
    /// Images seen in this epoch.
    pub(super) images: u64,
    /// Images in an epoch.
    pub(super) of: u64,
    /// Mean negative log-likelihood over the step's images, in nats.
    pub(super) loss: f32,
    pub(super) learning_rate: f64,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "epoch {} [{}/{} ({:.0} %)] loss {:.6} lr {:.2e}",
            self.epoch,
            self.images,
            self.of,
            100.0 * self.images as f64 / self.of as f64,
            self.loss,
            self.learning_rate
        )
    }
}

/// All lines of a run.
#[derive(Debug, Default)]
pub(super) struct Log(Vec<Line>);

impl Log {
    /// The lines of an earlier run up to `step`: what came later will be done again.
    pub(super) fn load(folder: &Path, step: u64) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).context(format!("cannot read {}", path.display())),
        };
        let lines = text
            .lines()
            .map(serde_json::from_str::<Line>)
            .collect::<Result<Vec<_>, _>>()
            .with_context(|| format!("{} is damaged", path.display()))?;
        Ok(Self(
            lines.into_iter().filter(|line| line.step <= step).collect(),
        ))
    }

    pub(super) fn push(&mut self, line: Line) {
        self.0.push(line);
    }

    pub(super) fn save(&self, folder: &Path) -> anyhow::Result<()> {
        let mut text = String::new();
        for line in &self.0 {
            text.push_str(&serde_json::to_string(line)?);
            text.push('\n');
        }
        files::write(&folder.join(FILE), text.as_bytes())
    }
}
