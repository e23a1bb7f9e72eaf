//! What happens to pictures in the field, in twelve families of five severities each.
//!
//! An 8-bit luma value `v` stands for the linear light `L = (v / 255)^2.2`. Optics and sensors act
//! on light, so all families but `noise` do; what comes out is clipped to 0..=1 and encoded back.
//! Lengths are pixels of a 28 × 28 image and grow with the shorter side of the picture; a stop is a factor
//! of 2 in light. Red, green and blue are light of their own, hidden by the same grey and moved together.
//! Places, directions and shades are drawn at random; what is in the table is fixed by the severity.
//!
//! | family | formula | parameter | 1 | 2 | 3 | 4 | 5 |
//! | --- | --- | --- | --- | --- | --- | --- | --- |
//! | `occlusion-block` | one grey (luma 60 to 200) in a rectangle around the middle ± 3 px, aspect ratio ⅔ to 1½ | √area | 8 | 11 | 14 | 17 | 20 |
//! | `occlusion-bars` | one grey (luma 60 to 200) in parallel bars at any angle, one per 28/3 px | width | 2 | 3 | 4 | 5 | 6 |
//! | `glare` | `L + e(d)`: 1 up to distance d = r from a point of the middle 12 × 12 px, falling linearly to 0 at 1.5 r | r | 4 | 6 | 8 | 10 | 12 |
//! | `shading` | `g L`, exposure falling linearly in stops across the frame, in any direction | stops lost, lightest side | 1 | 2 | 3 | 4 | 5 |
//! | | | stops lost, darkest side | 3 | 5 | 7 | 9 | 11 |
//! | `underexposure` | `g L` | stops lost | 1 | 2 | 4 | 6 | 8 |
//! | `overexposure` | `g (L + 0.03 (1 − L))`: black paper reflects 3 % of the light | stops gained | 1.5 | 2.5 | 4 | 4.75 | 5.5 |
//! | `low-contrast` | `t L + (1 − t) A`: fog of transmission t and airlight A = 0.12 to 0.3 (Koschmieder 1924) | t | 0.75 | 0.5 | 0.3 | 0.2 | 0.1 |
//! | `blur` | convolution with a Gaussian, borders repeated (defocus) | σ | 0.7 | 1 | 1.5 | 2 | 2.5 |
//! | `noise` | Gaussian read noise on `v / 255` | σ | 0.08 | 0.12 | 0.18 | 0.26 | 0.38 |
//! | `shot-noise` | Poisson(n L) / n | photons n of full scale | 60 | 25 | 12 | 5 | 3 |
//! | `rotation` | around the middle, either way, bilinear | degrees | 10 | 20 | 30 | 45 | 60 |
//! | `translation` | in any direction, bilinear | distance | 2 | 4 | 6 | 8 | 10 |
//!
//! What rotation and translation move in from outside is black. The severities of the noises are
//! those of ImageNet-C (Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common
//! Corruptions and Perturbations", 2019), whose design this follows.

mod effects;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use device::source::Frame;
use serde::{Deserialize, Serialize};
use shared::image::PixelFormat;
use shared::triage::Cause;

use super::write::write_folder;
use super::{DataError, Dataset, Random};
use effects::Light;

/// A family of ways for a camera picture to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Corruption {
    /// An opaque, evenly grey rectangle hides part of the picture.
    OcclusionBlock,
    /// Parallel opaque bars, as of a fence.
    OcclusionBars,
    /// A light source saturates a disc with a soft edge.
    Glare,
    /// A shadow: too little light, least on one side.
    Shading,
    /// Too little light everywhere.
    Underexposure,
    /// Too much light everywhere: black turns grey, grey turns white.
    Overexposure,
    /// Fog, or a smeared lens: everything approaches one grey.
    LowContrast,
    /// Out of focus.
    Blur,
    /// Gaussian noise of the sensor's electronics.
    Noise,
    /// Poisson noise of few photons.
    ShotNoise,
    /// The camera is turned.
    Rotation,
    /// The camera points elsewhere.
    Translation,
}

impl Corruption {
    /// Every family.
    pub const ALL: [Self; 12] = [
        Self::OcclusionBlock,
        Self::OcclusionBars,
        Self::Glare,
        Self::Shading,
        Self::Underexposure,
        Self::Overexposure,
        Self::LowContrast,
        Self::Blur,
        Self::Noise,
        Self::ShotNoise,
        Self::Rotation,
        Self::Translation,
    ];

