//! What is judged.

use std::ops::Range;

use anyhow::ensure;
use device::engine::Engine as _;

use super::engine::Opened;
use crate::data::{Dataset, DatasetName, Split};

/// Images of one kind.
#[derive(Debug, Clone)]
pub struct ImageSet {
    /// What they are called in messages.
    pub name: String,
    /// The images and their labels.
    pub images: Dataset,
    /// Whether their labels are the model's classes; if not, they are out of distribution and have
    /// no right answer.
    pub known: bool,
}

/// What is judged: image sets, one after the other. A frame's number is the images' before it.
#[derive(Debug)]
pub struct Frames {
    sets: Vec<ImageSet>,
    /// The number of each set's first frame, and after them the number of frames.
    starts: Vec<usize>,
}

impl Frames {
    /// The frames of these sets, in this order.
    #[must_use]
    pub fn new(sets: Vec<ImageSet>) -> Self {
        let mut starts = vec![0];
        for set in &sets {
            starts.push(starts[starts.len() - 1] + set.images.len());
        }
        Self { sets, starts }
    }

    /// The test images of a data set, and of another one that the model does not know, which need
    /// not have classes; of each the first `limit` images, if given.
    ///
    /// # Errors
    /// A data set is absent, damaged, or has no images.
    pub fn load(
        dataset: &DatasetName,
        ood: Option<&DatasetName>,
        limit: Option<usize>,
    ) -> anyhow::Result<Self> {
        let set = |name: &DatasetName, mut images: Dataset, known| {
            images.truncate(limit.unwrap_or(usize::MAX));
            ImageSet {
                name: name.to_string(),
                images,
                known,
            }
        };
        let mut sets = vec![set(dataset, dataset.load(Split::Test)?, true)];
        if let Some(ood) = ood {
            sets.push(set(ood, ood.load_unlabelled(Split::Test)?, false));
        }
        Ok(Self::new(sets))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts[self.sets.len()]
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sets.
    #[must_use]
    pub fn sets(&self) -> &[ImageSet] {
        &self.sets
    }

    /// The numbers of the frames of set `set`.
    ///
    /// # Panics
    /// If there is no such set.
    #[must_use]
    pub fn numbers(&self, set: usize) -> Range<usize> {
        self.starts[set]..self.starts[set + 1]
    }

    /// The set that frame `number` comes from, and its index there.
    ///
    /// # Panics
    /// If there is no such frame.
    #[must_use]
    pub fn find(&self, number: usize) -> (&ImageSet, usize) {
        let set = self.starts.partition_point(|&start| start <= number) - 1;
        (&self.sets[set], number - self.starts[set])
    }

    /// The right class of frame `number`, if it shows one of the model's.
    ///
    /// # Panics
    /// If there is no such frame.
    #[must_use]
    pub fn label(&self, number: usize) -> Option<usize> {
        let (set, index) = self.find(number);
        set.known.then(|| usize::from(set.images.labels[index]))
    }

    /// Whether a model with these classes can be asked for those of the known sets; `tell` of what is odd.
    pub(super) fn fit(&self, opened: &Opened, tell: bool) -> anyhow::Result<()> {
        for ImageSet { name, images, .. } in self.sets.iter().filter(|set| set.known) {
            let (model, data) = (opened.inference.engine().classes(), &images.class_names);
            ensure!(
                model == data.len(),
                "the model has {model} classes and {name} has {}",
                data.len()
            );
            if tell && opened.labels != *data {
                tracing::warn!(
                    "the model's classes ({}) are not named as those of {name} ({}): was it trained on them?",
                    opened.labels.join(", "),
                    data.join(", ")
                );
            }
        }
        if tell && !opened.calibrated {
            tracing::warn!("the model file carries no thresholds: generic ones are in force");
        }
        Ok(())
    }
}
