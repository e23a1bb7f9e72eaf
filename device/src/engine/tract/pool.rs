//! Max pooling in a form that tract runs fast.

use std::collections::HashSet;

use tract_onnx::pb::{GraphProto, NodeProto};

use crate::onnx::fresh;
use crate::onnx::proto::int_values;

/// Attributes with a number for each axis of the window, and the number that leaves an axis alone;
/// `pads` has the starts of all axes before the ends.
const PER_AXIS: [(&str, i64); 4] = [
    ("kernel_shape", 1),
    ("strides", 1),
    ("dilations", 1),
    ("pads", 0),
];

/// Replaces every MaxPool over rows and columns by one over rows and one over columns: the largest
/// value of a window is the largest of what is largest in each of its columns.
///
/// tract takes the larger of two whole rows in vector instructions, which leaves few rows to go
/// through value by value; a window of 2 × 2, on its own, it goes through value by value.
pub(super) fn rows_then_columns(graph: &mut GraphProto) {
    let of_inputs = graph.input.iter().map(|input| &input.name);
    let of_weights = graph.initializer.iter().map(|tensor| &tensor.name);
    let nodes = graph.node.iter();
    let of_nodes = nodes.flat_map(|node| node.output.iter().chain([&node.name]));
    let names = of_inputs.chain(of_weights).chain(of_nodes);
    let mut names: HashSet<String> = names.cloned().collect();

    for pool in std::mem::take(&mut graph.node) {
        let window = int_values(&pool, "kernel_shape");
        let is_plane = window.len() == 2 && window.iter().all(|&side| side > 1);
        // A second output says where in the window the largest value was.
        if pool.op_type != "MaxPool" || pool.output.len() > 1 || !is_plane {
            graph.node.push(pool);
            continue;
        }
        let mut rows = along(0, &pool);
        let mut columns = along(1, &pool);
        let between = fresh(&format!("{}.rows", pool.output[0]), |n| names.contains(n));
        names.insert(between.clone());
        rows.name.clone_from(&between);
        rows.output[0].clone_from(&between);
        columns.input[0] = between;
        graph.node.extend([rows, columns]);
    }
}

/// `pool` along one of its two axes.
fn along(axis: usize, pool: &NodeProto) -> NodeProto {
    let mut part = pool.clone();
    for attribute in &mut part.attribute {
        let Some((_, alone)) = PER_AXIS.iter().find(|(name, _)| *name == attribute.name) else {
            continue;
        };
        let others = attribute.ints.iter_mut().skip(1 - axis).step_by(2);
        for number in others {
            *number = *alone;
        }
    }
    part
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tract_onnx::pb::attribute_proto::AttributeType;
    use tract_onnx::pb::tensor_proto::DataType;
    use tract_onnx::pb::{AttributeProto, ModelProto, OperatorSetIdProto};
    use tract_onnx::prelude::{
        Framework, InferenceModelExt, IntoRunnable, IntoTValue, IntoTensor, Tensor,
    };

    use super::*;
    use crate::onnx::proto::{Dim, value_info};

    const SHAPE: [usize; 4] = [2, 3, 11, 8];

    fn ints(name: &str, ints: &[i64]) -> AttributeProto {
        AttributeProto {
            name: name.into(),
            r#type: AttributeType::Ints as i32,
            ints: ints.to_vec(),
            ..AttributeProto::default()
        }
    }

    fn int(name: &str, i: i64) -> AttributeProto {
        AttributeProto {
            name: name.into(),
            r#type: AttributeType::Int as i32,
            i,
            ..AttributeProto::default()
        }
    }

    fn same_upper() -> AttributeProto {
        AttributeProto {
            name: "auto_pad".into(),
            r#type: AttributeType::String as i32,
            s: b"SAME_UPPER".to_vec(),
            ..AttributeProto::default()
        }
    }

    /// Two pools, of which the second bears a name that the first one's first half would take.
    fn graph(attributes: &[AttributeProto], outputs: &[&str]) -> GraphProto {
        let pool = |name: &str, input: &str, outputs: &[&str]| NodeProto {
            op_type: "MaxPool".into(),
            name: name.into(),
            input: vec![input.into()],
            output: outputs.iter().map(|&o| o.into()).collect(),
            attribute: attributes.to_vec(),
            ..NodeProto::default()
        };
        GraphProto {
            node: vec![
                pool("once", "image", &["once"]),
                pool("once.rows", "once", outputs),
            ],
            input: vec![value_info("image", DataType::Float, &SHAPE.map(Dim::Fixed))],
            output: vec![value_info(outputs[0], DataType::Float, &[])],
            ..GraphProto::default()
        }
    }

    fn run(graph: GraphProto) -> Tensor {
        let mut graph = graph;
        graph.output[0].r#type = None;
        let model = ModelProto {
            ir_version: 8,
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: 17,
            }],
            graph: Some(graph),
            ..ModelProto::default()
        };
        let plan = tract_onnx::onnx()
            .model_for_proto_model(&model)
            .and_then(InferenceModelExt::into_optimized)
            .and_then(IntoRunnable::into_runnable)
            .unwrap();
        let volume = SHAPE.iter().product::<usize>();
        // All below zero, so that a padding of zeros would show.
        let values = (0..volume).map(|i| -1.0 - (i * 7919 % 1009) as f32);
        let image = Tensor::from_shape(&SHAPE, &values.collect::<Vec<_>>()).unwrap();
        let outputs = plan.run([image.into_tvalue()].into_iter().collect());
        outputs.unwrap().remove(0).into_tensor()
    }

    #[test]
    fn a_pool_in_two_halves_gives_what_it_gave() {
        let square = |side| ints("kernel_shape", &[side, side]);
        let cases = [
            vec![square(2)],
            vec![square(2), ints("strides", &[2, 2])],
            vec![square(2), ints("strides", &[2, 2]), int("ceil_mode", 1)],
            vec![
                square(3),
                ints("strides", &[2, 1]),
                ints("pads", &[1, 0, 2, 1]),
            ],
            vec![square(2), ints("dilations", &[2, 1])],
            vec![square(3), ints("strides", &[2, 2]), same_upper()],
            vec![ints("kernel_shape", &[2, 3]), ints("strides", &[1, 2])],
        ];
        for attributes in cases {
            let whole = graph(&attributes, &["twice"]);
            let mut halves = whole.clone();
            rows_then_columns(&mut halves);
            assert_eq!(halves.node.len(), 4, "{attributes:?}");
            assert_eq!(run(whole), run(halves), "{attributes:?}");
        }
    }

    #[test]
    fn other_nodes_are_left_alone() {
        let square = || ints("kernel_shape", &[2, 2]);
        let mut average = graph(&[square()], &["twice"]);
        for node in &mut average.node {
            node.op_type = "AveragePool".into();
        }
        let line = graph(&[ints("kernel_shape", &[1, 2])], &["twice"]);
        let cube = graph(&[ints("kernel_shape", &[2, 2, 2])], &["twice"]);
        for unchanged in [average, line, cube] {
            let mut graph = unchanged.clone();
            rows_then_columns(&mut graph);
            assert_eq!(graph, unchanged);
        }
        let mut with_places = graph(&[square()], &["twice", "places"]);
        let kept = with_places.node[1].clone();
        rows_then_columns(&mut with_places);
        assert_eq!(with_places.node.len(), 3);
        assert_eq!(with_places.node[2], kept);
    }
}
