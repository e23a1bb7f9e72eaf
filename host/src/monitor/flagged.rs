//! A folder of flagged frames: what a device was unsure of, kept to be labelled and learnt from.
//!
//! ```text
//! DIR/unlabelled/TIME-frameN-CAUSE-HASH.png   pictures that nobody has looked at
//! DIR/LABEL/…                                 pictures of this class
//! DIR/discarded/…                             pictures to learn nothing from
//! DIR/flagged.jsonl                           what the device said of each, a line a picture
//! ```
//!
//! A file's place is all that is known of its label, so that work can be broken off at any time.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fmt, io};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use shared::wire::message::Hello;
use time::OffsetDateTime;

use super::{FrameKey, Picture, Seen};
use crate::data::UNLABELLED;
use device::hexadecimal;

/// What devices said of the pictures.
pub const LIST: &str = "flagged.jsonl";

/// How often a full folder is looked at again: somebody may have labelled meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Hexadecimal digits of a picture's hash in its name.
const HASH_DIGITS: usize = 12;

/// What became of the pictures that came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Saved {
    /// Written.
    pub saved: u64,
    /// Left out because the same picture had been saved before.
    pub repeated: u64,
    /// Left out because the folder was full.
    pub full: u64,
    /// Never complete: a part was lost on the line.
    pub incomplete: u64,
    /// Complete, but of a frame whose report was lost.
    pub unreported: u64,
}

impl fmt::Display for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "pictures    {} saved, {} known already, {} beyond the limit, {} incomplete, {} without a report",
            self.saved, self.repeated, self.full, self.incomplete, self.unreported
        )
    }
}

/// Writes pictures to the folder.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    list: File,
    /// Hashes of all pictures in the folder, labelled ones included.
    known: HashSet<String>,
    limit: usize,
    /// Pictures without a label.
    waiting: usize,
    full_since: Option<Instant>,
    /// What became of the pictures.
    pub counts: Saved,
}

impl Store {
    /// Opens a folder, or makes one, for at most `limit` pictures without a label.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn open(folder: &Path, limit: usize) -> anyhow::Result<Self> {
        let unlabelled = folder.join(UNLABELLED);
        fs::create_dir_all(&unlabelled)
            .with_context(|| format!("cannot create the folder {}", unlabelled.display()))?;
        let path = folder.join(LIST);
        let list = File::options().create(true).append(true).open(&path);
        let mut known = HashSet::new();
        for class in list_folder(folder)? {
            if class.is_dir() {
                known.extend(list_folder(&class)?.iter().filter_map(|it| hash_in(it)));
            }
        }
        Ok(Self {
            waiting: list_folder(&unlabelled)?.len(),
            folder: folder.to_owned(),
            list: list.with_context(|| format!("cannot write {}", path.display()))?,
            known,
            limit,
            full_since: None,
            counts: Saved::default(),
        })
    }

    /// Saves the picture of a frame with what was `seen` of that, unless the same picture was saved
    /// before or the folder is full. A frame whose report came long ago, or to an earlier monitor, is
    /// known by its number alone, and flagged if it has an epoch, for pictures of others have none;
    /// of any other the picture is left out.
    ///
    /// # Errors
    /// The disk does not take it.
    pub fn save(
        &mut self,
        key: FrameKey,
        picture: &Picture,
        seen: Option<&Seen>,
        hello: Option<&Hello>,
    ) -> anyhow::Result<()> {
        if seen.is_none() && key.epoch.is_none() {
            return Ok(());
        }
        let hash = hash_of(picture);
        if self.known.contains(&hash) {
            self.counts.repeated += 1;
            return Ok(());
        }
        if self.is_full()? {
            self.counts.full += 1;
            return Ok(());
        }
        let now = OffsetDateTime::now_utc();
        let name = format!(
            "{:04}{:02}{:02}T{:02}{:02}{:02}Z-frame{:06}-{}-{hash}.png",
            now.year(),
            u8::from(now.month()),
            now.day(),
            now.hour(),
            now.minute(),
            now.second(),
            key.frame,
            seen.map_or("flagged", |seen| {
                let cause = seen.report.causes.primary();
                cause.map_or("accepted", |cause| cause.name())
            }),
        );
        write_new(&self.folder.join(UNLABELLED).join(&name), &picture.png()?)?;
        let mut line = serde_json::json!({
            "file": name,
            "device": hello.map(|hello| hello.device.as_str()),
            "model": hello.map(|hello| format!("{:08x}", hello.model)),
            "report": seen.map(Seen::record),
        });
        if let (None, Some(epoch)) = (seen, key.epoch) {
            // By these the report is found in the log.
            line["frame"] = key.frame.into();
            line["epoch"] = format!("{epoch:016x}").into();
        }
        self.list
            .write_all(format!("{line}\n").as_bytes())
            .with_context(|| format!("cannot write {}", self.folder.join(LIST).display()))?;
        self.known.insert(hash);
        self.waiting += 1;
        self.counts.saved += 1;
        Ok(())
    }

    fn is_full(&mut self) -> anyhow::Result<bool> {
        if self.waiting < self.limit {
            return Ok(false);
        }
        if self.full_since.is_none_or(|at| at.elapsed() > LOOK_AGAIN) {
            let first = self.full_since.is_none();
            self.full_since = Some(Instant::now());
            self.waiting = list_folder(&self.folder.join(UNLABELLED))?.len();
            if self.waiting >= self.limit && first {
                tracing::warn!(
                    "{} pictures wait for a label in {}: no more are saved until some have one (host label)",
                    self.waiting,
                    self.folder.display()
                );
            }
        }
        let full = self.waiting >= self.limit;
        if !full {
            self.full_since = None;
        }
        Ok(full)
    }
}

