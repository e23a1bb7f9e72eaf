//! Measures: their invariants, and a plain reference that keeps all passes.

use proptest::prelude::*;
use shared::uncertainty::{
    Measures, PassAccumulator, UncertaintyError, argmax, entropy, log_softmax,
};

const CAPACITY: usize = 16;
/// How far a measure may be from the reference `r`, which rounds too: this times `max(1, |r|)`
/// (largest seen in 20,000 random cases: 1e-15).
const TOLERANCE: f64 = 5e-15;

fn measured(passes: &[Vec<f32>]) -> Measures<CAPACITY> {
    let mut accumulator = PassAccumulator::new(passes[0].len()).expect("2 to 16 classes");
    for pass in passes {
        accumulator.push(pass).expect("finite logits");
    }
    accumulator.measures().expect("at least one pass")
}

struct Reference {
    mean: Vec<f64>,
    mean_logits: Vec<f64>,
    deviations: Vec<f64>,
    predictive_entropy: f64,
    expected_entropy: f64,
    variation_ratio: f64,
}

/// The formulas as they are written, with the standard library's functions, over all passes.
fn reference(passes: &[Vec<f32>]) -> Reference {
    let classes = passes[0].len();
    let count = passes.len() as f64;
    let plain_entropy =
        |p: &[f64]| -> f64 { p.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum() };
    let mut votes = vec![0_u32; classes];
    let probabilities: Vec<Vec<f64>> = passes
        .iter()
        .map(|logits| {
            let logits: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
            let largest = logits.iter().copied().fold(f64::MIN, f64::max);
            let first = logits.iter().position(|&logit| logit == largest);
            votes[first.expect("a largest")] += 1;
            let powers: Vec<f64> = logits.iter().map(|logit| (logit - largest).exp()).collect();
            let sum: f64 = powers.iter().sum();
            powers.iter().map(|power| power / sum).collect()
        })
        .collect();
    let over_passes = |of: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
        (0..classes)
            .map(|class| (0..passes.len()).map(|pass| of(pass, class)).sum::<f64>() / count)
            .collect()
    };
    let mean = over_passes(&|pass, class| probabilities[pass][class]);
    let variances = over_passes(&|pass, class| (probabilities[pass][class] - mean[class]).powi(2));
    Reference {
        mean_logits: over_passes(&|pass, class| f64::from(passes[pass][class])),
        deviations: variances.iter().map(|variance| variance.sqrt()).collect(),
        predictive_entropy: plain_entropy(&mean),
        expected_entropy: probabilities.iter().map(|p| plain_entropy(p)).sum::<f64>() / count,
        variation_ratio: 1.0 - f64::from(votes.into_iter().max().expect("classes")) / count,
        mean,
    }
}

fn assert_near(got: f64, wanted: f64, what: &str) {
    let allowed = TOLERANCE * wanted.abs().max(1.0);
    assert!(
        (got - wanted).abs() <= allowed,
        "{what}: {got}, not {wanted}"
    );
}

fn assert_invariants(m: &Measures<CAPACITY>) {
    let most = (m.classes() as f64).ln();
    assert!(m.mutual_information >= 0.0);
    assert!(m.mutual_information <= m.predictive_entropy);
    assert!(m.expected_entropy >= 0.0);
    assert!(m.expected_entropy <= m.predictive_entropy);
    assert!(m.predictive_entropy <= most);
    assert!((0.0..=1.0).contains(&m.margin));
    assert!((0.0..=1.0 - 1.0 / m.classes() as f64).contains(&m.variation_ratio));
    assert!(m.confidence <= 1.0);
    assert_near(
        m.mean_probabilities().iter().sum(),
        1.0,
        "sum of probabilities",
    );
    assert_eq!(m.class, argmax(m.mean_probabilities()));
    assert!(
        m.standard_deviations()
            .iter()
            .all(|s| (0.0..=0.5 + TOLERANCE).contains(s))
    );
    assert!(m.mean_logits().iter().all(|logit| logit.is_finite()));
    for values in [
        m.mean_probabilities(),
        m.mean_logits(),
        m.standard_deviations(),
    ] {
        assert_eq!(values.len(), m.classes());
    }
}

/// Logits of every kind a network may give: ordinary, near equal, far apart, saturated.
fn logit() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => -12.0_f32..12.0,
        2 => (-1000..1000).prop_map(|step| 1.0 + step as f32 * 1e-7),
        2 => -800.0_f32..800.0,
        1 => prop_oneof![Just(1e30_f32), Just(-1e30), Just(f32::MAX), Just(f32::MIN), Just(0.0), Just(-0.0)],
        1 => any::<f32>().prop_filter("finite", |logit| logit.is_finite()),
    ]
}

