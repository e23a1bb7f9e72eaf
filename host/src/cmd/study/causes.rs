//! `host study causes`: whether a model's image limits name what is wrong with a picture.

use std::path::PathBuf;

use anyhow::bail;
use device::onnx::Model;
use device::preprocessing::{Preparer, PreprocessingOptions};
use device::session::preprocessing;

use super::print;
use crate::data::DatasetName;
use crate::study::causes::causes;

/// Whether flags name what is wrong with a picture.
///
/// Every image is taken as it is and under each of the families of host data corrupt, at each
/// severity. The cause named is the primary one of those that lie in the picture: no frame passes
/// through the model.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  host study causes --model out/model.onnx
  host study causes --model out/model.onnx --limit 200 --seed 7 --json")]
pub(super) struct Args {
    /// ONNX classifier with thresholds, as host train writes it.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// mnist, fashion-mnist, gtsrb, cifar10, or a folder with one sub-folder of images per class: its
    /// test images, or all where it is not divided. Classes are found by name.
    #[arg(long, default_value = "mnist")]
    dataset: DatasetName,
    /// The first N images only.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Decides where and how images are spoilt.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    preprocessing: PreprocessingOptions,
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let model = Model::load(&args.model)?;
    let Some(thresholds) = &model.metadata().thresholds else {
        bail!(
            "{} carries no thresholds: train or calibrate it first",
            args.model.display()
        );
    };
    let wanted = preprocessing(&args.model, &model, &args.preprocessing)?;
    let preparer = Preparer::new(wanted, model.input_shape());
    let training = model.metadata().training.as_ref();
    let mut data = args.dataset.load(args.dataset.test_split(training))?;
    data.truncate(args.limit as usize);
    let study = causes(thresholds, preparer, &data, args.seed)?;
    print(Some(study), args.json)
}
