//! The engine, as every command that runs a model takes it.

use device::engine::provider::{OptionError, OrtOptions};
use device::session::EngineKind;

use crate::evaluate::EngineChoice;

/// What runs the model.
#[derive(Debug, clap::Args)]
pub(crate) struct EngineArgs {
    /// What runs the model: one of the device's engines (see device run --help), or torch: libtorch on
    /// the processor, from the model.safetensors beside the model [default: the device's]
    #[arg(long)]
    pub(crate) engine: Option<EngineChoice>,
    #[command(flatten)]
    pub(crate) ort: OrtOptions,
}

impl EngineArgs {
    /// # Errors
    /// The options do not go together.
    pub(crate) fn check(&self) -> Result<(), OptionError> {
        let ort = EngineChoice::Device(EngineKind::Ort);
        self.ort.check(self.engine == Some(ort))
    }
}
