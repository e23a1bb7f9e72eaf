//! The pictures of a folder and of the folders in it.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{PictureError, is_picture};
use crate::source::SourceError;

/// The picture at `path`, or those of the folder there and of all folders in it, sorted by path. Hidden
/// files and folders are left out, and what is no regular file (a pipe, a device). A folder to which
/// several links lead, or one that leads back, is gone through once.
///
/// # Errors
/// If there is nothing, a folder cannot be listed, or none holds a picture.
pub(in super::super) fn list(path: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let about = fs::metadata(path).map_err(|error| PictureError::Read {
        path: path.to_owned(),
        error,
    })?;
    if !about.is_dir() {
        if !about.is_file() {
            return Err(PictureError::NoFile(path.to_owned()).into());
        }
        return Ok(vec![path.to_owned()]);
    }
    let mut seen = HashSet::from([(about.dev(), about.ino())]);
    let mut folders = vec![path.to_owned()];
    let mut pictures = Vec::new();
    while let Some(folder) = folders.pop() {
        let failed = |error| SourceError::Folder {
            path: folder.clone(),
            error,
        };
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if is_hidden(&entry.file_name()) {
                continue;
            }
            let path = entry.path();
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_file() {
                if is_picture(&path) {
                    pictures.push(path);
                }
                continue;
            }
            if !kind.is_dir() && !kind.is_symlink() {
                continue;
            }
            match fs::metadata(&path) {
                Ok(about) if about.is_dir() => {
                    if seen.insert((about.dev(), about.ino())) {
                        folders.push(path);
                    }
                }
                Ok(about) if about.is_file() && is_picture(&path) => pictures.push(path),
                // A link that leads nowhere is told when its turn comes.
                Err(_) if is_picture(&path) => pictures.push(path),
                Ok(_) | Err(_) => {}
            }
        }
    }
    if pictures.is_empty() {
        return Err(SourceError::EmptyFolder(path.to_owned()));
    }
    pictures.sort();
    Ok(pictures)
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn folders_in_folders_are_listed_once_in_order_and_hidden_files_left_out() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let root = folder.path();
        for name in ["b", "a/deep", ".hidden"] {
            fs::create_dir_all(root.join(name)).expect("made");
        }
        for name in [
            "c.png",
            "a/2.jpg",
            "a/deep/1.bmp",
            "b/x.webp",
            "b/notes.txt",
            "._c.png",
            ".hidden/d.png",
        ] {
            fs::write(root.join(name), b"x").expect("written");
        }
        symlink(root, root.join("a/loop")).expect("linked");
        symlink(root.join("b"), root.join("again")).expect("linked");
        let listed = list(root).expect("pictures");
        let names: Vec<_> = listed
            .iter()
            .map(|path| {
                path.strip_prefix(root)
                    .expect("inside")
                    .to_str()
                    .expect("plain")
            })
            .collect();
        let (found, linked): (Vec<_>, Vec<_>) = names
            .into_iter()
            .partition(|name| !name.ends_with("x.webp"));
        assert_eq!(found, ["a/2.jpg", "a/deep/1.bmp", "c.png"]);
        assert_eq!(linked.len(), 1, "by one of its two names: {linked:?}");
    }

    #[test]
    fn a_pipe_that_is_called_a_picture_does_not_block() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let pipe = folder.path().join("x.png");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0)
            .expect("made");
        assert!(matches!(
            list(folder.path()),
            Err(SourceError::EmptyFolder(_))
        ));
        let error = list(&pipe).expect_err("no file").to_string();
        assert!(
            error.contains("x.png") && error.contains("no regular file"),
            "{error}"
        );
        let error = super::super::read_picture(&pipe, shared::image::PixelFormat::Grey8)
            .expect_err("no file");
        assert!(matches!(error, PictureError::NoFile(_)));
    }
}
