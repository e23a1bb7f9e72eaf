//! How files say that dropout is live, or is not.

use super::build::{Build, Form, boolean, float, int_attribute, pattern, smallest, value};
use super::{assert_close, load, refusal, sample, scaled_mask, standard};
use crate::engine::proof::prove;
use crate::engine::tract::TractEngine;
use crate::onnx::{Idle, Liveness, Model};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension;
use tract_onnx::pb::type_proto;

const X: [f32; 4] = [0.5, -1.0, 2.0, 0.25];

/// Checks every pass of [`smallest`], and the standard test phase, against the definition.
#[track_caller]
fn check(model: &Model) {
    let w = pattern(12);
    let expected = |mask: &[f32]| -> Vec<f32> {
        let logit = |class| (0..4).map(|i| X[i] * mask[i] * w[3 * i + class]).sum();
        (0..3).map(logit).collect()
    };
    for (pass, logits) in (0..).zip(sample(model, &X)) {
        assert_close(&logits, &expected(&scaled_mask(model, 0, pass)));
    }
    assert_close(&standard(model, &X), &expected(&[1.0; 4]));
}

#[test]
fn attributes_are_live_before_opset_12() {
    for opset in 7..12 {
        let model = load(&smallest(opset, Form::Attribute, 0.25));
        assert_eq!(model.sites()[0].ratio, 0.25);
        assert_eq!(model.sites()[0].keep.bits(), 49152);
        assert_eq!(model.sites()[0].shape, [4]);
        assert_eq!(model.sites()[0].why, Liveness::OpsetWithoutTrainingMode);
        check(&model);
        assert_eq!(
            load(&smallest(opset, Form::DefaultAttribute, 0.0)).sites()[0].ratio,
            0.5
        );
    }
}

#[test]
fn training_mode_is_read_in_every_form_since_opset_12() {
    for opset in [12, 13, 14, 17, 18, 20, 22, 24] {
        for form in [
            Form::Initializers,
            Form::Constants,
            Form::ThroughIdentity,
            Form::DefaultRatio,
            Form::TrainingInput,
        ] {
            let model = load(&smallest(opset, form, 0.3));
            let ratio = if form == Form::DefaultRatio { 0.5 } else { 0.3 };
            assert_eq!(model.sites()[0].ratio, ratio, "{form:?}");
            let why = match form {
                Form::TrainingInput => Liveness::TrainingModeInput,
                _ => Liveness::TrainingMode,
            };
            assert_eq!(model.sites()[0].why, why, "{form:?}");
            assert_eq!(model.opset(), opset);
            check(&model);
        }
    }
}

#[test]
fn a_proof_covers_every_site() {
    let build = Build::new(13, &[1, 4])
        .live("x", "a", 0.25)
        .node("Relu", &["a"], &["b"], &[])
        .live("b", "c", 0.5)
        .weight("w", &[4, 3])
        .node("MatMul", &["c", "w"], &["y"], &[])
        .output("y");
    let model = load(&build);
    let mut engine = TractEngine::new(&model, 100, 1).expect("an engine");
    let proof = prove(&model, &mut engine, 1).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(proof.sites.len(), 2);
    for (site, q) in proof.sites.iter().zip([0.75, 0.5]) {
        assert!((site.keep_rate - q).abs() < 0.1, "{site:?}");
        assert!(site.distinct > 4 && site.largest_change > 0.0, "{site:?}");
    }
}

#[test]
fn a_proof_fails_for_a_site_that_changes_nothing() {
    let build = Build::new(13, &[1, 4])
        .live("x", "a", 0.25)
        .tensor(float("w", &[4, 3], &[0.0; 12]))
        .weight("v", &[4, 3])
        .node("MatMul", &["a", "w"], &["b"], &[])
        .node("MatMul", &["x", "v"], &["c"], &[])
        .node("Add", &["b", "c"], &["y"], &[])
        .output("y");
    let model = load(&build);
    let mut engine = TractEngine::new(&model, 8, 1).expect("an engine");
    let error = prove(&model, &mut engine, 1)
        .expect_err("nothing changes")
        .to_string();
    assert!(error.contains("Dropout_a never changes"), "{error}");
}

