//! `host study`: figures that repeat, add up, and follow what theory says without exception.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::model;
use tests::programs::{Running, command, fail, succeed};

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// What a study of the test model prints.
fn study(name: &str, args: &str) -> String {
    let model = model::trained();
    let given = ["study", name, "--model", text(&model)];
    succeed("host", given.into_iter().chain(args.split(' ')))
}

fn json(out: &str) -> Value {
    serde_json::from_str(out).expect("one JSON value")
}

#[track_caller]
fn number(value: &Value, name: &str) -> f64 {
    value[name]
        .as_f64()
        .unwrap_or_else(|| panic!("{name} is no number in {value}"))
}

#[track_caller]
fn list<'a>(value: &'a Value, name: &str) -> &'a Vec<Value> {
    value[name]
        .as_array()
        .unwrap_or_else(|| panic!("{name} is no list in {value}"))
}

#[track_caller]
fn adds_up(means: &Value) {
    let [total, aleatoric, epistemic] = [
        "predictive_entropy",
        "expected_entropy",
        "mutual_information",
    ]
    .map(|name| number(means, name));
    assert!((total - aleatoric - epistemic).abs() < 1e-9, "{means}");
}

#[test]
fn a_digit_is_turned_step_by_step() {
    let args = "--passes 30 --steps 6 --image 7 --json";
    let out = study("rotation", args);
    assert_eq!(out, study("rotation", args));
    assert_ne!(out, study("rotation", &format!("{args} --seed 5")));
    let found = json(&out);
    let (winners, angles) = (list(&found, "winners"), list(&found, "angles"));
    assert_eq!((&found["image"], angles.len()), (&7.into(), 7));
    for (angle, degrees) in angles.iter().zip([0, 30, 60, 90, 120, 150, 180]) {
        assert_eq!(number(angle, "degrees"), f64::from(degrees));
        assert!(winners.contains(&angle["class"]), "{winners:?}");
        adds_up(angle);
        let (logits, shares) = (list(angle, "logits"), list(angle, "probabilities"));
        assert_eq!((logits.len(), shares.len()), (winners.len(), winners.len()));
        for (winner, shares) in winners.iter().zip(shares) {
            let shares: Vec<f64> = shares
                .as_array()
                .expect("a list")
                .iter()
                .map(|share| share.as_f64().expect("a number"))
                .collect();
            assert_eq!(shares.len(), 30);
            // The mean of the passes is what is told as confidence.
            if winner == &angle["class"] {
                let mean = shares.iter().sum::<f64>() / 30.0;
                assert!((mean - number(angle, "confidence")).abs() < 1e-6);
            }
        }
    }
    // The first 1 of the test images.
    let table = study("rotation", "--passes 5");
    assert!(table.starts_with("test image 2, a 1, 5 passes"), "{table}");
    let model = model::trained();
    fail(
        "host",
        [
            "study",
            "rotation",
            "--model",
            text(&model),
            "--image",
            "10000",
        ],
        &["no image 10000", "10000"],
    );
}

#[test]
fn more_passes_are_more_precise() {
    let args = "--limit 100 --passes 100 --json";
    let out = study("precision", &format!("{args} --threads 1"));
    assert_eq!(out, study("precision", &format!("{args} --threads 2")));
    let found = json(&out);
    let points = list(&found, "points");
    let passes: Vec<u64> = points.iter().filter_map(|p| p["passes"].as_u64()).collect();
    assert_eq!(passes, [1, 2, 5, 10, 20, 50, 100]);
    // Batches of the more passes are made of whole batches of the fewer: −ln is convex.
    for chain in [[0, 1, 3, 4, 6], [0, 2, 3, 5, 6]] {
        for pair in chain.windows(2) {
            let [few, many] = [pair[0], pair[1]].map(|point| number(&points[point], "nll"));
            assert!(many <= few + 1e-12, "{few} and {many}");
        }
    }
    let last = &points[6];
    for agreement in ["class_agreement", "verdict_agreement"] {
        assert_eq!(number(last, agreement), 1.0);
        assert!(number(&points[0], agreement) < 1.0, "{out}");
    }
    assert_eq!(number(last, "predictive_entropy_error"), 0.0);
    let error = |point: usize| number(&points[point], "nll_standard_error");
    assert!(error(0) > error(3) && error(3) > error(6) && error(6) > 0.0);

    // The reference is what an evaluation finds.
    let model = model::trained();
    let evaluation = "evaluate --json --limit 100 --passes 100 --model";
    let evaluated = json(&succeed(
        "host",
        evaluation.split(' ').chain([text(&model)]),
    ));
    for name in ["nll", "accuracy"] {
        assert!((number(last, name) - number(&evaluated, name)).abs() < 1e-9);
    }
    let one = json(&study("precision", "--limit 20 --passes 1 --json"));
    assert_eq!(list(&one, "points").len(), 1);
    assert!(one["points"][0]["nll_standard_error"].is_null());
}

