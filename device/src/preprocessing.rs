//! What becomes of a picture before a model sees it: in words, and as users say it where the model's file
//! does not.

use std::fmt;
use std::format;
use std::str::FromStr;
use std::string::{String, ToString as _};
use std::vec;
use std::vec::Vec;

use shared::image::{
    Channels, FrameStatistics, FrameView, Geometry, ImageError, Interpolation, MAX_CHANNELS,
    Normalisation, PixelFormat, Preprocessing, Rect, ValueRange,
};

use crate::engine::InputShape;
pub use crate::onnx::preprocessing::per_plane;

/// A preprocessing that many models share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Of torchvision's classifiers trained on ImageNet ([`Preprocessing::IMAGENET`]); for an input of other
    /// than 224 × 224 pixels, the shorter side in the same proportion.
    Imagenet,
}

impl Preset {
    fn preprocessing(self, shape: InputShape) -> Preprocessing {
        match self {
            Self::Imagenet => {
                // 256 pixels for 224.
                let side = (shape.height.max(shape.width) * 8).div_ceil(7);
                Preprocessing {
                    geometry: Geometry::ShortSide(u16::try_from(side).unwrap_or(u16::MAX)),
                    ..Preprocessing::IMAGENET
                }
            }
        }
    }
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "imagenet" => Ok(Self::Imagenet),
            _ => Err(format!("'{text}' is no preset: use imagenet")),
        }
    }
}

/// What users say of a model's preprocessing. What is `None`, or empty, is as the model's file says; a file
/// that says nothing needs `channels` or `preset` at least.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "log", derive(clap::Args))]
#[cfg_attr(
    feature = "log",
    command(next_help_heading = "What becomes of a picture, unless the model's file says it")
)]
pub struct PreprocessingOptions {
    /// What many models want: imagenet (RGB, shorter side to 256 for 224 pixels, centre, bilinear, its mean
    /// and standard deviation); the other options replace parts of it.
    #[cfg_attr(feature = "log", arg(long, value_name = "NAME"))]
    pub preset: Option<Preset>,
    /// The planes of the model's input: grey (luma by Rec. 601, in every plane), rgb or bgr.
    #[cfg_attr(feature = "log", arg(long, value_parser = channels))]
    pub channels: Option<Channels>,
    /// What part of the picture is seen: center-crop (the largest part of the input's aspect ratio),
    /// stretch, letterbox:VALUE (all of it, with this value from 0 to 255 around) or short-side:PIXELS (the
    /// shorter side scaled to so many pixels, then the centre).
    #[cfg_attr(feature = "log", arg(long))]
    pub geometry: Option<Geometry>,
    /// How it is scaled: area, bilinear or bicubic (both with antialiasing, as Pillow), or nearest.
    #[cfg_attr(feature = "log", arg(long, value_parser = interpolation))]
    pub interpolation: Option<Interpolation>,
    /// Values of black and white before mean and deviation: unit (0 to 1), byte (0 to 255) or symmetric
    /// (−1 to 1).
    #[cfg_attr(feature = "log", arg(long, value_parser = range))]
    pub range: Option<ValueRange>,
    /// Mean that is subtracted, one value or one a channel: 0.485,0.456,0.406.
    #[cfg_attr(
        feature = "log",
        arg(
            long,
            value_delimiter = ',',
            allow_negative_numbers = true,
            value_name = "VALUES"
        )
    )]
    pub mean: Vec<f32>,
    /// Standard deviation that is divided by after that, one value or one a channel: 0.229,0.224,0.225.
    #[cfg_attr(
        feature = "log",
        arg(long, value_delimiter = ',', value_name = "VALUES")
    )]
    pub std: Vec<f32>,
}

/// The value of a name, or which names there are.
#[cfg(feature = "log")]
fn choose<T: Copy>(all: &[(&str, T)], what: &str, text: &str) -> Result<T, String> {
    shared::image::named(all, text).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        format!("'{text}' is no {what}: use {}", names.join(", "))
    })
}

#[cfg(feature = "log")]
fn channels(text: &str) -> Result<Channels, String> {
    choose(&Channels::ALL, "choice of channels", text)
}

