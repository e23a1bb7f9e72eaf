//! A folder of frames as a camera in the field might see them: clean digits, digits gone wrong,
//! and things that are no digits at all.

use std::path::Path;
use std::sync::Arc;

use device::source::Frame as Picture;
use serde::{Deserialize, Serialize};
use shared::image::PixelFormat;

use super::write::{picture_name, write_folder};
use super::{
    Corruption, DataError, Dataset, DatasetName, Purpose, Random, Severity, Split, corrupt,
};

/// What a frame of a mix shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MixKind {
    /// A test digit as it is.
    Clean,
    /// A Fashion-MNIST test image.
    Fashion,
    /// A test digit behind an opaque patch ([`Corruption::OcclusionBlock`], severity 4 or 5).
    Occluded,
    /// A test digit under a saturated disc ([`Corruption::Glare`], severity 4 or 5).
    Glare,
    /// A test digit in too little light ([`Corruption::Underexposure`], severity 4 or 5).
    Dark,
}

impl MixKind {
    /// Its name in the manifest and in summaries.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Fashion => "fashion",
            Self::Occluded => "occluded",
            Self::Glare => "glare",
            Self::Dark => "dark",
        }
    }
}

/// How many frames of each kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct MixPlan {
    /// Clean digits.
    pub clean: usize,
    /// Fashion-MNIST images.
    pub fashion: usize,
    /// Occluded digits.
    pub occluded: usize,
    /// Glared digits.
    pub glare: usize,
    /// Dark digits.
    pub dark: usize,
    /// Decides which images, what is done to them, and their order.
    pub seed: u64,
}

/// One frame of a mix, as in its `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct MixEntry {
    /// File name; its number is the frame index.
    pub file: String,
    /// What it shows.
    pub kind: MixKind,
    /// The digit's class; `None` for what is no digit.
    pub label: Option<u16>,
}

/// Writes the frames of `plan` as `000000.png`, `000001.png`, … and `manifest.json` to the new (or
/// empty) folder `out`. It appears under its name only when complete.
///
/// # Errors
/// A data set is absent, has fewer images than asked for, or the folder cannot be written.
pub fn write_mix(plan: &MixPlan, out: &Path) -> Result<Vec<MixEntry>, DataError> {
    let frames = choose(
        plan,
        &DatasetName::Mnist.load(Split::Test)?,
        &if plan.fashion > 0 {
            DatasetName::FashionMnist.load(Split::Test)?
        } else {
            Dataset::empty(Vec::new())
        },
    )
    .map_err(|reason| DataError::content(out, reason))?;
    let manifest: Vec<MixEntry> = frames
        .iter()
        .enumerate()
        .map(|(index, frame)| MixEntry {
            file: picture_name(index),
            kind: frame.kind,
            label: frame.label,
        })
        .collect();
    let images = frames.iter().map(|frame| Ok(&*frame.picture));
    let json = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| DataError::content(out, error.to_string()))?;
    write_folder(images, &[("manifest.json", &json)], out)?;
    Ok(manifest)
}

struct Frame {
    kind: MixKind,
    label: Option<u16>,
    picture: Arc<Picture>,
}

/// The frames of `plan` in their final order; no test image is used twice.
fn choose(plan: &MixPlan, digits: &Dataset, fashion: &Dataset) -> Result<Vec<Frame>, String> {
    let kinds = [
        (MixKind::Clean, plan.clean),
        (MixKind::Fashion, plan.fashion),
        (MixKind::Occluded, plan.occluded),
        (MixKind::Glare, plan.glare),
        (MixKind::Dark, plan.dark),
    ];
    let total: usize = kinds.iter().map(|(_, count)| count).sum();
    for (name, wanted, set) in [
        ("MNIST", total - plan.fashion, digits),
        ("Fashion-MNIST", plan.fashion, fashion),
    ] {
        if wanted > set.len() {
            return Err(format!(
                "{wanted} {name} frames asked for, the test set has {}",
                set.len()
            ));
        }
    }
    if total == 0 {
        return Err("no frames asked for".into());
    }
    let mut digit_order = Random::new(plan.seed, Purpose::Mix, 0)
        .permutation(digits.len())
        .into_iter();
    let mut fashion_order = Random::new(plan.seed, Purpose::Mix, 1)
        .permutation(fashion.len())
        .into_iter();
    let mut frames = Vec::with_capacity(total);
    for (kind, count) in kinds {
        let (set, order) = match kind {
            MixKind::Fashion => (fashion, &mut fashion_order),
            _ => (digits, &mut digit_order),
        };
        for index in order.take(count) {
            let picture = set.frame(index as usize, PixelFormat::Rgb8);
            let mut picture = picture.map_err(|error| error.to_string())?;
            let corruption = match kind {
                MixKind::Clean | MixKind::Fashion => None,
                MixKind::Occluded => Some(Corruption::OcclusionBlock),
                MixKind::Glare => Some(Corruption::Glare),
                MixKind::Dark => Some(Corruption::Underexposure),
            };
            if let Some(corruption) = corruption {
                let mut random = Random::new(plan.seed, Purpose::Corruption, u64::from(index));
                let [.., bad, worst] = Severity::ALL;
                let severity = if random.below(2) == 0 { bad } else { worst };
                corrupt(
                    corruption,
                    severity,
                    Arc::make_mut(&mut picture),
                    &mut random,
                );
            }
            let label = (kind != MixKind::Fashion).then(|| set.labels[index as usize]);
            frames.push(Frame {
                kind,
                label,
                picture,
            });
        }
    }
    let order = Random::new(plan.seed, Purpose::Mix, 2).permutation(frames.len());
    let mut frames: Vec<_> = frames.into_iter().map(Some).collect();
    Ok(order
        .iter()
        .filter_map(|&index| frames[index as usize].take())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(count: usize, shade: u8) -> Dataset {
        Dataset::in_memory(
            vec!["a".into()],
            vec![0; count],
            (28, 28),
            PixelFormat::Grey8,
            (0..count)
                .flat_map(|i| vec![shade + i as u8; 28 * 28])
                .collect(),
        )
    }

    #[test]
    fn the_plan_is_kept_and_no_image_used_twice() {
        let plan = MixPlan {
            clean: 5,
            fashion: 4,
            occluded: 3,
            glare: 2,
            dark: 1,
            seed: 7,
        };
        let frames = choose(&plan, &set(11, 100), &set(4, 10)).expect("enough images");
        let count = |kind| frames.iter().filter(|frame| frame.kind == kind).count();
        assert_eq!(
            [
                MixKind::Clean,
                MixKind::Fashion,
                MixKind::Occluded,
                MixKind::Glare,
                MixKind::Dark
            ]
            .map(count),
            [5, 4, 3, 2, 1]
        );
        let mut clean: Vec<u8> = frames
            .iter()
            .filter(|frame| frame.kind == MixKind::Clean)
            .map(|frame| frame.picture.pixels[0])
            .collect();
        clean.dedup();
        assert_eq!(clean.len(), 5);
        assert!(
            frames
                .iter()
                .all(|frame| frame.label.is_none() == (frame.kind == MixKind::Fashion))
        );
        assert!(choose(&plan, &set(10, 100), &set(4, 10)).is_err());
        assert!(choose(&MixPlan::default(), &set(10, 100), &set(4, 10)).is_err());
    }
}
