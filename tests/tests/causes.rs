//! A flag names what is wrong with the picture: from spoilt test digits to the device's reports.

use std::path::Path;

use host::data::Corruption;
use host::study::causes::CauseStudy;
use tests::model;
use tests::programs::{fail, succeed};

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn causes_are_named_for_what_was_done_and_seldom_for_clean_digits() {
    let model = model::trained();
    // Thresholds come from training digits; these are test digits.
    let args = ["study", "causes", "--limit", "400", "--model", text(&model)];
    let out = succeed("host", args.into_iter().chain(["--json"]));
    let study: CauseStudy = serde_json::from_str(&out).expect("a study");
    let again = succeed("host", args.into_iter().chain(["--json"]));
    assert_eq!(
        serde_json::from_str::<CauseStudy>(&again).expect("a study"),
        study
    );
    let other = succeed("host", args.into_iter().chain(["--json", "--seed", "2"]));
    assert_ne!(
        serde_json::from_str::<CauseStudy>(&other).expect("a study"),
        study
    );

    assert_eq!(study.frames, 400);
    assert_eq!(study.clean.iter().sum::<usize>(), 400);
    assert!(study.clean_named < 0.02, "{study}");
    assert!(study.right >= 0.85, "{study}");
    assert_eq!(study.families.len(), Corruption::ALL.len());
    for family in &study.families {
        let name = family.family;
        assert_eq!(
            family.cause,
            name.cause().map_or("none", |cause| cause.name())
        );
        assert!(family.right >= 0.85, "{name}: {study}");
        for (counts, right) in family.counts.iter().zip(&family.right_at) {
            assert_eq!(counts.iter().sum::<usize>(), 400);
            let column = study
                .names
                .iter()
                .position(|column| *column == family.cause);
            let count = counts[column.expect("a column")];
            assert_eq!(*right, count as f64 / 400.0);
        }
    }
    let table = succeed("host", args);
    for word in ["occlusion-bars  5", "underexposed", "clean frames"] {
        assert!(table.contains(word), "{word} is missing in: {table}");
    }
}

#[test]
fn a_device_reports_the_cause_first() {
    let model = model::trained();
    let folder = tempfile::tempdir().expect("temporary folder");
    for corruption in Corruption::ALL {
        let out = folder.path().join(corruption.name());
        let args = "--severity 4 --limit 10 --seed 3 --family";
        let given = ["data", "corrupt", "--out", text(&out)].into_iter();
        succeed(
            "host",
            given.chain(args.split(' ')).chain([corruption.name()]),
        );
        let args = "--passes 8 --serial stdout --wire text --source";
        let given = ["run", "--model", text(&model)].into_iter();
        let reports = succeed("device", given.chain(args.split(' ')).chain([text(&out)]));
        let causes: Vec<&str> = reports
            .lines()
            .filter(|line| line.starts_with("REPORT"))
            .map(|line| {
                let (_, rest) = line.split_once(" causes=").expect("the field");
                rest.split(['+', ' ']).next().expect("a first cause")
            })
            .collect();
        assert_eq!(causes.len(), 10);
        // The first of all that hold, those of the model included.
        if let Some(cause) = corruption.cause() {
            let right = causes
                .iter()
                .filter(|&&first| first == cause.name())
                .count();
            assert!(right >= 9, "{corruption}: {causes:?}");
        }
    }
}

#[test]
fn what_cannot_be_spoilt_or_judged_is_told() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let full = folder.path().join("full");
    std::fs::create_dir(&full).expect("created");
    std::fs::write(full.join("mine"), "").expect("written");
    let corrupt = ["data", "corrupt", "--family", "blur", "--out", text(&full)];
    fail("host", corrupt, &["full", "name a new folder"]);
    let absent = folder.path().join("absent.onnx");
    fail(
        "host",
        ["study", "causes", "--model", text(&absent)],
        &["absent.onnx"],
    );
}
