//! The IDX format of MNIST and Fashion-MNIST (LeCun, Cortes & Burges, "The MNIST database"):
//! big-endian magic `00 00 08 rank`, one 32-bit size per dimension, then the bytes.

use std::path::{Path, PathBuf};

/// Why an IDX file was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdxError {
    /// Not there, or not readable.
    #[error("cannot read {}: {error}; run scripts/setup to fetch the data sets", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Not an IDX file of bytes, or damaged.
    #[error("{} is not the IDX file expected: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// A read IDX file of unsigned bytes.
#[derive(Clone, Debug)]
pub struct Idx {
    sizes: Vec<usize>,
    bytes: Vec<u8>,
    /// Where the items begin.
    start: usize,
}

impl Idx {
    /// Reads the file at `path`, which must have `rank` dimensions.
    ///
    /// # Errors
    /// If it cannot be read, is no IDX file of that rank, or is not exactly as long as it says.
    pub fn open(path: &Path, rank: usize) -> Result<Self, IdxError> {
        let bytes = std::fs::read(path).map_err(|error| IdxError::Read {
            path: path.to_owned(),
            error,
        })?;
        Self::parse(bytes, rank).map_err(|reason| IdxError::Format {
            path: path.to_owned(),
            reason,
        })
    }

    /// Reads the bytes of a file, which must have `rank` dimensions.
    ///
    /// # Errors
    /// What is wrong, if they are no IDX file of that rank, or not exactly as many as it says.
    pub fn parse(bytes: Vec<u8>, rank: usize) -> Result<Self, String> {
        let start = 4 + 4 * rank;
        let Some((magic, sizes)) = bytes
            .get(..start)
            .and_then(|header| header.split_at_checked(4))
        else {
            return Err(format!("{} bytes are too few for its header", bytes.len()));
        };
        if magic != [0, 0, 8, rank as u8] {
            return Err(format!(
                "it begins with {magic:02x?}, not with {:02x?}",
                [0, 0, 8, rank as u8]
            ));
        }
        let sizes: Vec<usize> = sizes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|size| u32::from_be_bytes(*size) as usize)
            .collect();
        let items = sizes
            .iter()
            .try_fold(1_usize, |product, &size| product.checked_mul(size));
        if items != Some(bytes.len() - start) {
            return Err(format!(
                "its header announces {sizes:?} bytes, {} follow",
                bytes.len() - start
            ));
        }
        Ok(Self {
            sizes,
            bytes,
            start,
        })
    }

    /// Sizes of the dimensions; the first counts the items.
    #[must_use]
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// How many items there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sizes[0]
    }

    /// All items, one after the other.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Item `index`; `None` past the end.
    #[must_use]
    pub fn item(&self, index: usize) -> Option<&[u8]> {
        let length = self.sizes[1..].iter().product::<usize>();
        (index < self.count()).then(|| &self.bytes()[index * length..(index + 1) * length])
    }
}

/// One part (training or test) of an MNIST-like data set.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// Images, `[count, height, width]`.
    pub images: Idx,
    /// Labels, `[count]`.
    pub labels: Idx,
}

impl Labelled {
    /// Reads the training or test part of the data set in `folder`.
    ///
    /// # Errors
    /// If a file is missing or damaged, or there are not as many labels as images.
    pub fn open(folder: &Path, train: bool) -> Result<Self, IdxError> {
        let part = if train { "train" } else { "t10k" };
        let images = Idx::open(&folder.join(format!("{part}-images-idx3-ubyte")), 3)?;
        let path = folder.join(format!("{part}-labels-idx1-ubyte"));
        let labels = Idx::open(&path, 1)?;
        if images.count() != labels.count() {
            let reason = format!(
                "it has {} labels for {} images",
                labels.count(),
                images.count()
            );
            return Err(IdxError::Format { path, reason });
        }
        Ok(Self { images, labels })
    }

    /// Height and width of every image.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.images.sizes[1], self.images.sizes[2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_read() {
        let bytes = [
            &[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2][..],
            &[1, 2, 3, 4],
        ]
        .concat();
        let idx = Idx::parse(bytes, 3).expect("valid");
        assert_eq!(idx.sizes(), [2, 1, 2]);
        assert_eq!(
            (idx.item(0), idx.item(1), idx.item(2)),
            (Some(&[1, 2][..]), Some(&[3, 4][..]), None)
        );
    }

    #[test]
    fn damage_is_refused() {
        for bytes in [
            &[][..],
            &[0, 0, 8, 1],
            &[0, 0, 8, 1, 0, 0, 0, 2, 7],
            &[0, 0, 8, 1, 0, 0, 0, 1, 7, 7],
            &[0, 0, 9, 1, 0, 0, 0, 1, 7],
            &[0, 0, 8, 1, 255, 255, 255, 255, 7],
        ] {
            assert!(Idx::parse(bytes.to_vec(), 1).is_err(), "{bytes:?}");
        }
        let huge = [&[0, 0, 8, 3][..], &[255; 12]].concat();
        assert!(Idx::parse(huge, 3).is_err());
    }
}
