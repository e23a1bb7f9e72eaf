//! Each cause holds exactly when its threshold is crossed.

use proptest::prelude::*;
use shared::image::FrameStatistics;
use shared::triage::{Cause, Causes, ThresholdError, Thresholds, Verdict};
use shared::uncertainty::{Measures, PassAccumulator};

/// Measures of some doubt in every sense: ambiguous passes that also differ.
fn doubtful() -> Measures<4> {
    let mut accumulator = PassAccumulator::new(4).expect("4 classes");
    for pass in [[2.0, 1.0, 0.0, 0.0], [0.0, 1.5, 2.0, 0.0]] {
        accumulator.push(&pass).expect("finite logits");
    }
    accumulator.measures().expect("two passes")
}

const STATISTICS: FrameStatistics = FrameStatistics {
    mean: 0.4,
    black: 0.05,
    white: 0.9,
    contrast: 0.2,
    sharpness: 0.6,
    saturated: 0.1,
    plateau: 0.3,
};

/// The value that a cause looks at, whether too much of it is the cause, and its threshold.
fn looked_at<'a>(
    cause: Cause,
    m: &Measures<4>,
    s: &FrameStatistics,
    t: &'a mut Thresholds,
) -> (f32, bool, &'a mut f32) {
    match cause {
        Cause::Uncertain => (
            m.predictive_entropy as f32,
            true,
            &mut t.max_predictive_entropy,
        ),
        Cause::Unfamiliar => (
            m.mutual_information as f32,
            true,
            &mut t.max_mutual_information,
        ),
        Cause::Ambiguous => (m.expected_entropy as f32, true, &mut t.max_expected_entropy),
        Cause::Glare => (s.saturated, true, &mut t.max_saturated),
        Cause::Overexposed => (s.black, true, &mut t.max_black),
        Cause::Occluded => (s.plateau, true, &mut t.max_plateau),
        Cause::Underexposed => (s.white, false, &mut t.min_white),
        Cause::Blurred => (s.sharpness, false, &mut t.min_sharpness),
        Cause::LowContrast => (s.contrast, false, &mut t.min_contrast),
    }
}

#[test]
fn a_cause_holds_just_beyond_its_threshold_and_not_at_it() {
    let measures = doubtful();
    for cause in Cause::ALL {
        let mut thresholds = Thresholds::OFF;
        let (value, upper, limit) = looked_at(cause, &measures, &STATISTICS, &mut thresholds);
        *limit = value;
        assert_eq!(
            thresholds.judge(&measures, &STATISTICS),
            Causes::EMPTY,
            "{cause} at its limit"
        );
        let (_, _, limit) = looked_at(cause, &measures, &STATISTICS, &mut thresholds);
        *limit = if upper {
            value.next_down()
        } else {
            value.next_up()
        };
        let causes = thresholds.judge(&measures, &STATISTICS);
        assert_eq!(
            causes,
            [cause].into_iter().collect(),
            "{cause} beyond its limit"
        );
        assert_eq!(causes.verdict(), Verdict::Flag);
    }
}

fn limit() -> impl Strategy<Value = f32> {
    prop_oneof![4 => 0.0_f32..2.0, 1 => Just(0.0), 1 => Just(f32::MAX), 1 => Just(f32::INFINITY), 1 => Just(f32::NEG_INFINITY)]
}

