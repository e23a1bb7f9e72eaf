//! A folder of pictures per class: `DIR/CLASS/*.png`, or `DIR/{train,test}/CLASS/*.png`.
//!
//! Pictures are decoded when they are needed, not here.

use std::fs;
use std::path::{Path, PathBuf};

use device::source::{PictureError, is_picture};

use super::classes::numbers;
use super::{DataError, Dataset, Split};

/// Training on a folder without `train` and `test` sub-folders keeps every sixth picture of a class (by
/// sorted name) for its test: MNIST's own proportion.
const TEST_EVERY: usize = 6;

/// Sub-folder of the pictures of flagged frames that nobody has looked at: no class.
pub const UNLABELLED: &str = "unlabelled";
/// Sub-folder of those that nothing is to be learnt from: no class.
pub const DISCARDED: &str = "discarded";

/// The sub-folders that are classes, sorted: as numbers if all are numbers, else by name.
fn class_folders(root: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut folders = entries(root, |path| {
        path.is_dir() && ![UNLABELLED, DISCARDED].contains(&name_of(path).as_str())
    })?;
    let names: Vec<String> = folders.iter().map(|path| name_of(path)).collect();
    if let Some(numbers) = numbers(&names) {
        let mut numbered: Vec<(u64, PathBuf)> = numbers.into_iter().zip(folders).collect();
        // Stable: 1 and 01 stay in the order of their names.
        numbered.sort_by_key(|(number, _)| *number);
        folders = numbered.into_iter().map(|(_, path)| path).collect();
    }
    Ok(folders)
}

/// Finds all pictures of all class folders, of which some may be empty.
///
/// # Errors
/// There is no picture.
#[cfg(any(test, feature = "train"))]
pub(crate) fn load_labelled(root: &Path) -> Result<Dataset, DataError> {
    if !root.is_dir() {
        return Err(DataError::content(root, "no such folder"));
    }
    let (mut class_names, mut labels, mut files) = (Vec::new(), Vec::new(), Vec::new());
    for class in class_folders(root)? {
        let pictures = pictures_in(&class)?;
        if pictures.is_empty() {
            continue;
        }
        let label = u16::try_from(class_names.len())
            .map_err(|_| DataError::content(root, "too many classes"))?;
        class_names.push(name_of(&class));
        labels.resize(labels.len() + pictures.len(), label);
        files.extend(pictures);
    }
    if files.is_empty() {
        let reason = "no labelled images: none lies in a sub-folder named after its class";
        return Err(DataError::content(root, reason));
    }
    Ok(Dataset::in_files(class_names, labels, files))
}

/// Which pictures of each class folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Take {
    All,
    /// All but every sixth.
    Most,
    /// Every sixth.
    Rest,
}

impl Take {
    fn takes(self, index: usize) -> bool {
        let is_test = index % TEST_EVERY == TEST_EVERY - 1;
        match self {
            Self::All => true,
            Self::Most => !is_test,
            Self::Rest => is_test,
        }
    }
}

/// Where the class folders of a part lie, and what is taken of them.
fn part(root: &Path, split: Split) -> Result<(PathBuf, Take), DataError> {
    let (train, test) = (root.join("train"), root.join("test"));
    // The only sub-folder, with classes in it: no class of that name.
    let is_part = |folder: &Path| -> Result<bool, DataError> {
        Ok(folder.is_dir()
            && class_folders(root)? == [folder]
            && !class_folders(folder)?.is_empty())
    };
    if train.is_dir() && test.is_dir() {
        let names = |folder: &Path| -> Result<Vec<_>, DataError> {
            let found = class_folders(folder)?;
            Ok(found.iter().map(|path| name_of(path)).collect())
        };
        if names(&train)? != names(&test)? {
            let reason = "train and test do not have the same classes";
            return Err(DataError::content(root, reason));
        }
        return Ok(match split {
            Split::Train => (train, Take::All),
            Split::Test | Split::HeldOut => (test, Take::All),
        });
    }
    if is_part(&test)? {
        return match split {
            Split::Test => Ok((test, Take::All)),
            Split::Train | Split::HeldOut => {
                let reason = "it has a folder test/ but no train/ beside it to train on";
                Err(DataError::content(root, reason))
            }
        };
    }
    if is_part(&train)? {
        return match split {
            Split::Train => Ok((train, Take::Most)),
            Split::HeldOut => Ok((train, Take::Rest)),
            Split::Test => {
                let reason = format!(
                    "it has a folder train/ but no test/ beside it: name {} to measure on its pictures",
                    train.display()
                );
                Err(DataError::content(root, reason))
            }
        };
    }
    // Named itself, as one of both.
    let there = root.canonicalize().unwrap_or_else(|_| root.to_path_buf());
    if there.ends_with("train") && there.with_file_name("test").is_dir() {
        return Ok(match split {
            Split::Train | Split::Test => (root.to_path_buf(), Take::All),
            Split::HeldOut => (there.with_file_name("test"), Take::All),
        });
    }
    let take = match split {
        Split::Train => Take::Most,
        Split::Test => Take::All,
        Split::HeldOut => Take::Rest,
    };
    Ok((root.to_path_buf(), take))
}

