//! Digits as cameras show them, grey and 640 × 480 pixels.

use crate::model;
use crate::programs::succeed;

/// Pixels per row of a picture.
pub const WIDTH: usize = 640;
/// Rows of a picture.
pub const HEIGHT: usize = 480;
/// Passes a frame with which [`accepted`] pictures are accepted.
pub const PASSES: &str = "16";

/// A test digit as a camera's picture: as high as this, in the middle.
fn picture(digit: &[u8]) -> Vec<u8> {
    let left = (WIDTH - HEIGHT) / 2;
    let mut picture = vec![0; WIDTH * HEIGHT];
    for (y, row) in picture.chunks_exact_mut(WIDTH).enumerate() {
        for (x, pixel) in row[left..left + HEIGHT].iter_mut().enumerate() {
            *pixel = digit[y * 28 / HEIGHT * 28 + x * 28 / HEIGHT];
        }
    }
    picture
}

/// Pictures of three test digits of different classes that the model accepts and classifies rightly
/// when it gets them as files, and these classes.
///
/// # Panics
/// If there are no data or no model, or none of the pictures is.
#[must_use]
pub fn accepted() -> Vec<(u64, Vec<u8>)> {
    let folder = device::source::cache_folder()
        .expect("a home folder")
        .join("data/mnist");
    let set = device::source::Labelled::open(&folder, false).expect("scripts/setup has got it");
    let pictures: Vec<_> = (0..40)
        .map(|index| picture(set.images.item(index).expect("10,000 digits")))
        .collect();
    let files = tempfile::tempdir().expect("temporary folder");
    for (index, picture) in pictures.iter().enumerate() {
        let mut file = format!("P5 {WIDTH} {HEIGHT} 255\n").into_bytes();
        file.extend(picture);
        std::fs::write(files.path().join(format!("{index:03}.pgm")), file).expect("written");
    }
    let model = model::trained();
    let text = succeed(
        "device",
        [
            "run",
            "--model",
            model.to_str().expect("a plain path"),
            "--source",
            files.path().to_str().expect("a plain path"),
            "--passes",
            PASSES,
        ],
    );
    let mut chosen: Vec<(u64, Vec<u8>)> = Vec::new();
    let reports = text.lines().filter(|line| line.starts_with("REPORT"));
    for (index, report) in reports.enumerate() {
        let class = u64::from(set.labels.item(index).expect("a label")[0]);
        let is_right = report.contains(&format!(" class={class} "));
        let is_new = chosen.iter().all(|(other, _)| *other != class);
        if is_right && is_new && report.contains(" verdict=accept ") && chosen.len() < 3 {
            chosen.push((class, pictures[index].clone()));
        }
    }
    assert_eq!(chosen.len(), 3, "of 40 digits three are accepted: {text}");
    chosen
}
