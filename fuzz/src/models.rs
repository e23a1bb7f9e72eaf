//! Model and plan files.

use device::engine::Engine as _;
use device::engine::micro::{MicroEngine, OwnedPlan, PlanFile};
use device::onnx::{Calibration, Metadata, Model};
use prost::Message as _;
use shared::triage::Thresholds;
use shared::wire::crc32;
use tract_onnx::pb::{ModelProto, StringStringEntryProto};

/// More work than a run may take.
const MOST_WORK: u64 = 1 << 22;

/// A model file: read, checked, analysed, cut, and planned for the project's own engines.
pub(crate) fn onnx(bytes: &[u8]) {
    let Ok(model) = Model::from_bytes(bytes) else {
        return;
    };
    assert!(
        !model.sites().is_empty(),
        "a model without live dropout is taken"
    );
    assert!(model.classes() > 1);
    let _ = model.without_dropout();
    let _ = device::engine::native::Plan::from_model(&model);
    let _ = model.preprocessing_entry();
}

/// Labels, thresholds, preprocessing and calibration: the bytes as the value of each entry.
pub(crate) fn metadata(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for key in [
        "calibration",
        "labels",
        "normalisation",
        "preprocessing",
        "seed",
        "thresholds",
        "training",
    ] {
        let entry = StringStringEntryProto {
            key: format!("mcdropout.{key}"),
            value: text.clone().into_owned(),
        };
        let Ok(metadata) = Metadata::read(std::slice::from_ref(&entry), 1) else {
            continue;
        };
        let mut model = ModelProto::default();
        if metadata.write(&mut model, 1, &[]).is_ok() {
            let again = Metadata::read(&model.metadata_props, 1).expect("what was written is read");
            assert_eq!(metadata.labels, again.labels);
            if let Some(calibration) = &metadata.calibration {
                let _ = calibration.to_string();
                rewrite(calibration, &model.encode_to_vec());
            }
        }
    }
    if let Ok(calibration) = serde_json::from_slice::<Calibration>(CALIBRATION) {
        rewrite(&calibration, bytes);
    }
}

const CALIBRATION: &[u8] = br#"{"method":"m","max_risk":0.1,"delta":0.1,"unusual":0.0,"data":"d","tuning":1,"frames":1,"clips":null,"accepted":1,"errors":0,"coverage":1.0,"p_value":0.1,"passes":1,"engine":"e","seed":0}"#;

fn rewrite(calibration: &Calibration, file: &[u8]) {
    let _ = calibration.write(file, &Thresholds::OFF);
}

/// A plan file as it is, and with the checksum that it should have; what is accepted judges a frame.
pub(crate) fn plan(bytes: &[u8]) {
    let _ = PlanFile::parse(bytes);
    let mut sealed = bytes.to_vec();
    let length = sealed
        .get(8..12)
        .and_then(|length| length.first_chunk().copied());
    let length = length.map_or(0, |length| u32::from_le_bytes(length) as usize);
    let Some(checked) = sealed.get(16..length) else {
        return;
    };
    let crc = crc32(checked).to_le_bytes();
    sealed[12..16].copy_from_slice(&crc);
    let Ok(plan) = OwnedPlan::new(&sealed) else {
        return;
    };
    let view = plan.view();
    let _ = (
        view.labels().count(),
        view.thresholds(),
        view.preprocessing(),
        view.adaptive(),
    );
    if view.multiplications() > MOST_WORK || view.memory_words() as u64 > MOST_WORK {
        return;
    }
    let (input, classes, seed) = (view.input().len(), view.classes(), view.seed());
    let mut engine = MicroEngine::new(plan, seed);
    let image: Vec<f32> = (0..input).map(|at| (at % 17) as f32 / 17.0).collect();
    engine
        .begin(1, &image)
        .expect("a plan that is accepted runs");
    let mut logits = vec![0.0; 9 * classes];
    engine
        .sample(0..9, &mut logits)
        .expect("a plan that is accepted runs");
}