/// What a device said of a picture, as far as a person who labels it wants to know.
#[derive(Clone, Debug, Deserialize)]
pub struct Said {
    /// Name of the device, if it is known.
    pub device: Option<String>,
    /// CRC-32 of its model file, in hexadecimal digits.
    pub model: Option<String>,
    /// The answer, unless only the log has it.
    pub report: Option<SaidReport>,
    /// The frame's number, where there is no answer.
    pub frame: Option<u32>,
}

/// See [`Said`]; the fields are those of [`Record`](super::Record).
#[derive(Clone, Debug, Deserialize)]
#[allow(missing_docs)] // Said there.
pub struct SaidReport {
    pub frame: u32,
    pub class: u16,
    pub label: Option<String>,
    pub confidence: f32,
    pub predictive_entropy: f32,
    pub expected_entropy: f32,
    pub mutual_information: f32,
    pub causes: Vec<String>,
}

/// What devices said of the pictures in a folder, by file name. Lines that cannot be read are left
/// out: the last one of a run that was broken off may be cut short.
///
/// # Errors
/// The list is there but cannot be read.
pub fn read_list(folder: &Path) -> anyhow::Result<BTreeMap<String, Said>> {
    #[derive(Deserialize)]
    struct Line {
        file: String,
        #[serde(flatten)]
        said: Said,
    }
    let path = folder.join(LIST);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let lines = text.split(|&byte| byte == b'\n');
    let lines = lines.filter_map(|line| serde_json::from_slice::<Line>(line).ok());
    Ok(lines.map(|line| (line.file, line.said)).collect())
}

/// The entries of a folder, hidden ones left out, sorted by name.
///
/// # Errors
/// It cannot be read.
pub(crate) fn list_folder(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let read = || -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
        entries.collect()
    };
    let mut found = read().with_context(|| format!("cannot read {}", folder.display()))?;
    found.retain(|path| {
        let name = path.file_name();
        name.is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."))
    });
    found.sort();
    Ok(found)
}

/// Two pictures have one name only if they are one.
fn hash_of(picture: &Picture) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    hash.update((picture.width as u64).to_le_bytes());
    hash.update(&picture.pixels);
    let mut text = hexadecimal::encode(&hash.finalize());
    text.truncate(HASH_DIGITS);
    text
}

/// The hash in the name of a file that [`Store::save`] wrote.
fn hash_in(path: &Path) -> Option<String> {
    let (_, hash) = path.file_stem()?.to_str()?.rsplit_once('-')?;
    (hash.len() == HASH_DIGITS).then(|| hash.to_owned())
}

