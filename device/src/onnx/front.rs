//! What a graph does with a picture before its first layer, taken off the graph.
//!
//! Engines are given channels first and 32-bit floats. A graph that begins with channels last, with
//! bytes, or with a normalisation of its own often undoes or does that in its first nodes: a
//! Transpose, a Cast, a Sub, a Div. These are followed from the input on, and fall away; what they
//! leave of the difference is made up by nodes in front. A normalisation becomes numbers, which are
//! applied when a frame is prepared.

use shared::image::Normalisation;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{NodeProto, TensorProto};

use super::OnnxError;
use super::analysis::{self, Facts};
use super::input::Layout;
use super::network::{Network, fresh};
use super::proto::{attribute, float_scalar, floats, int_attribute, node, with_int, with_ints};
use shared::image::MAX_CHANNELS;

/// What is known of the tensor that has been reached: how it differs from what engines are given.
#[derive(Debug, Clone, PartialEq)]
struct Reached {
    tensor: String,
    layout: Layout,
    data_type: DataType,
    /// Per channel: the tensor is `factor · input + offset`.
    maps: Vec<Map>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Map {
    factor: f64,
    offset: f64,
}

/// Makes the network read channels first and 32-bit floats under the input's name, and takes the
/// normalisation off with which it begins: one for all channels, or one per channel.
///
/// `layout` is that of the input, whose sizes are known.
pub(super) fn fold(
    network: &mut Network,
    layout: Layout,
) -> Result<Option<Vec<Normalisation>>, OnnxError> {
    let input = network.input.name.clone();
    let dims = network.input.sizes();
    let channels = match (layout, &dims[..]) {
        (Layout::ChannelsFirst, [_, channels, _, _])
        | (Layout::ChannelsLast, [_, _, _, channels]) => *channels,
        _ => 1,
    };
    // Only there may a Reshape stand for a Transpose.
    let facts = if layout == Layout::ChannelsLast && channels == 1 {
        analysis::one_image(network, &dims)?
    } else {
        Facts::new()
    };
    let start = Reached {
        tensor: input.clone(),
        layout,
        data_type: network.input.data_type,
        maps: vec![
            Map {
                factor: 1.0,
                offset: 0.0
            };
            channels
        ],
    };
    let (reached, folded) = follow(network, start.clone(), &facts);
    let mut index = 0..;
    network
        .nodes
        .retain(|_| !index.next().is_some_and(|index| folded.contains(&index)));
    let mut in_front = Vec::new();
    let continued = make_up(
        network,
        &input,
        reached.layout,
        reached.data_type,
        &mut in_front,
    );
    // Beside the nodes that fall away, there may be some that ask for the input's shape only.
    let declared = if reached.tensor == input {
        continued.clone()
    } else if network.nodes.iter().any(|n| n.input.contains(&input)) {
        make_up(network, &input, layout, DataType::Float, &mut in_front)
    } else {
        input.clone()
    };
    for read in network.nodes.iter_mut().flat_map(|n| &mut n.input) {
        if *read == input {
            read.clone_from(&declared);
        } else if *read == reached.tensor {
            read.clone_from(&continued);
        }
    }
    network.nodes.splice(0..0, in_front);
    network.input.data_type = DataType::Float;
    if layout == Layout::ChannelsLast {
        network.input.dims = [dims[0], dims[3], dims[1], dims[2]]
            .map(|n| Some(n as i64))
            .to_vec();
    }
    Ok(normalisations(&reached.maps))
}

/// Follows the input as far as it leads through nodes that can fall away, and tells where it leads
/// and which these are.
fn follow(network: &Network, start: Reached, facts: &Facts) -> (Reached, Vec<usize>) {
    let input = start.tensor.clone();
    let mut reached = start;
    let mut folded = Vec::new();
    loop {
        // What something else reads too cannot fall away. The shape of the input is known.
        let mut readers = network.nodes.iter().enumerate().filter(|(_, n)| {
            n.input.contains(&reached.tensor) && (n.op_type != "Shape" || reached.tensor != input)
        });
        let (Some((index, reader)), None) = (readers.next(), readers.next()) else {
            return (reached, folded);
        };
        let is_output = |tensor: &String| network.outputs.contains(tensor);
        let next = step(network, &reached, reader, facts);
        match next.filter(|next| !is_output(&reached.tensor) && !is_output(&next.tensor)) {
            Some(next) => reached = next,
            None => return (reached, folded),
        }
        folded.push(index);
    }
}

/// What a node leads to, if it is one that can fall away.
fn step(network: &Network, from: &Reached, node: &NodeProto, facts: &Facts) -> Option<Reached> {
    let [output] = &node.output[..] else {
        return None;
    };
    let mut next = from.clone();
    next.tensor.clone_from(output);
    let is_first = node.input.first() == Some(&from.tensor);
    match node.op_type.as_str() {
        "Transpose" => {
            next.layout = match (from.layout, &attribute(node, "perm")?.ints[..]) {
                (Layout::ChannelsLast, [0, 3, 1, 2]) => Layout::ChannelsFirst,
                (Layout::ChannelsFirst, [0, 2, 3, 1]) => Layout::ChannelsLast,
                _ => return None,
            };
        }
        // Of one channel, in which both layouts are the same numbers in the same order.
        "Reshape" if from.layout == Layout::ChannelsLast && from.maps.len() == 1 => {
            let [_, rows, columns, _] = network.input.dims[..] else {
                return None;
            };
            let shape = &facts.get(output)?.shape;
            let wanted = [1, 1, rows? as usize, columns? as usize];
            (is_first && shape[..] == wanted).then_some(())?;
            next.layout = Layout::ChannelsFirst;
        }
        "Cast" if int_attribute(node, "to") == Some(i64::from(DataType::Float as i32)) => {
            next.data_type = DataType::Float;
        }
        "Add" | "Sub" | "Mul" | "Div" if from.data_type == DataType::Float => {
            let [first, second] = &node.input[..] else {
                return None;
            };
            let constant = network
                .initializers
                .get(if is_first { second } else { first })?;
            let values = per_channel(constant, from)?;
            for (map, value) in next.maps.iter_mut().zip(values) {
                match (node.op_type.as_str(), is_first) {
                    ("Add", _) => map.offset += value,
                    ("Sub", true) => map.offset -= value,
                    ("Mul", _) => {
                        *map = Map {
                            factor: map.factor * value,
                            offset: map.offset * value,
                        }
                    }
                    ("Div", true) => {
                        *map = Map {
                            factor: map.factor / value,
                            offset: map.offset / value,
                        }
                    }
                    _ => return None,
                }
            }
            normalisations_are_valid(&next.maps).then_some(())?;
        }
        _ => return None,
    }
    Some(next)
}

/// A constant that is the same for every picture element, as one number per channel.
fn per_channel(constant: &TensorProto, of: &Reached) -> Option<Vec<f64>> {
    let values: Vec<f64> = floats(constant)?.into_iter().map(f64::from).collect();
    let channels = of.maps.len();
    if let ([value], 0..=4) = (&values[..], constant.dims.len()) {
        return Some(vec![*value; channels]);
    }
    let behind: &[i64] = match of.layout {
        Layout::ChannelsFirst => &[1, 1],
        Layout::ChannelsLast => &[],
        Layout::Flat => return None,
    };
    let dims = constant.dims.strip_suffix(behind)?;
    let (last, ones) = dims.split_last()?;
    let fits = constant.dims.len() <= 4 && ones.iter().all(|&n| n == 1) && *last == channels as i64;
    (fits && channels <= MAX_CHANNELS).then_some(values)
}

/// Adds the nodes that make a tensor of this layout and type of what engines are given, and tells
/// its name.
fn make_up(
    network: &mut Network,
    input: &str,
    layout: Layout,
    data_type: DataType,
    nodes: &mut Vec<NodeProto>,
) -> String {
    let mut last = input.to_owned();
    let mut add = |network: &Network, op: &str, what: &str, others: &[&str], attributes| {
        let made = |name: &str, nodes: &[NodeProto]| nodes.iter().any(|n| n.output[0] == name);
        let name = fresh(&format!("{input}.{what}"), |name| {
            network.has(name) || made(name, nodes)
        });
        let mut step = node(
            op,
            name.clone(),
            &[&[last.as_str()], others].concat(),
            &name,
        );
        step.attribute = attributes;
        nodes.push(step);
        last = name;
    };
    if data_type == DataType::Uint8 {
        // A Cast cuts the fraction off: the nearest whole number is meant.
        let half = fresh(&format!("{input}.half"), |name| network.has(name));
        network
            .initializers
            .insert(half.clone(), float_scalar(half.clone(), 0.5));
        add(network, "Add", "raised", &[&half], vec![]);
        add(
            network,
            "Cast",
            "bytes",
            &[],
            vec![with_int("to", data_type as i64)],
        );
    }
    if layout == Layout::ChannelsLast {
        add(
            network,
            "Transpose",
            "channels_last",
            &[],
            vec![with_ints("perm", &[0, 2, 3, 1])],
        );
    }
    last
}

fn normalisations_are_valid(maps: &[Map]) -> bool {
    maps.iter().all(|map| normalisation(*map).is_valid())
}

fn normalisation(map: Map) -> Normalisation {
    Normalisation {
        mean: (-map.offset / map.factor) as f32,
        standard_deviation: (1.0 / map.factor) as f32,
    }
}

/// The maps as normalisations; `None` if they change nothing.
fn normalisations(maps: &[Map]) -> Option<Vec<Normalisation>> {
    let identity = Map {
        factor: 1.0,
        offset: 0.0,
    };
    let (first, rest) = maps.split_first()?;
    if maps.iter().all(|map| *map == identity) {
        None
    } else if rest.iter().all(|map| map == first) {
        Some(vec![normalisation(*first)])
    } else {
        Some(maps.iter().map(|map| normalisation(*map)).collect())
    }
}

/// `first` and then `second` as one normalisation per channel, worked out in double precision; each is
/// one for all channels, or one per channel.
#[must_use]
pub fn compose(first: &[Normalisation], second: &[Normalisation]) -> Vec<Normalisation> {
    let of = |list: &[Normalisation], channel: usize| {
        let one = list.get(channel).or(list.first()).copied();
        one.unwrap_or(Normalisation::IDENTITY)
    };
    let join = |channel| {
        let (first, second) = (of(first, channel), of(second, channel));
        let (m1, s1) = (f64::from(first.mean), f64::from(first.standard_deviation));
        let (m2, s2) = (f64::from(second.mean), f64::from(second.standard_deviation));
        Normalisation {
            mean: (m1 + m2 * s1) as f32,
            standard_deviation: (s1 * s2) as f32,
        }
    };
    (0..first.len().max(second.len())).map(join).collect()
}