#[cfg(feature = "log")]
fn interpolation(text: &str) -> Result<Interpolation, String> {
    choose(&Interpolation::ALL, "interpolation", text)
}

#[cfg(feature = "log")]
fn range(text: &str) -> Result<ValueRange, String> {
    choose(&ValueRange::ALL, "range of values", text)
}

/// Reads the name of a pixel format, as options have it.
///
/// # Errors
/// What was expected.
#[cfg(feature = "log")]
pub fn pixel_format(text: &str) -> Result<PixelFormat, String> {
    choose(&PixelFormat::ALL, "pixel format", text)
}

/// Why there is no preprocessing for a model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PreprocessingError {
    /// Neither the file nor the user says anything.
    #[error(
        "the model does not say what becomes of a picture before it reaches its {channels}×{height}×{width} input, and it is not run on a guess: write it into the file with host adopt, or say it here with --channels grey, rgb or bgr, --mean, --std …",
        channels = .0.channels, height = .0.height, width = .0.width
    )]
    Unknown(InputShape),
    /// The user says how values are scaled, but not what the channels are.
    #[error(
        "the model does not say what its {0} channels are: say it with --channels grey, rgb or bgr"
    )]
    Channels(usize),
    /// As many means or deviations as there are no channels.
    #[error("{0}")]
    Count(String),
    /// They do not fit the model's input.
    #[error("{0}")]
    Invalid(String),
}

impl PreprocessingOptions {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What becomes of a picture for a model of `shape` whose file says `file`.
    ///
    /// # Errors
    /// [`PreprocessingError`].
    pub fn apply(
        &self,
        file: Option<Preprocessing>,
        shape: InputShape,
    ) -> Result<Preprocessing, PreprocessingError> {
        let base = self
            .preset
            .map(|preset| preset.preprocessing(shape))
            .or(file);
        let mut wanted = match (base, self.channels) {
            (Some(base), _) => base,
            (None, Some(channels)) => Preprocessing {
                channels,
                interpolation: Interpolation::Bilinear,
                ..Preprocessing::default()
            },
            (None, None) if self.is_empty() => return Err(PreprocessingError::Unknown(shape)),
            (None, None) => return Err(PreprocessingError::Channels(shape.channels)),
        };
        let Self {
            channels,
            geometry,
            interpolation,
            range,
            ..
        } = self;
        wanted.channels = channels.unwrap_or(wanted.channels);
        wanted.geometry = geometry.unwrap_or(wanted.geometry);
        wanted.interpolation = interpolation.unwrap_or(wanted.interpolation);
        wanted.range = range.unwrap_or(wanted.range);
        replace(
            &mut wanted.normalisation,
            &self.mean,
            "means",
            shape,
            |it| &mut it.mean,
        )?;
        replace(
            &mut wanted.normalisation,
            &self.std,
            "standard deviations",
            shape,
            |it| &mut it.standard_deviation,
        )?;
        wanted
            .validate(shape.channels, shape.height, shape.width)
            .map_err(|error| PreprocessingError::Invalid(error.to_string()))?;
        Ok(wanted)
    }
}

fn replace(
    normalisation: &mut [Normalisation; MAX_CHANNELS],
    values: &[f32],
    what: &str,
    shape: InputShape,
    field: impl Fn(&mut Normalisation) -> &mut f32,
) -> Result<(), PreprocessingError> {
    match values {
        [] => {}
        [one] => normalisation.iter_mut().for_each(|it| *field(it) = *one),
        _ if values.len() == shape.channels => {
            for (plane, value) in normalisation.iter_mut().zip(values) {
                *field(plane) = *value;
            }
        }
        _ => {
            let (count, channels) = (values.len(), shape.channels);
            return Err(PreprocessingError::Count(format!(
                "{count} {what} for a model of {channels} channels: give one, or one for each"
            )));
        }
    }
    Ok(())
}

/// Makes a model's inputs of pictures, in memory of its own that grows with the first of a size.
#[derive(Clone, Debug)]
pub struct Preparer {
    wanted: Preprocessing,
    shape: InputShape,
    scratch: Vec<u32>,
    input: Vec<f32>,
}

impl Preparer {
    /// For a model of `shape` that wants `wanted`.
    #[must_use]
    pub fn new(wanted: Preprocessing, shape: InputShape) -> Self {
        Self {
            wanted,
            shape,
            scratch: Vec::new(),
            input: vec![0.0; shape.len()],
        }
    }

