//! Data sets as they are named on the command line.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use device::source::Labelled;
use serde_json::Value;
use shared::image::PixelFormat;

use super::{DataError, Dataset, cifar10, data_folder, folder, gtsrb};

/// Which part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// What the model learns from: of a folder that is not divided five of six pictures.
    Train,
    /// What is measured on: all of a folder that is not divided.
    Test,
    /// What training leaves: of a folder that is not divided every sixth picture, else the test part.
    HeldOut,
}

/// A data set, named as on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatasetName {
    /// Handwritten digits.
    Mnist,
    /// Articles of clothing, in MNIST's format.
    FashionMnist,
    /// German traffic signs (Stallkamp et al. 2012).
    Gtsrb,
    /// Small pictures of animals and vehicles (Krizhevsky 2009).
    Cifar10,
    /// A folder with one sub-folder of images per class.
    Folder(PathBuf),
}

impl FromStr for DatasetName {
    type Err = std::convert::Infallible;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(match name {
            "mnist" => Self::Mnist,
            "fashion-mnist" => Self::FashionMnist,
            "gtsrb" => Self::Gtsrb,
            "cifar10" => Self::Cifar10,
            folder => Self::Folder(PathBuf::from(folder)),
        })
    }
}

impl std::fmt::Display for DatasetName {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mnist => out.write_str("mnist"),
            Self::FashionMnist => out.write_str("fashion-mnist"),
            Self::Gtsrb => out.write_str("gtsrb"),
            Self::Cifar10 => out.write_str("cifar10"),
            Self::Folder(path) => path.display().fmt(out),
        }
    }
}

impl DatasetName {
    /// Reads one part of the data set.
    ///
    /// # Errors
    /// The data set is absent, damaged, or has no images.
    pub fn load(&self, split: Split) -> Result<Dataset, DataError> {
        match self {
            Self::Mnist => installed("mnist", split, &DIGITS),
            Self::FashionMnist => installed("fashion-mnist", split, &FASHION),
            Self::Gtsrb => gtsrb::load(&data_folder()?.join("gtsrb"), split),
            Self::Cifar10 => cifar10::load(&data_folder()?.join("cifar10"), split),
            Self::Folder(path) => folder::load(path, split),
        }
    }

    /// Reads one part of a data set of which the classes do not matter. A folder that holds images
    /// itself, not in sub-folders, is taken whole, as one class.
    ///
    /// # Errors
    /// As [`DatasetName::load`].
    pub fn load_unlabelled(&self, split: Split) -> Result<Dataset, DataError> {
        let pictures = match self {
            Self::Folder(path) => folder::load_pictures(path)?,
            _ => None,
        };
        pictures.map_or_else(|| self.load(split), Ok)
    }

    /// What may be measured on, given what the file of the model tells about its training: all of a
    /// folder that is not divided, unless the model was trained on most of it.
    #[must_use]
    pub fn test_split(&self, training: Option<&Value>) -> Split {
        let Self::Folder(path) = self else {
            return Split::Test;
        };
        let recipe = training.and_then(|training| training.get("recipe"));
        let trained_on = recipe.and_then(|recipe| recipe.get("dataset")?.as_str());
        if trained_on.is_some_and(|other| is_same(Path::new(other), path)) {
            tracing::info!("the model was trained on {self}: measured is what training left of it");
            Split::HeldOut
        } else {
            Split::Test
        }
    }
}

/// Whether two paths lead to one folder.
pub(crate) fn is_same(a: &Path, b: &Path) -> bool {
    let there = |path: &Path| path.canonicalize().ok();
    there(a).is_some_and(|a| Some(a) == there(b))
}

/// Reads one part of a data set that `scripts/setup` installs.
fn installed(name: &str, split: Split, class_names: &[&str]) -> Result<Dataset, DataError> {
    let folder = data_folder()?.join(name);
    let part = Labelled::open(&folder, split == Split::Train)?;
    let labels = part.labels.bytes();
    if let Some(label) = labels
        .iter()
        .find(|&&label| usize::from(label) >= class_names.len())
    {
        let reason = format!(
            "label {label} in a data set of {} classes",
            class_names.len()
        );
        return Err(DataError::content(&folder, reason));
    }
    let (height, width) = part.size();
    if labels.is_empty() || height == 0 || width == 0 {
        return Err(DataError::content(&folder, "no images"));
    }
    Ok(Dataset::in_memory(
        class_names.iter().map(ToString::to_string).collect(),
        labels.iter().map(|&label| u16::from(label)).collect(),
        (width, height),
        PixelFormat::Grey8,
        part.images.bytes().to_vec(),
    ))
}

const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
const FASHION: [&str; 10] = [
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle-boot",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_read_back() {
        for name in ["mnist", "fashion-mnist", "gtsrb", "cifar10", "some/folder"] {
            let Ok(parsed) = name.parse::<DatasetName>();
            assert_eq!(parsed.to_string(), name);
        }
    }

    #[test]
    fn what_a_model_was_trained_on_is_not_measured_on() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().to_str().expect("a plain path");
        let Ok(name) = path.parse::<DatasetName>();
        let trained = |on: &str| json!({"recipe": {"dataset": on}});
        let same = trained(&format!("{path}/."));
        assert_eq!(name.test_split(Some(&same)), Split::HeldOut);
        assert_eq!(name.test_split(Some(&trained("mnist"))), Split::Test);
        assert_eq!(name.test_split(None), Split::Test);
    }
}
