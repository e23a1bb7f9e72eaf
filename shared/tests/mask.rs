//! Masks: the generator's published answers, keep rates, independence, and three ways to one bit.

use proptest::prelude::*;
use shared::mask::{KeepProbability, MaskSource, philox4x32_10};

const MASKS: MaskSource = MaskSource::new(0x0123_4567_89AB_CDEF);

fn q(probability: f64) -> KeepProbability {
    KeepProbability::from_f64(probability).expect("a probability in (0, 1]")
}

/// Random123's `kat_vectors`.
#[test]
fn philox_gives_the_published_answers() {
    assert_eq!(
        philox4x32_10([0; 4], [0; 2]),
        [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
    );
    assert_eq!(
        philox4x32_10([u32::MAX; 4], [u32::MAX; 2]),
        [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
    );
    assert_eq!(
        philox4x32_10(
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0]
        ),
        [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
    );
}

#[test]
fn the_seed_is_the_key_and_half_is_the_plain_output() {
    let block = MaskSource::new(0x299f_31d0_a409_3822).block(
        0x0370_7344,
        0x1319_8a2e,
        0x00a3_08d3,
        0x243f_6a88,
        KeepProbability::HALF,
    );
    let counter = [0x243f_6a88, 0x00a3_08d3, 0x1319_8a2e, 0x0370_7344];
    assert_eq!(block, philox4x32_10(counter, [0xa409_3822, 0x299f_31d0]));
}

#[test]
fn keep_probabilities_are_the_nearest_step() {
    assert_eq!(KeepProbability::from_f64(0.5), Some(KeepProbability::HALF));
    assert_eq!(KeepProbability::from_f64(1.0), Some(KeepProbability::ONE));
    assert_eq!(q(0.9).bits(), 58_982);
    assert_eq!(q(0.3).bits(), 19_661);
    assert_eq!(q(1.0 / 65_536.0).bits(), 1);
    for refused in [
        0.0,
        -0.5,
        1e-9,
        1.000_001,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ] {
        assert_eq!(KeepProbability::from_f64(refused), None, "{refused}");
    }
    assert_eq!(KeepProbability::from_bits(0), None);
    assert_eq!(KeepProbability::from_bits(65_537), None);
    for bits in 1..=65_536 {
        let q = KeepProbability::from_bits(bits).expect("a step");
        assert_eq!(KeepProbability::from_f64(q.value()), Some(q));
    }
}

/// Keep rate over passes and elements of a site as large as the first of the LeNet.
#[test]
fn keep_rates_are_within_five_sigma() {
    let (passes, elements) = (100, 5760);
    let mut masks = vec![0.0; passes * elements];
    for probability in [0.5, 0.9, 0.3] {
        for (frame, site) in [(0, 0), (1, 0), (0, 1), (9_999, 2)] {
            MASKS.fill(frame, site, q(probability), 0..100, elements, &mut masks);
            let kept = masks.iter().filter(|&&value| value == 1.0).count();
            assert_eq!(
                kept + masks.iter().filter(|&&value| value == 0.0).count(),
                masks.len()
            );
            let count = masks.len() as f64;
            let sigma = (probability * (1.0 - probability) / count).sqrt();
            let rate = kept as f64 / count;
            assert!(
                (rate - probability).abs() < 5.0 * sigma,
                "q {probability}, frame {frame}, site {site}: kept {rate}"
            );
        }
    }
}

/// Two independent masks agree in a share `q² + (1−q)²` of their bits.
#[test]
fn masks_that_differ_in_one_coordinate_are_independent() {
    type Shift = (&'static str, fn([u32; 4]) -> [u32; 4]);
    // [frame, pass, site, element]
    let shifts: [Shift; 11] = [
        ("next frame", |[f, t, s, e]| [f + 1, t, s, e]),
        ("far frame", |[f, t, s, e]| [f ^ 1 << 31, t, s, e]),
        ("next pass", |[f, t, s, e]| [f, t + 1, s, e]),
        ("same pass of the next block", |[f, t, s, e]| {
            [f, t + 32, s, e]
        }),
        ("far pass", |[f, t, s, e]| [f, t + (1 << 28), s, e]),
        ("next site", |[f, t, s, e]| [f, t, s + 1, e]),
        ("far site", |[f, t, s, e]| [f, t, s ^ 1 << 31, e]),
        ("next element", |[f, t, s, e]| [f, t, s, e + 1]),
        ("same element of the next block", |[f, t, s, e]| {
            [f, t, s, e + 4]
        }),
        ("far element", |[f, t, s, e]| [f, t, s, e + (1 << 31)]),
        ("frame and element exchanged", |[f, t, s, e]| [e, t, s, f]),
    ];
    for probability in [0.5, 0.9, 0.3] {
        let q = q(probability);
        for (name, shift) in shifts {
            let mut agreed = 0_u32;
            let mut count = 0_u32;
            for element in 0..2_000 {
                for pass in 0..20 {
                    let here = [5_000, pass, 1, element];
                    let there = shift(here);
                    let keep = |[f, t, s, e]: [u32; 4]| MASKS.keep(f, t, s, e, q);
                    agreed += u32::from(keep(here) == keep(there));
                    count += 1;
                }
            }
            let expected = probability.powi(2) + (1.0 - probability).powi(2);
            let sigma = (expected * (1.0 - expected) / f64::from(count)).sqrt();
            let share = f64::from(agreed) / f64::from(count);
            assert!(
                (share - expected).abs() < 5.0 * sigma,
                "q {probability}, {name}: {share} agree, not {expected}"
            );
        }
    }
}

#[test]
fn seeds_give_independent_masks() {
    for other in [
        0x0123_4567_89AB_CDEE_u64,
        0x0123_4567_89AB_CDEF ^ 1 << 63,
        0x89AB_CDEF_0123_4567,
    ] {
        let other = MaskSource::new(other);
        let agreed: u32 = (0..1_000)
            .map(|block| {
                let [a, b] =
                    [MASKS, other].map(|masks| masks.block(3, 0, 0, block, KeepProbability::HALF));
                (0..4)
                    .map(|word| (!(a[word] ^ b[word])).count_ones())
                    .sum::<u32>()
            })
            .sum();
        let count = 128_000.0_f64;
        assert!((f64::from(agreed) - count / 2.0).abs() < 5.0 * (count / 4.0).sqrt());
    }
}

#[test]
fn one_keeps_everything() {
    assert_eq!(MASKS.block(1, 2, 3, 4, KeepProbability::ONE), [u32::MAX; 4]);
}

proptest! {
    #[test]
    fn block_keep_and_fill_agree(
        seed: u64, frame: u32, site: u32, bits in 1..=65_536_u32,
        first in 0..200_u32, passes in 0..70_u32, elements in 0..150_usize,
    ) {
        let masks = MaskSource::new(seed);
        let q = KeepProbability::from_bits(bits).expect("a step");
        let mut filled = vec![f32::NAN; passes as usize * elements];
        masks.fill(frame, site, q, first..first + passes, elements, &mut filled);
        for (index, &value) in filled.iter().enumerate() {
            let pass = first + (index / elements) as u32;
            let element = (index % elements) as u32;
            let kept = masks.keep(frame, pass, site, element, q);
            prop_assert_eq!(value, f32::from(u8::from(kept)));
            let word = masks.block(frame, site, pass / 32, element / 4, q)[element as usize % 4];
            prop_assert_eq!(word >> (pass % 32) & 1 == 1, kept);
        }
    }

    /// The fold of bit planes is the comparison of a uniform 16-bit number with q.
    #[test]
    fn an_element_is_kept_where_its_number_lies_below_q(
        seed: u64, frame: u32, site: u32, pass in 0..MaskSource::MAX_PASSES, element: u32,
        bits in 1..=65_536_u32,
    ) {
        let number = (0..16).fold(0, |number, plane| {
            let counter = [element / 4, (pass / 32) | (plane << 24), site, frame];
            let word = philox4x32_10(counter, [seed as u32, (seed >> 32) as u32])[element as usize % 4];
            number << 1 | (!word >> (pass % 32) & 1)
        });
        let q = KeepProbability::from_bits(bits).expect("a step");
        prop_assert_eq!(MaskSource::new(seed).keep(frame, pass, site, element, q), number < bits);
    }
}

#[test]
#[should_panic(expected = "do not fit 9 values")]
fn a_buffer_of_the_wrong_length_is_refused() {
    MASKS.fill(0, 0, KeepProbability::HALF, 0..2, 5, &mut [0.0; 9]);
}

#[test]
#[should_panic(expected = "out of range")]
fn a_pass_beyond_the_last_is_refused() {
    let end = MaskSource::MAX_PASSES;
    MASKS.fill(0, 0, KeepProbability::HALF, end..end + 1, 1, &mut [0.0]);
}

#[test]
#[should_panic(expected = "out of range")]
fn a_pass_block_that_would_reach_into_the_plane_is_refused() {
    let _ = MASKS.block(0, 0, 1 << 24, 0, KeepProbability::HALF);
}
