//! Another model while frames go on: taken, refused, and taken back.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use prost::Message as _;
use tests::model;
use tests::programs::{Running, command, fail, succeed};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, ModelProto, NodeProto, TensorProto};

const SIDE: usize = 28;

/// A device that hot-swaps, fed frame by frame.
struct Device {
    frames: ChildStdin,
    said: BufReader<ChildStdout>,
    _program: Running,
}

impl Device {
    fn start(model: &Path) -> Self {
        let mut program = Running::start(
            command("device", ["run", "--hot-swap", "--passes", "8"])
                .args(["--source", "raw:28x28:-", "--wire", "text", "--model"])
                .arg(model)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
        );
        let child = program.child();
        let frames = child.stdin.take().expect("a pipe");
        let said = BufReader::new(child.stdout.take().expect("a pipe"));
        Self {
            frames,
            said,
            _program: program,
        }
    }

    /// Sends an even picture and returns all that is said until its report.
    fn judge(&mut self, luma: u8) -> Vec<String> {
        let frame = vec![luma; SIDE * SIDE];
        self.frames.write_all(&frame).expect("the device reads");
        self.frames.flush().expect("the device reads");
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let length = self.said.read_line(&mut line).expect("text");
            assert!(length > 0, "the device ended after {lines:?}");
            let report = line.starts_with("REPORT");
            if !line.trim().is_empty() {
                lines.push(line);
            }
            if report {
                return lines;
            }
        }
    }

    /// Sends bright frames until a line holds `word`; returns it and what is said until the report.
    fn until(&mut self, word: &str) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let lines = self.judge(200);
            if lines.iter().any(|line| line.contains(word)) {
                return lines;
            }
            assert!(Instant::now() < deadline, "no {word}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Waits for the thread beside the loop.
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// The CRC-32 as messages show it.
fn crc(model: &Path) -> String {
    let about = succeed("device", ["info", "--json", text(model)]);
    let about: serde_json::Value = serde_json::from_str(&about).expect("JSON");
    about["crc32"].as_str().expect("text").to_owned()
}

fn decimal(crc: &str) -> u32 {
    u32::from_str_radix(crc, 16).expect("hexadecimal")
}

/// The trained model with another comment, and so another CRC-32.
fn another(folder: &Path) -> PathBuf {
    let mut model = decoded();
    model.doc_string = "trained again".into();
    written(&folder.join("another.onnx"), &model)
}

fn decoded() -> ModelProto {
    let bytes = fs::read(model::trained()).expect("readable");
    ModelProto::decode(&*bytes).expect("a model")
}

fn written(path: &Path, model: &ModelProto) -> PathBuf {
    fs::write(path, model.encode_to_vec()).expect("written");
    path.to_owned()
}

/// The trained model, whose logits are not numbers for dark pictures only: no check can know.
fn blind_in_the_dark(folder: &Path) -> PathBuf {
    let mut model = decoded();
    let graph = model.graph.as_mut().expect("a graph");
    let image = graph.input[0].name.clone();
    for output in graph.node.iter_mut().flat_map(|node| &mut node.output) {
        if output == "logits" {
            "sighted".clone_into(output);
        }
    }
    graph.initializer.push(TensorProto {
        name: "dark".into(),
        data_type: 1,
        float_data: vec![0.3],
        ..TensorProto::default()
    });
    let mut node = |kind: &str, inputs: [&str; 2], output: &str| {
        graph.node.push(NodeProto {
            name: output.into(),
            op_type: kind.into(),
            input: inputs
                .iter()
                .filter(|name| !name.is_empty())
                .map(ToString::to_string)
                .collect(),
            output: vec![output.into()],
            ..NodeProto::default()
        });
    };
    node("GlobalAveragePool", [&image, ""], "mean");
    node("Flatten", ["mean", ""], "means");
    // The mean of a black picture, normalised, is -0.42.
    node("Add", ["means", "dark"], "light");
    node("Sqrt", ["light", ""], "root");
    node("Sub", ["root", "root"], "nothing");
    node("Add", ["sighted", "nothing"], "logits");
    for node in &mut graph.node {
        if node.op_type == "Flatten" && node.attribute.is_empty() {
            node.attribute.push(AttributeProto {
                name: "axis".into(),
                r#type: AttributeType::Int as i32,
                i: 1,
                ..AttributeProto::default()
            });
        }
    }
    written(&folder.join("blind.onnx"), &model)
}

#[test]
fn a_new_model_is_taken_between_two_frames_and_a_bad_one_set_aside() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let place = folder.path().join("model.onnx");
    let good = folder.path().join("model.onnx.good");
    fs::copy(model::trained(), &place).expect("copied");
    let (first, second) = (crc(&place), another(folder.path()));
    let mut device = Device::start(&place);
    let greeting = device.judge(200);
    assert!(
        greeting[0].contains(&format!("model={first}")),
        "{greeting:?}"
    );
    for _ in 0..20 {
        device.judge(200);
    }
    eventually("the first model is kept", || good.is_file());

    let said = succeed("device", ["swap", text(&second), "--to", text(&place)]);
    assert!(said.contains("is in place"), "{said}");
    let swapped = device.until("model_swapped");
    let second_crc = crc(&second);
    let detail = format!("detail={} ", decimal(&second_crc));
    assert!(
        swapped[0].contains("model_swapped") && swapped[0].contains(&detail),
        "{swapped:?}"
    );
    let hello = &swapped[1];
    assert!(
        hello.starts_with("HELLO") && hello.contains(&format!("model={second_crc}")),
        "{hello}"
    );
    for _ in 0..20 {
        device.judge(200);
    }
    let is = |path: &Path, same: &Path| fs::read(path).ok() == fs::read(same).ok();
    eventually("the second model is kept", || is(&good, &second));

    // Straight into its place, as by a careless copy.
    fs::write(&place, "no model").expect("written");
    let refused = device.until("model_refused");
    assert!(
        refused[0].contains("text=a%20model%20that%20is%20swapped"),
        "{refused:?}"
    );
    assert!(is(&place, &second), "the good one is in its place again");
    let aside = fs::read(folder.path().join("model.onnx.refused")).expect("set aside");
    assert_eq!(aside, b"no model");
    let after = device.judge(200);
    assert_eq!(after.len(), 1, "{after:?}");
    let number = |lines: &[String]| -> u32 {
        let report = lines.last().expect("a report");
        let frame = report
            .split(" frame=")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        frame.expect("a number").parse().expect("a number")
    };
    assert_eq!(number(&after), number(&refused) + 1, "no frame is lost");
}

