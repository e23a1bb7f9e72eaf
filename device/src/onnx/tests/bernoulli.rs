//! Dropout that files write out as arithmetic, and random numbers that are no dropout.

use proptest::prelude::*;
use tract_onnx::pb::AttributeProto;

use super::build::{
    Build, boolean, float, float_attribute, int_attribute, ints, ints_attribute, pattern,
    tensor_attribute,
};
use super::{assert_close, load, refusal, sample, scaled_mask, standard};
use crate::engine::native::Plan;
use crate::engine::proof::prove;
use crate::engine::tract::TractEngine;
use crate::onnx::{Idle, Liveness, Model};

/// Keep probability of the models here.
const Q: f32 = 0.75;

/// A constant `q`, and the image `x` of two channels of 2 × 3 pixels.
fn start(batch: i64) -> Build {
    Build::new(20, &[batch, 2, 2, 3]).tensor(float("q", &[], &[Q]))
}

/// Ones with the probability `threshold` in the shape of `like`, as PyTorch writes them.
fn ones(build: Build, like: &str, threshold: &str) -> Build {
    build
        .node("RandomUniformLike", &[like], &["u"], &[])
        .node("Less", &["u", threshold], &["less"], &[])
        .node("Cast", &["less"], &["b"], &[int_attribute("to", 1)])
}

/// A tensor `like` of the given shape.
fn like(build: Build, shape: &[i64]) -> Build {
    build
        .tensor(ints("s", shape))
        .node("ConstantOfShape", &["s"], &["like"], &[])
}

/// `y = d · W`, three classes.
fn finish(build: Build) -> Build {
    build
        .node("Flatten", &["d"], &["f"], &[])
        .weight("w", &[12, 3])
        .node("MatMul", &["f", "w"], &["y"], &[])
        .output("y")
}

/// `d = x · (b / q)`
fn product(build: Build) -> Build {
    finish(build.node("Div", &["b", "q"], &["scaled"], &[]).node(
        "Mul",
        &["x", "scaled"],
        &["d"],
        &[],
    ))
}

fn dropout2d(batch: i64) -> Build {
    product(ones(like(start(batch), &[1, 2, 1, 1]), "like", "q"))
}

/// Checks the site, and every pass and the standard test phase against the definition.
#[track_caller]
fn check(model: &Model, shape: &[usize]) {
    let [site] = model.sites() else {
        panic!("{:?}", model.sites())
    };
    assert_eq!((site.ratio, site.keep.bits()), (0.25, 49152));
    assert_eq!(
        (site.shape.as_slice(), site.why),
        (shape, Liveness::OwnRandomNumbers)
    );
    let (x, w) = (pattern(12), pattern(36));
    let expected = |mask: &[f32]| -> Vec<f32> {
        let share = 12 / mask.len();
        let term = |i: usize, class| x[i] * mask[i / share] * w[3 * i + class];
        (0..3)
            .map(|class| (0..12).map(|i| term(i, class)).sum())
            .collect()
    };
    for (pass, logits) in (0..).zip(sample(model, &x)) {
        assert_close(&logits, &expected(&scaled_mask(model, 0, pass)));
    }
    assert_close(&standard(model, &x), &expected(&[1.0]));
}

