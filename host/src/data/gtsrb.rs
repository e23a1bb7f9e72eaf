//! The German Traffic Sign Recognition Benchmark, as its own archives unpack, and as class folders.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::folder::{entries, name_of, pictures_in};
use super::{DataError, Dataset, Split};

/// Where it comes from, and what is to be done with it.
const HOW: &str = "GTSRB is not here: get GTSRB_Final_Training_Images.zip, GTSRB_Final_Test_Images.zip and GTSRB_Final_Test_GT.zip from https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/published-archive.html and unpack them there, with unzip 'GTSRB_*.zip' -d";
/// Kinds of signs, named by their numbers.
const CLASSES: u16 = 43;
/// The labels of the test pictures.
const TEST_LABELS: &str = "GT-final_test.csv";

/// Reads one part from `data`: pictures in the order of their numbers, those of training in tracks, of
/// which the kinds of signs take turns.
pub(super) fn load(data: &Path, split: Split) -> Result<Dataset, DataError> {
    let roots = [
        data.to_path_buf(),
        data.join("GTSRB"),
        data.join("gtsrb-32"),
    ];
    let training = split == Split::Train;
    let (official, plain) = if training {
        ("Final_Training/Images", "train")
    } else {
        ("Final_Test/Images", "test")
    };
    let mut pictures = None;
    for root in &roots {
        if root.join(official).is_dir() {
            let folder = root.join(official);
            pictures = Some(if training {
                by_class(&folder)?
            } else {
                let lists = [
                    folder.join(TEST_LABELS),
                    root.join(TEST_LABELS),
                    data.join(TEST_LABELS),
                ];
                let list = lists.iter().find(|list| list.is_file()).ok_or_else(|| {
                    let reason =
                        format!("{TEST_LABELS} is missing: unpack GTSRB_Final_Test_GT.zip");
                    DataError::content(&folder, reason)
                })?;
                listed(&folder, list)?
            });
            break;
        }
        if root.join(plain).is_dir() {
            pictures = Some(by_class(&root.join(plain))?);
            break;
        }
    }
    let Some(mut pictures) = pictures else {
        let reason = format!("{HOW} {}", data.display());
        return Err(DataError::content(data, reason));
    };
    if training {
        in_tracks(&mut pictures);
    } else {
        pictures.sort_by(|(a, _), (b, _)| a.file_name().cmp(&b.file_name()));
    }
    if pictures.is_empty() {
        return Err(DataError::content(data, "no pictures"));
    }
    let (files, labels) = pictures.into_iter().unzip();
    let names = (0..CLASSES).map(|class| class.to_string()).collect();
    Ok(Dataset::in_files(names, labels, files))
}

/// The track that a training picture belongs to: its class and its number in it, if its name tells.
pub(crate) fn track(file: &Path) -> Option<(&Path, &str)> {
    let (track, _) = file.file_stem()?.to_str()?.rsplit_once('_')?;
    Some((file.parent()?, track))
}

/// The pictures of class folders, which may have a list of them.
fn by_class(folder: &Path) -> Result<Vec<(PathBuf, u16)>, DataError> {
    let mut pictures = Vec::new();
    for class in entries(folder, Path::is_dir)? {
        let number = name_of(&class).parse().ok();
        let label = number.filter(|&class| class < CLASSES).ok_or_else(|| {
            let reason = format!("its name is no number below {CLASSES}, of a kind of signs");
            DataError::content(&class, reason)
        })?;
        let files = pictures_in(&class)?;
        let list = class.join(format!("GT-{}.csv", name_of(&class)));
        if list.is_file() {
            let listed = rows(&list)?.len();
            if listed != files.len() {
                let reason = format!(
                    "{} pictures, but its list has {listed}: unpack the archive again",
                    files.len()
                );
                return Err(DataError::content(&class, reason));
            }
        }
        pictures.extend(files.into_iter().map(|file| (file, label)));
    }
    Ok(pictures)
}

