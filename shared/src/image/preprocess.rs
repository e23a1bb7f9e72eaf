//! What a model wants of a picture, and the one function that does it.

use serde::{Deserialize, Serialize};

use super::antialias::Kernel;
use super::frame::check_size;
use super::resample::{Axes, Resampler};
use super::{FrameStatistics, FrameView, ImageError, Normalisation, Rect};

/// Most planes a model's input may have.
pub const MAX_CHANNELS: usize = 4;

/// The planes of a model's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channels {
    /// Luma, in every plane there is.
    #[default]
    Grey,
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
}

impl Channels {
    /// Every choice, by the name that interfaces use.
    pub const ALL: [(&'static str, Self); 3] =
        [("grey", Self::Grey), ("rgb", Self::Rgb), ("bgr", Self::Bgr)];

    /// The name that interfaces use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }

    /// Whether colours are told apart.
    #[must_use]
    pub const fn is_colour(self) -> bool {
        !matches!(self, Self::Grey)
    }
}

/// How a picture, or the part of it that is looked at, meets the model's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Geometry {
    /// The largest centred part of the input's aspect ratio, to the nearest pixel: nothing is
    /// distorted, and what lies outside is not seen.
    #[default]
    CenterCrop,
    /// All of it, distorted where the aspect ratios differ.
    Stretch,
    /// All of it in its own proportions, centred, with this value (0 to 255, in every plane) around it;
    /// sizes as of Pillow's `ImageOps.pad`.
    Letterbox(u8),
    /// Scaled so that its shorter side has this many pixels, then the centre of the input's size cut out:
    /// `Resize` and `CenterCrop` of torchvision, and what timm's `crop_pct` comes to.
    ShortSide(u16),
}

/// How pixels become fewer or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolation {
    /// A shrinking axis averages the area that each value covers; a growing one interpolates linearly
    /// between pixel centres. Exact, and not rounded to 256 levels (but for [`ValueRange::Byte`]).
    #[default]
    Area,
    /// Bilinear with antialiasing, as Pillow has it.
    Bilinear,
    /// Bicubic with antialiasing, as Pillow has it.
    Bicubic,
    /// The pixel that lies nearest.
    Nearest,
}

impl Interpolation {
    /// Every choice, by the name that interfaces use.
    pub const ALL: [(&'static str, Self); 4] = [
        ("area", Self::Area),
        ("bilinear", Self::Bilinear),
        ("bicubic", Self::Bicubic),
        ("nearest", Self::Nearest),
    ];

    /// The name that interfaces use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}

/// What black and white are, before mean and standard deviation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ValueRange {
    /// 0 and 1.
    #[default]
    Unit,
    /// 0 and 255, in whole numbers.
    Byte,
    /// −1 and 1.
    Symmetric,
}

impl ValueRange {
    /// Every choice, by the name that interfaces use.
    pub const ALL: [(&'static str, Self); 3] = [
        ("unit", Self::Unit),
        ("byte", Self::Byte),
        ("symmetric", Self::Symmetric),
    ];

    /// The name that interfaces use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }

    /// What black and white become.
    #[must_use]
    pub const fn ends(self) -> [f32; 2] {
        match self {
            Self::Unit => [0.0, 1.0],
            Self::Byte => [0.0, 255.0],
            Self::Symmetric => [-1.0, 1.0],
        }
    }

    /// Maps values of 0..=1.
    fn apply(self, values: &mut [f32]) {
        match self {
            Self::Unit => {}
            // To the nearest: a pixel divided by 255 and multiplied with it is not always itself.
            Self::Byte => {
                for value in values {
                    *value = (*value * 255.0 + 0.5) as u32 as f32;
                }
            }
            Self::Symmetric => {
                for value in values {
                    *value = 2.0 * *value - 1.0;
                }
            }
        }
    }
}

/// What becomes of a picture before a model sees it. It belongs to the model and travels with it.
///
/// ```
/// use shared::image::{Channels, FrameView, Geometry, Interpolation, PixelFormat, Preprocessing};
///
/// let preprocessing = Preprocessing {
///     channels: Channels::Rgb,
///     geometry: Geometry::Stretch,
///     interpolation: Interpolation::Bilinear,
///     ..Preprocessing::default()
/// };
/// let red = [255, 0, 0, 255, 0, 0];
/// let frame = FrameView::new(PixelFormat::Rgb8, 2, 1, 6, &red)?;
/// let plan = preprocessing.plan(&frame, None, (1, 1))?;
/// let (mut scratch, mut input) = ([0; 16], [0.0; 3]);
/// plan.run(&frame, &mut scratch[..plan.scratch_length()], &mut input)?;
/// assert_eq!(input, [1.0, 0.0, 0.0]);
/// # Ok::<(), shared::image::ImageError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Preprocessing {
    /// Which planes there are.
    pub channels: Channels,
    /// What part of the picture is seen, and where.
    pub geometry: Geometry,
    /// How it is scaled.
    pub interpolation: Interpolation,
    /// What black and white are.
    pub range: ValueRange,
    /// Applied to each plane at last.
    pub normalisation: [Normalisation; MAX_CHANNELS],
}

impl Preprocessing {
    /// Luma of the centre by area, normalised as `normalisation` says: what models of handwritten digits
    /// were trained on.
    #[must_use]
    pub const fn grey(normalisation: Normalisation) -> Self {
        Self {
            channels: Channels::Grey,
            geometry: Geometry::CenterCrop,
            interpolation: Interpolation::Area,
            range: ValueRange::Unit,
            normalisation: [normalisation; MAX_CHANNELS],
        }
    }

