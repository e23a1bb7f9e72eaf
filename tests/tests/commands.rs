//! Commands that tell something, as a person and as a program would use them.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tests::model;
use tests::programs::{Running, command, fail, run, succeed};

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn json(out: &str) -> Value {
    serde_json::from_str(out).expect("one JSON value")
}

#[test]
fn the_doctor_tells_what_is_there_and_how_to_get_the_rest() {
    let findings = json(&succeed("host", ["doctor", "--json"]));
    let find = |name: &str| {
        let found = findings
            .as_array()
            .expect("a list")
            .iter()
            .find(|finding| finding["name"] == name);
        found
            .unwrap_or_else(|| panic!("nothing about {name}"))
            .clone()
    };
    for name in ["libtorch", "onnxruntime", "mnist", "fashion-mnist"] {
        assert_eq!(find(name)["state"], "present", "{name}: run scripts/setup");
    }
    for name in [
        "CUDA",
        "serial ports",
        "aarch64-unknown-linux-gnu",
        "thumbv7em-none-eabihf",
        "thumbv8m.main-none-eabihf",
        "Cortex-M emulator",
        "probe-rs",
    ] {
        assert_ne!(find(name)["detail"], "", "{name}");
    }

    // An empty cache folder: the data sets are missing, which the exit code says, too.
    let empty = tempfile::tempdir().expect("temporary folder");
    let output = command("host", ["doctor"])
        .env("MCDROPOUT_CACHE", empty.path())
        .output()
        .expect("started");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(
        out.contains("MISSING mnist") && out.contains("scripts/setup"),
        "{out}"
    );
    assert!(err.contains("missing: mnist, fashion-mnist"), "{err}");
}

#[test]
fn a_model_tells_what_it_is() {
    let model = model::trained();
    let info = json(&succeed("device", ["info", "--json", text(&model)]));
    assert_eq!(info["input"], serde_json::json!([1, 28, 28]));
    assert_eq!(info["classes"], 10);
    assert_eq!(info["sites"].as_array().map(Vec::len), Some(3));
    assert!(
        (0.1306..0.1308).contains(&info["preprocessing"]["mean"][0].as_f64().expect("a number"))
    );
    assert!(info["thresholds"]["max_predictive_entropy"].as_f64() > Some(0.0));
    let out = succeed("device", ["info", text(&model)]);
    assert!(out.contains(info["crc32"].as_str().expect("text")), "{out}");
}

#[test]
fn liveness_is_proven_on_every_engine() {
    let model = model::trained();
    for engine in ["native", "tract", "ort"] {
        let proof = json(&succeed(
            "device",
            ["check", "--json", "--engine", engine, text(&model)],
        ));
        let sites = proof["sites"].as_array().expect("a list");
        assert_eq!((&proof["live"], sites.len()), (&true.into(), 3));
        for site in sites {
            assert!(site["distinct"].as_u64() > Some(1), "{engine}: {site}");
            assert!(
                (0.48..0.52).contains(&site["keep_rate"].as_f64().expect("a number")),
                "{site}"
            );
        }
    }
}

/// On a machine with a GPU it runs there, on any other it does not run at all.
#[test]
fn a_provider_that_was_asked_for_runs_or_is_an_error() {
    let model = model::trained();
    let info = json(&succeed("device", ["info", "--json", text(&model)]));
    let built_in = info["onnxruntime"]["providers"].as_array().expect("a list");
    assert!(built_in.contains(&"cpu".into()), "{built_in:?}");
    for provider in ["cpu", "cuda", "tensorrt"] {
        let options = ["--engine", "ort", "--provider", provider, "--limit", "1"];
        let run_it = ["run", "--model", text(&model)].into_iter().chain(options);
        let output = run("device", run_it.clone());
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            assert!(built_in.contains(&provider.into()));
            let engine = match provider {
                "cpu" => " engine=ort ".to_owned(),
                other => format!(" engine=ort-{other} "),
            };
            assert!(out.contains(&engine) && out.contains("\nREPORT "), "{out}");
        } else {
            assert_ne!(provider, "cpu");
            let words = [provider, "was asked for and cannot be used"];
            fail("device", run_it, &words);
            assert_eq!(out, "", "nothing was judged");
            let host = ["evaluate", "--model", text(&model)];
            fail("host", host.into_iter().chain(options), &words);
        }
    }
}

#[test]
fn the_bench_counts_its_frames() {
    let model = model::trained();
    let row = json(&succeed(
        "device",
        [
            "bench",
            "--json",
            "--frames",
            "5",
            "--passes",
            "4",
            "--model",
            text(&model),
        ],
    ));
    assert_eq!(
        (&row["engine"], &row["frames"], &row["passes"]),
        (&"native".into(), &5.into(), &4.into())
    );
    assert!(row["ms_min"].as_f64() <= row["ms_per_frame"].as_f64());
    assert!(row["peak_rss_mib"].as_f64() > Some(1.0));
    assert_eq!(row["mean_passes"].as_f64(), Some(4.0));
}

