//! `host export`: a trained model as ONNX, or as a plan for microcontrollers.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use device::engine::micro::{Format, OwnedPlan};
use device::onnx::Model;
use device::signature::{Kind, SigningKey};
use serde_json::json;
use shared::stopping::Delta;

use crate::data::{DatasetName, Purpose, Random, Split};
use crate::export::{self, PlanExport};
use crate::files;
use crate::lenet::TrainedModel;

/// Export a trained model as ONNX, with dropout live, or as a plan for microcontrollers.
///
/// The file runs in any runtime that knows opset 13, and stays stochastic in stock onnxruntime with
/// default session options. For runtimes without live dropout (TensorRT, OpenVINO, Core ML), let
/// the keep masks be inputs, in one file or split into stem and head.
///
/// With --firmware any ONNX classifier with live dropout becomes one plan file, which host flash puts
/// on a board, and which host evaluate and device run read like a model.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  host export --model out/model.safetensors                       writes out/model.onnx
  host export --model out/model.safetensors --masks-as-inputs     writes out/model.masks.onnx
  host export --model out/model.safetensors --split --out build   writes build/stem.onnx, build/head.onnx
  host export --model out/model.onnx --firmware                   writes out/model.f32.plan
  host export --model out/model.onnx --firmware --format int8     writes out/model.int8.plan")]
#[allow(clippy::struct_excessive_bools)] // Flags of a command line are independent of each other.
pub struct Args {
    /// What `host train` left: a model.safetensors. With --firmware: an ONNX file, which has the
    /// thresholds that host calibrate found.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Where to write: a file, or with --split a folder. Default: beside the model.
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// One file with a keep mask (zeros and ones) per dropout site as an input.
    #[arg(long, conflicts_with = "split")]
    masks_as_inputs: bool,
    /// Two files: stem.onnx runs once an image, head.onnx once a pass, with keep masks as inputs.
    #[arg(long)]
    split: bool,
    /// A plan file for microcontrollers.
    #[arg(long, conflicts_with_all = ["split", "masks_as_inputs"])]
    firmware: bool,
    #[command(flatten)]
    plan: PlanArgs,
    /// Sign what is written with this private key, of host keygen.
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// Print what was written as JSON.
    #[arg(long)]
    json: bool,
}

/// What a plan is made of.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Plan (--firmware)")]
struct PlanArgs {
    /// f32, or int8: a quarter of the memory, and nearly the same answers.
    #[arg(long, requires = "firmware", default_value = "f32", value_parser = format)]
    format: Format,
    /// Stochastic passes per frame (T) [default: as many as the thresholds were calibrated with, or 32]
    #[arg(long, requires = "firmware", value_name = "T", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    passes: Option<u32>,
    /// Stop sampling a frame when its decision is settled.
    #[arg(long, requires = "firmware")]
    adaptive: bool,
    /// Highest probability that an early stop decides otherwise than all passes.
    #[arg(long, requires = "adaptive", value_name = "PROBABILITY", default_value_t = Delta::DEFAULT)]
    delta: Delta,
    /// What int8 is scaled by: training images of mnist, fashion-mnist, gtsrb,
    /// cifar10, or a folder.
    #[arg(
        long,
        requires = "firmware",
        value_name = "NAME",
        default_value = "mnist"
    )]
    images: DatasetName,
    /// How many of them, drawn at random.
    #[arg(long, requires = "firmware", value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    image_count: u32,
}

fn format(name: &str) -> Result<Format, String> {
    Format::ALL
        .into_iter()
        .find(|format| format.name() == name)
        .ok_or_else(|| format!("'{name}' is no number format: use f32 or int8"))
}

/// Exports.
///
/// # Errors
/// The model is not one of `host train`, or the output cannot be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let key = args.sign.as_deref().map(SigningKey::open).transpose()?;
    let mut written = if args.firmware {
        vec![plan(args)?]
    } else {
        onnx(args)?
    };
    if let Some(key) = key {
        for (_, bytes) in &mut written {
            *bytes = key.sign(Kind::of(bytes), bytes);
        }
    }
    for (path, bytes) in &written {
        files::write(path, bytes)?;
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        let files: Vec<_> = written
            .iter()
            .map(|(path, bytes)| json!({"path": path, "bytes": bytes.len()}))
            .collect();
        writeln!(out, "{}", json!({ "files": files }))?;
    } else {
        for (path, bytes) in &written {
            writeln!(out, "{} ({} bytes)", path.display(), bytes.len())?;
        }
    }
    Ok(())
}

/// The model as ONNX: files and what is in them.
fn onnx(args: &Args) -> anyhow::Result<Vec<(PathBuf, Vec<u8>)>> {
    let model = TrainedModel::load(&args.model)?;
    let out = args.out.clone();
    Ok(if args.split {
        let folder =
            out.unwrap_or_else(|| args.model.parent().map(PathBuf::from).unwrap_or_default());
        if !folder.as_os_str().is_empty() {
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("cannot create the folder {}", folder.display()))?;
        }
        let [stem, head] = export::to_onnx_split(&model)?;
        vec![
            (folder.join("stem.onnx"), stem),
            (folder.join("head.onnx"), head),
        ]
    } else if args.masks_as_inputs {
        let path = out.unwrap_or_else(|| args.model.with_extension("masks.onnx"));
        vec![(path, export::to_onnx_with_mask_inputs(&model)?)]
    } else {
        let path = out.unwrap_or_else(|| args.model.with_extension("onnx"));
        vec![(path, export::to_onnx(&model)?)]
    })
}

/// The model as a plan file.
fn plan(args: &Args) -> anyhow::Result<(PathBuf, Vec<u8>)> {
    ensure!(
        args.model
            .extension()
            .is_none_or(|name| name != "safetensors"),
        "--firmware takes the ONNX file, which has the thresholds: {}",
        args.model.with_extension("onnx").display()
    );
    let model = Model::load(&args.model)?;
    let metadata = model.metadata();
    let calibration = metadata.calibration.as_ref();
    let passes = args
        .plan
        .passes
        .or(calibration.map(|calibration| calibration.passes))
        .unwrap_or(32);
    match calibration {
        Some(calibration) if calibration.passes != passes => tracing::warn!(
            "calibrated with {} passes a frame, exported with {passes}: the thresholds promise nothing",
            calibration.passes
        ),
        _ => {}
    }
    if metadata.thresholds.is_none() {
        tracing::warn!("the model file carries no thresholds: generic ones are exported");
    }
    let images = match args.plan.format {
        Format::F32 => None,
        Format::Int8 => {
            let all = args.plan.images.load(Split::Train)?;
            let mut chosen =
                Random::new(metadata.seed, Purpose::PlanRanges, 0).permutation(all.len());
            chosen.truncate(args.plan.image_count as usize);
            Some(all.select(&chosen))
        }
    };
    let settings = PlanExport {
        passes,
        adaptive: args.plan.adaptive.then_some(args.plan.delta),
        images,
    };
    let bytes = export::to_plan(&model, &settings)?;
    let memory = 4 * OwnedPlan::new(&bytes)?.view().memory_words();
    tracing::info!(
        "{} bytes of flash, {memory} bytes of working memory, up to {passes} passes a frame",
        bytes.len()
    );
    let path = args.out.clone().unwrap_or_else(|| {
        args.model
            .with_extension(format!("{}.plan", args.plan.format))
    });
    Ok((path, bytes))
}
