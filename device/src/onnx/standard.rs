//! The network of the standard test phase, in which dropout does nothing.

use std::collections::HashSet;

use tract_onnx::pb::ModelProto;

use super::liveness::DropoutSite;
use super::proto::node;

/// `whole`, which has masks as inputs, with the identity in place of each site's scaling by 1/q and
/// multiplication with a mask.
pub(super) fn without_dropout(whole: &ModelProto, sites: &[DropoutSite]) -> ModelProto {
    let mut model = whole.clone();
    // It would describe sites that are gone.
    model.metadata_props.clear();
    let Some(graph) = &mut model.graph else {
        return model;
    };
    graph.name = "standard".into();
    for mask in sites.iter().map(DropoutSite::mask_input) {
        graph.input.retain(|input| input.name != mask);
        let reads_mask = |n: &tract_onnx::pb::NodeProto| n.input.get(1) == Some(&mask);
        let Some(masked) = graph.node.iter().position(reads_mask) else {
            continue;
        };
        let scaled = graph.node[masked].input[0].clone();
        let Some(scale) = graph.node.iter().position(|n| n.output[0] == scaled) else {
            continue;
        };
        let (name, output) = (&graph.node[masked].name, &graph.node[masked].output[0]);
        let activation = &graph.node[scale].input[0];
        graph.node[masked] = node("Identity", name.clone(), &[activation], output);
        graph.node.remove(scale);
    }
    let read: HashSet<&String> = graph.node.iter().flat_map(|n| &n.input).collect();
    graph
        .initializer
        .retain(|tensor| read.contains(&tensor.name));
    model
}