type Add<'a> = &'a dyn Fn(Build, &str) -> Build;

#[test]
fn dropout_that_does_nothing_is_no_site() {
    let absent = |build: Build, output: &str| build.node("Dropout", &["x"], &[output], &[]);
    let off = |build: Build, output: &str| {
        build
            .tensor(boolean("off", false))
            .node("Dropout", &["x", "", "off"], &[output], &[])
    };
    let zero = |build: Build, output: &str| build.dropout(Form::Constants, "x", output, 0.0);
    let finish = |build: Build| {
        build
            .weight("w", &[4, 3])
            .node("MatMul", &["d", "w"], &["y"], &[])
            .output("y")
    };
    let kinds: [(Add, Idle, &str); 3] = [
        (&absent, Idle::NoTrainingMode, "not given"),
        (&off, Idle::TrainingModeFalse, "training_mode is false"),
        (&zero, Idle::RatioZero, "ratio is 0"),
    ];
    for (add, idle, words) in kinds {
        let message = refusal(&finish(add(Build::new(13, &[1, 4]), "d")));
        assert!(
            message.contains(words) && message.contains("no live Dropout"),
            "{message}"
        );
        assert!(message.contains("Dropout_d"), "{message}");
        // Beside a live one it is passed over.
        let both =
            Build::new(13, &[1, 4])
                .live("x", "live", 0.5)
                .node("Relu", &["live"], &["r"], &[]);
        let both = add(both, "idle").node("Add", &["r", "idle"], &["d"], &[]);
        let model = load(&finish(both));
        assert_eq!(model.sites().len(), 1);
        assert_eq!(model.idle_dropouts()[0].reason, idle);
        assert_eq!(model.idle_dropouts()[0].name, "Dropout_idle");
    }
    let message = refusal(&finish(Build::new(9, &[1, 4]).dropout(
        Form::Attribute,
        "x",
        "d",
        0.0,
    )));
    assert!(message.contains("ratio is 0"), "{message}");
}

