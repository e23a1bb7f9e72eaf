use super::*;
use crate::data::Purpose;

const SIDE: usize = 28;

/// A grey picture of 28 × 28 pixels.
fn grey(pixels: Vec<u8>) -> Frame {
    Frame {
        width: SIDE,
        height: SIDE,
        format: PixelFormat::Grey8,
        pixels,
        ..Frame::default()
    }
}

/// Light of 28 × 28 pixels, spoilt.
fn spoil(
    light: Vec<f64>,
    corruption: Corruption,
    level: Severity,
    random: &mut Random,
) -> Vec<f64> {
    let mut picture = Light {
        width: SIDE,
        height: SIDE,
        planes: vec![light],
    };
    effects::apply(corruption, level, &mut picture, random);
    picture.planes.remove(0)
}

/// Strokes of 3 white pixels on black, as in a digit.
fn clean() -> Vec<u8> {
    (0..SIDE * SIDE)
        .map(|index| {
            let (x, y) = (index % SIDE, index / SIDE);
            let inside = (5..23).contains(&x) && (5..23).contains(&y);
            if inside && x / 3 % 3 == 0 { 255 } else { 0 }
        })
        .collect()
}

fn severity(severity: u8) -> Severity {
    severity.try_into().expect("1 to 5")
}

fn spoilt(corruption: Corruption, severity: Severity, seed: u64) -> Vec<u8> {
    let mut picture = grey(clean());
    let mut random = Random::new(seed, Purpose::Corruption, 0);
    corrupt(corruption, severity, &mut picture, &mut random);
    picture.pixels
}

fn count(pixels: &[u8], of: impl Fn(u8) -> bool) -> usize {
    pixels.iter().filter(|&&pixel| of(pixel)).count()
}

/// Mean absolute difference to the clean picture, in luma values.
fn damage(pixels: &[u8]) -> f64 {
    let sum: f64 = pixels
        .iter()
        .zip(clean())
        .map(|(&now, then)| f64::from(now.abs_diff(then)))
        .sum();
    sum / pixels.len() as f64
}

#[test]
fn every_family_repeats_and_grows_with_its_severity() {
    for corruption in Corruption::ALL {
        let mut before = 0.0;
        for severity in Severity::ALL {
            let seeds = 0..20;
            let mean = seeds
                .map(|seed| {
                    let pixels = spoilt(corruption, severity, seed);
                    assert_eq!(pixels, spoilt(corruption, severity, seed));
                    damage(&pixels)
                })
                .sum::<f64>()
                / 20.0;
            // Strokes that moved by their own distance lie on each other again.
            let moved = [Corruption::Rotation, Corruption::Translation].contains(&corruption);
            assert!(
                mean > if moved { 0.0 } else { before },
                "{corruption} {severity}: {mean}"
            );
            before = mean;
        }
    }
}

#[test]
fn occlusion_hides_what_the_table_says_behind_one_grey() {
    for (corruption, shares) in [
        (
            Corruption::OcclusionBlock,
            [64.0, 121.0, 196.0, 289.0, 400.0],
        ),
        // Width times three bars of the image's height.
        (
            Corruption::OcclusionBars,
            [168.0, 252.0, 336.0, 420.0, 504.0],
        ),
    ] {
        for (level, share) in Severity::ALL.into_iter().zip(shares) {
            let mut total = 0;
            for seed in 0..40 {
                let pixels = spoilt(corruption, level, seed);
                let shade = *pixels
                    .iter()
                    .find(|&&v| v != 0 && v != 255)
                    .expect("something hidden");
                assert!((60..=200).contains(&shade));
                assert_eq!(count(&pixels, |v| v != 0 && v != 255 && v != shade), 0);
                total += count(&pixels, |v| v == shade);
            }
            let mean = f64::from(total as u32) / 40.0;
            assert!(
                (mean / share - 1.0).abs() < 0.1,
                "{corruption} {level}: {mean}"
            );
        }
    }
}

#[test]
fn glare_saturates_a_disc_and_leaves_what_is_far() {
    for (level, radius) in Severity::ALL
        .into_iter()
        .zip([4.0_f64, 6.0, 8.0, 10.0, 12.0])
    {
        for seed in 0..20 {
            let pixels = spoilt(Corruption::Glare, level, seed);
            let changed = pixels
                .iter()
                .zip(clean())
                .filter(|(now, then)| *now != then)
                .count();
            let disc = |radius: f64| std::f64::consts::PI * radius * radius;
            assert!((changed as f64) < disc(1.5 * radius + 1.0));
            // At worst the middle lies 8 pixels from two borders: a quarter of the disc is lost.
            assert!(
                count(&pixels, |v| v == 255) as f64 > 0.5 * disc(radius),
                "{level} {seed}"
            );
        }
    }
}

