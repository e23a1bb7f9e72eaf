//! Layers, shapes and names that models have.

use prost::Message as _;
use tract_onnx::pb::tensor_proto::DataType;

use super::build::{
    Build, Form, float, float_attribute, int_attribute, ints, ints_attribute, pattern, smallest,
    value,
};
use super::{FRAME, PASSES, SEED, assert_close, load, refusal, sample, scaled_mask};
use crate::engine::{Engine, InputShape};
use crate::onnx::{LOGITS, Model};

/// conv → dropout → relu → flatten → linear, on an image of 5 × 5.
fn convolutional(opset: i64, batch: i64, flatten: &dyn Fn(Build) -> Build) -> Build {
    let build = Build::new(opset, &[batch, 1, 5, 5])
        .weight("k", &[2, 1, 3, 3])
        .weight("b", &[2])
        .node(
            "Conv",
            &["x", "k", "b"],
            &["c"],
            &[ints_attribute("kernel_shape", &[3, 3])],
        )
        .live("c", "d", 0.5)
        .node("Relu", &["d"], &["r"], &[]);
    flatten(build)
        .weight("w", &[18, 3])
        .node("MatMul", &["f", "w"], &["m"], &[])
        .live("m", "y", 0.25)
        .output("y")
}

fn reference(model: &Model, image: &[f32], pass: u32) -> Vec<f32> {
    let (kernel, bias, weights) = (pattern(18), pattern(2), pattern(54));
    let (first, second) = (scaled_mask(model, 0, pass), scaled_mask(model, 1, pass));
    let mut logits = [0.0; 3];
    for element in 0..18 {
        let (channel, row, column) = (element / 9, element / 3 % 3, element % 3);
        let mut sum = bias[channel];
        for k in 0..9 {
            sum += kernel[9 * channel + k] * image[5 * (row + k / 3) + column + k % 3];
        }
        let value = (sum * first[element]).max(0.0);
        for (class, logit) in logits.iter_mut().enumerate() {
            *logit += value * weights[3 * element + class];
        }
    }
    logits
        .iter()
        .zip(second)
        .map(|(v, mask)| v * mask)
        .collect()
}

#[test]
fn every_way_to_flatten_keeps_the_batch() {
    let flatten = |b: Build| b.node("Flatten", &["r"], &["f"], &[int_attribute("axis", 1)]);
    let any = |b: Build| {
        b.tensor(ints("s", &[-1, 18]))
            .node("Reshape", &["r", "s"], &["f"], &[])
    };
    let one = |b: Build| {
        b.tensor(ints("s", &[1, 18]))
            .node("Reshape", &["r", "s"], &["f"], &[])
    };
    let rest = |b: Build| {
        b.constant(ints("s", &[1, -1]))
            .node("Reshape", &["r", "s"], &["f"], &[])
    };
    let strict = |b: Build| {
        let allow_zero = [int_attribute("allowzero", 1)];
        b.tensor(ints("s", &[1, 18]))
            .node("Reshape", &["r", "s"], &["f"], &allow_zero)
    };
    // As PyTorch traces x.view(x.size(0), -1); of the image, which no dropout has touched yet, too.
    let traced = |of: &'static str| {
        move |b: Build| {
            b.node("Shape", &[of], &["shape"], &[])
                .tensor(ints("first", &[0]))
                .tensor(ints("minus", &[-1]))
                .node("Gather", &["shape", "first"], &["n"], &[])
                .node(
                    "Concat",
                    &["n", "minus"],
                    &["s"],
                    &[int_attribute("axis", 0)],
                )
                .node("Reshape", &["r", "s"], &["f"], &[])
        }
    };
    let (of_head, of_stem) = (traced("r"), traced("x"));
    let ways: [(&str, &dyn Fn(Build) -> Build); 7] = [
        ("flatten", &flatten),
        ("any", &any),
        ("one", &one),
        ("rest", &rest),
        ("strict", &strict),
        ("traced", &of_head),
        ("traced from the image", &of_stem),
    ];
    let image = pattern(25);
    for (name, way) in ways {
        for opset in [7, 9, 11, 13, 17, 22] {
            if name == "strict" && opset < 14 {
                continue;
            }
            for batch in [0, 1] {
                let model = load(&convolutional(opset, batch, way));
                assert_eq!(
                    model.input_shape(),
                    InputShape {
                        channels: 1,
                        height: 5,
                        width: 5
                    }
                );
                assert_eq!(
                    (model.classes(), model.sites()[0].shape.as_slice()),
                    (3, &[2, 3, 3][..])
                );
                for (pass, logits) in (0..).zip(sample(&model, &image)) {
                    assert_close(&logits, &reference(&model, &image, pass));
                }
                let of_stem = model.stem().graph.as_ref().unwrap().node.iter();
                assert!(
                    of_stem.clone().any(|n| n.op_type == "Conv"),
                    "{name}: conv is in the stem"
                );
            }
        }
    }
}