fn passes() -> impl Strategy<Value = Vec<Vec<f32>>> {
    (2..=CAPACITY, 1..=40_usize).prop_flat_map(|(classes, passes)| {
        prop::collection::vec(prop::collection::vec(logit(), classes), passes)
    })
}

proptest! {
    #[test]
    fn measures_match_a_reference_that_keeps_every_pass(passes in passes()) {
        let (got, wanted) = (measured(&passes), reference(&passes));
        assert_invariants(&got);
        prop_assert_eq!(got.passes as usize, passes.len());
        for class in 0..got.classes() {
            assert_near(got.mean_probabilities()[class], wanted.mean[class], "mean probability");
            // Large logits that cancel leave an error of their own size.
            let largest = passes.iter().map(|pass| f64::from(pass[class].abs())).fold(1.0, f64::max);
            let difference = got.mean_logits()[class] - wanted.mean_logits[class];
            prop_assert!(difference.abs() <= TOLERANCE * largest);
            // A root doubles the relative and takes the root of the absolute error.
            let (deviation, expected) = (got.standard_deviations()[class], wanted.deviations[class]);
            assert_near(deviation * deviation, expected * expected, "variance");
        }
        assert_near(got.confidence, wanted.mean[got.class], "confidence");
        assert_near(got.predictive_entropy, wanted.predictive_entropy, "predictive entropy");
        assert_near(got.expected_entropy, wanted.expected_entropy, "expected entropy");
        assert_near(
            got.mutual_information,
            wanted.predictive_entropy - wanted.expected_entropy,
            "mutual information",
        );
        assert_near(got.variation_ratio, wanted.variation_ratio, "variation ratio");
        let mut sorted = wanted.mean;
        sorted.sort_by(|a, b| b.total_cmp(a));
        assert_near(got.margin, sorted[0] - sorted[1], "margin");
    }

    #[test]
    fn the_order_of_passes_does_not_matter(
        (passes, shuffled) in passes().prop_flat_map(|p| (Just(p.clone()), Just(p).prop_shuffle())),
    ) {
        let (a, b) = (measured(&passes), measured(&shuffled));
        assert_near(a.predictive_entropy, b.predictive_entropy, "predictive entropy");
        assert_near(a.expected_entropy, b.expected_entropy, "expected entropy");
        assert_near(a.mutual_information, b.mutual_information, "mutual information");
        prop_assert_eq!(a.variation_ratio, b.variation_ratio);
        for class in 0..a.classes() {
            assert_near(a.mean_probabilities()[class], b.mean_probabilities()[class], "mean");
        }
    }

    #[test]
    fn one_pass_or_equal_passes_have_no_mutual_information(
        pass in (2..=CAPACITY).prop_flat_map(|classes| prop::collection::vec(logit(), classes)),
        count in 1..50_usize,
    ) {
        let m = measured(&vec![pass; count]);
        assert_invariants(&m);
        prop_assert_eq!(m.mutual_information, 0.0);
        prop_assert_eq!(m.predictive_entropy, m.expected_entropy);
        prop_assert_eq!(m.variation_ratio, 0.0);
        prop_assert!(m.standard_deviations().iter().all(|&deviation| deviation == 0.0));
    }

    #[test]
    fn a_refused_pass_changes_nothing(
        passes in passes(),
        bad in prop_oneof![Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY)],
        at: prop::sample::Index,
    ) {
        let classes = passes[0].len();
        let mut accumulator = PassAccumulator::<CAPACITY>::new(classes).expect("2 to 16 classes");
        let mut poisoned = passes[0].clone();
        let class = at.index(classes);
        poisoned[class] = bad;
        for pass in &passes {
            let before = accumulator.clone();
            prop_assert_eq!(accumulator.push(&poisoned), Err(UncertaintyError::NonFinite { class }));
            prop_assert_eq!(
                accumulator.push(&pass[1..]),
                Err(UncertaintyError::Length { expected: classes, got: classes - 1 })
            );
            prop_assert_eq!(&accumulator, &before);
            accumulator.push(pass).expect("finite logits");
        }
        prop_assert_eq!(accumulator.measures(), Some(measured(&passes)));
        accumulator.reset();
        prop_assert_eq!(accumulator, PassAccumulator::new(classes).expect("2 to 16 classes"));
    }

    #[test]
    fn log_softmax_is_a_distribution(logits in prop::collection::vec(-1e6_f64..1e6, 2..20)) {
        let mut logs = vec![f64::NAN; logits.len()];
        log_softmax(&logits, &mut logs);
        assert_near(logs.iter().map(|log| log.exp()).sum(), 1.0, "sum");
        prop_assert!(logs.iter().all(|log| *log <= 0.0));
        prop_assert_eq!(argmax(&logs), argmax(&logits));
    }
}

