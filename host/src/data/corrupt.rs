//! What happens to pictures in the field: something in front of the lens, glare, too little light.

use super::{Random, SIDE};

/// A way for a camera picture to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Corruption {
    /// An opaque flat patch hides more than half of the picture's centre.
    Occluded,
    /// A light source saturates a blob with a soft edge.
    Glare,
    /// Under-exposure: one tenth of the light or less.
    Dark,
}

/// Applies `corruption` to an image of [`SIDE`] × [`SIDE`] luma pixels, its place and strength
/// drawn from `random`.
///
/// # Panics
/// `pixels` does not hold [`SIDE`] × [`SIDE`] values.
pub fn corrupt(corruption: Corruption, pixels: &mut [u8], random: &mut Random) {
    assert_eq!(pixels.len(), SIDE * SIDE, "one image");
    let side = SIDE as f64;
    let draw = |pixels: &mut [u8], value: &dyn Fn(f64, f64, f64) -> f64| {
        for (index, pixel) in pixels.iter_mut().enumerate() {
            let (x, y) = ((index % SIDE) as f64 + 0.5, (index / SIDE) as f64 + 0.5);
            *pixel = value(x, y, f64::from(*pixel)).round().clamp(0.0, 255.0) as u8;
        }
    };
    match corruption {
        Corruption::Occluded => {
            let (half_width, half_height) = (random.between(7.0, 10.0), random.between(7.0, 10.0));
            let (centre_x, centre_y) = (
                side / 2.0 + random.between(-3.0, 3.0),
                side / 2.0 + random.between(-3.0, 3.0),
            );
            let shade = random.between(60.0, 200.0);
            draw(pixels, &|x, y, value| {
                let inside =
                    (x - centre_x).abs() < half_width && (y - centre_y).abs() < half_height;
                if inside { shade } else { value }
            });
        }
        Corruption::Glare => {
            let radius = random.between(5.0, 9.0);
            let (centre_x, centre_y) = (random.between(8.0, 20.0), random.between(8.0, 20.0));
            draw(pixels, &|x, y, value| {
                let distance = ((x - centre_x).powi(2) + (y - centre_y).powi(2)).sqrt();
                // Full light inside the radius, fading over half of it.
                let light = (1.0 - (distance - radius) / (0.5 * radius)).clamp(0.0, 1.0);
                value + 255.0 * light
            });
        }
        Corruption::Dark => {
            let exposure = random.between(0.02, 0.10);
            draw(pixels, &|_, _, value| value * exposure);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Purpose;

    #[test]
    fn each_does_what_it_says_and_repeats() {
        let clean: Vec<u8> = (0..SIDE * SIDE)
            .map(|i| if (i / 5) % 3 == 0 { 220 } else { 0 })
            .collect();
        let apply = |corruption, seed| {
            let mut pixels = clean.clone();
            corrupt(
                corruption,
                &mut pixels,
                &mut Random::new(seed, Purpose::Corruption, 0),
            );
            pixels
        };
        for seed in 0..50 {
            let dark = apply(Corruption::Dark, seed);
            assert!(dark.iter().all(|&pixel| pixel <= 22), "seed {seed}");
            let glare = apply(Corruption::Glare, seed);
            let saturated: usize = glare.iter().map(|&pixel| usize::from(pixel == 255)).sum();
            // A disc of radius 5 whose centre is at least 8 pixels from every border.
            assert!(saturated >= 70, "seed {seed}: {saturated}");
            let occluded = apply(Corruption::Occluded, seed);
            let hidden = occluded
                .iter()
                .zip(&clean)
                .filter(|(now, then)| now != then)
                .count();
            assert!(hidden >= 13 * 13, "seed {seed}: {hidden}");
            for corruption in [Corruption::Occluded, Corruption::Glare, Corruption::Dark] {
                assert_eq!(apply(corruption, seed), apply(corruption, seed));
            }
        }
    }
}