#[test]
fn whole_channels_are_dropped() {
    for batch in [0, 1] {
        let model = load(&dropout2d(batch));
        check(&model, &[2, 1, 1]);
        assert_eq!(model.sites()[0].name, "Mul_d");
        let parts = [model.stem(), model.head(), model.masks_as_inputs()];
        let nodes = parts
            .iter()
            .flat_map(|part| &part.graph.as_ref().unwrap().node);
        let ops: Vec<&str> = nodes.map(|n| n.op_type.as_str()).collect();
        assert!(!ops.iter().any(|op| op.starts_with("Random")), "{ops:?}");
        let mut engine = TractEngine::new(&model, 64, 1).unwrap();
        prove(&model, &mut engine, 1).unwrap_or_else(|e| panic!("{e}"));
        Plan::from_model(&model).unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn the_shape_may_be_worked_out() {
    let build = start(0)
        .node("Shape", &["x"], &["n"], &[int_attribute("end", 1)])
        .tensor(ints("two", &[2]))
        .tensor(ints("one", &[1]))
        .node(
            "Concat",
            &["n", "two", "one", "one"],
            &["s"],
            &[int_attribute("axis", 0)],
        )
        .node("ConstantOfShape", &["s"], &["like"], &[]);
    check(&load(&product(ones(build, "like", "q"))), &[2, 1, 1]);
}

#[test]
fn single_elements_are_dropped() {
    check(&load(&product(ones(start(0), "x", "q"))), &[2, 2, 3]);
}

#[test]
fn every_order_of_the_arithmetic_is_the_same() {
    let swapped = finish(
        ones(start(0), "x", "q")
            .node("Div", &["b", "q"], &["scaled"], &[])
            .node("Mul", &["scaled", "x"], &["d"], &[]),
    );
    check(&load(&swapped), &[2, 2, 3]);
    for factors in [["x", "b"], ["b", "x"]] {
        let divided_last = finish(
            ones(start(0), "x", "q")
                .node("Mul", &factors, &["kept"], &[])
                .node("Div", &["kept", "q"], &["d"], &[]),
        );
        check(&load(&divided_last), &[2, 2, 3]);
    }
}

#[test]
fn every_source_of_random_numbers_is_the_same() {
    let uniform = |shape: &[i64]| {
        let build = start(0).node(
            "RandomUniform",
            &[],
            &["u"],
            &[ints_attribute("shape", shape), float_attribute("high", 1.0)],
        );
        product(build.node("Less", &["u", "q"], &["less"], &[]).node(
            "Cast",
            &["less"],
            &["b"],
            &[int_attribute("to", 1)],
        ))
    };
    check(&load(&uniform(&[1, 2, 1, 1])), &[2, 1, 1]);
    check(&load(&uniform(&[1, 2, 2, 3])), &[2, 2, 3]);
    assert!(refusal(&uniform(&[5, 2, 1, 1])).contains("[5, 2, 1, 1]"));

    let bernoulli = |build: Build| product(build.node("Bernoulli", &["p"], &["b"], &[]));
    let expanded =
        start(0)
            .node("Shape", &["x"], &["s"], &[])
            .node("Expand", &["q", "s"], &["p"], &[]);
    check(&load(&bernoulli(expanded)), &[2, 2, 3]);
    let value = tensor_attribute("value", float("v", &[1], &[Q]));
    let filled =
        start(0)
            .tensor(ints("s", &[1, 2, 1, 1]))
            .node("ConstantOfShape", &["s"], &["p"], &[value]);
    check(&load(&bernoulli(filled)), &[2, 1, 1]);
    let held = start(0).tensor(float("p", &[1, 2, 1, 1], &[Q; 2]));
    check(&load(&bernoulli(held)), &[2, 1, 1]);
    let uneven = start(0).tensor(float("p", &[1, 2, 1, 1], &[Q, 0.5]));
    assert!(refusal(&bernoulli(uneven)).contains("Dropout Mul_d: its keep probability"));
}

#[test]
fn sites_of_both_kinds_keep_their_order() {
    let build = Build::new(20, &[0, 2, 2, 3])
        .tensor(float("q", &[], &[Q]))
        .live("x", "a", 0.5);
    let build = ones(like(build, &[1, 2, 1, 1]), "like", "q")
        .node("Div", &["b", "q"], &["scaled"], &[])
        .node("Mul", &["a", "scaled"], &["c"], &[])
        .live("c", "d", 0.1);
    let model = load(&finish(build));
    let names: Vec<&str> = model.sites().iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["Dropout_a", "Mul_c", "Dropout_d"]);
}

#[test]
fn what_drops_nothing_is_no_site() {
    let mut always = dropout2d(0);
    always.graph().initializer[0] = float("q", &[], &[1.0]);
    assert!(
        refusal(&always).contains("Mul_d: its ratio is 0"),
        "{}",
        refusal(&always)
    );

    let build = ones(start(0), "x", "q")
        .node("Div", &["b", "q"], &["scaled"], &[])
        .node("Mul", &["x", "scaled"], &["unread"], &[])
        .live("x", "d", 0.5);
    let model = load(&finish(build));
    assert_eq!(model.sites().len(), 1);
    assert_eq!(model.idle_dropouts()[0].name, "Mul_unread");
    assert_eq!(model.idle_dropouts()[0].reason, Idle::Unused);
}

#[test]
fn shapes_that_are_no_channels_are_refused() {
    for shape in [[1, 1, 2, 3], [1, 1, 1, 1], [1, 2, 2, 1]] {
        let message = refusal(&product(ones(like(start(0), &shape), "like", "q")));
        assert!(
            message.contains("Dropout Mul_d") && message.contains("whole channels"),
            "{message}"
        );
    }
}

#[test]
fn probabilities_that_are_not_constant_are_refused() {
    let computed = start(0).node(
        "ReduceMean",
        &["x"],
        &["p"],
        &[int_attribute("keepdims", 0)],
    );
    let message = refusal(&product(ones(computed, "x", "p")));
    assert!(
        message.contains("Dropout Mul_d") && message.contains("make it a constant"),
        "{message}"
    );
    let other = start(0).tensor(float("p", &[], &[0.5]));
    let message = refusal(&product(ones(other, "x", "p")));
    assert!(
        message.contains("Dropout Mul_d") && message.contains("divides by something else"),
        "{message}"
    );
    for q in [0.0, -0.5, 1.5, f32::INFINITY, 1.0 - 1e-6] {
        let mut build = dropout2d(0);
        build.graph().initializer[0] = float("q", &[], &[q]);
        let message = refusal(&build);
        assert!(message.contains("Dropout Mul_d: its ratio"), "{message}");
    }
}

#[test]
fn one_mask_for_two_activations_is_refused() {
    let build = ones(start(0), "x", "q")
        .node("Div", &["b", "q"], &["scaled"], &[])
        .node("Mul", &["x", "scaled"], &["first"], &[])
        .node("Relu", &["first"], &["r"], &[])
        .node("Mul", &["r", "scaled"], &["d"], &[]);
    let message = refusal(&finish(build));
    assert!(
        message.contains("Dropout Mul_d") && message.contains("drop elsewhere, too"),
        "{message}"
    );
}

#[test]
fn random_numbers_used_otherwise_are_refused() {
    let named = |build: Build, node: &str| {
        let message = refusal(&build);
        assert!(
            message.contains(&format!("(node {node})")) && message.contains("of its own"),
            "{message}"
        );
    };
    let noise = start(0)
        .node("RandomUniformLike", &["x"], &["u"], &[])
        .node("Add", &["x", "u"], &["d"], &[]);
    named(finish(noise), "RandomUniformLike_u");
    let unscaled = ones(start(0), "x", "q").node("Mul", &["x", "b"], &["d"], &[]);
    named(finish(unscaled), "RandomUniformLike_u");
    let normal = start(0)
        .node("RandomNormalLike", &["x"], &["u"], &[])
        .node("Less", &["u", "q"], &["less"], &[])
        .node("Cast", &["less"], &["b"], &[int_attribute("to", 1)]);
    named(product(normal), "RandomNormalLike_u");
    let wide = |attribute: AttributeProto| {
        let mut build = product(ones(start(0), "x", "q"));
        build.graph().node[0].attribute.push(attribute);
        build
    };
    named(wide(float_attribute("high", 2.0)), "RandomUniformLike_u");
    named(wide(float_attribute("low", -1.0)), "RandomUniformLike_u");
    load(&wide(float_attribute("high", 1.0)));
    // The mask is also read by what is no dropout.
    let leaked = ones(start(0), "x", "q")
        .node("Div", &["b", "q"], &["scaled"], &[])
        .node("Mul", &["x", "scaled"], &["dropped"], &[])
        .node("Add", &["dropped", "b"], &["d"], &[]);
    named(finish(leaked), "RandomUniformLike_u");
    // Dropped weights, as in DropConnect.
    let weights = ones(start(0).weight("v", &[1, 2, 2, 3]), "v", "q")
        .node("Div", &["b", "q"], &["scaled"], &[])
        .node("Mul", &["v", "scaled"], &["c"], &[])
        .node("Add", &["x", "c"], &["d"], &[]);
    assert!(refusal(&finish(weights)).contains("weights"));
    let switch = start(0).tensor(boolean("on", true)).node(
        "Cast",
        &["on"],
        &["b"],
        &[int_attribute("to", 1)],
    );
    assert!(refusal(&product(switch)).contains("no live Dropout"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Other operators, and other tensors between the nodes, are refused or make another model.
    #[test]
    fn damage_never_panics(
        which in any::<prop::sample::Index>(),
        op in any::<prop::sample::Index>(),
        input in any::<prop::sample::Index>(),
        count in 0..4_usize,
        what in 0..3_u8,
    ) {
        let mut build = dropout2d(0);
        let graph = build.graph();
        let tensors: Vec<String> = graph.node.iter().flat_map(|n| n.output.clone()).collect();
        let index = which.index(graph.node.len());
        let node = &mut graph.node[index];
        match what {
            0 => {
                let ops = ["Bernoulli", "RandomUniform", "RandomUniformLike", "Less", "Cast", "Div", "Mul", "Expand",
                    "ConstantOfShape", "Dropout", "Identity", "RandomNormal", "Multinomial"];
                node.op_type = ops[op.index(ops.len())].into();
            }
            1 => node.input.truncate(count),
            _ => {
                let place = input.index(node.input.len());
                node.input[place].clone_from(&tensors[op.index(index.max(1))]);
            }
        }
        let _ = Model::from_bytes(&build.bytes());
    }
}
