//! Colours from luma and colour differences: the one place where Y'CbCr becomes red, green and blue, or
//! the luma that networks of one channel see.
//!
//! What is called luma here and everywhere is that of Rec. 601 from 0 (black) to 255 (white), whatever
//! the way in: a video of limited range (16 to 235) is expanded, and of a source that encodes by
//! Rec. 709, as high-definition video does, the luma is that of the colour which it means.

use std::fmt;

use shared::image::luma;

/// With which weights luma and colour differences were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Matrix {
    /// ITU-R BT.601: JPEG, webcams, standard-definition video.
    #[default]
    Bt601,
    /// ITU-R BT.709: high-definition video.
    Bt709,
    /// ITU-R BT.2020: ultra-high-definition video.
    Bt2020,
    /// SMPTE 240M: high-definition video before BT.709.
    Smpte240m,
}

impl Matrix {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Bt601, Self::Bt709, Self::Bt2020, Self::Smpte240m];

    /// What red and blue count in luma; green counts the rest.
    const fn red_and_blue(self) -> (f64, f64) {
        match self {
            Self::Bt601 => (0.299, 0.114),
            Self::Bt709 => (0.2126, 0.0722),
            Self::Bt2020 => (0.2627, 0.0593),
            Self::Smpte240m => (0.212, 0.087),
        }
    }
}

/// How numbers stand for luma and colour differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// The weights.
    pub matrix: Matrix,
    /// Whether luma goes from 16 to 235, and differences from 16 to 240, instead of 0 to 255.
    pub limited: bool,
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let matrix = match self.matrix {
            Matrix::Bt601 => "BT.601",
            Matrix::Bt709 => "BT.709",
            Matrix::Bt2020 => "BT.2020",
            Matrix::Smpte240m => "SMPTE 240M",
        };
        let range = if self.limited { "limited" } else { "full" };
        write!(f, "{matrix}, {range} range")
    }
}

/// What the differences of one encoding count, in parts of 65536.
#[derive(Clone, Copy, Debug)]
struct Weights {
    black: i32,
    luma: i32,
    red: i32,
    green: [i32; 2],
    blue: i32,
}

impl Encoding {
    /// That of JPEG pictures: Rec. 601, full range.
    pub const JPEG: Self = Self {
        matrix: Matrix::Bt601,
        limited: false,
    };
    /// That of video of which nothing else is known: Rec. 601, limited range.
    pub const VIDEO: Self = Self {
        matrix: Matrix::Bt601,
        limited: true,
    };

    const fn weights(self) -> Weights {
        const fn part(value: f64) -> i32 {
            (value * 65_536.0 + 0.5) as i32
        }
        let (red, blue) = self.matrix.red_and_blue();
        let green = 1.0 - red - blue;
        let (black, luma, difference) = if self.limited {
            (16, 255.0 / 219.0, 255.0 / 224.0)
        } else {
            (0, 1.0, 1.0)
        };
        let (from_red, from_blue) = (2.0 * (1.0 - red), 2.0 * (1.0 - blue));
        Weights {
            black,
            luma: part(luma),
            red: part(difference * from_red),
            green: [
                part(difference * from_blue * blue / green),
                part(difference * from_red * red / green),
            ],
            blue: part(difference * from_blue),
        }
    }

    /// What its colours are worked out by.
    pub(super) const fn formula(self) -> Formula {
        Formula {
            encoding: self,
            weights: self.weights(),
        }
    }

    /// Red, green and blue of a colour `[Y, Cb, Cr]`.
    #[must_use]
    pub const fn rgb(self, colour: [u8; 3]) -> [u8; 3] {
        self.formula().rgb(colour)
    }

    /// Luma by Rec. 601, full range, of a colour `[Y, Cb, Cr]`.
    #[must_use]
    pub const fn luma(self, colour: [u8; 3]) -> u8 {
        self.formula().luma(colour)
    }
}

/// An encoding with its weights.
#[derive(Clone, Copy, Debug)]
pub(super) struct Formula {
    encoding: Encoding,
    weights: Weights,
}

const fn clamped(value: i32) -> u8 {
    let value = (value + 0x8000) >> 16;
    if value < 0 {
        0
    } else if value > 255 {
        255
    } else {
        value as u8
    }
}

impl Formula {
    #[inline]
    pub(super) const fn rgb(&self, [y, cb, cr]: [u8; 3]) -> [u8; 3] {
        let Weights {
            black,
            luma,
            red,
            green,
            blue,
        } = self.weights;
        let (cb, cr) = (cb as i32 - 128, cr as i32 - 128);
        let y = (y as i32 - black) * luma;
        [
            clamped(y + red * cr),
            clamped(y - green[0] * cb - green[1] * cr),
            clamped(y + blue * cb),
        ]
    }