#[test]
fn batch_normalisation_uses_its_running_statistics() {
    let statistics = |b: Build| {
        b.tensor(float("scale", &[4], &[1.0, 2.0, 0.5, 1.5]))
            .tensor(float("shift", &[4], &[0.1, 0.2, 0.3, 0.4]))
            .tensor(float("mean", &[4], &[0.5, -0.5, 1.0, 0.0]))
            .tensor(float("variance", &[4], &[1.0, 4.0, 0.25, 2.0]))
    };
    let names = ["x4", "scale", "shift", "mean", "variance"];
    // One output, the five of training before opset 14, the three and the flag since.
    for (opset, outputs, training) in [
        (9, &["n"][..], None),
        (9, &["n", "m1", "v1", "m2", "v2"], None),
        (13, &["n", "m1", "v1", "m2", "v2"], None),
        (14, &["n", "m1", "v1"], Some(1)),
        (17, &["n"], Some(0)),
        (22, &["n", "m1", "v1"], Some(1)),
    ] {
        let mut attributes = vec![float_attribute("epsilon", 1e-5)];
        attributes.extend(training.map(|t| int_attribute("training_mode", t)));
        let build = statistics(Build::new(opset, &[1, 4]))
            .tensor(ints("as4", &[1, 4, 1, 1]))
            .tensor(ints("as2", &[1, 4]))
            .node("Reshape", &["x", "as4"], &["x4"], &[])
            .node("BatchNormalization", &names, outputs, &attributes)
            .node("Reshape", &["n", "as2"], &["n2"], &[])
            .live("n2", "y", 0.5)
            .output("y");
        let build = outputs[1..].iter().fold(build, |b, name| b.output(name));
        let model = load(&build);
        let x = [0.3, -1.2, 0.7, 2.0];
        let (scale, shift) = ([1.0, 2.0, 0.5, 1.5], [0.1, 0.2, 0.3, 0.4]);
        let (mean, variance) = ([0.5, -0.5, 1.0, 0.0], [1.0_f32, 4.0, 0.25, 2.0]);
        let normal: Vec<f32> = (0..4)
            .map(|i| (x[i] - mean[i]) / (variance[i] + 1e-5).sqrt() * scale[i] + shift[i])
            .collect();
        for (pass, logits) in (0..).zip(sample(&model, &x)) {
            let expected = normal
                .iter()
                .zip(scaled_mask(&model, 0, pass))
                .map(|(v, m)| v * m);
            assert_close(&logits, &expected.collect::<Vec<_>>());
        }
    }
    let misuse = statistics(Build::new(14, &[1, 4, 1, 1]))
        .node(
            "BatchNormalization",
            &["x", "scale", "shift", "mean", "variance"],
            &["n", "m", "v"],
            &[],
        )
        .node("Add", &["n", "m"], &["s"], &[])
        .live("s", "y", 0.5)
        .output("y");
    assert!(
        refusal(&misuse).contains("only in training"),
        "{}",
        refusal(&misuse)
    );
}

