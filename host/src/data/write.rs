//! A folder of pictures, as the device reads them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use device::source::Frame;

use super::DataError;
use crate::png::png;

/// The file name of picture `index`: in the order of names, pictures are in that of their numbers.
pub(super) fn picture_name(index: usize) -> String {
    format!("{index:06}.png")
}

/// Writes pictures as PNG files, grey or in colour as they are, and other files by name and content,
/// to the new (or empty) folder `out`. It appears under its name only when complete.
///
/// # Errors
/// A picture cannot be had, or the folder is not empty or cannot be written.
pub(super) fn write_folder<F: std::borrow::Borrow<Frame>>(
    images: impl Iterator<Item = Result<F, DataError>>,
    others: &[(&str, &[u8])],
    out: &Path,
) -> Result<(), DataError> {
    if out.exists()
        && fs::read_dir(out)
            .map_err(DataError::io("read", out))?
            .next()
            .is_some()
    {
        return Err(DataError::content(out, "is not empty: name a new folder"));
    }
    let parent = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(DataError::io("create", parent))?;
    let folder = tempfile::Builder::new()
        .prefix(".pictures-")
        // As the umask has it, not private as temporary folders are otherwise.
        .permissions(fs::Permissions::from_mode(0o777))
        .tempdir_in(parent)
        .map_err(DataError::io("create a folder in", parent))?;
    for (index, image) in images.enumerate() {
        let path = folder.path().join(picture_name(index));
        write_png(image?.borrow(), &path)?;
    }
    for (name, content) in others {
        let path = folder.path().join(name);
        fs::write(&path, content).map_err(DataError::io("write", &path))?;
    }
    // Renaming over an empty folder replaces it.
    fs::rename(folder.path(), out).map_err(DataError::io("create", out))
}

fn write_png(frame: &Frame, path: &Path) -> Result<(), DataError> {
    let view = frame
        .view()
        .map_err(|error| DataError::content(path, error.to_string()))?;
    png(&view)
        .map_err(std::io::Error::other)
        .and_then(|file| fs::write(path, file))
        .map_err(DataError::io("write", path))
}
