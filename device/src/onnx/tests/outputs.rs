//! Outputs of every kind: engines yield scores whose softmax is the file's own answer.

use tract_onnx::pb::tensor_proto::DataType;

use super::build::{Build, float, int_attribute, ints, ints_attribute, pattern};
use super::{FRAME, PASSES, SEED, load, refusal, sample, scaled_mask};
use crate::engine::Engine as _;
use crate::engine::native::{Level, NativeEngine, Plan};
use crate::onnx::{Model, OutputKind};

const X: [f32; 4] = [0.5, -1.25, 2.0, 0.75];

/// What a file answers to scores.
type Answer<'a> = dyn Fn(&[f64]) -> Vec<f64> + 'a;

/// `z = dropout(x) · w`, for so many classes.
fn scores(opset: i64, classes: i64) -> Build {
    Build::new(opset, &[0, 4])
        .live("x", "dropped", 0.25)
        .weight("w", &[4, classes])
        .node("MatMul", &["dropped", "w"], &["z"], &[])
}

/// The scores of `scores` in a pass.
fn z(model: &Model, classes: usize, pass: u32) -> Vec<f64> {
    let (mask, weights) = (scaled_mask(model, 0, pass), pattern(4 * classes));
    let of = |class: usize, i: usize| {
        f64::from(X[i]) * f64::from(mask[i]) * f64::from(weights[classes * i + class])
    };
    (0..classes)
        .map(|class| (0..4).map(|i| of(class, i)).sum())
        .collect()
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores.iter().map(|v| (v - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|v| v / sum).collect()
}

fn doubles(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| v.into()).collect()
}

/// The model is of this kind, and its passes have the probabilities that `answer` makes of `z`.
#[track_caller]
fn check(build: &Build, kind: OutputKind, classes: usize, answer: &Answer<'_>) -> Model {
    let model = load(build);
    assert_eq!(model.output_kind(), kind);
    for (pass, logits) in (0..).zip(sample(&model, &X)) {
        assert!(logits.iter().all(|v| v.is_finite()), "{logits:?}");
        let expected = answer(&z(&model, classes, pass));
        let got = softmax(&doubles(&logits));
        assert_eq!(got.len(), expected.len());
        let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-6;
        assert!(
            got.iter().zip(&expected).all(close),
            "{got:?} is not {expected:?}"
        );
    }
    model
}

fn has(model: &Model, op: &str) -> bool {
    let nodes = &model.head().graph.as_ref().unwrap().node;
    nodes.iter().any(|n| n.op_type == op)
}

#[track_caller]
fn native_agrees(model: &Model) {
    let plan = Plan::from_model(model).unwrap_or_else(|e| panic!("{e}"));
    let mut native = NativeEngine::new(plan, Level::detect(), SEED, 1).unwrap();
    let input = pattern(model.input_shape().len());
    let mut logits = vec![0.0; PASSES as usize * model.classes()];
    native.begin(FRAME, &input).unwrap();
    native.sample(0..PASSES, &mut logits).unwrap();
    super::assert_close(&logits, &sample(model, &input).concat());
}

fn axis(axis: i64) -> [tract_onnx::pb::AttributeProto; 1] {
    [int_attribute("axis", axis)]
}

fn axes(axes: &[i64]) -> [tract_onnx::pb::AttributeProto; 1] {
    [ints_attribute("axes", axes)]
}

fn to(data_type: DataType) -> [tract_onnx::pb::AttributeProto; 1] {
    [int_attribute("to", data_type as i64)]
}

#[test]
fn a_softmax_is_found_behind_nodes_of_shape_and_type() {
    let p = |opset| scores(opset, 3).node("Softmax", &["z"], &["p"], &axis(1));
    let reshaped = |b: Build, sizes: &[i64]| {
        b.tensor(ints("s", sizes))
            .node("Reshape", &["p", "s"], &["y"], &[])
    };
    let ways = [
        p(13).node("Cast", &["p"], &["y"], &to(DataType::Double)),
        reshaped(p(13), &[-1, 3]),
        reshaped(p(13), &[-1, 3, 1, 1]),
        p(13).node("Flatten", &["p"], &["y"], &axis(1)),
        p(11).node("Unsqueeze", &["p"], &["y"], &axes(&[1])),
        p(11)
            .node("Unsqueeze", &["p"], &["u"], &axes(&[2, 3]))
            .node("Squeeze", &["u"], &["y"], &axes(&[2, 3])),
        p(11)
            .node("Unsqueeze", &["p"], &["u"], &axes(&[2, 3]))
            .node(
                "Transpose",
                &["u"],
                &["y"],
                &[ints_attribute("perm", &[0, 2, 3, 1])],
            ),
        // Of scores of shape [1, C, 1, 1], along the classes; and before opset 13 along all that follows.
        scores(11, 3)
            .node("Unsqueeze", &["z"], &["u"], &axes(&[2, 3]))
            .node("Softmax", &["u"], &["p"], &[])
            .node("Flatten", &["p"], &["y"], &axis(1)),
    ];
    for build in ways {
        let model = check(&build.output("y"), OutputKind::Probabilities, 3, &softmax);
        assert!(!has(&model, "Softmax") && !has(&model, "Log"));
        // What is cut off is no hindrance; what comes before is.
        if !has(&model, "Unsqueeze") {
            native_agrees(&model);
        }
    }
}

