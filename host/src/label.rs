//! Labels for the pictures of a folder of flagged frames, one after the other.
//!
//! A label is the sub-folder that a picture lies in, so that nothing has to be saved: see
//! [`UNLABELLED`].

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use shared::image::PixelFormat;

use crate::data::{DISCARDED, UNLABELLED};
use crate::monitor::{Picture, Said, list_folder, read_list};

/// Keys that mean something else than a class.
const TAKEN: &str = "sudq?";

/// The classes to choose from, and the key of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels(Vec<(char, String)>);

impl Labels {
    /// A label of one character has that as its key, if all have; else they have 0 to 9 and then
    /// letters, in their order.
    ///
    /// # Errors
    /// There are fewer than two, more than keys, two alike, or one cannot be a folder's name.
    pub fn new(names: &[String]) -> anyhow::Result<Self> {
        ensure!(names.len() >= 2, "at least two labels are needed");
        for (index, name) in names.iter().enumerate() {
            ensure!(
                !name.is_empty()
                    && !name.starts_with('.')
                    && !name.contains(['/', '\0'])
                    && ![UNLABELLED, DISCARDED].contains(&name.as_str()),
                "'{name}' cannot be a label: its pictures are to lie in a folder of that name"
            );
            ensure!(
                !names[..index].contains(name),
                "the label '{name}' is there twice"
            );
        }
        let own = |name: &String| {
            let mut letters = name.chars();
            let first = letters.next().filter(|letter| !TAKEN.contains(*letter));
            first.filter(|_| letters.next().is_none())
        };
        let keys: Option<Vec<char>> = names.iter().map(own).collect();
        let keys = keys.unwrap_or_else(|| {
            let all = ('0'..='9').chain('a'..='z').chain('A'..='Z');
            all.filter(|key| !TAKEN.contains(*key)).collect()
        });
        ensure!(
            names.len() <= keys.len(),
            "{} labels are more than there are keys ({})",
            names.len(),
            keys.len()
        );
        Ok(Self(keys.into_iter().zip(names.iter().cloned()).collect()))
    }

    /// The label of a key.
    #[must_use]
    pub fn of(&self, key: char) -> Option<&str> {
        let mut labels = self.0.iter();
        let label = labels.find(|(own, _)| *own == key)?;
        Some(&label.1)
    }

    /// Keys and labels.
    pub fn iter(&self) -> impl Iterator<Item = (char, &str)> {
        self.0.iter().map(|(key, label)| (*key, label.as_str()))
    }
}

/// What is to become of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice<'a> {
    /// It shows this class.
    Label(&'a str),
    /// Nothing is to be learnt from it.
    Discard,
    /// It comes again, next time.
    Skip,
}

/// Pictures on their way to their labels.
#[derive(Debug)]
pub struct Session {
    folder: PathBuf,
    waiting: VecDeque<PathBuf>,
    said: BTreeMap<String, Said>,
    /// Where each picture was, and where it is now, if it was moved.
    done: Vec<(PathBuf, Option<PathBuf>)>,
}

impl Session {
    /// The pictures in `folder` that have no label.
    ///
    /// # Errors
    /// The folder is not one of `host monitor --save-flagged`, or cannot be read.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let unlabelled = folder.join(UNLABELLED);
        ensure!(
            unlabelled.is_dir(),
            "{} has no folder '{UNLABELLED}': name the folder of host monitor --save-flagged",
            folder.display()
        );
        let mut waiting = list_folder(&unlabelled)?;
        waiting.retain(|path| device::source::is_picture(path));
        Ok(Self {
            said: read_list(folder)?,
            folder: folder.to_owned(),
            waiting: waiting.into(),
            done: Vec::new(),
        })
    }

    /// How many pictures wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many were labelled or discarded.
    #[must_use]
    pub fn moved(&self) -> usize {
        self.done.iter().filter(|(_, to)| to.is_some()).count()
    }

    /// The next picture's file, and what its device said of it.
    #[must_use]
    pub fn next(&self) -> Option<(&Path, Option<&Said>)> {
        let path = self.waiting.front()?;
        let name = path.file_name()?.to_str()?;
        Some((path, self.said.get(name)))
    }

    /// The next picture.
    ///
    /// # Errors
    /// Its file is damaged.
    pub fn picture(&self) -> anyhow::Result<Option<Picture>> {
        let Some(path) = self.waiting.front() else {
            return Ok(None);
        };
        let picture = device::source::read_picture(path, PixelFormat::Rgb8)
            .with_context(|| format!("cannot read {}: move it away", path.display()))?;
        Ok(Some(Picture {
            width: picture.width,
            height: picture.height,
            format: picture.format,
            pixels: picture.pixels,
        }))
    }

    /// Does as chosen with the next picture, if there is one. Nothing is overwritten.
    ///
    /// # Errors
    /// The file cannot be moved; it then stays the next.
    pub fn choose(&mut self, choice: &Choice<'_>) -> anyhow::Result<()> {
        let Some(from) = self.waiting.front() else {
            return Ok(());
        };
        let to = match choice {
            Choice::Label(label) => Some(*label),
            Choice::Discard => Some(DISCARDED),
            Choice::Skip => None,
        };
        let to = match (to, from.file_name()) {
            (Some(to), Some(name)) => {
                let folder = self.folder.join(to);
                fs::create_dir_all(&folder)
                    .with_context(|| format!("cannot create the folder {}", folder.display()))?;
                let to = folder.join(name);
                rename_new(from, &to)?;
                Some(to)
            }
            _ => None,
        };
        if let Some(from) = self.waiting.pop_front() {
            self.done.push((from, to));
        }
        Ok(())
    }

    /// Takes the last choice back; `false` if there is none.
    ///
    /// # Errors
    /// The file cannot be moved back.
    pub fn undo(&mut self) -> anyhow::Result<bool> {
        let Some((from, to)) = self.done.last() else {
            return Ok(false);
        };
        if let Some(to) = to {
            rename_new(to, from)?;
            // A class folder that is empty again would be a class without pictures.
            if let Some(folder) = to.parent() {
                let _ = fs::remove_dir(folder);
            }
        }
        if let Some((from, _)) = self.done.pop() {
            self.waiting.push_front(from);
        }
        Ok(true)
    }
}

