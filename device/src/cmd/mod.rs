//! One file per subcommand.

pub(crate) mod bench;
pub(crate) mod cameras;
pub(crate) mod check;
pub(crate) mod info;
pub(crate) mod run;
pub(crate) mod swap;

use std::path::PathBuf;

use device::engine::provider::OrtOptions;
use device::onnx::EndOptions;
use device::preprocessing::PreprocessingOptions;
use device::session::{EngineKind, Options, Session};
use device::signature::Trust;
use shared::stopping::Delta;

/// The model and how it is run: common to `run`, `check` and `bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct ModelArgs {
    /// ONNX classifier with live dropout.
    #[arg(long, value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// What runs the model: native (this project's own), tract, or ort (onnxruntime). If not given,
    /// native where the model fits it, else tract; the log says which.
    #[arg(long)]
    pub(crate) engine: Option<EngineKind>,
    #[command(flatten)]
    pub(crate) ort: OrtOptions,
    /// Stochastic passes per frame (T); with --adaptive, at most.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) passes: u32,
    /// Stop sampling a frame when its class and verdict are settled.
    #[arg(long)]
    pub(crate) adaptive: bool,
    /// With --adaptive: the probability with which a decision may differ from that of all passes.
    #[arg(long, value_name = "PROBABILITY", requires = "adaptive", default_value_t = Delta::DEFAULT)]
    pub(crate) delta: Delta,
    /// Threads that share the passes of one frame. Results do not depend on it. (tract: one only)
    #[arg(long, default_value_t = 1, value_parser = threads)]
    pub(crate) threads: usize,
    /// Passes per batch of the engine; less takes less memory.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) block: u32,
    /// Seed of the dropout masks; the model file's own if not given.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    #[command(flatten)]
    pub(crate) ends: EndOptions,
    #[command(flatten)]
    pub(crate) preprocessing: PreprocessingOptions,
}

impl ModelArgs {
    pub(crate) fn options(&self) -> Options {
        Options {
            engine: self.engine,
            ort: self.ort.clone(),
            passes: self.passes,
            adaptive: self.adaptive.then_some(self.delta),
            threads: self.threads,
            block: self.block,
            seed: self.seed,
            ends: self.ends.clone(),
            preprocessing: self.preprocessing.clone(),
            ..Options::default()
        }
    }

    pub(crate) fn open(&self, options: &Options) -> anyhow::Result<Session> {
        Ok(Session::open(&self.model, options)?)
    }
}

/// Keys that model and plan files have to be signed with.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct TrustArgs {
    /// Take only models that are signed with this key (KEY.pub of host keygen), or one of several.
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    pub(crate) trust: Vec<PathBuf>,
}

impl TrustArgs {
    pub(crate) fn open(&self) -> anyhow::Result<Trust> {
        Ok(Trust::open(&self.trust)?)
    }
}

fn threads(text: &str) -> Result<usize, String> {
    /// More would only be a mistake.
    const MOST: usize = 256;
    match text.parse() {
        Ok(threads) if (1..=MOST).contains(&threads) => Ok(threads),
        _ => Err(format!("expected 1 to {MOST}")),
    }
}
