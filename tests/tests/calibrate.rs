//! `host calibrate`: promises that hold, and model files that tell them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use device::engine::provider::OrtOptions;
use host::calibrate::{Frame, Goal, choose};
use host::data::{DatasetName, Purpose, Random};
use host::evaluate::{Frames, Setup, judge};
use prost::Message;
use serde_json::Value;
use tempfile::TempDir;
use tests::model;
use tests::programs::{fail, run, succeed};
use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::{ModelProto, StringStringEntryProto};

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// A folder with a copy of the trained model and its weights.
fn copied() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("temporary folder");
    for name in ["model.onnx", "model.safetensors"] {
        fs::copy(model::folder().join(name), folder.path().join(name)).expect("copied");
    }
    let path = folder.path().join("model.onnx");
    (folder, path)
}

/// What the model of seconds of training supports within seconds.
const SUPPORTED: &str =
    "--data mnist:test --limit 3000 --passes 20 --max-risk 0.03 --threads 1 --json";

fn arguments<'a>(model: &'a Path, args: &'a str) -> impl Iterator<Item = &'a str> {
    ["calibrate", "--model", text(model)]
        .into_iter()
        .chain(args.split(' '))
}

fn calibrate(model: &Path, args: &str) -> Value {
    serde_json::from_str(&succeed("host", arguments(model, args))).expect("one JSON value")
}

fn info(model: &Path) -> Value {
    let out = succeed("device", ["info", "--json", text(model)]);
    serde_json::from_str(&out).expect("one JSON value")
}

#[test]
fn the_device_reads_what_was_written_and_warns_of_what_is_unlike_it() {
    let (folder, model) = copied();
    let before = info(&model);
    assert_eq!(before["calibration"], Value::Null);
    let found = calibrate(&model, SUPPORTED);
    let promise = &found["calibration"];
    assert_eq!(promise["method"], "learn-then-test, binomial");
    assert_eq!(promise["pictures"], "mnist");
    assert_eq!(
        (&promise["tuning"], &promise["frames"]),
        (&600.into(), &2400.into())
    );
    assert!(promise["coverage"].as_f64() > Some(0.5), "{found}");
    assert!(promise["p_value"].as_f64() <= Some(0.05), "{found}");

    let after = info(&model);
    assert_eq!(
        (&after["calibration"], &after["thresholds"]),
        (promise, &found["thresholds"])
    );
    for same in ["labels", "sites", "preprocessing", "seed", "training"] {
        assert_eq!(before[same], after[same]);
    }
    assert!(succeed("device", ["info", text(&model)]).contains("calibration    at most 3 %"));
    // The weights tell the same: what is exported from them is promised, too.
    let exported = folder.path().join("exported.onnx");
    let weights = folder.path().join("model.safetensors");
    succeed(
        "host",
        [
            "export",
            "--model",
            text(&weights),
            "--out",
            text(&exported),
        ],
    );
    assert_eq!(info(&exported)["calibration"], *promise);

    let logged = |args: &str| {
        let given = ["run", "--model", text(&model), "--limit", "1"];
        let output = run("device", given.into_iter().chain(args.split(' ')));
        assert!(output.status.success());
        String::from_utf8(output.stderr).expect("text")
    };
    let log = logged("--passes 20");
    assert!(
        log.contains("at most 3 %") && !log.contains("WARN"),
        "{log}"
    );
    assert!(logged("--passes 10").contains("calibrated with 20 passes a frame, run with 10"));
    assert!(logged("--passes 20 --adaptive").contains("with --adaptive"));
    assert!(logged("--passes 20 --max-predictive-entropy 0.1").contains("other thresholds"));
}

#[test]
fn equal_flags_give_equal_bytes_and_the_original_stays() {
    let (folder, model) = copied();
    let before = fs::read(&model).expect("read");
    let out = folder.path().join("calibrated.onnx");
    let args = format!("{SUPPORTED} --out {}", text(&out));
    let found = calibrate(&model, &args);
    assert_eq!(found["written"], serde_json::json!([text(&out)]));
    assert_eq!(fs::read(&model).expect("read"), before);
    let first = fs::read(&out).expect("read");
    calibrate(&model, &args.replace("--threads 1", "--threads 2"));
    assert_eq!(fs::read(&out).expect("read"), first);
    assert_eq!(info(&out)["calibration"], found["calibration"]);
    assert_ne!(
        calibrate(&model, &format!("{args} --seed 77"))["thresholds"],
        found["thresholds"]
    );
}

