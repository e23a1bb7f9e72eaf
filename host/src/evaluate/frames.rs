//! What is judged.

use std::ops::Range;

use anyhow::Context;
use serde_json::Value;

use super::engine::Opened;
use crate::data::{ClassMap, Dataset, DatasetName, Split};

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
    /// not have classes; of each the first `limit` images, if given. `training` is what the model's file
    /// tells about its training, so that it is not measured on what it was trained on.
    ///
    /// # Errors
    /// A data set is absent, damaged, or has no images.
    pub fn load(
        dataset: &DatasetName,
        ood: Option<&DatasetName>,
        limit: Option<usize>,
        training: Option<&Value>,
    ) -> anyhow::Result<Self> {
        let set = |name: &DatasetName, mut images: Dataset, known| {
            images.truncate(limit.unwrap_or(usize::MAX));
            ImageSet {
                name: name.to_string(),
                images,
                known,
            }
        };
        let part = dataset.test_split(training);
        let mut sets = vec![set(dataset, dataset.load(part)?, true)];
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
        let set = self.set_of(number);
        (&self.sets[set], number - self.starts[set])
    }

    /// The number of the set that frame `number` comes from.
    fn set_of(&self, number: usize) -> usize {
        assert!(number < self.len(), "there is no frame {number}");
        self.starts.partition_point(|&start| start <= number) - 1
    }

    /// Which classes of a model those of the known sets are; `tell` of what is odd.
    pub(super) fn classes(&self, opened: &Opened, tell: bool) -> anyhow::Result<Classes> {
        let mut maps = Vec::with_capacity(self.sets.len());
        for ImageSet {
            name,
            images,
            known,
        } in &self.sets
        {
            if !known {
                maps.push(None);
                continue;
            }
            let map = ClassMap::new(&opened.labels, &images.class_names);
            let map = map.with_context(|| format!("{name} cannot be asked of this model"))?;
            if let (true, Some(warning)) = (tell, map.warning()) {
                tracing::warn!("{name}: {warning}");
            }
            let (known, shown) = (opened.labels.len(), images.class_names.len());
            if tell && shown < known {
                tracing::warn!("{name} shows {shown} of the model's {known} classes");
            }
            maps.push(Some(map));
        }
        if tell && !opened.calibrated {
            tracing::warn!("the model file carries no thresholds: generic ones are in force");
        }
        Ok(Classes(maps))
    }
}

/// The classes of a model that the known sets of [`Frames`] show.
#[derive(Debug, Clone)]
pub(super) struct Classes(Vec<Option<ClassMap>>);

impl Classes {
    /// The model's class of frame `number`, if it shows one.
    ///
    /// # Panics
    /// If there is no such frame.
    pub(super) fn label(&self, frames: &Frames, number: usize) -> Option<usize> {
        let set = frames.set_of(number);
        let (images, index) = (&frames.sets[set].images, number - frames.starts[set]);
        self.0[set]
            .as_ref()
            .map(|map| map.class(images.labels[index]))
    }
}
