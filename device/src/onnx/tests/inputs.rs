//! Inputs of every layout, type and size, and normalisations at the head of the graph.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, TensorProto};
use tract_onnx::prelude::f16;

use super::build::{Build, float, int_attribute, ints, ints_attribute, pattern, value};
use super::{FRAME, PASSES, SEED, assert_close, load, refusal, refusal_of, sample, scaled_mask};
use crate::engine::native::{Level, NativeEngine, Plan};
use crate::engine::{Engine as _, InputShape};
use crate::onnx::{ElementType, Layout, LoadOptions, Model, OnnxError, compose};
use shared::image::{Normalisation, Preprocessing};

const SIDE: usize = 5;

/// Conv → dropout → flatten → linear from `image`, which has the channels first.
fn network(build: Build, image: &str, channels: i64, opset_batch: &[i64]) -> Build {
    build
        .weight("k", &[2, channels, 3, 3])
        .weight("b", &[2])
        .node(
            "Conv",
            &[image, "k", "b"],
            &["c"],
            &[ints_attribute("kernel_shape", &[3, 3])],
        )
        .live("c", "d", 0.5)
        .tensor(ints("sizes", opset_batch))
        .node("Reshape", &["d", "sizes"], &["f"], &[])
        .weight("w", &[18, 3])
        .node("MatMul", &["f", "w"], &["y"], &[])
        .output("y")
}

/// What `network` computes of an image `[channel][row][column]`.
fn reference(model: &Model, image: &[f64], channels: usize, pass: u32) -> Vec<f32> {
    let of = |count| -> Vec<f64> { pattern(count).into_iter().map(f64::from).collect() };
    let (kernel, bias, weights) = (of(18 * channels), of(2), of(54));
    let mask = scaled_mask(model, 0, pass);
    let mut logits = [0.0; 3];
    for element in 0..18 {
        let (output, row, column) = (element / 9, element / 3 % 3, element % 3);
        let mut sum = bias[output];
        for channel in 0..channels {
            for k in 0..9 {
                let pixel = SIDE * (SIDE * channel + row + k / 3) + column + k % 3;
                sum += kernel[9 * (channels * output + channel) + k] * image[pixel];
            }
        }
        for (class, logit) in logits.iter_mut().enumerate() {
            *logit += sum * f64::from(mask[element]) * weights[3 * element + class];
        }
    }
    logits.map(|v| v as f32).to_vec()
}

/// Passes of tract, those of the native engine, and what is expected agree, given what an engine is
/// given: the image after the model's own normalisation.
#[track_caller]
fn check(model: &Model, image: &[f32], seen: &[f64], channels: usize) {
    let normalisation = model.scaled(Preprocessing::grey(Normalisation::IDENTITY));
    let normalisation = normalisation.normalisation;
    let area = SIDE * SIDE;
    let input: Vec<f32> = image
        .iter()
        .enumerate()
        .map(|(i, &v)| {
            let of = normalisation[i / area];
            (v - of.mean) / of.standard_deviation
        })
        .collect();
    let passes = sample(model, &input);
    let plan = Plan::from_model(model).unwrap_or_else(|e| panic!("{e}"));
    let mut native = NativeEngine::new(plan, Level::detect(), SEED, 1).unwrap();
    let mut logits = vec![0.0; PASSES as usize * model.classes()];
    native.begin(FRAME, &input).unwrap();
    native.sample(0..PASSES, &mut logits).unwrap();
    assert_close(&logits, &passes.concat());
    for (pass, logits) in (0..).zip(passes) {
        assert_close(&logits, &reference(model, seen, channels, pass));
    }
}

fn perm(axes: &[i64]) -> [AttributeProto; 1] {
    [ints_attribute("perm", axes)]
}

fn to(data_type: DataType) -> [AttributeProto; 1] {
    [int_attribute("to", data_type as i64)]
}

/// A builder whose input `x` has elements of this type.
fn of_type(data_type: DataType, dims: &[i64]) -> Build {
    let mut build = Build::new(13, dims);
    build.graph().input[0] = value("x", data_type, dims);
    build
}

fn doubles(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| v.into()).collect()
}

fn ops(model: &Model) -> Vec<String> {
    let nodes = |model: &super::super::ModelProto| model.graph.clone().unwrap().node;
    let all = nodes(model.masks_as_inputs()).into_iter();
    all.map(|n| n.op_type).collect()
}

