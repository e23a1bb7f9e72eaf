//! Weights beside the file, and attempts to reach beyond its folder.

use std::fs;
use std::path::Path;

use tract_onnx::pb::{StringStringEntryProto, tensor_proto::DataLocation};

use super::build::{Build, Form, pattern, smallest};
use super::{refusal, refusal_of, sample};
use crate::onnx::Model;

/// [`smallest`] with its weights at `location`.
fn outside(location: &str, more: &[(&str, &str)]) -> Build {
    let mut build = smallest(18, Form::Constants, 0.5);
    let weights = build
        .graph()
        .initializer
        .iter_mut()
        .find(|t| t.name == "w")
        .unwrap();
    weights.raw_data.clear();
    weights.data_location = Some(DataLocation::External as i32);
    let entries = [("location", location)]
        .into_iter()
        .chain(more.iter().copied());
    weights.external_data = entries
        .map(|(key, value)| StringStringEntryProto {
            key: key.into(),
            value: value.into(),
        })
        .collect();
    build
}

fn weights() -> Vec<u8> {
    pattern(12).iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn load(folder: &Path, build: &Build) -> Result<Model, crate::onnx::OnnxError> {
    let path = folder.join("model.onnx");
    fs::write(&path, build.bytes()).unwrap();
    Model::load(&path)
}

#[test]
fn weights_beside_the_file_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut padded = vec![0xff; 16];
    padded.extend(weights());
    padded.extend([0xff; 5]);
    fs::write(folder.path().join("padded"), padded).unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(folder.path().join("data/w.bin"), weights()).unwrap();
    let inside = Model::from_bytes(&smallest(18, Form::Constants, 0.5).bytes()).unwrap();
    let x = [1.0, -1.0, 0.5, 2.0];
    let expected = sample(&inside, &x);
    for build in [
        outside("padded", &[("offset", "16"), ("length", "48")]),
        outside("data/w.bin", &[]),
    ] {
        let model = load(folder.path(), &build).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(sample(&model, &x), expected);
    }
    // Other weights are another model, though the file is the same.
    let before = load(folder.path(), &outside("data/w.bin", &[]))
        .unwrap()
        .crc32();
    let mut changed = weights();
    changed[0] ^= 1;
    fs::write(folder.path().join("data/w.bin"), changed).unwrap();
    let after = load(folder.path(), &outside("data/w.bin", &[]))
        .unwrap()
        .crc32();
    assert_ne!(before, after);
}

#[test]
fn nothing_outside_the_folder_is_read() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("model");
    fs::create_dir(&folder).unwrap();
    let secret = root.path().join("secret");
    fs::write(&secret, weights()).unwrap();
    fs::write(folder.join("w"), weights()).unwrap();
    let absolute = secret.to_str().unwrap();
    let mut locations = vec![
        "../secret",
        "./../secret",
        "a/../../secret",
        absolute,
        "",
        "..",
        "/",
        "./w",
        "w/..",
    ];
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        symlink("../secret", folder.join("link")).unwrap();
        symlink("w", folder.join("link-inside")).unwrap();
        symlink(root.path(), folder.join("linked-folder")).unwrap();
        locations.extend(["link", "link-inside", "linked-folder/secret"]);
    }
    for location in locations {
        let message = refusal_of(load(&folder, &outside(location, &[])));
        let reason = ["not a plain path", "symbolic link", "cannot open"];
        // "./w" names a file inside, which is no harm.
        let allowed = reason.iter().any(|r| message.contains(r));
        assert!(
            allowed && message.contains("tensor w"),
            "{location}: {message}"
        );
    }
}

#[test]
fn sizes_have_to_agree_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("w"), weights()).unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    for (build, words) in [
        (outside("w", &[("offset", "4")]), "44 bytes"),
        (
            outside("w", &[("offset", "4"), ("length", "48")]),
            "outside",
        ),
        (outside("w", &[("length", "44")]), "needs 48"),
        (outside("w", &[("offset", "99999999999")]), "outside"),
        (
            outside("w", &[("offset", "18446744073709551615"), ("length", "48")]),
            "outside",
        ),
        (outside("w", &[("offset", "-4")]), "not a number"),
        (outside("w", &[("length", "many")]), "not a number"),
        (outside("absent", &[]), "cannot open"),
        (outside("folder", &[]), "not a regular file"),
    ] {
        let message = refusal_of(load(folder.path(), &build));
        assert!(message.contains(words), "{message}");
    }
    let mut nameless = outside("w", &[]);
    let tensors = &mut nameless.graph().initializer;
    for tensor in tensors {
        tensor.external_data.clear();
    }
    assert!(refusal_of(load(folder.path(), &nameless)).contains("names no file"));
    let mut huge = outside("w", &[]);
    huge.graph()
        .initializer
        .iter_mut()
        .filter(|t| t.name == "w")
        .for_each(|t| t.dims = vec![1 << 40, 1 << 40]);
    assert!(refusal_of(load(folder.path(), &huge)).contains("impossible"));
    let alone = refusal(&outside("w", &[]));
    assert!(alone.contains("not read from a file"), "{alone}");
}
