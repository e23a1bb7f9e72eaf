use std::sync::LazyLock;

use proptest::prelude::*;
use shared::image::FrameStatistics;
use shared::triage::Cause;
use shared::uncertainty::PassAccumulator;

use super::risk::binomial_tail;
use super::*;

/// Entropies are told apart in so many steps.
const STEPS: u32 = 10_000;

/// The frame of a model of two classes with an entropy of `entropy` bits, in 0..1, and a picture
/// like any other.
fn frame(entropy: f64, wrong: bool) -> Frame {
    static FRAMES: LazyLock<Vec<Evidence>> = LazyLock::new(|| {
        let entropies = (0..STEPS).map(|step| f64::from(step) / f64::from(STEPS));
        entropies.map(evidence).collect()
    });
    Frame {
        evidence: FRAMES[(entropy * f64::from(STEPS)) as usize],
        wrong,
    }
}

fn evidence(entropy: f64) -> Evidence {
    let (mut low, mut high) = (0.0, 0.5);
    for _ in 0..50 {
        let p = f64::midpoint(low, high);
        if -(p * p.log2() + (1.0 - p) * (1.0 - p).log2()) < entropy {
            low = p;
        } else {
            high = p;
        }
    }
    let mut passes = PassAccumulator::<2>::new(2).expect("2 classes");
    let logit = (low.max(1e-30) / (1.0 - low)).ln();
    passes.push(&[logit as f32, 0.0]).expect("finite");
    Evidence::new(
        &passes.measures().expect("a pass"),
        &FrameStatistics::default(),
    )
}

/// A population whose risk is known: entropies are uniform in 0..=1 bits, and of entropy u a share
/// `MOST · u⁴` of the answers is wrong. Frames of up to u = t have the error rate `MOST · t⁴ / 5`.
const MOST: f64 = 0.3;

fn population(random: &mut Random, count: usize) -> Vec<Frame> {
    (0..count)
        .map(|_| {
            let entropy = random.between(0.0, 1.0);
            frame(entropy, random.between(0.0, 1.0) < MOST * entropy.powi(4))
        })
        .collect()
}

/// How much of the population the thresholds accept, 0..=1; see [`MOST`].
fn coverage(thresholds: &Thresholds) -> f64 {
    let nats = thresholds
        .max_predictive_entropy
        .min(thresholds.max_expected_entropy);
    (f64::from(nats) / std::f64::consts::LN_2).clamp(0.0, 1.0)
}

fn risk_at(coverage: f64) -> f64 {
    MOST * coverage.powi(4) / 5.0
}

fn single(frames: &[Frame]) -> Vec<Vec<Frame>> {
    frames.iter().map(|frame| vec![*frame]).collect()
}

const GOAL: Goal = Goal {
    max_risk: 0.02,
    delta: 0.05,
    unusual: 0.01,
    seed: 0,
};

#[test]
fn the_tail_is_that_of_exact_arithmetic() {
    // 40-digit decimals, summed term by term.
    for (count, trials, p, expected) in [
        (0, 597, 0.005, 5.016_250_374_880_256e-2),
        (0, 598, 0.005, 4.991_169_123_005_854e-2),
        (3, 10, 0.3, 0.649_610_718_4),
        (2, 40, 0.1, 0.222_808_124_339_402_9),
        (36, 9700, 0.005, 3.738_626_173_412_678e-2),
        (120, 1000, 0.2, 1.322_271_262_814_534e-11),
        (999, 1000, 0.999, 0.632_304_575_229_035_9),
        (4900, 1_000_000, 0.005, 7.882_483_066_208_867e-2),
        (5100, 1_000_000, 0.005, 0.922_555_486_228_385_6),
        (49_000, 10_000_000, 0.005, 3.472_710_852_694_042e-6),
    ] {
        let found = binomial_tail(count, trials, p);
        assert!(
            (found / expected - 1.0).abs() < 1e-9,
            "P(B <= {count}) of {trials} with {p}: {found}, not {expected}"
        );
    }
    assert_eq!(binomial_tail(0, 0, 0.1), 1.0);
    assert_eq!(binomial_tail(7, 7, 0.1), 1.0);
}