/// Finds one part of a folder; sub-folder names are the class names.
pub(super) fn load(root: &Path, split: Split) -> Result<Dataset, DataError> {
    let refuse = |path: &Path, reason: String| DataError::content(path, reason);
    if !root.is_dir() {
        return Err(refuse(
            root,
            "no such folder (a data set is `mnist`, `fashion-mnist`, `gtsrb`, `cifar10` or a folder with one sub-folder of images per class)".into(),
        ));
    }
    let (part, take) = part(root, split)?;
    let classes = class_folders(&part)?;
    if classes.len() < 2 {
        return Err(refuse(
            &part,
            format!(
                "{} class folder(s) found, at least 2 are needed",
                classes.len()
            ),
        ));
    }
    if split == Split::Train && take == Take::Most {
        tracing::info!(
            "{} has no train/ and test/: every sixth picture of a class is kept out of training, for the test",
            root.display()
        );
    }
    let mut images = Vec::new();
    for (label, class) in classes.iter().enumerate() {
        let label = u16::try_from(label)
            .map_err(|_| refuse(&part, format!("{} classes are too many", classes.len())))?;
        let before = images.len();
        for (index, file) in pictures_in(class)?.into_iter().enumerate() {
            if take.takes(index) {
                images.push((0.0, label, file));
            }
        }
        let count = images.len() - before;
        for (index, (place, ..)) in images[before..].iter_mut().enumerate() {
            *place = (index as f64 + 0.5) / count as f64;
        }
        if count == 0 {
            let reason = match take {
                Take::All => "no images (PNG, JPEG or PGM)",
                Take::Most => {
                    "no training images (PNG, JPEG or PGM; 6 or more, or train/ and test/ folders beside each other)"
                }
                Take::Rest => {
                    "no test images (PNG, JPEG or PGM; 6 or more, or train/ and test/ folders beside each other)"
                }
            };
            return Err(refuse(class, reason.into()));
        }
    }
    // Classes take turns, so that the first and the last so many images hold all of them.
    images.sort_by(|(a, ..), (b, ..)| f64::total_cmp(a, b));
    let class_names = classes.iter().map(|path| name_of(path)).collect();
    let (labels, files) = images
        .into_iter()
        .map(|(_, label, file)| (label, file))
        .unzip();
    Ok(Dataset::in_files(class_names, labels, files))
}

/// The pictures that lie in a folder itself, sorted by name, as one class named after it; `None` if there
/// are none.
pub(super) fn load_pictures(root: &Path) -> Result<Option<Dataset>, DataError> {
    if !root.is_dir() {
        return Ok(None);
    }
    let files = pictures_in(root)?;
    if files.is_empty() {
        return Ok(None);
    }
    let labels = vec![0; files.len()];
    Ok(Some(Dataset::in_files(vec![name_of(root)], labels, files)))
}

pub(super) fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The pictures in a folder, sorted by name. What is no regular file is none: a pipe called `x.png` would
/// be waited for.
///
/// # Errors
/// The folder cannot be read, or a picture is empty.
pub(super) fn pictures_in(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let pictures = entries(folder, |path| is_picture(path) && path.is_file())?;
    for picture in &pictures {
        let about = fs::metadata(picture).map_err(DataError::io("read", picture))?;
        if about.len() == 0 {
            return Err(PictureError::Empty(picture.clone()).into());
        }
    }
    Ok(pictures)
}