#[test]
fn classes_must_fit() {
    for classes in [0, 1, 17] {
        assert_eq!(
            PassAccumulator::<CAPACITY>::new(classes),
            Err(UncertaintyError::Classes {
                classes,
                capacity: CAPACITY
            })
        );
    }
    let empty = PassAccumulator::<CAPACITY>::new(16).expect("as many as fit");
    assert_eq!((empty.classes(), empty.passes()), (16, 0));
    assert_eq!(empty.measures(), None);
}

#[test]
fn equal_logits_are_as_uncertain_as_can_be() {
    for classes in 2..=CAPACITY {
        for logit in [0.0, 1e30, f32::MAX, f32::MIN, f32::MIN_POSITIVE] {
            let m = measured(&vec![vec![logit; classes]; 7]);
            assert_near(m.predictive_entropy, (classes as f64).ln(), "entropy");
            assert_eq!((m.class, m.margin), (0, 0.0));
            assert_near(m.confidence, 1.0 / classes as f64, "confidence");
        }
    }
}

#[test]
fn saturated_logits_are_certain() {
    for high in [1e30, f32::MAX] {
        let m = measured(&vec![vec![-high, high, -high]; 3]);
        assert_eq!((m.class, m.confidence, m.margin), (1, 1.0, 1.0));
        assert_eq!(m.predictive_entropy, 0.0);
        assert_eq!(
            m.mean_logits(),
            [f64::from(-high), f64::from(high), f64::from(-high)]
        );
    }
}

/// Sure passes that contradict each other: all doubt is about the model.
#[test]
fn contradiction_is_mutual_information() {
    let m = measured(&[vec![1e30, 0.0], vec![0.0, 1e30]]);
    assert_eq!(m.expected_entropy, 0.0);
    assert_near(m.mutual_information, 2.0_f64.ln(), "mutual information");
    assert_eq!((m.variation_ratio, m.class, m.margin), (0.5, 0, 0.0));
    assert_eq!(m.standard_deviations(), [0.5, 0.5]);
}

/// A pass's tiny doubt is not lost beside a probability that rounds to 1.
#[test]
fn small_entropies_keep_their_digits() {
    let m = measured(&[vec![60.0, 0.0]]);
    let tail = (-60.0_f64).exp();
    let exact = tail * (1.0 + 60.0);
    assert!((m.predictive_entropy / exact - 1.0).abs() < 1e-12);
    let two = measured(&[vec![60.0, 0.0], vec![62.0, 0.0]]);
    assert!(two.predictive_entropy > 0.0 && two.predictive_entropy < exact);
    assert!(two.mutual_information > 0.0);
}

#[test]
fn votes_and_ties_go_to_the_lowest_class() {
    let m = measured(&[
        vec![1.0, 1.0, 0.0],
        vec![1.0, 1.0, 0.0],
        vec![0.0, 0.0, 1.0],
    ]);
    assert_near(m.variation_ratio, 1.0 / 3.0, "variation ratio");
    assert_eq!(m.class, 0);
}

#[test]
fn entropy_of_edge_distributions() {
    assert_eq!(entropy(&[]), 0.0);
    assert_eq!(entropy(&[1.0]), 0.0);
    assert_eq!(entropy(&[0.0, 1.0, 0.0]), 0.0);
    assert_near(entropy(&[0.25; 4]), 4.0_f64.ln(), "uniform");
}

#[test]
fn errors_say_what_is_wrong() {
    let message = |error: UncertaintyError| error.to_string();
    assert_eq!(
        message(UncertaintyError::Classes {
            classes: 1,
            capacity: 16
        }),
        "1 classes: must be 2 to 16"
    );
    assert_eq!(
        message(UncertaintyError::Length {
            expected: 10,
            got: 9
        }),
        "a pass gave 9 logits for 10 classes"
    );
    assert_eq!(
        message(UncertaintyError::NonFinite { class: 3 }),
        "the logit of class 3 is not a finite number"
    );
}