/// Writes a file whole or not at all, and none that is there already.
fn write_new(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let Some(folder) = path.parent() else {
        bail!("{} is no file", path.display());
    };
    let attempt = || -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(".partial-")
            .tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path)?;
        Ok(())
    };
    attempt().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::Live;
    use super::super::agreement::tests::report;
    use super::*;
    use crate::data::DISCARDED;
    use shared::triage::Cause;
    use shared::wire::Packet;
    use shared::wire::message::Message;

    fn save(store: &mut Store, frame: u32, shade: u8) {
        let mut live = Live::default();
        let mut report = report(frame);
        report.causes.insert(Cause::Unfamiliar);
        let packet = Packet {
            sequence: 1,
            message: Message::Report(report),
        };
        live.packet(&packet, Duration::ZERO);
        let key = FrameKey { epoch: None, frame };
        let saved = store.save(key, &picture(shade), live.frame(key), None);
        saved.expect("saved");
    }

    fn picture(shade: u8) -> Picture {
        Picture {
            width: 3,
            height: 2,
            format: shared::image::PixelFormat::Grey8,
            pixels: vec![shade, 1, 2, 3, 4, 5],
        }
    }

    fn names(folder: &Path) -> Vec<PathBuf> {
        list_folder(&folder.join(UNLABELLED)).expect("listed")
    }

    #[test]
    fn a_picture_is_saved_once_wherever_it_lies_by_now() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let folder = folder.path();
        let mut store = Store::open(folder, 10).expect("opened");
        for shade in [7, 7, 8] {
            save(&mut store, 4, shade);
        }
        assert_eq!((store.counts.saved, store.counts.repeated), (2, 1));
        let files = names(folder);
        assert_eq!(files.len(), 2);
        let name = files[0].file_name().expect("a name").to_string_lossy();
        assert!(name.contains("-frame000004-unfamiliar-"), "{name}");
        let read = device::source::read_picture(&files[0], shared::image::PixelFormat::Grey8)
            .expect("a picture");
        let shades: Vec<_> = files
            .iter()
            .map(|file| image::open(file).expect("PNG").to_luma8().as_raw()[0])
            .collect();
        assert!(shades.contains(&7) && shades.contains(&8), "{shades:?}");
        assert_eq!(read.view().expect("grey").width(), 3);
        let list = read_list(folder).expect("read");
        let report = list[&*name].report.as_ref().expect("said");
        assert_eq!(report.causes, ["unfamiliar"]);

        // Labelled or discarded, they are not saved again.
        fs::create_dir(folder.join("9")).expect("a class");
        fs::create_dir(folder.join(DISCARDED)).expect("a folder");
        for (file, to) in files.iter().zip(["9", DISCARDED]) {
            fs::rename(
                file,
                folder.join(to).join(file.file_name().expect("a name")),
            )
            .expect("moved");
        }
        let mut store = Store::open(folder, 10).expect("opened");
        for shade in [7, 8] {
            save(&mut store, 5, shade);
        }
        assert_eq!((store.counts.saved, store.counts.repeated), (0, 2));
        assert_eq!(names(folder).len(), 0);
    }

    #[test]
    fn of_what_is_acknowledged_a_picture_is_saved_without_its_report_too() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let folder = folder.path();
        let mut store = Store::open(folder, 10).expect("opened");
        for (epoch, shade) in [(None, 1), (Some(0xAB), 2)] {
            let key = FrameKey { epoch, frame: 7 };
            let saved = store.save(key, &picture(shade), None, None);
            saved.expect("saved");
        }
        assert_eq!(store.counts.saved, 1);
        let files = names(folder);
        let name = files[0].file_name().expect("a name").to_string_lossy();
        assert!(name.contains("-frame000007-flagged-"), "{name}");
        assert!(read_list(folder).expect("read")[&*name].report.is_none());
        let line = fs::read_to_string(folder.join(LIST)).expect("read");
        assert!(line.contains(r#""epoch":"00000000000000ab""#), "{line}");
    }

    #[test]
    fn a_full_folder_takes_no_more_until_there_is_room() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut store = Store::open(folder.path(), 2).expect("opened");
        for shade in 0..5 {
            save(&mut store, 0, shade);
        }
        assert_eq!((store.counts.saved, store.counts.full), (2, 3));
        for file in names(folder.path()) {
            fs::remove_file(file).expect("removed");
        }
        store.full_since = None;
        save(&mut store, 0, 9);
        assert_eq!(store.counts.saved, 3);
    }

    #[test]
    fn a_list_cut_short_loses_its_last_line_only() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut store = Store::open(folder.path(), 5).expect("opened");
        for shade in 0..2 {
            save(&mut store, 0, shade);
        }
        let path = folder.path().join(LIST);
        let text = fs::read(&path).expect("read");
        fs::write(&path, &text[..text.len() - 9]).expect("cut");
        assert_eq!(read_list(folder.path()).expect("read").len(), 1);
        fs::remove_file(path).expect("removed");
        assert!(read_list(folder.path()).expect("none").is_empty());
    }
}
