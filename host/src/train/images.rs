//! Images on the device, moved there once.

use shared::image::Normalisation;
use tch::{Device, Kind, Tensor};

use crate::data::{Dataset, SIDE};

/// A data set on the device, as 8-bit luma: a quarter of the memory of normalised images.
#[derive(Debug)]
pub(super) struct Images {
    pixels: Tensor,
    labels: Tensor,
    normalisation: Normalisation,
}

impl Images {
    pub(super) fn new(dataset: &Dataset, normalisation: Normalisation, device: Device) -> Self {
        let side = SIDE as i64;
        let labels: Vec<i64> = dataset
            .labels
            .iter()
            .map(|&label| i64::from(label))
            .collect();
        Self {
            pixels: Tensor::from_slice(&dataset.pixels)
                .view([-1, 1, side, side])
                .to_device(device),
            labels: Tensor::from_slice(&labels).to_device(device),
            normalisation,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.pixels.size()[0] as usize
    }

    /// The images and labels at `indices` (`[batch]`, on the device): `[batch, 1, 28, 28]`,
    /// normalised, and `[batch]`.
    pub(super) fn select(&self, indices: &Tensor) -> (Tensor, Tensor) {
        (
            self.normalise(&self.pixels.index_select(0, indices)),
            self.labels.index_select(0, indices),
        )
    }

    /// `count` images from `start`, normalised.
    pub(super) fn range(&self, start: usize, count: usize) -> Tensor {
        self.normalise(&self.pixels.narrow(0, start as i64, count as i64))
    }

    /// As `shared::image` does it, operation by operation, in `f32`.
    fn normalise(&self, pixels: &Tensor) -> Tensor {
        let mut values = pixels.to_kind(Kind::Float);
        values /= 255.0;
        values -= f64::from(self.normalisation.mean);
        values /= f64::from(self.normalisation.standard_deviation);
        values
    }
}