#[test]
fn exposure_is_a_gain_in_linear_light() {
    // White after s stops less: 255 · 2^(-s / 2.2).
    for (level, white) in Severity::ALL.into_iter().zip([186, 136, 72, 39, 21]) {
        let pixels = spoilt(Corruption::Underexposure, level, 1);
        assert_eq!(pixels.iter().max(), Some(&white));
        assert_eq!(count(&pixels, |v| v == 0), count(&clean(), |v| v == 0));
    }
    // Black after s stops more: 255 · (0.03 · 2^s)^(1/2.2), and what was white stays so.
    for (level, black) in Severity::ALL.into_iter().zip([83, 114, 183, 231, 255]) {
        let pixels = spoilt(Corruption::Overexposure, level, 1);
        assert_eq!(pixels.iter().min(), Some(&black));
        assert_eq!(pixels.iter().max(), Some(&255));
    }
    for level in Severity::ALL {
        for seed in 0..20 {
            let shaded = spoilt(Corruption::Shading, level, seed);
            // 255 · 2^(-stops / 2.2) at the lightest and the darkest side.
            let bound = |stops: f64| 255.0 * (-stops / 2.2).exp2();
            let lightest = f64::from(level.get());
            let darkest = 1.0 + 2.0 * lightest;
            for (&now, then) in shaded.iter().zip(clean()) {
                let white = bound(darkest) - 0.5..=bound(lightest) + 0.5;
                assert!(if then == 0 {
                    now == 0
                } else {
                    white.contains(&f64::from(now))
                });
            }
        }
    }
}

#[test]
fn fog_brings_black_and_white_together() {
    for (level, transmission) in Severity::ALL.into_iter().zip([0.75, 0.5, 0.3, 0.2, 0.1]) {
        for seed in 0..20 {
            let pixels = spoilt(Corruption::LowContrast, level, seed);
            let linear = |v: Option<&u8>| effects::linear(*v.expect("pixels"));
            let range = linear(pixels.iter().max()) - linear(pixels.iter().min());
            // Rounding to 8 bits moves light by at most 2.2 / 510 at either end.
            assert!(
                (range - transmission).abs() < 0.01,
                "{level} {seed}: {range}"
            );
        }
    }
}

#[test]
fn blur_keeps_light_and_spreads_a_point_as_a_gaussian() {
    for (level, deviation) in Severity::ALL.into_iter().zip([0.7, 1.0, 1.5, 2.0, 2.5]) {
        let mut light = vec![0.0; SIDE * SIDE];
        light[14 * SIDE + 14] = 1.0;
        let mut random = Random::new(1, Purpose::Corruption, 0);
        light = spoil(light, Corruption::Blur, level, &mut random);
        let total: f64 = light.iter().sum();
        let variance: f64 = (0..SIDE * SIDE)
            .map(|index| light[index] * (index as f64 % 28.0 - 14.0).powi(2))
            .sum();
        assert!((total - 1.0).abs() < 1e-12);
        // Sampled at whole pixels and cut, the narrowest has a variance of 0.489 instead of 0.49.
        assert!(
            (variance / (deviation * deviation) - 1.0_f64).abs() < 0.01,
            "{level}: {variance}"
        );
    }
}

