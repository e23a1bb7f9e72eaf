//! What the engine runs: a network cut into operations, with their weights in the order in which
//! they are read. A [`Plan`] owns one, a [`Program`] is a view of one, wherever it lies.
//!
//! Activations lie in memory as `[row][column][channel]`, so that a row of a kernel's inputs is one
//! run of memory; those of the head as `[row][column][channel][lane]`, a pass per lane. Dropout
//! numbers its elements by `[channel][row][column]` all the same.

#[cfg(feature = "alloc")]
use alloc::vec::Vec;

use shared::mask::KeepProbability;

use super::simd::Level;
use crate::engine::InputShape;

/// Rows, columns and channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels.
    pub channels: usize,
}

impl Shape {
    /// Number of values.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// From one shape to another by a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// What is read.
    pub input: Shape,
    /// What is written.
    pub output: Shape,
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Rows and columns from one output to the next.
    pub stride: [usize; 2],
    /// Rows of padding above, and columns to the left.
    pub padding: [usize; 2],
}

impl Geometry {
    /// Rows of the kernel that lie within the image for output row `row`: the first, and one past
    /// the last.
    #[inline]
    pub(in crate::engine) fn rows(&self, row: usize) -> (usize, usize) {
        Self::clip(
            row * self.stride[0],
            self.padding[0],
            self.kernel[0],
            self.input.height,
        )
    }

    /// As [`Geometry::rows`], for columns.
    #[inline]
    pub(in crate::engine) fn columns(&self, column: usize) -> (usize, usize) {
        Self::clip(
            column * self.stride[1],
            self.padding[1],
            self.kernel[1],
            self.input.width,
        )
    }

    #[inline]
    fn clip(start: usize, padding: usize, kernel: usize, size: usize) -> (usize, usize) {
        let first = padding.saturating_sub(start).min(kernel);
        (
            first,
            (size + padding)
                .saturating_sub(start)
                .min(kernel)
                .max(first),
        )
    }
}

/// A dropout as part of an operation; the multiplication by 1/q lies in the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drop {
    /// Index in [`Program::sites`].
    pub site: usize,
    /// Whether it drops whole channels.
    pub per_channel: bool,
}

/// Convolution, or a linear layer: a convolution whose kernel covers all of its input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conv {
    /// The convolution itself.
    pub geometry: Geometry,
    /// Offset of the weights, `[kernel row][kernel column][input channel][output channel]`, and
    /// behind them the biases.
    pub weights: usize,
    /// Negative outputs become 0.
    pub relu: bool,
    /// Dropout of the outputs.
    pub before: Option<Drop>,
    /// Largest of non-overlapping windows of the outputs.
    pub pool: Option<Geometry>,
    /// Dropout behind the pooling.
    pub after: Option<Drop>,
}

impl Conv {
    /// Shape of what is written at last.
    #[must_use]
    pub fn output(&self) -> Shape {
        self.pool.map_or(self.geometry.output, |pool| pool.output)
    }

    /// Row and column of the outputs that are needed, in the order in which they are computed: those
    /// of a pooling's window one after the other.
    pub(super) fn pixels(&self) -> impl Iterator<Item = [usize; 2]> + use<> {
        let written = self.output();
        let ([rows, columns], [row_step, column_step]) = match self.pool {
            Some(pool) => (pool.kernel, pool.stride),
            None => ([1, 1], [1, 1]),
        };
        (0..written.height * written.width).flat_map(move |window| {
            let (row, column) = (window / written.width, window % written.width);
            let first = [row * row_step, column * column_step];
            (0..rows * columns).map(move |i| [first[0] + i / columns, first[1] + i % columns])
        })
    }

    /// Number of weights, without biases.
    #[must_use]
    pub fn taps(&self) -> usize {
        let [rows, columns] = self.geometry.kernel;
        rows * columns * self.geometry.input.channels * self.geometry.output.channels
    }
}

