//! What a model can want of a picture.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// The value of a name, among those there are.
#[must_use]
pub fn named<T: Copy>(all: &[(&str, T)], text: &str) -> Option<T> {
    let found = all.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value)
}

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

impl fmt::Display for Geometry {
    /// As interfaces name it, and as it is read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CenterCrop => f.write_str("center-crop"),
            Self::Stretch => f.write_str("stretch"),
            Self::Letterbox(value) => write!(f, "letterbox:{value}"),
            Self::ShortSide(side) => write!(f, "short-side:{side}"),
        }
    }
}

/// No geometry is written like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoGeometry;

impl fmt::Display for NoGeometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no geometry: use center-crop, stretch, letterbox:VALUE (0 to 255) or short-side:PIXELS \
             (1 to 65535)",
        )
    }
}

impl core::error::Error for NoGeometry {}

impl FromStr for Geometry {
    type Err = NoGeometry;

    /// Reads `center-crop`, `stretch`, `letterbox` (with 0 around), `letterbox:VALUE` or
    /// `short-side:PIXELS`.
    fn from_str(text: &str) -> Result<Self, NoGeometry> {
        let (name, value) = text
            .split_once(':')
            .map_or((text, None), |(name, value)| (name, Some(value)));
        let read = match (name, value) {
            ("center-crop", None) => Some(Self::CenterCrop),
            ("stretch", None) => Some(Self::Stretch),
            ("letterbox", None) => Some(Self::Letterbox(0)),
            ("letterbox", Some(value)) => value.parse().ok().map(Self::Letterbox),
            ("short-side", Some(side)) => side
                .parse()
                .ok()
                .filter(|&side| side > 0)
                .map(Self::ShortSide),
            _ => None,
        };
        read.ok_or(NoGeometry)
    }
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
    pub(super) fn apply(self, values: &mut [f32]) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometries_are_read_as_they_are_written() {
        for (text, geometry) in [
            ("center-crop", Geometry::CenterCrop),
            ("stretch", Geometry::Stretch),
            ("letterbox:114", Geometry::Letterbox(114)),
            ("short-side:256", Geometry::ShortSide(256)),
        ] {
            assert_eq!(text.parse(), Ok(geometry));
            let mut written = heapless::String::<24>::new();
            fmt::write(&mut written, format_args!("{geometry}")).expect("it fits");
            assert_eq!(written, text);
        }
        assert_eq!("letterbox".parse(), Ok(Geometry::Letterbox(0)));
        for wrong in [
            "letterbox:256",
            "short-side",
            "short-side:0",
            "stretch:1",
            "",
        ] {
            assert_eq!(wrong.parse::<Geometry>(), Err(NoGeometry), "{wrong}");
        }
    }
}
