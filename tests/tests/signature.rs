//! Signed models and plans: what is signed with a trusted key is taken, and nothing else is.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use prost::Message as _;
use tests::programs::{Running, command, fail, succeed};
use tests::{firmware, model};
use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::{ModelProto, StringStringEntryProto};

/// A folder with two pairs of keys, `right` and `wrong`, and a model.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Self(tempfile::tempdir().expect("temporary folder"));
        for name in ["right", "wrong"] {
            succeed("host", ["keygen", &bench.text(name)]);
        }
        fs::copy(model::trained(), bench.path("model.onnx")).expect("copied");
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        text(&self.path(name)).to_owned()
    }

    /// A copy of `file`, signed.
    fn signed(&self, file: &str, key: &str, name: &str) -> String {
        fs::copy(self.path(file), self.path(name)).expect("copied");
        succeed("host", ["sign", "--key", &self.text(key), &self.text(name)]);
        self.text(name)
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn keys_are_secret_and_never_replaced() {
    let bench = Bench::new();
    let mode = |name| {
        let found = fs::metadata(bench.path(name)).expect("written");
        found.permissions().mode() & 0o777
    };
    assert_eq!(mode("right.key"), 0o600);
    let read = |name| fs::read_to_string(bench.path(name)).expect("text");
    assert!(read("right.key").starts_with("-----BEGIN PRIVATE KEY-----\n"));
    assert!(read("right.pub").starts_with("-----BEGIN PUBLIC KEY-----\n"));
    assert_ne!(read("right.pub"), read("wrong.pub"));
    let before = read("right.key");
    fail(
        "host",
        ["keygen", &bench.text("right")],
        &["right.key", "exists"],
    );
    assert_eq!(read("right.key"), before);
    let onnx = bench.text("model.onnx");
    for key in ["right.pub", "model.onnx", "none"] {
        fail("host", ["sign", "--key", &bench.text(key), &onnx], &[key]);
    }
    for key in ["right.key", "none"] {
        fail(
            "device",
            ["check", &onnx, "--trust", &bench.text(key)],
            &[key],
        );
    }
}

#[test]
fn a_model_is_taken_if_it_is_signed_with_a_trusted_key() {
    let bench = Bench::new();
    let (right, wrong) = (bench.text("right.pub"), bench.text("wrong.pub"));
    let unsigned = bench.text("model.onnx");
    let signed = bench.signed("model.onnx", "right.key", "signed.onnx");
    let foreign = bench.signed("model.onnx", "wrong.key", "foreign.onnx");
    let bytes = fs::read(&signed).expect("read");
    let changed = |name: &str, at: usize| {
        let mut bytes = bytes.clone();
        // Another digit, for a signature with something else in it is none.
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        fs::write(bench.path(name), bytes).expect("written");
        bench.text(name)
    };
    // In the middle of the weights, and in the signature.
    let weight = changed("weight.onnx", bytes.len() / 2);
    let last = changed("last.onnx", bytes.len() - 1);
    let more = bench.path("more.onnx");
    fs::write(&more, [&bytes[..], b"\x12\x01x"].concat()).expect("written");
    let place = bench.text("place.onnx");
    let picture = bench.text("digit.pgm");
    fs::write(&picture, [&b"P5 28 28 255\n"[..], &[200; 784]].concat()).expect("written");

    let run = |file: &str, trust: &[&str]| -> Vec<Vec<String>> {
        let commands = [
            vec!["check", file],
            vec![
                "run", "--source", &picture, "--passes", "2", "--model", file,
            ],
            vec!["swap", file, "--to", &place],
        ];
        let trust = trust.iter().flat_map(|key| ["--trust", *key]);
        let trust: Vec<_> = trust.map(String::from).collect();
        let whole = commands.map(|args| {
            let args = args.into_iter().map(String::from);
            args.chain(trust.clone()).collect::<Vec<String>>()
        });
        whole.to_vec()
    };
    let (first, both) = ([right.as_str()], [wrong.as_str(), right.as_str()]);
    for trust in [&[][..], &first, &both] {
        for args in run(&signed, trust) {
            succeed("device", &args);
        }
    }
    for (file, words) in [
        (unsigned.as_str(), &["not signed", "host sign"][..]),
        (&foreign, &["signed by no trusted key", "host sign"]),
        (&weight, &["signed by no trusted key", "changed"]),
        (&last, &["signed by no trusted key"]),
        (text(&more), &["not signed"]),
    ] {
        fs::write(&place, "as before").expect("written");
        for args in run(file, &[&right]) {
            let error = fail("device", &args, words);
            assert!(error.contains(file), "{error}");
        }
        assert_eq!(fs::read(&place).expect("read"), b"as before");
    }
    // Without a trusted key a signature changes nothing, not even what the model is known by.
    let crc = |file: &str| {
        let about = succeed("device", ["info", "--json", file]);
        let about: serde_json::Value = serde_json::from_str(&about).expect("JSON");
        about["crc32"].as_str().expect("text").to_owned()
    };
    assert_eq!(crc(&signed), crc(&unsigned));
    let config = bench.text("device.toml");
    fs::write(&config, format!("trust = [\"{wrong}\", \"{right}\"]\n")).expect("written");
    let run = |file: &str| {
        [
            "run", "--config", &config, "--source", &picture, "--model", file,
        ]
        .map(String::from)
    };
    succeed("device", run(&signed));
    fail("device", run(&unsigned), &["not signed"]);
}

#[test]
fn exports_are_signed_and_calibrated_models_are_to_be_signed_again() {
    let bench = Bench::new();
    let (key, public) = (bench.text("right.key"), bench.text("right.pub"));
    let weights = model::folder().join("model.safetensors");
    let out = bench.text("exported.onnx");
    succeed(
        "host",
        [
            "export",
            "--model",
            text(&weights),
            "--out",
            &out,
            "--sign",
            &key,
        ],
    );
    succeed("device", ["check", &out, "--trust", &public]);
    let plan = bench.text("exported.plan");
    succeed(
        "host",
        [
            "export",
            "--firmware",
            "--model",
            &out,
            "--out",
            &plan,
            "--sign",
            &key,
        ],
    );
    let run = ["run", "--limit", "2", "--model", &plan, "--trust", &public];
    succeed("device", run);
    let mut bytes = fs::read(&plan).expect("read");
    bytes[200] ^= 1;
    fs::write(&plan, bytes).expect("written");
    fail(
        "device",
        run,
        &["exported.plan", "signed by no trusted key"],
    );

    let calibrate = [
        "calibrate",
        "--model",
        &out,
        "--data",
        "mnist:test",
        "--passes",
        "8",
    ];
    let said = tests::programs::run("host", calibrate.into_iter().chain(["--max-risk", "0.3"]));
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("no longer signed"), "{said}");
    fail(
        "device",
        ["check", &out, "--trust", &public],
        &["not signed"],
    );
    succeed("host", ["sign", "--key", &key, &out]);
    succeed("device", ["check", &out, "--trust", &public]);
}