const RGB: InputShape = InputShape {
    channels: 3,
    height: SIDE,
    width: SIDE,
};

#[test]
fn a_transpose_to_channels_first_falls_away() {
    let image = pattern(75);
    for batch in [0, 1] {
        let build = Build::new(13, &[batch, 5, 5, 3]).node(
            "Transpose",
            &["x"],
            &["t"],
            &perm(&[0, 3, 1, 2]),
        );
        let model = load(&network(build, "t", 3, &[-1, 18]));
        assert_eq!(
            (model.layout(), model.input_shape()),
            (Layout::ChannelsLast, RGB)
        );
        assert!(
            !ops(&model).contains(&"Transpose".into()),
            "{:?}",
            ops(&model)
        );
        check(&model, &image, &doubles(&image), 3);
    }
    // Of one channel, tf2onnx writes a Reshape; and it asks for the batch.
    let grey = Build::new(13, &[0, 5, 5, 1])
        .node("Shape", &["x"], &["shape"], &[])
        .tensor(ints("zero", &[0]))
        .tensor(ints("rest", &[1, 5, 5]))
        .node("Gather", &["shape", "zero"], &["n"], &[])
        .node(
            "Concat",
            &["n", "rest"],
            &["s"],
            &[int_attribute("axis", 0)],
        )
        .node("Reshape", &["x", "s"], &["t"], &[]);
    let model = load(&network(grey, "t", 1, &[-1, 18]));
    assert_eq!(model.input_shape(), InputShape { channels: 1, ..RGB });
    check(&model, &image[..25], &doubles(&image[..25]), 1);
    assert_eq!(
        load(&network(Build::new(13, &[0, 3, 5, 5]), "x", 3, &[-1, 18])).layout(),
        Layout::ChannelsFirst
    );
}

#[test]
fn a_picture_flattened_with_channels_last_has_its_weights_reordered() {
    // Conv → channels last → row → relu → dropout → linear, with weights of either orientation.
    let (image, kernel, weights) = (pattern(75), pattern(54), pattern(54));
    for gemm in [false, true] {
        let build = Build::new(13, &[0, 5, 5, 3])
            .node("Transpose", &["x"], &["t"], &perm(&[0, 3, 1, 2]))
            .weight("k", &[2, 3, 3, 3])
            .node(
                "Conv",
                &["t", "k"],
                &["c"],
                &[ints_attribute("kernel_shape", &[3, 3])],
            )
            .node("Transpose", &["c"], &["l"], &perm(&[0, 2, 3, 1]))
            .tensor(ints("sizes", &[-1, 18]))
            .node("Reshape", &["l", "sizes"], &["f"], &[])
            .node("Relu", &["f"], &["r"], &[])
            .live("r", "d", 0.5);
        let build = if gemm {
            let turned: Vec<f32> = (0..54).map(|i| weights[3 * (i % 18) + i / 18]).collect();
            build.tensor(float("w", &[3, 18], &turned)).node(
                "Gemm",
                &["d", "w"],
                &["y"],
                &[int_attribute("transB", 1)],
            )
        } else {
            build
                .weight("w", &[18, 3])
                .node("MatMul", &["d", "w"], &["y"], &[])
        };
        let model = load(&build.output("y"));
        assert!(
            !ops(&model).contains(&"Transpose".into()),
            "{:?}",
            ops(&model)
        );
        Plan::from_model(&model).unwrap_or_else(|e| panic!("{e}"));
        for (pass, logits) in (0..).zip(sample(&model, &image)) {
            let mask = scaled_mask(&model, 0, pass);
            let mut expected = [0.0; 3];
            for (element, factor) in mask.into_iter().enumerate() {
                let (channel, row, column) = (element / 9, element / 3 % 3, element % 3);
                let mut sum = 0.0;
                for k in 0..27 {
                    let pixel = 25 * (k / 9) + 5 * (row + k / 3 % 3) + column + k % 3;
                    sum += f64::from(kernel[27 * channel + k]) * f64::from(image[pixel]);
                }
                let value = sum.max(0.0) * f64::from(factor);
                for (class, logit) in expected.iter_mut().enumerate() {
                    let last = 2 * (3 * row + column) + channel;
                    *logit += value * f64::from(weights[3 * last + class]);
                }
            }
            assert_close(&logits, &expected.map(|v| v as f32));
        }
    }
}