#[test]
fn limits_on_the_picture_come_from_the_pictures_named() {
    let (folder, model) = copied();
    let out = folder.path().join("calibrated.onnx");
    let pictures = folder.path().join("pictures");
    fs::create_dir(&pictures).expect("created");
    for index in 0..30 {
        // White on the left half: no digit has so much of it.
        let row = [[255; 14], [index; 14]].concat();
        let picture = [b"P5 28 28 255\n".to_vec(), row.repeat(28)].concat();
        fs::write(pictures.join(format!("{index}.pgm")), picture).expect("written");
    }
    let args = format!("{SUPPORTED} --out {}", text(&out));
    let saturated = |found: &Value| found["thresholds"]["max_saturated"].as_f64();
    let usual = calibrate(&model, &args);
    assert!(saturated(&usual) < Some(0.4), "{usual}");
    let found = calibrate(&model, &format!("{args} --pictures {}", text(&pictures)));
    assert_eq!(saturated(&found), Some(0.5));
    assert_eq!(found["calibration"]["pictures"], text(&pictures));
    // What is accepted keeps its promise all the same.
    assert!(
        found["calibration"]["p_value"].as_f64() <= Some(0.05),
        "{found}"
    );
}

#[test]
fn weights_in_another_file_stay_there() {
    let (folder, path) = copied();
    let mut model = ModelProto::decode(&fs::read(&path).expect("read")[..]).expect("a model");
    let graph = model.graph.as_mut().expect("a graph");
    let largest = graph
        .initializer
        .iter_mut()
        .max_by_key(|t| t.raw_data.len());
    let tensor = largest.expect("weights");
    let data = std::mem::take(&mut tensor.raw_data);
    tensor.data_location = Some(DataLocation::External as i32);
    tensor.external_data = vec![StringStringEntryProto {
        key: "location".into(),
        value: "weights.bin".into(),
    }];
    fs::write(folder.path().join("weights.bin"), &data).expect("written");
    fs::write(&path, model.encode_to_vec()).expect("written");

    let elsewhere = tempfile::tempdir().expect("temporary folder");
    let out = elsewhere.path().join("model.onnx");
    let args = format!("{SUPPORTED} --out {}", text(&out));
    fail(
        "host",
        arguments(&path, &args),
        &["another file", "same folder"],
    );
    let found = calibrate(&path, SUPPORTED);
    assert_eq!(info(&path)["calibration"], found["calibration"]);
    assert_eq!(
        fs::read(folder.path().join("weights.bin")).expect("read"),
        data
    );
}

#[test]
fn what_cannot_be_promised_or_written_is_told_and_nothing_changes() {
    let (folder, model) = copied();
    let before = fs::read(&model).expect("read");
    let refuse = |args: &str, words: &[&str]| {
        fail("host", arguments(&model, args), words);
        assert_eq!(fs::read(&model).expect("read"), before);
    };
    // ln 0.05 / ln 0.99 = 298.1, of the four fifths that are tested on.
    refuse(
        "--data mnist:test --limit 200 --passes 5 --max-risk 0.01",
        &["200 frames", "it takes 374"],
    );
    refuse(
        "--data mnist:train --max-risk 0.01",
        &["mnist:test", "--validation"],
    );
    refuse(
        "--data mnist:validation --max-risk 0.01",
        &["without validation images"],
    );
    refuse("--data mnist --max-risk 0.01", &["which part"]);
    refuse("--data no-such-set --max-risk 0.01", &["no-such-set"]);
    refuse(
        "--data mnist:test --clip-of _ --max-risk 0.01",
        &["folder of pictures"],
    );
    let absent = folder.path().join("absent.onnx");
    fail(
        "host",
        arguments(&absent, "--data mnist:test --max-risk 0.01"),
        &["absent.onnx"],
    );
    for wrong in [
        "--max-risk 0",
        "--max-risk 1",
        "--max-risk x",
        "--max-risk 0.1 --delta 0",
        "--max-risk 0.1 --unusual 1",
        "--max-risk 0.1 --clip-of=",
    ] {
        let output = run(
            "host",
            arguments(&model, &format!("--data mnist:test {wrong}")),
        );
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
    fs::set_permissions(&model, Permissions::from_mode(0o444)).expect("set");
    refuse("--data mnist:test --max-risk 0.1", &["read-only", "--out"]);
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .expect("listed")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["model.onnx", "model.safetensors"]);
}

