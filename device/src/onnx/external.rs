//! Weights that lie in a file beside the model.
//!
//! A model may name any file as the place of its weights, so the name is not trusted: it has to be
//! a plain relative path that stays inside the model's folder, no part of it may be a symbolic
//! link, and offset and length have to lie inside the file and to agree with the tensor's shape.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::DataLocation;

use super::OnnxError;
use super::validate::byte_length;

pub(super) fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location == Some(DataLocation::External as i32)
}

/// Reads the tensor's data from inside `folder` into the tensor.
pub(super) fn inline(tensor: &mut TensorProto, folder: &Path) -> Result<(), OnnxError> {
    let data = read(tensor, folder).map_err(|reason| OnnxError::ExternalData {
        tensor: tensor.name.clone(),
        reason,
    })?;
    tensor.raw_data = data;
    tensor.external_data.clear();
    tensor.data_location = None;
    Ok(())
}

fn read(tensor: &TensorProto, folder: &Path) -> Result<Vec<u8>, String> {
    let entry = |key: &str| {
        let mut found = tensor.external_data.iter().filter(|e| e.key == key);
        found.next().map(|e| e.value.as_str())
    };
    let number = |key: &str| {
        entry(key)
            .map(|text| {
                text.parse::<u64>()
                    .map_err(|_| format!("its {key} {text:?} is not a number"))
            })
            .transpose()
    };
    let location = entry("location").ok_or("it names no file")?;
    let offset = number("offset")?.unwrap_or(0);
    let declared = number("length")?;
    let expected = byte_length(tensor)? as u64;

    let (mut file, size) = open(folder, location)?;
    let length = declared.unwrap_or_else(|| size.saturating_sub(offset));
    if offset.checked_add(length).is_none_or(|end| end > size) {
        return Err(format!(
            "{length} bytes at offset {offset} lie outside {location:?}, which has {size} bytes"
        ));
    }
    if length != expected {
        return Err(format!(
            "{location:?} gives {length} bytes, and its shape needs {expected}"
        ));
    }
    let mut data = vec![0; length as usize];
    file.seek(SeekFrom::Start(offset))
        .and_then(|_| file.read_exact(&mut data))
        .map_err(|e| format!("cannot read {location:?}: {e}"))?;
    Ok(data)
}

/// Opens `location` inside `folder` and returns it with its size.
fn open(folder: &Path, location: &str) -> Result<(File, u64), String> {
    let relative = Path::new(location);
    let plain = relative
        .components()
        .all(|c| matches!(c, Component::Normal(_)));
    if location.is_empty() || !plain {
        return Err(format!(
            "{location:?} is not a plain path inside the model's folder"
        ));
    }
    let mut path = if folder.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        folder.to_path_buf()
    };
    let cannot_open = |e| format!("cannot open {location:?} in the model's folder: {e}");
    for part in relative.components() {
        path.push(part);
        let metadata = fs::symlink_metadata(&path).map_err(cannot_open)?;
        if metadata.is_symlink() {
            return Err(format!("{location:?} leads through a symbolic link"));
        }
    }
    let seen = fs::symlink_metadata(&path).map_err(cannot_open)?;
    if !seen.is_file() {
        return Err(format!("{location:?} is not a regular file"));
    }
    let file = File::open(&path).map_err(cannot_open)?;
    let opened = file.metadata().map_err(cannot_open)?;
    if !same_file(&seen, &opened) {
        return Err(format!("{location:?} was replaced while it was opened"));
    }
    Ok((file, opened.len()))
}

/// Whether what was checked is what was opened.
#[cfg(unix)]
fn same_file(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn same_file(_: &fs::Metadata, opened: &fs::Metadata) -> bool {
    opened.is_file()
}