#[test]
fn the_objective_and_its_bounds_are_in_order() {
    let args = "--limit 200 --passes 20 --json";
    let out = study("variational", &format!("{args} --threads 1"));
    assert_eq!(out, study("variational", &format!("{args} --threads 2")));
    let flat = json(&out);
    for (images, count) in [("training", 200), ("test", 200)] {
        let likelihood = &flat[images];
        assert_eq!(likelihood["images"], count);
        let expected = number(&likelihood["expected"], "mean");
        assert!(expected < number(likelihood, "log_mean"), "{likelihood}");
        let errors = ["expected", "expected_one_pass"]
            .map(|name| number(&likelihood[name], "standard_error"));
        assert!((errors[1] / errors[0] - 20f64.sqrt()).abs() < 1e-9);
    }
    // The test model was trained without weight decay.
    assert_eq!(
        (number(&flat, "kl"), &flat["prior"]),
        (0.0, &"trained".into())
    );
    assert_eq!(flat["elbo"], flat["training"]["expected"]);
    assert!(study("variational", "--limit 8 --passes 2").contains("the prior is flat"));

    let prior = json(&study(
        "variational",
        &format!("{args} --weight-decay 1e-3"),
    ));
    let kl = number(&prior, "kl");
    assert!(kl > 0.0 && prior["prior"] == "assumed");
    let layers: f64 = list(&prior, "layers").iter().map(|l| number(l, "kl")).sum();
    assert!((layers - kl).abs() < 1e-12);
    let [elbo, expected] = [&prior["elbo"], &prior["training"]["expected"]];
    assert!((number(expected, "mean") - kl - number(elbo, "mean")).abs() < 1e-12);

    let folder = tempfile::tempdir().expect("temporary folder");
    let alone = folder.path().join("alone.onnx");
    fs::copy(model::trained(), &alone).expect("copied");
    fail(
        "host",
        ["study", "variational", "--model", text(&alone)],
        &["host train", "alone.safetensors"],
    );
    let other = [
        "--model",
        text(&model::trained()),
        "--dataset",
        "fashion-mnist",
    ]
    .map(String::from);
    fail(
        "host",
        ["study", "variational"]
            .map(String::from)
            .into_iter()
            .chain(other),
        &["trained on mnist", "not on fashion-mnist"],
    );
}

#[test]
fn damage_costs_accuracy_and_is_seen() {
    let args = "--limit 40 --passes 10 --json";
    let out = study("corruptions", &format!("{args} --threads 1"));
    assert_eq!(out, study("corruptions", &format!("{args} --threads 2")));
    let found = json(&out);
    let families = list(&found, "families");
    assert_eq!(families.len(), 12);
    for family in families {
        let points = list(family, "points");
        assert_eq!(points.len(), 6);
        for (point, severity) in points.iter().zip(0..) {
            assert_eq!(
                (&point["severity"], &point["frames"]),
                (&severity.into(), &40.into())
            );
            adds_up(point);
        }
        assert_eq!(points[0], families[0]["points"][0]);
        // Total uncertainty rises with the severity of everything but a little noise.
        let rho = number(&family["correlations"], "predictive_entropy");
        assert!(rho > 0.0, "{family}");
    }
    let block = list(&families[0], "points");
    assert_eq!(families[0]["family"], "occlusion-block");
    assert!(number(&block[5], "accuracy") < number(&block[0], "accuracy"));
    assert!(number(&block[5], "flagged") > number(&block[0], "flagged"));
    assert_ne!(
        out,
        study("corruptions", &format!("{args} --corruption-seed 2"))
    );
    let table = study("corruptions", "--limit 4 --passes 2");
    assert!(
        table.contains("shot-noise") && table.contains('ρ'),
        "{table}"
    );
}

/// Equal, but for the last digit, which numbers may lose when they are read and written again.
fn same(name: &str, a: &Value, b: &Value) {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            assert!(a.keys().eq(b.keys()), "{name}");
            for (key, a) in a {
                same(&format!("{name}.{key}"), a, &b[key]);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{name}");
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                same(&format!("{name}.{index}"), a, b);
            }
        }
        (Value::Number(a), Value::Number(b)) => {
            let [a, b] = [a, b].map(|number| number.as_f64().expect("finite"));
            assert!((a - b).abs() <= 1e-12 * a.abs(), "{name}: {a} and {b}");
        }
        _ => assert_eq!(a, b, "{name}"),
    }
}

