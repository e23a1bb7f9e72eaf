//! `host data`: which data sets are here, whether they are whole, and folders of test frames.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{bail, ensure};
use serde_json::json;

use crate::data::{
    Corruption, DatasetName, FileState, FileStatus, KNOWN_FILES, MixEntry, MixKind, MixPlan,
    OptionalSet, Severity, Split, write_corrupted, write_mix,
};

/// List and verify data sets, and write test frames as a camera in the field might see them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  host data list
  host data verify --json
  host data mix --out frames --clean 200 --fashion 50 --occluded 20 --glare 20 --dark 20 --seed 1
  host data corrupt --out foggy --family low-contrast --severity 4 --limit 100
  device run --model out/model.onnx --source frames --serial stdout --wire text")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show the data sets, how many images they have, the SHA-256 of their files, and where to get what
    /// is not here.
    List {
        /// A folder of images per class, beside the data sets with a name.
        #[arg(long, value_name = "FOLDER")]
        folder: Vec<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check every file of MNIST and Fashion-MNIST, and, where they are here, that GTSRB and CIFAR-10 are
    /// whole; fails if a file is missing or damaged.
    Verify {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write a folder of frames as a camera might see them: clean test digits, spoilt ones, and
    /// things that are no digits; with a manifest.json that says which is which.
    Mix {
        /// The folder to create.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Test digits as they are.
        #[arg(long, value_name = "N", default_value_t = 0)]
        clean: usize,
        /// Fashion-MNIST test images.
        #[arg(long, value_name = "N", default_value_t = 0)]
        fashion: usize,
        /// Test digits behind an opaque block.
        #[arg(long, value_name = "N", default_value_t = 0)]
        occluded: usize,
        /// Test digits under a saturated disc.
        #[arg(long, value_name = "N", default_value_t = 0)]
        glare: usize,
        /// Test digits in too little light.
        #[arg(long, value_name = "N", default_value_t = 0)]
        dark: usize,
        /// Decides which images, what is done to them, and their order.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Print what was written as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write a folder of test images that all went wrong in the same way, in their own order.
    Corrupt {
        /// The folder to create.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// occlusion-block, occlusion-bars, glare, shading, underexposure, overexposure,
        /// low-contrast, blur, noise, shot-noise, rotation or translation.
        #[arg(long)]
        family: Corruption,
        /// How badly, 1 to 5.
        #[arg(long, default_value = "3")]
        severity: Severity,
        /// mnist, fashion-mnist, gtsrb, cifar10, or a folder with one sub-folder of images per class.
        #[arg(long, default_value = "mnist")]
        dataset: DatasetName,
        /// The first N images only.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        limit: Option<u32>,
        /// Decides what is done where.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Print what was written as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs `host data`.
///
/// # Errors
/// A data set is missing or damaged where that matters, or the output cannot be written.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.action {
        Action::List { folder, json } => list(folder, json),
        Action::Verify { json } => verify(json),
        Action::Mix {
            out,
            clean,
            fashion,
            occluded,
            glare,
            dark,
            seed,
            json,
        } => {
            let plan = MixPlan {
                clean,
                fashion,
                occluded,
                glare,
                dark,
                seed,
            };
            let entries = write_mix(&plan, &out)?;
            let count = |kind| {
                entries
                    .iter()
                    .filter(|entry: &&MixEntry| entry.kind == kind)
                    .count()
            };
            let mut stdout = std::io::stdout().lock();
            if json {
                let counts = json!({
                    "out": out,
                    "frames": entries.len(),
                    "clean": count(MixKind::Clean),
                    "fashion": count(MixKind::Fashion),
                    "occluded": count(MixKind::Occluded),
                    "glare": count(MixKind::Glare),
                    "dark": count(MixKind::Dark),
                });
                writeln!(stdout, "{counts}")?;
            } else {
                writeln!(stdout, "{}: {} frames", out.display(), entries.len())?;
            }
            Ok(())
        }
        Action::Corrupt {
            out,
            family,
            severity,
            dataset,
            limit,
            seed,
            json,
        } => {
            let mut images = dataset.load(Split::Test)?;
            if let Some(limit) = limit {
                images.truncate(limit as usize);
            }
            write_corrupted(&images, family, severity, seed, &out)?;
            let frames = images.len();
            let mut stdout = std::io::stdout().lock();
            if json {
                let written = json!({
                    "out": out,
                    "frames": frames,
                    "family": family,
                    "severity": severity,
                });
                writeln!(stdout, "{written}")?;
            } else {
                writeln!(stdout, "{}: {frames} frames", out.display())?;
            }
            Ok(())
        }
    }
}

fn inspect() -> anyhow::Result<Vec<FileStatus>> {
    Ok(KNOWN_FILES
        .iter()
        .map(crate::data::KnownFile::inspect)
        .collect::<Result<_, _>>()?)
}

fn list(folders: Vec<PathBuf>, as_json: bool) -> anyhow::Result<()> {
    let mut sets = vec![
        DatasetName::Mnist,
        DatasetName::FashionMnist,
        DatasetName::Gtsrb,
        DatasetName::Cifar10,
    ];
    sets.extend(folders.into_iter().map(DatasetName::Folder));
    let files = inspect()?;
    let mut rows = Vec::new();
    for set in &sets {
        for (split, part) in [(Split::Train, "train"), (Split::Test, "test")] {
            let row = match set.load(split) {
                Ok(data) => json!({
                    "dataset": set.to_string(),
                    "part": part,
                    "images": data.len(),
                    "classes": data.class_names,
                }),
                Err(error) => json!({
                    "dataset": set.to_string(),
                    "part": part,
                    "error": error.to_string(),
                }),
            };
            rows.push(row);
        }
    }
    let mut out = std::io::stdout().lock();
    if as_json {
        writeln!(out, "{}", json!({ "datasets": rows, "files": files }))?;
        return Ok(());
    }
    for row in &rows {
        let text = |key: &str| row[key].as_str().unwrap_or_default();
        match row["images"].as_u64() {
            Some(images) => {
                let classes = row["classes"].as_array().map_or(0, Vec::len);
                writeln!(
                    out,
                    "{:<14} {:<6} {images:>6} images {classes:>4} classes",
                    text("dataset"),
                    text("part")
                )?;
            }
            None => writeln!(
                out,
                "{:<14} {:<6} {}",
                text("dataset"),
                text("part"),
                text("error")
            )?,
        }
    }
    for file in &files {
        let sha256 = file.sha256.as_deref().unwrap_or("missing");
        writeln!(out, "{sha256:<64}  {}", file.path.display())?;
    }
    Ok(())
}

fn verify(as_json: bool) -> anyhow::Result<()> {
    let files = inspect()?;
    let sets = OptionalSet::ALL.map(OptionalSet::inspect);
    let word = |state| match state {
        FileState::Good => "good",
        FileState::Damaged => "DAMAGED",
        FileState::Missing => "MISSING",
    };
    let mut out = std::io::stdout().lock();
    if as_json {
        writeln!(out, "{}", json!({ "files": files, "optional": sets }))?;
    } else {
        for file in &files {
            writeln!(out, "{:<8} {}", word(file.state), file.path.display())?;
        }
        for set in &sets {
            let state = match set.state {
                FileState::Missing => "absent",
                state => word(state),
            };
            writeln!(out, "{state:<8} {}: {}", set.dataset, set.about)?;
        }
    }
    let damaged = sets
        .iter()
        .filter(|set| set.state == FileState::Damaged)
        .count();
    ensure!(
        damaged == 0,
        "{damaged} data set(s) are damaged: unpack their archives again"
    );
    match files
        .iter()
        .filter(|file| file.state != FileState::Good)
        .count()
    {
        0 => Ok(()),
        bad => bail!(
            "{bad} of {} files are missing or damaged; run scripts/setup",
            files.len()
        ),
    }
}
