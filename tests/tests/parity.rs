//! Every engine gives what libtorch computes, pass by pass, from the same masks.
//!
//! `tests::parity` says of which models the suite is made, `parity::check` what has to agree: logits of
//! every pass, masks, measures, verdicts, and a frame run again. Which engine takes which model is part
//! of the suite, so that none is left out unseen.

use std::collections::BTreeSet;
use std::path::Path;

use device::engine::native::Level;
use device::engine::ort::OrtEngine;
use device::engine::proof::prove;
use device::engine::tract::TractEngine;
use device::engine::{Engine, EngineError, GivenMasks};
use device::onnx::{Liveness, Model};
use tests::parity::{CASES, fixtures, write};

const DIGITS: u32 = 200;

#[test]
fn every_engine_gives_what_libtorch_computes() {
    // One frame is too little work to share.
    tch::set_num_threads(1);
    let suite = tempfile::tempdir().expect("a temporary folder");
    write(suite.path(), DIGITS);
    let rows = parity::check(suite.path()).unwrap_or_else(|e| panic!("{e:#}"));
    for row in &rows {
        println!("{row}");
    }
    let cases: BTreeSet<&str> = rows.iter().map(|row| row.case.as_str()).collect();
    let levels = Level::available().count();
    for case in &cases {
        let of_case = |engine: &str| {
            let rows = rows.iter().filter(|row| row.case == *case);
            rows.filter(|row| row.engine.starts_with(engine)).count()
        };
        assert_eq!((of_case("tract"), of_case("ort")), (1, 1), "{case}");
        assert!([1, levels].contains(&of_case("native")), "{case}");
    }
    assert_eq!(cases.len(), CASES, "{cases:?}");
}

#[test]
fn a_suite_that_is_not_what_the_engines_do_is_noticed() {
    let suite = tempfile::tempdir().expect("a temporary folder");
    let name = "sequential.legacy17";
    let model = fixtures().join(format!("{name}.onnx"));
    std::fs::copy(model, suite.path().join(format!("{name}.onnx"))).expect("copied");
    let right = parity::Case::read(&fixtures().join("sequential.json")).expect("a fixture");
    let complaint = |change: &dyn Fn(&mut parity::Case)| {
        let mut case = right.clone();
        change(&mut case);
        case.write(suite.path(), name).expect("written");
        parity::check(suite.path()).map_or_else(|e| format!("{e:#}"), |_| String::new())
    };
    assert_eq!(complaint(&|_| ()), "");
    for (change, words) in [
        (
            &(|case: &mut parity::Case| case.frames[1].logits[3] += 0.01) as &dyn Fn(&mut _),
            "a logit is",
        ),
        (&|case: &mut parity::Case| case.seed += 1, "a logit is"),
        (
            &|case: &mut parity::Case| case.frames[1].number += 1,
            "a logit is",
        ),
        (
            &|case: &mut parity::Case| case.logits_are_masks = true,
            "one site",
        ),
        (
            &|case: &mut parity::Case| {
                case.refused = vec![parity::Refusal {
                    engine: "ort".into(),
                    reason: "a reason".into(),
                }];
            },
            "said to refuse",
        ),
    ] {
        let said = complaint(change);
        assert!(said.contains(words), "{words}: {said}");
    }
}

/// The exports of PyTorch: name and model.
fn exports() -> Vec<(String, Model)> {
    let entries = std::fs::read_dir(fixtures()).expect("fixtures");
    let paths = entries.map(|entry| entry.expect("entry").path());
    let mut found: Vec<(String, Model)> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "onnx"))
        .map(|path| {
            let name = path.file_name().and_then(|n| n.to_str()).expect("a name");
            (name.into(), load(&path))
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn load(path: &Path) -> Model {
    Model::load(path).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn passes_do_not_depend_on_the_block_they_run_in() {
    type Open = fn(&Model, usize) -> Box<dyn Engine<Error = EngineError>>;
    let tract: Open = |model, block| Box::new(TractEngine::new(model, block, 5).expect("tract"));
    let ort: Open = |model, block| Box::new(OrtEngine::new(model, block, 5).expect("ort"));
    for (name, model) in exports() {
        let input = vec![0.5; model.input_shape().len()];
        for open in [tract, ort] {
            let sample = |block| {
                let mut engine = open(&model, block);
                let mut logits = vec![0.0; 40 * engine.classes()];
                engine.begin(3, &input).expect("stem");
                engine.sample(0..40, &mut logits).expect("head");
                logits
            };
            let alone = sample(1);
            for block in [7, 32, 40, 64] {
                for (a, b) in alone.iter().zip(sample(block)) {
                    assert!((a - b).abs() < 1e-5, "{name} by {block}: {a} and {b}");
                }
            }
        }
    }
}

#[test]
fn every_export_is_proven_live_on_every_engine() {
    for (name, model) in exports() {
        let tract = TractEngine::new(&model, 64, 1).expect("tract");
        let ort = OrtEngine::new(&model, 64, 1).expect("ort");
        let engines: [Box<dyn GivenMasks>; 2] = [Box::new(tract), Box::new(ort)];
        for mut engine in engines {
            let proof = prove(&model, engine.as_mut(), 11);
            let proof = proof.unwrap_or_else(|e| panic!("{name} on {}: {e}", engine.name()));
            let proven = proof.sites.iter().map(|site| &site.name);
            assert!(
                proven.eq(model.sites().iter().map(|site| &site.name)),
                "{name}"
            );
        }
    }
}

#[test]
fn sites_are_those_of_the_source() {
    let ratios = |name: &str| -> &[f32] {
        match name.split('.').next() {
            Some("convolutional") => &[0.5, 0.3, 0.5],
            Some("perceptron") => &[0.1, 0.25],
            Some("residual") => &[0.2, 0.5],
            Some("sequential") => &[0.25, 0.5, 0.4],
            Some("averaged") => &[0.3, 0.5],
            Some("spatial") => &[0.4, 0.5, 0.3],
            _ => panic!("{name} is not known"),
        }
    };
    for (name, model) in exports() {
        let found: Vec<f32> = model.sites().iter().map(|site| site.ratio).collect();
        assert_eq!(found, ratios(&name), "{name}");
        let before_opset_12 = model.opset() < 12;
        let spatial = name.starts_with("spatial");
        for site in model.sites() {
            let expected = if before_opset_12 {
                Liveness::OpsetWithoutTrainingMode
            } else if site.shape.len() == 3 && spatial {
                Liveness::OwnRandomNumbers
            } else {
                Liveness::TrainingMode
            };
            assert_eq!(site.why, expected, "{name}");
        }
        assert!(model.idle_dropouts().is_empty(), "{name}");
        if spatial {
            // Dropout2d drops whole channels.
            let shapes: Vec<&[usize]> = model.sites().iter().map(|s| s.shape.as_slice()).collect();
            assert_eq!(shapes, [&[6, 1, 1][..], &[8, 1, 1], &[16]], "{name}");
            assert_ne!(model.sites()[0].name, model.sites()[1].name, "{name}");
        }
    }
}