#[test]
fn noises_have_the_mean_and_the_deviation_that_they_should() {
    let even = vec![effects::linear(128); 100 * SIDE * SIDE];
    let moments = |corruption, level| {
        let mut light = even.clone();
        for (index, image) in light.chunks_exact_mut(SIDE * SIDE).enumerate() {
            let mut random = Random::new(1, Purpose::Corruption, index as u64);
            let spoilt = spoil(image.to_vec(), corruption, level, &mut random);
            image.copy_from_slice(&spoilt);
        }
        light
    };
    let mean_and_variance = |values: &[f64]| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
        (mean, squares / values.len() as f64)
    };
    // 78,400 values: the standard error of the mean is 0.36 % of the deviation, that of the
    // variance 0.5 %, doubled for the skew of few photons; five of them.
    let (mean, variance) = mean_and_variance(&moments(Corruption::ShotNoise, severity(3)));
    let light = effects::linear(128);
    let expected = light / 12.0;
    assert!((mean - light).abs() < 0.018 * expected.sqrt(), "{mean}");
    assert!((variance / expected - 1.0).abs() < 0.05, "{variance}");
    let luma: Vec<f64> = moments(Corruption::Noise, severity(2))
        .iter()
        .map(|light| light.powf(1.0 / 2.2))
        .collect();
    let (mean, variance) = mean_and_variance(&luma);
    assert!((mean - 128.0 / 255.0).abs() < 0.018 * 0.12, "{mean}");
    assert!((variance.sqrt() / 0.12 - 1.0).abs() < 0.018, "{variance}");
    // No photon, no noise.
    let mut black = vec![0.0; SIDE * SIDE];
    let mut random = Random::new(1, Purpose::Corruption, 0);
    black = spoil(black, Corruption::ShotNoise, severity(5), &mut random);
    assert!(black.iter().all(|&light| light == 0.0));
}

#[test]
fn moves_are_those_of_a_rigid_picture() {
    let centre_of = |corruption, level| {
        let mut light = vec![0.0; SIDE * SIDE];
        // A square of light, 4 to 6 pixels right of the middle.
        for y in 13..15 {
            for x in 18..20 {
                light[y * SIDE + x] = 1.0;
            }
        }
        let mut random = Random::new(3, Purpose::Corruption, 0);
        light = spoil(light, corruption, level, &mut random);
        let total: f64 = light.iter().sum();
        assert!((total - 4.0).abs() < 0.2, "{total}");
        let moment = |of: &dyn Fn(usize) -> usize| {
            let sum: f64 = (0..SIDE * SIDE)
                .map(|i| light[i] * (of(i) as f64 - 13.5))
                .sum();
            sum / total
        };
        (moment(&|i| i % SIDE), moment(&|i| i / SIDE))
    };
    for (level, degrees) in Severity::ALL
        .into_iter()
        .zip([10.0, 20.0, 30.0, 45.0, 60.0])
    {
        let (x, y) = centre_of(Corruption::Rotation, level);
        assert!((x.hypot(y) - 5.0).abs() < 0.1, "{level}: {x}, {y}");
        assert!(
            (y.atan2(x).to_degrees().abs() - degrees).abs() < 1.0,
            "{level}: {x}, {y}"
        );
    }
    // At most 8 pixels: further, the square might leave the picture.
    for (level, distance) in Severity::ALL.into_iter().zip([2.0, 4.0, 6.0, 8.0]) {
        let (x, y) = centre_of(Corruption::Translation, level);
        assert!(
            ((x - 5.0).hypot(y) - distance).abs() < 0.1,
            "{level}: {x}, {y}"
        );
    }
}

#[test]
fn names_and_severities_are_checked() {
    for corruption in Corruption::ALL {
        assert_eq!(corruption.name().parse(), Ok(corruption));
        let json = serde_json::to_value(corruption).expect("JSON");
        assert_eq!(json, corruption.name());
    }
    let error = "fog".parse::<Corruption>().expect_err("no family");
    assert!(
        error.to_string().ends_with("rotation, translation"),
        "{error}"
    );
    assert_eq!(Severity::ALL.map(Severity::get), [1, 2, 3, 4, 5]);
    for wrong in ["0", "6", "-1", "3.5", "", "three"] {
        assert_eq!(wrong.parse::<Severity>(), Err(SeverityError), "{wrong}");
    }
    assert!(serde_json::from_str::<Severity>("6").is_err());
    assert_eq!("4".parse(), Ok(severity(4)));
}

