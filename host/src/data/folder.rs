//! A folder of images per class: `DIR/CLASS/*.png`, or `DIR/{train,test}/CLASS/*.png`.

use std::fs;
use std::path::{Path, PathBuf};

use device::source::{is_picture, read_picture};
use shared::image::{Normalisation, PixelFormat, Preprocessing};

use super::{DataError, Dataset, SIDE, Split};

/// Without `train` and `test` sub-folders, every sixth image of a class (by sorted name) is a
/// test image: MNIST's own proportion.
const TEST_EVERY: usize = 6;

/// Sub-folder of the pictures of flagged frames that nobody has looked at: no class.
pub const UNLABELLED: &str = "unlabelled";
/// Sub-folder of those that nothing is to be learnt from: no class.
pub const DISCARDED: &str = "discarded";

/// The sub-folders that are classes.
fn class_folders(root: &Path) -> Result<Vec<PathBuf>, DataError> {
    entries(root, |path| {
        path.is_dir() && ![UNLABELLED, DISCARDED].contains(&name_of(path).as_str())
    })
}

/// Reads all images of all class folders, of which some may be empty.
///
/// # Errors
/// There is no image, or one cannot be read.
#[cfg(any(test, feature = "train"))]
pub(crate) fn load_labelled(root: &Path) -> Result<Dataset, DataError> {
    if !root.is_dir() {
        return Err(DataError::content(root, "no such folder"));
    }
    let mut dataset = Dataset {
        class_names: Vec::new(),
        pixels: Vec::new(),
        labels: Vec::new(),
    };
    for class in class_folders(root)? {
        let pictures = entries(&class, |path| path.is_file() && is_picture(path))?;
        if pictures.is_empty() {
            continue;
        }
        let label = u16::try_from(dataset.class_names.len())
            .map_err(|_| DataError::content(root, "too many classes"))?;
        dataset.class_names.push(name_of(&class));
        for picture in pictures {
            dataset.pixels.extend(read_image(&picture)?);
            dataset.labels.push(label);
        }
    }
    if dataset.is_empty() {
        let reason = "no labelled images: none lies in a sub-folder named after its class";
        return Err(DataError::content(root, reason));
    }
    Ok(dataset)
}

/// Reads one part, or all images of a folder that is not divided, and tells the file of each;
/// sub-folder names, sorted, are the class names.
pub(crate) fn load(
    root: &Path,
    split: Option<Split>,
) -> Result<(Dataset, Vec<PathBuf>), DataError> {
    let refuse = |path: &Path, reason: String| DataError::content(path, reason);
    if !root.is_dir() {
        return Err(refuse(
            root,
            "no such folder (a data set is `mnist`, `fashion-mnist` or a folder with one sub-folder of images per class)".into(),
        ));
    }
    let divided = root.join("train").is_dir() && root.join("test").is_dir();
    let part = match split {
        _ if !divided => root.to_path_buf(),
        Some(Split::Train) => root.join("train"),
        Some(Split::Test) => root.join("test"),
        None => {
            let reason = "it is divided into train and test: say which";
            return Err(refuse(root, reason.into()));
        }
    };
    let classes = class_folders(&part)?;
    if divided {
        let names = |folder: &str| -> Result<Vec<_>, DataError> {
            let found = entries(&root.join(folder), Path::is_dir)?;
            Ok(found.iter().map(|path| name_of(path)).collect())
        };
        if names("train")? != names("test")? {
            return Err(refuse(
                root,
                "train and test do not have the same classes".into(),
            ));
        }
    }
    if classes.len() < 2 {
        return Err(refuse(
            &part,
            format!(
                "{} class folder(s) found, at least 2 are needed",
                classes.len()
            ),
        ));
    }
    let mut images = Vec::new();
    for (label, class) in classes.iter().enumerate() {
        let label = u16::try_from(label)
            .map_err(|_| refuse(&part, format!("{} classes are too many", classes.len())))?;
        let before = images.len();
        let pictures = entries(class, |path| path.is_file() && is_picture(path))?;
        for (index, file) in pictures.into_iter().enumerate() {
            let is_test = index % TEST_EVERY == TEST_EVERY - 1;
            if divided || split.is_none_or(|split| is_test == (split == Split::Test)) {
                images.push((0.0, label, read_image(&file)?, file));
            }
        }
        let count = images.len() - before;
        for (index, (place, ..)) in images[before..].iter_mut().enumerate() {
            *place = (index as f64 + 0.5) / count as f64;
        }
        if count == 0 {
            let reason = match split {
                None => "no images (PNG, JPEG or PGM)",
                Some(Split::Train) => {
                    "no training images (PNG, JPEG or PGM; 6 or more, or train/ and test/ folders beside each other)"
                }
                Some(Split::Test) => {
                    "no test images (PNG, JPEG or PGM; 6 or more, or train/ and test/ folders beside each other)"
                }
            };
            return Err(refuse(class, reason.into()));
        }
    }
    // Classes take turns, so that the first and the last so many images hold all of them.
    images.sort_by(|(a, ..), (b, ..)| f64::total_cmp(a, b));
    let mut dataset = Dataset {
        class_names: classes.iter().map(|path| name_of(path)).collect(),
        pixels: Vec::with_capacity(images.len() * Dataset::PIXELS),
        labels: Vec::with_capacity(images.len()),
    };
    let mut files = Vec::with_capacity(images.len());
    for (_, label, pixels, file) in images {
        dataset.pixels.extend(pixels);
        dataset.labels.push(label);
        files.push(file);
    }
    Ok((dataset, files))
}

