//! The graphs that `device::onnx` writes, seen by the official ONNX checker and by stock
//! onnxruntime.

use std::path::Path;
use std::process::Command;

use device::onnx::Model;
use prost::Message as _;

#[test]
fn stem_head_and_whole_graph_pass_the_checker_and_agree() {
    let cache = device::source::cache_folder().expect("a cache folder");
    let python = cache.join("venv/bin/python");
    assert!(
        python.is_file(),
        "{} is missing: run scripts/setup",
        python.display()
    );
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut count = 0;
    for entry in std::fs::read_dir(here.join("fixtures/pytorch")).expect("fixtures") {
        let path = entry.expect("entry").path();
        if path.extension().is_none_or(|e| e != "onnx") {
            continue;
        }
        count += 1;
        let model = Model::load(&path).unwrap_or_else(|e| panic!("{e}"));
        let name = path.file_stem().and_then(|s| s.to_str()).expect("a name");
        for (part, graph) in [
            ("stem", model.stem()),
            ("head", model.head()),
            ("whole", model.masks_as_inputs()),
        ] {
            let file = folder.path().join(format!("{name}.{part}.onnx"));
            std::fs::write(file, graph.encode_to_vec()).expect("written");
        }
    }
    let script = here.join("python/check_parts.py");
    let output = Command::new(python).arg(script).arg(folder.path()).output();
    let output = output.expect("Python starts");
    let (out, err) = (&output.stdout, &output.stderr);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(err));
    assert_eq!(String::from_utf8_lossy(out).trim(), count.to_string());
    assert!(count >= 13, "the fixtures are incomplete: {count}");
}
