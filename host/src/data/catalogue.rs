//! The files of the installed data sets and what they must hash to.

use std::path::{Path, PathBuf};
use std::{fs, io};

use device::hexadecimal;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{DataError, Dataset, Split, cifar10, data_folder, gtsrb};

/// One file that `scripts/setup` installs.
#[derive(Debug, Clone, Copy)]
pub struct KnownFile {
    /// The data set it belongs to: also its folder.
    pub dataset: &'static str,
    /// File name.
    pub file: &'static str,
    /// SHA-256 of the uncompressed file, in hexadecimal.
    pub sha256: &'static str,
}

const fn known(dataset: &'static str, file: &'static str, sha256: &'static str) -> KnownFile {
    KnownFile {
        dataset,
        file,
        sha256,
    }
}

/// Every file of MNIST and Fashion-MNIST.
pub const KNOWN_FILES: [KnownFile; 8] = [
    known(
        "mnist",
        "train-images-idx3-ubyte",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    known(
        "mnist",
        "train-labels-idx1-ubyte",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    known(
        "mnist",
        "t10k-images-idx3-ubyte",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    known(
        "mnist",
        "t10k-labels-idx1-ubyte",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    known(
        "fashion-mnist",
        "train-images-idx3-ubyte",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    known(
        "fashion-mnist",
        "train-labels-idx1-ubyte",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    known(
        "fashion-mnist",
        "t10k-images-idx3-ubyte",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    known(
        "fashion-mnist",
        "t10k-labels-idx1-ubyte",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
];

/// How a known file was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileState {
    /// There, with the right contents.
    Good,
    /// There, with other contents.
    Damaged,
    /// Not there.
    Missing,
}

/// A known file on this machine.
#[derive(Debug, Clone, Serialize)]
pub struct FileStatus {
    /// The data set it belongs to.
    pub dataset: &'static str,
    /// Where it lies, or should.
    pub path: PathBuf,
    /// How it was found.
    pub state: FileState,
    /// SHA-256 of what is there.
    pub sha256: Option<String>,
}

impl KnownFile {
    /// Looks the file up in the cache folder and hashes it.
    ///
    /// # Errors
    /// There is no cache folder, or the file is there and cannot be read.
    pub fn inspect(&self) -> Result<FileStatus, DataError> {
        self.inspect_in(&data_folder()?)
    }

    fn inspect_in(&self, data: &Path) -> Result<FileStatus, DataError> {
        let path = data.join(self.dataset).join(self.file);
        let sha256 = match fs::read(&path) {
            Ok(bytes) => Some(hexadecimal::encode(&Sha256::digest(bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(DataError::io("read", &path)(error)),
        };
        let state = match &sha256 {
            None => FileState::Missing,
            Some(found) if found == self.sha256 => FileState::Good,
            Some(_) => FileState::Damaged,
        };
        Ok(FileStatus {
            dataset: self.dataset,
            path,
            state,
            sha256,
        })
    }
}

/// Whether there is nothing at all in a folder, or no folder.
fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none())
}

/// A data set that nothing installs, and that is read where its user has unpacked it.
#[derive(Debug, Clone, Copy)]
pub struct OptionalSet {
    name: &'static str,
    /// Pictures to train on, and to test on.
    pictures: [usize; 2],
    load: fn(&Path, Split) -> Result<Dataset, DataError>,
}

/// Such a data set on this machine.
#[derive(Debug, Clone, Serialize)]
pub struct SetStatus {
    /// Its name.
    pub dataset: &'static str,
    /// How it was found.
    pub state: FileState,
    /// What is there, what is wrong with it, or where to get it.
    pub about: String,
}

impl OptionalSet {
    /// GTSRB and CIFAR-10.
    pub const ALL: [Self; 2] = [
        Self {
            name: "gtsrb",
            pictures: [39_209, 12_630],
            load: gtsrb::load,
        },
        Self {
            name: "cifar10",
            pictures: [50_000, 10_000],
            load: cifar10::load,
        },
    ];

    /// Looks it up in the cache folder, and counts its pictures.
    #[must_use]
    pub fn inspect(self) -> SetStatus {
        match data_folder() {
            Ok(data) => self.inspect_in(&data.join(self.name)),
            Err(error) => SetStatus {
                dataset: self.name,
                state: FileState::Missing,
                about: error.to_string(),
            },
        }
    }

    fn inspect_in(self, data: &Path) -> SetStatus {
        let mut counts = Vec::new();
        let mut wrong = Vec::new();
        for (split, expected) in [Split::Train, Split::Test].into_iter().zip(self.pictures) {
            match (self.load)(data, split) {
                Ok(found) => {
                    counts.push(found.len().to_string());
                    if found.len() != expected {
                        wrong.push(format!("{} of {expected} pictures", found.len()));
                    }
                }
                Err(error) => wrong.push(error.to_string()),
            }
        }
        wrong.dedup();
        let state = match (counts.is_empty(), wrong.is_empty()) {
            (true, _) if is_empty(data) => FileState::Missing,
            (_, true) => FileState::Good,
            (_, false) => FileState::Damaged,
        };
        let about = if wrong.is_empty() {
            format!("{} pictures in {}", counts.join(" + "), data.display())
        } else {
            wrong.join("; ")
        };
        SetStatus {
            dataset: self.name,
            state,
            about,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_missing_damaged_or_good() {
        let data = tempfile::tempdir().expect("temporary folder");
        // SHA-256 of "abc" (FIPS 180-2, appendix B.1).
        let file = known(
            "set",
            "file",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        );
        let state = || file.inspect_in(data.path()).expect("inspected").state;
        assert_eq!(state(), FileState::Missing);
        fs::create_dir(data.path().join("set")).expect("folder");
        fs::write(data.path().join("set/file"), "abd").expect("damaged file");
        assert_eq!(state(), FileState::Damaged);
        fs::write(data.path().join("set/file"), "abc").expect("good file");
        assert_eq!(state(), FileState::Good);
    }

    #[test]
    fn a_set_that_users_unpack_is_missing_damaged_or_good() {
        let one = |_: &Path, split| {
            let pixels = vec![0; if split == Split::Train { 2 } else { 1 }];
            let format = shared::image::PixelFormat::Grey8;
            let labels = vec![0; pixels.len()];
            Ok(Dataset::in_memory(
                vec!["a".into()],
                labels,
                (1, 1),
                format,
                pixels,
            ))
        };
        let set = |pictures| OptionalSet {
            name: "set",
            pictures,
            load: one,
        };
        let folder = tempfile::tempdir().expect("temporary folder");
        let good = set([2, 1]).inspect_in(folder.path());
        assert_eq!(good.state, FileState::Good);
        assert!(good.about.starts_with("2 + 1 pictures"), "{}", good.about);
        let bad = set([3, 1]).inspect_in(folder.path());
        assert_eq!(
            (bad.state, &*bad.about),
            (FileState::Damaged, "2 of 3 pictures")
        );
        for set in OptionalSet::ALL {
            for place in [folder.path(), &folder.path().join("absent")] {
                let found = set.inspect_in(place);
                assert_eq!(found.state, FileState::Missing);
                assert!(found.about.contains("https://"), "{}", found.about);
            }
        }
    }
}
