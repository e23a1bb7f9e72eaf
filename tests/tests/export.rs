//! What `host export` writes, seen by the official ONNX checker and by stock onnxruntime.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tests::model;
use tests::programs::{fail, succeed};

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// Runs `tests/python/check_export.py` in the environment that `scripts/setup` makes.
#[track_caller]
fn check(what: &str, files: &[&Path]) -> Value {
    let cache = device::source::cache_folder().expect("a cache folder");
    let python = cache.join("venv/bin/python");
    assert!(
        python.is_file(),
        "{} is missing: run scripts/setup",
        python.display()
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/check_export.py");
    let output = Command::new(python)
        .arg(script)
        .arg(what)
        .args(files)
        .output();
    let output = output.expect("Python starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// Trains for a moment with other dropouts.
fn trained_with(dropout: &str, folder: &Path) -> PathBuf {
    let recipe = "--limit-train 64 --epochs 1 --limit-test 10 --passes 2 --calibration-images 10 --device cpu";
    let args = ["train", "--out", text(folder), "--dropout", dropout];
    succeed("host", args.into_iter().chain(recipe.split(' ')));
    folder.join("model.onnx")
}

#[test]
fn dropout_is_live_in_stock_onnxruntime_at_every_site() {
    let report = check("live", &[&model::trained()]);
    assert_eq!(
        report.as_object().map(serde_json::Map::len),
        Some(3),
        "{report}"
    );
}

#[test]
fn keep_rates_are_those_asked_for() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let report = check("live", &[&trained_with("0.1,0.7,0.3", folder.path())]);
    let keep = |site: &str| report[site]["keep"].as_f64().expect("a number");
    for (site, expected) in [("dropout1", 0.9), ("dropout2", 0.3), ("dropout3", 0.7)] {
        assert!((keep(site) - expected).abs() < 1.0 / 65536.0, "{report}");
    }
}

#[test]
fn masks_can_be_inputs_and_the_model_can_be_split() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let model = model::folder().join("model.safetensors");
    let masks = folder.path().join("masks.onnx");
    succeed(
        "host",
        [
            "export",
            "--model",
            text(&model),
            "--masks-as-inputs",
            "--out",
            text(&masks),
        ],
    );
    check("masks", &[&masks, &model::trained()]);
    let out = text(folder.path());
    let printed = succeed(
        "host",
        [
            "export",
            "--model",
            text(&model),
            "--split",
            "--out",
            out,
            "--json",
        ],
    );
    let written: Value = serde_json::from_str(&printed).expect("JSON");
    let path =
        |index: usize| PathBuf::from(written["files"][index]["path"].as_str().expect("a path"));
    check("split", &[&path(0), &path(1), &model::trained()]);
}

#[test]
fn export_repeats_what_training_exported() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let out = folder.path().join("again.onnx");
    let model = model::folder().join("model.safetensors");
    succeed(
        "host",
        ["export", "--model", text(&model), "--out", text(&out)],
    );
    let (again, before) = (std::fs::read(out), std::fs::read(model::trained()));
    assert!(
        again.expect("read") == before.expect("read"),
        "the files differ"
    );
}

#[test]
fn what_is_no_model_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let model = folder.path().join("model.safetensors");
    let refused = |words: &[&str]| {
        fail("host", ["export", "--model", text(&model)], words);
        assert!(!folder.path().join("model.onnx").exists());
    };
    refused(&["cannot read", "model.safetensors"]);
    std::fs::write(&model, b"").expect("written");
    refused(&["not a model of `host train`"]);
    let good = std::fs::read(model::folder().join("model.safetensors")).expect("read");
    std::fs::write(&model, &good[..good.len() - 9]).expect("written");
    refused(&["not a model of `host train`"]);
    std::fs::write(&model, good).expect("written");
    let nowhere = folder.path().join("absent/model.onnx");
    fail(
        "host",
        ["export", "--model", text(&model), "--out", text(&nowhere)],
        &["cannot write", "absent/model.onnx"],
    );
}
