//! What is said when onnxruntime's library is absent or is something else.

use std::path::Path;

use tests::programs::command;

/// Runs `device check` on the onnxruntime engine and returns the one line of the error.
fn refused(environment: &[(&str, &Path)]) -> String {
    let model =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pytorch/perceptron.legacy9.onnx");
    let model = model.to_str().expect("a plain path");
    let mut command = command("device", ["check", model, "--engine", "ort"]);
    command.env_remove("ORT_DYLIB_PATH");
    let output = command.envs(environment.iter().copied()).output();
    let output = output.expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
        .lines()
        .find(|line| line.starts_with("error:"))
        .expect("an error")
        .to_owned()
}

#[test]
fn an_absent_library_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let error = refused(&[("MCDROPOUT_CACHE", folder.path())]);
    for words in [
        "onnxruntime is not installed",
        "run scripts/setup",
        "ORT_DYLIB_PATH",
    ] {
        assert!(error.contains(words), "{error}");
    }
    let absent = folder.path().join("absent.so");
    let error = refused(&[("ORT_DYLIB_PATH", &absent)]);
    assert!(
        error.contains("ORT_DYLIB_PATH names") && error.contains("absent.so"),
        "{error}"
    );
}

#[test]
fn a_file_that_is_not_the_library_is_told() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let text = folder.path().join("libonnxruntime.so");
    std::fs::write(&text, "not a library").expect("written");
    let error = refused(&[("ORT_DYLIB_PATH", &text)]);
    assert!(error.contains("onnxruntime cannot be used"), "{error}");
}