/// The entries of a folder that `keep` accepts, hidden ones left out, sorted by name.
pub(super) fn entries(
    folder: &Path,
    keep: impl Fn(&Path) -> bool,
) -> Result<Vec<PathBuf>, DataError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::io("read", folder))? {
        let path = entry.map_err(DataError::io("read", folder))?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
        if !hidden && keep(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use shared::image::PixelFormat;

    use super::*;

    /// A folder of `classes` × `count` one-colour PGM images.
    fn pictures(root: &Path, classes: &[&str], count: usize) {
        for (label, class) in classes.iter().enumerate() {
            fs::create_dir_all(root.join(class)).expect("class folder");
            for index in 0..count {
                let mut bytes = b"P5 40 30 255\n".to_vec();
                bytes.resize(bytes.len() + 40 * 30, (10 * (label + 1) + index) as u8);
                fs::write(root.join(class).join(format!("{index:02}.pgm")), bytes).expect("image");
            }
        }
    }

    /// The first pixel of an image.
    fn shade(data: &Dataset, index: usize) -> u8 {
        data.frame(index, PixelFormat::Grey8)
            .expect("decoded")
            .pixels[0]
    }

    #[test]
    fn training_keeps_every_sixth_image_for_its_test_and_others_measure_on_all() {
        let root = tempfile::tempdir().expect("temporary folder");
        pictures(root.path(), &["b", "a"], 7);
        let train = load(root.path(), Split::Train).expect("training part");
        let test = load(root.path(), Split::HeldOut).expect("what training left");
        assert_eq!(train.class_names, ["a", "b"]);
        assert_eq!(train.labels, [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
        assert_eq!(test.labels, [0, 1]);
        // `a` is the second name given, so its images start at 20; the sixth is 25.
        let sixth = test.frame(0, PixelFormat::Grey8).expect("decoded");
        assert_eq!((sixth.width, sixth.height), (40, 30));
        assert!(sixth.pixels.iter().all(|&pixel| pixel == 25));
        assert_eq!(shade(&train, 10), 26);
        let all = load(root.path(), Split::Test).expect("all images");
        assert_eq!(all.len(), 14);
        assert_eq!(all.file(13), Some(&*root.path().join("b/06.pgm")));
    }

    #[test]
    fn a_divided_folder_is_taken_as_it_is() {
        let root = tempfile::tempdir().expect("temporary folder");
        let [train, test] = ["train", "test"].map(|part| root.path().join(part));
        pictures(&train, &["a", "b"], 3);
        pictures(&test, &["a", "b"], 2);
        let count = |folder: &Path| {
            [Split::Train, Split::Test, Split::HeldOut]
                .map(|split| load(folder, split).expect("read").len())
        };
        assert_eq!(count(root.path()), [6, 4, 4]);
        // Named itself, each is whole.
        assert_eq!(count(&train), [6, 6, 4]);
        assert_eq!(load(&test, Split::Test).expect("test").len(), 4);
        fs::create_dir(test.join("c")).expect("a class that train lacks");
        let error = load(root.path(), Split::Train).expect_err("classes differ");
        assert!(error.to_string().contains("same classes"), "{error}");
    }

    #[test]
    fn a_part_without_the_other_is_what_its_name_says() {
        let root = tempfile::tempdir().expect("temporary folder");
        pictures(&root.path().join("test"), &["a", "b"], 7);
        let [train, test] = [Split::Train, Split::Test].map(|split| load(root.path(), split));
        assert_eq!(test.expect("the test part").len(), 14);
        let error = train.expect_err("nothing to train on").to_string();
        assert!(error.contains("no train/"), "{error}");
        fs::rename(root.path().join("test"), root.path().join("train")).expect("renamed");
        let error = load(root.path(), Split::Test).expect_err("nothing to measure on");
        assert!(error.to_string().contains("no test/"), "{error}");
        assert_eq!(load(root.path(), Split::Train).expect("train").len(), 12);
        assert_eq!(load(root.path(), Split::HeldOut).expect("rest").len(), 2);
        // Classes may be called so.
        pictures(root.path(), &["test", "other"], 7);
        fs::remove_dir_all(root.path().join("train")).expect("removed");
        assert_eq!(
            load(root.path(), Split::Test).expect("classes").class_names,
            ["other", "test"]
        );
    }

    #[test]
    fn classes_named_by_numbers_are_sorted_as_numbers() {
        let root = tempfile::tempdir().expect("temporary folder");
        pictures(root.path(), &["10", "2", "1", "0"], 1);
        let data = load(root.path(), Split::Test).expect("read");
        assert_eq!(data.class_names, ["0", "1", "2", "10"]);
        assert_eq!(shade(&data, 3), 10);
        pictures(root.path(), &["x"], 1);
        let data = load(root.path(), Split::Test).expect("read");
        assert_eq!(data.class_names, ["0", "1", "10", "2", "x"]);
    }

    #[test]
    fn pictures_keep_their_own_sizes_and_colours() {
        let root = tempfile::tempdir().expect("temporary folder");
        pictures(root.path(), &["a", "b"], 1);
        fs::write(
            root.path().join("a/01.ppm"),
            b"P6 1 2 255\n\xff\0\0\0\0\xff",
        )
        .expect("picture");
        let data = load(root.path(), Split::Test).expect("read");
        let at = |format| data.frame(2, format).expect("decoded");
        let size = |index| {
            let frame = data.frame(index, PixelFormat::Rgb8).expect("decoded");
            (frame.width, frame.height)
        };
        assert_eq!([0, 1, 2].map(size), [(40, 30), (40, 30), (1, 2)]);
        assert_eq!(at(PixelFormat::Rgb8).pixels, [255, 0, 0, 0, 0, 255]);
        assert_eq!(at(PixelFormat::Grey8).pixels, [76, 29]);
    }

    #[test]
    fn hidden_files_and_pipes_are_no_pictures() {
        let root = tempfile::tempdir().expect("temporary folder");
        pictures(root.path(), &["a", "b"], 1);
        fs::write(root.path().join("a/._00.png"), "AppleDouble").expect("written");
        fs::create_dir(root.path().join(".cache")).expect("created");
        let pipe = root.path().join("a/pipe.png");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo runs").success());
        assert_eq!(load(root.path(), Split::Test).expect("read").len(), 2);
    }

    #[test]
    fn pictures_without_a_label_are_in_no_class() {
        let root = tempfile::tempdir().expect("temporary folder");
        pictures(root.path(), &["a", "b", UNLABELLED, DISCARDED], 7);
        let train = load(root.path(), Split::Train).expect("training part");
        assert_eq!((train.class_names.len(), train.len()), (2, 12));
        let all = load_labelled(root.path()).expect("all labelled ones");
        assert_eq!((all.class_names.len(), all.len()), (2, 14));
        // One class will do, and empty ones are none.
        fs::remove_dir_all(root.path().join("a")).expect("removed");
        fs::create_dir(root.path().join("a")).expect("created");
        let one = load_labelled(root.path()).expect("one class");
        assert_eq!(one.class_names, ["b"]);
        fs::remove_dir_all(root.path().join("b")).expect("removed");
        let error = load_labelled(root.path()).expect_err("nothing").to_string();
        assert!(error.contains("no labelled images"), "{error}");
    }

    #[test]
    fn a_folder_without_classes_is_one_class() {
        let root = tempfile::tempdir().expect("temporary folder");
        let none = |path: &Path| load_pictures(path).expect("read").is_none();
        assert!(none(&root.path().join("absent")));
        pictures(root.path(), &["a"], 3);
        assert!(none(root.path()));
        let images = load_pictures(&root.path().join("a")).expect("read");
        let images = images.expect("pictures");
        assert_eq!(images.class_names, ["a"]);
        assert_eq!(images.labels, [0, 0, 0]);
        assert_eq!([0, 1, 2].map(|index| shade(&images, index)), [10, 11, 12]);
        fs::write(root.path().join("a/zero.png"), "").expect("empty image");
        let error = load_pictures(&root.path().join("a")).expect_err("an empty image");
        assert!(error.to_string().contains("zero.png"), "{error}");
    }

    #[test]
    fn refusals_name_the_folder_or_file() {
        let root = tempfile::tempdir().expect("temporary folder");
        let message = |path: &Path| {
            let message = load(path, Split::Train).expect_err("refused").to_string();
            assert!(!message.contains('\n'), "{message}");
            message
        };
        assert!(message(&root.path().join("absent")).contains("no such folder"));
        assert!(message(root.path()).contains("0 class folder(s)"));
        pictures(root.path(), &["a", "b"], 2);
        fs::create_dir(root.path().join("c")).expect("empty class");
        assert!(message(root.path()).contains("no training images"));
        fs::write(root.path().join("c/zero.png"), "").expect("empty image");
        assert!(message(root.path()).contains("zero.png"));
    }
}
