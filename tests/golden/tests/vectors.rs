//! The vectors hold on this machine, and a vector that is wrong does not pass.

use golden::{
    IMAGES, MASKS, MEASURES, Mismatch, PICTURES, check, check_images, check_masks, check_measures,
    check_pictures,
};

#[test]
fn every_vector_holds() {
    let counts = check().unwrap_or_else(|mismatch| panic!("{mismatch}"));
    println!("golden: {counts}");
    assert!(counts.mask_words >= 256);
    assert!(counts.image_values >= 1000);
    assert!(counts.picture_values >= 3000);
    assert!(counts.measures.cases >= 40);
    assert!(MASKS.len() + IMAGES.len() + MEASURES.len() < 200 * 1024);
}

/// `text` with the hexadecimal digit `digit` of word `word` of line `line` (all from 0) changed in
/// its lowest bit.
fn corrupted(text: &str, line: usize, word: usize, digit: usize) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut words: Vec<String> = lines[line]
        .split_ascii_whitespace()
        .map(str::to_owned)
        .collect();
    let old = u32::from_str_radix(&words[word][digit..=digit], 16).expect("a hexadecimal digit");
    words[word].replace_range(digit..=digit, &format!("{:x}", old ^ 1));
    lines[line] = words.join(" ");
    lines.join("\n") + "\n"
}

#[test]
fn a_single_wrong_keep_bit_is_caught() {
    for (number, line) in MASKS.lines().enumerate() {
        if line.starts_with('#') {
            continue;
        }
        let words = line.split_ascii_whitespace().count();
        for word in words - 4..words {
            let wrong = corrupted(MASKS, number, word, 7);
            assert_eq!(
                check_masks(&wrong),
                Err(Mismatch::Mask {
                    line: number + 1,
                    function: "block"
                })
            );
        }
    }
}

#[test]
fn a_single_wrong_level_of_a_picture_is_caught() {
    let mut caught = 0;
    for (number, line) in PICTURES.lines().enumerate() {
        if line.starts_with('#') {
            continue;
        }
        // The lowest bit of the first level, and of the mean.
        for (word, digit) in [(9, 1), (10, 7)] {
            let wrong = corrupted(PICTURES, number, word, digit);
            assert!(matches!(
                check_pictures(&wrong),
                Err(Mismatch::Picture { line, .. }) if line == number + 1
            ));
            caught += 1;
        }
    }
    assert!(caught >= 36);
}

#[test]
fn a_wrong_argument_of_a_mask_is_caught() {
    // The first line: seed 0, frame 0, site 0, pass block 0, element block 0.
    for word in 0..5 {
        let wrong = corrupted(MASKS, 1, word, 0);
        assert!(matches!(
            check_masks(&wrong),
            Err(Mismatch::Mask { line: 2, .. })
        ));
    }
}

#[test]
fn a_single_wrong_image_value_is_caught() {
    let mut checked = 0;
    for (number, line) in IMAGES.lines().enumerate() {
        if line.starts_with('#') {
            continue;
        }
        // After the three sizes, the fit, the two target sizes, and the pixels.
        let values = 7;
        let words = line.split_ascii_whitespace().count();
        for word in (values..words).step_by(37) {
            let wrong = corrupted(IMAGES, number, word, 7);
            assert_eq!(
                check_images(&wrong),
                Err(Mismatch::Image {
                    line: number + 1,
                    value: word - values
                })
            );
            checked += 1;
        }
    }
    assert!(checked > 50);
}

#[test]
fn the_last_bit_of_an_exact_measure_counts() {
    for (number, line) in MEASURES.lines().enumerate() {
        if !line.starts_with("exact") {
            continue;
        }
        for word in 1..line.split_ascii_whitespace().count() {
            let wrong = corrupted(MEASURES, number, word, 15);
            assert!(
                matches!(check_measures(&wrong), Err(Mismatch::Bits { line, value, .. })
                    if line == number + 1 && value == word - 1),
                "line {}, word {word}",
                number + 1
            );
        }
    }
}

#[test]
fn a_wrong_reference_is_caught() {
    for (number, line) in MEASURES.lines().enumerate() {
        if !line.starts_with("torch") {
            continue;
        }
        for word in 1..line.split_ascii_whitespace().count() {
            // The lowest exponent bit: twice or half the value; 0 becomes tiny, so skip zeros.
            let bits = line.split_ascii_whitespace().nth(word).expect("the word");
            let value = f64::from_bits(u64::from_str_radix(bits, 16).expect("f64 bits"));
            if value.abs() < 1e-12 {
                continue;
            }
            let wrong = corrupted(MEASURES, number, word, 2);
            assert!(
                matches!(check_measures(&wrong), Err(Mismatch::Reference { line, value })
                    if line == number + 1 && value == word - 1),
                "line {}, word {word}",
                number + 1
            );
        }
    }
}

#[test]
fn a_wrong_logit_is_caught() {
    let number = MEASURES
        .lines()
        .position(|line| !line.starts_with('#') && !line.starts_with("case"))
        .expect("the first pass");
    let wrong = corrupted(MEASURES, number, 0, 7);
    assert!(check_measures(&wrong).is_err());
}

#[test]
fn truncated_vectors_are_caught() {
    // After any line but the last of a case.
    let last_lines: Vec<usize> = MEASURES
        .lines()
        .enumerate()
        .filter(|(_, line)| line.starts_with("exact") || line.starts_with('#'))
        .map(|(number, _)| number)
        .collect();
    for keep in 1..40 {
        if last_lines.contains(&(keep - 1)) {
            continue;
        }
        let short: String = MEASURES
            .lines()
            .take(keep)
            .flat_map(|line| [line, "\n"])
            .collect();
        assert!(
            matches!(check_measures(&short), Err(Mismatch::Syntax { .. })),
            "{keep} lines"
        );
    }
}
