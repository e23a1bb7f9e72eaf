//! The forms in which cameras send pictures.

use std::str::FromStr;

use shared::image::PixelFormat;

/// A form of pictures that cameras send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CameraFormat {
    /// 8-bit luma.
    Grey,
    /// 10-bit luma in two bytes, the low one first.
    Y10,
    /// 12-bit luma in two bytes, the low one first.
    Y12,
    /// 16-bit luma, the low byte first; of thermal cameras, a temperature.
    Y16,
    /// Luma and chroma in turn, 4:2:2.
    Yuyv,
    /// Chroma and luma in turn, 4:2:2.
    Uyvy,
    /// A plane of luma, then one of chroma, 4:2:0: blue and red in turn.
    Nv12,
    /// As NV12, red before blue.
    Nv21,
    /// As NV12, each plane in memory of its own.
    Nv12m,
    /// A plane of luma, one of blue chroma and one of red, 4:2:0.
    Yu12,
    /// Red, green, blue.
    Rgb3,
    /// Blue, green, red.
    Bgr3,
    /// A JPEG picture each.
    Mjpeg,
}

/// Codes in V4L2 (`V4L2_PIX_FMT_…`) and names on the command line.
const NAMES: [(CameraFormat, [u8; 4], &str); 13] = [
    (CameraFormat::Grey, *b"GREY", "grey"),
    (CameraFormat::Y10, *b"Y10 ", "y10"),
    (CameraFormat::Y12, *b"Y12 ", "y12"),
    (CameraFormat::Y16, *b"Y16 ", "y16"),
    (CameraFormat::Yuyv, *b"YUYV", "yuyv"),
    (CameraFormat::Uyvy, *b"UYVY", "uyvy"),
    (CameraFormat::Nv12, *b"NV12", "nv12"),
    (CameraFormat::Nv21, *b"NV21", "nv21"),
    (CameraFormat::Nv12m, *b"NM12", "nv12m"),
    (CameraFormat::Yu12, *b"YU12", "yu12"),
    (CameraFormat::Rgb3, *b"RGB3", "rgb3"),
    (CameraFormat::Bgr3, *b"BGR3", "bgr3"),
    (CameraFormat::Mjpeg, *b"MJPG", "mjpeg"),
];

impl CameraFormat {
    /// Every form, those first that take the least work to become luma.
    pub const ALL: [Self; 13] = [
        Self::Grey,
        Self::Nv12,
        Self::Nv12m,
        Self::Nv21,
        Self::Yu12,
        Self::Yuyv,
        Self::Uyvy,
        Self::Y10,
        Self::Y12,
        Self::Y16,
        Self::Rgb3,
        Self::Bgr3,
        Self::Mjpeg,
    ];

    /// The forms with colour, those first that take the least work to become red, green and blue.
    const COLOUR: [Self; 9] = [
        Self::Rgb3,
        Self::Bgr3,
        Self::Yuyv,
        Self::Uyvy,
        Self::Nv12,
        Self::Nv12m,
        Self::Nv21,
        Self::Yu12,
        Self::Mjpeg,
    ];

    /// The forms that serve where pictures of `wanted` do, those first that take the least work.
    #[must_use]
    pub const fn serving(wanted: PixelFormat) -> &'static [Self] {
        if wanted.is_colour() {
            &Self::COLOUR
        } else {
            &Self::ALL
        }
    }

    /// Its code in V4L2 (`V4L2_PIX_FMT_…`).
    #[must_use]
    pub fn four_cc(self) -> [u8; 4] {
        self.entry().1
    }

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.entry().2
    }

    fn entry(self) -> &'static (Self, [u8; 4], &'static str) {
        // Every form is in the list: a test says so.
        let at = NAMES.iter().position(|(format, ..)| *format == self);
        &NAMES[at.unwrap_or_default()]
    }

    /// Whether it has colour.
    #[must_use]
    pub fn is_colour(self) -> bool {
        Self::COLOUR.contains(&self)
    }

    /// Bits of its luma.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Y10 => 10,
            Self::Y12 => 12,
            Self::Y16 => 16,
            _ => 8,
        }
    }

    /// Bytes of a pixel of its first plane; 0 where there are no rows.
    pub(super) const fn pixel_bytes(self) -> usize {
        match self {
            Self::Grey | Self::Nv12 | Self::Nv21 | Self::Nv12m | Self::Yu12 => 1,
            Self::Y10 | Self::Y12 | Self::Y16 | Self::Yuyv | Self::Uyvy => 2,
            Self::Rgb3 | Self::Bgr3 => 3,
            Self::Mjpeg => 0,
        }
    }

    /// The names of forms in words.
    pub(super) fn listed(formats: &[Self]) -> String {
        let names: Vec<_> = formats.iter().map(|format| format.name()).collect();
        match names.split_last() {
            Some((last, first)) if !first.is_empty() => format!("{} or {last}", first.join(", ")),
            _ => names.concat(),
        }
    }
}

