//! `host bench` as a user runs it. No time is compared with any other here: machines differ.

use std::path::Path;

use serde_json::Value;
use tests::model;
use tests::programs::{fail, run, stdout};

const ENGINES: [&str; 8] = [
    "native",
    "native-adaptive",
    "tract",
    "ort-masks",
    "ort-live",
    "torch-batched",
    "torch-loop",
    "limit",
];

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// The arguments for the shortest run there is.
fn shortest<'a>(model: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["bench", "--model", text(model)];
    args.extend("--frames 2 --rounds 1 --passes 2 --threads 1".split(' '));
    args.extend(more);
    args
}

#[test]
fn every_engine_is_timed_and_drawn() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (model, picture) = (model::trained(), folder.path().join("bench.svg"));
    let engines = ENGINES.join(",");
    let more = ["--json", "--engines", &engines, "--plot", text(&picture)];
    let output = run("host", shortest(&model, &more));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let report: Value = serde_json::from_str(&stdout(&output)).expect("one JSON value");
    for key in ["cpu", "cores", "memory_gib", "simd", "os", "load_average"] {
        assert!(!report["machine"][key].is_null(), "{key}: {report}");
    }
    let rows = report["rows"].as_array().expect("a list");
    let names: Vec<_> = rows.iter().map(|row| row["engine"].as_str()).collect();
    assert_eq!(names, ENGINES.map(Some));
    for row in rows {
        let number = |key: &str| {
            let value = row[key].as_f64().unwrap_or(f64::NAN);
            assert!(value.is_finite() && value > 0.0, "{key}: {row}");
            value
        };
        for key in ["ms_min", "ms_max", "peak_rss_mib", "ratio"] {
            number(key);
        }
        assert!(number("ms_min") <= number("ms_per_frame"), "{row}");
        assert!(number("ms_per_frame") <= number("ms_max"), "{row}");
        assert_eq!(
            (number("threads"), number("passes"), number("mean_passes")),
            (1.0, 2.0, 2.0)
        );
    }
    let picture = std::fs::read_to_string(&picture).expect("written");
    for name in ENGINES {
        assert!(picture.contains(&format!(">{name}</text>")), "{picture}");
    }
}

#[test]
fn wrong_requests_are_told_before_anything_is_timed() {
    let model = model::trained();
    for (more, words) in [
        (["--engines", "tract,magic"], &ENGINES[..]),
        (["--threads", "0"], &["ALL"]),
        (["--require", "tract=3"], &["engine/engine=ratio"]),
    ] {
        let output = run("host", ["bench", "--model", text(&model), more[0], more[1]]);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        for word in words {
            assert!(stderr.contains(word), "{word} is missing in {stderr}");
        }
    }
    fail(
        "host",
        ["bench", "--model", "absent.onnx"],
        &["absent.onnx"],
    );
    fail(
        "host",
        shortest(&model, &["--require", "tract/ort-live=1"]),
        &["T = 100", "tract"],
    );
    let on_two = ["bench", "--threads", "2", "--engines", "tract", "--model"];
    fail(
        "host",
        on_two.into_iter().chain([text(&model)]),
        &["one thread"],
    );
}

/// A row that fails does not end the run; whether the run failed depends on what was asked for.
#[test]
fn an_engine_that_is_not_installed_is_a_row_with_an_error() {
    let model = model::trained();
    let bench = |more: &[&str]| {
        let mut command = tests::programs::command("host", shortest(&model, more));
        command.env("ORT_DYLIB_PATH", "/no/such/library.so");
        command.output().expect("started")
    };
    let output = bench(&["--json"]);
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_str(&stdout(&output)).expect("one JSON value");
    for row in report["rows"].as_array().expect("a list") {
        let name = row["engine"].as_str().expect("text");
        let error = row["error"].as_str().unwrap_or_default();
        assert_eq!(
            error.contains("ORT_DYLIB_PATH"),
            name.starts_with("ort"),
            "{row}"
        );
    }
    let output = bench(&["--engines", "tract,ort-live"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("ort-live         ORT_DYLIB_PATH"));
}

/// Every place of every axis has a time, and the exponents are numbers.
#[test]
fn growth_is_measured_along_three_axes() {
    let model = model::trained();
    let output = run(
        "host",
        shortest(&model, &["--engines", "ort-masks", "--growth", "--json"]),
    );
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_str(&stdout(&output)).expect("one JSON value");
    let growth = report["growth"].as_array().expect("a list");
    let axes: Vec<_> = growth
        .iter()
        .map(|growth| growth["axis"].as_str())
        .collect();
    assert_eq!(axes, ["passes", "width", "frames"].map(Some));
    for (growth, places) in growth.iter().zip([7, 4, 1]) {
        let points = growth["points"].as_array().expect("a list");
        assert!(points.len() >= places, "{growth}");
        for point in points {
            assert!(point["ms_per_frame"].as_f64() > Some(0.0), "{growth}");
        }
        assert!(points.len() < 2 || growth["exponent"].is_f64(), "{growth}");
        assert_eq!(growth.get("error"), None, "{growth}");
    }
}

/// A file whose dropout is removed by onnxruntime's optimiser is fast there, and worth nothing.
#[test]
fn an_engine_that_does_not_sample_is_an_error() {
    use prost::Message as _;
    use tract_onnx::pb::ModelProto;

    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("no-masks.onnx");
    let bytes = std::fs::read(model::trained()).expect("read");
    let mut proto = ModelProto::decode(&bytes[..]).expect("a model");
    // Without its mask, a Dropout is nothing but a candidate for removal.
    let graph = proto.graph.as_mut().expect("a graph");
    graph.output.truncate(1);
    for node in &mut graph.node {
        node.output.truncate(1);
    }
    std::fs::write(&path, proto.encode_to_vec()).expect("written");
    fail(
        "host",
        shortest(&path, &["--engines", "ort-masks,ort-live"]),
        &["ort-live", "passes do not differ"],
    );
}
