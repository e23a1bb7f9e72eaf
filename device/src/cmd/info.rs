//! `device info`: what a model file holds, and what onnxruntime can run it here.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use device::onnx::{EndOptions, Model};
use device::preprocessing::InWords;
use device::signature::Trust;
use serde_json::json;

/// Show a model's input, classes, dropout sites, preprocessing, labels, thresholds and calibration, and
/// the execution providers of the onnxruntime that is installed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// ONNX classifier with live dropout.
    #[arg(value_name = "FILE", required_unless_present = "same")]
    model: Option<PathBuf>,
    /// The same, as other commands spell it.
    #[arg(
        id = "same",
        long = "model",
        value_name = "FILE",
        conflicts_with = "model"
    )]
    same: Option<PathBuf>,
    #[command(flatten)]
    ends: EndOptions,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let path = args.model.as_ref().or(args.same.as_ref());
    let path = path.context("no model is named")?;
    let model = Model::load_with(path, &args.ends.load_options(&Trust::default()))?;
    let (shape, metadata) = (model.input_shape(), model.metadata());
    let mut out = std::io::stdout().lock();
    if args.json {
        let sites: Vec<_> = model
            .sites()
            .iter()
            .map(|site| json!({"name": site.name, "dropout": site.ratio, "shape": site.shape, "elements": site.elements()}))
            .collect();
        let object = json!({
            "crc32": format!("{:08x}", model.crc32()),
            "opset": model.opset(),
            "input": [shape.channels, shape.height, shape.width],
            "layout": model.layout().to_string(),
            "element_type": model.element_type().to_string(),
            "input_scale": model.input_scale(),
            "output": model.output_kind().word(),
            "classes": model.classes(),
            "sites": sites,
            "labels": metadata.labels,
            "preprocessing": preprocessing_json(&model)?,
            "seed": metadata.seed,
            "thresholds": metadata.thresholds,
            "calibration": metadata.calibration,
            "training": metadata.training,
            "onnxruntime": match providers() {
                Ok(providers) => json!({"providers": providers}),
                Err(reason) => json!({"error": reason}),
            },
        });
        writeln!(out, "{object}")?;
        return Ok(());
    }
    writeln!(out, "CRC-32         {:08x}", model.crc32())?;
    writeln!(out, "ONNX opset     {}", model.opset())?;
    writeln!(
        out,
        "input          {} × {} × {}",
        shape.channels, shape.height, shape.width
    )?;
    writeln!(
        out,
        "classes        {}: {}",
        model.classes(),
        metadata.labels.join(", ")
    )?;
    match &metadata.preprocessing {
        Some(wanted) => writeln!(out, "preprocessing  {}", InWords(wanted, shape))?,
        None => writeln!(out, "preprocessing  not said: see host adopt")?,
    }
    for remark in model.remarks() {
        writeln!(out, "note           {remark}")?;
    }
    writeln!(out, "mask seed      {}", metadata.seed)?;
    for site in model.sites() {
        writeln!(
            out,
            "dropout        {} p = {} on {:?}",
            site.name, site.ratio, site.shape
        )?;
    }
    match &metadata.thresholds {
        Some(thresholds) => writeln!(out, "thresholds     {}", serde_json::to_string(thresholds)?)?,
        None => writeln!(out, "thresholds     none: generic ones are used")?,
    }
    match &metadata.calibration {
        Some(calibration) => writeln!(out, "calibration    {calibration}")?,
        None => writeln!(out, "calibration    none: see host calibrate")?,
    }
    match providers() {
        Ok(providers) => writeln!(out, "onnxruntime    {}", providers.join(", "))?,
        Err(reason) => writeln!(out, "onnxruntime    none: {reason}")?,
    }
    Ok(())
}

/// What becomes of a picture, as the entry of the file has it; null if the file does not say.
fn preprocessing_json(model: &Model) -> anyhow::Result<serde_json::Value> {
    let entry = model.preprocessing_entry()?;
    Ok(entry.map_or(Ok(serde_json::Value::Null), |text| {
        serde_json::from_str(&text)
    })?)
}

/// The execution providers that `--provider` can name here, or why there are none.
fn providers() -> Result<Vec<&'static str>, String> {
    #[cfg(feature = "ort")]
    return match device::engine::ort::providers() {
        Ok(found) => Ok(found.iter().map(|provider| provider.as_str()).collect()),
        Err(error) => Err(error.to_string()),
    };
    #[cfg(not(feature = "ort"))]
    Err("this program was built without the 'ort' engine".into())
}