impl FromStr for CameraFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = NAMES.iter().find(|(_, code, name)| {
            name.eq_ignore_ascii_case(text)
                || code.trim_ascii_end().eq_ignore_ascii_case(text.as_bytes())
        });
        found
            .map(|(format, ..)| *format)
            .ok_or_else(|| format!("'{text}' is no format: use {}", Self::listed(&Self::ALL)))
    }
}

/// How luma of more than 8 bits becomes 8: linearly, from black to white.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GreyRange {
    /// From 0 to the most that the format holds.
    #[default]
    Full,
    /// From the least to the most of each picture: every picture has all of the range, and what it means
    /// changes from one to the next.
    Auto,
    /// From one value to a higher one; what lies beyond is black or white.
    Between(u16, u16),
}

impl FromStr for GreyRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "full" => return Ok(Self::Full),
            "auto" => return Ok(Self::Auto),
            _ => {}
        }
        text.split_once(',')
            .and_then(|(low, high)| Some((low.trim().parse().ok()?, high.trim().parse().ok()?)))
            .filter(|(low, high)| low < high)
            .map(|(low, high)| Self::Between(low, high))
            .ok_or_else(|| {
                "expected full, auto, or LOW,HIGH with LOW below HIGH, 65535 at most".to_owned()
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_named_as_people_do() {
        for (name, format) in [
            ("grey", CameraFormat::Grey),
            ("YUYV", CameraFormat::Yuyv),
            ("y16", CameraFormat::Y16),
            ("nv12", CameraFormat::Nv12),
            ("NV12M", CameraFormat::Nv12m),
            ("nm12", CameraFormat::Nv12m),
            ("mjpeg", CameraFormat::Mjpeg),
            ("MJPG", CameraFormat::Mjpeg),
        ] {
            assert_eq!(name.parse(), Ok(format));
        }
        assert!("rgb".parse::<CameraFormat>().is_err());
        for format in CameraFormat::ALL {
            assert_eq!(format.name().parse(), Ok(format));
        }
    }

    #[test]
    fn forms_without_colour_do_not_serve_where_colour_is_wanted() {
        let serving = CameraFormat::serving(PixelFormat::Rgb8);
        for format in CameraFormat::ALL {
            let has_luma_only = matches!(
                format,
                CameraFormat::Grey | CameraFormat::Y10 | CameraFormat::Y12 | CameraFormat::Y16
            );
            assert_eq!(serving.contains(&format), !has_luma_only, "{format:?}");
            assert!(CameraFormat::serving(PixelFormat::Grey8).contains(&format));
        }
        assert_eq!(CameraFormat::listed(&serving[..3]), "rgb3, bgr3 or yuyv");
    }

    #[test]
    fn ranges_are_understood() {
        assert_eq!("full".parse(), Ok(GreyRange::Full));
        assert_eq!("auto".parse(), Ok(GreyRange::Auto));
        assert_eq!("7000,8200".parse(), Ok(GreyRange::Between(7000, 8200)));
        for text in ["", "1", "5,5", "6,5", "0,65536", "-1,4"] {
            assert!(text.parse::<GreyRange>().is_err(), "{text}");
        }
    }
}
