//! One file per subcommand.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod info;
pub(crate) mod run;

use std::path::PathBuf;

use device::session::{EngineKind, Options, Session};

/// The model and how it is run: common to `run`, `check` and `bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct ModelArgs {
    /// ONNX classifier with live dropout.
    #[arg(long, value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// What runs the model: tract or ort (onnxruntime).
    #[arg(long, default_value = "tract")]
    pub(crate) engine: EngineKind,
    /// Stochastic passes per frame (T).
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) passes: u32,
    /// Passes per batch of the engine; less takes less memory.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) block: u32,
    /// Seed of the dropout masks; the model file's own if not given.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

impl ModelArgs {
    pub(crate) fn options(&self) -> Options {
        Options {
            engine: self.engine,
            passes: self.passes,
            block: self.block,
            seed: self.seed,
            ..Options::default()
        }
    }

    pub(crate) fn open(&self, options: &Options) -> anyhow::Result<Session> {
        Ok(Session::open(&self.model, options)?)
    }
}
