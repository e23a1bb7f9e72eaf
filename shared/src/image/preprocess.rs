//! The one function that makes a model's input of a picture.

#[cfg(feature = "resample")]
use super::antialias::Kernel;
use super::frame::{check_size, known};
use super::place::{Region, inside};
use super::resample::{Method, Resampler};
use super::{
    Channels, FrameStatistics, FrameView, Geometry, ImageError, Interpolation, Normalisation,
    PixelFormat, Rect, ValueRange,
};

/// Most planes a model's input may have.
pub const MAX_CHANNELS: usize = 4;

/// What becomes of a picture before a model sees it. It belongs to the model and travels with it.
///
/// ```
/// use shared::image::{FrameView, Geometry, Preprocessing, ValueRange};
///
/// let preprocessing = Preprocessing {
///     geometry: Geometry::Stretch,
///     range: ValueRange::Byte,
///     ..Preprocessing::default()
/// };
/// let frame = FrameView::grey(4, 1, &[0, 100, 30, 50])?;
/// let plan = preprocessing.plan(&frame, None, (2, 1))?;
/// let mut input = [0.0; 2];
/// plan.run(&frame, &mut [], &mut input)?;
/// assert_eq!(input, [50.0, 40.0]);
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

    /// Bytes of [`Preprocessing::to_bytes`].
    pub const BYTES: usize = 8 * MAX_CHANNELS + 6;

    /// As plan files and greetings hold it: mean and standard deviation of each plane (`f32`, little-endian);
    /// a byte each for channels, geometry, interpolation and range, which is the place in `ALL`, or that of
    /// the variant; and the geometry's value (`u16`).
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let (geometry, value) = match self.geometry {
            Geometry::CenterCrop => (0, 0),
            Geometry::Stretch => (1, 0),
            Geometry::Letterbox(value) => (2, u16::from(value)),
            Geometry::ShortSide(side) => (3, side),
        };
        let mut bytes = [0; Self::BYTES];
        let (planes, choices) = bytes.split_at_mut(8 * MAX_CHANNELS);
        for (place, plane) in planes.chunks_exact_mut(8).zip(&self.normalisation) {
            place[..4].copy_from_slice(&plane.mean.to_le_bytes());
            place[4..].copy_from_slice(&plane.standard_deviation.to_le_bytes());
        }
        let [low, high] = value.to_le_bytes();
        choices.copy_from_slice(&[
            self.channels as u8,
            geometry,
            self.interpolation as u8,
            self.range as u8,
            low,
            high,
        ]);
        bytes
    }

    /// Reads what [`Preprocessing::to_bytes`] wrote; `None` if there is no such choice.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let (planes, choices) = bytes.split_at(8 * MAX_CHANNELS);
        let mut normalisation = [Normalisation::IDENTITY; MAX_CHANNELS];
        for (plane, numbers) in normalisation
            .iter_mut()
            .zip(planes.as_chunks::<4>().0.chunks(2))
        {
            plane.mean = f32::from_le_bytes(numbers[0]);
            plane.standard_deviation = f32::from_le_bytes(numbers[1]);
        }
        let &[channels, geometry, interpolation, range, low, high] = choices else {
            return None;
        };
        let value = u16::from_le_bytes([low, high]);
        Some(Self {
            channels: Channels::ALL.get(usize::from(channels))?.1,
            geometry: match geometry {
                0 => Geometry::CenterCrop,
                1 => Geometry::Stretch,
                2 => Geometry::Letterbox(u8::try_from(value).ok()?),
                3 => Geometry::ShortSide(value),
                _ => return None,
            },
            interpolation: Interpolation::ALL.get(usize::from(interpolation))?.1,
            range: ValueRange::ALL.get(usize::from(range))?.1,
            normalisation,
        })
    }

    /// The form in which pictures serve without a loss: colours are not taken along for a model that does not
    /// see them.
    #[must_use]
    pub const fn pixel_format(&self) -> PixelFormat {
        known(if self.channels.is_colour() {
            PixelFormat::Rgb8
        } else {
            PixelFormat::Grey8
        })
    }

    /// What `channels` of a picture the model sees, for people to look at: in values of 0 to 1, without mean
    /// and deviation.
    #[must_use]
    pub const fn shown(&self, channels: Channels) -> Self {
        Self {
            channels,
            range: ValueRange::Unit,
            normalisation: [Normalisation::IDENTITY; MAX_CHANNELS],
            ..*self
        }
    }

    /// Whether a model with an input of `channels` planes of `height` × `width` can be prepared for.
    ///
    /// # Errors
    /// [`ImageError::Channels`], [`ImageError::ShortSide`] or [`ImageError::Normalisation`]; also
    /// [`ImageError::NotBuilt`] for colours that this program does not know.
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
        if cfg!(not(feature = "colour")) && self.channels.is_colour() {
            return Err(ImageError::NotBuilt { feature: "colour" });
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
        if cfg!(not(feature = "colour")) && self.channels.is_colour() {
            return Err(ImageError::NotBuilt { feature: "colour" });
        }
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
        let method = match self.interpolation {
            _ if axes.is_copy() => Method::Copy,
            Interpolation::Area => Method::Area,
            #[cfg(feature = "resample")]
            Interpolation::Bilinear => Method::Antialiased(Kernel::Bilinear),
            #[cfg(feature = "resample")]
            Interpolation::Bicubic => Method::Antialiased(Kernel::Bicubic),
            #[cfg(feature = "resample")]
            Interpolation::Nearest => Method::Nearest,
            #[cfg(not(feature = "resample"))]
            _ => {
                return Err(ImageError::NotBuilt {
                    feature: "resample",
                });
            }
        };
        Ok(Plan {
            preprocessing: *self,
            width,
            height,
            place,
            resampler: Resampler {
                region,
                axes,
                method,
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
        let statistics = self.measure(out, target.start);
        #[cfg(feature = "colour")]
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

    /// Statistics of the luma of planes whose picture begins at `start`.
    fn measure(&self, planes: &[f32], start: usize) -> FrameStatistics {
        let size = (self.place.width, self.place.height);
        #[cfg(feature = "colour")]
        if self.resampler.colour {
            let plane = |number: usize| &planes[number * self.width * self.height + start..];
            return FrameStatistics::of_colour([0, 1, 2].map(plane), self.width, size);
        }
        FrameStatistics::of_luma(&planes[start..], self.width, size)
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