#[test]
fn a_model_that_fails_at_its_first_frames_is_taken_back() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let place = folder.path().join("model.onnx");
    fs::copy(model::trained(), &place).expect("copied");
    let (first, blind) = (crc(&place), blind_in_the_dark(folder.path()));
    let mut device = Device::start(&place);
    for _ in 0..20 {
        device.judge(200);
    }
    eventually("the model is kept", || {
        folder.path().join("model.onnx.good").is_file()
    });
    succeed("device", ["swap", text(&blind), "--to", text(&place)]);
    device.until("model_swapped");

    let lines = device.judge(0);
    assert_eq!(lines.len(), 3, "{lines:?}");
    let detail = format!("detail={} ", decimal(&first));
    assert!(
        lines[0].contains("model_rolled_back") && lines[0].contains(&detail),
        "{lines:?}"
    );
    assert!(lines[1].starts_with("HELLO") && lines[1].contains(&format!("model={first}")));
    assert!(
        lines[2].starts_with("REPORT"),
        "the frame is judged all the same"
    );
    eventually("the first model is in its place again", || {
        fs::read(&place).ok() == fs::read(model::trained()).ok()
    });
    let aside = folder.path().join("model.onnx.refused");
    eventually("the other is set aside", || {
        fs::read(&aside).ok() == fs::read(&blind).ok()
    });
    // That the place changed is no news.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(device.judge(0).len(), 1);
}

#[test]
fn a_start_with_a_broken_model_takes_the_last_good_one() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let place = folder.path().join("model.onnx");
    let good = folder.path().join("model.onnx.good");
    fs::copy(model::trained(), &good).expect("copied");
    fs::write(&place, "").expect("written");
    let mut device = Device::start(&place);
    let lines = device.judge(200);
    assert!(
        lines[0].starts_with("HELLO") && lines[0].contains(&crc(&good)),
        "{lines:?}"
    );
    assert!(lines[1].contains("model_refused"), "{lines:?}");

    fs::remove_file(&good).expect("removed");
    fail(
        "device",
        ["run", "--hot-swap", "--model", text(&place)],
        &["model.onnx", "empty"],
    );
}

#[test]
fn a_swap_refuses_what_a_check_refuses_and_leaves_the_place_as_it_was() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let place = folder.path().join("model.onnx");
    fs::write(&place, "as it was").expect("written");
    let bad = folder.path().join("bad.onnx");
    fs::write(&bad, "no model").expect("written");
    fail(
        "device",
        ["swap", text(&bad), "--to", text(&place)],
        &["not an ONNX"],
    );
    let beside =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pytorch/convolutional.dynamo18.onnx");
    fail(
        "device",
        ["swap", text(&beside), "--to", text(&place)],
        &["complete in one file"],
    );
    let nowhere = folder.path().join("absent/model.onnx");
    let good = model::trained();
    fail(
        "device",
        ["swap", text(&good), "--to", text(&nowhere)],
        &["cannot copy"],
    );
    assert_eq!(fs::read(&place).expect("there"), b"as it was");
    let names: Vec<_> = fs::read_dir(folder.path()).expect("listed").collect();
    assert_eq!(names.len(), 2, "nothing else is left: {names:?}");
}
