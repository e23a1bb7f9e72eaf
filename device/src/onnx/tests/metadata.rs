use super::build::{Form, smallest};
use super::{load, refusal};
use crate::onnx::{Calibration, Metadata, Model};
use prost::Message as _;
use shared::image::{Normalisation, Preprocessing};
use shared::triage::Thresholds;
use tract_onnx::pb::StringStringEntryProto;

fn with(entries: &[(&str, &str)]) -> super::Build {
    let mut build = smallest(13, Form::Constants, 0.3);
    build.model.metadata_props = entries
        .iter()
        .map(|&(key, value)| StringStringEntryProto {
            key: key.into(),
            value: value.into(),
        })
        .collect();
    build
}

fn calibration() -> Calibration {
    Calibration {
        method: "learn-then-test, binomial".into(),
        max_risk: 0.005,
        delta: 0.05,
        unusual: 0.01,
        data: "mnist:test".into(),
        pictures: Some("mnist".into()),
        tuning: 2000,
        frames: 8000,
        clips: None,
        accepted: 7750,
        errors: 21,
        coverage: 0.96875,
        p_value: 0.000_6,
        passes: 100,
        engine: "native".into(),
        seed: u64::MAX,
    }
}

#[test]
fn what_a_file_does_not_say_has_defaults() {
    let model = load(&with(&[("other", "left alone")]));
    let metadata = model.metadata();
    assert_eq!(metadata.labels, ["0", "1", "2"]);
    assert_eq!(metadata.preprocessing, None);
    assert_eq!(
        (metadata.seed, metadata.thresholds, &metadata.training),
        (0, None, &None)
    );
}

#[test]
fn written_metadata_reads_back() {
    let plain = with(&[("other", "left alone"), ("mcdropout.seed", "5")]);
    let metadata = Metadata {
        labels: ["cat", "dog", "\"quoted\""].map(String::from).to_vec(),
        preprocessing: Some(Preprocessing::grey(Normalisation::MNIST)),
        seed: u64::MAX,
        thresholds: Some(Thresholds::uncalibrated(3)),
        calibration: Some(calibration()),
        training: Some(serde_json::json!({"epochs": 12})),
    };
    let mut written = plain.model.clone();
    metadata
        .write(&mut written, 1, load(&plain).sites())
        .expect("written");
    let model = Model::from_bytes(&written.encode_to_vec()).expect("a model");
    assert_eq!(model.metadata(), &metadata);
    let count = |key: &str| {
        written
            .metadata_props
            .iter()
            .filter(|e| e.key == key)
            .count()
    };
    assert_eq!((count("other"), count("mcdropout.seed")), (1, 1));
    // The parts carry it too, with the sites.
    for part in [model.stem(), model.head(), model.masks_as_inputs()] {
        let read = Metadata::read(&part.metadata_props, 1).expect("metadata");
        assert_eq!(read, metadata);
        let sites = part
            .metadata_props
            .iter()
            .find(|e| e.key == "mcdropout.sites")
            .expect("sites");
        let sites: serde_json::Value = serde_json::from_str(&sites.value).expect("JSON");
        assert_eq!(sites[0]["name"], "Dropout_dropped");
        assert_eq!(sites[0]["keep_bits"], 45875);
        assert_eq!(sites[0]["shape"], serde_json::json!([4]));
    }
}

/// As files were written before there were limits on black, white and even areas.
#[test]
fn limits_that_an_older_file_does_not_hold_are_off() {
    let older = r#"{
        "max_predictive_entropy": 1.0, "max_mutual_information": 0.5, "max_expected_entropy": 0.75,
        "max_saturated": 0.25, "max_mean": 0.375, "min_mean": 0.0625, "min_contrast": 0.125,
        "min_sharpness": 0.5
    }"#;
    let model = load(&with(&[("mcdropout.thresholds", older)]));
    let thresholds = model.metadata().thresholds.expect("thresholds");
    assert_eq!(thresholds.max_expected_entropy, 0.75);
    assert_eq!(
        (
            thresholds.max_black,
            thresholds.max_plateau,
            thresholds.min_white
        ),
        (f32::MAX, f32::MAX, 0.0)
    );
}

