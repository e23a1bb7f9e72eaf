//! Small random deformations of the training images.

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::data::Random;
use crate::lenet::SIDE;

/// Cells of the control grid of the elastic deformation, per side: seven pixels each, about two
/// strokes of a digit.
const CELLS: usize = 4;
/// What libtorch calls bilinear sampling, and repeating the edge beyond it.
const BILINEAR: i64 = 0;
const BORDER: i64 = 1;
/// Control points per side that the cells' cubic splines need.
const POINTS: usize = CELLS + 3;

/// How far an image is deformed at most. Every amount is drawn uniformly and anew for each image
/// of each step; all 0 leaves images alone.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Augmentation {
    /// Rotation about the centre, degrees, in `0..=180`.
    pub rotation: f64,
    /// Enlargement or reduction by a factor of up to `1 + scale`, even on a logarithmic scale, at
    /// least 0.
    pub scale: f64,
    /// Horizontal shear, pixels per pixel, at least 0.
    pub shear: f64,
    /// Shift in x and in y, pixels, at least 0.
    pub shift: f64,
    /// Shift of each control point of a smooth displacement field, in x and in y, pixels, at least
    /// 0.
    pub elastic: f64,
}

impl Augmentation {
    /// Deforms `[batch, 1, 28, 28]` images on `device`, sampled bilinearly; what comes into view
    /// beyond the edge is as the edge is.
    ///
    /// The place that an output pixel is taken from is an affine map of its own place plus a
    /// displacement. The displacement is a uniform cubic B-spline over a grid of control points, a
    /// free-form deformation (Rueckert et al. 1999); as the smoothed noise of Simard, Steinkraus
    /// and Platt (2003), it bends strokes as a hand does.
    pub(super) fn apply(&self, images: &Tensor, random: &mut Random, device: Device) -> Tensor {
        if *self == Self::default() {
            return images.shallow_clone();
        }
        let (batch, side) = (images.size()[0], SIDE as i64);
        // Places run from -1 to 1 across the image.
        let unit = 2.0 / SIDE as f64;
        let mut maps = Vec::with_capacity(6 * batch as usize);
        let mut points = Vec::with_capacity(2 * POINTS * POINTS * batch as usize);
        for _ in 0..batch {
            let mut within = |limit: f64| random.between(-limit, limit);
            let (sin, cos) = within(self.rotation.to_radians()).sin_cos();
            let zoom = within(self.scale.ln_1p()).exp();
            let shear = within(self.shear);
            let (x, y) = (within(self.shift) * unit, within(self.shift) * unit);
            let map = [
                zoom * cos,
                zoom * (shear * cos - sin),
                x,
                zoom * sin,
                zoom * (shear * sin + cos),
                y,
            ];
            maps.extend(map.map(|value| value as f32));
            let points_in_image = (0..2 * POINTS * POINTS).map(|_| within(self.elastic * unit));
            points.extend(points_in_image.map(|value| value as f32));
        }
        let maps = Tensor::from_slice(&maps).view([batch, 2, 3]);
        let mut places = Tensor::affine_grid_generator(&maps, [batch, 1, side, side], false);
        if self.elastic > 0.0 {
            let size = POINTS as i64;
            let points = Tensor::from_slice(&points).view([batch, 2, size, size]);
            let spline = spline();
            let field = spline.matmul(&points).matmul(&spline.tr());
            places += field.permute([0, 2, 3, 1]);
        }
        images.grid_sampler(&places.to_device(device), BILINEAR, BORDER, false)
    }
}

