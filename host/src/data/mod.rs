//! Image data sets: MNIST, Fashion-MNIST, GTSRB, CIFAR-10 and folders of images per class.
//!
//! Pictures stay as they came, in their own size and colour, until a model's own preprocessing makes its
//! input of them: what is measured is what the device would see.

mod catalogue;
mod cifar10;
mod classes;
mod corrupt;
mod dataset;
mod folder;
mod gtsrb;
mod mix;
mod name;
mod random;
mod store;
mod write;

use std::io;
use std::path::{Path, PathBuf};

use device::source::{IdxError, PictureError, cache_folder};

pub use catalogue::{FileState, FileStatus, KNOWN_FILES, KnownFile, OptionalSet, SetStatus};
pub use classes::{ClassMap, ClassMismatch, MatchedBy};
pub use corrupt::{
    Corruption, Severity, SeverityError, UnknownCorruption, corrupt, corrupted, rotate,
    write_corrupted,
};
pub use dataset::Dataset;
#[cfg(feature = "train")]
pub(crate) use folder::load_labelled;
pub use folder::{DISCARDED, UNLABELLED};
pub(crate) use gtsrb::track;
pub use mix::{MixEntry, MixKind, MixPlan, write_mix};
pub(crate) use name::is_same;
pub use name::{DatasetName, Split};
pub use random::{Purpose, Random};

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
