//! `host train`: repeatable, interruptible, and clear about what it cannot do.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use host::lenet::TrainedModel;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::programs::{command, fail, run, succeed};

/// A run of under a second, tests included.
const QUICK: &str =
    "--limit-train 640 --limit-test 20 --passes 3 --calibration-images 20 --device cpu";

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn arguments<'a>(out: &'a Path, extra: &'a str) -> Vec<&'a str> {
    let mut arguments = vec!["train", "--out", text(out)];
    arguments.extend(QUICK.split(' ').chain(extra.split_whitespace()));
    arguments
}

fn bytes(folder: &Path, file: &str) -> Vec<u8> {
    fs::read(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The files in a folder, but for what a finished run leaves.
fn strangers(folder: &Path) -> Vec<String> {
    let known = [
        "checkpoint.safetensors",
        "log.jsonl",
        "metrics.json",
        "model.onnx",
        "model.safetensors",
    ];
    fs::read_dir(folder)
        .expect("listed")
        .map(|entry| {
            entry
                .expect("entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| !known.contains(&name.as_str()))
        .collect()
}

#[test]
fn equal_seeds_give_equal_files_and_others_do_not() {
    let root = tempfile::tempdir().expect("temporary folder");
    let [one, two, other] = ["one", "two", "other"].map(|name| root.path().join(name));
    for (folder, seed) in [(&one, "5"), (&two, "5"), (&other, "6")] {
        succeed(
            "host",
            arguments(folder, &format!("--epochs 1 --seed {seed}")),
        );
    }
    for file in [
        "model.safetensors",
        "model.onnx",
        "checkpoint.safetensors",
        "log.jsonl",
    ] {
        assert!(bytes(&one, file) == bytes(&two, file), "{file} differs");
    }
    assert!(bytes(&one, "checkpoint.safetensors") != bytes(&other, "checkpoint.safetensors"));
    assert_eq!(strangers(&one), Vec::<String>::new());

    let metrics: Value = serde_json::from_slice(&bytes(&one, "metrics.json")).expect("JSON");
    for path in [
        "/mc_dropout/accuracy",
        "/mc_dropout/nll_mean_logits",
        "/standard/accuracy",
        "/standard/nll",
        "/epochs",
        "/seconds",
    ] {
        assert!(
            metrics.pointer(path).is_some_and(Value::is_number),
            "{path} in {metrics}"
        );
    }
    assert_eq!(metrics["device"], "cpu");
    assert_eq!(metrics["seed"], 5);
}

#[test]
fn a_continued_run_ends_where_an_undisturbed_one_does() {
    let root = tempfile::tempdir().expect("temporary folder");
    for (name, flags) in [
        ("source", "--lr-step 1 --weight-decay 1e-4"),
        // With a second moment, an average and deformations to continue.
        (
            "best",
            "--recipe best --schedule step --lr-step 1 --weight-decay 1e-2 --validation 30",
        ),
    ] {
        let [whole, parts] = ["whole", "parts"].map(|part| root.path().join(name).join(part));
        let flags = format!("{flags} --log-interval 4");
        succeed("host", arguments(&whole, &format!("--epochs 3 {flags}")));
        succeed("host", arguments(&parts, &format!("--epochs 1 {flags}")));
        // What is not given again keeps its value.
        succeed(
            "host",
            arguments(&parts, "--epochs 3 --resume --log-interval 4"),
        );
        for file in ["model.safetensors", "checkpoint.safetensors"] {
            assert!(
                bytes(&whole, file) == bytes(&parts, file),
                "{name}: {file} differs"
            );
        }
        // The end of the first part is logged too.
        let lines = |folder| String::from_utf8(bytes(folder, "log.jsonl")).expect("text");
        for line in lines(&whole).lines() {
            assert!(lines(&parts).contains(line), "{name}: {line} is missing");
        }
    }

    let parts = root.path().join("source/parts");
    fail(
        "host",
        arguments(&parts, "--resume --lr 0.5"),
        &["--lr was 0.01, not 0.5", text(&parts)],
    );
    fail(
        "host",
        arguments(&parts, "--resume --recipe best"),
        &["--validation was 0, not 5000"],
    );
    fail(
        "host",
        arguments(&root.path().join("none"), "--resume"),
        &["nothing to resume"],
    );
}

#[test]
fn validation_images_set_the_temperature_which_lies_in_the_last_layer() {
    let root = tempfile::tempdir().expect("temporary folder");
    let [plain, scaled] = ["plain", "scaled"].map(|name| root.path().join(name));
    let flags = "--epochs 2 --validation 300 --temperature-scaling";
    succeed("host", arguments(&plain, &format!("{flags} false")));
    succeed("host", arguments(&scaled, &format!("{flags} true")));
    let metrics =
        |folder| -> Value { serde_json::from_slice(&bytes(folder, "metrics.json")).expect("JSON") };
    let (before, after) = (metrics(&plain), metrics(&scaled));
    let figure = |metrics: &Value, name: &str| {
        let value = metrics["validation"][name].as_f64();
        value.unwrap_or_else(|| panic!("{name} in {metrics}"))
    };
    assert_eq!(figure(&before, "images"), 300.0);
    assert_eq!(before["images"], 640);
    assert_eq!(figure(&before, "temperature"), 1.0);
    let temperature = figure(&after, "temperature");
    assert!(temperature != 1.0 && temperature > 0.05, "{temperature}");
    let raw = figure(&before, "nll");
    assert_eq!(figure(&after, "nll_before_scaling"), raw);
    assert!(figure(&after, "nll") < raw);
    for name in ["accuracy", "ece", "aurc"] {
        assert!((0.0..=1.0).contains(&figure(&after, name)), "{name}");
    }

    let parameters = |folder: &Path| {
        let model = TrainedModel::load(&folder.join("model.safetensors"));
        model.expect("a model").parameters
    };
    for (plain, scaled) in parameters(&plain).iter().zip(parameters(&scaled)) {
        let last = plain.name.starts_with("fc2.");
        let factor = if last { temperature as f32 } else { 1.0 };
        for (plain, scaled) in plain.values.iter().zip(&scaled.values) {
            assert!((scaled * factor - plain).abs() < 1e-6);
        }
    }

    fail(
        "host",
        arguments(&plain, "--validation 60000"),
        &["--validation 60000", "60000 training images"],
    );
}

#[test]
fn interruption_saves_a_checkpoint_and_leaves_no_half_file() {
    const RUN: &str = "--limit-train 9600 --log-interval 10 --device cpu";
    const TEST: &str = "--limit-test 20 --passes 3 --calibration-images 20";
    let root = tempfile::tempdir().expect("temporary folder");
    let [whole, parts] = ["whole", "parts"].map(|name| root.path().join(name));
    let args = |out, flags: &'static str| {
        let mut args = vec!["train", "--out", text(out)];
        args.extend(RUN.split(' ').chain(flags.split_whitespace()));
        args
    };
    let mut child = command("host", args(&parts, "--epochs 100000"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut log = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("loss") {
        line.clear();
        assert!(
            log.read_line(&mut line).expect("read") > 0,
            "the training ended by itself"
        );
    }
    kill_process(Pid::from_child(&child), Signal::INT).expect("signalled");
    // Drains the log, so that the program cannot block on it.
    let rest = std::thread::spawn(move || std::io::read_to_string(log).expect("read"));
    let deadline = Instant::now() + Duration::from_mins(1);
    let status = loop {
        if let Some(status) = child.try_wait().expect("waited") {
            break status;
        }
        assert!(Instant::now() < deadline, "the training goes on");
        std::thread::sleep(Duration::from_millis(20));
    };
    let rest = rest.join().expect("read");
    assert_eq!(status.code(), Some(130), "{rest}");
    assert!(
        rest.contains("--resume") && !rest.contains("panicked"),
        "{rest}"
    );
    let mut left: Vec<_> = fs::read_dir(&parts)
        .expect("listed")
        .map(|entry| {
            entry
                .expect("entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    left.sort();
    assert_eq!(left, ["checkpoint.safetensors", "log.jsonl"]);

    // Continued to the end of its epoch, it is what an undisturbed run is.
    let log = bytes(&parts, "log.jsonl");
    let last = log
        .trim_ascii_end()
        .rsplit(|&byte| byte == b'\n')
        .next()
        .expect("a line");
    let last: Value = serde_json::from_slice(last).expect("JSON");
    let epochs = last["epoch"].to_string();
    for (out, resume) in [(&parts, "--resume"), (&whole, "")] {
        let mut args = args(out, TEST);
        args.extend(["--epochs", &epochs]);
        args.extend(resume.split_whitespace());
        succeed("host", args);
    }
    for file in ["model.safetensors", "checkpoint.safetensors", "log.jsonl"] {
        assert!(bytes(&whole, file) == bytes(&parts, file), "{file} differs");
    }
}

#[test]
fn an_output_folder_that_cannot_be_written_is_told_before_training() {
    let root = tempfile::tempdir().expect("temporary folder");
    let file = root.path().join("file");
    fs::write(&file, "in the way").expect("written");
    fail(
        "host",
        arguments(&file, ""),
        &["cannot create the folder", text(&file)],
    );
    fail(
        "host",
        arguments(&file.join("below"), ""),
        &["cannot create the folder"],
    );
    // Where no file can be created, whoever runs the test.
    fail(
        "host",
        arguments(Path::new("/proc/self/fd"), ""),
        &["cannot write", "log.jsonl"],
    );
}

#[test]
fn a_result_that_cannot_be_written_leaves_the_others_and_no_half_file() {
    let root = tempfile::tempdir().expect("temporary folder");
    let out = root.path().join("out");
    // A folder where the model should go: the last write fails, as on a full disk.
    fs::create_dir_all(out.join("model.safetensors")).expect("created");
    fail(
        "host",
        arguments(&out, "--epochs 1"),
        &["cannot write", "model.safetensors"],
    );
    assert!(out.join("checkpoint.safetensors").is_file());
    assert_eq!(strangers(&out), Vec::<String>::new());
    fs::remove_dir(out.join("model.safetensors")).expect("removed");
    succeed("host", arguments(&out, "--resume"));
    assert!(out.join("model.safetensors").is_file());
}

#[test]
fn damaged_checkpoints_are_refused() {
    let root = tempfile::tempdir().expect("temporary folder");
    let out = root.path().join("out");
    succeed("host", arguments(&out, "--epochs 1"));
    let good = bytes(&out, "checkpoint.safetensors");
    for damaged in [&b""[..], b"garbage", &good[..good.len() / 2]] {
        fs::write(out.join("checkpoint.safetensors"), damaged).expect("written");
        fail(
            "host",
            arguments(&out, "--resume"),
            &["checkpoint.safetensors", "not a"],
        );
    }
}

#[test]
fn bad_data_sets_are_named() {
    let root = tempfile::tempdir().expect("temporary folder");
    let out = root.path().join("out");
    let with = |dataset: &Path, words: &[&str]| {
        let mut args = arguments(&out, "");
        args.extend(["--dataset", text(dataset)]);
        fail("host", args, words);
    };
    with(&root.path().join("absent"), &["absent", "no such folder"]);
    let pictures = root.path().join("pictures");
    fs::create_dir_all(pictures.join("cat")).expect("created");
    with(&pictures, &["1 class folder", "at least 2"]);
    fs::create_dir_all(pictures.join("dog")).expect("created");
    with(&pictures, &["cat", "no training images"]);
    for class in ["cat", "dog"] {
        let damaged = pictures.join(class).join("1.png");
        fs::write(damaged, b"\x89PNG\r\n\x1a\n").expect("written");
    }
    with(&pictures, &["1.png"]);

    // MNIST itself, absent and damaged.
    let mnist = |cache: &Path, words: &[&str]| {
        let output = command("host", arguments(&out, ""))
            .env("MCDROPOUT_CACHE", cache)
            .output();
        let output = output.expect("started");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(words.iter().all(|word| stderr.contains(word)), "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    };
    mnist(root.path(), &["train-images-idx3-ubyte", "scripts/setup"]);
    let folder = root.path().join("data/mnist");
    fs::create_dir_all(&folder).expect("created");
    fs::write(folder.join("train-images-idx3-ubyte"), [0, 0, 8, 3, 0, 0]).expect("written");
    mnist(root.path(), &["train-images-idx3-ubyte"]);
}

#[test]
fn a_folder_of_pictures_can_be_learnt() {
    let root = tempfile::tempdir().expect("temporary folder");
    let (pictures, out) = (root.path().join("pictures"), root.path().join("out"));
    for (class, shade) in [("bright", 200), ("dark", 40)] {
        fs::create_dir_all(pictures.join(class)).expect("created");
        for index in 0..30u8 {
            let mut image = b"P5 40 32 255\n".to_vec();
            image.resize(image.len() + 40 * 32, shade + index);
            fs::write(pictures.join(class).join(format!("{index}.pgm")), image).expect("written");
        }
    }
    let mut args = arguments(&out, "--epochs 20 --batch-size 10 --json");
    args.extend(["--dataset", text(&pictures)]);
    let metrics: Value = serde_json::from_str(&succeed("host", args)).expect("JSON");
    assert_eq!(metrics["images"], 50);
    assert_eq!(metrics["test_images"], 10);
    assert_eq!(metrics["mc_dropout"]["accuracy"], 1.0, "{metrics}");
    let info = succeed("device", ["info", text(&out.join("model.onnx"))]);
    assert!(info.contains("bright") && info.contains("dark"), "{info}");
}

#[test]
fn flags_out_of_range_are_refused() {
    let root = tempfile::tempdir().expect("temporary folder");
    let out = root.path().join("out");
    for (flags, words) in [
        ("--epochs 0", &["--epochs"][..]),
        ("--lr nan", &["--lr"]),
        ("--dropout 0.5,0.5", &["--dropout", "3 numbers"]),
        ("--dropout 1,0.5,0.5", &["--dropout"]),
        ("--dropout 0,0,0", &["--dropout", "Monte-Carlo"]),
        ("--threads 0", &["--threads"]),
        ("--flag-rate 2", &["--flag-rate"]),
        ("--averaging 1", &["--averaging"]),
        ("--rotation 181", &["--rotation", "180"]),
        ("--temperature-scaling true", &["--validation"]),
    ] {
        fail("host", arguments(&out, flags), words);
    }
    let usage = run("host", ["train", "--no-such-flag"]);
    assert_eq!(usage.status.code(), Some(2));
}

#[test]
fn divergence_is_told() {
    let root = tempfile::tempdir().expect("temporary folder");
    let out = root.path().join("out");
    fail(
        "host",
        arguments(&out, "--epochs 3 --lr 1e30 --log-interval 1"),
        &["diverged", "--lr"],
    );
    assert!(!out.join("model.safetensors").exists());
}

#[test]
fn cuda_that_is_not_there_is_an_error() {
    if tch::Cuda::is_available() {
        return;
    }
    let root = tempfile::tempdir().expect("temporary folder");
    let out = root.path().join("out");
    let mut args = vec!["train", "--out", text(&out)];
    args.extend("--limit-train 64 --epochs 1 --limit-test 10 --passes 2 --device cuda".split(' '));
    fail("host", args, &["CUDA was asked for and is not available"]);
}
