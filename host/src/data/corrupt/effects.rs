//! The formulas of the table in [`super`], on linear light.

use std::f64::consts::{PI, TAU};

use rand_distr::{Distribution, Poisson, StandardNormal};

use super::{Corruption, Severity};
use crate::data::Random;

/// Luma is light to the power of 1/γ.
const GAMMA: f64 = 2.2;
/// What black paper reflects, of what white paper does.
const BLACK: f64 = 0.03;

/// Light of a luma value, 0..=1.
pub(super) fn linear(luma: u8) -> f64 {
    (f64::from(luma) / 255.0).powf(GAMMA)
}

/// The luma value of light, clipped to 0..=1.
pub(super) fn luma(light: f64) -> u8 {
    (light.clamp(0.0, 1.0).powf(1.0 / GAMMA) * 255.0).round() as u8
}

/// Linear light of a picture, plane by plane, `[channel][height][width]`.
pub(super) struct Light {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) planes: Vec<Vec<f64>>,
}

/// The side, in pixels, that lengths are given for.
const REFERENCE_SIDE: f64 = 28.0;

/// Spoils `picture`. May leave 0..=1.
pub(super) fn apply(
    corruption: Corruption,
    severity: Severity,
    picture: &mut Light,
    random: &mut Random,
) {
    let side = picture.width.min(picture.height) as f64;
    // Lengths grow with the picture.
    let scale = side / REFERENCE_SIDE;
    match corruption {
        Corruption::OcclusionBlock => {
            let side = severity.of([8.0, 11.0, 14.0, 17.0, 20.0]) * scale;
            let root_aspect = random.between(1.0 / 1.5, 1.5).sqrt();
            let off = 3.0 * scale;
            let (x, y) = (random.between(-off, off), random.between(-off, off));
            let shade = shade(random);
            picture.at_each(|pixel, light| {
                let inside = (pixel.x - x).abs() < 0.5 * side * root_aspect
                    && (pixel.y - y).abs() < 0.5 * side / root_aspect;
                if inside { shade } else { light }
            });
        }
        Corruption::OcclusionBars => {
            let width = severity.of([2.0, 3.0, 4.0, 5.0, 6.0]) * scale;
            let (sine, cosine) = random.between(0.0, PI).sin_cos();
            let period = side / 3.0;
            let phase = random.between(0.0, period);
            let shade = shade(random);
            picture.at_each(|pixel, light| {
                let across = (cosine * pixel.x + sine * pixel.y + phase).rem_euclid(period);
                if across < width { shade } else { light }
            });
        }
        Corruption::Glare => {
            let radius = severity.of([4.0, 6.0, 8.0, 10.0, 12.0]) * scale;
            let off = 6.0 * scale;
            let (x, y) = (random.between(-off, off), random.between(-off, off));
            picture.at_each(|pixel, light| {
                let distance = (pixel.x - x).hypot(pixel.y - y);
                light + (1.0 - (distance - radius) / (0.5 * radius)).clamp(0.0, 1.0)
            });
        }
        Corruption::Shading => {
            let lightest = severity.of([1.0, 2.0, 3.0, 4.0, 5.0]);
            let darkest = severity.of([3.0, 5.0, 7.0, 9.0, 11.0]);
            let (sine, cosine) = random.between(0.0, TAU).sin_cos();
            // The most that a pixel can lie to one side, in this direction.
            let (wide, high) = (picture.width as f64 / side, picture.height as f64 / side);
            let reach = side / 2.0 * (high * sine.abs() + wide * cosine.abs());
            picture.at_each(|pixel, light| {
                let across = 0.5 + 0.5 * (cosine * pixel.x + sine * pixel.y) / reach;
                light * (-(lightest + (darkest - lightest) * across)).exp2()
            });
        }
        Corruption::Underexposure => {
            let gain = (-severity.of([1.0, 2.0, 4.0, 6.0, 8.0])).exp2();
            picture.at_each(|_, light| gain * light);
        }
        Corruption::Overexposure => {
            let gain = severity.of([1.5, 2.5, 4.0, 4.75, 5.5]).exp2();
            picture.at_each(|_, light| gain * (light + BLACK * (1.0 - light)));
        }
        Corruption::LowContrast => {
            let transmission = severity.of([0.75, 0.5, 0.3, 0.2, 0.1]);
            let airlight = random.between(0.12, 0.3);
            picture.at_each(|_, light| transmission * light + (1.0 - transmission) * airlight);
        }
        Corruption::Blur => picture.blur(severity.of([0.7, 1.0, 1.5, 2.0, 2.5]) * scale),
        Corruption::Noise => {
            let deviation = severity.of([0.08, 0.12, 0.18, 0.26, 0.38]);
            picture.at_each(|_, light| {
                let noise: f64 = StandardNormal.sample(random);
                let luma = light.powf(1.0 / GAMMA) + deviation * noise;
                luma.max(0.0).powf(GAMMA)
            });
        }
        Corruption::ShotNoise => {
            let photons = severity.of([60.0, 25.0, 12.0, 5.0, 3.0]);
            picture.at_each(|_, light| {
                // Not a distribution if no photon is expected: then none comes.
                let count = Poisson::new(photons * light);
                count.map_or(0.0, |count| count.sample(random)) / photons
            });
        }
        Corruption::Rotation => {
            let degrees = severity.of([10.0, 20.0, 30.0, 45.0, 60.0]);
            let turn = if random.below(2) == 0 { 1.0 } else { -1.0 };
            picture.rotate(turn * degrees);
        }
        Corruption::Translation => {
            let distance = severity.of([2.0, 4.0, 6.0, 8.0, 10.0]) * scale;
            let (sine, cosine) = random.between(0.0, TAU).sin_cos();
            picture.resample(|pixel| Point {
                x: pixel.x - distance * cosine,
                y: pixel.y - distance * sine,
            });
        }
    }
}

