//! The images to calibrate on: labelled, and never trained on.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::data::{Dataset, DatasetName, Split, is_same, track};

/// Which images, as on the command line: `NAME:PART`, or a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalibrationSet {
    name: DatasetName,
    part: Option<Part>,
}

/// The words after the colon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Train,
    /// The last training images, kept out of training.
    Validation,
    Test,
}

impl Part {
    const ALL: [(&'static str, Self); 3] = [
        ("train", Self::Train),
        ("validation", Self::Validation),
        ("test", Self::Test),
    ];
}

impl FromStr for CalibrationSet {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        for (word, part) in Part::ALL {
            if let Some(name) = text.strip_suffix(word).and_then(|t| t.strip_suffix(':')) {
                return Ok(Self {
                    name: name.parse()?,
                    part: Some(part),
                });
            }
        }
        Ok(Self {
            name: text.parse()?,
            part: None,
        })
    }
}

impl fmt::Display for CalibrationSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        match Part::ALL.iter().find(|(_, part)| Some(*part) == self.part) {
            Some((word, _)) => write!(f, ":{word}"),
            None => Ok(()),
        }
    }
}

/// Images, and which of them belong together.
#[derive(Debug)]
pub struct Images {
    /// The images and their labels.
    pub images: Dataset,
    /// The clip of each image, counted from 0; `None` if each stands for itself.
    pub clips: Option<Vec<usize>>,
}

/// Pictures whose answers do not matter.
#[derive(Debug)]
pub struct Pictures {
    /// The data set that they are the training part of.
    pub name: DatasetName,
    /// The pictures.
    pub images: Dataset,
}

impl CalibrationSet {
    /// Reads the images; `training` is what the model file tells about its training. With `clip_of`
    /// the images of a clip are those whose file names are alike up to the last `clip_of`.
    ///
    /// # Errors
    /// The data set is absent or damaged; the model was trained on the images, as far as it tells;
    /// or a file belongs to no clip.
    pub fn load(&self, training: Option<&Value>, clip_of: Option<&str>) -> anyhow::Result<Images> {
        let recipe = |key: &str| training.and_then(|training| training.get("recipe")?.get(key));
        let trained_on = recipe("dataset").and_then(Value::as_str);
        let name = &self.name;
        ensure!(
            clip_of.is_none() || matches!(name, DatasetName::Folder(_) | DatasetName::Gtsrb),
            "--clip-of needs a folder of pictures: the images of {self} have no names"
        );
        let images = match (name, self.part) {
            (_, Some(Part::Train)) => bail!(
                "{self} are images to train on, which a model answers better than new ones: thresholds set on them promise too much; use {name}:test, or {name}:validation of a model trained with host train --validation N"
            ),
            (_, Some(Part::Validation)) => {
                ensure!(
                    trained_on.is_none_or(|dataset| dataset == name.to_string()),
                    "the model was not trained on {name}, so none of its training images were kept out: use {name}:test"
                );
                let count = recipe("validation").and_then(Value::as_u64).unwrap_or(0) as usize;
                let images = name.load(Split::Train)?;
                ensure!(
                    count > 0 && count <= images.len(),
                    "the model was trained without validation images: use {name}:test, or train it again with host train --validation N"
                );
                if recipe("temperature_scaling") == Some(&Value::Bool(true)) {
                    tracing::warn!(
                        "the model's temperature was set on these images, so they are not quite like new ones"
                    );
                }
                let all = images.len() as u32;
                let last: Vec<u32> = (all - count as u32..all).collect();
                images.select(&last)
            }
            (DatasetName::Folder(path), part) => {
                let trained_on = trained_on.map(Path::new);
                ensure!(
                    part.is_some() || !trained_on.is_some_and(|other| is_same(other, path)),
                    "the model was trained on images of {name}: use {name}:test, or a folder that it has not seen"
                );
                name.load(part.map_or(Split::Test, |_| Split::HeldOut))?
            }
            (_, Some(Part::Test)) => name.load(Split::Test)?,
            (_, None) => bail!("which part of {name}? use {name}:test or {name}:validation"),
        };
        let clips = match clip_of {
            // Tracks of different signs have the same numbers.
            Some(_) if *name == DatasetName::Gtsrb => Some(clips(&images, track)?),
            Some(separator) => {
                let clip = |file: &Path| {
                    let (clip, _) = file.file_stem()?.to_str()?.rsplit_once(separator)?;
                    Some(clip.to_owned())
                };
                let found = clips(&images, clip);
                Some(found.with_context(|| format!("no '{separator}' after the name of a clip"))?)
            }
            None => None,
        };
        Ok(Images { images, clips })
    }

