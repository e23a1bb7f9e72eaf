//! `device check`: proves, before deployment, that a model's dropout is live on this machine.

use std::io::Write;
use std::path::PathBuf;

use device::engine::proof::{Proof, prove};
use device::onnx::Model;
use device::session::EngineKind;
use serde_json::json;

/// Passes per batch while proving: the proof's own number, so that it takes one batch a site.
const BLOCK: usize = 64;

/// Prove that a model's dropout is live here: every site alone must change the outputs.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 every site is live, 1 it is not or the model cannot run, 2 wrong usage."
)]
pub(crate) struct Args {
    /// ONNX classifier with live dropout.
    #[arg(value_name = "FILE")]
    model: PathBuf,
    /// What runs the model: tract or ort (onnxruntime).
    #[arg(long, default_value = "tract")]
    engine: EngineKind,
    /// Seed of the masks; the model file's own if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let model = Model::load(&args.model)?;
    let seed = args.seed.unwrap_or(model.metadata().seed);
    let proof = match args.engine {
        #[cfg(feature = "tract")]
        EngineKind::Tract => {
            let mut engine = device::engine::tract::TractEngine::new(&model, BLOCK, seed)?;
            prove(&model, &mut engine, seed)?
        }
        #[cfg(feature = "ort")]
        EngineKind::Ort => {
            let mut engine = device::engine::ort::OrtEngine::new(&model, BLOCK, seed)?;
            prove(&model, &mut engine, seed)?
        }
        #[allow(unreachable_patterns)]
        _ => anyhow::bail!("this program was built without that engine"),
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", as_json(&model, &proof))?;
        return Ok(());
    }
    for (site, seen) in model.sites().iter().zip(&proof.sites) {
        writeln!(
            out,
            "live  {} p = {} on {:?}: {} of {} passes differ, keep rate {:.4} ({})",
            site.name, site.ratio, site.shape, seen.distinct, seen.passes, seen.keep_rate, site.why
        )?;
    }
    for idle in model.idle_dropouts() {
        writeln!(out, "idle  {}: {}", idle.name, idle.reason)?;
    }
    Ok(())
}

fn as_json(model: &Model, proof: &Proof) -> serde_json::Value {
    let sites: Vec<_> = model
        .sites()
        .iter()
        .zip(&proof.sites)
        .map(|(site, seen)| {
            json!({
                "name": site.name, "dropout": site.ratio, "shape": site.shape, "why": site.why.to_string(),
                "distinct": seen.distinct, "passes": seen.passes, "keep_rate": seen.keep_rate,
                "drawn": seen.drawn, "largest_change": seen.largest_change,
            })
        })
        .collect();
    let idle: Vec<_> = model
        .idle_dropouts()
        .iter()
        .map(|idle| json!({"name": idle.name, "reason": idle.reason.to_string()}))
        .collect();
    json!({"live": true, "sites": sites, "idle": idle, "batch_difference": proof.batch_difference})
}
