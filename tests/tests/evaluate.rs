//! `host evaluate`: one set of figures whichever engine and however many threads find them.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Map, Value};
use shared::triage::Cause;
use tests::model;
use tests::programs::{fail, run, stdout, succeed};

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn object(out: &str) -> Map<String, Value> {
    let value: Value = serde_json::from_str(out).expect("one JSON value");
    value.as_object().expect("an object").clone()
}

fn evaluate(model: &Path, args: &str) -> Map<String, Value> {
    let given = ["evaluate", "--json", "--model", text(model)];
    object(&succeed("host", given.into_iter().chain(args.split(' '))))
}

/// What depends on the machine and on how busy it is.
const TIMING: [&str; 3] = ["seconds", "frames_per_second", "threads"];
const SCORES: [&str; 7] = [
    "1-confidence",
    "1-margin",
    "expected_entropy",
    "mutual_information",
    "predictive_entropy",
    "standard_deviation",
    "variation_ratio",
];
const STANDARD_SCORES: [&str; 3] = ["1-confidence", "1-margin", "predictive_entropy"];
/// Metrics of both test phases.
const QUALITY: [&str; 14] = [
    "accuracy",
    "adaptive_ece",
    "aupr_misclassification",
    "aurc",
    "aurc_by_score",
    "auroc_misclassification",
    "brier",
    "coverage_at_risk",
    "e_aurc",
    "ece",
    "fpr95_misclassification",
    "nll",
    "ood",
    "risk_at_coverage",
];

#[test]
fn engines_agree_and_threads_change_nothing() {
    let model = model::trained();
    let args = "--limit 200 --passes 50 --block 32 --ood fashion-mnist --bootstrap 200 --engine";
    let tract = evaluate(&model, &format!("{args} tract --threads 2"));
    let names = |value: &Value| -> Vec<String> {
        let entries = value.as_object().expect("an object");
        entries.keys().cloned().collect()
    };
    assert_eq!(names(&tract["standard"]), QUALITY);
    let mut keys = QUALITY.to_vec();
    keys.extend([
        "accepted",
        "accuracy_accepted",
        "adaptive_delta",
        "datasets",
        "engine",
        "flags",
        "frames",
        "frames_per_second",
        "intervals",
        "mean_passes",
        "nll_mean_logits",
        "ood_datasets",
        "passes",
        "seconds",
        "seed",
        "standard",
        "threads",
    ]);
    keys.sort_unstable();
    assert_eq!(names(&tract.clone().into()), keys);
    for (phase, scores) in [
        (&Value::from(tract.clone()), &SCORES[..]),
        (&tract["standard"], &STANDARD_SCORES),
    ] {
        for name in QUALITY.iter().filter(|name| phase[**name].is_object()) {
            if *name != "ood" {
                assert_eq!(names(&phase[*name]), scores, "{name}");
            }
        }
        for name in ["auroc", "aupr", "fpr95"] {
            assert_eq!(names(&phase["ood"][name]), scores, "{name}");
        }
    }
    let levels = &tract["risk_at_coverage"]["1-margin"];
    assert_eq!(names(levels), ["0.8", "0.9", "0.95", "0.99"]);
    let levels = &tract["coverage_at_risk"]["1-margin"];
    assert_eq!(names(levels), ["0.001", "0.005", "0.01"]);
    assert_eq!(tract["datasets"], serde_json::json!(["mnist"]));
    assert_eq!(tract["ood_datasets"], serde_json::json!(["fashion-mnist"]));
    assert_eq!(
        (&tract["seed"], &tract["adaptive_delta"]),
        (&1.into(), &Value::Null)
    );
    let mut causes = Cause::ALL.map(Cause::name);
    causes.sort_unstable();
    assert_eq!(names(&tract["flags"]), causes);

    assert_eq!(tract["engine"], "tract");
    assert_eq!(
        (&tract["frames"], &tract["passes"]),
        (&400.into(), &50.into())
    );
    assert_eq!(
        (&tract["mean_passes"], &tract["threads"]),
        (&50.0.into(), &2.into())
    );
    // The model has seen 6000 digits twice: it knows most digits, and clothes from digits.
    let number = |name: &str| tract[name].as_f64().expect("a number");
    assert!(number("accuracy") > 0.8, "{tract:?}");
    assert!(
        number("accuracy_accepted") >= number("accuracy"),
        "{tract:?}"
    );
    assert!(
        tract["ood"]["auroc"]["predictive_entropy"].as_f64() > Some(0.8),
        "{tract:?}"
    );

    let untimed = |mut figures: Map<String, Value>| {
        for name in TIMING {
            assert!(figures.remove(name).and_then(|v| v.as_f64()) > Some(0.0));
        }
        Value::Object(figures).to_string()
    };
    for engine in ["tract", "torch", "ort", "native"] {
        let one = evaluate(&model, &format!("{args} {engine} --threads 1"));
        let two = evaluate(&model, &format!("{args} {engine} --threads 2"));
        compare("", &tract.clone().into(), &one.clone().into());
        assert_eq!(untimed(one), untimed(two), "{engine}");
    }
}

