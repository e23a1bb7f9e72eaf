//! The head's begin: of each window of the stem's output the largest value that is kept.

use super::dsp;
use super::layout::Words;
use super::masks::Masks;
use super::number::Number;
use crate::engine::native::{Geometry, Pick};

/// The stem's output and its masks in one pass.
#[doc(hidden)]
#[derive(Debug)]
pub struct View<'a, V> {
    windows: Geometry,
    values: &'a [V],
    masks: &'a [u8],
    /// A bit for each channel of each window: whether it can be other than 0.
    live: &'a [u32],
    /// The pass, of those in a mask's byte.
    bit: u32,
    /// How far masks and values are from one column to the next, and from one row to the next.
    right: [usize; 2],
    down: [usize; 2],
    relu: bool,
}

/// The head's first input: of each live window the largest value that is kept, or 0. Of windows that
/// are not live nothing is written.
#[inline(never)]
pub(super) fn choose<N: Number>(
    pick: &Pick,
    stem: &[N::Value],
    live: &[u32],
    masks: &Masks<'_>,
    output: &mut [N::Value],
) {
    let (width, channels) = (pick.windows.input.width, pick.windows.input.channels);
    let stride = Words::channels(N::FORMAT, channels);
    let site = masks.site(pick.drop, channels);
    let view = View {
        windows: pick.windows,
        values: stem,
        masks: &masks.bytes[site.first..],
        live,
        bit: masks.bit,
        right: [site.next, stride],
        down: [width * site.next, width * stride],
        relu: pick.relu,
    };
    match view.side() {
        // The usual one has code of its own, which takes room in flash.
        2 => N::choose::<2>(&view, output),
        _ => N::choose::<0>(&view, output),
    }
}

/// A window: how far its first mask and value are from the image's first, and its rows and columns.
#[derive(Debug, Clone, Copy)]
struct Window {
    first: [usize; 2],
    size: [usize; 2],
}

impl<V: Copy + PartialOrd> View<'_, V> {
    /// Channels of a window.
    pub(super) fn channels(&self) -> usize {
        self.windows.output.channels
    }

    /// Rows and columns of every window, or 0 if these are not the same.
    fn side(&self) -> usize {
        let Geometry {
            input,
            output,
            kernel: [rows, columns],
            stride,
            padding,
        } = self.windows;
        let whole = padding == [0, 0]
            && (output.height - 1) * stride[0] + rows <= input.height
            && (output.width - 1) * stride[1] + columns <= input.width;
        if whole && rows == columns { rows } else { 0 }
    }

    /// Calls `each` with every window, by its pixel in the output. All have so many rows and columns, if
    /// that is not 0.
    #[inline(always)]
    fn windows<const SIDE: usize>(&self, mut each: impl FnMut(usize, Window)) {
        let Geometry { output, stride, .. } = self.windows;
        let mut pixel = 0;
        for row in 0..output.height {
            let (y, rows) = if SIDE == 0 {
                let (first, last) = self.windows.rows(row);
                (
                    row * stride[0] + first - self.windows.padding[0],
                    last - first,
                )
            } else {
                (row * stride[0], SIDE)
            };
            let first = [y * self.down[0], y * self.down[1]];
            for column in 0..output.width {
                let (x, columns) = if SIDE == 0 {
                    let (first, last) = self.windows.columns(column);
                    (
                        column * stride[1] + first - self.windows.padding[1],
                        last - first,
                    )
                } else {
                    (column * stride[1], SIDE)
                };
                let window = Window {
                    first: [first[0] + x * self.right[0], first[1] + x * self.right[1]],
                    size: [rows, columns],
                };
                each(pixel, window);
                pixel += 1;
            }
        }
    }

    /// Chooses channel by channel.
    #[inline(never)]
    #[allow(unsafe_code)]
    pub(super) fn one_by_one<const SIDE: usize>(&self, zero: V, output: &mut [V]) {
        let words = self.channels().div_ceil(32);
        self.windows::<SIDE>(|pixel, window| {
            let output = &mut output[pixel * self.right[1]..][..self.right[1]];
            // Without ReLU a window is a single value, which may be negative.
            let signed = window.size == [1, 1] && !self.relu;
            let [rows, columns] = if SIDE == 0 { window.size } else { [SIDE; 2] };
            for word in 0..words {
                let mut bits = self.live[pixel * words + word];
                while bits != 0 {
                    let channel = 32 * word + bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    let mut largest = zero;
                    for row in 0..rows {
                        for column in 0..columns {
                            let [mask, value] = [0, 1].map(|i| {
                                let place = row * self.down[i] + column * self.right[i];
                                window.first[i] + channel + place
                            });
                            debug_assert!(mask < self.masks.len() && value < self.values.len());
                            // SAFETY: the window lies within the image, as `PlanFile::parse` has
                            // checked; the stem's output and the masks of its site are as large as
                            // the image.
                            let (mask, value) = unsafe {
                                (
                                    *self.masks.get_unchecked(mask),
                                    *self.values.get_unchecked(value),
                                )
                            };
                            if mask >> self.bit & 1 == 1 && (value > largest || signed) {
                                largest = value;
                            }
                        }
                    }
                    output[channel] = largest;
                }
            }
        });
    }
}

