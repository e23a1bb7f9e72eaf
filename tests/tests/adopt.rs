//! Somebody's model, given what it lacks.

use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use serde_json::Value;
use tests::programs;

/// A model of PyTorch's exporter that says nothing of pictures, with its weights in a file beside it.
fn stranger() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pytorch/residual.dynamo18.onnx")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("Unicode")
}

/// Exit code, standard output and standard error.
fn run(name: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let output = programs::run(name, args);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A red picture, wider than high, with a blue left half.
fn picture(folder: &Path) -> PathBuf {
    let path = folder.join("halves.png");
    let pixel = |x, _| {
        if x < 30 {
            Rgb([0, 0, 255])
        } else {
            Rgb([255, 0, 0])
        }
    };
    RgbImage::from_fn(60, 40, pixel)
        .save(&path)
        .expect("written");
    path
}

#[test]
fn a_model_that_says_nothing_is_not_run_on_a_guess() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let picture = picture(folder.path());
    let (model, picture) = (stranger(), text(&picture).to_owned());
    for (program, args) in [
        (
            "device",
            vec!["run", "--model", text(&model), "--source", &picture],
        ),
        (
            "host",
            vec!["evaluate", "--model", text(&model), "--dataset", "mnist"],
        ),
        ("host", vec!["adopt", text(&model), "--out", "never.onnx"]),
    ] {
        let (code, _, said) = run(program, &args);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("--channels"), "{said}");
        assert!(said.contains("host adopt") || args[0] == "adopt", "{said}");
    }
    assert!(!Path::new("never.onnx").exists());
    // Said on the spot, it runs.
    let args = [
        "run",
        "--model",
        text(&model),
        "--source",
        &picture,
        "--channels",
        "rgb",
    ];
    let (code, reports, said) = run("device", &args);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("red, green, blue"), "{said}");
    assert!(!reports.is_empty());
}

#[test]
fn an_adopted_model_carries_all_that_it_lacked() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (picture, out) = (picture(folder.path()), folder.path().join("adopted.onnx"));
    let about = run("device", &["info", text(&stranger()), "--json"]).1;
    let about: Value = serde_json::from_str(&about).expect("JSON");
    let classes = about["classes"].as_u64().expect("a number") as usize;
    let labels = folder.path().join("labels.txt");
    let names: Vec<String> = (0..classes).map(|class| format!("sign {class}")).collect();
    std::fs::write(&labels, names.join("\n") + "\n").expect("written");
    let model = stranger();
    let args = [
        "adopt",
        text(&model),
        "--out",
        text(&out),
        "--labels",
        text(&labels),
        "--channels",
        "bgr",
        "--geometry",
        "stretch",
        "--mean",
        "0.1,0.2,0.3",
        "--std",
        "0.5",
        "--seed",
        "99",
        "--preview",
        text(&picture),
    ];
    let (code, told, said) = run("host", &args);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        told.contains("blue, green, red; all of it, stretched"),
        "{told}"
    );
    assert!(told.contains("live: "), "{told}");

    // The weights that lay beside the model are in it.
    let about = run("device", &["info", text(&out), "--json"]).1;
    let about: Value = serde_json::from_str(&about).expect("JSON");
    assert_eq!(
        about["labels"][classes - 1],
        format!("sign {}", classes - 1)
    );
    assert_eq!(about["seed"], 99);
    assert_eq!(about["preprocessing"]["channels"], "bgr");
    assert_eq!(about["preprocessing"]["geometry"], "stretch");
    let mean = about["preprocessing"]["mean"].as_array().expect("a list");
    assert_eq!(mean.len(), 3);

    let [_, height, width] =
        [0, 1, 2].map(|at| about["input"][at].as_u64().expect("a side") as u32);
    let preview = image::open(folder.path().join("adopted.preview.png")).expect("a picture");
    let preview = preview.into_rgb8();
    assert_eq!(preview.dimensions(), (width, height));
    assert_eq!(preview.get_pixel(0, 0).0, [0, 0, 255]);
    assert_eq!(preview.get_pixel(width - 1, height - 1).0, [255, 0, 0]);

    let args = ["run", "--model", text(&out), "--source", text(&picture)];
    let (code, reports, said) = run("device", &args);
    assert_eq!(code, Some(0), "{said}");
    assert!(!reports.is_empty());
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let out = folder.path().join("adopted.onnx");
    let labels = folder.path().join("labels.txt");
    std::fs::write(&labels, "one\ntwo\n").expect("written");
    let model = stranger();
    let start = [
        "adopt",
        text(&model),
        "--out",
        text(&out),
        "--channels",
        "rgb",
    ];
    for (more, words) in [
        (["--labels", text(&labels)], "2 labels for a model of"),
        (["--preview", "absent.png"], "absent.png"),
        (["--mean", "0.1,0.2"], "2 means for a model of 3 channels"),
        (["--std", "0"], "deviation above 0"),
        (
            ["--geometry", "short-side:2"],
            "less than the model's input",
        ),
        (["--config", text(&labels)], "no JSON"),
    ] {
        let args = [&start[..], &more].concat();
        let (code, _, said) = run("host", &args);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(words), "{said}");
        assert!(!out.exists(), "{more:?}");
    }
}