#[test]
fn a_calibration_changes_its_entries_and_no_other_byte() {
    let old = with(&[
        ("mcdropout.calibration", "null"),
        ("other", "left alone"),
        ("mcdropout.thresholds", "null"),
        ("mcdropout.seed", "5"),
    ]);
    let mut file = old.bytes();
    // Fields 100 to 103, which no ONNX model has today: one of each kind.
    let unknown = [
        &[
            0xa0, 0x06, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
        ][..],
        &[0xa9, 0x06, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0xb2, 0x06, 3, b'a', b'b', b'c'],
        &[0xbd, 0x06, 1, 2, 3, 4],
    ]
    .concat();
    file.extend(&unknown);
    let thresholds = Thresholds::uncalibrated(3);
    let written = calibration().write(&file, &thresholds).expect("written");
    let position = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).position(|w| w == part);
    assert!(position(&written, &unknown).is_some());

    let mut expected = old.model.clone();
    expected.metadata_props.retain(|entry| {
        !["mcdropout.calibration", "mcdropout.thresholds"].contains(&entry.key.as_str())
    });
    let mut kept = expected.encode_to_vec();
    kept.extend(&unknown);
    assert_eq!(written[..kept.len()], kept);

    let metadata = Model::from_bytes(&written)
        .expect("a model")
        .metadata()
        .clone();
    assert_eq!(metadata.thresholds, Some(thresholds));
    assert_eq!(metadata.calibration, Some(calibration()));
    assert_eq!(metadata.seed, 5);
    assert_eq!(
        calibration().write(&written, &thresholds).expect("again"),
        written
    );

    for bad in [
        &file[..file.len() - 1],
        b"this is no model",
        &[0x0f],
        &[0xa0, 0x06],
    ] {
        assert!(calibration().write(bad, &thresholds).is_err(), "{bad:?}");
    }
}

#[test]
fn a_calibration_is_told_in_one_line() {
    assert_eq!(
        calibration().to_string(),
        "at most 0.5 % of the accepted frames wrong, with confidence 95 %: 21 of 7750 accepted (96.9 % of 8000 frames of mnist:test), 100 passes"
    );
    let clips = Calibration {
        clips: Some(40),
        ..calibration()
    };
    assert!(clips.to_string().contains("mnist:test from 40 clips)"));
}

#[test]
fn metadata_that_cannot_be_meant_is_refused() {
    for (key, value, words) in [
        (
            "mcdropout.labels",
            "[\"a\", \"b\"]",
            "2 labels for 3 classes",
        ),
        ("mcdropout.labels", "a, b, c", "cannot be read"),
        ("mcdropout.seed", "-1", "cannot be read"),
        ("mcdropout.normalisation", "[]", "one for the one channel"),
        ("mcdropout.preprocessing", "{}", "missing field"),
        (
            "mcdropout.preprocessing",
            "{\"channels\": \"rgb\"}",
            "1 channels, which are not rgb",
        ),
        (
            "mcdropout.preprocessing",
            "{\"channels\": \"grey\", \"mean\": [0.1, 0.2]}",
            "2 values of the mean for 1 channels",
        ),
        (
            "mcdropout.preprocessing",
            "{\"channels\": \"grey\", \"standard_deviation\": [0.0]}",
            "deviation above 0",
        ),
        (
            "mcdropout.preprocessing",
            "{\"channels\": \"grey\", \"geometry\": {\"short-side\": 1}}",
            "less than the model's input",
        ),
        (
            "mcdropout.preprocessing",
            "{\"channels\": \"grey\", \"mean\": [0.5], \"standard_deviation\": [-1.0]}",
            "deviation above 0",
        ),
        ("mcdropout.thresholds", "{}", "missing field"),
        ("mcdropout.calibration", "{}", "missing field"),
        ("mcdropout.training", "{", "cannot be read"),
    ] {
        let message = refusal(&with(&[(key, value)]));
        assert!(
            message.contains(key) && message.contains(words),
            "{message}"
        );
    }
}

#[test]
fn the_checksum_is_that_of_the_file() {
    let bytes = with(&[]).bytes();
    let expected = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&bytes);
    assert_eq!(
        Model::from_bytes(&bytes).expect("a model").crc32(),
        expected
    );
}