/// How often thresholds are set and looked at.
const TRIALS: u64 = 500;

/// What became of thresholds that were set on a sample.
#[derive(Debug, Default)]
struct Kept {
    refused: u32,
    broken: u32,
    /// Sums over the trials that were not refused.
    coverage: f64,
    risk: f64,
}

impl Kept {
    /// Sets thresholds on the frames `here` and takes the error rate among accepted ones of `there`.
    fn count(&mut self, digits: &[Frame], here: &[u32], there: &[u32], goal: Goal) {
        let units: Vec<_> = here.iter().map(|&i| vec![digits[i as usize]]).collect();
        let Ok(choice) = choose(&units, None, goal) else {
            self.refused += 1;
            return;
        };
        let accepted: Vec<&Frame> = there
            .iter()
            .map(|&i| &digits[i as usize])
            .filter(|frame| choice.thresholds.judge_evidence(&frame.evidence).is_empty())
            .collect();
        let errors = accepted.iter().filter(|frame| frame.wrong).count();
        let risk = errors as f64 / accepted.len() as f64;
        self.broken += u32::from(risk > goal.max_risk);
        self.risk += risk;
        self.coverage += accepted.len() as f64 / there.len() as f64;
    }

    fn tell(&self, way: &str) -> f64 {
        let supported = TRIALS as f64 - f64::from(self.refused);
        let coverage = self.coverage / supported;
        println!(
            "{way}: {} of {TRIALS} broke the promise and {} supported none; on average {:.2} % accepted, {:.3} % of them wrong",
            self.broken,
            self.refused,
            100.0 * coverage,
            100.0 * self.risk / supported
        );
        coverage
    }
}

/// The judged test digits as a population whose risk is known: of samples of 5000 drawn from them
/// with replacement, as the theorem has it, at most 5 % may give thresholds that break the promise on
/// the population.
///
/// Halves of them, calibrated on one and counted on the other, break it a little more often than the
/// theorem says, because the other half's error rate is itself a sample's, and high when the first
/// half's happened to be low.
#[test]
fn the_promise_holds_on_digits_it_was_not_made_on() {
    // A model trained in full, if there is one, tells the figures that matter.
    let named = std::env::var_os("MCDROPOUT_TEST_MODEL").map(PathBuf::from);
    let (model, max_risk) = match named {
        Some(model) => (model, 0.005),
        None => (model::trained(), 0.03),
    };
    let setup = Setup {
        model,
        engine: None,
        ort: OrtOptions::default(),
        passes: 100,
        adaptive: None,
        block: 100,
        seed: None,
        preprocessing: device::preprocessing::PreprocessingOptions::default(),
        ends: device::onnx::EndOptions::default(),
    };
    let frames =
        Frames::load(&DatasetName::Mnist, None, None, None).expect("the data set is installed");
    let judged = judge(&setup, &frames, 2, &AtomicBool::new(false), &|_| ());
    let judged = judged.expect("judged").expect("not stopped").frames;
    let digits: Vec<Frame> = judged
        .iter()
        .filter_map(|judged| {
            let wrong = !judged.answer?.correct;
            let evidence = judged.evidence;
            Some(Frame { evidence, wrong })
        })
        .collect();

    let all: Vec<u32> = (0..digits.len() as u32).collect();
    let (mut drawn, mut halves) = (Kept::default(), Kept::default());
    for seed in 0..TRIALS {
        let goal = Goal {
            max_risk,
            delta: 0.05,
            unusual: 0.025,
            seed,
        };
        let mut random = Random::new(seed, Purpose::CalibrationSplit, 1);
        let sample: Vec<u32> = (0..5000).map(|_| random.below(all.len() as u32)).collect();
        drawn.count(&digits, &sample, &all, goal);
        let order = random.permutation(all.len());
        let (here, there) = order.split_at(all.len() / 2);
        halves.count(&digits, here, there, goal);
    }
    let coverage = drawn.tell("samples");
    halves.tell("halves");
    // Binomial(500, 0.05): mean 25, standard deviation 4.9; three of them.
    assert!(drawn.broken <= 25 + 15, "{drawn:?}");
    assert!(halves.broken <= 2 * 25, "{halves:?}");
    assert!(drawn.refused <= 10, "{drawn:?}");
    assert!(coverage > 0.6, "{drawn:?}");
}