#[test]
fn a_network_of_channels_last_is_given_them_by_a_transpose() {
    let build = Build::new(13, &[0, 5, 5, 3])
        .live("x", "d", 0.5)
        .node(
            "ReduceMean",
            &["d"],
            &["m"],
            &[
                ints_attribute("axes", &[1, 2]),
                int_attribute("keepdims", 0),
            ],
        )
        .weight("w", &[3, 4])
        .node("MatMul", &["m", "w"], &["y"], &[])
        .output("y");
    let model = load(&build);
    assert_eq!(
        (model.layout(), model.input_shape()),
        (Layout::ChannelsLast, RGB)
    );
    assert_eq!(model.sites()[0].shape, [5, 5, 3]);
    let (image, weights) = (pattern(75), pattern(12));
    for (pass, logits) in (0..).zip(sample(&model, &image)) {
        let mask = scaled_mask(&model, 0, pass);
        let mut expected = [0.0; 4];
        for (i, value) in image.iter().enumerate() {
            let (channel, pixel) = (i / 25, i % 25);
            let value = f64::from(*value) * f64::from(mask[3 * pixel + channel]) / 25.0;
            for (class, logit) in expected.iter_mut().enumerate() {
                *logit += value * f64::from(weights[4 * channel + class]);
            }
        }
        assert_close(&logits, &expected.map(|v| v as f32));
    }
}

#[test]
fn bytes_that_become_floats_first_are_floats() {
    let image: Vec<f32> = (0..75).map(|i| ((i * 37) % 256) as f32).collect();
    let seen: Vec<f64> = image.iter().map(|&v| f64::from(v) / 255.0).collect();
    let first = |b: Build| {
        b.node("Cast", &["x"], &["c0"], &to(DataType::Float))
            .node("Transpose", &["c0"], &["t"], &perm(&[0, 3, 1, 2]))
            .tensor(float("scale", &[], &[255.0]))
            .node("Div", &["t", "scale"], &["n"], &[])
    };
    let last = |b: Build| {
        b.node("Transpose", &["x"], &["t"], &perm(&[0, 3, 1, 2]))
            .node("Cast", &["t"], &["c0"], &to(DataType::Float))
            .tensor(float("scale", &[1], &[255.0]))
            .node("Div", &["c0", "scale"], &["n"], &[])
    };
    let ways: [&dyn Fn(Build) -> Build; 2] = [&first, &last];
    for way in ways {
        let build = way(of_type(DataType::Uint8, &[0, 5, 5, 3]));
        let model = load(&network(build, "n", 3, &[-1, 18]));
        assert_eq!(model.element_type(), ElementType::Byte);
        assert!(
            !ops(&model)
                .iter()
                .any(|op| op == "Cast" || op == "Transpose" || op == "Div")
        );
        let by_255 = Normalisation {
            mean: 0.0,
            standard_deviation: 255.0,
        };
        assert_eq!(model.input_scale(), Some(&[by_255][..]));
        check(&model, &image, &seen, 3);
    }
}

#[test]
fn bytes_that_are_read_as_bytes_are_made_of_whole_numbers() {
    // Two readers: neither Cast may fall away.
    let build = of_type(DataType::Uint8, &[0, 4])
        .node("Cast", &["x"], &["a"], &to(DataType::Float))
        .node("Cast", &["x"], &["b"], &to(DataType::Float))
        .node("Add", &["a", "b"], &["s"], &[])
        .live("s", "y", 0.5)
        .output("y");
    let model = load(&build);
    // What a division and a multiplication make of whole numbers is not quite one.
    let input = [0.0, 16.999_998, 254.999_98, 255.0];
    for (pass, logits) in (0..).zip(sample(&model, &input)) {
        let mask = scaled_mask(&model, 0, pass);
        let expected: Vec<f32> = [0.0, 34.0, 510.0, 510.0]
            .iter()
            .zip(mask)
            .map(|(v, m)| v * m)
            .collect();
        assert_close(&logits, &expected);
    }
}