#[test]
fn stem_tensors_reach_the_head_by_every_way() {
    // y = [r, d] · w + x · v, with r = relu(x) from the stem, d = dropout(r).
    let build = |opset| {
        Build::new(opset, &[1, 4])
            .node("Relu", &["x"], &["r"], &[])
            .live("r", "d", 0.5)
            .node("Concat", &["r", "d"], &["c"], &[int_attribute("axis", 1)])
            .weight("w", &[8, 4])
            .weight("v", &[4, 4])
            .node("MatMul", &["c", "w"], &["m"], &[])
            .node("MatMul", &["x", "v"], &["p"], &[])
            .node("Add", &["m", "p"], &["s"], &[])
            .node("Add", &["s", "x"], &["y"], &[])
            .output("y")
    };
    let x = [0.5, -1.0, 2.0, 0.25];
    let (w, v) = (pattern(32), pattern(16));
    for opset in [9, 11, 13, 18] {
        let model = load(&build(opset));
        for (pass, logits) in (0..).zip(sample(&model, &x)) {
            let mask = scaled_mask(&model, 0, pass);
            let r: Vec<f32> = x.iter().map(|v: &f32| v.max(0.0)).collect();
            let joined: Vec<f32> = r
                .iter()
                .copied()
                .chain((0..4).map(|i| r[i] * mask[i]))
                .collect();
            let expected: Vec<f32> = (0..4)
                .map(|class| {
                    let m: f32 = (0..8).map(|i| joined[i] * w[4 * i + class]).sum();
                    let p: f32 = (0..4).map(|i| x[i] * v[4 * i + class]).sum();
                    m + p + x[class]
                })
                .collect();
            assert_close(&logits, &expected);
        }
    }
    assert!(
        refusal(&build(7)).contains("Concat_c"),
        "{}",
        refusal(&build(7))
    );
}

#[test]
fn flat_inputs_are_square_images_where_they_can_be() {
    for (values, height, width) in [(784, 28, 28), (10, 1, 10), (1, 1, 1)] {
        let build = Build::new(13, &[0, values])
            .live("x", "d", 0.5)
            .weight("w", &[values, 3])
            .node("MatMul", &["d", "w"], &["y"], &[])
            .output("y");
        let shape = InputShape {
            channels: 1,
            height,
            width,
        };
        assert_eq!(load(&build).input_shape(), shape);
    }
}

#[test]
fn by_products_among_the_outputs_are_ignored() {
    let build = |scores: &[&str]| {
        let build = Build::new(13, &[0, 4])
            .tensor(super::build::boolean("on", true))
            .node("Dropout", &["x", "", "on"], &["d", "mask"], &[])
            .weight("w", &[4, 3])
            .node("MatMul", &["d", "w"], &["y"], &[])
            .node("Neg", &["y"], &["logits"], &[])
            .node("Softmax", &["y"], &["p"], &[int_attribute("axis", 1)])
            .node("ArgMax", &["y"], &["class"], &[int_attribute("axis", 1)]);
        scores.iter().fold(build, |b, name| b.output(name))
    };
    for outputs in [
        &["mask", "y"][..],
        &["y", "d.none"][..1],
        &["p", "y"],
        &["class", "p"],
    ] {
        assert_eq!(load(&build(outputs)).classes(), 3, "{outputs:?}");
    }
    assert_eq!(load(&build(&["y", "logits"])).classes(), 3);
    let mut two = build(&["y", "logits"]);
    for node in &mut two.graph().node {
        node.output
            .iter_mut()
            .filter(|o| *o == "logits")
            .for_each(|o| *o = "scores".into());
    }
    two.graph().output[1].name = "scores".into();
    assert!(refusal(&two).contains("y, scores"), "{}", refusal(&two));
}

#[test]
fn names_never_collide() {
    // An inner tensor named like the output to be, a weight named like a node to be, nodes without
    // names and with the same name.
    let mut build = Build::new(13, &[0, 4])
        .live("x", LOGITS, 0.5)
        .weight("Dropout_logits.scale", &[4, 4])
        .weight("y.sizes", &[4, 3])
        .node("MatMul", &[LOGITS, "Dropout_logits.scale"], &["a"], &[])
        .live("a", "b", 0.5)
        .node("MatMul", &["b", "y.sizes"], &["y"], &[])
        .output("y");
    let names: Vec<String> = load(&build)
        .sites()
        .iter()
        .map(|s| s.name.clone())
        .collect();
    assert_eq!(names, ["Dropout_logits", "Dropout_b"]);
    sample(&load(&build), &[1.0, 2.0, 3.0, 4.0]);
    for node in &mut build.graph().node {
        node.name = "same".into();
    }
    let model = load(&build);
    let names: Vec<&str> = model.sites().iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["same", "same.1"]);
    sample(&model, &[1.0, 2.0, 3.0, 4.0]);
    for node in &mut build.graph().node {
        node.name.clear();
    }
    let model = load(&build);
    let names: Vec<&str> = model.sites().iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, [LOGITS, "b"]);
    sample(&model, &[1.0, 2.0, 3.0, 4.0]);

    let taken = smallest(13, Form::Constants, 0.5).input(value(
        "keep_mask.Dropout_dropped",
        DataType::Float,
        &[1, 4],
    ));
    assert!(refusal(&taken).contains("2 inputs"), "{}", refusal(&taken));
}

