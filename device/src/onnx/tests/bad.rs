//! Files that are not models, or not models that can be sampled.

use proptest::prelude::*;
use prost::Message as _;
use tract_onnx::pb::tensor_proto::{DataType, Segment};
use tract_onnx::pb::{FunctionProto, GraphProto, ModelProto};

use super::build::{
    Build, Form, float, float_attribute, int_attribute, ints, ints_attribute, smallest,
    tensor_attribute, value,
};
use super::{load, refusal, refusal_of};
use crate::engine::Engine as _;
use crate::engine::tract::TractEngine;
use crate::onnx::Model;

/// A model with layers of all kinds, to be damaged.
fn rich() -> Build {
    Build::new(13, &[0, 1, 6, 6])
        .weight("k", &[2, 1, 3, 3])
        .node(
            "Conv",
            &["x", "k"],
            &["c"],
            &[
                ints_attribute("kernel_shape", &[3, 3]),
                ints_attribute("strides", &[1, 1]),
                ints_attribute("pads", &[0, 0, 0, 0]),
                ints_attribute("dilations", &[1, 1]),
                int_attribute("group", 1),
            ],
        )
        .weight("s", &[2])
        .node(
            "BatchNormalization",
            &["c", "s", "s", "s", "k.v"],
            &["n"],
            &[],
        )
        .live("n", "d", 0.5)
        .node(
            "MaxPool",
            &["d"],
            &["p"],
            &[
                ints_attribute("kernel_shape", &[2, 2]),
                ints_attribute("strides", &[2, 2]),
            ],
        )
        .node("Relu", &["p"], &["r"], &[])
        .constant(ints("shape", &[1, -1]))
        .node("Reshape", &["r", "shape"], &["f"], &[])
        .weight("w", &[3, 8])
        .node(
            "Gemm",
            &["f", "w"],
            &["g"],
            &[int_attribute("transB", 1), float_attribute("alpha", 1.0)],
        )
        .live("g", "e", 0.25)
        .node("LogSoftmax", &["e"], &["y"], &[int_attribute("axis", 1)])
        .output("y")
        .tensor(float("k.v", &[2], &[1.0, 2.0]))
}

#[test]
fn what_is_no_model_is_refused() {
    load(&rich());
    assert!(refusal_of(Model::from_bytes(&[])).contains("empty"));
    let message = refusal_of(Model::from_bytes(
        b"not a model, but a text that is long enough to be one",
    ));
    assert!(message.contains("not an ONNX model"), "{message}");
    // An image, an archive.
    for magic in [
        &b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..],
        b"PK\x03\x04\x14\0\0\0",
    ] {
        refusal_of(Model::from_bytes(magic));
    }
    let absent = refusal_of(Model::load(std::path::Path::new("absent/model.onnx")));
    assert!(
        absent.contains("absent/model.onnx") && absent.contains("cannot read"),
        "{absent}"
    );
    let folder = tempfile::tempdir().unwrap();
    assert!(refusal_of(Model::load(folder.path())).contains("cannot read"));
}

