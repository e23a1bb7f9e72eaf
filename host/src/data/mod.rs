//! Image data sets, kept as 8-bit luma: MNIST, Fashion-MNIST and folders of images per class.

mod catalogue;
mod corrupt;
mod folder;
mod mix;
mod pictures;
mod random;

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use device::source::{IdxError, Labelled, PictureError, cache_folder};
use shared::image::{FrameStatistics, Normalisation};

pub use catalogue::{FileState, FileStatus, KNOWN_FILES, KnownFile};
pub use corrupt::{
    Corruption, Severity, SeverityError, UnknownCorruption, corrupt, corrupted, rotate,
    write_corrupted,
};
pub(crate) use folder::load as load_folder;
#[cfg(feature = "train")]
pub(crate) use folder::load_labelled;
pub use folder::{DISCARDED, UNLABELLED};
pub use mix::{MixEntry, MixKind, MixPlan, write_mix};
pub use random::{Purpose, Random};

/// Width and height of every image handed to the model, in pixels.
pub const SIDE: usize = 28;

/// Why a data set could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The cache folder cannot be named because the home folder is unknown.
    #[error(
        "no data folder: set MCDROPOUT_CACHE to the folder that scripts/setup filled (HOME is not set)"
    )]
    NoCache,
    /// An IDX file is absent or damaged.
    #[error(transparent)]
    Idx(#[from] IdxError),
    /// A picture is absent or damaged.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// What the files hold does not fit together.
    #[error("{}: {reason}", .path.display())]
    Content {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system refused a read or a write.
    #[error("cannot {action} {}: {error}", .path.display())]
    Io {
        /// What was attempted: `read`, `write`, `create`…
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
}

impl DataError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |error| Self::Io {
            action,
            path,
            error,
        }
    }

    fn content(path: &Path, reason: impl Into<String>) -> Self {
        Self::Content {
            path: path.to_path_buf(),
            reason: reason.into(),
        }
    }
}

/// The folder of an installed data set.
fn data_folder() -> Result<PathBuf, DataError> {
    Ok(cache_folder().ok_or(DataError::NoCache)?.join("data"))
}

/// Which part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// What the model learns from, and what default thresholds are set on.
    Train,
    /// What is only ever measured on.
    Test,
}

/// A data set, named as on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatasetName {
    /// Handwritten digits.
    Mnist,
    /// Articles of clothing, in MNIST's format.
    FashionMnist,
    /// A folder with one sub-folder of images per class.
    Folder(PathBuf),
}

impl FromStr for DatasetName {
    type Err = std::convert::Infallible;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(match name {
            "mnist" => Self::Mnist,
            "fashion-mnist" => Self::FashionMnist,
            folder => Self::Folder(PathBuf::from(folder)),
        })
    }
}

impl std::fmt::Display for DatasetName {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mnist => out.write_str("mnist"),
            Self::FashionMnist => out.write_str("fashion-mnist"),
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
            Self::Folder(path) => Ok(folder::load(path, Some(split))?.0),
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
}

/// Reads one part of a data set that `scripts/setup` installs.
fn installed(name: &str, split: Split, class_names: &[&str]) -> Result<Dataset, DataError> {
    let folder = data_folder()?.join(name);
    let part = Labelled::open(&folder, split == Split::Train)?;
    if part.size() != (SIDE, SIDE) {
        let (height, width) = part.size();
        let reason = format!("images of {width}x{height} pixels, the model takes {SIDE}x{SIDE}");
        return Err(DataError::content(&folder, reason));
    }
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
    if labels.is_empty() {
        return Err(DataError::content(&folder, "no images"));
    }
    Ok(Dataset {
        class_names: class_names.iter().map(ToString::to_string).collect(),
        pixels: part.images.bytes().to_vec(),
        labels: labels.iter().map(|&label| u16::from(label)).collect(),
    })
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

/// Labelled images of [`SIDE`] × [`SIDE`] pixels in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Names of the classes, in label order.
    pub class_names: Vec<String>,
    /// 8-bit luma, image after image, row-major.
    pub pixels: Vec<u8>,
    /// The class of each image.
    pub labels: Vec<u16>,
}

