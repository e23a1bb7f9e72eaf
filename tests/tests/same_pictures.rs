//! What is measured is what is deployed: `host evaluate` and `device run` say the same of the same files,
//! bit for bit, whatever the size and colour of the model's input, and on every engine.

use std::fs;
use std::path::Path;

use image::ImageFormat;
use prost::Message as _;
use serde_json::Value;
use tests::colour::{picture, write_model};
use tests::programs::{command, succeed};
use tract_onnx::pb::{ModelProto, StringStringEntryProto};

/// Class folders, and pictures in each.
const CLASSES: [&str; 2] = ["1", "2"];
const PICTURES: usize = 3;
/// Columns, rows and file format, smaller and larger than the models' inputs, in both orientations.
const FORMS: [(u32, u32, &str); 6] = [
    (40, 30, "png"),
    (300, 225, "jpg"),
    (30, 50, "ppm"),
    (28, 28, "png"),
    (640, 480, "jpg"),
    (225, 224, "png"),
];

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// The same pictures twice: in class folders, and in one folder, in the order in which classes take turns.
fn write_pictures(classes: &Path, flat: &Path) {
    fs::create_dir(flat).expect("created");
    for class in CLASSES {
        fs::create_dir_all(classes.join(class)).expect("created");
    }
    for (number, &(width, height, format)) in FORMS.iter().enumerate() {
        let class = classes.join(CLASSES[number % CLASSES.len()]);
        let path = class.join(format!("{}.{format}", number / CLASSES.len()));
        let kind = ImageFormat::from_extension(format).expect("a known format");
        let picture = picture(number, width, height);
        picture.save_with_format(&path, kind).expect("written");
        fs::copy(&path, flat.join(format!("{number}.{format}"))).expect("copied");
    }
}

fn lines(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// What `host evaluate` records, and what `device run` reports.
fn both(model: &Path, classes: &Path, flat: &Path, engine: &str) -> (Vec<Value>, Vec<Value>) {
    let records = model.with_extension("jsonl");
    let common = ["--engine", engine, "--passes", "8", "--model", text(model)];
    let evaluate = ["evaluate", "--dataset", text(classes), "--records"];
    let rest = ["--bootstrap", "0", "--threads", "2", "--json"];
    let args = evaluate.into_iter().chain([text(&records)]);
    succeed("host", args.chain(rest).chain(common));
    let capture = model.with_extension("capture");
    let _ = fs::remove_file(&capture);
    let serial = format!("file:{}", capture.display());
    let run = ["run", "--source", text(flat), "--serial", &serial];
    succeed(
        "device",
        run.into_iter().chain(["--wire", "binary"]).chain(common),
    );
    let reports = succeed("host", ["monitor", text(&capture)]);
    let recorded = fs::read_to_string(&records).expect("written");
    (lines(&recorded), lines(&reports))
}

fn number(value: &Value) -> f32 {
    value.as_f64().expect("a number") as f32
}

#[test]
fn evaluation_and_device_agree_to_the_bit() {
    let place = tempfile::tempdir().expect("temporary folder");
    let (classes, flat) = (place.path().join("classes"), place.path().join("flat"));
    write_pictures(&classes, &flat);
    let grey = r#""mean":[0.4],"standard_deviation":[0.3]"#;
    let colour = r#""mean":[0.3,0.4,0.5],"standard_deviation":[0.2,0.3,0.25]"#;
    let ways = [
        (28, r#""geometry":"center-crop","interpolation":"area""#),
        (32, r#""geometry":"stretch","interpolation":"bilinear""#),
        (
            64,
            r#""geometry":{"letterbox":127},"interpolation":"bicubic""#,
        ),
        (
            224,
            r#""geometry":{"short-side":256},"interpolation":"bilinear""#,
        ),
    ];
    for (side, way) in ways {
        for (channels, planes, values) in [("grey", 1, grey), ("rgb", 3, colour)] {
            let model = place.path().join(format!("{channels}-{side}.onnx"));
            let entry = format!("{{\"channels\":\"{channels}\",{way},{values}}}");
            write_model(&model, planes, side, &entry);
            for engine in ["native", "tract", "ort"] {
                let about = format!("{channels} {side} {engine}");
                let (records, reports) = both(&model, &classes, &flat, engine);
                assert_eq!(records.len(), CLASSES.len() * PICTURES, "{about}");
                assert_eq!(records.len(), reports.len(), "{about}");
                for (record, report) in records.iter().zip(&reports) {
                    let about = format!("{about}: {record} and {report}");
                    assert_eq!(record["frame"], report["frame"], "{about}");
                    let class = record["class"].as_u64().expect("a class") as usize;
                    assert_eq!(report["label"], class.to_string(), "{about}");
                    // The folders are named after outputs 1 and 2.
                    let frame = record["frame"].as_u64().expect("a number");
                    assert_eq!(record["label"].as_u64(), Some(1 + frame % 2), "{about}");
                    assert_eq!(
                        number(&record["probabilities"][class]).to_bits(),
                        number(&report["confidence"]).to_bits(),
                        "{about}"
                    );
                    for score in [
                        "predictive_entropy",
                        "expected_entropy",
                        "mutual_information",
                        "variation_ratio",
                        "standard_deviation",
                    ] {
                        assert_eq!(
                            number(&record["scores"][score]).to_bits(),
                            number(&report[score]).to_bits(),
                            "{score}, {about}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn classes_are_matched_by_name_and_a_mismatch_tells_both_sides() {
    let place = tempfile::tempdir().expect("temporary folder");
    let (classes, flat) = (place.path().join("classes"), place.path().join("flat"));
    write_pictures(&classes, &flat);
    let model = place.path().join("model.onnx");
    write_model(&model, 3, 32, r#"{"channels":"rgb"}"#);
    let file = fs::read(&model).expect("written");
    let label = |labels: &str| {
        let mut proto = ModelProto::decode(&file[..]).expect("just built");
        proto.metadata_props.push(StringStringEntryProto {
            key: "mcdropout.labels".into(),
            value: labels.into(),
        });
        fs::write(&model, proto.encode_to_vec()).expect("written");
    };
    let records = place.path().join("records");
    let evaluate = [
        "evaluate",
        "--model",
        text(&model),
        "--dataset",
        text(&classes),
        "--records",
        text(&records),
        "--bootstrap",
        "0",
        "--passes",
        "2",
    ];
    fs::rename(classes.join("1"), classes.join("cat")).expect("renamed");
    fs::rename(classes.join("2"), classes.join("dog")).expect("renamed");
    label(r#"["dog","bird","cat"]"#);
    succeed("host", evaluate);
    let found: Vec<Option<u64>> = lines(&fs::read_to_string(&records).expect("written"))
        .iter()
        .map(|record| record["label"].as_u64())
        .collect();
    assert_eq!(found, [2, 0, 2, 0, 2, 0].map(Some));
    label(r#"["dog","bird","fish"]"#);
    let output = command("host", evaluate).output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    for part in ["dog, bird, fish", "cat, dog", "does not know cat"] {
        assert!(said.contains(part), "{said}");
    }
}