#[test]
fn the_bounded_test_is_that_of_the_paper() {
    // Hoeffding's bound is the smaller one, then Bentkus' twice.
    for (sum, units, risk, expected) in [
        (0.0, 100, 0.1, 2.656_139_888_758_733_4e-5),
        (8.0, 400, 0.05, 4.665_309_325_413_858_5e-3),
        (10.0, 1000, 0.02, 2.782_582_284_883_058_6e-2),
    ] {
        let found = RiskTest::HoeffdingBentkus.p_value(sum, units, risk);
        assert!(
            (found / expected - 1.0).abs() < 1e-9,
            "{found}, not {expected}"
        );
    }
    assert_eq!(RiskTest::HoeffdingBentkus.p_value(100.0, 1000, 0.1), 1.0);
    assert_eq!(RiskTest::HoeffdingBentkus.p_value(0.0, 0, 0.1), 1.0);
}

proptest! {
    #[test]
    fn the_most_that_may_be_lost_is_the_most(
        units in 0u64..20_000,
        risk in 0.001..0.5,
        delta in 0.001..0.5,
        bounded in any::<bool>(),
    ) {
        let test = if bounded { RiskTest::HoeffdingBentkus } else { RiskTest::Binomial };
        let p = |errors: u64, units| test.p_value(errors as f64, units, risk);
        match test.most(units, risk, delta) {
            None => prop_assert!(p(0, units) > delta),
            Some(most) => prop_assert!(p(most, units) <= delta && p(most + 1, units) > delta),
        }
        // (1 − r)ⁿ ≤ δ
        let alone = test.units_needed(0.0, risk, delta);
        prop_assert_eq!(alone, Some((delta.ln() / (-risk).ln_1p()).ceil() as u64));
    }

    #[test]
    fn a_path_only_ever_loosens(
        entropies in prop::collection::vec(0.0..1.0, 1..200),
        unusual in prop_oneof![Just(0.0), 0.001..0.5],
    ) {
        let frames: Vec<Evidence> = entropies.iter().map(|&u| frame(u, false).evidence).collect();
        let path = path::path(&frames, &frames, unusual);
        prop_assert!(!path.is_empty());
        for pair in path.windows(2) {
            for frame in &frames {
                let accepted = |thresholds: &Thresholds| thresholds.judge_evidence(frame).is_empty();
                prop_assert!(accepted(&pair[1]) || !accepted(&pair[0]));
            }
        }
        let loosest = path.last().expect("one at least");
        if unusual == 0.0 {
            prop_assert_eq!(*loosest, Thresholds::OFF);
        } else {
            prop_assert_eq!(*loosest, usual(&frames, &frames, unusual));
        }
    }
}

#[test]
fn usual_limits_keep_their_rate_and_use_it() {
    let mut random = Random::new(1, Purpose::Calibration, 0);
    let frames: Vec<_> = (0..2000)
        .map(|_| {
            let mut passes = PassAccumulator::<4>::new(4).expect("4 classes");
            for _ in 0..5 {
                let logits: [f32; 4] = std::array::from_fn(|_| random.between(-4.0, 4.0) as f32);
                passes.push(&logits).expect("finite");
            }
            let mut value = || random.between(0.1, 0.9) as f32;
            let statistics = FrameStatistics {
                mean: value(),
                black: value(),
                white: value(),
                contrast: value(),
                sharpness: value(),
                saturated: value(),
                plateau: value(),
            };
            Evidence::new(&passes.measures().expect("passes"), &statistics)
        })
        .collect();
    for rate in [0.0, 0.01, 0.05, 0.2] {
        let limits = usual(&frames, &frames, rate);
        assert_eq!(limits.validate(), Ok(()));
        let flagged = frames
            .iter()
            .filter(|frame| !limits.judge_evidence(frame).is_empty())
            .count();
        let share = flagged as f64 / frames.len() as f64;
        // One more extreme frame for each limit would exceed it.
        let step = (Cause::ALL.len() as f64 + 0.5) / 2000.0;
        assert!(share <= rate && share > rate - step, "{share} for {rate}");
    }
    assert_eq!(usual(&[], &[], 0.01), Thresholds::OFF);
}