impl View<'_, u8> {
    /// Chooses four channels at a time, of which there must be as many.
    #[inline(never)]
    #[allow(unsafe_code)]
    pub(super) fn four_by_four<const SIDE: usize>(&self, output: &mut [u8]) {
        let channels = self.channels();
        let words = channels.div_ceil(32);
        let Geometry { output: shape, .. } = self.windows;
        let pixels = shape.height * shape.width;
        assert!(channels >= 4 && self.live.len() >= pixels * words);
        assert!(output.len() >= (pixels - 1) * self.right[1] + channels);
        for first in (0..channels).step_by(4) {
            // The last four may lie over those before them.
            let first = first.min(channels - 4);
            let (masks, values) = (&self.masks[first..], &self.values[first..]);
            let (live, output) = (&self.live[first / 32..], &mut output[first..]);
            self.windows::<SIDE>(|pixel, window| {
                // SAFETY: every pixel has so many words.
                let bits = unsafe { live.get_unchecked(pixel * words) } >> (first % 32);
                // Where four channels have their bits in two words, they are taken for live.
                if bits.trailing_zeros() >= 4 && first % 32 <= 28 {
                    return;
                }
                let [mask, value] = window.first;
                // SAFETY: as in `one_by_one`; there are four channels from `first` on, in every pixel of
                // the output, too.
                unsafe {
                    let largest = self.four::<SIDE>(
                        window.size,
                        masks.as_ptr().add(mask),
                        values.as_ptr().add(value),
                    );
                    let output = output.as_mut_ptr().add(pixel * self.right[1]);
                    output.cast::<u32>().write_unaligned(largest);
                }
            });
        }
    }

    /// The largest kept values of four channels in a window whose first masks and values these are. A
    /// function of its own, so that there are registers for all it needs.
    ///
    /// # Safety
    /// The window lies within the image.
    #[inline(never)]
    #[allow(unsafe_code)]
    unsafe fn four<const SIDE: usize>(
        &self,
        size: [usize; 2],
        masks: *const u8,
        values: *const u8,
    ) -> u32 {
        let mut largest = 0;
        let mut place = |row: usize, column: usize| {
            let [mask, value] = [0, 1].map(|i| row * self.down[i] + column * self.right[i]);
            // SAFETY: row and column are of the window, which lies within the image, as the caller promises.
            let (mask, value) = unsafe {
                (
                    masks.add(mask).cast::<u32>().read_unaligned(),
                    values.add(value).cast::<u32>().read_unaligned(),
                )
            };
            largest = dsp::largest_kept(largest, value, mask, self.bit);
        };
        if SIDE == 2 {
            // The most usual size has no loop.
            place(0, 0);
            place(0, 1);
            place(1, 0);
            place(1, 1);
        } else {
            for row in 0..size[0] {
                for column in 0..size[1] {
                    place(row, column);
                }
            }
        }
        largest
    }
}