/// The light of an opaque thing's even grey.
fn shade(random: &mut Random) -> f64 {
    linear(60 + random.below(141) as u8)
}

/// Where a pixel's centre is, from the middle of the image, in pixels.
#[derive(Clone, Copy)]
struct Point {
    x: f64,
    y: f64,
}

impl Light {
    /// From the number of a column, and of a row, to the distance from the middle.
    fn offset(&self) -> Point {
        Point {
            x: 0.5 * (self.width as f64 - 1.0),
            y: 0.5 * (self.height as f64 - 1.0),
        }
    }

    /// Replaces each pixel's light, in each plane, by `value` of its place and light.
    fn at_each(&mut self, mut value: impl FnMut(Point, f64) -> f64) {
        let (width, offset) = (self.width, self.offset());
        for plane in &mut self.planes {
            at_each(plane, width, offset, &mut value);
        }
    }

    /// Takes each pixel's light from the place that `source` names, bilinearly; outside it is black.
    fn resample(&mut self, source: impl Fn(Point) -> Point) {
        let (width, height, offset) = (self.width, self.height, self.offset());
        for plane in &mut self.planes {
            let before = plane.clone();
            let at = |row: f64, column: f64| {
                let inside = (0.0..height as f64).contains(&row);
                if inside && (0.0..width as f64).contains(&column) {
                    before[row as usize * width + column as usize]
                } else {
                    0.0
                }
            };
            at_each(plane, width, offset, &mut |pixel, _| {
                let from = source(pixel);
                let (column, row) = (from.x + offset.x, from.y + offset.y);
                let (left, top) = (column.floor(), row.floor());
                let (right_share, lower_share) = (column - left, row - top);
                let along =
                    |row| (1.0 - right_share) * at(row, left) + right_share * at(row, left + 1.0);
                (1.0 - lower_share) * along(top) + lower_share * along(top + 1.0)
            });
        }
    }

    /// Turns clockwise around the middle.
    pub(super) fn rotate(&mut self, degrees: f64) {
        let (sine, cosine) = degrees.to_radians().sin_cos();
        self.resample(|pixel| Point {
            x: cosine * pixel.x + sine * pixel.y,
            y: cosine * pixel.y - sine * pixel.x,
        });
    }

    /// Convolves with a Gaussian of `deviation` pixels, cut at 4 of them: rows, then columns.
    fn blur(&mut self, deviation: f64) {
        let radius = (4.0 * deviation).ceil() as isize;
        let mut kernel: Vec<f64> = (-radius..=radius)
            .map(|offset| (-0.5 * (offset as f64 / deviation).powi(2)).exp())
            .collect();
        let sum: f64 = kernel.iter().sum();
        for weight in &mut kernel {
            *weight /= sum;
        }
        let (width, height) = (self.width, self.height);
        let convolve = |before: &[f64], start: usize, step: usize, place: usize, length: usize| {
            let weighted = kernel.iter().zip(-radius..=radius);
            weighted
                .map(|(weight, offset)| {
                    let place = place.saturating_add_signed(offset).min(length - 1);
                    weight * before[start + place * step]
                })
                .sum()
        };
        for plane in &mut self.planes {
            let before = plane.clone();
            for (index, light) in plane.iter_mut().enumerate() {
                let (row, column) = (index / width, index % width);
                *light = convolve(&before, row * width, 1, column, width);
            }
            let before = plane.clone();
            for (index, light) in plane.iter_mut().enumerate() {
                let (row, column) = (index / width, index % width);
                *light = convolve(&before, column, width, row, height);
            }
        }
    }
}

fn at_each(
    plane: &mut [f64],
    width: usize,
    offset: Point,
    value: &mut impl FnMut(Point, f64) -> f64,
) {
    for (index, light) in plane.iter_mut().enumerate() {
        let pixel = Point {
            x: (index % width) as f64 - offset.x,
            y: (index / width) as f64 - offset.y,
        };
        *light = value(pixel, *light);
    }
}
