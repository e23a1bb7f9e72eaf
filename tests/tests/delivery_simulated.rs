//! Every flagged report arrives exactly once, over simulated lines that do their worst. `scripts/soak`
//! does the same for longer.

use tests::faults::Faults;
use tests::simulation::{Interruption, Outcome, Setup, run};

fn setup(seed: u64) -> Setup {
    Setup {
        frames: 20_000,
        flagged: 0.25,
        baud: 1_000_000,
        faults: Faults::ONE_IN_A_HUNDRED,
        interruptions: 0.000_5,
        cut: None,
        seed,
        folder: None,
    }
}

#[track_caller]
fn check(outcome: &Outcome) {
    assert_eq!(outcome.logged, outcome.decided.1, "{outcome}");
    assert_eq!((outcome.doubled, outcome.altered), (0, 0), "{outcome}");
    let (carried, spoilt) = outcome.bytes;
    assert!(spoilt * 100 >= carried, "{outcome}");
    // Statistics add up: what came too often was sent too often.
    assert!(outcome.repeated.0 >= outcome.repeated.1, "{outcome}");
}

#[test]
fn every_flagged_report_arrives_once_whatever_happens() {
    for seed in 0..4 {
        let folder = tempfile::tempdir().expect("temporary folder");
        let outcome = run(&Setup {
            folder: Some(folder.path().to_owned()),
            ..setup(seed)
        });
        check(&outcome);
        let (devices, hosts, lines) = outcome.interruptions;
        assert!(devices > 0 && hosts > 0 && lines > 0, "{outcome}");
    }
}

/// Broken off after every single byte of a conversation, in turn, nothing is lost either.
#[test]
fn an_interruption_at_any_byte_loses_nothing() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let short = Setup {
        frames: 10,
        flagged: 0.5,
        faults: Faults::default(),
        interruptions: 0.0,
        ..setup(1)
    };
    let whole = run(&short);
    assert!(whole.decided.1 > 3, "{whole}");
    for interruption in Interruption::ALL {
        for byte in 0..whole.bytes.0 {
            let outcome = run(&Setup {
                cut: Some((byte, interruption)),
                folder: (interruption == Interruption::Device)
                    .then(|| folder.path().join(byte.to_string())),
                ..short.clone()
            });
            let told = || format!("{interruption:?} at byte {byte}: {outcome}");
            let (devices, hosts, lines) = outcome.interruptions;
            assert_eq!(devices + hosts + lines, 1, "{}", told());
            assert_eq!(outcome.logged, outcome.decided.1, "{}", told());
            assert_eq!((outcome.doubled, outcome.altered), (0, 0), "{}", told());
        }
    }
}

/// The same seed, the same figures: what changes them changes how the link behaves.
#[test]
fn the_figures_of_a_seed_are_known() {
    let outcome = run(&setup(7));
    check(&outcome);
    println!("{outcome}");
    assert_eq!(
        outcome.to_string(),
        include_str!("delivery_simulated.txt").trim_end()
    );
}

#[test]
fn slow_and_fast_lines_deliver_alike() {
    for baud in [9_600, 115_200, 3_000_000] {
        let outcome = run(&Setup {
            frames: 2_000,
            baud,
            ..setup(1)
        });
        check(&outcome);
    }
}

/// A line that spoils almost everything still delivers in the end.
#[test]
fn a_line_that_is_hardly_one_delivers_in_the_end() {
    let outcome = run(&Setup {
        frames: 300,
        faults: Faults {
            flip: 0.03,
            ..Faults::ONE_IN_A_HUNDRED
        },
        ..setup(3)
    });
    check(&outcome);
}
