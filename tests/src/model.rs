//! A model trained by the `host` program, made once and shared by every test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::programs;

/// Everything that `host train` leaves. It was trained for seconds, on few images: it tells digits
/// apart, and no more.
///
/// # Panics
/// If it cannot be trained.
#[must_use]
pub fn folder() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(train_once);
    &FOLDER
}

/// The ONNX file of [`folder`], with live dropout.
///
/// # Panics
/// If it cannot be trained.
#[must_use]
pub fn trained() -> PathBuf {
    folder().join("model.onnx")
}

/// Trains unless this build of the program has done so already. Test processes that come at the
/// same time wait for the first.
fn train_once() -> PathBuf {
    let program = programs::path("host");
    let root = program.with_file_name("test-model");
    fs::create_dir_all(&root).expect("the target folder can be written");
    let lock = File::create(root.join("lock")).expect("the lock can be created");
    lock.lock().expect("the lock can be taken");

    let built = fs::metadata(&program).and_then(|found| found.modified());
    let wanted = format!("{:?}", built.expect("the program has a time"));
    let (folder, stamp) = (root.join("model"), root.join("built"));
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return folder;
    }
    let folder_text = folder.to_str().expect("a plain path");
    let recipe = "--limit-train 6000 --epochs 2 --seed 1 --limit-test 500 --passes 20 --calibration-images 300 --device cpu";
    programs::succeed(
        "host",
        ["train", "--out", folder_text]
            .into_iter()
            .chain(recipe.split(' ')),
    );
    fs::write(stamp, wanted).expect("the stamp can be written");
    folder
}
