//! A network as a sequence of layers, before it is planned.

use alloc::string::String;
use alloc::vec::Vec;

use shared::mask::KeepProbability;

use crate::engine::InputShape;

/// How a kernel moves over an image: sizes in rows, then columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Rows and columns that are looked at together, at least 1.
    pub kernel: [usize; 2],
    /// Steps from one output to the next, at least 1.
    pub stride: [usize; 2],
    /// Rows and columns of padding: top, left, bottom, right.
    pub padding: [usize; 4],
}

impl Window {
    /// A square window that does not overlap with its neighbours, without padding.
    #[must_use]
    pub const fn square(side: usize) -> Self {
        Self {
            kernel: [side, side],
            stride: [side, side],
            padding: [0; 4],
        }
    }

    /// Rows and columns of the output for an input of `size`; `None` if the kernel does not fit.
    #[must_use]
    pub fn output(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        let [top, left, bottom, right] = self.padding;
        let along = |axis: usize, padding: usize| {
            let room = (size[axis] + padding).checked_sub(self.kernel[axis])?;
            (self.kernel[axis] > 0 && self.stride[axis] > 0).then(|| room / self.stride[axis] + 1)
        };
        Some([along(0, top + bottom)?, along(1, left + right)?])
    }
}

/// One step of a network. Images are `[channels][rows][columns]`.
#[derive(Debug, Clone, PartialEq)]
pub enum Layer {
    /// Convolution, one group, no dilation.
    Conv {
        /// The window; padding is with zeros.
        window: Window,
        /// `[output channel][input channel][kernel row][kernel column]`.
        weights: Vec<f32>,
        /// `[output channel]`.
        bias: Vec<f32>,
    },
    /// Every output from every input of a flat vector.
    Linear {
        /// `[output][input]`.
        weights: Vec<f32>,
        /// `[output]`.
        bias: Vec<f32>,
    },
    /// Largest value in a window; padding never is the largest.
    MaxPool(Window),
    /// Mean of a window.
    AvgPool {
        /// The window.
        window: Window,
        /// Whether padding counts as zeros; it is left out of the mean otherwise.
        count_padding: bool,
    },
    /// Mean of each channel.
    GlobalAvgPool,
    /// Negative values become 0.
    Relu,
    /// BatchNorm at inference: `scale · x + shift`, per channel.
    BatchNorm {
        /// `[channel]`.
        scale: Vec<f32>,
        /// `[channel]`.
        shift: Vec<f32>,
    },
    /// Image to flat vector, `[channel][row][column]` order.
    Flatten,
    /// Live dropout.
    Dropout {
        /// Number of the site in [`shared::mask`].
        site: u32,
        /// Probability to keep.
        keep: KeepProbability,
        /// What kept values are multiplied by.
        scale: f32,
        /// Whether whole channels are kept or dropped (Dropout2d).
        per_channel: bool,
    },
}

impl Layer {
    /// What errors call it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Conv { .. } => "Conv",
            Self::Linear { .. } => "Linear",
            Self::MaxPool(_) => "MaxPool",
            Self::AvgPool { .. } => "AveragePool",
            Self::GlobalAvgPool => "GlobalAveragePool",
            Self::Relu => "Relu",
            Self::BatchNorm { .. } => "BatchNormalization",
            Self::Flatten => "Flatten",
            Self::Dropout { .. } => "Dropout",
        }
    }
}

/// A sequential network.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Shape of one input.
    pub input: InputShape,
    /// The layers, each with the name that errors call it by.
    pub layers: Vec<(String, Layer)>,
}