/// Reads the images that lie in a folder itself, sorted by name, as one class named after it; `None`
/// if there are none.
pub(super) fn load_pictures(root: &Path) -> Result<Option<Dataset>, DataError> {
    if !root.is_dir() {
        return Ok(None);
    }
    let files = entries(root, |path| path.is_file() && is_picture(path))?;
    if files.is_empty() {
        return Ok(None);
    }
    let pixels: Result<Vec<_>, _> = files.iter().map(|file| read_image(file)).collect();
    Ok(Some(Dataset {
        class_names: vec![name_of(root)],
        pixels: pixels?.concat(),
        labels: vec![0; files.len()],
    }))
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The entries of a folder that `keep` accepts, hidden ones left out, sorted by name.
fn entries(folder: &Path, keep: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, DataError> {
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

fn read_image(path: &Path) -> Result<Vec<u8>, DataError> {
    let refuse = |error: shared::image::ImageError| DataError::content(path, error.to_string());
    let picture = read_picture(path, PixelFormat::Grey8)?;
    let view = picture.view().map_err(refuse)?;
    let mut luma = vec![0.0; SIDE * SIDE];
    Preprocessing::grey(Normalisation::IDENTITY)
        .plan(&view, None, (SIDE, SIDE))
        .and_then(|plan| plan.run(&view, &mut [], &mut luma))
        .map_err(refuse)?;
    Ok(luma
        .iter()
        .map(|value| (value * 255.0).round() as u8)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(root: &Path, split: Split) -> Result<Dataset, DataError> {
        Ok(super::load(root, Some(split))?.0)
    }

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

    #[test]
    fn every_sixth_image_is_a_test_image() {
        let root = tempfile::tempdir().expect("temporary folder");
        pictures(root.path(), &["b", "a"], 7);
        let train = load(root.path(), Split::Train).expect("training part");
        let test = load(root.path(), Split::Test).expect("test part");
        assert_eq!(train.class_names, ["a", "b"]);
        assert_eq!(train.labels, [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
        assert_eq!(test.labels, [0, 1]);
        // `a` is the second name given, so its images start at 20; the sixth is 25.
        assert!(test.image(0).iter().all(|&pixel| pixel == 25));
        assert_eq!(train.image(10)[0], 26);
        let (all, files) = super::load(root.path(), None).expect("all images");
        assert_eq!((all.len(), files.len()), (14, 14));
        assert_eq!(files[13], root.path().join("b/06.pgm"));
    }

    #[test]
    fn a_divided_folder_is_taken_as_it_is() {
        let root = tempfile::tempdir().expect("temporary folder");
        pictures(&root.path().join("train"), &["a", "b"], 3);
        pictures(&root.path().join("test"), &["a", "b"], 2);
        assert_eq!(load(root.path(), Split::Train).expect("train").len(), 6);
        assert_eq!(load(root.path(), Split::Test).expect("test").len(), 4);
        let error = super::load(root.path(), None).expect_err("which part?");
        assert!(error.to_string().contains("say which"), "{error}");
        fs::create_dir(root.path().join("test/c")).expect("a class that train lacks");
        let error = load(root.path(), Split::Train).expect_err("classes differ");
        assert!(error.to_string().contains("same classes"), "{error}");
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
        assert_eq!(load_pictures(&root.path().join("absent")).ok(), Some(None));
        pictures(root.path(), &["a"], 3);
        assert_eq!(load_pictures(root.path()).ok(), Some(None));
        let images = load_pictures(&root.path().join("a")).expect("read");
        let images = images.expect("pictures");
        assert_eq!(images.class_names, ["a"]);
        assert_eq!(images.labels, [0, 0, 0]);
        let first: Vec<u8> = (0..3).map(|index| images.image(index)[0]).collect();
        assert_eq!(first, [10, 11, 12]);
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
