//! `host report`: the page as a browser shows it, and the data in it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::model;
use tests::programs::{Running, command, fail, succeed};

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// Opens a page in a headless browser at two widths, light and dark: `tests/python/check_report.py`
/// in the environment that `scripts/setup` makes.
fn browse(page: &Path) -> Output {
    let cache = device::source::cache_folder().expect("a cache folder");
    let python = cache.join("venv/bin/python");
    assert!(
        python.is_file(),
        "{} is missing: run scripts/setup",
        python.display()
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/check_report.py");
    let output = Command::new(python).arg(script).arg(page).output();
    output.expect("Python starts")
}

fn read(path: &Path) -> Value {
    let text = std::fs::read(path).expect("written");
    serde_json::from_slice(&text).expect("one JSON value")
}

const QUICK: &str = "--limit 40 --passes 10 --ood fashion-mnist --threads 2";

#[test]
fn the_page_is_whole_in_a_browser_and_shows_what_the_json_holds() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let [page, json] = ["report.html", "report.json"].map(|name| folder.path().join(name));
    // What a page must not take for its own text.
    let model = folder
        .path()
        .join("<script>alert(1)</script> & \"'.onnx".replace('/', "|"));
    std::fs::copy(model::trained(), &model).expect("copied");
    let files = [
        "--model",
        text(&model),
        "--out",
        text(&page),
        "--json",
        text(&json),
    ];
    let told = succeed(
        "host",
        ["report"].into_iter().chain(files).chain(QUICK.split(' ')),
    );
    assert_eq!(told.trim(), text(&page));

    let seen = browse(&page);
    let complaints = String::from_utf8_lossy(&seen.stderr);
    assert!(seen.status.success(), "{complaints}");
    let seen: Value = serde_json::from_slice(&seen.stdout).expect("one JSON object");
    let figures = seen["figures"].as_array().expect("figures");
    for title in [
        "Reliability",
        "Risk and coverage",
        "Total uncertainty",
        "Aleatoric uncertainty",
        "Epistemic uncertainty",
        "occlusion block",
        "translation",
        "Which cause is named",
        "Softmax inputs",
        "Softmax outputs",
        "How many passes are enough",
    ] {
        assert!(figures.contains(&title.into()), "{title} in {figures:?}");
    }

    let data = read(&json);
    assert_eq!(data["evaluation"]["frames"], 80);
    assert_eq!(data["configuration"]["run"]["passes"], 10);
    assert_eq!(data["studies"]["corruptions"]["frames"], 40);
    assert_eq!(data["studies"]["precision"]["frames"], 40);
    let page = std::fs::read_to_string(&page).expect("text");
    let accuracy = data["evaluation"]["accuracy"].as_f64().expect("a number");
    assert!(page.contains(&format!("{:.2} %", 100.0 * accuracy)));
    let interval = &data["evaluation"]["intervals"]["accuracy"];
    let ends = [&interval[0], &interval[1]].map(|end| end.as_f64().expect("a number"));
    assert!(ends[0] <= accuracy && accuracy <= ends[1], "{interval}");
    assert!(page.contains(&format!("{:.2} %", 100.0 * ends[0])));
    assert!(data["evaluation"]["standard"]["nll"].as_f64() > Some(0.0));
    let coverage = data["curves"]["risk_coverage"].as_array().expect("points");
    assert_eq!(coverage.last().map(|point| &point[0]), Some(&1.0.into()));
    let risk = coverage.last().and_then(|point| point[1].as_f64());
    assert!((risk.expect("a number") - (1.0 - accuracy)).abs() < 1e-12);
    let sha256 = data["configuration"]["sha256"].as_str().expect("text");
    assert!(sha256.len() == 64 && page.contains(sha256), "{sha256}");
    let shares = data["histograms"][0]["kinds"][0]["shares"].as_array();
    let sum: f64 = shares
        .expect("shares")
        .iter()
        .filter_map(Value::as_f64)
        .sum();
    assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    let uncertain = &data["gallery"][0]["shown"];
    let entropies: Vec<f64> = uncertain
        .as_array()
        .expect("frames")
        .iter()
        .filter_map(|frame| frame["predictive_entropy"].as_f64())
        .collect();
    assert_eq!(entropies.len(), 12);
    assert!(entropies.is_sorted_by(|a, b| a >= b), "{entropies:?}");
    assert_eq!(page.matches("src=\"data:image/png;base64,").count(), {
        let shown = data["gallery"].as_array().expect("groups").iter();
        let shown: usize = shown
            .filter_map(|group| Some(group["shown"].as_array()?.len()))
            .sum();
        // And twelve families at six severities, and a digit at thirteen angles.
        shown + 12 * 6 + 13
    });
}