#[test]
fn every_truncation_is_refused() {
    let bytes = rich().bytes();
    for length in 0..bytes.len() {
        // What comes last in the file is the opset, without which nothing is a model.
        refusal_of(Model::from_bytes(&bytes[..length]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(600)))]

    /// Damage is refused or makes another model; it never panics, hangs or eats the memory.
    #[test]
    fn damaged_files_never_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = rich().bytes();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        exercise(&bytes);
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Model::from_bytes(&bytes).is_err());
    }

    /// Damage that leaves a well-formed file: numbers, names and attributes are other ones.
    #[test]
    fn wrong_fields_never_panic(
        which in any::<prop::sample::Index>(),
        what in 0..7_u8,
        number in prop_oneof![Just(0), Just(-1), Just(1), Just(i64::MAX), Just(i64::MIN), -9..9_i64, any::<i64>()],
        other in any::<prop::sample::Index>(),
    ) {
        let mut build = rich();
        let graph = build.graph();
        let tensors: Vec<String> = graph.node.iter().flat_map(|n| n.output.clone()).collect();
        match what {
            0 => {
                let index = which.index(graph.initializer.len());
                let tensor = &mut graph.initializer[index];
                let axis = other.index(tensor.dims.len().max(1));
                if let Some(dim) = tensor.dims.get_mut(axis) { *dim = number; }
            }
            1 => {
                let index = which.index(graph.initializer.len());
                graph.initializer[index].data_type = number as i32;
            }
            2 => {
                let attributes: Vec<_> = graph.node.iter_mut().flat_map(|n| &mut n.attribute).collect();
                let count = attributes.len();
                let attribute = attributes.into_iter().nth(which.index(count)).unwrap();
                attribute.i = number;
                let place = other.index(attribute.ints.len().max(1));
                if let Some(value) = attribute.ints.get_mut(place) { *value = number; }
                if let Some(tensor) = &mut attribute.t {
                    tensor.int64_data.iter_mut().for_each(|v| *v = number);
                }
            }
            3 => {
                let index = which.index(graph.node.len());
                let node = &mut graph.node[index];
                let place = other.index(node.input.len().max(1));
                if let Some(input) = node.input.get_mut(place) {
                    input.clone_from(&tensors[(number as usize) % tensors.len()]);
                }
            }
            4 => {
                let index = which.index(graph.node.len());
                graph.node.remove(index);
            }
            5 => {
                let ops = ["Gather", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Concat", "Pad",
                    "ReduceMean", "Expand", "Tile", "Conv", "ConvTranspose", "Gemm", "MatMul", "Resize", "TopK",
                    "OneHot", "Range", "Where", "GlobalAveragePool", "AveragePool", "LRN", "LSTM", "Einsum",
                    "ConstantOfShape", "DepthToSpace", "Upsample", "QuantizeLinear", "NonMaxSuppression", "Cast",
                    "CumSum", "Scatter", "ScatterND", "GatherND", "Clip", "Softmax", "InstanceNormalization",
                    "LayerNormalization", "Trilu", "EyeLike", "Compress", "DFT", "MeanVarianceNormalization",
                    "ArgMax", "Hardmax", "Mod", "BitShift", "Shape", "Size", "GRU", "RNN", "GridSample"];
                let index = which.index(graph.node.len());
                graph.node[index].op_type = ops[other.index(ops.len())].into();
            }
            _ => {
                let index = which.index(graph.node.len());
                let node = &mut graph.node[index];
                let keep = other.index(node.attribute.len() + 1);
                node.attribute.truncate(keep);
                node.input.truncate((number as usize) % 5);
            }
        }
        exercise(&build.bytes());
    }
}

#[test]
fn unknown_opsets_are_refused() {
    for opset in [1, 6, 25, 1000, -1, i64::MAX] {
        let message = refusal(&smallest(opset, Form::Attribute, 0.5));
        assert!(
            message.contains(&format!("opset {opset}")) && message.contains("7 to 24"),
            "{message}"
        );
    }
    let mut none = smallest(13, Form::Constants, 0.5);
    none.model.opset_import.clear();
    assert!(refusal(&none).contains("no operator set"));
}

#[test]
fn operators_that_cannot_run_are_named() {
    let with = |op: &str, domain: &str| {
        let mut build = Build::new(13, &[1, 4])
            .live("x", "d", 0.5)
            .node(op, &["d"], &["y"], &[])
            .output("y");
        build.graph().node.last_mut().unwrap().domain = domain.into();
        build
    };
    let message = refusal(&with("FancyAttention", ""));
    assert!(
        message.contains("operator FancyAttention (node FancyAttention_y)"),
        "{message}"
    );
    let message = refusal(&with("Relu", "com.example"));
    assert!(message.contains("com.example:Relu"), "{message}");
    assert!(refusal(&with("RandomNormalLike", "")).contains("random numbers of its own"));
    let message = refusal(&with("Bernoulli", ""));
    assert!(
        message.contains("Bernoulli (node Bernoulli_y)")
            && message.contains("random numbers of its own"),
        "{message}"
    );
    assert!(refusal(&with("If", "")).contains("control flow"));
    let mut function = with("Custom", "mine");
    function.model.functions.push(FunctionProto {
        name: Some("Custom".into()),
        domain: Some("mine".into()),
        ..FunctionProto::default()
    });
    assert!(refusal(&function).contains("onnx.inliner"));
}