    /// What the model wants.
    #[must_use]
    pub fn wanted(&self) -> &Preprocessing {
        &self.wanted
    }

    /// The input that is made of a picture, `[channel][row][column]`.
    ///
    /// # Errors
    /// What does not fit, as of [`Preprocessing::plan`].
    pub fn prepare(&mut self, picture: &FrameView<'_>) -> Result<&[f32], ImageError> {
        self.measure(picture)?;
        Ok(&self.input)
    }

    /// Makes the input, and tells what the picture looks like in it.
    ///
    /// # Errors
    /// As [`Preparer::prepare`].
    pub fn measure(&mut self, picture: &FrameView<'_>) -> Result<FrameStatistics, ImageError> {
        let size = (self.shape.width, self.shape.height);
        let plan = self.wanted.plan(picture, None, size)?;
        if self.scratch.len() < plan.scratch_length() {
            self.scratch.resize(plan.scratch_length(), 0);
        }
        plan.run(picture, &mut self.scratch, &mut self.input)
    }

    /// The input made last.
    #[must_use]
    pub fn input(&self) -> &[f32] {
        &self.input
    }
}

/// Makes pictures of what a model sees, before value range, mean and deviation: for people to look at, and
/// for boards that are sent their frames.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    scratch: Vec<u32>,
    planes: Vec<f32>,
    pixels: Vec<u8>,
}

impl Seen {
    /// What a model that wants `wanted` sees of a picture, or of its part `crop`, at `width` × `height`, as
    /// pixels of `format`.
    ///
    /// # Errors
    /// What does not fit, as of [`Preprocessing::plan`].
    pub fn picture(
        &mut self,
        wanted: &Preprocessing,
        picture: &FrameView<'_>,
        crop: Option<Rect>,
        (width, height): (usize, usize),
        format: PixelFormat,
    ) -> Result<FrameView<'_>, ImageError> {
        let (channels, planes) = if format.is_colour() {
            (Channels::Rgb, 3)
        } else {
            (Channels::Grey, 1)
        };
        let plan = wanted
            .shown(channels)
            .plan(picture, crop, (width, height))?;
        self.scratch.resize(plan.scratch_length(), 0);
        let pixels = width * height;
        self.planes.resize(planes * pixels, 0.0);
        plan.run(picture, &mut self.scratch, &mut self.planes)?;
        self.pixels.clear();
        let level = |value: f32| (value * 255.0).round() as u8;
        let plane = |number: usize| &self.planes[number * pixels..];
        for pixel in 0..pixels {
            // Of grey, luma of the three is itself.
            let colour = [0, 1, 2].map(|number| level(plane(number % planes)[pixel]));
            format.write(colour, &mut self.pixels);
        }
        FrameView::packed(format, width, height, &self.pixels)
    }
}

/// A preprocessing in words, for a model's input.
#[derive(Clone, Copy, Debug)]
pub struct InWords<'a>(pub &'a Preprocessing, pub InputShape);