    /// What torchvision's classifiers trained on ImageNet want, at 224 × 224: the shorter side to 256
    /// pixels, bilinear, the centre, RGB.
    pub const IMAGENET: Self = {
        const fn of(mean: f32, standard_deviation: f32) -> Normalisation {
            Normalisation {
                mean,
                standard_deviation,
            }
        }
        Self {
            channels: Channels::Rgb,
            geometry: Geometry::ShortSide(256),
            interpolation: Interpolation::Bilinear,
            range: ValueRange::Unit,
            normalisation: [
                of(0.485, 0.229),
                of(0.456, 0.224),
                of(0.406, 0.225),
                Normalisation::IDENTITY,
            ],
        }
    };

    /// Whether a model with an input of `channels` planes of `height` × `width` can be prepared for.
    ///
    /// # Errors
    /// [`ImageError::Channels`], [`ImageError::ShortSide`] or [`ImageError::Normalisation`].
    pub fn validate(&self, channels: usize, height: usize, width: usize) -> Result<(), ImageError> {
        let fits = match self.channels {
            Channels::Grey => (1..=MAX_CHANNELS).contains(&channels),
            Channels::Rgb | Channels::Bgr => channels == 3,
        };
        if !fits {
            return Err(ImageError::Channels {
                channels: self.channels,
                planes: channels,
            });
        }
        if let Geometry::ShortSide(side) = self.geometry
            && usize::from(side) < width.max(height)
        {
            return Err(ImageError::ShortSide {
                side: side.into(),
                width,
                height,
            });
        }
        if self.normalisation[..channels]
            .iter()
            .all(Normalisation::is_valid)
        {
            Ok(())
        } else {
            Err(ImageError::Normalisation)
        }
    }

    /// Works out what becomes of `frame`, or of its part `crop`, for an input of `width` × `height`.
    ///
    /// # Errors
    /// [`ImageError::Size`] for the input's size, [`ImageError::Crop`], [`ImageError::ShortSide`].
    #[inline(never)] // Its stack is not needed while the picture is resampled.
    pub fn plan(
        &self,
        frame: &FrameView<'_>,
        crop: Option<Rect>,
        (width, height): (usize, usize),
    ) -> Result<Plan, ImageError> {
        check_size(width, height)?;
        let region = match crop {
            Some(crop) => inside(frame, crop)?,
            None => Region {
                x: 0,
                y: 0,
                width: frame.width(),
                height: frame.height(),
            },
        };
        let (region, axes, place) = self.geometry.place(region, width, height)?;
        let same = axes.is_copy();
        let kernel = match self.interpolation {
            _ if same => None,
            Interpolation::Bilinear => Some(Kernel::Bilinear),
            Interpolation::Bicubic => Some(Kernel::Bicubic),
            Interpolation::Area | Interpolation::Nearest => None,
        };
        Ok(Plan {
            preprocessing: *self,
            width,
            height,
            place,
            resampler: Resampler {
                region,
                axes,
                kernel,
                is_nearest: self.interpolation == Interpolation::Nearest || same,
                colour: self.channels.is_colour(),
            },
        })
    }
}

/// What becomes of frames of one size, worked out.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    preprocessing: Preprocessing,
    width: usize,
    height: usize,
    /// Where in the input the picture lies.
    place: Region,
    resampler: Resampler,
}