proptest! {
    #[test]
    fn causes_are_the_thresholds_crossed(
        limits in prop::array::uniform9(limit()),
        passes in prop::collection::vec(prop::array::uniform4(-5.0_f32..5.0), 1..8),
        luma in prop::collection::vec(0.0_f32..=1.0, 36),
    ) {
        let mut accumulator = PassAccumulator::<4>::new(4).expect("4 classes");
        for pass in &passes {
            accumulator.push(pass).expect("finite logits");
        }
        let measures = accumulator.measures().expect("passes");
        let statistics = FrameStatistics::measure(&luma, 6, 6);
        let mut thresholds = Thresholds::OFF;
        for (cause, limit) in Cause::ALL.into_iter().zip(limits) {
            *looked_at(cause, &measures, &statistics, &mut thresholds).2 = limit;
        }
        let causes = thresholds.judge(&measures, &statistics);
        for cause in Cause::ALL {
            let (value, upper, limit) = looked_at(cause, &measures, &statistics, &mut thresholds);
            prop_assert_eq!(causes.contains(cause), if upper { value > *limit } else { value < *limit });
        }
        prop_assert_eq!(causes.verdict() == Verdict::Flag, !causes.is_empty());
        prop_assert_eq!(Thresholds::OFF.judge(&measures, &statistics), Causes::EMPTY);
    }

    #[test]
    fn sets_of_causes_have_one_name_each(bits in 0..512_u16) {
        let causes = Causes::from_bits(bits).expect("known bits");
        prop_assert_eq!(causes.bits(), bits);
        prop_assert_eq!(causes.iter().count(), bits.count_ones() as usize);
        prop_assert_eq!(causes.iter().collect::<Causes>(), causes);
        prop_assert_eq!(causes.primary(), causes.iter().min());
        prop_assert_eq!(causes.to_string().parse(), Ok(causes));
        let postcard = postcard::to_slice(&causes, &mut [0; 4]).map(|bytes| {
            postcard::from_bytes::<Causes>(bytes)
        });
        prop_assert_eq!(postcard, Ok(Ok(causes)));
    }

    #[test]
    fn bits_without_a_cause_are_refused(bits in 512..=u16::MAX) {
        prop_assert_eq!(Causes::from_bits(bits), None);
        let mut buffer = [0; 4];
        let bytes = postcard::to_slice(&bits, &mut buffer).expect("room");
        prop_assert!(postcard::from_bytes::<Causes>(bytes).is_err());
    }

    #[test]
    fn thresholds_survive_json(limits in prop::array::uniform9(0.0_f32..=f32::MAX)) {
        let mut thresholds = Thresholds::OFF;
        for (cause, limit) in Cause::ALL.into_iter().zip(limits) {
            *looked_at(cause, &doubtful(), &STATISTICS, &mut thresholds).2 = limit;
        }
        let json = serde_json::to_string(&thresholds).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<Thresholds>(&json).expect("JSON"), thresholds);
    }
}

#[test]
fn names_are_those_of_the_contract() {
    let every: Causes = Cause::ALL.into_iter().collect();
    assert_eq!(
        every.to_string(),
        "overexposed+occluded+glare+underexposed+blurred+low-contrast+unfamiliar+ambiguous+uncertain"
    );
    assert_eq!(Causes::EMPTY.to_string(), "none");
    assert_eq!(
        (Verdict::Accept.name(), Verdict::Flag.name()),
        ("accept", "flag")
    );
    for wrong in ["", "glare+", "Glare", "none+glare", "glare glare"] {
        assert!(wrong.parse::<Causes>().is_err(), "{wrong:?}");
    }
    let message = "fog".parse::<Cause>().expect_err("not a cause").to_string();
    assert!(message.starts_with("not a cause; causes are overexposed, occluded"));
    for (index, cause) in Cause::ALL.into_iter().enumerate() {
        assert_eq!(cause.index(), index);
        assert_eq!(
            Causes::from_bits(1 << index),
            Some([cause].into_iter().collect())
        );
    }
}

#[test]
fn thresholds_that_are_not_numbers_are_refused() {
    assert_eq!(Thresholds::OFF.validate(), Ok(()));
    assert_eq!(Thresholds::uncalibrated(10).validate(), Ok(()));
    for (index, (name, _)) in Thresholds::OFF.named().into_iter().enumerate() {
        let mut thresholds = Thresholds::OFF;
        *looked_at(Cause::ALL[index], &doubtful(), &STATISTICS, &mut thresholds).2 = f32::NAN;
        let error = thresholds.validate().expect_err("NaN");
        assert_eq!(error, ThresholdError { name });
        assert_eq!(
            error.to_string(),
            format!("threshold {name} is not a number")
        );
    }
}

/// Files written before these limits existed hold others in their place, which no longer mean
/// anything.
#[test]
fn limits_that_an_older_file_does_not_hold_are_off() {
    let older = r#"{
        "max_predictive_entropy": 1.0, "max_mutual_information": 0.5, "max_expected_entropy": 0.75,
        "max_saturated": 0.25, "max_mean": 0.375, "min_mean": 0.0625, "min_contrast": 0.125,
        "min_sharpness": 0.5
    }"#;
    assert_eq!(
        serde_json::from_str::<Thresholds>(older).expect("limits"),
        Thresholds {
            max_saturated: 0.25,
            min_sharpness: 0.5,
            min_contrast: 0.125,
            max_mutual_information: 0.5,
            max_expected_entropy: 0.75,
            max_predictive_entropy: 1.0,
            ..Thresholds::OFF
        }
    );
    assert!(
        serde_json::from_str::<Thresholds>(&older.replace("min_contrast", "contrast")).is_err()
    );
}

#[test]
fn off_survives_json() {
    let json = serde_json::to_string(&Thresholds::OFF).expect("JSON");
    let back: Thresholds = serde_json::from_str(&json).expect("JSON");
    assert_eq!(back, Thresholds::OFF);
}