/// Trainings of well under a second.
const QUICK: &str = "--steps 40 --limit 200 --passes 10 --unseen 3";

fn epistemic<'a>(out: &'a Path, args: &'a str) -> Vec<&'a str> {
    let mut all = vec!["study", "epistemic", "--out", text(out)];
    all.extend(args.split(' '));
    all
}

#[test]
fn finished_models_are_kept_and_threads_change_nothing() {
    let root = tempfile::tempdir().expect("temporary folder");
    let [one, two] = ["one", "two"].map(|name| root.path().join(name));
    let file = |folder: &Path| fs::read_to_string(folder.join("study.json")).expect("read");
    let all = format!("{QUICK} --sizes 20,2000 --threads 2 --json");
    let out = json(&succeed("host", epistemic(&two, &all)));
    assert_eq!(out, json(&file(&two)));
    let sizes: Vec<_> = list(&out, "by_size").iter().map(|m| &m["images"]).collect();
    assert_eq!(sizes, [20, 2000]);
    for model in list(&out, "by_size") {
        adds_up(model);
        let digits = list(model, "by_digit");
        let frames: u64 = digits.iter().filter_map(|d| d["frames"].as_u64()).sum();
        assert_eq!((digits.len(), frames), (10, 200));
    }
    // A hundred times as many images leave less to be known.
    let models = list(&out, "by_size").iter();
    let information: Vec<f64> = models.map(|m| number(m, "mutual_information")).collect();
    assert!(information[0] > information[1], "{information:?}");
    let [unseen] = &list(&out, "unseen")[..] else {
        panic!("one digit is left out: {out}");
    };
    assert_eq!(
        (&unseen["digit"], &unseen["images"]),
        (&3.into(), &53_869.into())
    );
    let frames = ["seen", "unseen"].map(|kind| number(&unseen[kind], "frames"));
    assert_eq!(frames[0] + frames[1], 200.0);
    assert!(unseen["unseen"]["accuracy"].is_null());
    let auroc = unseen["auroc"].as_object().expect("an object");
    assert!(auroc.contains_key("mutual_information"));

    // In two goes, on one thread: the first model is not trained again.
    let first = format!("{QUICK} --sizes 20 --threads 1");
    succeed("host", epistemic(&one, &first));
    fs::remove_dir_all(one.join("images-20-seed-1")).expect("removed");
    let rest = format!("{QUICK} --sizes 20,2000 --threads 1");
    let table = succeed("host", epistemic(&one, &rest));
    assert!(table.contains("2000 images, seed 1"), "{table}");
    assert!(table.contains("trained without the digit 3"), "{table}");
    assert!(!one.join("images-20-seed-1").exists());
    same("study", &json(&file(&one)), &json(&file(&two)));

    fail(
        "host",
        epistemic(&one, "--steps 41 --limit 200 --passes 10 --sizes 20"),
        &["40 steps", "41", "another --out"],
    );
    fail(
        "host",
        epistemic(&root.path().join("many"), "--sizes 60001"),
        &["60001", "60000"],
    );
}

#[test]
fn ctrl_c_keeps_what_is_finished() {
    let root = tempfile::tempdir().expect("temporary folder");
    let out = root.path().join("study");
    // Two hundred models, which take a minute and more.
    let args = "--steps 30 --limit 20 --passes 3 --sizes 20 --repeats 100 --threads 1";
    let mut running = Running::start(
        command("host", epistemic(&out, args))
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped()),
    );
    let deadline = Instant::now() + Duration::from_mins(1);
    while !out.join("study.json").exists() {
        assert!(Instant::now() < deadline, "no model is finished");
        std::thread::sleep(Duration::from_millis(10));
    }
    kill_process(Pid::from_child(running.child()), Signal::INT).expect("signalled");
    let (code, _, stderr) = running.end();
    assert_eq!(code, Some(130), "{stderr}");
    assert!(
        stderr.contains("interrupted") && !stderr.contains("panicked"),
        "{stderr}"
    );
    let study = json(&fs::read_to_string(out.join("study.json")).expect("read"));
    let done = list(&study, "by_size").len() + list(&study, "unseen").len();
    assert!((1..200).contains(&done), "{done}");
}
