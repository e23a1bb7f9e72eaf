//! `host causes`: whether a model's image limits name what is wrong with a picture.

use std::io::Write;
use std::path::PathBuf;

use anyhow::bail;
use device::onnx::Model;

use crate::data::{DatasetName, Split};
use crate::study::causes::causes;

/// Tell what the limits in a model file name as the cause for which corruption of test images.
///
/// Every image is taken as it is and under each of the families of host data corrupt, at each
/// severity. The cause named is the primary one of those that lie in the picture: no frame passes
/// through the model.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  host causes --model out/model.onnx
  host causes --model out/model.onnx --limit 200 --seed 7 --json")]
pub struct Args {
    /// ONNX classifier with thresholds, as host train writes it.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// mnist, fashion-mnist, or a folder with one sub-folder of images per class: its test images.
    #[arg(long, default_value = "mnist")]
    dataset: DatasetName,
    /// The first N images only.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Decides where and how images are spoilt.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// Runs `host causes`.
///
/// # Errors
/// The model or the data set cannot be used, or the model file carries no thresholds.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let model = Model::load(&args.model)?;
    let Some(thresholds) = &model.metadata().thresholds else {
        bail!(
            "{} carries no thresholds: train or calibrate it first",
            args.model.display()
        );
    };
    let mut data = args.dataset.load(Split::Test)?;
    data.truncate(args.limit as usize);
    let study = causes(thresholds, &data, args.seed)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&study)?)?;
    } else {
        writeln!(out, "{study}")?;
    }
    Ok(())
}