#[test]
fn a_page_that_is_broken_is_found_out() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let page = folder.path().join("broken.html");
    let broken = "<!doctype html><html><body><h1>a</h1><figure><img src='https://example.org/a.png'></figure>\
        <p style='width:3000px'>wide</p><svg viewBox='0 0 9 9'><text x='20' y='5'>out</text></svg>\
        <script>console.warn('something')</script></body></html>";
    std::fs::write(&page, broken).expect("written");
    let seen = browse(&page);
    assert_eq!(seen.status.code(), Some(1));
    let complaints = String::from_utf8_lossy(&seen.stderr);
    for complaint in [
        "390 light: scrolls sideways",
        "1280 dark: scrolls sideways",
        "a broken image",
        "an image without a text",
        "a figure without a caption",
        "a drawing without a name",
        "text outside of its drawing",
        "something",
        "asked for https://example.org/a.png",
        "contrast of muted",
    ] {
        assert!(
            complaints.contains(complaint),
            "{complaint} in {complaints}"
        );
    }
}

#[test]
fn equal_runs_give_equal_data_on_any_number_of_threads() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let model = model::trained();
    let data = |args: &str| {
        let [page, json] = ["report.html", "report.json"].map(|name| folder.path().join(name));
        let files = [
            "--model",
            text(&model),
            "--out",
            text(&page),
            "--json",
            text(&json),
        ];
        let args = args.split(' ');
        succeed("host", ["report"].into_iter().chain(files).chain(args));
        let mut data = read(&json);
        forget_the_moment(&mut data);
        data
    };
    let one = data("--limit 20 --passes 5 --seed 7 --threads 1");
    assert_eq!(one, data("--limit 20 --passes 5 --seed 7 --threads 2"));
    let other = data("--limit 20 --passes 5 --seed 8 --threads 2");
    assert_ne!(one["evaluation"]["nll"], other["evaluation"]["nll"]);
    assert_ne!(
        one["studies"]["corruptions"],
        other["studies"]["corruptions"]
    );
}

/// Removes what depends on the machine and how busy it is, wherever it stands.
fn forget_the_moment(value: &mut Value) {
    const MOMENT: [&str; 5] = ["seconds", "frames_per_second", "threads", "machine", "made"];
    if let Some(entries) = value.as_object_mut() {
        entries.retain(|name, _| !MOMENT.contains(&name.as_str()));
        entries.values_mut().for_each(forget_the_moment);
    }
}

#[test]
fn bad_input_is_told_and_leaves_no_page() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let page = folder.path().join("report.html");
    let model = model::trained();
    let given = [
        "report",
        "--out",
        text(&page),
        "--limit",
        "5",
        "--passes",
        "2",
    ];
    fail(
        "host",
        given.into_iter().chain(["--model", "absent.onnx"]),
        &["there is no model file absent.onnx"],
    );
    let study = folder.path().join("study.json");
    std::fs::write(&study, "{}").expect("written");
    let args = ["--model", text(&model), "--study", text(&study)];
    fail(
        "host",
        given.into_iter().chain(args),
        &["study.json is no result of `host study epistemic`"],
    );
    let args = [
        "report",
        "--limit",
        "5",
        "--passes",
        "2",
        "--model",
        text(&model),
    ];
    let nowhere = ["--out", "/absent/report.html"];
    fail(
        "host",
        args.into_iter().chain(nowhere),
        &["there is no folder /absent"],
    );
    assert!(!page.exists());
}

#[test]
fn an_interrupt_leaves_no_page() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let page = folder.path().join("report.html");
    let model = model::trained();
    let args = [
        "report",
        "--model",
        text(&model),
        "--out",
        text(&page),
        "--passes",
        "1000",
    ];
    let mut program = Running::start(command("host", args).stderr(Stdio::piped()));
    let log = program.child().stderr.take().expect("piped");
    let mut lines = BufReader::new(log).lines().map_while(Result::ok);
    let begun = lines.find(|line| line.contains("judging"));
    assert!(begun.is_some(), "the report ended by itself");
    kill_process(Pid::from_child(program.child()), Signal::INT).expect("signalled");
    let rest: Vec<String> = lines.collect();
    let (code, _, _) = program.end();
    assert_eq!(code, Some(130), "{rest:?}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 0);
}