/// What became of many draws from a population whose true risk is known.
#[derive(Debug, Default)]
struct Draws {
    /// The frames supported no thresholds.
    refused: u32,
    /// The true risk of what was chosen is above the limit.
    broken: u32,
    coverage: f64,
}

impl Draws {
    fn of(
        goal: Goal,
        draws: u64,
        risk_at: fn(f64) -> f64,
        draw: impl Fn(&mut Random) -> Vec<Vec<Frame>>,
    ) -> Self {
        let mut found = Self::default();
        for seed in 0..draws {
            let units = draw(&mut Random::new(seed, Purpose::CalibrationSplit, 1));
            match choose(&units, None, Goal { seed, ..goal }) {
                Err(_) => found.refused += 1,
                Ok(choice) => {
                    assert!(choice.p_value <= goal.delta);
                    let coverage = coverage(&choice.thresholds);
                    found.coverage += coverage / draws as f64;
                    found.broken += u32::from(risk_at(coverage) > goal.max_risk);
                }
            }
        }
        found
    }
}

#[test]
fn the_promise_is_kept_as_often_as_said() {
    let found = Draws::of(GOAL, 500, risk_at, |random| {
        single(&population(random, 4000))
    });
    // Binomial(500, 0.05): mean 25, standard deviation 4.9; three of them.
    assert!(found.broken <= 25 + 15, "{found:?}");
    assert!(found.refused <= 5, "{found:?}");
    // The oracle, who knows the risk, covers (0.02 · 5 / 0.3)^¼ = 76 %.
    let oracle = (GOAL.max_risk * 5.0 / MOST).powf(0.25);
    assert!(
        (oracle - 0.07..oracle).contains(&found.coverage),
        "{found:?}, and the oracle {oracle}"
    );
}

/// The loosest thresholds that keep to the limit on the frames at hand: about every second time they
/// do not in truth.
#[test]
fn without_a_test_the_promise_would_be_broken() {
    let mut broken = 0;
    for draw in 0..100 {
        let frames = population(&mut Random::new(draw, Purpose::CalibrationSplit, 1), 4000);
        let evidence: Vec<Evidence> = frames.iter().map(|frame| frame.evidence).collect();
        let naive = path::path(&evidence, &evidence, GOAL.unusual)
            .into_iter()
            .rev()
            .find(|thresholds| {
                let accepted = frames.iter().filter(|frame| frame.is_accepted(thresholds));
                let excess = accepted.map(|frame| f64::from(u8::from(frame.wrong)) - GOAL.max_risk);
                excess.sum::<f64>() <= 0.0
            });
        broken += u32::from(naive.is_some_and(|t| risk_at(coverage(&t)) > GOAL.max_risk));
    }
    assert!(broken > 25, "{broken} of 100");
}