impl Dataset {
    /// Pixels in one image.
    pub const PIXELS: usize = SIDE * SIDE;

    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The pixels of image `index`.
    ///
    /// # Panics
    /// `index` is not below [`Dataset::len`].
    #[must_use]
    pub fn image(&self, index: usize) -> &[u8] {
        &self.pixels[index * Self::PIXELS..(index + 1) * Self::PIXELS]
    }

    /// What image `index` looks like, as a device measures it.
    ///
    /// # Panics
    /// `index` is not below [`Dataset::len`].
    #[must_use]
    pub fn statistics(&self, index: usize) -> FrameStatistics {
        let luma = self.image(index).iter();
        let luma: Vec<f32> = luma.map(|&pixel| f32::from(pixel) / 255.0).collect();
        FrameStatistics::measure(&luma, SIDE, SIDE)
    }

    /// Keeps the first `count` images.
    pub fn truncate(&mut self, count: usize) {
        self.labels.truncate(count);
        self.pixels.truncate(self.len() * Self::PIXELS);
    }

    /// Takes away the images from `first` on, and returns them.
    ///
    /// # Panics
    /// `first` exceeds [`Dataset::len`].
    #[must_use]
    pub fn split_off(&mut self, first: usize) -> Self {
        Self {
            class_names: self.class_names.clone(),
            pixels: self.pixels.split_off(first * Self::PIXELS),
            labels: self.labels.split_off(first),
        }
    }

    /// The images at `indices`, in that order.
    ///
    /// # Panics
    /// An index is not below [`Dataset::len`].
    #[must_use]
    pub fn select(&self, indices: &[u32]) -> Self {
        let indices = indices.iter().map(|&index| index as usize);
        Self {
            class_names: self.class_names.clone(),
            pixels: indices
                .clone()
                .flat_map(|i| self.image(i))
                .copied()
                .collect(),
            labels: indices.map(|index| self.labels[index]).collect(),
        }
    }

    /// The images of the classes named, with labels that are places among these names.
    #[must_use]
    pub fn of_classes(&self, names: &[String]) -> Self {
        let places: Vec<Option<u16>> = self
            .class_names
            .iter()
            .map(|name| names.iter().position(|wanted| wanted == name))
            .map(|place| place.and_then(|place| u16::try_from(place).ok()))
            .collect();
        let place = |label: u16| places[usize::from(label)];
        let kept: Vec<u32> = (0..self.len() as u32)
            .filter(|&image| place(self.labels[image as usize]).is_some())
            .collect();
        let mut chosen = self.select(&kept);
        chosen.labels = self.labels.iter().filter_map(|&it| place(it)).collect();
        chosen.class_names = names.to_vec();
        chosen
    }

    /// Adds the images of `other`, which has the same classes, to the end.
    ///
    /// # Panics
    /// It has not.
    pub fn append(&mut self, other: &Self) {
        assert_eq!(self.class_names, other.class_names, "other classes");
        self.pixels.extend(&other.pixels);
        self.labels.extend(&other.labels);
    }

    /// Mean and standard deviation over all pixels, luma in 0..=1.
    #[must_use]
    pub fn normalisation(&self) -> Normalisation {
        let mut histogram = [0u64; 256];
        for &pixel in &self.pixels {
            histogram[usize::from(pixel)] += 1;
        }
        let count = self.pixels.len().max(1) as f64;
        let moment = |f: &dyn Fn(f64) -> f64| -> f64 {
            histogram
                .iter()
                .enumerate()
                .map(|(value, &n)| f(value as f64 / 255.0) * n as f64)
                .sum::<f64>()
                / count
        };
        let mean = moment(&|value| value);
        let variance = moment(&|value| (value - mean) * (value - mean));
        // A data set of one flat colour has nothing to scale.
        let deviation = if variance > 0.0 { variance.sqrt() } else { 1.0 };
        Normalisation {
            mean: mean as f32,
            standard_deviation: deviation as f32,
        }
    }
}