#[test]
fn inputs_that_are_not_one_image_are_refused() {
    let with = |dims: &[i64]| {
        Build::new(13, dims)
            .live("x", "d", 0.5)
            .node("Flatten", &["d"], &["y"], &[])
            .output("y")
    };
    for (dims, words) in [
        (&[1, 4, 4][..], "[batch, channels, height, width]"),
        (&[1, 1, 4, 4, 4], "[batch, channels, height, width]"),
        (&[4], "[batch, channels, height, width]"),
        (&[1, 1, 0, 4], "dynamic size beside the batch"),
        (&[1, 1, -3, 4], "cannot be"),
        (&[1, 1 << 20, 1 << 20, 1 << 20], "x has"),
        (&[], "[batch, channels, height, width]"),
    ] {
        let message = refusal(&with(dims));
        assert!(message.contains(words), "{dims:?}: {message}");
    }
    let two = smallest(13, Form::Constants, 0.5).input(value("extra", DataType::Float, &[1]));
    assert!(refusal(&two).contains("2 inputs (x, extra)"));
    let mut double = smallest(13, Form::Constants, 0.5);
    double.graph().input[0] = value("x", DataType::Double, &[1, 4]);
    assert!(refusal(&double).contains("type double"));
    let mut untyped = smallest(13, Form::Constants, 0.5);
    untyped.graph().input[0].r#type = None;
    assert!(refusal(&untyped).contains("not a tensor"));
}

#[test]
fn outputs_that_are_not_scores_are_refused() {
    let image = Build::new(13, &[1, 1, 4, 4])
        .live("x", "y", 0.5)
        .output("y");
    let message = refusal(&image);
    assert!(
        message.contains("[batch, classes]") && message.contains("y [1, 1, 4, 4]"),
        "{message}"
    );
    let mut none = smallest(13, Form::Constants, 0.5);
    none.graph().output.clear();
    assert!(refusal(&none).contains("found none"));
    let mut unwritten = smallest(13, Form::Constants, 0.5);
    unwritten.graph().output[0].name = "nowhere".into();
    assert!(refusal(&unwritten).contains("nowhere"));
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let build = Build::new(13, &[1, 4])
        .live("x", "d", 0.5)
        .weight("w", &[5, 3])
        .node("MatMul", &["d", "w"], &["y"], &[])
        .output("y");
    assert!(refusal(&build).contains("shapes"), "{}", refusal(&build));
}

#[test]
fn passes_of_a_batch_are_kept_apart() {
    // A batch flattened away, and one that its average replaces.
    let flat = Build::new(13, &[1, 4])
        .live("x", "d", 0.5)
        .tensor(ints("s", &[-1]))
        .node("Reshape", &["d", "s"], &["f"], &[])
        .weight("w", &[4, 3])
        .node("MatMul", &["f", "w"], &["m"], &[])
        .tensor(ints("t", &[1, 3]))
        .node("Reshape", &["m", "t"], &["y"], &[])
        .output("y");
    let message = refusal(&flat);
    assert!(message.contains("dynamic batch axis"), "{message}");
    let mean = Build::new(13, &[1, 4])
        .live("x", "d", 0.5)
        .node(
            "ReduceMean",
            &["d"],
            &["y"],
            &[ints_attribute("axes", &[0])],
        )
        .output("y");
    assert!(
        refusal(&mean).contains("dynamic batch axis"),
        "{}",
        refusal(&mean)
    );
}

#[test]
fn weights_that_are_not_numbers_are_named() {
    let with = |values: [f32; 12]| {
        let mut build = smallest(13, Form::Constants, 0.5);
        let graph = build.graph();
        *graph
            .initializer
            .iter_mut()
            .find(|t| t.name == "w")
            .unwrap() = float("w", &[4, 3], &values);
        build
    };
    let mut values = [1.0; 12];
    load(&with(values));
    values[5] = f32::INFINITY;
    let message = refusal(&with(values));
    assert!(
        message.contains("tensor w") && message.contains("infinite"),
        "{message}"
    );
    values[7] = f32::NAN;
    let message = refusal(&with(values));
    assert!(
        message.contains("tensor w") && message.contains("NaN"),
        "{message}"
    );
    // In the other field, in another type, in a Constant node.
    let mut typed = with([1.0; 12]);
    for tensor in typed
        .graph()
        .initializer
        .iter_mut()
        .filter(|t| t.name == "w")
    {
        tensor.raw_data.clear();
        tensor.float_data = values.to_vec();
    }
    assert!(refusal(&typed).contains("NaN"));
    let mut half = with([1.0; 12]);
    for tensor in half
        .graph()
        .initializer
        .iter_mut()
        .filter(|t| t.name == "w")
    {
        tensor.data_type = DataType::Float16 as i32;
        tensor.raw_data = [0x3c00_u16; 11]
            .into_iter()
            .chain([0x7e00])
            .flat_map(u16::to_le_bytes)
            .collect();
    }
    assert!(refusal(&half).contains("NaN"));
    let constant = Build::new(13, &[1, 4])
        .live("x", "d", 0.5)
        .constant(float("c", &[4], &[0.0, f32::NAN, 0.0, 0.0]))
        .node("Add", &["d", "c"], &["y"], &[])
        .output("y");
    assert!(refusal(&constant).contains("NaN"));
    // The bound of a Clip may be infinite.
    let clip = Build::new(13, &[1, 4])
        .live("x", "d", 0.5)
        .tensor(float("low", &[], &[0.0]))
        .tensor(float("high", &[], &[f32::INFINITY]))
        .node("Clip", &["d", "low", "high"], &["y"], &[])
        .output("y");
    load(&clip);
}

