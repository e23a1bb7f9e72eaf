//! `device check`: proves, before deployment, that a model's dropout is live on this machine.

use std::io::Write;
use std::path::PathBuf;

use device::engine::native::{Level, NativeEngine, Plan, PlanError};
#[cfg(feature = "ort")]
use device::engine::ort::OrtEngine;
use device::engine::proof::{Proof, agreement, prove};
use device::engine::provider::OrtOptions;
use device::engine::{Engine, EngineError, GivenMasks};
use device::onnx::{EndOptions, Model};
use device::preprocessing::PreprocessingOptions;
use device::session::{EngineKind, preprocessing};
use serde_json::json;

use super::TrustArgs;

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
    /// What runs the model for the proof: tract or ort (onnxruntime). Where the model fits the
    /// native engine, that has to agree, pass by pass.
    #[arg(long, default_value = "tract")]
    engine: EngineKind,
    #[command(flatten)]
    ort: OrtOptions,
    /// Seed of the masks; the model file's own if not given.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    ends: EndOptions,
    #[command(flatten)]
    preprocessing: PreprocessingOptions,
    #[command(flatten)]
    trust: TrustArgs,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    args.ort.check(args.engine == EngineKind::Ort)?;
    let model = Model::load_with(&args.model, &args.ends.load_options(&args.trust.open()?))?;
    let seed = args.seed.unwrap_or(model.metadata().seed);
    let (name, proof, native) = match args.engine {
        // It cannot be told its masks: what is proved with tract is what it has to agree with.
        #[cfg(feature = "tract")]
        EngineKind::Native | EngineKind::Tract => {
            let mut engine = device::engine::tract::TractEngine::new(&model, BLOCK, seed)?;
            prove_with(&model, &mut engine, seed)?
        }
        #[cfg(feature = "ort")]
        EngineKind::Ort => {
            let mut engine = OrtEngine::with_options(&model, BLOCK, seed, 1, &args.ort)?;
            prove_with(&model, &mut engine, seed)?
        }
        #[allow(unreachable_patterns)]
        _ => anyhow::bail!("this program was built without that engine"),
    };
    if let (EngineKind::Native, Err(reason)) = (args.engine, &native) {
        anyhow::bail!("{reason}");
    }
    // A model that passes is deployed: it has to say what becomes of a picture, too.
    preprocessing(&args.model, &model, &args.preprocessing)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", as_json(&model, name, &proof, &native))?;
        return Ok(());
    }
    writeln!(out, "engine {name}")?;
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
    match native {
        Ok(difference) => writeln!(
            out,
            "native engine: the same logits within {difference:.1e}"
        )?,
        Err(reason) => writeln!(out, "native engine: {reason}")?,
    }
    Ok(())
}

/// The engine's name, what was seen of the model on it, and whether the native engine agrees.
fn prove_with<E: GivenMasks>(
    model: &Model,
    engine: &mut E,
    seed: u64,
) -> anyhow::Result<(&'static str, Proof, Result<f32, PlanError>)> {
    let proof = prove(model, engine, seed)?;
    let native = native_agrees(model, engine, seed)?;
    Ok((engine.name(), proof, native))
}

/// How far the native engine's passes are from those of `engine`, or why it cannot run the model.
fn native_agrees<E: Engine<Error = EngineError>>(
    model: &Model,
    engine: &mut E,
    seed: u64,
) -> anyhow::Result<Result<f32, PlanError>> {
    match Plan::from_model(model) {
        Ok(plan) => {
            let mut native = NativeEngine::new(plan, Level::detect(), seed, 1)?;
            Ok(Ok(agreement(model, &mut native, engine, seed)?))
        }
        Err(error) => Ok(Err(error)),
    }
}

fn as_json(
    model: &Model,
    engine: &str,
    proof: &Proof,
    native: &Result<f32, PlanError>,
) -> serde_json::Value {
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
    let native = match native {
        Ok(difference) => json!({"fits": true, "difference": difference}),
        Err(reason) => json!({"fits": false, "reason": reason.to_string()}),
    };
    json!({
        "live": true, "engine": engine, "sites": sites, "idle": idle, "batch_difference": proof.batch_difference,
        "native": native,
    })
}