#[test]
fn weights_beside_a_model_are_covered() {
    let bench = Bench::new();
    let mut model = ModelProto::decode(&fs::read(bench.path("model.onnx")).expect("read")[..])
        .expect("a model");
    let graph = model.graph.as_mut().expect("a graph");
    let tensors = graph
        .initializer
        .iter_mut()
        .filter(|tensor| tensor.raw_data.len() > 64);
    let mut beside = Vec::new();
    for tensor in tensors {
        let entry = |key: &str, value: String| StringStringEntryProto {
            key: key.into(),
            value,
        };
        tensor.external_data = vec![
            entry("location", "weights".into()),
            entry("offset", beside.len().to_string()),
            entry("length", tensor.raw_data.len().to_string()),
        ];
        tensor.data_location = Some(DataLocation::External as i32);
        beside.append(&mut tensor.raw_data);
    }
    assert!(!beside.is_empty());
    fs::write(bench.path("model.onnx"), model.encode_to_vec()).expect("written");
    fs::write(bench.path("weights"), &beside).expect("written");
    let signed = bench.signed("model.onnx", "right.key", "signed.onnx");
    let check = ["check", &signed, "--trust", &bench.text("right.pub")].map(String::from);
    succeed("device", &check);
    beside[1000] ^= 1;
    fs::write(bench.path("weights"), &beside).expect("written");
    fail("device", &check, &["signed.onnx", "weights", "SHA-256"]);
    // Signed, but not as this project signs: what lies beside is not covered.
    fs::remove_file(bench.path("weights")).expect("removed");
    fail(
        "host",
        ["sign", "--key", &bench.text("right.key"), &signed],
        &["weights"],
    );
}

