//! A folder of pictures, as the device reads them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use image::{ExtendedColorType, ImageFormat};

use super::{DataError, SIDE};

/// The file name of picture `index`: in the order of names, pictures are in that of their numbers.
pub(super) fn picture_name(index: usize) -> String {
    format!("{index:06}.png")
}

/// Writes images of [`SIDE`] × [`SIDE`] luma pixels as PNG files, and other files by name and content,
/// to the new (or empty) folder `out`. It appears under its name only when complete.
///
/// # Errors
/// The folder is not empty or cannot be written.
pub(super) fn write_folder<'a>(
    images: impl Iterator<Item = &'a [u8]>,
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
        let side = SIDE as u32;
        image::save_buffer_with_format(
            &path,
            image,
            side,
            side,
            ExtendedColorType::L8,
            ImageFormat::Png,
        )
        .map_err(|error| DataError::io("write", &path)(std::io::Error::other(error)))?;
    }
    for (name, content) in others {
        let path = folder.path().join(name);
        fs::write(&path, content).map_err(DataError::io("write", &path))?;
    }
    // Renaming over an empty folder replaces it.
    fs::rename(folder.path(), out).map_err(DataError::io("create", out))
}
