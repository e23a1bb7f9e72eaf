//! CIFAR-10 in its binary form, or as class folders.

use std::fs;
use std::path::{Path, PathBuf};

use shared::image::PixelFormat;

use super::{DataError, Dataset, Split, folder};

/// Where it comes from, and what is to be done with it.
const HOW: &str = "CIFAR-10 is not here: get cifar-10-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html and unpack it there, with tar -xzf cifar-10-binary.tar.gz -C";
/// Columns and rows of each picture.
const SIDE: usize = 32;
const PIXELS: usize = SIDE * SIDE;
/// A label, then red, green and blue, each row-major.
const RECORD: usize = 1 + 3 * PIXELS;
/// As `batches.meta.txt` has them.
const CLASSES: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];

/// Reads one part from `data`, or from the folder in it that the archive unpacks to: in memory, or the
/// files of class folders in `train` and `test`.
pub(super) fn load(data: &Path, split: Split) -> Result<Dataset, DataError> {
    let candidates = [data.to_path_buf(), data.join("cifar-10-batches-bin")];
    let found = candidates
        .into_iter()
        .find(|folder| folder.join("test_batch.bin").is_file());
    let Some(folder) = found else {
        let candidates = [data.to_path_buf(), data.join("cifar10-jpg")];
        let parts = |root: &PathBuf| root.join("train").is_dir() && root.join("test").is_dir();
        if let Some(root) = candidates.iter().find(|root| parts(root)) {
            return class_folders(root, split);
        }
        let reason = format!("{HOW} {}", data.display());
        return Err(DataError::content(data, reason));
    };
    let files: Vec<PathBuf> = match split {
        Split::Train => (1..=5)
            .map(|batch| folder.join(format!("data_batch_{batch}.bin")))
            .collect(),
        Split::Test | Split::HeldOut => vec![folder.join("test_batch.bin")],
    };
    let (mut labels, mut pixels) = (Vec::new(), Vec::new());
    for file in files {
        let bytes = fs::read(&file).map_err(DataError::io("read", &file))?;
        let (records, rest) = bytes.as_chunks::<RECORD>();
        if records.is_empty() || !rest.is_empty() {
            let reason = format!(
                "{} bytes are no whole number of pictures of {RECORD} bytes: unpack the archive again",
                bytes.len()
            );
            return Err(DataError::content(&file, reason));
        }
        for record in records {
            let (label, planes) = (record[0], &record[1..]);
            if usize::from(label) >= CLASSES.len() {
                let reason = format!("label {label} in a data set of 10 classes");
                return Err(DataError::content(&file, reason));
            }
            labels.push(u16::from(label));
            let (red, rest) = planes.split_at(PIXELS);
            let (green, blue) = rest.split_at(PIXELS);
            let colours = red.iter().zip(green).zip(blue);
            pixels.extend(colours.flat_map(|((red, green), blue)| [*red, *green, *blue]));
        }
    }
    Ok(Dataset::in_memory(
        CLASSES.map(String::from).to_vec(),
        labels,
        (SIDE, SIDE),
        PixelFormat::Rgb8,
        pixels,
    ))
}

fn class_folders(root: &Path, split: Split) -> Result<Dataset, DataError> {
    let found = folder::load(root, split)?;
    if found.class_names != CLASSES {
        let reason = format!(
            "its classes are not those of CIFAR-10, {}",
            CLASSES.join(", ")
        );
        return Err(DataError::content(root, reason));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(label: u8, colour: [u8; 3]) -> Vec<u8> {
        let planes = colour.iter().flat_map(|&value| [value; PIXELS]);
        std::iter::once(label).chain(planes).collect()
    }

    #[test]
    fn planes_become_pixels_in_colour() {
        let data = tempfile::tempdir().expect("temporary folder");
        let error = load(data.path(), Split::Test).expect_err("nothing there");
        assert!(error.to_string().contains("tar -xzf"), "{error}");
        let folder = data.path().join("cifar-10-batches-bin");
        fs::create_dir(&folder).expect("created");
        let test = [record(3, [1, 2, 3]), record(9, [200, 100, 50])].concat();
        fs::write(folder.join("test_batch.bin"), test).expect("written");
        for batch in 1..=5 {
            let file = folder.join(format!("data_batch_{batch}.bin"));
            fs::write(file, record(batch, [batch; 3])).expect("written");
        }
        let test = load(data.path(), Split::Test).expect("read");
        assert_eq!(test.labels, [3, 9]);
        assert_eq!(test.class_names[3], "cat");
        let frame = test.frame(1, PixelFormat::Rgb8).expect("in memory");
        assert_eq!(
            (frame.width, frame.height, frame.format),
            (32, 32, PixelFormat::Rgb8)
        );
        assert_eq!(frame.pixels, [200, 100, 50].repeat(PIXELS));
        let train = load(data.path(), Split::Train).expect("read");
        assert_eq!(train.labels, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn class_folders_must_be_those_of_the_data_set() {
        let data = tempfile::tempdir().expect("temporary folder");
        let add = |class: &str| {
            for part in ["train", "test"] {
                let folder = data.path().join("cifar10-jpg").join(part).join(class);
                fs::create_dir_all(&folder).expect("created");
                fs::write(folder.join("0.ppm"), b"P6 1 1 255\n\x01\x02\x03").expect("picture");
            }
        };
        add("cat");
        add("dog");
        let error = load(data.path(), Split::Test).expect_err("two classes");
        assert!(error.to_string().contains("airplane"), "{error}");
        CLASSES.into_iter().for_each(add);
        let test = load(data.path(), Split::Test).expect("read");
        assert_eq!(test.labels, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let frame = test.frame(3, PixelFormat::Rgb8).expect("decoded");
        assert_eq!(frame.pixels, [1, 2, 3]);
    }

    #[test]
    fn damage_is_refused_and_named() {
        let data = tempfile::tempdir().expect("temporary folder");
        let refused = |bytes: &[u8]| {
            fs::write(data.path().join("test_batch.bin"), bytes).expect("written");
            let error = load(data.path(), Split::Test).expect_err("damaged");
            error.to_string()
        };
        assert!(refused(&record(0, [0; 3])[..3000]).contains("test_batch.bin: 3000 bytes"));
        assert!(refused(&[]).contains("0 bytes"));
        assert!(refused(&record(10, [0; 3])).contains("label 10"));
    }
}
