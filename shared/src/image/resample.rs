//! A region of a frame, scaled, as planes of values in 0..=1.

#[cfg(feature = "resample")]
use super::antialias::{self, Kernel, Scratch};
use super::place::Region;
use super::preprocess::Target;
use super::{FrameView, ImageError, PixelFormat, area};

/// One axis: `from` pixels become `to`, of which those from `first` on are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) first: usize,
}

/// Both axes of a resampling.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axes {
    pub(super) across: Axis,
    pub(super) down: Axis,
    /// How many values of each are wanted.
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Axes {
    /// All of `region` at `width` × `height`.
    pub(super) fn scaled(region: Region, width: usize, height: usize) -> Self {
        let axis = |from, to| Axis { from, to, first: 0 };
        Self {
            across: axis(region.width, width),
            down: axis(region.height, height),
            width,
            height,
        }
    }

    /// Whether nothing is scaled.
    pub(super) fn is_copy(&self) -> bool {
        let copies = |axis: Axis| axis.from == axis.to;
        copies(self.across) && copies(self.down)
    }
}

/// How pixels become values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// Nothing is scaled.
    Copy,
    /// By what each value covers.
    Area,
    /// The nearest pixel.
    #[cfg(feature = "resample")]
    Nearest,
    /// By a kernel, with antialiasing.
    #[cfg(feature = "resample")]
    Antialiased(Kernel),
}

/// How a region is scaled, and to which planes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resampler {
    pub(super) region: Region,
    pub(super) axes: Axes,
    pub(super) method: Method,
    /// Red, green and blue; luma if not.
    pub(super) colour: bool,
}

impl Resampler {
    /// Words of scratch memory for frames of any format.
    #[cfg_attr(not(feature = "resample"), allow(clippy::unused_self))]
    pub(super) fn scratch_length(&self) -> usize {
        #[cfg(feature = "resample")]
        if let Method::Antialiased(kernel) = self.method {
            let planes = if self.colour { 3 } else { 1 };
            return Scratch::of(self, kernel, planes).total();
        }
        0
    }

    /// Writes planes of values in 0..=1 to `target` in `out`: luma, or red, green and blue.
    pub(super) fn run(
        &self,
        frame: &FrameView<'_>,
        scratch: &mut [u32],
        out: &mut [f32],
        target: Target,
    ) -> Result<(), ImageError> {
        let (expected, got) = (self.scratch_length(), scratch.len());
        if got < expected {
            return Err(ImageError::Scratch { expected, got });
        }
        if frame.format() == PixelFormat::Grey8 {
            self.planes(frame, |row, x| [row[x]], scratch, out, target);
            #[cfg(feature = "colour")]
            if self.colour {
                let first = target.start..target.plane;
                for plane in 1..3 {
                    out.copy_within(first.clone(), plane * target.plane + target.start);
                }
            }
            return Ok(());
        }
        #[cfg(feature = "colour")]
        if self.colour {
            self.planes(frame, |row, x| frame.colour(row, x), scratch, out, target);
        } else {
            self.planes(frame, |row, x| [frame.luma(row, x)], scratch, out, target);
        }
        Ok(())
    }

    /// Writes planes of the bytes that `pixel` gives of a row and a place in it.
    fn planes<const C: usize>(
        &self,
        frame: &FrameView<'_>,
        pixel: impl Fn(&[u8], usize) -> [u8; C],
        #[cfg_attr(not(feature = "resample"), allow(unused_variables))] scratch: &mut [u32],
        out: &mut [f32],
        target: Target,
    ) {
        match self.method {
            Method::Copy => self.copy(frame, pixel, out, target),
            Method::Area => self.by_area(frame, pixel, out, target),
            #[cfg(feature = "resample")]
            Method::Nearest => self.nearest(frame, pixel, out, target),
            #[cfg(feature = "resample")]
            Method::Antialiased(kernel) => {
                antialias::run(self, frame, pixel, kernel, scratch, out, target);
            }
        }
    }

    fn copy<const C: usize>(
        &self,
        frame: &FrameView<'_>,
        pixel: impl Fn(&[u8], usize) -> [u8; C],
        out: &mut [f32],
        target: Target,
    ) {
        let Self { region, axes, .. } = self;
        for y in 0..axes.height {
            let row = frame.row(region.y + axes.down.first + y);
            let start = target.start + y * target.stride;
            for x in 0..axes.width {
                let values = pixel(row, region.x + axes.across.first + x);
                for (plane, value) in values.into_iter().enumerate() {
                    out[plane * target.plane + start + x] = f32::from(value) / 255.0;
                }
            }
        }
    }

    #[cfg(feature = "resample")]
    fn nearest<const C: usize>(
        &self,
        frame: &FrameView<'_>,
        pixel: impl Fn(&[u8], usize) -> [u8; C],
        out: &mut [f32],
        target: Target,
    ) {
        let Self { region, axes, .. } = self;
        for (y, from_y) in axes.down.nearest().take(axes.height).enumerate() {
            let row = frame.row(region.y + from_y);
            let start = target.start + y * target.stride;
            for (x, from_x) in axes.across.nearest().take(axes.width).enumerate() {
                for (plane, value) in pixel(row, region.x + from_x).into_iter().enumerate() {
                    out[plane * target.plane + start + x] = f32::from(value) / 255.0;
                }
            }
        }
    }

    fn by_area<const C: usize>(
        &self,
        frame: &FrameView<'_>,
        pixel: impl Fn(&[u8], usize) -> [u8; C],
        out: &mut [f32],
        target: Target,
    ) {
        let Self { region, axes, .. } = self;
        let across = area::Axis::new(axes.across.from, axes.across.to);
        let down = area::Axis::new(axes.down.from, axes.down.to);
        let full_scale = (across.total() * down.total() * 255) as f64;
        for y in 0..axes.height {
            let start = target.start + y * target.stride;
            for x in 0..axes.width {
                let mut sums = [0; C];
                for (row, weight_y) in down.taps(axes.down.first + y) {
                    let row = frame.row(region.y + row);
                    let mut sums_row = [0; C];
                    for (column, weight) in across.taps(axes.across.first + x) {
                        let values = pixel(row, region.x + column);
                        for (sum, value) in sums_row.iter_mut().zip(values) {
                            *sum += weight * u64::from(value);
                        }
                    }
                    for (sum, of_row) in sums.iter_mut().zip(sums_row) {
                        *sum += weight_y * of_row;
                    }
                }
                for (plane, sum) in sums.into_iter().enumerate() {
                    out[plane * target.plane + start + x] = (sum as f64 / full_scale) as f32;
                }
            }
        }
    }
}
