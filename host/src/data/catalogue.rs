//! The files of the installed data sets and what they must hash to.

use std::path::{Path, PathBuf};
use std::{fs, io};

use device::hexadecimal;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{DataError, data_folder};

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
}
