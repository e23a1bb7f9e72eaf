//! Model files that ask for too much are refused with one clear line, in little memory and time.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use prost::Message as _;
use tests::networks::value;
use tests::programs;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, attribute_proto::AttributeType,
};

/// Memory for data at most.
const MOST_MEMORY_KIB: u32 = 256 * 1024;
/// Of the processor. A test machine may be busy with something else, so the clock is no measure.
const MOST_SECONDS: u32 = 1;

fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: format!("node-{output}"),
        input: inputs.iter().map(|name| (*name).into()).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    }
}

fn to_float(input: &str, output: &str) -> NodeProto {
    NodeProto {
        attribute: vec![AttributeProto {
            name: "to".into(),
            r#type: AttributeType::Int as i32,
            i: DataType::Float as i64,
            ..AttributeProto::default()
        }],
        ..node("Cast", &[input], output)
    }
}

fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: DataType::Float as i32,
        raw_data: values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        ..TensorProto::default()
    }
}

fn integers(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: vec![values.len() as i64],
        data_type: DataType::Int64 as i32,
        raw_data: values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        ..TensorProto::default()
    }
}

/// A classifier of 8 × 8 pixels that any device takes: linear, dropout, linear.
fn good() -> ModelProto {
    let weights =
        |count: usize| -> Vec<f32> { (0..count).map(|at| (at % 7) as f32 - 3.0).collect() };
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: 13,
        }],
        graph: Some(GraphProto {
            name: "graph".into(),
            input: vec![value("x", &[1, 1, 8, 8])],
            output: vec![value("y", &[1, 3])],
            initializer: vec![
                floats("w", &[64, 4], &weights(256)),
                floats("v", &[4, 3], &weights(12)),
                floats("ratio", &[], &[0.5]),
                TensorProto {
                    name: "live".into(),
                    data_type: DataType::Bool as i32,
                    raw_data: vec![1],
                    ..TensorProto::default()
                },
            ],
            node: vec![
                node("Flatten", &["x"], "a"),
                node("MatMul", &["a", "w"], "b"),
                node("Dropout", &["b", "ratio", "live"], "c"),
                node("MatMul", &["c", "v"], "y"),
            ],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

/// The good model after a change of its graph.
fn changed(change: impl FnOnce(&mut GraphProto)) -> Vec<u8> {
    let mut model = good();
    change(model.graph.as_mut().expect("it has a graph"));
    model.encode_to_vec()
}

/// With this metadata.
fn described(key: &str, value: String) -> Vec<u8> {
    let mut model = good();
    model.metadata_props.push(StringStringEntryProto {
        key: format!("mcdropout.{key}"),
        value,
    });
    model.encode_to_vec()
}

/// With more fields in its graph.
fn appended(fields: &[u8]) -> Vec<u8> {
    let mut bytes = good().encode_to_vec();
    // A message that comes again adds to the one before.
    bytes.push(7 << 3 | 2);
    prost::encoding::encode_varint(fields.len() as u64, &mut bytes);
    bytes.extend_from_slice(fields);
    bytes
}

/// A graph in an attribute of a node of a graph …, so many times.
fn nested(times: usize) -> Vec<u8> {
    // From the innermost on, backwards.
    let mut backwards: Vec<u8> = Vec::new();
    for _ in 0..times {
        for field in [6, 5, 1] {
            let mut length = Vec::new();
            prost::encoding::encode_varint(backwards.len() as u64, &mut length);
            backwards.extend(length.iter().rev());
            backwards.push(field << 3 | 2);
        }
    }
    backwards.reverse();
    appended(&backwards)
}

/// Runs `device check` and `device run`; each has to refuse the file in a line with all of `words`.
fn refused(bytes: &[u8], words: &[&str]) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("hostile.onnx");
    fs::write(&path, bytes).expect("written");
    refused_at(&path, words);
}

fn refused_at(path: &Path, words: &[&str]) {
    let path = path.to_str().expect("a plain path");
    for args in [&["check", path][..], &["run", "--model", path]] {
        // A heap that grows beyond that ends the program, and so does more work.
        let limited = format!(
            "ulimit -d {MOST_MEMORY_KIB} && ulimit -t {MOST_SECONDS} && exec \"$0\" \"$@\""
        );
        let begin = Instant::now();
        let output = Command::new("sh")
            .args(["-c", &limited])
            .arg(programs::path("device"))
            .args(args)
            .output()
            .expect("started");
        let time = begin.elapsed();
        let said = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code();
        println!("{} ms: {}", time.as_millis(), said.trim());
        assert_eq!(code, Some(1), "{said}");
        let errors: Vec<_> = said
            .lines()
            .filter(|line| line.starts_with("error:"))
            .collect();
        assert_eq!(errors.len(), 1, "{said}");
        assert!(
            errors[0].len() < 1500,
            "{} bytes: {said:.100}",
            errors[0].len()
        );
        for word in words {
            assert!(
                errors[0].contains(word),
                "'{word}' is missing in: {}",
                errors[0]
            );
        }
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn the_model_that_the_others_are_made_from_is_good() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("good.onnx");
    fs::write(&path, good().encode_to_vec()).expect("written");
    let path = path.to_str().expect("a plain path");
    programs::succeed("device", ["check", path, "--channels", "grey"]);
}

#[test]
fn weights_that_are_not_there() {
    // 10 GB, of which 4 bytes are there.
    let huge = changed(|graph| graph.initializer[0].dims = vec![50_000, 50_000]);
    refused(&huge, &["hostile.onnx", "tensor w", "impossible"]);
    for dims in [
        vec![1 << 40, 1 << 40],
        vec![i64::MAX, 2],
        vec![-1],
        vec![1 << 33, 0, 1 << 33],
    ] {
        let overflowing = changed(|graph| graph.initializer[0].dims = dims);
        refused(&overflowing, &["tensor w"]);
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("hostile.onnx");
    fs::write(folder.path().join("weights"), [0; 1024]).expect("written");
    let outside = |offset: &str, length: &str| {
        changed(|graph| {
            let entry = |key: &str, value: &str| StringStringEntryProto {
                key: key.into(),
                value: value.into(),
            };
            let tensor = &mut graph.initializer[0];
            tensor.raw_data.clear();
            tensor.data_location = Some(DataLocation::External as i32);
            tensor.external_data = vec![
                entry("location", "weights"),
                entry("offset", offset),
                entry("length", length),
            ];
        })
    };
    for (offset, length) in [("0", "10000000000"), ("18446744073709551615", "1024")] {
        fs::write(&path, outside(offset, length)).expect("written");
        refused_at(&path, &["tensor w", "outside"]);
    }
}

#[test]
fn graphs_without_end() {
    let cyclic = changed(|graph| {
        graph.node[1].input[0] = "c".into();
    });
    refused(&cyclic, &["nothing before it writes"]);
    refused(&nested(100_000), &["nested more than"]);
}

#[test]
fn too_many_of_everything() {
    let chain = changed(|graph| {
        let names: Vec<String> = (0..=1_000_000).map(|at| format!("n{at}")).collect();
        let relus = names.windows(2).map(|pair| NodeProto {
            op_type: "Relu".into(),
            input: vec![pair[0].clone()],
            output: vec![pair[1].clone()],
            ..NodeProto::default()
        });
        graph.node[0].output[0].clone_from(&names[0]);
        graph.node[1].input[0] = "n1000000".into();
        let relus: Vec<_> = relus.collect();
        graph.node.splice(1..1, relus);
    });
    refused(&chain, &["more than 8192 nodes"]);
    // Two bytes each: an empty node, output, weight; a node with a million attributes.
    for (field, words) in [(1, "nodes"), (12, "fields"), (5, "fields")] {
        refused(
            &appended(&[field << 3 | 2, 0].repeat(1_000_000)),
            &["more than", words],
        );
    }
    let attributes = [5 << 3 | 2, 0].repeat(1_000_000);
    let mut of_a_node = vec![1 << 3 | 2];
    prost::encoding::encode_varint(attributes.len() as u64, &mut of_a_node);
    of_a_node.extend(attributes);
    refused(&appended(&of_a_node), &["more than", "attributes"]);
    // A byte each, eight in memory.
    let numbers = changed(|graph| {
        let tensor = &mut graph.initializer[0];
        tensor.data_type = DataType::Int64 as i32;
        tensor.raw_data.clear();
        tensor.int64_data = vec![1; 60_000_000];
        tensor.dims = vec![60_000_000];
    });
    refused(&numbers, &["more than", "bytes of numbers"]);
    let name = changed(|graph| graph.node[2].name = "n".repeat(50_000_000));
    refused(&name, &["a name has more than"]);
    let name = changed(|graph| graph.node[2].name = "a\nb\x1b[2J".into());
    refused(&name, &["control characters"]);
}

/// The good model, to whose input the largest element of what `nodes` write as `large` is added.
fn with_constant(nodes: Vec<NodeProto>, weights: Vec<TensorProto>) -> Vec<u8> {
    changed(|graph| {
        graph.initializer.extend(weights);
        graph.node[0].output[0] = "flat".into();
        graph.node.splice(1..1, nodes);
        let at = graph.node.len() - 3;
        let sum = [
            node("ReduceMax", &["large"], "largest"),
            node("Add", &["flat", "largest"], "a"),
        ];
        graph.node.splice(at..at, sum);
    })
}

#[test]
fn constants_out_of_a_few_bytes() {
    let filled = with_constant(
        vec![node("ConstantOfShape", &["shape"], "large")],
        vec![integers("shape", &[1 << 20, 1 << 20])],
    );
    refused(&filled, &["constants take too much memory"]);
    let scalar = |name: &str, value: i64| TensorProto {
        dims: Vec::new(),
        ..integers(name, &[value])
    };
    let range = with_constant(
        vec![
            node("Range", &["from", "to", "step"], "range"),
            to_float("range", "large"),
        ],
        vec![scalar("from", 0), scalar("to", i64::MAX), scalar("step", 1)],
    );
    refused(&range, &["constants take too much memory"]);
    let product = with_constant(
        vec![node("Add", &["column", "row"], "large")],
        vec![
            floats("column", &[60_000, 1], &[1.0; 60_000]),
            floats("row", &[1, 60_000], &[1.0; 60_000]),
        ],
    );
    refused(&product, &["constants take too much memory"]);
    let small = with_constant(
        vec![
            node("ConstantOfShape", &["shape"], "zeros"),
            to_float("zeros", "large"),
        ],
        vec![integers("shape", &[16, 16])],
    );
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("good.onnx");
    fs::write(&path, small).expect("written");
    let path = path.to_str().expect("a plain path");
    programs::succeed("device", ["check", path, "--channels", "grey"]);
}

#[test]
fn activations_out_of_a_few_bytes() {
    let wide = |repeats: [i64; 4], late: bool| {
        changed(|graph| {
            graph.initializer.push(integers("repeats", &repeats));
            let (tile, drop) = if late { (1, 0) } else { (0, 1) };
            let mut nodes = vec![NodeProto::default(); 2];
            nodes[tile] = node(
                "Tile",
                &[["x", "dropped"][tile], "repeats"],
                ["tiled", "large"][tile],
            );
            nodes[drop] = node(
                "Dropout",
                &[["x", "tiled"][drop], "ratio", "live"],
                ["dropped", "large"][drop],
            );
            nodes.push(node("GlobalMaxPool", &["large"], "pooled"));
            nodes.push(node("Flatten", &["pooled"], "y"));
            graph.node = nodes;
        })
    };
    refused(&wide([1, 2, 512, 512], false), &["values for", "supported"]);
    refused(
        &wide([1, 2, 512, 512], true),
        &["values for a pass", "supported"],
    );
    refused(&wide([1, 2, 1 << 14, 1 << 14], false), &["shape"]);
    refused(&wide([1, 2, 1 << 31, 1 << 31], true), &["shape"]);
    refused(&wide([1, 100_000_000, 1, 1], true), &["shape"]);
    refused(&wide([1, 100_000, 1, 1], true), &["100000 classes"]);
    let input = changed(|graph| graph.input[0] = value("x", &[1, 65_535, 65_535, 65_535]));
    refused(&input, &["input x", "impossible"]);
}

#[test]
fn metadata_that_never_ends() {
    for key in ["labels", "thresholds", "training"] {
        refused(
            &described(key, "[".repeat(1_000_000)),
            &[key, "cannot be read"],
        );
    }
    refused(
        &described("labels", r#"["a","\u001b]0;b\u0007","c"]"#.to_owned()),
        &["labels", "control characters"],
    );
    let labels = format!("[{}\"\"]", "\"\",".repeat(3_000_000));
    refused(&described("labels", labels), &["labels for 3 classes"]);
}

#[test]
fn weights_in_attributes_count_too() {
    let constant = changed(|graph| {
        let mut node = node("Constant", &[], "constant");
        node.attribute = vec![AttributeProto {
            name: "value".into(),
            r#type: AttributeType::Tensor as i32,
            t: Some(floats("huge", &[1 << 30], &[1.0])),
            ..AttributeProto::default()
        }];
        graph.node.insert(0, node);
    });
    refused(&constant, &["tensor huge", "impossible"]);
}