#[test]
fn one_softmax_of_two_is_cut() {
    let twice = |first: &str, second: &str| {
        scores(13, 3)
            .node(first, &["z"], &["p"], &axis(1))
            .node(second, &["p"], &["y"], &axis(-1))
            .output("y")
    };
    let of_both = |z: &[f64]| softmax(&softmax(z));
    check(
        &twice("Softmax", "Softmax"),
        OutputKind::Probabilities,
        3,
        &of_both,
    );
    check(
        &twice("Softmax", "LogSoftmax"),
        OutputKind::LogProbabilities,
        3,
        &of_both,
    );
    check(
        &twice("LogSoftmax", "Softmax"),
        OutputKind::Probabilities,
        3,
        &softmax,
    );
}

#[test]
fn probabilities_in_other_words_become_their_logarithms() {
    let p = || scores(13, 3).node("Softmax", &["z"], &["p"], &axis(1));
    let second = |b: Build| {
        b.weight("v", &[4, 3])
            .tensor(float("two", &[], &[2.0]))
            .node("Neg", &["z"], &["z2"], &[])
            .node("Softmax", &["z2"], &["p2"], &axis(1))
    };
    let halves = |z: &[f64]| {
        let negated: Vec<f64> = z.iter().map(|v| -v).collect();
        softmax(z)
            .iter()
            .zip(softmax(&negated))
            .map(|(a, b)| (a + b) / 2.0)
            .collect()
    };
    let sigmoid = |v: f64| 1.0 / (1.0 + (-v).exp());
    let normalised = |z: &[f64]| {
        let sum: f64 = z.iter().map(|&v| sigmoid(v)).sum();
        z.iter().map(|&v| sigmoid(v) / sum).collect()
    };
    let clipped = |z: &[f64]| {
        let p: Vec<f64> = softmax(z).iter().map(|p| p.clamp(0.05, 0.95)).collect();
        let sum: f64 = p.iter().sum();
        p.iter().map(|p| p / sum).collect()
    };
    let cases: [(Build, &Answer<'_>); 9] = [
        (
            p().tensor(float("low", &[], &[0.05]))
                .tensor(float("high", &[], &[0.95]))
                .node("Clip", &["p", "low", "high"], &["y"], &[]),
            &clipped,
        ),
        (
            p().tensor(float("f", &[], &[100.0]))
                .node("Mul", &["f", "p"], &["y"], &[]),
            &softmax,
        ),
        (
            p().tensor(float("f", &[], &[4.0]))
                .node("Div", &["p", "f"], &["y"], &[]),
            &softmax,
        ),
        // Written out, with the sum over an axis by an input since opset 13.
        (
            scores(13, 3)
                .tensor(ints("one", &[1]))
                .node("Exp", &["z"], &["e"], &[])
                .node(
                    "ReduceSum",
                    &["e", "one"],
                    &["sum"],
                    &[int_attribute("keepdims", 1)],
                )
                .node("Div", &["e", "sum"], &["y"], &[]),
            &softmax,
        ),
        // In percent.
        (
            scores(13, 3)
                .tensor(ints("one", &[1]))
                .tensor(float("f", &[], &[100.0]))
                .node("Exp", &["z"], &["e"], &[])
                .node(
                    "ReduceSum",
                    &["e", "one"],
                    &["sum"],
                    &[int_attribute("keepdims", 1)],
                )
                .node("Div", &["e", "sum"], &["q"], &[])
                .node("Mul", &["q", "f"], &["y"], &[]),
            &softmax,
        ),
        (
            second(p()).node("Add", &["p", "p2"], &["s"], &[]).node(
                "Div",
                &["s", "two"],
                &["y"],
                &[],
            ),
            &halves,
        ),
        (second(p()).node("Mean", &["p", "p2"], &["y"], &[]), &halves),
        // Of two heads, one above the other.
        (
            second(p())
                .tensor(ints("as3", &[0, 1, 3]))
                .node("Reshape", &["p", "as3"], &["q"], &[])
                .node("Reshape", &["p2", "as3"], &["q2"], &[])
                .node("Concat", &["q", "q2"], &["both"], &axis(1))
                .node(
                    "ReduceMean",
                    &["both"],
                    &["y"],
                    &[ints_attribute("axes", &[1]), int_attribute("keepdims", 0)],
                ),
            &halves,
        ),
        (
            scores(13, 3)
                .tensor(ints("one", &[1]))
                .node("Sigmoid", &["z"], &["e"], &[])
                .node(
                    "ReduceSum",
                    &["e", "one"],
                    &["sum"],
                    &[int_attribute("keepdims", 1)],
                )
                .node("Div", &["e", "sum"], &["y"], &[]),
            &normalised,
        ),
    ];
    for (build, answer) in cases {
        let model = check(&build.output("y"), OutputKind::Probabilities, 3, answer);
        assert!(has(&model, "Log"));
    }
    let logarithm = scores(13, 3)
        .tensor(ints("one", &[1]))
        .node("Exp", &["z"], &["e"], &[])
        .node(
            "ReduceSum",
            &["e", "one"],
            &["sum"],
            &[int_attribute("keepdims", 1)],
        )
        .node("Log", &["sum"], &["l"], &[])
        .node("Sub", &["z", "l"], &["y"], &[])
        .output("y");
    check(&logarithm, OutputKind::LogProbabilities, 3, &softmax);
}

#[test]
fn a_probability_of_zero_is_a_finite_logit() {
    // A score far below the others: its exponential is 0.
    let build = scores(13, 3)
        .tensor(float("far", &[3], &[0.0, -500.0, 0.0]))
        .tensor(float("low", &[], &[0.0]))
        .tensor(float("high", &[], &[1.0]))
        .node("Add", &["z", "far"], &["a"], &[])
        .node("Softmax", &["a"], &["p"], &axis(1))
        .node("Clip", &["p", "low", "high"], &["y"], &[])
        .output("y");
    let answer = |z: &[f64]| softmax(&[z[0], z[1] - 500.0, z[2]]);
    check(&build, OutputKind::Probabilities, 3, &answer);
}

#[test]
fn one_score_is_for_two_classes() {
    let two = |z: &[f64]| {
        let p = 1.0 / (1.0 + (-z[0]).exp());
        vec![1.0 - p, p]
    };
    let logit = |b: Build| b.output("z");
    let squeezed = |b: Build| {
        b.tensor(ints("one", &[1]))
            .node("Squeeze", &["z", "one"], &["y"], &[])
            .output("y")
    };
    let sigmoid = |b: Build| b.node("Sigmoid", &["z"], &["y"], &[]).output("y");
    let both = |b: Build| {
        b.tensor(ints("one", &[1]))
            .node("Sigmoid", &["z"], &["p"], &[])
            .node("Squeeze", &["p", "one"], &["y"], &[])
            .output("y")
    };
    let written_out = |b: Build| {
        b.tensor(float("unit", &[], &[1.0]))
            .node("Neg", &["z"], &["n"], &[])
            .node("Exp", &["n"], &["e"], &[])
            .node("Add", &["e", "unit"], &["s"], &[])
            .node("Div", &["unit", "s"], &["y"], &[])
            .output("y")
    };
    for (build, kind) in [
        (logit(scores(13, 1)), OutputKind::BinaryLogit),
        (squeezed(scores(13, 1)), OutputKind::BinaryLogit),
        (sigmoid(scores(13, 1)), OutputKind::BinaryProbability),
        (both(scores(13, 1)), OutputKind::BinaryProbability),
        (written_out(scores(13, 1)), OutputKind::BinaryProbability),
    ] {
        let model = check(&build, kind, 1, &two);
        assert_eq!(model.classes(), 2);
        assert_eq!(model.metadata().labels, ["0", "1"]);
        if !has(&model, "Log") {
            native_agrees(&model);
        }
    }
}

#[test]
fn scores_with_axes_of_one_are_squeezed() {
    for last in [
        &["Conv"][..],
        &["Conv", "GlobalAveragePool"],
        &["Conv", "Relu", "GlobalAveragePool"],
    ] {
        let mut build = Build::new(13, &[0, 2, 3, 3])
            .live("x", "d", 0.5)
            .weight("k", &[4, 2, 3, 3])
            .node(
                "Conv",
                &["d", "k"],
                &["s1"],
                &[ints_attribute("kernel_shape", &[3, 3])],
            );
        for (index, op) in last[1..].iter().enumerate() {
            build = build.node(
                op,
                &[&format!("s{}", index + 1)],
                &[&format!("s{}", index + 2)],
                &[],
            );
        }
        let model = load(&build.output(&format!("s{}", last.len())));
        assert_eq!(
            (model.classes(), model.output_kind()),
            (4, OutputKind::Logits),
            "{last:?}"
        );
        native_agrees(&model);
    }
}

#[test]
fn scores_that_are_plainly_linear_are_not_tried() {
    // Trying them would show probabilities.
    let build = scores(13, 3)
        .tensor(float("nothing", &[3, 3], &[0.0; 9]))
        .tensor(float("bias", &[3], &[0.2, 0.3, 0.5]))
        .node("Gemm", &["z", "nothing", "bias"], &["y"], &[])
        .output("y");
    let answer = |_: &[f64]| softmax(&[0.2, 0.3, 0.5].map(|v: f32| v.into()));
    check(&build, OutputKind::Logits, 3, &answer);
}

#[test]
fn what_is_neither_logits_nor_a_distribution_is_refused() {
    let plus_one = |b: Build| {
        b.tensor(float("unit", &[], &[1.0]))
            .node("Add", &["e", "unit"], &["y"], &[])
    };
    let hot = scores(13, 3)
        .node("ReduceMax", &["z"], &["most"], &axes(&[1]))
        .node("Equal", &["z", "most"], &["is"], &[])
        .node("Cast", &["is"], &["y"], &to(DataType::Float));
    let of = |op: &str, output: &str| scores(13, 3).node(op, &["z"], &[output], &[]);
    for (build, words) in [
        (of("Sigmoid", "y"), "a sigmoid per class?"),
        (hot, "zeros and ones only"),
        (
            of("Softplus", "y"),
            "values of Softplus that are never negative",
        ),
        (of("Relu", "y"), "values of Relu"),
        (plus_one(of("Softplus", "e")), "evidence?"),
        (plus_one(of("Exp", "e")), "values of Exp"),
        (plus_one(of("Relu", "e")), "values of Relu"),
    ] {
        let message = refusal(&build.output("y"));
        assert!(message.contains(words), "{message}");
        assert!(
            message.contains("mcdropout.output") && message.contains("output y"),
            "{message}"
        );
    }
}

#[test]
fn what_the_file_says_of_its_output_holds() {
    let stated = |mut build: Build, kind: OutputKind| {
        build.model.metadata_props.push(kind.entry());
        build
    };
    let sigmoids = || {
        scores(13, 3)
            .node("Sigmoid", &["z"], &["y"], &[])
            .output("y")
    };
    let sigmoid = |v: &f64| 1.0 / (1.0 + (-v).exp());
    let as_logits = |z: &[f64]| softmax(&z.iter().map(sigmoid).collect::<Vec<_>>());
    check(
        &stated(sigmoids(), OutputKind::Logits),
        OutputKind::Logits,
        3,
        &as_logits,
    );
    let normalised = |z: &[f64]| {
        let p: Vec<f64> = z.iter().map(sigmoid).collect();
        let sum: f64 = p.iter().sum();
        p.iter().map(|p| p / sum).collect()
    };
    check(
        &stated(sigmoids(), OutputKind::Probabilities),
        OutputKind::Probabilities,
        3,
        &normalised,
    );
    // Where a Softmax is at the end, saying so changes nothing.
    let plain = scores(13, 3)
        .node("Softmax", &["z"], &["y"], &[])
        .output("y");
    let model = check(
        &stated(plain.clone(), OutputKind::Probabilities),
        OutputKind::Probabilities,
        3,
        &softmax,
    );
    assert!(!has(&model, "Softmax"));
    let of_both = |z: &[f64]| softmax(&softmax(z));
    check(
        &stated(plain.clone(), OutputKind::Logits),
        OutputKind::Logits,
        3,
        &of_both,
    );
    let message = refusal(&stated(plain.clone(), OutputKind::BinaryLogit));
    assert!(
        message.contains("mcdropout.output") && message.contains("3 value(s)"),
        "{message}"
    );
    let mut unknown = plain;
    let mut entry = OutputKind::Logits.entry();
    entry.value = "\"evidence\"".into();
    unknown.model.metadata_props.push(entry);
    assert!(
        refusal(&unknown).contains("metadata entry mcdropout.output cannot be read"),
        "{}",
        refusal(&unknown)
    );
}

#[test]
fn every_kind_is_written_as_it_is_read() {
    for kind in [
        OutputKind::Logits,
        OutputKind::Probabilities,
        OutputKind::LogProbabilities,
        OutputKind::BinaryLogit,
        OutputKind::BinaryProbability,
    ] {
        assert_eq!(OutputKind::read(&[kind.entry()]).unwrap(), Some(kind));
    }
    assert_eq!(OutputKind::read(&[]).unwrap(), None);
}