/// The pictures of a folder that a list tells the classes of.
fn listed(folder: &Path, list: &Path) -> Result<Vec<(PathBuf, u16)>, DataError> {
    let mut pictures = Vec::new();
    for (name, class) in rows(list)? {
        let file = folder.join(&name);
        let label = class.filter(|&class| class < CLASSES).ok_or_else(|| {
            let reason = format!("{name} has no class below {CLASSES}");
            DataError::content(list, reason)
        })?;
        if !file.is_file() {
            let reason = "the picture is missing: unpack the archive again";
            return Err(DataError::content(&file, reason));
        }
        pictures.push((file, label));
    }
    Ok(pictures)
}

/// File names and classes of a list: lines of values between semicolons, under a line of their names.
fn rows(list: &Path) -> Result<Vec<(String, Option<u16>)>, DataError> {
    let refuse = |reason: String| DataError::content(list, reason);
    let text = fs::read_to_string(list).map_err(DataError::io("read", list))?;
    let mut lines = text.lines().map(|line| line.split(';').map(str::trim));
    let names: Vec<&str> = lines.next().map(Iterator::collect).unwrap_or_default();
    let column = |name: &str| {
        let found = names.iter().position(|column| *column == name);
        found.ok_or_else(|| refuse(format!("it has no column {name}")))
    };
    let (name, class) = (column("Filename")?, column("ClassId")?);
    let mut rows = Vec::new();
    for (number, line) in lines.enumerate() {
        let values: Vec<&str> = line.collect();
        if values == [""] {
            continue;
        }
        let file = values.get(name).filter(|file| {
            let parts = Path::new(file).components();
            parts.count() == 1 && !file.starts_with('.')
        });
        let Some(file) = file else {
            return Err(refuse(format!("line {} names no picture", number + 2)));
        };
        let class = values.get(class).and_then(|class| class.parse().ok());
        rows.push(((*file).to_owned(), class));
    }
    Ok(rows)
}

/// Puts tracks in an order in which classes take turns, so that the first and the last so many pictures
/// hold all of them, and no more tracks than necessary are torn apart.
fn in_tracks(pictures: &mut Vec<(PathBuf, u16)>) {
    let key =
        |file: &Path| track(file).map_or_else(|| name_of(file), |(_, track)| track.to_owned());
    let mut tracks: HashMap<u16, Vec<String>> = HashMap::new();
    for (file, label) in pictures.iter() {
        tracks.entry(*label).or_default().push(key(file));
    }
    for names in tracks.values_mut() {
        names.sort();
        names.dedup();
    }
    let place = |file: &Path, label: u16| {
        let names = &tracks[&label];
        let index = names.binary_search(&key(file)).unwrap_or_default();
        (index as f64 + 0.5) / names.len() as f64
    };
    let mut placed: Vec<(f64, PathBuf, u16)> = std::mem::take(pictures)
        .into_iter()
        .map(|(file, label)| (place(&file, label), file, label))
        .collect();
    placed.sort_by(|(a, file, label), (b, other, of_other)| {
        let by_place = a.total_cmp(b).then(label.cmp(of_other));
        by_place.then_with(|| file.cmp(other))
    });
    pictures.extend(placed.into_iter().map(|(_, file, label)| (file, label)));
}

#[cfg(test)]
mod tests {
    use shared::image::PixelFormat;

    use super::*;