    /// The pictures that show what is usual, beside all `images` of this set: the training part of
    /// `named`. Without a name it is this data set's, or `None` where that has no training part that
    /// holds none of the images.
    ///
    /// # Errors
    /// The data set named is absent, damaged, or shares pictures with the images: what is tested on
    /// them would no longer be independent of them.
    pub fn pictures(
        &self,
        images: &Dataset,
        named: Option<&DatasetName>,
    ) -> anyhow::Result<Option<Pictures>> {
        let name = named.unwrap_or(&self.name);
        if let (None, None, DatasetName::Folder(path)) = (named, self.part, name)
            && !path.join("train").is_dir()
        {
            return Ok(None);
        }
        let mut training = match name.load_unlabelled(Split::Train) {
            Ok(training) => training,
            Err(_) if named.is_none() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if self.part == Some(Part::Validation) && *name == self.name {
            training.truncate(training.len() - images.len());
        }
        if share_files(&training, images) {
            ensure!(
                named.is_none(),
                "--pictures {name} holds pictures of {self}, which the limits are to be tested on: name others"
            );
            return Ok(None);
        }
        Ok(Some(Pictures {
            name: name.clone(),
            images: training,
        }))
    }
}

/// Whether a picture of one comes from the same file as one of the other.
fn share_files(a: &Dataset, b: &Dataset) -> bool {
    let files = |of: &Dataset| -> HashSet<PathBuf> {
        let file = |index| of.file(index)?.canonicalize().ok();
        (0..of.len()).filter_map(file).collect()
    };
    !files(a).is_disjoint(&files(b))
}

/// The clip of each image, counted from 0: what `of` finds in the path of its file.
fn clips<'a, K: Eq + Hash>(
    images: &'a Dataset,
    of: impl Fn(&'a Path) -> Option<K>,
) -> anyhow::Result<Vec<usize>> {
    let mut numbers = HashMap::new();
    let mut clips = Vec::with_capacity(images.len());
    for index in 0..images.len() {
        let file = images.file(index).context("an image has no name")?;
        let clip = of(file).with_context(|| {
            let file = file.display();
            format!("{file}: its name does not tell the clip that it belongs to")
        })?;
        let next = numbers.len();
        clips.push(*numbers.entry(clip).or_insert(next));
    }
    Ok(clips)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(text: &str) -> CalibrationSet {
        text.parse().expect("any text")
    }

    #[test]
    fn names_read_back() {
        for text in [
            "mnist:test",
            "fashion-mnist:validation",
            "a/b",
            "a:b/c:test",
        ] {
            assert_eq!(set(text).to_string(), text);
        }
        assert_eq!(set("mnist:test").name, DatasetName::Mnist);
        assert_eq!(set("a:b").part, None);
    }

    #[test]
    fn images_that_were_trained_on_are_refused() {
        let refused = |text: &str, training: Value| {
            let error = set(text).load(Some(&training), None).expect_err("refused");
            let message = format!("{error:#}");
            assert!(!message.contains('\n'), "{message}");
            message
        };
        let trained = |on: &str| json!({"recipe": {"dataset": on}});
        assert!(refused("mnist:train", trained("mnist")).contains("mnist:test"));
        assert!(refused("mnist", trained("mnist")).contains("which part"));
        assert!(refused("mnist:validation", trained("fashion-mnist")).contains("not trained on"));
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().to_str().expect("a plain path");
        assert!(refused(path, trained(&format!("{path}/."))).contains(":test"));
    }

    #[test]
    fn clips_are_told_by_file_names() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let picture = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a class")).expect("class folder");
            std::fs::write(path, b"P5 2 2 255\n0123").expect("picture");
        };
        for name in [
            "a/yard_1.pgm",
            "a/yard_2.pgm",
            "b/gate_1.pgm",
            "b/yard_3.pgm",
        ] {
            picture(name);
        }
        let path = folder.path().to_str().expect("a plain path");
        let found = set(path).load(None, Some("_")).expect("read");
        // Classes take turns: a/yard_1, b/gate_1, a/yard_2, b/yard_3.
        assert_eq!(found.clips, Some(vec![0, 1, 0, 0]));
        assert_eq!(set(path).load(None, None).expect("read").clips, None);
        // There is no training part beside them, and their own is not apart.
        let images = found.images;
        let pictures = |text: &str, named: Option<&str>| {
            let named = named.map(|name| set(name).name);
            set(text).pictures(&images, named.as_ref())
        };
        assert!(pictures(path, None).expect("none").is_none());
        let error = pictures(path, Some(path)).expect_err("the same pictures");
        assert!(error.to_string().contains("name others"), "{error}");
        picture("b/lone.pgm");
        let error = set(path).load(None, Some("_")).expect_err("no clip");
        assert!(format!("{error:#}").contains("lone.pgm"), "{error:#}");
        let error = set("mnist:test")
            .load(None, Some("_"))
            .expect_err("no names");
        assert!(error.to_string().contains("folder of pictures"), "{error}");
    }
}