/// Figures of two engines: the same masks, so apart by no more than rounding does. At a limit it may
/// tip one of the 200 frames.
fn compare(name: &str, a: &Value, b: &Value) {
    if let (Some(a), Some(b)) = (a.as_object(), b.as_object()) {
        for (key, value) in a {
            // An interval's limit is one resample or the next.
            let apart = ["engine", "intervals"].contains(&key.as_str());
            if !apart && !TIMING.contains(&key.as_str()) {
                compare(&format!("{name}.{key}"), value, &b[key]);
            }
        }
    } else if let (Some(a), Some(b)) = (a.as_f64(), b.as_f64()) {
        let tolerance = match name {
            _ if name.starts_with(".flags") => 1.0,
            ".accepted" | ".accuracy_accepted" | ".ood.accepted" => 0.0051,
            _ if name.contains("ood.fpr95") => 0.0051,
            // One of the few wrong answers, or one place in the order.
            _ if name.contains("fpr95_") => 0.11,
            _ if name.contains("coverage_at_risk") => 0.0051,
            _ if name.contains("aupr_") => 0.01,
            _ => 1e-3,
        };
        assert!((a - b).abs() <= tolerance, "{name}: {a} and {b}");
    } else {
        assert_eq!(a, b, "{name}");
    }
}

#[test]
fn every_metric_is_what_python_finds_in_the_records() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let records = folder.path().join("frames.jsonl");
    let cache = device::source::cache_folder().expect("a cache folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/check_metrics.py");
    for args in [
        "--limit 700 --passes 20 --ood fashion-mnist",
        "--limit 300 --passes 40 --adaptive --engine torch --bootstrap 0",
    ] {
        let args = format!("{args} --records {}", text(&records));
        let report = evaluate(&model::trained(), &args);
        assert_eq!(
            report.contains_key("intervals"),
            !args.contains("--bootstrap")
        );
        let mut python = Command::new(cache.join("venv/bin/python"))
            .arg(&script)
            .arg(&records)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Python starts: if not, run scripts/setup");
        let mut stdin = python.stdin.take().expect("a pipe");
        let sent = stdin.write_all(Value::from(report).to_string().as_bytes());
        drop(stdin);
        let output = python.wait_with_output().expect("Python ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        sent.expect("Python reads");
        let found = object(&stdout(&output));
        assert!(found["compared"].as_u64() > Some(100), "{found:?}");
    }
}