/// The weight of each control point in each pixel along one side, `[28, POINTS]`.
fn spline() -> Tensor {
    let mut weights = vec![0.0f32; SIDE * POINTS];
    for (pixel, row) in weights.chunks_exact_mut(POINTS).enumerate() {
        let place = (pixel as f64 + 0.5) * CELLS as f64 / SIDE as f64;
        let cell = place as usize;
        let t = place - cell as f64;
        let basis = [
            (1.0 - t).powi(3),
            3.0 * t.powi(3) - 6.0 * t.powi(2) + 4.0,
            -3.0 * t.powi(3) + 3.0 * t.powi(2) + 3.0 * t + 1.0,
            t.powi(3),
        ];
        for (weight, value) in row[cell..].iter_mut().zip(basis) {
            *weight = (value / 6.0) as f32;
        }
    }
    Tensor::from_slice(&weights).view([SIDE as i64, POINTS as i64])
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::data::Purpose;

    /// A bright square of 4 × 4 pixels, with its upper left corner at (`x`, `y`), on black.
    fn square(x: i64, y: i64) -> Tensor {
        let image = Tensor::zeros([1, 1, SIDE as i64, SIDE as i64], (Kind::Float, Device::Cpu));
        let _ = image.narrow(2, y, 4).narrow(3, x, 4).fill_(1.0);
        image
    }

    fn deform(augmentation: Augmentation, image: &Tensor, index: u64) -> Tensor {
        let mut random = Random::new(1, Purpose::Augmentation, index);
        augmentation.apply(image, &mut random, Device::Cpu)
    }

    /// Centre of the brightness, pixels, and how much there is.
    fn centre(image: &Tensor) -> (f64, f64, f64) {
        let ramp = Tensor::arange(SIDE as i64, (Kind::Float, Device::Cpu)) + 0.5;
        let mass = image.sum(Kind::Double).double_value(&[]);
        let x = (image * &ramp).sum(Kind::Double).double_value(&[]) / mass;
        let y = (image * ramp.unsqueeze(1))
            .sum(Kind::Double)
            .double_value(&[])
            / mass;
        (x, y, mass)
    }

    #[test]
    fn each_amount_does_what_it_says_and_keeps_within_its_limit() {
        let none = Augmentation::default();
        let image = square(19, 12);
        assert!(deform(none, &image, 0).equal(&image));
        let (mut turned, mut zoomed, mut moved, mut bent) = (0.0f64, 0.0f64, 0.0f64, 0.0f64);
        for index in 0..50 {
            // The square lies 7 pixels to the right of the centre.
            let rotation = Augmentation {
                rotation: 20.0,
                ..none
            };
            let (x, y, mass) = centre(&deform(rotation, &image, index));
            turned = turned.max((y - 14.0).atan2(x - 14.0).abs().to_degrees());
            assert!(((x - 14.0).hypot(y - 14.0) - 7.0).abs() < 0.15 && (mass - 16.0).abs() < 1.0);

            let (x, y, mass) = centre(&deform(
                Augmentation {
                    scale: 0.25,
                    ..none
                },
                &image,
                index,
            ));
            let zoom = ((x - 14.0) / 7.0).ln();
            assert!((y - 14.0).abs() < 1e-3 && ((mass / 16.0).ln() - 2.0 * zoom).abs() < 0.2);
            zoomed = zoomed.max(zoom.abs());

            let (x, y, _) = centre(&deform(Augmentation { shift: 2.0, ..none }, &image, index));
            moved = moved.max((x - 21.0).abs()).max((y - 14.0).abs());

            // What lies above the centre goes one way, what lies below it the other.
            let shear = Augmentation { shear: 0.3, ..none };
            let top = centre(&deform(shear, &square(12, 3), index)).0 - 14.0;
            let bottom = centre(&deform(shear, &square(12, 21), index)).0 - 14.0;
            assert!((top + bottom).abs() < 0.05 && top.abs() < 0.3 * 9.0 + 0.05);

            let (x, y, mass) = centre(&deform(
                Augmentation {
                    elastic: 2.0,
                    ..none
                },
                &image,
                index,
            ));
            assert!((mass / 16.0 - 1.0).abs() < 0.8);
            bent = bent.max((x - 21.0).abs()).max((y - 14.0).abs());
        }
        assert!((15.0..20.5).contains(&turned), "{turned}");
        assert!((0.18..0.26).contains(&zoomed), "{zoomed}");
        assert!((1.5..2.01).contains(&moved), "{moved}");
        assert!((0.7..2.5).contains(&bent), "{bent}");
    }

    #[test]
    fn splines_share_out_a_shift_of_all_points_evenly() {
        let sums = spline().sum_dim_intlist(1, false, Kind::Float);
        assert!((sums - 1.0).abs().max().double_value(&[]) < 1e-6);
    }

    #[test]
    fn deformations_repeat_and_differ_from_image_to_image() {
        let all = Augmentation {
            rotation: 10.0,
            scale: 0.1,
            shear: 0.1,
            shift: 1.0,
            elastic: 1.0,
        };
        let two = Tensor::cat(&[square(10, 10), square(10, 10)], 0);
        let deformed = deform(all, &two, 3);
        assert!(deformed.equal(&deform(all, &two, 3)));
        assert!(!deformed.equal(&deform(all, &two, 4)));
        assert!(!deformed.get(0).equal(&deformed.get(1)));
    }
}