#[test]
fn a_data_set_is_spoilt_image_by_image() {
    let size = (SIDE, SIDE);
    let pixels = clean().repeat(3);
    let dataset = Dataset::in_memory(
        vec!["a".into()],
        vec![0; 3],
        size,
        PixelFormat::Grey8,
        pixels,
    );
    let image = |data: &Dataset, index| {
        let frame = data.frame(index, PixelFormat::Grey8).expect("in memory");
        frame.pixels.clone()
    };
    let all = |data: &Dataset| [0, 1, 2].map(|index| image(data, index)).concat();
    let block = |level, seed| corrupted(&dataset, Corruption::OcclusionBlock, level, seed);
    let once = block(severity(3), 1);
    assert_eq!(all(&once), all(&block(severity(3), 1)));
    assert_ne!(all(&once), all(&block(severity(3), 2)));
    assert_ne!(image(&once, 0), image(&once, 1));
    assert_eq!(once.labels, dataset.labels);
    // The same place and shade at every severity: the larger block covers the smaller.
    let worse = block(severity(5), 1);
    let pixels = all(&dataset).into_iter().zip(all(&once)).zip(all(&worse));
    for ((before, now), then) in pixels {
        assert!(now == before || now == then);
    }
    let mut first = dataset.clone();
    first.truncate(1);
    let first = corrupted(&first, Corruption::OcclusionBlock, severity(3), 1);
    assert_eq!(image(&first, 0), image(&once, 0));
    // An image keeps its own stream where others are left out afterwards.
    assert_eq!(image(&once.select(&[2]), 0), image(&once, 2));
}

#[test]
fn right_angles_move_pixels_and_no_more() {
    let image: Vec<u8> = (0..SIDE * SIDE).map(|i| (i * 7 % 251) as u8).collect();
    let close = |degrees, expected: &[u8]| {
        let mut turned = grey(image.clone());
        rotate(&mut turned, degrees);
        let mut pairs = turned.pixels.iter().zip(expected);
        assert!(pairs.all(|(a, b)| a.abs_diff(*b) <= 1), "{degrees}");
    };
    close(0.0, &image);
    let reversed: Vec<u8> = image.iter().rev().copied().collect();
    close(180.0, &reversed);
    // Clockwise: the first column, read upwards, becomes the first row.
    let turned: Vec<u8> = (0..SIDE * SIDE)
        .map(|i| image[(SIDE - 1 - i % SIDE) * SIDE + i / SIDE])
        .collect();
    close(90.0, &turned);
}

#[test]
fn each_channel_is_light_of_its_own_and_moves_with_the_others() {
    let (width, height) = (56, 40);
    let plane = |channel: usize| -> Vec<u8> {
        let value = |at: usize| (at * (channel + 3) % 251) as u8;
        (0..width * height).map(value).collect()
    };
    let planes = [0, 1, 2].map(plane);
    let colour = Frame {
        width,
        height,
        format: PixelFormat::Rgb8,
        pixels: (0..width * height)
            .flat_map(|at| [planes[0][at], planes[1][at], planes[2][at]])
            .collect(),
        ..Frame::default()
    };
    for corruption in Corruption::ALL {
        let random = || Random::new(5, Purpose::Corruption, 3);
        let mut spoilt = colour.clone();
        corrupt(corruption, severity(4), &mut spoilt, &mut random());
        assert_eq!(spoilt.pixels.len(), colour.pixels.len());
        let noise = [Corruption::Noise, Corruption::ShotNoise].contains(&corruption);
        for (channel, plane) in planes.iter().enumerate() {
            let mut alone = Frame {
                format: PixelFormat::Grey8,
                pixels: plane.clone(),
                ..colour.clone()
            };
            corrupt(corruption, severity(4), &mut alone, &mut random());
            let of_colour = spoilt.pixels[channel..].iter().step_by(3);
            // Noise of each channel is drawn for itself, after that of the one before.
            let same = of_colour.eq(alone.pixels.iter());
            assert_eq!(
                same,
                !noise || channel == 0,
                "{corruption}, channel {channel}"
            );
        }
    }
}

#[test]
fn what_is_hidden_grows_with_the_picture() {
    let hidden = |side: usize, corruption| {
        let mut total = 0.0;
        for seed in 0..20 {
            let mut picture = Frame {
                width: side,
                height: side,
                format: PixelFormat::Grey8,
                pixels: vec![0; side * side],
                ..Frame::default()
            };
            let mut random = Random::new(seed, Purpose::Corruption, 0);
            corrupt(corruption, severity(3), &mut picture, &mut random);
            total += count(&picture.pixels, |v| v > 0) as f64 / (side * side) as f64;
        }
        total / 20.0
    };
    for corruption in [
        Corruption::OcclusionBlock,
        Corruption::OcclusionBars,
        Corruption::Glare,
    ] {
        let (small, large) = (hidden(28, corruption), hidden(112, corruption));
        assert!(
            (large / small - 1.0).abs() < 0.05,
            "{corruption}: {small} and {large}"
        );
    }
}
