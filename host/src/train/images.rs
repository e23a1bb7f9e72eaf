//! Images on the device, moved there once.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use device::engine::InputShape;
use device::preprocessing::Preparer;
use shared::image::{Normalisation, Preprocessing};
use tch::{Device, Kind, Tensor};

use crate::data::Dataset;
use crate::lenet::SIDE;
use crate::parallel::in_blocks;

/// Pictures that a thread prepares at a time.
const BLOCK: usize = 64;

/// A data set on the device, as 8-bit luma: a quarter of the memory of normalised images.
#[derive(Debug)]
pub(super) struct Images {
    pixels: Tensor,
    labels: Tensor,
    normalisation: Normalisation,
}

/// The pictures of a data set as 8-bit luma of the network's size, `[picture][28][28]`: as the device
/// prepares them, but for the rounding.
///
/// # Errors
/// A picture cannot be read.
pub(super) fn luma(data: &Dataset) -> anyhow::Result<Vec<u8>> {
    let wanted = Preprocessing::grey(Normalisation::IDENTITY);
    let shape = InputShape {
        channels: 1,
        height: SIDE,
        width: SIDE,
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let starts = (0..threads.min(data.len().div_ceil(BLOCK)).max(1)).map(|_| {
        let mut preparer = Preparer::new(wanted, shape);
        move || {
            Ok(move |block: Range<usize>| {
                let mut one = |index| -> anyhow::Result<Vec<u8>> {
                    let picture = data.frame(index, wanted.pixel_format())?;
                    let luma = preparer.prepare(&picture.view()?)?.iter();
                    Ok(luma.map(|value| (value * 255.0).round() as u8).collect())
                };
                block.map(&mut one).collect()
            })
        }
    });
    let go = AtomicBool::new(false);
    let found = in_blocks(data.len(), BLOCK, starts, &go, &|_| ())?;
    Ok(found.unwrap_or_default().concat())
}

/// Mean and standard deviation over all pixels of pictures of 8-bit luma, which is 0..=1 in them.
pub(super) fn normalisation(luma: &[u8]) -> Normalisation {
    let mut histogram = [0u64; 256];
    for &pixel in luma {
        histogram[usize::from(pixel)] += 1;
    }
    let count = luma.len().max(1) as f64;
    let moment = |f: &dyn Fn(f64) -> f64| -> f64 {
        histogram
            .iter()
            .enumerate()
            .map(|(value, &n)| f(value as f64 / 255.0) * n as f64)
            .sum::<f64>()
            / count
    };
    let mean = moment(&|value| value);
    let variance = moment(&|value| (value - mean) * (value - mean));
    // A data set of one flat colour has nothing to scale.
    let deviation = if variance > 0.0 { variance.sqrt() } else { 1.0 };
    Normalisation {
        mean: mean as f32,
        standard_deviation: deviation as f32,
    }
}

impl Images {
    /// Pictures as of [`luma`], with a label each.
    pub(super) fn new(
        luma: &[u8],
        labels: &[u16],
        normalisation: Normalisation,
        device: Device,
    ) -> Self {
        let side = SIDE as i64;
        let labels: Vec<i64> = labels.iter().map(|&label| i64::from(label)).collect();
        Self {
            pixels: Tensor::from_slice(luma)
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