#[test]
fn a_model_without_dropout_is_refused_with_what_to_do() {
    let build = Build::new(13, &[1, 4])
        .weight("w", &[4, 3])
        .node("MatMul", &["x", "w"], &["y"], &[])
        .output("y");
    let message = refusal(&build);
    for words in [
        "no live Dropout",
        "no Dropout node",
        "train mode",
        "host export",
    ] {
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn dropout_beside_the_scores_does_not_count() {
    let aside = Build::new(13, &[1, 4])
        .live("x", "aside", 0.5)
        .weight("w", &[4, 3])
        .node("MatMul", &["x", "w"], &["y"], &[])
        .output("y")
        .output("aside");
    assert!(
        refusal(&aside).contains("could all be"),
        "{}",
        refusal(&aside)
    );
    let mut named = aside;
    named.graph().output[0].name = "logits".into();
    named.graph().node.last_mut().unwrap().output[0] = "logits".into();
    let message = refusal(&named);
    assert!(
        message.contains("do not lead to the output logits"),
        "{message}"
    );

    let both = smallest(13, Form::Constants, 0.5).live("x", "unread", 0.5);
    let model = load(&both);
    assert_eq!(model.sites().len(), 1);
    assert_eq!(model.idle_dropouts()[0].reason, Idle::Unused);
}

#[test]
fn ratios_and_flags_that_make_no_sense_are_refused() {
    for ratio in [1.0, -0.5, 2.0, f32::NAN] {
        let message = refusal(&smallest(9, Form::Attribute, ratio));
        assert!(
            message.contains("Dropout_dropped") && message.contains("ratio"),
            "{message}"
        );
    }
    let tiny = refusal(&smallest(13, Form::Constants, 1e-6));
    assert!(tiny.contains("1/65536"), "{tiny}");
    let with = |build: Build, ratio: &str, mode: &str| {
        build
            .node("Dropout", &["x", ratio, mode], &["d"], &[])
            .weight("w", &[4, 3])
            .node("MatMul", &["d", "w"], &["y"], &[])
            .output("y")
    };
    let start = || Build::new(13, &[1, 4]).tensor(boolean("on", true));
    let computed = start().node("Not", &["on"], &["off"], &[]);
    let message = refusal(&with(computed, "", "off"));
    assert!(
        message.contains("is computed") && message.contains("Dropout_d"),
        "{message}"
    );
    let as_input = start().input(value("r", DataType::Float, &[]));
    let message = refusal(&with(as_input, "r", "on"));
    assert!(message.contains("make it a constant"), "{message}");
    let pair = start().tensor(float("r", &[2], &[0.1, 0.2]));
    assert!(refusal(&with(pair, "r", "on")).contains("not one number"));
    let number = start().tensor(float("one", &[], &[1.0]));
    assert!(refusal(&with(number, "", "one")).contains("not one boolean"));
}

#[test]
fn dropping_weights_is_refused() {
    let build = Build::new(13, &[1, 4])
        .weight("w", &[4, 3])
        .live("w", "dropped", 0.5)
        .node("MatMul", &["x", "dropped"], &["y"], &[])
        .output("y");
    assert!(
        refusal(&build).contains("batch axis"),
        "{}",
        refusal(&build)
    );
}

#[test]
fn an_input_with_a_default_is_not_an_input() {
    // Files of IR version 3 list their weights among the inputs.
    let mut build = smallest(9, Form::Attribute, 0.5).input(value("w", DataType::Float, &[4, 3]));
    build.model.ir_version = 3;
    let model = load(&build);
    assert!(model.head().ir_version >= 4);
    check(&load(&smallest(9, Form::Attribute, 0.5)));
}

#[test]
fn softmax_at_the_end_is_cut_off() {
    let with = |ops: &[(&str, Option<i64>)]| {
        let mut build = Build::new(13, &[0, 4])
            .live("x", "dropped", 0.25)
            .weight("w", &[4, 3])
            .node("MatMul", &["dropped", "w"], &["s0"], &[]);
        for (index, (op, axis)) in ops.iter().enumerate() {
            let (from, to) = (format!("s{index}"), format!("s{}", index + 1));
            let axis: Vec<_> = axis
                .iter()
                .map(|&axis| int_attribute("axis", axis))
                .collect();
            build = build.node(op, &[&from], &[&to], &axis);
        }
        build.output(&format!("s{}", ops.len()))
    };
    for ops in [
        &[("Softmax", None)][..],
        &[("Softmax", Some(1))],
        &[("LogSoftmax", Some(-1))],
        &[("Softmax", Some(-1)), ("Log", None)],
        &[("Softmax", Some(1)), ("Identity", None)],
        &[
            ("Identity", None),
            ("LogSoftmax", Some(1)),
            ("Identity", None),
        ],
    ] {
        let model = load(&with(ops));
        check(&model);
        let nodes = &model.head().graph.as_ref().unwrap().node;
        assert!(
            nodes.iter().all(|n| !n.op_type.contains("Softmax")),
            "{ops:?}"
        );
    }
    // Softmax over the batch is no such thing, and mixes the passes.
    let message = refusal(&with(&[("Softmax", Some(0))]));
    assert!(message.contains("neither logits nor"), "{message}");
}

/// The first byte of some of these reads as the start of a group, which is how PyTorch and others name a
/// batch that is left open.
#[test]
fn an_open_batch_may_have_any_name() {
    for name in [
        "s77", "s0", "dynamic", "samples", "x_dim", "4*batch", "N", "größe",
    ] {
        let mut build = smallest(13, Form::Initializers, 0.5);
        let graph = build.model.graph.as_mut().expect("a graph");
        let types = graph.input.iter_mut().chain(&mut graph.output);
        let mut renamed = 0;
        for value in types.filter_map(|value| value.r#type.as_mut()) {
            let Some(type_proto::Value::TensorType(tensor)) = &mut value.value else {
                continue;
            };
            for dim in tensor.shape.iter_mut().flat_map(|shape| &mut shape.dim) {
                if let Some(dimension::Value::DimParam(param)) = &mut dim.value {
                    name.clone_into(param);
                    renamed += 1;
                }
            }
        }
        assert!(renamed > 0);
        check(&load(&build));
    }
}