impl Plan {
    /// Words of scratch memory that [`Plan::run`] needs for frames like the one planned for: 0 but for
    /// interpolation with antialiasing.
    #[must_use]
    pub fn scratch_length(&self) -> usize {
        self.resampler.scratch_length()
    }

    /// Writes the input that the model wants to `out`, `[plane][row][column]`, and measures luma, where
    /// the input shows the picture, before value range and normalisation.
    ///
    /// # Errors
    /// [`ImageError::Output`] if `out` holds not the planes of the input, [`ImageError::Scratch`] if
    /// `scratch` is shorter than [`Plan::scratch_length`], [`ImageError::Crop`] if `frame` is smaller
    /// than the one planned for.
    #[inline(never)] // Its stack is not needed while passes run.
    pub fn run(
        &self,
        frame: &FrameView<'_>,
        scratch: &mut [u32],
        out: &mut [f32],
    ) -> Result<FrameStatistics, ImageError> {
        let pixels = self.width * self.height;
        let planes = out.len() / pixels;
        let wanted = if self.resampler.colour { 3 } else { 1 };
        if !out.len().is_multiple_of(pixels) || !(wanted..=MAX_CHANNELS).contains(&planes) {
            return Err(ImageError::Output {
                expected: wanted * pixels,
                got: out.len(),
            });
        }
        self.resampler.region.check(frame)?;
        let Self {
            preprocessing,
            place,
            ..
        } = self;
        if (place.width, place.height) != (self.width, self.height)
            && let Geometry::Letterbox(value) = preprocessing.geometry
        {
            out[..wanted * pixels].fill(f32::from(value) / 255.0);
        }
        let target = Target {
            start: place.y * self.width + place.x,
            stride: self.width,
            plane: pixels,
        };
        self.resampler.run(frame, scratch, out, target)?;
        let statistics = if self.resampler.colour {
            let [red, green, blue] = [0, 1, 2].map(|plane| plane * pixels + target.start);
            FrameStatistics::of_colour(
                [&out[red..], &out[green..], &out[blue..]],
                self.width,
                (place.width, place.height),
            )
        } else {
            FrameStatistics::of_luma(
                &out[target.start..],
                self.width,
                (place.width, place.height),
            )
        };
        if preprocessing.channels == Channels::Bgr {
            let (red, rest) = out.split_at_mut(pixels);
            red.swap_with_slice(&mut rest[pixels..2 * pixels]);
        }
        preprocessing.range.apply(&mut out[..wanted * pixels]);
        let normalisation = &preprocessing.normalisation;
        if self.resampler.colour {
            for (plane, own) in out.chunks_exact_mut(pixels).zip(normalisation) {
                own.apply_in_place(plane);
            }
        } else {
            // Each plane but the first is made from it, before that is normalised itself.
            let (first, others) = out.split_at_mut(pixels);
            for (plane, own) in others.chunks_exact_mut(pixels).zip(&normalisation[1..]) {
                own.apply(first, plane);
            }
            normalisation[0].apply_in_place(first);
        }
        Ok(statistics)
    }
}

/// Where resampled planes are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    /// The first value of the first plane.
    pub(super) start: usize,
    /// Values from one row to the next.
    pub(super) stride: usize,
    /// Values from one plane to the next.
    pub(super) plane: usize,
}

impl Geometry {
    /// Which part of `whole` is looked at, how it is scaled, and where in an input of `width` × `height`
    /// it comes to lie.
    fn place(
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
            Self::Letterbox(_) => {
                let place = whole.letterbox(width, height);
                let axes = Axes::scaled(whole, place.width, place.height);
                Ok((whole, axes, place))
            }
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
        }
    }
}

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
    fn check(self, frame: &FrameView<'_>) -> Result<(), ImageError> {
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

    /// Where it lies in an input of `width` × `height` that shows all of it in its own proportions.
    fn letterbox(self, width: usize, height: usize) -> Self {
        let (own_width, own_height) = (self.width as u64, self.height as u64);
        // In this order of operations, as Pillow rounds them.
        let scaled = |side: usize, over: usize, by: usize| {
            let exact = side as f64 / over as f64 * by as f64;
            (libm::rint(exact) as usize).clamp(1, MAX_INPUT)
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

const MAX_INPUT: usize = super::MAX_SIDE;

fn inside(frame: &FrameView<'_>, crop: Rect) -> Result<Region, ImageError> {
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