impl fmt::Display for InWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(wanted, shape) = self;
        let InputShape {
            channels,
            height,
            width,
        } = *shape;
        match wanted.channels {
            Channels::Grey if channels == 1 => f.write_str("luma (Rec. 601)")?,
            Channels::Grey => write!(f, "luma (Rec. 601) in {channels} planes")?,
            Channels::Rgb => f.write_str("red, green, blue")?,
            Channels::Bgr => f.write_str("blue, green, red")?,
        }
        match wanted.geometry {
            Geometry::CenterCrop => {
                write!(
                    f,
                    "; the largest centred {width}:{height} part, scaled to {width}×{height}"
                )?;
            }
            Geometry::Stretch => write!(f, "; all of it, stretched to {width}×{height}")?,
            Geometry::Letterbox(value) => write!(
                f,
                "; all of it, scaled to fit {width}×{height}, with {value} around"
            )?,
            Geometry::ShortSide(side) => write!(
                f,
                "; the shorter side scaled to {side}, then the centre {width}×{height}"
            )?,
        }
        f.write_str(match wanted.interpolation {
            Interpolation::Area => " by area",
            Interpolation::Bilinear => ", bilinear with antialiasing",
            Interpolation::Bicubic => ", bicubic with antialiasing",
            Interpolation::Nearest => " by the nearest pixel",
        })?;
        f.write_str(match wanted.range {
            ValueRange::Unit => "; values 0 to 1",
            ValueRange::Byte => "; values 0 to 255",
            ValueRange::Symmetric => "; values −1 to 1",
        })?;
        let planes = &wanted.normalisation[..channels.min(MAX_CHANNELS)];
        if planes.iter().all(|plane| *plane == Normalisation::IDENTITY) {
            return Ok(());
        }
        let list = |field: fn(&Normalisation) -> f32| -> String {
            let mut values: Vec<String> = planes.iter().map(|it| field(it).to_string()).collect();
            values.dedup();
            if values.len() > 1 {
                // Not only neighbours that differ: all of them, in their order.
                values = planes.iter().map(|it| field(it).to_string()).collect();
            }
            values.join(", ")
        };
        write!(
            f,
            ", minus mean {}, divided by {}",
            list(|it| it.mean),
            list(|it| it.standard_deviation)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: InputShape = InputShape {
        channels: 3,
        height: 32,
        width: 32,
    };

    #[test]
    fn a_model_that_says_nothing_needs_its_channels_said() {
        let nothing = PreprocessingOptions::default();
        assert_eq!(
            nothing.apply(None, SHAPE),
            Err(PreprocessingError::Unknown(SHAPE))
        );
        let some = PreprocessingOptions {
            mean: vec![0.5],
            ..nothing.clone()
        };
        assert_eq!(
            some.apply(None, SHAPE),
            Err(PreprocessingError::Channels(3))
        );
        let rgb = PreprocessingOptions {
            channels: Some(Channels::Rgb),
            mean: vec![0.1, 0.2, 0.3],
            std: vec![0.5],
            ..nothing.clone()
        };
        let wanted = rgb.apply(None, SHAPE).expect("enough");
        assert_eq!(wanted.channels, Channels::Rgb);
        assert_eq!(wanted.normalisation[2].mean, 0.3);
        assert_eq!(wanted.normalisation[2].standard_deviation, 0.5);
        let file = Preprocessing::IMAGENET;
        let small = InputShape {
            height: 224,
            width: 224,
            ..SHAPE
        };
        assert_eq!(nothing.apply(Some(file), small), Ok(file));
    }

    #[test]
    fn what_does_not_fit_the_input_is_refused() {
        let options = |channels, mean: &[f32]| PreprocessingOptions {
            channels: Some(channels),
            mean: mean.to_vec(),
            ..PreprocessingOptions::default()
        };
        let grey = InputShape {
            channels: 1,
            ..SHAPE
        };
        assert!(options(Channels::Rgb, &[]).apply(None, grey).is_err());
        assert!(
            options(Channels::Rgb, &[0.1, 0.2])
                .apply(None, SHAPE)
                .is_err()
        );
        assert!(
            options(Channels::Rgb, &[f32::NAN])
                .apply(None, SHAPE)
                .is_err()
        );
        assert!(options(Channels::Grey, &[]).apply(None, SHAPE).is_ok());
    }

    #[test]
    fn words_say_all_that_is_done() {
        let shape = InputShape {
            height: 224,
            width: 224,
            ..SHAPE
        };
        assert_eq!(
            InWords(&Preprocessing::IMAGENET, shape).to_string(),
            "red, green, blue; the shorter side scaled to 256, then the centre 224×224, bilinear with \
             antialiasing; values 0 to 1, minus mean 0.485, 0.456, 0.406, divided by 0.229, 0.224, 0.225"
        );
    }

    #[test]
    fn the_preset_is_torchvisions_at_224_pixels() {
        let options = PreprocessingOptions {
            preset: Some(Preset::Imagenet),
            ..PreprocessingOptions::default()
        };
        let at = |side| {
            let shape = InputShape {
                height: side,
                width: side,
                ..SHAPE
            };
            options.apply(None, shape).expect("it fits")
        };
        assert_eq!(at(224), Preprocessing::IMAGENET);
        assert_eq!(at(32).geometry, Geometry::ShortSide(37));
    }
}
