//! Numbers about an image, and the map from luma to what a model expects.

use postcard_schema::Schema;
use serde::{Deserialize, Serialize};

/// What an image looks like, whatever is in it. Measured at the model's input size, so that
/// thresholds carry over from one camera to another.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, Schema)]
pub struct FrameStatistics {
    /// Mean luma, 0..=1 (exposure).
    pub mean: f32,
    /// Population standard deviation of the luma, 0..=½.
    pub contrast: f32,
    /// Root mean square difference of neighbouring pixels, divided by `contrast`: about 0 for
    /// smooth gradients, √2 for white noise, at most about 2; 0 for a constant image. The square
    /// root of the von Neumann ratio (1941) over rows and columns. Blur, or something close that
    /// covers the lens, lowers it; dimming does not.
    pub sharpness: f32,
    /// Share of pixels at 250/255 or above, 0..=1 (glare).
    pub saturated: f32,
    /// Share of pixels at 5/255 or below, 0..=1.
    pub dark: f32,
}

impl FrameStatistics {
    /// Luma from which a pixel counts as saturated.
    pub const SATURATED: f32 = 250.0 / 255.0;
    /// Luma up to which a pixel counts as dark.
    pub const DARK: f32 = 5.0 / 255.0;

    /// Measures an image of luma values in 0..=1, row-major `[height][width]`.
    ///
    /// # Panics
    /// If `luma.len() != width * height`, or if it is empty.
    #[must_use]
    pub fn measure(luma: &[f32], width: usize, height: usize) -> Self {
        assert!(
            !luma.is_empty() && width.checked_mul(height) == Some(luma.len()),
            "{} values are no {width}×{height} image",
            luma.len()
        );
        let count = luma.len() as f64;
        let share = |of: usize| (of as f64 / count) as f32;
        let mean = luma.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
        let variance = luma
            .iter()
            .map(|&v| (f64::from(v) - mean) * (f64::from(v) - mean))
            .sum::<f64>()
            / count;

        let square = |a: f32, b: f32| {
            let difference = f64::from(b) - f64::from(a);
            difference * difference
        };
        let mut squares = 0.0;
        let mut row_above: Option<&[f32]> = None;
        for row in luma.chunks_exact(width) {
            for pair in row.windows(2) {
                squares += square(pair[0], pair[1]);
            }
            if let Some(above) = row_above {
                for (&a, &b) in above.iter().zip(row) {
                    squares += square(a, b);
                }
            }
            row_above = Some(row);
        }
        let pairs = height * (width - 1) + width * (height - 1);
        let sharpness = if squares > 0.0 && variance > 0.0 {
            libm::sqrt(squares / pairs as f64 / variance)
        } else {
            0.0
        };
        Self {
            mean: mean as f32,
            contrast: libm::sqrt(variance) as f32,
            sharpness: sharpness as f32,
            saturated: share(luma.iter().filter(|&&v| v >= Self::SATURATED).count()),
            dark: share(luma.iter().filter(|&&v| v <= Self::DARK).count()),
        }
    }
}

/// The affine map from luma to what the model was trained on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Normalisation {
    /// Subtracted first.
    pub mean: f32,
    /// Divided by; not 0.
    pub standard_deviation: f32,
}

impl Normalisation {
    /// Leaves values as they are.
    pub const IDENTITY: Self = Self {
        mean: 0.0,
        standard_deviation: 1.0,
    };
    /// The training set of MNIST.
    pub const MNIST: Self = Self {
        mean: 0.1307,
        standard_deviation: 0.3081,
    };

    /// Whether the map is usable: finite, with a positive standard deviation.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.mean.is_finite()
            && self.standard_deviation.is_finite()
            && self.standard_deviation > 0.0
    }

    /// Writes `(luma − mean) / standard_deviation` to `out`, in single precision as torchvision's
    /// `Normalize` does.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn apply(&self, luma: &[f32], out: &mut [f32]) {
        assert_eq!(luma.len(), out.len(), "one output per value");
        for (out, &luma) in out.iter_mut().zip(luma) {
            *out = (luma - self.mean) / self.standard_deviation;
        }
    }
}