/// Clips whose frames go wrong together. Counted frame by frame they would look like many more than
/// they are.
#[test]
fn clips_count_once_each() {
    // Of a hard clip, which every second is, all frames are wrong with probability 0.8 u⁴, or none:
    // over clips that is 0.4 u⁴.
    let clips = |random: &mut Random| -> Vec<Vec<Frame>> {
        let clip = |_| {
            let rate = if random.below(2) == 0 { 0.8 } else { 0.0 };
            let entropy = random.between(0.0, 1.0);
            let wrong = random.between(0.0, 1.0) < rate * entropy.powi(4);
            vec![frame(entropy, wrong); 2 + random.below(9) as usize]
        };
        (0..1000).map(clip).collect()
    };
    let risk_at = |coverage: f64| 0.4 * coverage.powi(4) / 5.0;
    let goal = Goal {
        max_risk: 0.05,
        ..GOAL
    };
    let found = Draws::of(goal, 200, risk_at, clips);
    // Binomial(200, 0.05): mean 10, standard deviation 3.1; three of them.
    assert!(found.broken <= 10 + 9, "{found:?}");
    assert!(found.refused <= 10, "{found:?}");
    let oracle = (goal.max_risk * 5.0 / 0.4).powf(0.25);
    assert!(
        (oracle - 0.2..oracle).contains(&found.coverage),
        "{found:?}, and the oracle {oracle}"
    );

    let by_frames = Draws::of(goal, 60, risk_at, |random| {
        single(&clips(random).into_iter().flatten().collect::<Vec<_>>())
    });
    // Binomial(60, 0.05): mean 3, standard deviation 1.7; more than three of them above.
    assert!(by_frames.broken > 8, "{by_frames:?}");
}

#[test]
fn what_is_unusual_is_never_accepted_however_good_the_model() {
    let mut random = Random::new(3, Purpose::CalibrationSplit, 3);
    let frames: Vec<Frame> = (0..5000)
        .map(|_| frame(random.between(0.0, 0.5), false))
        .collect();
    let accepted = |unusual| {
        let choice =
            choose(&single(&frames), None, Goal { unusual, ..GOAL }).expect("no error at all");
        (
            choice.accepted as f64 / choice.frames as f64,
            coverage(&choice.thresholds),
        )
    };
    let (share, entropy) = accepted(0.01);
    assert!((0.98..1.0).contains(&share), "{share}");
    assert!((0.48..0.5).contains(&entropy), "{entropy}");
    assert_eq!(accepted(0.0), (1.0, 1.0));
}

#[test]
fn equal_seeds_give_equal_thresholds() {
    let frames = single(&population(
        &mut Random::new(9, Purpose::CalibrationSplit, 1),
        4000,
    ));
    let choice = |seed| choose(&frames, None, Goal { seed, ..GOAL });
    assert_eq!(choice(1), choice(1));
    assert_ne!(choice(1), choice(2));
}

#[test]
fn too_few_or_too_wrong_is_told_with_the_number_it_takes() {
    let refused = |units: &[Vec<Frame>], goal| {
        let message = choose(units, None, goal)
            .expect_err("unsupported")
            .to_string();
        assert!(!message.contains('\n'), "{message}");
        message
    };
    let goal = Goal {
        max_risk: 0.005,
        ..GOAL
    };
    // ln 0.05 / ln 0.995 = 597.6, of the four fifths that are tested on.
    for count in [0, 1, 4, 5, 700] {
        let message = refused(&single(&vec![frame(0.1, false); count]), goal);
        assert!(message.contains("even without an error"), "{message}");
        assert!(message.starts_with(&format!("{count} frames")), "{message}");
        assert!(count < 5 || message.contains("it takes 74"), "{message}");
    }
    choose(&single(&vec![frame(0.1, false); 748]), None, goal).expect("just enough");

    let message = refused(&single(&vec![frame(0.1, true); 2000]), goal);
    assert!(
        message.contains("no number of frames would do"),
        "{message}"
    );

    // An error rate of 0.4 % shows to be below 0.5 % on many frames only.
    let mut frames = vec![frame(0.1, false); 5000];
    frames
        .iter_mut()
        .step_by(250)
        .for_each(|frame| frame.wrong = true);
    let message = refused(&single(&frames), goal);
    assert!(message.contains("at this rate it takes about"), "{message}");

    let clips = vec![vec![frame(0.1, false); 30]; 70];
    let message = refused(
        &clips,
        Goal {
            max_risk: 0.05,
            ..GOAL
        },
    );
    assert!(
        message.starts_with("70 clips") && message.contains("takes 74"),
        "{message}"
    );
    let goal = Goal {
        max_risk: 0.05,
        ..GOAL
    };
    choose(&vec![vec![frame(0.1, false); 30]; 74], None, goal).expect("just enough");
}
