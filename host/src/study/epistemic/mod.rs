//! Whether epistemic uncertainty is what the model does not know for lack of data.
//!
//! The same network, trained with the same number of steps on more and more images, and on all
//! digits but one: what data can tell, mutual information should lose as there are more of them,
//! and keep on the digit that was never seen.

#[cfg(feature = "train")]
mod measure;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::{Correlations, Means};
#[cfg(feature = "train")]
pub use measure::{Plan, epistemic};

/// Name of the file, in the folder of the study, that [`Epistemic`] is kept in.
pub const FILE: &str = "study.json";

/// What is the same for all models of a study.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Steps of every training, whatever the number of images.
    pub steps: u64,
    /// Stochastic passes per test image.
    pub passes: u32,
    /// Test images, the first ones of MNIST.
    pub test_images: usize,
}

/// Uncertainty against the number of training images, and on a digit that was left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Epistemic {
    /// How all models were trained and tested.
    pub settings: Settings,
    /// One per trained model, by number of images, then seed.
    pub by_size: Vec<BySize>,
    /// Of the number of training images with the models' mean uncertainty on the test digits, over
    /// [`Epistemic::by_size`]; rank correlations of so many points are coarse.
    pub correlations: Correlations,
    /// One per digit that was left out and seed.
    pub unseen: Vec<Unseen>,
}

/// A model trained on a number of images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BySize {
    /// Training images; those of a smaller model with the same seed are among them.
    pub images: usize,
    /// Seed of their choice, of the parameters, the order of the images and the masks.
    pub seed: u64,
    /// On all test digits.
    #[serde(flatten)]
    pub means: Means,
    /// On the test digits of each class, `[10]`; `None` for a class without test images.
    pub by_digit: Vec<Option<Means>>,
}

/// A model trained on all training images but those of one digit, with nine outputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unseen {
    /// The digit left out.
    pub digit: usize,
    /// As in [`BySize`].
    pub seed: u64,
    /// Training images.
    pub images: usize,
    /// On the test digits of the nine others.
    pub seen: Means,
    /// On the test images of the digit left out, where no answer is right. To compare with: the
    /// same images for a model that knows the digit, in [`BySize::by_digit`].
    pub unseen: Means,
    /// How well each score tells the unseen digit from the others: area under the ROC curve, in
    /// 0..=1, higher where more unseen frames score above seen ones.
    pub auroc: BTreeMap<String, f64>,
}

impl Epistemic {
    /// Reads a finished or interrupted study.
    ///
    /// # Errors
    /// The file cannot be read or is no such study.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is no result of `host study epistemic`", path.display()))
    }
}

impl fmt::Display for Epistemic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings {
            steps,
            passes,
            test_images,
        } = self.settings;
        writeln!(
            f,
            "{steps} steps each; {test_images} test digits, {passes} passes; means in nats"
        )?;
        writeln!(f, "{:36} {}", "", Header)?;
        for model in &self.by_size {
            let name = format!("{} images, seed {}", model.images, model.seed);
            writeln!(f, "{name:36} {}", Row(&model.means))?;
        }
        let rho = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
        let Correlations {
            predictive_entropy,
            expected_entropy,
            mutual_information,
        } = self.correlations;
        write!(
            f,
            "{:36} {:>8}  {:>18}  {:>16}  {:>18}",
            "Spearman correlation with images",
            "",
            rho(predictive_entropy),
            rho(expected_entropy),
            rho(mutual_information)
        )?;
        for model in &self.unseen {
            let Unseen {
                digit,
                seed,
                seen,
                unseen,
                ..
            } = model;
            write!(f, "\n\ntrained without the digit {digit}, seed {seed}")?;
            write!(f, "\n{:36} {}", "  the other digits", Row(seen))?;
            write!(f, "\n{:36} {}", format!("  the digit {digit}"), Row(unseen))?;
            let knowing = self.by_size.iter().rfind(|model| model.seed == *seed);
            if let Some(knowing) = knowing
                && let Some(Some(means)) = knowing.by_digit.get(*digit)
            {
                let name = format!("  the digit {digit}, known ({} images)", knowing.images);
                write!(f, "\n{name:36} {}", Row(means))?;
            }
            for (score, auroc) in &model.auroc {
                write!(f, "\n  AUROC by {score:25} {auroc:.4}")?;
            }
        }
        Ok(())
    }
}

/// The columns of [`Row`].
struct Header;

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("accuracy  predictive entropy  expected entropy  mutual information")
    }
}

/// Means as a row of a table.
struct Row<'a>(&'a Means);

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let means = self.0;
        let accuracy = means.accuracy;
        write!(
            f,
            "{:>8}  {:18.4}  {:16.4}  {:18.4}",
            accuracy.map_or("-".to_owned(), |accuracy| format!("{accuracy:.4}")),
            means.predictive_entropy,
            means.expected_entropy,
            means.mutual_information
        )
    }
}