/// Renames a file, but not over another.
fn rename_new(from: &Path, to: &Path) -> anyhow::Result<()> {
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)
        .with_context(|| format!("cannot move {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn digits_are_their_own_keys_and_words_are_numbered() {
        let digits = Labels::new(&names(&["0", "1", "9"])).expect("labels");
        assert_eq!(digits.of('9'), Some("9"));
        assert_eq!(digits.of('2'), None);
        let words = Labels::new(&names(&["bolt", "nut"])).expect("labels");
        assert_eq!((words.of('0'), words.of('1')), (Some("bolt"), Some("nut")));
        // q ends: it cannot be a class's key.
        let letters = Labels::new(&names(&["p", "q"])).expect("labels");
        assert_eq!((letters.of('q'), letters.of('1')), (None, Some("q")));
        let many: Vec<String> = (0..40).map(|index| format!("class {index}")).collect();
        let many = Labels::new(&many).expect("labels");
        let keys: String = many.iter().map(|(key, _)| key).collect();
        assert!(
            keys.starts_with("0123456789abcefghijklmnoprtvwxyz"),
            "{keys}"
        );
    }

    #[test]
    fn what_cannot_be_a_folder_is_refused() {
        for (wrong, word) in [
            (&["a"][..], "two"),
            (&["a", "a"], "twice"),
            (&["a", "unlabelled"], "folder"),
            (&["a", "../b"], "folder"),
            (&["a", ""], "folder"),
        ] {
            let error = Labels::new(&names(wrong)).expect_err("refused").to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("temporary folder");
        let unlabelled = folder.path().join(UNLABELLED);
        fs::create_dir(&unlabelled).expect("created");
        for name in ["a.png", "b.png", "c.png", "notes.txt"] {
            fs::write(unlabelled.join(name), name).expect("written");
        }
        folder
    }

    #[test]
    fn files_go_where_they_are_sent_and_come_back() {
        let folder = folder();
        let at = |path: &str| folder.path().join(path).exists();
        let mut session = Session::open(folder.path()).expect("opened");
        assert_eq!(session.waiting(), 3);
        session.choose(&Choice::Label("9")).expect("moved");
        session.choose(&Choice::Skip).expect("left");
        session.choose(&Choice::Discard).expect("moved");
        session.choose(&Choice::Discard).expect("nothing left");
        assert!(at("9/a.png") && at("unlabelled/b.png") && at("discarded/c.png"));
        assert_eq!((session.waiting(), session.moved()), (0, 2));
        for left in [true, true, true, false] {
            assert_eq!(session.undo().expect("moved back"), left);
        }
        assert!(at("unlabelled/a.png") && at("unlabelled/c.png") && !at("9"));
        let first = session.next().expect("the first again").0;
        assert!(first.ends_with("a.png"));
        // What was done is known by the files alone.
        session.choose(&Choice::Label("9")).expect("moved");
        assert_eq!(Session::open(folder.path()).expect("opened").waiting(), 2);
    }

    #[test]
    fn nothing_is_overwritten_and_a_wrong_folder_is_told() {
        let folder = folder();
        fs::create_dir(folder.path().join("9")).expect("created");
        fs::write(folder.path().join("9/a.png"), "other").expect("written");
        let mut session = Session::open(folder.path()).expect("opened");
        let error = session.choose(&Choice::Label("9")).expect_err("is there");
        assert!(error.to_string().contains("cannot move"), "{error}");
        let other = fs::read_to_string(folder.path().join("9/a.png")).expect("read");
        assert_eq!((other.as_str(), session.waiting()), ("other", 3));
        let error = session.picture().expect_err("no picture");
        assert!(error.to_string().contains("a.png"), "{error}");
        let error = Session::open(&folder.path().join("9")).expect_err("no such folder");
        assert!(error.to_string().contains("--save-flagged"), "{error}");
    }
}