#[test]
fn adaptive_passes_are_fewer_on_digits_and_reports_tell_how_many() {
    let model = model::trained();
    let args = [
        "run",
        "--model",
        text(&model),
        "--limit",
        "40",
        "--passes",
        "100",
    ];
    let passes = |more: &[&str]| -> Vec<u32> {
        let out = succeed("device", args.iter().chain(more).copied());
        let reports = out.lines().filter(|line| line.starts_with("REPORT"));
        let fields = reports.flat_map(str::split_whitespace);
        let passes = fields.filter_map(|field| field.strip_prefix("passes="));
        passes.map(|n| n.parse().expect("a number")).collect()
    };
    assert_eq!(passes(&[]), [100; 40]);
    let adaptive = passes(&["--adaptive", "--delta", "1e-3"]);
    assert_eq!(adaptive.len(), 40);
    assert!(
        adaptive.iter().all(|n| *n == 100 || n % 16 == 0),
        "{adaptive:?}"
    );
    assert!(adaptive.contains(&16), "{adaptive:?}");
    // The same passes, whatever runs them and on however many threads.
    assert_eq!(adaptive, passes(&["--adaptive", "--threads", "2"]));
    assert_eq!(adaptive, passes(&["--adaptive", "--block", "5"]));
    assert_eq!(adaptive, passes(&["--adaptive", "--engine", "ort"]));
}

#[test]
fn wrong_usage_has_its_own_exit_code_and_help_has_examples() {
    for (program, args) in [
        ("device", &["run"][..]),
        ("device", &["run", "--model", "m", "--passes", "0"]),
        ("device", &["run", "--model", "m", "--crop", "1,2,3"]),
        ("device", &["run", "--model", "m", "--engine", "magic"]),
        ("device", &["run", "--model", "m", "--provider", "cuda"]),
        (
            "device",
            &[
                "run",
                "--model",
                "m",
                "--engine",
                "ort",
                "--provider",
                "magic",
            ],
        ),
        (
            "device",
            &[
                "run",
                "--model",
                "m",
                "--engine",
                "tract",
                "--provider",
                "cpu",
            ],
        ),
        (
            "device",
            &[
                "check",
                "m",
                "--engine",
                "ort",
                "--provider",
                "cuda",
                "--engine-cache",
                "x",
            ],
        ),
        (
            "host",
            &[
                "evaluate",
                "--model",
                "m",
                "--engine",
                "torch",
                "--provider",
                "cuda",
            ],
        ),
        ("device", &["run", "--model", "m", "--threads", "0"]),
        ("device", &["run", "--model", "m", "--delta", "0.01"]),
        (
            "device",
            &["run", "--model", "m", "--adaptive", "--delta", "1"],
        ),
        ("host", &["monitor"]),
        ("host", &["monitor", "x", "--json", "--table"]),
        ("host", &["send"]),
        ("host", &["send", "x", "--timeout", "0"]),
        ("host", &["send", "x", "--tolerance", "0.1"]),
        ("host", &["evaluate", "--model", "m", "--passes", "0"]),
        ("host", &["evaluate", "--model", "m", "--engine", "magic"]),
        (
            "host",
            &["evaluate", "--model", "m", "--require", "acuracy>=1"],
        ),
        ("host", &["no-such-command"]),
    ] {
        assert_eq!(
            run(program, args).status.code(),
            Some(2),
            "{program} {args:?}"
        );
    }
    for (program, subcommand) in [
        ("device", "run"),
        ("host", "monitor"),
        ("host", "send"),
        ("host", "train"),
        ("host", "export"),
        ("host", "evaluate"),
    ] {
        let help = succeed(program, [subcommand, "--help"]);
        assert!(
            help.contains("Examples:"),
            "{program} {subcommand} --help has no examples"
        );
    }
    assert!(succeed("host", ["completions", "bash"]).contains("monitor"));
}

/// What the demo uses, at the speed of a real line.
#[test]
fn the_virtual_serial_line_carries_text_at_its_speed() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (device, host) = (folder.path().join("device"), folder.path().join("host"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/virtual-serial");
    let mut line = Command::new("python3");
    line.args([script.as_path(), &device, &host])
        .arg("460800")
        .stdin(Stdio::null());
    let _line = Running::start(&mut line);
    // Its ends appear one after the other.
    for _ in 0..200 {
        if host.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let monitor = ["monitor", text(&host), "--until-last", "--table"];
    let monitor = Running::start(
        command("host", monitor)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    );
    let model = model::trained();
    let run = [
        "run",
        "--passes",
        "4",
        "--limit",
        "12",
        "--wire",
        "text",
        "--serial",
        text(&device),
        "--model",
    ];
    succeed("device", run.into_iter().chain([text(&model)]));
    let (code, out, err) = monitor.end();
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.contains("verdict") && out.contains("frames      12"),
        "{out}"
    );
    assert!(out.contains("0 messages lost, 0 corrupt"), "{out}");
    assert!(
        !out.contains('\u{1b}'),
        "no colours where stdout is not a terminal"
    );
}