/// Where the head begins: dropout of the stem's output, and the pooling behind it.
///
/// The values of a window are sorted once a frame. In a pass the result is the largest that is
/// kept, or 0: with ReLU, or with values that are never negative, nothing else can be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pick {
    /// Windows over the stem's output; single values if nothing is pooled.
    pub windows: Geometry,
    /// The dropout.
    pub drop: Drop,
    /// What kept values are multiplied by.
    pub scale: f32,
    /// Whether values that are not positive count as 0. Always so if windows are of several.
    pub relu: bool,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Op {
    /// Weighted sums, and what follows them.
    Conv(Conv),
    /// Largest of each window.
    MaxPool(Geometry),
    /// Mean of each window.
    AvgPool {
        /// The windows.
        geometry: Geometry,
        /// Whether padding counts as zeros.
        count_padding: bool,
    },
    /// Negative values become 0.
    Relu(Shape),
    /// `scale · x + shift` per channel.
    Affine {
        /// Of input and output.
        shape: Shape,
        /// Offset of the scales, and behind them the shifts.
        weights: usize,
    },
    /// Dropout that nothing else took in.
    Dropout {
        /// Of input and output.
        shape: Shape,
        /// The dropout.
        drop: Drop,
        /// What kept values are multiplied by.
        scale: f32,
    },
}

impl Op {
    /// Shape of what is read.
    #[must_use]
    pub fn input(&self) -> Shape {
        match self {
            Self::Conv(conv) => conv.geometry.input,
            Self::MaxPool(geometry) | Self::AvgPool { geometry, .. } => geometry.input,
            Self::Relu(shape) | Self::Affine { shape, .. } | Self::Dropout { shape, .. } => *shape,
        }
    }

    /// Shape of what is written.
    #[must_use]
    pub fn output(&self) -> Shape {
        match self {
            Self::Conv(conv) => conv.output(),
            Self::MaxPool(geometry) | Self::AvgPool { geometry, .. } => geometry.output,
            Self::Relu(shape) | Self::Affine { shape, .. } | Self::Dropout { shape, .. } => *shape,
        }
    }
}

/// A dropout site as its masks are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// Number in [`shared::mask`].
    pub number: u32,
    /// Probability to keep.
    pub keep: KeepProbability,
    /// Elements of one pass's mask.
    pub elements: usize,
    /// Offset of its mask words in the head's scratch memory.
    pub(super) words: usize,
}

/// A plan, read where it lies: in memory, or in a microcontroller's flash.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Program<'a> {
    /// Shape of one input.
    pub input: InputShape,
    /// Number of classes.
    pub classes: usize,
    /// Runs once a frame.
    pub stem: &'a [Op],
    /// Where the head begins.
    pub pick: &'a Pick,
    /// Runs for every pass.
    pub head: &'a [Op],
    /// The sites, in the order of the head.
    pub sites: &'a [Site],
    /// What the operations read.
    pub weights: &'a [f32],
}

/// How much working memory a [`Program`] needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScratchLengths {
    /// `f32` values of what is computed once a frame.
    pub frame_values: usize,
    /// `u32` words of what is computed once a frame.
    pub frame_words: usize,
    /// `f32` values of the passes computed together.
    pub head_values: usize,
    /// `u32` words of the passes computed together.
    pub head_words: usize,
}

impl Program<'_> {
    /// The working memory that `level` needs.
    #[must_use]
    pub fn scratch(&self, level: Level) -> ScratchLengths {
        let layout = super::layout::Layout::new(self, level);
        let lanes = level.lanes();
        ScratchLengths {
            frame_values: layout.frame_values,
            frame_words: layout.frame_words,
            // Room to begin where a cache line does.
            head_values: layout.head_values * lanes + if lanes > 1 { lanes } else { 0 },
            head_words: layout.head_words,
        }
    }
}

/// A plan in memory of its own.
#[cfg(feature = "alloc")]
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub(super) input: InputShape,
    pub(super) classes: usize,
    pub(super) stem: Vec<Op>,
    pub(super) pick: Pick,
    pub(super) head: Vec<Op>,
    pub(super) sites: Vec<Site>,
    pub(super) weights: Vec<f32>,
}

#[cfg(feature = "alloc")]
impl Plan {
    /// The plan as the engine reads it.
    #[must_use]
    pub fn program(&self) -> Program<'_> {
        Program {
            input: self.input,
            classes: self.classes,
            stem: &self.stem,
            pick: &self.pick,
            head: &self.head,
            sites: &self.sites,
            weights: &self.weights,
        }
    }
}