    #[inline]
    pub(super) const fn luma(&self, colour: [u8; 3]) -> u8 {
        match self.encoding.matrix {
            Matrix::Bt601 => self.expanded(colour[0]),
            _ => luma(self.rgb(colour)),
        }
    }

    /// Luma of full range, as the same weights give it.
    #[inline]
    pub(super) const fn expanded(&self, y: u8) -> u8 {
        clamped((y as i32 - self.weights.black) * self.weights.luma)
    }

    /// Whether luma is `Y`, so that a plane of it can be copied.
    pub(super) fn is_plain(&self) -> bool {
        self.encoding == Encoding::JPEG
    }

    /// Whether luma takes `Y` alone.
    pub(super) fn needs_no_colour(&self) -> bool {
        self.encoding.matrix == Matrix::Bt601
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `[Y, Cb, Cr]` of a colour, by the formula of the recommendations.
    fn encode(encoding: Encoding, colour: [u8; 3]) -> [f64; 3] {
        let (red, blue) = encoding.matrix.red_and_blue();
        let [r, g, b] = colour.map(|part| f64::from(part) / 255.0);
        let y = red * r + (1.0 - red - blue) * g + blue * b;
        let cb = (b - y) / (2.0 * (1.0 - blue));
        let cr = (r - y) / (2.0 * (1.0 - red));
        if encoding.limited {
            [16.0 + 219.0 * y, 128.0 + 224.0 * cb, 128.0 + 224.0 * cr]
        } else {
            [255.0 * y, 128.0 + 255.0 * cb, 128.0 + 255.0 * cr]
        }
    }

    /// The same the other way, not rounded before its end.
    fn decode(encoding: Encoding, colour: [u8; 3]) -> [f64; 3] {
        let (red, blue) = encoding.matrix.red_and_blue();
        let [y, cb, cr] = colour.map(f64::from);
        let (y, cb, cr) = if encoding.limited {
            (
                (y - 16.0) / 219.0,
                (cb - 128.0) / 224.0,
                (cr - 128.0) / 224.0,
            )
        } else {
            (y / 255.0, (cb - 128.0) / 255.0, (cr - 128.0) / 255.0)
        };
        let r = y + 2.0 * (1.0 - red) * cr;
        let b = y + 2.0 * (1.0 - blue) * cb;
        let g = (y - red * r - blue * b) / (1.0 - red - blue);
        [r, g, b].map(|part| (255.0 * part).clamp(0.0, 255.0))
    }

    #[test]
    fn known_colours_are_exact() {
        for (limited, black, white) in [(false, 0, 255), (true, 16, 235)] {
            for matrix in Matrix::ALL {
                let encoding = Encoding { matrix, limited };
                assert_eq!(encoding.rgb([black, 128, 128]), [0; 3]);
                assert_eq!(encoding.rgb([white, 128, 128]), [255; 3]);
                assert_eq!(encoding.luma([black, 128, 128]), 0);
                assert_eq!(encoding.luma([white, 128, 128]), 255);
            }
        }
        // Red, as BT.601 and BT.709 list it for bars of full amplitude.
        assert_eq!(Encoding::VIDEO.rgb([81, 90, 240]), [254, 0, 0]);
        let hd = Encoding {
            matrix: Matrix::Bt709,
            limited: true,
        };
        assert_eq!(hd.rgb([63, 102, 240]), [255, 1, 0]);
        assert_eq!(hd.luma([63, 102, 240]), 77);
    }

    #[test]
    fn every_colour_is_within_one_of_exact_arithmetic() {
        for matrix in Matrix::ALL {
            for limited in [false, true] {
                let encoding = Encoding { matrix, limited };
                for y in (0..=255).step_by(5) {
                    for cb in (0..=255).step_by(15) {
                        for cr in (0..=255).step_by(15) {
                            let found = encoding.rgb([y, cb, cr]);
                            let exact = decode(encoding, [y, cb, cr]);
                            for (found, exact) in found.into_iter().zip(exact) {
                                assert!((f64::from(found) - exact).abs() < 1.0);
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_same_colour_has_the_same_luma_in_every_encoding() {
        for colour in [
            [255, 0, 0],
            [0, 255, 0],
            [0, 0, 255],
            [200, 30, 90],
            [17, 99, 60],
            [128; 3],
        ] {
            for matrix in Matrix::ALL {
                for limited in [false, true] {
                    let encoding = Encoding { matrix, limited };
                    let sent = encode(encoding, colour).map(|part| part.round() as u8);
                    let found = encoding.luma(sent);
                    assert!(
                        found.abs_diff(luma(colour)) <= 2,
                        "{colour:?} {encoding:?} {found}"
                    );
                }
            }
        }
    }
}