#[test]
fn half_precision_is_widened() {
    let halves = |name: &str, dims: &[i64]| {
        let count = dims.iter().product::<i64>() as usize;
        let values = pattern(count).into_iter().map(f16::from_f32);
        TensorProto {
            name: name.into(),
            dims: dims.to_vec(),
            data_type: DataType::Float16 as i32,
            raw_data: values.flat_map(|v| v.to_bits().to_le_bytes()).collect(),
            ..TensorProto::default()
        }
    };
    // As a converter leaves it: floats in and out, and halves between; or halves all the way.
    for (input, cast) in [(DataType::Float, true), (DataType::Float16, false)] {
        let mut build = of_type(input, &[0, 4]);
        if cast {
            build = build.node("Cast", &["x"], &["h"], &to(DataType::Float16));
        }
        let build = build
            .live(if cast { "h" } else { "x" }, "d", 0.5)
            .tensor(halves("w", &[4, 3]))
            .node("MatMul", &["d", "w"], &["y"], &[])
            .output("y");
        let model = load(&build);
        assert_eq!(model.element_type() == ElementType::Half, !cast);
        let input = [0.5, -1.25, 2.0, 0.75];
        let weights: Vec<f32> = pattern(12)
            .into_iter()
            .map(|v| f16::from_f32(v).to_f32())
            .collect();
        for (pass, logits) in (0..).zip(sample(&model, &input)) {
            let mask = scaled_mask(&model, 0, pass);
            let expected: Vec<f32> = (0..3)
                .map(|class| {
                    (0..4)
                        .map(|i| input[i] * mask[i] * weights[3 * i + class])
                        .sum()
                })
                .collect();
            assert_close(&logits, &expected);
        }
        Plan::from_model(&model).unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn a_fixed_batch_becomes_one() {
    let image = pattern(75);
    let model = load(&network(Build::new(13, &[8, 3, 5, 5]), "x", 3, &[8, 18]));
    check(&model, &image, &doubles(&image), 3);
    let last =
        Build::new(13, &[8, 5, 5, 3]).node("Transpose", &["x"], &["t"], &perm(&[0, 3, 1, 2]));
    let model = load(&network(last, "t", 3, &[8, -1]));
    check(&model, &image, &doubles(&image), 3);
}

#[test]
fn a_batch_that_cannot_become_one_is_refused_with_the_node_that_holds_it() {
    // Two images side by side.
    let sides = Build::new(13, &[8, 4])
        .tensor(ints("s", &[4, 8]))
        .node("Reshape", &["x", "s"], &["r"], &[])
        .live("r", "y", 0.5)
        .output("y");
    // Their mean.
    let mean = Build::new(13, &[8, 4])
        .node(
            "ReduceMean",
            &["x"],
            &["m"],
            &[ints_attribute("axes", &[0])],
        )
        .live("m", "y", 0.5)
        .output("y");
    // A constant for each.
    let each = Build::new(13, &[8, 4])
        .weight("each", &[8, 4])
        .node("Add", &["x", "each"], &["m"], &[])
        .live("m", "y", 0.5)
        .output("y");
    for (build, node) in [
        (sides, "Reshape_r"),
        (mean, "ReduceMean_m"),
        (each, "Add_m"),
    ] {
        let message = refusal(&build);
        assert!(
            message.contains("a fixed batch of 8") && message.contains(node),
            "{message}"
        );
    }
}

fn with_size(build: &Build, size: (usize, usize)) -> Result<Model, OnnxError> {
    let options = LoadOptions {
        input_size: Some(size),
        ..LoadOptions::default()
    };
    Model::from_bytes_with(&build.bytes(), &options)
}

#[test]
fn height_and_width_that_are_open_are_those_asked_for() {
    // A dimension of 0 is dynamic.
    let first = network(Build::new(13, &[0, 3, 0, 0]), "x", 3, &[0, 18]);
    let last =
        Build::new(13, &[0, 0, 0, 3]).node("Transpose", &["x"], &["t"], &perm(&[0, 3, 1, 2]));
    let last = network(last, "t", 3, &[0, 18]);
    let image = pattern(75);
    for build in [&first, &last] {
        let message = refusal(build);
        assert!(message.contains("--input-size HEIGHTxWIDTH"), "{message}");
        let model = with_size(build, (5, 5)).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(model.input_shape(), RGB);
        check(&model, &image, &doubles(&image), 3);
    }
    let fixed = network(Build::new(13, &[0, 3, 5, 5]), "x", 3, &[0, 18]);
    assert!(with_size(&fixed, (5, 5)).is_ok());
    let message = refusal_of(with_size(&fixed, (6, 5)));
    assert!(
        message.contains("fixed size of 5x5") && message.contains("6x5"),
        "{message}"
    );
    let half = network(Build::new(13, &[0, 3, 5, 0]), "x", 3, &[0, 18]);
    assert!(with_size(&half, (5, 5)).is_ok());
    assert!(refusal_of(with_size(&half, (6, 5))).contains("fixed height of 5"));
    let channels = network(Build::new(13, &[0, 0, 5, 5]), "x", 3, &[0, 18]);
    assert!(
        refusal(&channels).contains("dynamic number of channels"),
        "{}",
        refusal(&channels)
    );
    let flat = |values| {
        Build::new(13, &[0, values])
            .live("x", "d", 0.5)
            .weight("w", &[6, 3])
            .node("MatMul", &["d", "w"], &["y"], &[])
            .output("y")
    };
    for values in [0, 6] {
        let shape = with_size(&flat(values), (2, 3))
            .unwrap_or_else(|e| panic!("{e}"))
            .input_shape();
        assert_eq!(
            shape,
            InputShape {
                channels: 1,
                height: 2,
                width: 3
            }
        );
    }
    assert!(refusal_of(with_size(&flat(6), (3, 3))).contains("has 6 values"));
    for size in [(0, 5), (usize::MAX, 5), (1 << 40, 1 << 40)] {
        refusal_of(with_size(&first, size));
    }
}

const MEAN: [f32; 3] = [0.4, 0.5, 0.3];
const DEVIATION: [f32; 3] = [0.25, 0.5, 0.125];

fn standardised(image: &[f32], of: impl Fn(f64, usize) -> f64) -> Vec<f64> {
    image
        .iter()
        .enumerate()
        .map(|(i, &v)| of(v.into(), i / (SIDE * SIDE)))
        .collect()
}

#[test]
fn a_normalisation_at_the_head_is_taken_off_the_graph() {
    let image = pattern(75);
    let (mean, deviation) = (doubles(&MEAN), doubles(&DEVIATION));
    let divided = |b: Build, dims: &[i64]| {
        b.tensor(float("mean", dims, &MEAN))
            .tensor(float("deviation", dims, &DEVIATION))
    };
    let first = divided(Build::new(13, &[0, 3, 5, 5]), &[1, 3, 1, 1])
        .node("Sub", &["x", "mean"], &["s"], &[])
        .node("Div", &["s", "deviation"], &["n"], &[]);
    let last = divided(Build::new(13, &[0, 5, 5, 3]), &[3])
        .node("Sub", &["x", "mean"], &["s"], &[])
        .node("Div", &["s", "deviation"], &["d0"], &[])
        .node("Transpose", &["d0"], &["n"], &perm(&[0, 3, 1, 2]));
    let moved = divided(Build::new(13, &[0, 5, 5, 3]), &[3, 1, 1])
        .node("Transpose", &["x"], &["t"], &perm(&[0, 3, 1, 2]))
        .node("Sub", &["t", "mean"], &["s"], &[])
        .node("Div", &["s", "deviation"], &["n"], &[]);
    for build in [first, last, moved] {
        let model = load(&network(build, "n", 3, &[-1, 18]));
        let scale = model.input_scale().unwrap();
        assert_eq!(scale.iter().map(|n| n.mean).collect::<Vec<_>>(), MEAN);
        assert_eq!(
            scale
                .iter()
                .map(|n| n.standard_deviation)
                .collect::<Vec<_>>(),
            DEVIATION
        );
        assert!(
            !ops(&model)
                .iter()
                .any(|op| op == "Sub" || op == "Div" || op == "Transpose")
        );
        check(
            &model,
            &image,
            &standardised(&image, |v, c| (v - mean[c]) / deviation[c]),
            3,
        );
    }
    // As Keras' preprocess_input for −1..1 has it, the constants on the left.
    let symmetric = Build::new(13, &[0, 3, 5, 5])
        .tensor(float("factor", &[1, 1, 1, 1], &[1.0 / 127.5]))
        .tensor(float("shift", &[], &[-1.0]))
        .node("Mul", &["factor", "x"], &["m"], &[])
        .node("Add", &["shift", "m"], &["n"], &[]);
    let model = load(&network(symmetric, "n", 3, &[-1, 18]));
    assert_eq!(model.input_scale().map(<[_]>::len), Some(1));
    let factor = f64::from(1.0_f32 / 127.5);
    check(
        &model,
        &image,
        &standardised(&image, |v, _| v * factor - 1.0),
        3,
    );
}

#[test]
fn normalisations_that_cannot_be_taken_off_stay() {
    let image = pattern(75);
    let negated = Build::new(13, &[0, 3, 5, 5])
        .tensor(float("minus", &[], &[-2.0]))
        .node("Mul", &["x", "minus"], &["n"], &[]);
    let model = load(&network(negated, "n", 3, &[-1, 18]));
    assert_eq!(model.input_scale(), None);
    let seen = standardised(&image, |v, _| -2.0 * v);
    for (pass, logits) in (0..).zip(sample(&model, &image)) {
        assert_close(&logits, &reference(&model, &seen, 3, pass));
    }
    // Something else reads the picture, too.
    let twice = Build::new(13, &[0, 3, 5, 5])
        .tensor(float("half", &[], &[0.5]))
        .node("Mul", &["x", "half"], &["h"], &[])
        .node("Add", &["h", "x"], &["n"], &[]);
    let model = load(&network(twice, "n", 3, &[-1, 18]));
    assert_eq!(model.input_scale(), None);
    let seen = standardised(&image, |v, _| 1.5 * v);
    for (pass, logits) in (0..).zip(sample(&model, &image)) {
        assert_close(&logits, &reference(&model, &seen, 3, pass));
    }
    // One number per column, or per picture element, is no normalisation.
    for dims in [&[5][..], &[5, 5], &[1, 1, 5, 5]] {
        let columns = Build::new(13, &[0, 3, 5, 5]).weight("each", dims).node(
            "Add",
            &["x", "each"],
            &["n"],
            &[],
        );
        let model = load(&network(columns, "n", 3, &[-1, 18]));
        assert_eq!(model.input_scale(), None);
    }
    for zero in ["Mul", "Div"] {
        let nothing = Build::new(13, &[0, 3, 5, 5])
            .tensor(float("zero", &[], &[0.0]))
            .node(zero, &["x", "zero"], &["n"], &[]);
        assert_eq!(
            load(&network(nothing, "n", 3, &[-1, 18])).input_scale(),
            None
        );
    }
}

#[test]
fn normalisations_compose_in_their_order() {
    let of = |mean, standard_deviation| Normalisation {
        mean,
        standard_deviation,
    };
    let (first, second) = ([of(0.25, 0.5)], [of(1.0, 2.0), of(-1.0, 4.0)]);
    let both = compose(&first, &second);
    let values = |n: Normalisation| (f64::from(n.mean), f64::from(n.standard_deviation));
    for (both, second) in both.iter().zip(second) {
        let ((m1, s1), (m2, s2), (m, s)) = (values(first[0]), values(second), values(*both));
        for x in [-1.0, 0.0, 0.3, 200.0] {
            let expected = ((x - m1) / s1 - m2) / s2;
            assert!(((x - m) / s - expected).abs() < 1e-5, "{both:?}");
        }
    }
    assert_eq!(both.len(), 2);
    assert_eq!(compose(&[Normalisation::IDENTITY], &first), first);
}

#[test]
fn one_of_several_outputs_can_be_named() {
    let build = Build::new(13, &[0, 4])
        .live("x", "d", 0.5)
        .weight("w", &[4, 3])
        .weight("v", &[4, 2])
        .node("MatMul", &["d", "w"], &["species"], &[])
        .node("MatMul", &["d", "v"], &["sex"], &[])
        .output("species")
        .output("sex");
    assert!(
        refusal(&build).contains("species, sex"),
        "{}",
        refusal(&build)
    );
    let named = |name: &str| {
        let options = LoadOptions {
            output: Some(name.into()),
            ..LoadOptions::default()
        };
        Model::from_bytes_with(&build.bytes(), &options)
    };
    assert_eq!(named("species").unwrap().classes(), 3);
    assert_eq!(named("sex").unwrap().classes(), 2);
    let message = refusal_of(named("age"));
    assert!(
        message.contains("\"age\"") && message.contains("species, sex"),
        "{message}"
    );
}