#[test]
fn intervals_hold_the_figures_and_narrow_with_more_frames() {
    let model = model::trained();
    let interval = |report: &Map<String, Value>, name: &str| -> [f64; 2] {
        let limits = &report["intervals"][name];
        [0, 1].map(|end| limits[end].as_f64().unwrap_or_else(|| panic!("{name}")))
    };
    let args = "--passes 10 --bootstrap 400 --ood fashion-mnist --limit";
    let few = evaluate(&model, &format!("{args} 100 --threads 1"));
    let many = evaluate(&model, &format!("{args} 900 --threads 2"));
    for name in ["accuracy", "nll", "brier", "aurc", "standard.nll"] {
        let [low, high] = interval(&many, name);
        let narrow = high - low;
        let [low, high] = interval(&few, name);
        assert!(narrow < high - low, "{name}");
    }
    let [low, high] = interval(&many, "accuracy");
    let accuracy = many["accuracy"].as_f64().expect("a number");
    assert!(low < accuracy && accuracy < high, "{many:?}");
    // Nine hundred trials: the normal limits, and a quarter of them for the resamples.
    let error = (accuracy * (1.0 - accuracy) / 900.0).sqrt();
    assert!(
        (high - low - 3.92 * error).abs() < 0.98 * error,
        "{low} {high}"
    );

    let given = ["evaluate", "--model", text(&model)];
    let command = |args: &'static str| given.into_iter().chain(args.split(' '));
    let table = succeed("host", command("--limit 50 --passes 3 --bootstrap 39"));
    assert!(table.contains(" ["), "{table}");
    let output = run("host", command("--bootstrap 38"));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_folder_without_classes_can_be_out_of_distribution() {
    let folder = tempfile::tempdir().expect("temporary folder");
    for name in ["a.pgm", "b.pgm", "c.pgm"] {
        std::fs::write(folder.path().join(name), b"P5 2 2 255\n0123").expect("written");
    }
    let args = format!("--limit 20 --passes 3 --ood {}", text(folder.path()));
    let report = evaluate(&model::trained(), &args);
    assert_eq!(report["frames"], 23);
    assert!(report["ood"]["auroc"]["1-margin"].is_number(), "{report:?}");
}

#[test]
fn the_loss_and_flags_are_those_that_training_told() {
    let folder = model::folder();
    let metrics = std::fs::read_to_string(folder.join("metrics.json")).expect("read");
    let told: Value = serde_json::from_str(&metrics).expect("JSON");
    // As the model was tested: see tests::model.
    let found = evaluate(folder, "--engine torch --limit 500 --passes 20");
    let close = |a: &Value, b: f64| {
        let a = a.as_f64().expect("a number");
        assert!((a - b).abs() < 2e-5, "{a} and {b}");
    };
    let number = |name: &str| found[name].as_f64().expect("a number");
    close(
        &told["mc_dropout"]["nll_mean_logits"],
        number("nll_mean_logits"),
    );
    close(&told["triage"]["flagged"], 1.0 - number("accepted"));
    close(
        &told["triage"]["accuracy_accepted"],
        number("accuracy_accepted"),
    );
}

#[test]
fn another_seed_gives_other_figures_and_the_table_names_them() {
    let model = model::trained();
    let args = "--limit 20 --passes 3 --seed";
    let nll = |seed| evaluate(&model, &format!("{args} {seed}"))["nll"].clone();
    assert_ne!(nll(1), nll(2));
    assert_eq!(nll(3), nll(3));

    let args = "--limit 20 --passes 3 --ood fashion-mnist";
    let given = ["evaluate", "--model", text(&model)];
    let table = succeed("host", given.into_iter().chain(args.split(' ')));
    for word in [
        "accuracy",
        "nll_mean_logits",
        "MC dropout: ood",
        "standard: wrong answers",
        "1-margin",
        "low-contrast",
        "40 frames",
    ] {
        assert!(table.contains(word), "{word} is missing in: {table}");
    }
}

#[test]
fn a_requirement_that_does_not_hold_fails_after_the_figures() {
    let model = model::trained();
    let given = ["evaluate", "--model", text(&model), "--json"];
    let command = |args: &'static str| given.into_iter().chain(args.split(' '));
    let held = "--limit 20 --passes 3 --require accuracy>=0.5 --require flags.glare<=20";
    succeed("host", command(held));
    let broken =
        "--limit 20 --passes 3 --require nll>=0 --require accuracy>=1.5 --require frames<=19";
    fail(
        "host",
        command(broken),
        &[
            "accuracy>=1.5 is required",
            "frames<=19 is required, and it is 20",
        ],
    );
    let figures = object(&stdout(&run("host", command(broken))));
    assert_eq!(figures["frames"], 20);
    fail(
        "host",
        command("--require ood.auroc.1-margin>=0.5"),
        &["needs --ood"],
    );
}

#[test]
fn bad_inputs_are_told() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let model = model::trained();
    let alone = folder.path().join("alone.onnx");
    std::fs::copy(&model, &alone).expect("copied");
    let absent = folder.path().join("absent.onnx");
    let refuse = |model: &Path, args: &str, words: &[&str]| {
        let given = ["evaluate", "--model", text(model), "--limit", "8"];
        fail("host", given.into_iter().chain(args.split(' ')), words);
    };
    refuse(&absent, "--engine tract", &["absent.onnx"]);
    refuse(&absent, "--engine torch", &["absent.onnx"]);
    refuse(
        &alone,
        "--engine torch",
        &["host train", "alone.safetensors"],
    );
    refuse(folder.path(), "--engine torch", &["model.safetensors"]);
    refuse(&model, "--dataset no-such-set", &["no-such-set", "mnist"]);
    refuse(&model, "--ood no-such-set", &["no-such-set", "mnist"]);
    std::fs::write(&alone, b"this is no model").expect("written");
    refuse(&alone, "--threads 2", &["alone.onnx"]);

    // Two classes, and a model of ten.
    let pictures = folder.path().join("pictures");
    for class in ["train/a", "train/b", "test/a", "test/b"] {
        let class = pictures.join(class);
        std::fs::create_dir_all(&class).expect("created");
        std::fs::write(class.join("1.pgm"), b"P5 2 2 255\n0123").expect("written");
    }
    let set = format!("--dataset {}", text(&pictures));
    refuse(
        &model,
        &set,
        &["the model has the classes 0, 1", "the data set has a, b"],
    );
}