    fn picture(path: &Path, side: usize, colour: [u8; 3]) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        let mut bytes = format!("P6 {side} {side} 255\n").into_bytes();
        bytes.extend(colour.repeat(side * side));
        fs::write(path, bytes).expect("written");
    }

    fn names(data: &Dataset) -> Vec<String> {
        let file = |index| name_of(data.file(index).expect("a file"));
        (0..data.len()).map(file).collect()
    }

    #[test]
    fn the_archives_are_read_as_they_unpack() {
        let data = tempfile::tempdir().expect("temporary folder");
        let missing = load(data.path(), Split::Test).expect_err("nothing there");
        assert!(missing.to_string().contains("unzip"), "{missing}");
        let root = data.path().join("GTSRB");
        let train = root.join("Final_Training/Images");
        for (class, tracks) in [(0, 2), (42, 1)] {
            let mut list =
                "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\r\n".to_owned();
            for track in 0..tracks {
                for frame in 0..2 {
                    let name = format!("{track:05}_{frame:05}.ppm");
                    picture(&train.join(format!("{class:05}/{name}")), 15, [200, 0, 0]);
                    list.push_str(
                        &[&name, ";15;15;1;1;13;13;", &class.to_string(), "\r\n"].concat(),
                    );
                }
            }
            fs::write(train.join(format!("{class:05}/GT-{class:05}.csv")), list).expect("written");
        }
        let found = load(data.path(), Split::Train).expect("read");
        assert_eq!(found.class_names.len(), 43);
        assert_eq!(found.class_names[42], "42");
        // Whole tracks, of which classes take turns.
        assert_eq!(found.labels, [0, 0, 42, 42, 0, 0]);
        assert_eq!(names(&found)[4..], ["00001_00000.ppm", "00001_00001.ppm"]);
        let frame = found.frame(0, PixelFormat::Rgb8).expect("decoded");
        assert_eq!((frame.width, &frame.pixels[..3]), (15, &[200, 0, 0][..]));
        assert_eq!(
            track(found.file(5).expect("a file")).map(|it| it.1),
            Some("00001")
        );

        fs::remove_file(train.join("00042/00000_00001.ppm")).expect("removed");
        let error = load(data.path(), Split::Train).expect_err("one is missing");
        assert!(error.to_string().contains("its list has 2"), "{error}");

        let test = root.join("Final_Test/Images");
        for number in 0..2 {
            picture(&test.join(format!("{number:05}.ppm")), 20, [0, 0, 200]);
        }
        let error = load(data.path(), Split::Test).expect_err("no labels");
        assert!(error.to_string().contains(TEST_LABELS), "{error}");
        // In the test's archive it has another name, without the classes.
        let list = "Filename;Width;ClassId\n00001.ppm;20;7\n00000.ppm;20;42\n";
        fs::write(data.path().join(TEST_LABELS), list).expect("written");
        let found = load(data.path(), Split::Test).expect("read");
        assert_eq!(
            (names(&found), &found.labels[..]),
            (vec!["00000.ppm".into(), "00001.ppm".into()], &[42, 7][..])
        );
        fs::write(
            data.path().join(TEST_LABELS),
            "Filename;ClassId\n00009.ppm;1\n",
        )
        .expect("written");
        let error = load(data.path(), Split::Test).expect_err("no such picture");
        assert!(error.to_string().contains("00009.ppm"), "{error}");
        for list in [
            "Filename;ClassId\n00001.ppm;43\n",
            "Filename\n00001.ppm\n",
            "Filename;ClassId\n../00001.ppm;1\n",
        ] {
            fs::write(data.path().join(TEST_LABELS), list).expect("written");
            let error = load(data.path(), Split::Test).expect_err("refused");
            assert!(error.to_string().contains(TEST_LABELS), "{error}");
        }
    }

    #[test]
    fn class_folders_hold_the_same_signs() {
        let data = tempfile::tempdir().expect("temporary folder");
        let root = data.path().join("gtsrb-32");
        picture(&root.join("test/07/00001.ppm"), 32, [0; 3]);
        picture(&root.join("test/42/00000.ppm"), 32, [9; 3]);
        picture(&root.join("train/01/00003_00029.ppm"), 32, [9; 3]);
        let test = load(data.path(), Split::HeldOut).expect("read");
        assert_eq!(
            (names(&test), &test.labels[..]),
            (vec!["00000.ppm".into(), "00001.ppm".into()], &[42, 7][..])
        );
        let train = load(data.path(), Split::Train).expect("read");
        assert_eq!((train.class_names.len(), &train.labels[..]), (43, &[1][..]));
        fs::create_dir(root.join("test/43")).expect("created");
        let error = load(data.path(), Split::Test).expect_err("no such sign");
        assert!(error.to_string().contains("below 43"), "{error}");
    }
}
