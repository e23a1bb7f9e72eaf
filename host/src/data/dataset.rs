//! Labelled pictures, as they came.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use device::source::Frame;
use shared::image::PixelFormat;

use super::DataError;
use super::corrupt::Spoil;
use super::store::Pictures;

/// Labelled pictures, each in its own size and colour. Those in files are decoded when they are needed,
/// and kept in a bounded amount of memory; copies of a data set, and parts of it, share them.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Names of the classes, in label order.
    pub class_names: Vec<String>,
    /// The class of each picture.
    pub labels: Vec<u16>,
    pictures: Pictures,
}

impl Dataset {
    /// Pictures of one size, `(width, height)`, one after the other in `pixels`, row-major without padding.
    ///
    /// # Panics
    /// There are not as many pictures as labels, or a size is 0.
    #[must_use]
    pub fn in_memory(
        class_names: Vec<String>,
        labels: Vec<u16>,
        size: (usize, usize),
        format: PixelFormat,
        pixels: Vec<u8>,
    ) -> Self {
        Self::new(
            class_names,
            labels,
            Pictures::in_memory(size, format, pixels),
        )
    }

    /// Pictures in files that the device reads, too.
    ///
    /// # Panics
    /// There are not as many files as labels.
    #[must_use]
    pub fn in_files(class_names: Vec<String>, labels: Vec<u16>, files: Vec<PathBuf>) -> Self {
        Self::new(class_names, labels, Pictures::in_files(files))
    }

    /// No picture at all.
    #[must_use]
    pub fn empty(class_names: Vec<String>) -> Self {
        Self::new(class_names, Vec::new(), Pictures::default())
    }

    fn new(class_names: Vec<String>, labels: Vec<u16>, pictures: Pictures) -> Self {
        assert_eq!(labels.len(), pictures.len(), "a label for each picture");
        Self {
            class_names,
            labels,
            pictures,
        }
    }

    /// Number of pictures.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no pictures.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Picture `index`, as the device would be handed it by a source for models that want `format`. A
    /// picture that lies in memory stays in its own format.
    ///
    /// # Errors
    /// Its file cannot be read.
    ///
    /// # Panics
    /// `index` is not below [`Dataset::len`].
    pub fn frame(&self, index: usize, format: PixelFormat) -> Result<Arc<Frame>, DataError> {
        self.pictures.frame(index, format)
    }

    /// The file that picture `index` comes from, if it comes from one.
    ///
    /// # Panics
    /// `index` is not below [`Dataset::len`].
    #[must_use]
    pub fn file(&self, index: usize) -> Option<&Path> {
        self.pictures.file(index)
    }

    /// Keeps the first `count` pictures.
    pub fn truncate(&mut self, count: usize) {
        self.labels.truncate(count);
        self.pictures.truncate(count);
    }

    /// Takes away the pictures from `first` on, and returns them.
    ///
    /// # Panics
    /// `first` exceeds [`Dataset::len`].
    #[must_use]
    pub fn split_off(&mut self, first: usize) -> Self {
        Self::new(
            self.class_names.clone(),
            self.labels.split_off(first),
            self.pictures.split_off(first),
        )
    }

    /// The pictures at `indices`, in that order.
    ///
    /// # Panics
    /// An index is not below [`Dataset::len`].
    #[must_use]
    pub fn select(&self, indices: &[u32]) -> Self {
        let indices = indices.iter().map(|&index| index as usize);
        Self::new(
            self.class_names.clone(),
            indices.clone().map(|index| self.labels[index]).collect(),
            self.pictures.select(indices),
        )
    }

    /// The pictures of the classes named, with labels that are places among these names.
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

    /// Adds the pictures of `other`, which has the same classes, to the end.
    ///
    /// # Panics
    /// It has not.
    pub fn append(&mut self, other: &Self) {
        assert_eq!(self.class_names, other.class_names, "other classes");
        self.pictures.append(&other.pictures);
        self.labels.extend(&other.labels);
    }

    /// The data set with each picture spoilt, which happens when it is asked for.
    pub(super) fn spoilt(&self, how: Spoil) -> Self {
        Self::new(
            self.class_names.clone(),
            self.labels.clone(),
            self.pictures.clone().spoilt(how),
        )
    }
}
