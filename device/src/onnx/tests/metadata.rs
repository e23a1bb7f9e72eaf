use super::build::{Form, smallest};
use super::{load, refusal};
use crate::onnx::{Metadata, Model};
use prost::Message as _;
use shared::image::Normalisation;
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

#[test]
fn what_a_file_does_not_say_has_defaults() {
    let model = load(&with(&[("other", "left alone")]));
    let metadata = model.metadata();
    assert_eq!(metadata.labels, ["0", "1", "2"]);
    assert_eq!(metadata.normalisation, [Normalisation::IDENTITY]);
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
        normalisation: vec![Normalisation::MNIST],
        seed: u64::MAX,
        thresholds: Some(Thresholds::uncalibrated(3)),
        training: Some(serde_json::json!({"epochs": 12})),
    };
    let mut written = plain.model.clone();
    metadata
        .write(&mut written, load(&plain).sites())
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
        let read = Metadata::read(&part.metadata_props).expect("metadata");
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
fn metadata_that_cannot_be_meant_is_refused() {
    for (key, value, words) in [
        (
            "mcdropout.labels",
            "[\"a\", \"b\"]",
            "2 labels for 3 classes",
        ),
        ("mcdropout.labels", "a, b, c", "cannot be read"),
        ("mcdropout.seed", "-1", "cannot be read"),
        ("mcdropout.normalisation", "[]", "0 entries"),
        (
            "mcdropout.normalisation",
            "[{\"mean\": 0.5, \"standard_deviation\": 0.0}]",
            "standard deviation 0",
        ),
        ("mcdropout.thresholds", "{}", "missing field"),
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