#[test]
fn the_whole_graph_computes_what_stem_and_head_compute() {
    use tract_onnx::prelude::*;
    let flatten = |b: Build| {
        b.tensor(ints("s", &[1, 18]))
            .node("Reshape", &["r", "s"], &["f"], &[])
    };
    let model = load(&convolutional(13, 1, &flatten));
    let image = pattern(25);
    let whole =
        super::super::ModelProto::decode(model.masks_as_inputs().encode_to_vec().as_slice());
    let mut whole = whole.unwrap();
    // As a runtime with dynamic sizes would, with one image for all passes.
    let graph = whole.graph.as_mut().unwrap();
    graph.input[0] = value("x", DataType::Float, &[1, 1, 5, 5]);
    graph.input[1] = value(
        &graph.input[1].name.clone(),
        DataType::Float,
        &[40, 2, 3, 3],
    );
    graph.input[2] = value(&graph.input[2].name.clone(), DataType::Float, &[40, 3]);
    graph.output[0] = value(LOGITS, DataType::Float, &[40, 3]);
    let plan = onnx().model_for_proto_model(&whole).unwrap();
    let plan = plan.into_optimized().unwrap().into_runnable().unwrap();
    let masks = shared::mask::MaskSource::new(SEED);
    let mut inputs: TVec<TValue> = TVec::new();
    inputs.push(Tensor::from_shape(&[1, 1, 5, 5], &image).unwrap().into());
    for (index, site) in model.sites().iter().enumerate() {
        let mut mask = vec![0.0; PASSES as usize * site.elements()];
        masks.fill(
            FRAME,
            index as u32,
            site.keep,
            0..PASSES,
            site.elements(),
            &mut mask,
        );
        let shape: Vec<usize> = [40].into_iter().chain(site.shape.iter().copied()).collect();
        inputs.push(Tensor::from_shape(&shape, &mask).unwrap().into());
    }
    let output = plan.run(inputs).unwrap();
    let values: Vec<f32> = output[0]
        .to_plain_array_view::<f32>()
        .unwrap()
        .iter()
        .copied()
        .collect();
    assert_close(&values, &sample(&model, &image).concat());
}

#[test]
fn engines_refuse_calls_that_do_not_fit() {
    use crate::engine::EngineError;
    use crate::engine::tract::TractEngine;
    let model = load(&smallest(13, Form::Constants, 0.5));
    assert!(matches!(
        TractEngine::new(&model, 0, 1),
        Err(EngineError::EmptyBlock)
    ));
    let mut engine = TractEngine::new(&model, 4, 1).unwrap();
    let mut logits = [0.0; 6];
    assert!(matches!(
        engine.sample(0..2, &mut logits),
        Err(EngineError::NoFrame)
    ));
    assert!(matches!(
        engine.begin(0, &[0.0; 3]),
        Err(EngineError::InputLength {
            expected: 4,
            got: 3
        })
    ));
    engine.begin(0, &[1.0; 4]).unwrap();
    assert!(matches!(
        engine.sample(0..3, &mut logits),
        Err(EngineError::LogitsLength {
            expected: 9,
            got: 6
        })
    ));
    let beyond = shared::mask::MaskSource::MAX_PASSES;
    assert!(matches!(
        engine.sample(beyond - 1..beyond + 1, &mut logits),
        Err(EngineError::PassRange { .. })
    ));
    engine.sample(beyond - 2..beyond, &mut logits).unwrap();
    engine.sample(5..5, &mut []).unwrap();
    // A frame whose stem was refused cannot be sampled.
    assert!(engine.begin(1, &[]).is_err());
    assert!(matches!(
        engine.sample(0..2, &mut logits),
        Err(EngineError::NoFrame)
    ));
}
