//! Which part of a picture a model sees, and where in its input that lies.

use super::resample::Axes;
use super::{FrameView, Geometry, ImageError, Rect};

impl Geometry {
    /// Which part of `whole` is looked at, how it is scaled, and where in an input of `width` × `height`
    /// it comes to lie.
    pub(super) fn place(
        self,
        whole: Region,
        width: usize,
        height: usize,
    ) -> Result<(Region, Axes, Region), ImageError> {
        let all = Region {
            x: 0,
            y: 0,
            width,
            height,
        };
        let filled = |region: Region| {
            let axes = Axes::scaled(region, width, height);
            Ok((region, axes, all))
        };
        match self {
            Self::Stretch => filled(whole),
            Self::CenterCrop => filled(whole.centre_crop(width, height)),
            #[cfg(feature = "resample")]
            Self::Letterbox(_) => {
                let place = whole.letterbox(width, height);
                let axes = Axes::scaled(whole, place.width, place.height);
                Ok((whole, axes, place))
            }
            #[cfg(feature = "resample")]
            Self::ShortSide(side) => {
                let side = usize::from(side);
                if side < width.max(height) {
                    return Err(ImageError::ShortSide {
                        side,
                        width,
                        height,
                    });
                }
                // The longer side cut off to a whole number, as torchvision does.
                let long = |long: usize, short: usize| {
                    ((side as u64 * long as u64 / short as u64) as usize).max(1)
                };
                let (to_width, to_height) = if whole.width <= whole.height {
                    (side, long(whole.height, whole.width))
                } else {
                    (long(whole.width, whole.height), side)
                };
                let mut axes = Axes {
                    width,
                    height,
                    ..Axes::scaled(whole, to_width, to_height)
                };
                axes.across.first = half_even(to_width - width);
                axes.down.first = half_even(to_height - height);
                Ok((whole, axes, all))
            }
            // As a frame is that was brought to the input elsewhere.
            #[cfg(not(feature = "resample"))]
            _ if (whole.width, whole.height) == (width, height) => filled(whole),
            #[cfg(not(feature = "resample"))]
            _ => Err(ImageError::NotBuilt {
                feature: "resample",
            }),
        }
    }
}

#[cfg(feature = "resample")]
/// Half of a number, to the even neighbour where it is no whole one, as Python rounds.
fn half_even(number: usize) -> usize {
    let half = number / 2;
    half + (number & half & 1)
}

/// A part of a frame or of an input, known to lie inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Region {
    /// Whether it lies inside `frame`.
    pub(super) fn check(self, frame: &FrameView<'_>) -> Result<(), ImageError> {
        let fits = self.x + self.width <= frame.width() && self.y + self.height <= frame.height();
        if fits {
            return Ok(());
        }
        Err(ImageError::Crop {
            crop: Rect {
                x: self.x as u32,
                y: self.y as u32,
                width: self.width as u32,
                height: self.height as u32,
            },
            width: frame.width(),
            height: frame.height(),
        })
    }

    /// The largest centred part with the aspect ratio `width` : `height`, to the nearest pixel.
    fn centre_crop(self, width: usize, height: usize) -> Self {
        // At most 65535³: in u64 nothing overflows, where usize has 32 bits too.
        let scaled = |side: usize, by: usize, over: usize| {
            ((side as u64 * by as u64 + over as u64 / 2) / over as u64).max(1) as usize
        };
        let cropped_width = scaled(self.height, width, height).min(self.width);
        let cropped_height = scaled(self.width, height, width).min(self.height);
        Self {
            x: self.x + (self.width - cropped_width) / 2,
            y: self.y + (self.height - cropped_height) / 2,
            width: cropped_width,
            height: cropped_height,
        }
    }

    #[cfg(feature = "resample")]
    /// Where it lies in an input of `width` × `height` that shows all of it in its own proportions.
    fn letterbox(self, width: usize, height: usize) -> Self {
        let (own_width, own_height) = (self.width as u64, self.height as u64);
        // In this order of operations, as Pillow rounds them.
        let scaled = |side: usize, over: usize, by: usize| {
            let exact = side as f64 / over as f64 * by as f64;
            (libm::rint(exact) as usize).clamp(1, super::MAX_SIDE)
        };
        let (wide, tall) = match (own_width * height as u64).cmp(&(own_height * width as u64)) {
            core::cmp::Ordering::Equal => (width, height),
            core::cmp::Ordering::Greater => {
                (width, scaled(self.height, self.width, width).min(height))
            }
            core::cmp::Ordering::Less => {
                (scaled(self.width, self.height, height).min(width), height)
            }
        };
        Self {
            x: half_even(width - wide),
            y: half_even(height - tall),
            width: wide,
            height: tall,
        }
    }
}

/// A part of a frame.
///
/// # Errors
/// [`ImageError::Crop`] if it is empty, or reaches outside.
pub(super) fn inside(frame: &FrameView<'_>, crop: Rect) -> Result<Region, ImageError> {
    let fits = |start: u32, length: u32, whole: usize| {
        length > 0 && u64::from(start) + u64::from(length) <= whole as u64
    };
    if fits(crop.x, crop.width, frame.width()) && fits(crop.y, crop.height, frame.height()) {
        Ok(Region {
            x: crop.x as usize,
            y: crop.y as usize,
            width: crop.width as usize,
            height: crop.height as usize,
        })
    } else {
        Err(ImageError::Crop {
            crop,
            width: frame.width(),
            height: frame.height(),
        })
    }
}