    /// Its name on every interface: lower case, words joined by `-`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OcclusionBlock => "occlusion-block",
            Self::OcclusionBars => "occlusion-bars",
            Self::Glare => "glare",
            Self::Shading => "shading",
            Self::Underexposure => "underexposure",
            Self::Overexposure => "overexposure",
            Self::LowContrast => "low-contrast",
            Self::Blur => "blur",
            Self::Noise => "noise",
            Self::ShotNoise => "shot-noise",
            Self::Rotation => "rotation",
            Self::Translation => "translation",
        }
    }

    /// What a flag should name as its cause; `None` where no image statistic is meant to tell, and
    /// only the model's own uncertainty can.
    #[must_use]
    pub const fn cause(self) -> Option<Cause> {
        match self {
            Self::OcclusionBlock | Self::OcclusionBars => Some(Cause::Occluded),
            Self::Glare => Some(Cause::Glare),
            Self::Shading | Self::Underexposure => Some(Cause::Underexposed),
            Self::Overexposure => Some(Cause::Overexposed),
            Self::LowContrast => Some(Cause::LowContrast),
            Self::Blur => Some(Cause::Blurred),
            Self::Noise | Self::ShotNoise | Self::Rotation | Self::Translation => None,
        }
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no family.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no family of corruptions is called so; there are {}", Corruption::ALL.map(Corruption::name).join(", "))]
pub struct UnknownCorruption;

impl FromStr for Corruption {
    type Err = UnknownCorruption;

    fn from_str(name: &str) -> Result<Self, UnknownCorruption> {
        Self::ALL
            .into_iter()
            .find(|corruption| corruption.name() == name)
            .ok_or(UnknownCorruption)
    }
}

/// How badly a picture is spoilt, 1 to 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Severity(u8);

impl Severity {
    /// From the mildest to the worst.
    pub const ALL: [Self; 5] = [Self(1), Self(2), Self(3), Self(4), Self(5)];

    /// 1..=5.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The parameter of this severity, out of those of all.
    const fn of(self, parameters: [f64; 5]) -> f64 {
        parameters[self.0 as usize - 1]
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number that is no severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a severity is a whole number from 1 to 5")]
pub struct SeverityError;

impl TryFrom<u8> for Severity {
    type Error = SeverityError;

    fn try_from(severity: u8) -> Result<Self, SeverityError> {
        if (1..=5).contains(&severity) {
            Ok(Self(severity))
        } else {
            Err(SeverityError)
        }
    }
}

impl From<Severity> for u8 {
    fn from(severity: Severity) -> Self {
        severity.0
    }
}

impl FromStr for Severity {
    type Err = SeverityError;

    fn from_str(text: &str) -> Result<Self, SeverityError> {
        text.parse::<u8>().map_err(|_| SeverityError)?.try_into()
    }
}

/// How every picture of a data set is spoilt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spoil {
    pub(super) corruption: Corruption,
    pub(super) severity: Severity,
    pub(super) seed: u64,
}

/// Applies `corruption` to a picture; what the severity leaves open is drawn from `random`.
///
/// # Panics
/// The picture is not of 8 bits of grey, or of red, green and blue, or has not as many pixels as it says.
pub fn corrupt(corruption: Corruption, severity: Severity, frame: &mut Frame, random: &mut Random) {
    in_light(frame, |light| {
        effects::apply(corruption, severity, light, random);
    });
}

/// Turns a picture by an angle clockwise around its middle, bilinearly; what comes in from outside is
/// black.
///
/// # Panics
/// As [`corrupt`].
pub fn rotate(frame: &mut Frame, degrees: f64) {
    in_light(frame, |light| light.rotate(degrees));
}

fn in_light(frame: &mut Frame, change: impl FnOnce(&mut Light)) {
    assert_ne!(frame.format, PixelFormat::Rgb565, "a byte per channel");
    let channels = frame.format.bytes();
    let pixels = frame.width * frame.height;
    assert_eq!(frame.pixels.len(), pixels * channels, "one picture");
    let linear: Vec<f64> = (0..=u8::MAX).map(effects::linear).collect();
    let plane = |channel: usize| {
        let values = frame.pixels[channel..].iter().step_by(channels);
        values.map(|&value| linear[usize::from(value)]).collect()
    };
    let mut light = Light {
        width: frame.width,
        height: frame.height,
        planes: (0..channels).map(plane).collect(),
    };
    change(&mut light);
    for (channel, plane) in light.planes.into_iter().enumerate() {
        let values = frame.pixels[channel..].iter_mut().step_by(channels);
        for (value, light) in values.zip(plane) {
            *value = effects::luma(light);
        }
    }
}

/// The data set with every image corrupted; image i draws from stream i of `seed`, so that it is
/// spoilt in the same place at every severity. An image is spoilt when it is asked for.
#[must_use]
pub fn corrupted(
    dataset: &Dataset,
    corruption: Corruption,
    severity: Severity,
    seed: u64,
) -> Dataset {
    dataset.spoilt(Spoil {
        corruption,
        severity,
        seed,
    })
}

/// Writes the images of `dataset`, [`corrupted`], as `000000.png`, `000001.png`, … to the new (or empty)
/// folder `out`, in their own size and colour. It appears under its name only when complete.
///
/// # Errors
/// An image cannot be read, or the folder is not empty or cannot be written.
pub fn write_corrupted(
    dataset: &Dataset,
    corruption: Corruption,
    severity: Severity,
    seed: u64,
    out: &Path,
) -> Result<(), DataError> {
    let spoilt = corrupted(dataset, corruption, severity, seed);
    let images = (0..spoilt.len()).map(|index| spoilt.frame(index, PixelFormat::Rgb8));
    write_folder(images, &[], out)
}

#[cfg(test)]
mod tests;
