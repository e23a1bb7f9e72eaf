//! `host adopt`: gives somebody's model what it lacks to be run here.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use device::engine::InputShape;
use device::engine::proof::{Proof, prove};
use device::engine::tract::TractEngine;
use device::onnx::{Adoption, EndOptions, Model};
use device::preprocessing::{InWords, PreprocessingOptions, Seen};
use device::signature::Trust;
use device::source::read_picture;
use serde_json::json;
use shared::image::Preprocessing;

use crate::adopt::{Configuration, read_configuration, read_labels};
use crate::files;
use crate::png::png;

/// Passes per batch of the proof.
const BLOCK: usize = 64;

/// Give somebody's model what it lacks: names of classes, what becomes of a picture, a mask seed.
///
/// Both are written into the file's metadata, where device run, host evaluate and all others find them.
/// Nothing else in the file changes, but for weights that lie beside it: they are taken in.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  host adopt signs.onnx --out adopted.onnx --labels signs.txt --channels rgb --geometry stretch \\
    --mean 0.34,0.312,0.321 --std 0.276,0.265,0.271 --preview stop.jpg
  host adopt resnet.onnx --out adopted.onnx --preset imagenet --labels imagenet.txt
  host adopt model.onnx --out adopted.onnx --config preprocessor_config.json

It is proved that the model's dropout is live, and said in words what will become of a frame; --preview
shows it. A configuration is timm's config.json or Hugging Face's preprocessor_config.json; options replace
parts of what it, or the file, says. Thresholds of the file are taken out if another preprocessing than
its own is written: calibrate it again (host calibrate).
Exit codes: 0 done, 1 failed (also if dropout is not live), 2 wrong usage.")]
pub struct Args {
    /// ONNX classifier with live dropout.
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// File to write; the model's own if it is to be replaced.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Names of the classes in the order of the outputs: a text file, one a line, or JSON.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// timm's config.json, or Hugging Face's preprocessor_config.json.
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    config: Option<PathBuf>,
    /// Seed of the dropout masks.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    ends: EndOptions,
    #[command(flatten)]
    preprocessing: PreprocessingOptions,
    /// Show what the network will see of this picture, before mean and deviation: written as a PNG file
    /// beside --out, with the ending .preview.png.
    #[arg(long, value_name = "PICTURE", help_heading = "Output")]
    preview: Option<PathBuf>,
    /// One JSON object instead of text.
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// Runs `host adopt`.
///
/// # Errors
/// If a file cannot be read or written, the model cannot be sampled, nothing says what becomes of a picture,
/// or dropout is not live.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let options = args.ends.load_options(&Trust::default());
    let model = Model::load_with(&args.model, &options)?;
    let shape = model.input_shape();
    let configuration = args.config.as_deref();
    let configuration = configuration.map(|path| read_configuration(path, shape));
    let configuration: Option<Configuration> = configuration.transpose()?;
    let said = configuration.as_ref().map(|it| it.preprocessing);
    let preprocessing = args
        .preprocessing
        .apply(said.or(model.metadata().preprocessing), shape)
        .with_context(|| args.model.display().to_string())?;
    let labels = match &args.labels {
        Some(path) => Some(read_labels(path)?),
        None => configuration.and_then(|it| it.labels),
    };
    if let Some(labels) = &labels {
        ensure!(
            labels.len() == model.classes(),
            "{} labels for a model of {} classes",
            labels.len(),
            model.classes()
        );
    }
    let loses = model.metadata().thresholds.is_some()
        && model.metadata().preprocessing != Some(preprocessing);
    if loses {
        tracing::warn!(
            "the thresholds of {} are left out: they were set with another preprocessing; see host calibrate",
            args.model.display()
        );
    }
    let adoption = Adoption {
        labels,
        preprocessing: Some(preprocessing),
        seed: args.seed,
        ends: args.ends.clone(),
    };
    let bytes = adoption.write(&args.model)?;
    let adopted = Model::from_bytes(&bytes)?;
    let seed = adopted.metadata().seed;
    let mut engine = TractEngine::new(&adopted, BLOCK, seed)?;
    let proof = prove(&adopted, &mut engine, seed)?;
    // Before anything is written: a picture that cannot be read is no reason to have half of it.
    let preview = args.preview.as_deref();
    let preview = preview.map(|picture| preview_of(picture, &preprocessing, &adopted));
    let preview = preview.transpose()?;
    files::write(&args.out, &bytes)?;
    let mut shown = None;
    if let Some(png) = preview {
        let path = args.out.with_extension("preview.png");
        files::write(&path, &png)?;
        shown = Some(path);
    }
    tell(args, &adopted, &proof, shown.as_deref())
}

/// What the network will see of a picture, as a PNG file.
fn preview_of(
    picture: &Path,
    preprocessing: &Preprocessing,
    model: &Model,
) -> anyhow::Result<Vec<u8>> {
    let format = preprocessing.pixel_format();
    let frame = read_picture(picture, format)?;
    let InputShape { height, width, .. } = model.input_shape();
    let mut seen = Seen::default();
    let seen = seen.picture(preprocessing, &frame.view()?, None, (width, height), format)?;
    Ok(png(&seen)?)
}

fn tell(args: &Args, model: &Model, proof: &Proof, preview: Option<&Path>) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let (shape, metadata) = (model.input_shape(), model.metadata());
    let entry = model.preprocessing_entry()?.unwrap_or_default();
    if args.json {
        let sites: Vec<_> = model
            .sites()
            .iter()
            .zip(&proof.sites)
            .map(|(site, seen)| {
                json!({"name": site.name, "dropout": site.ratio, "keep_rate": seen.keep_rate,
                    "distinct": seen.distinct, "passes": seen.passes})
            })
            .collect();
        let preprocessing: serde_json::Value = serde_json::from_str(&entry)?;
        let object = json!({
            "out": args.out, "crc32": format!("{:08x}", model.crc32()),
            "input": [shape.channels, shape.height, shape.width], "classes": model.classes(),
            "labels": metadata.labels, "seed": metadata.seed, "preprocessing": preprocessing,
            "output": model.output_kind().word(),
            "live": true, "sites": sites, "preview": preview,
        });
        writeln!(out, "{object}")?;
        return Ok(());
    }
    if let Some(wanted) = &metadata.preprocessing {
        writeln!(
            out,
            "of a frame the network sees: {}",
            InWords(wanted, shape)
        )?;
    }
    for remark in model.remarks() {
        writeln!(out, "{remark}")?;
    }
    writeln!(
        out,
        "{} classes: {}",
        model.classes(),
        shortened(&metadata.labels)
    )?;
    for (site, seen) in model.sites().iter().zip(&proof.sites) {
        writeln!(
            out,
            "live: {} p = {}: {} of {} passes differ, keep rate {:.4}",
            site.name, site.ratio, seen.distinct, seen.passes, seen.keep_rate
        )?;
    }
    if let Some(path) = preview {
        writeln!(out, "preview: {}", path.display())?;
    }
    writeln!(out, "{}", args.out.display())?;
    Ok(())
}

/// The first names, and how many more there are.
fn shortened(labels: &[String]) -> String {
    /// As many as are looked at.
    const SHOWN: usize = 12;
    let shown = labels[..labels.len().min(SHOWN)].join(", ");
    match labels.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