#[test]
fn a_hot_swap_refuses_what_is_not_signed() {
    let bench = Bench::new();
    let place = bench.signed("model.onnx", "right.key", "place.onnx");
    let mut program = Running::start(
        command(
            "device",
            [
                "run",
                "--hot-swap",
                "--passes",
                "2",
                "--source",
                "raw:28x28:-",
            ],
        )
        .args([
            "--wire",
            "text",
            "--model",
            &place,
            "--trust",
            &bench.text("right.pub"),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped()),
    );
    let mut frames = program.child().stdin.take().expect("a pipe");
    let mut said = BufReader::new(program.child().stdout.take().expect("a pipe"));
    let mut until = |word: &str| {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            assert!(Instant::now() < deadline, "no {word}");
            frames.write_all(&[200; 784]).expect("the device reads");
            let mut line = String::new();
            while !line.starts_with("REPORT") {
                line.clear();
                assert!(said.read_line(&mut line).expect("text") > 0, "no {word}");
                if line.contains(word) {
                    return line;
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until("REPORT");
    fs::copy(bench.path("model.onnx"), &place).expect("copied");
    let refused = until("model_refused");
    assert!(refused.contains("not%20signed"), "{refused}");
    until("REPORT");
    bench.signed("model.onnx", "wrong.key", "place.onnx");
    let refused = until("model_refused");
    assert!(refused.contains("no%20trusted%20key"), "{refused}");
    bench.signed("model.onnx", "right.key", "place.onnx");
    until("model_swapped");
}

#[test]
fn boards_are_given_the_key() {
    let bench = Bench::new();
    let signed = bench.signed("model.onnx", "right.key", "signed.onnx");
    let (root, key) = (bench.text("root"), bench.text("right.pub"));
    let deploy = |model: &str| {
        [
            "deploy",
            "--to",
            &root,
            "--no-package",
            "--model",
            model,
            "--trust",
            &key,
        ]
        .map(String::from)
    };
    fail(
        "host",
        deploy(&bench.text("model.onnx")),
        &["cannot be deployed", "not signed"],
    );
    assert!(!Path::new(&root).exists());
    succeed("host", deploy(&signed));
    let below = |name: &str| fs::read(Path::new(&root).join(name)).expect("read");
    assert_eq!(
        below("etc/mcdropout/trust.pub"),
        fs::read(&key).expect("read")
    );
    let config = String::from_utf8(below("etc/mcdropout/device.toml")).expect("text");
    assert!(
        config.contains("trust = \"/etc/mcdropout/trust.pub\""),
        "{config}"
    );
    assert_eq!(
        below("var/lib/mcdropout/model.onnx"),
        fs::read(&signed).expect("read")
    );

    fs::write(bench.path("a.plan"), firmware::plan()).expect("written");
    let uf2 = bench.text("a.uf2");
    let plan = bench.text("a.plan");
    fail(
        "host",
        [
            "flash", "--board", "pico2", "--plan", &plan, "--uf2", &uf2, "--trust", &key,
        ],
        &["cannot flash", "a.plan", "not signed"],
    );
}
