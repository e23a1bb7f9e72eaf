//! `host export`: a trained model as ONNX.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;

use crate::lenet::TrainedModel;
use crate::{export, files};

/// Export a trained model as ONNX, with dropout live.
///
/// The file runs in any runtime that knows opset 13, and stays stochastic in stock onnxruntime with
/// default session options. For runtimes without live dropout (TensorRT, OpenVINO, Core ML), let
/// the keep masks be inputs, in one file or split into stem and head.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  host export --model out/model.safetensors                       writes out/model.onnx
  host export --model out/model.safetensors --masks-as-inputs     writes out/model.masks.onnx
  host export --model out/model.safetensors --split --out build   writes build/stem.onnx, build/head.onnx")]
pub struct Args {
    /// What `host train` left: a model.safetensors.
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
    /// Print what was written as JSON.
    #[arg(long)]
    json: bool,
}

/// Exports.
///
/// # Errors
/// The model is not one of `host train`, or the output cannot be written.
pub fn run(args: Args) -> anyhow::Result<()> {
    let model = TrainedModel::load(&args.model)?;
    let written = if args.split {
        let folder = match args.out {
            Some(folder) => folder,
            None => args.model.parent().map(PathBuf::from).unwrap_or_default(),
        };
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
        let path = args
            .out
            .unwrap_or_else(|| args.model.with_extension("masks.onnx"));
        vec![(path, export::to_onnx_with_mask_inputs(&model)?)]
    } else {
        let path = args
            .out
            .unwrap_or_else(|| args.model.with_extension("onnx"));
        vec![(path, export::to_onnx(&model)?)]
    };
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