#[test]
fn tensors_that_lie_about_their_size_are_named() {
    let with = |change: &dyn Fn(&mut tract_onnx::pb::TensorProto)| {
        let mut build = smallest(13, Form::Constants, 0.5);
        build
            .graph()
            .initializer
            .iter_mut()
            .filter(|t| t.name == "w")
            .for_each(change);
        refusal(&build)
    };
    for (message, words) in [
        (with(&|t| t.dims = vec![4, 4]), "needs 64"),
        (with(&|t| t.dims = vec![-4, -3]), "impossible"),
        (with(&|t| t.dims = vec![i64::MAX, i64::MAX]), "impossible"),
        (with(&|t| t.dims = vec![1 << 31, 1 << 31, 4]), "impossible"),
        (with(&|t| t.dims = vec![1 << 30]), "impossible"),
        (with(&|t| t.raw_data.clear()), "0 bytes"),
        (with(&|t| t.data_type = DataType::String as i32), "STRING"),
        (with(&|t| t.data_type = 77), "77"),
        (with(&|t| t.segment = Some(Segment::default())), "segments"),
    ] {
        assert!(
            message.contains(words) && message.contains("tensor w"),
            "{message}"
        );
    }
}

#[test]
fn graphs_that_are_not_in_order_are_refused() {
    let mut swapped = rich();
    swapped.graph().node.swap(0, 1);
    assert!(refusal(&swapped).contains("which nothing before it writes"));
    let mut twice = rich();
    let again = twice.graph().node[0].clone();
    twice.graph().node.push(again);
    assert!(refusal(&twice).contains("written twice"));
    let mut cycle = rich();
    cycle.graph().node[0].input[0] = "y".into();
    assert!(refusal(&cycle).contains("which nothing before it writes"));
    let mut same = rich();
    let weight = same.graph().initializer[0].clone();
    same.graph().initializer.push(weight);
    assert!(refusal(&same).contains("used twice"));
    let empty = ModelProto {
        graph: Some(GraphProto::default()),
        ..smallest(13, Form::Constants, 0.5).model
    };
    refusal_of(Model::from_bytes(&empty.encode_to_vec()));
}

#[test]
fn depth_is_bounded() {
    // Graphs within attributes of graphs, deeper than any parser's stack should go.
    let mut graph = GraphProto::default();
    for _ in 0..2000 {
        let mut node = Build::new(13, &[1])
            .node("If", &[], &["y"], &[])
            .graph()
            .node[0]
            .clone();
        let mut attribute = tensor_attribute("then_branch", ints("i", &[1]));
        attribute.t = None;
        attribute.g = Some(std::mem::take(&mut graph));
        node.attribute.push(attribute);
        graph.node.push(node);
    }
    let mut build = smallest(13, Form::Constants, 0.5);
    build.graph().node.extend(graph.node);
    refusal(&build);
    // Dropping the nested value itself would overflow a small stack, so it is left to the end.
    std::mem::forget(build);
}

#[test]
fn sizes_that_would_eat_the_memory_are_refused() {
    for (op, sizes) in [
        ("Expand", 1_i64 << 40),
        ("Tile", 1 << 40),
        ("ConstantOfShape", 1 << 40),
    ] {
        let inputs: &[&str] = if op == "ConstantOfShape" {
            &["s"]
        } else {
            &["d", "s"]
        };
        let build = Build::new(13, &[1, 4])
            .live("x", "d", 0.5)
            .tensor(ints("s", &[1, sizes]))
            .node(op, inputs, &["big"], &[])
            .node("Add", &["d", "big"], &["y"], &[])
            .output("y");
        refusal(&build);
    }
}

/// Loads what may be a model, and runs it if it is one.
fn exercise(bytes: &[u8]) {
    let Ok(model) = Model::from_bytes(bytes) else {
        return;
    };
    let Ok(mut engine) = TractEngine::new(&model, 2, 1) else {
        return;
    };
    let input = vec![0.5; model.input_shape().len()];
    let mut logits = vec![0.0; 2 * model.classes()];
    if engine.begin(0, &input).is_ok() {
        let _ = engine.sample(0..2, &mut logits);
    }
}
