//! Weights that lie in a file beside the model.
//!
//! A model may name any file as the place of its weights, so the name is not trusted: it has to be
//! a plain relative path that stays inside the model's folder, no part of it may be a symbolic
//! link, and offset and length have to lie inside the file and to agree with the tensor's shape.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::DataLocation;

use super::OnnxError;
use super::limits::MAX_FILE;
use super::validate::byte_length;

pub(super) fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location == Some(DataLocation::External as i32)
}

/// The files beside a model.
#[derive(Debug)]
pub(super) struct Beside<'a> {
    /// Where they lie; `None` if the model was not read from a file.
    folder: Option<&'a Path>,
    /// Their SHA-256, in hexadecimal digits, by name.
    hashes: BTreeMap<String, String>,
    /// Whether those without one are refused.
    signed: bool,
    /// Those whose SHA-256 was found to be right.
    whole: HashMap<String, Vec<u8>>,
    /// Bytes of each that were not read yet: tensors do not share any, which would make many out of
    /// few.
    left: HashMap<String, u64>,
}

impl<'a> Beside<'a> {
    pub(super) fn new(
        folder: Option<&'a Path>,
        hashes: BTreeMap<String, String>,
        signed: bool,
    ) -> Self {
        Self {
            folder,
            hashes,
            signed,
            whole: HashMap::new(),
            left: HashMap::new(),
        }
    }

    /// Reads the tensor's data into the tensor.
    pub(super) fn inline(&mut self, tensor: &mut TensorProto) -> Result<(), OnnxError> {
        let data = self
            .read(tensor)
            .map_err(|reason| OnnxError::ExternalData {
                tensor: tensor.name.clone(),
                reason,
            })?;
        tensor.raw_data = data;
        tensor.external_data.clear();
        tensor.data_location = None;
        Ok(())
    }

    fn read(&mut self, tensor: &TensorProto) -> Result<Vec<u8>, String> {
        let number = |key: &str| {
            entry(tensor, key)
                .map(|text| {
                    text.parse::<u64>()
                        .map_err(|_| format!("its {key} {text:?} is not a number"))
                })
                .transpose()
        };
        let folder = self
            .folder
            .ok_or("the model was not read from a file, so there is no folder to look in")?;
        let location = entry(tensor, "location").ok_or("it names no file")?;
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
        let left = self.left.entry(location.into()).or_insert(size);
        *left = left
            .checked_sub(length)
            .ok_or_else(|| format!("tensors share bytes of {location:?}"))?;
        let cannot_read = |e| format!("cannot read {location:?}: {e}");
        if self.signed || self.hashes.contains_key(location) {
            let file = self.whole(location, file).map_err(cannot_read)??;
            let data = file.get(offset as usize..(offset + length) as usize);
            return data
                .map(<[u8]>::to_vec)
                .ok_or_else(|| format!("{location:?} changed while it was read"));
        }
        let mut data = vec![0; length as usize];
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.read_exact(&mut data))
            .map_err(cannot_read)?;
        Ok(data)
    }

    /// The whole file, if it is the one that the model was signed with.
    fn whole(&mut self, location: &str, mut file: File) -> io::Result<Result<&[u8], String>> {
        if !self.whole.contains_key(location) {
            let mut bytes = Vec::new();
            (&mut file).take(MAX_FILE).read_to_end(&mut bytes)?;
            let Some(expected) = self.hashes.get(location) else {
                return Ok(Err(format!(
                    "{location:?} is not covered by the model's signature: sign the model again with host sign"
                )));
            };
            if *expected != sha256(&bytes) {
                return Ok(Err(format!(
                    "{location:?} is not the file that belongs to the model: its SHA-256 is another"
                )));
            }
            self.whole.insert(location.into(), bytes);
        }
        Ok(Ok(&self.whole[location]))
    }
}

fn entry<'a>(tensor: &'a TensorProto, key: &str) -> Option<&'a str> {
    let mut found = tensor.external_data.iter().filter(|e| e.key == key);
    found.next().map(|e| e.value.as_str())
}

fn sha256(bytes: &[u8]) -> String {
    crate::hexadecimal::encode(&Sha256::digest(bytes))
}

/// SHA-256 of every file in `folder` that tensors of the graph lie in, by name.
pub(super) fn hashes<'t>(
    tensors: impl Iterator<Item = &'t TensorProto>,
    folder: &Path,
) -> Result<BTreeMap<String, String>, OnnxError> {
    let mut found = BTreeMap::new();
    for tensor in tensors.filter(|tensor| is_external(tensor)) {
        let refuse = |reason: String| OnnxError::ExternalData {
            tensor: tensor.name.clone(),
            reason,
        };
        let location =
            entry(tensor, "location").ok_or_else(|| refuse("it names no file".into()))?;
        if !found.contains_key(location) {
            let (mut file, _) = open(folder, location).map_err(refuse)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)
                .map_err(|e| refuse(format!("cannot read {location:?}: {e}")))?;
            found.insert(location.to_owned(), sha256(&bytes));
        }
    }
    Ok(found)
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
