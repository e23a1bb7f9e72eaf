//! What a camera offers: formats, sizes and rates.

use std::fmt;
use std::io;
use std::time::Duration;

use rustix::io::Errno;

use super::abi::{DISCRETE, FormatDescription, Fraction, FrameInterval, FrameSize};
use super::sys::Node;
use super::text;
use crate::source::camera::CameraFormat;

/// Ends an enumeration that a broken driver does not end.
const MOST: u32 = 256;

/// A format in which a camera sends pictures.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    /// The kernel's code.
    pub(super) pixel_format: u32,
    /// The driver's words for it.
    pub(super) description: String,
    pub(super) sizes: Sizes,
}

/// Widths and heights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sizes {
    /// These.
    Listed(Vec<(u32, u32)>),
    /// All between the least and the most that are steps apart: width, then height.
    Between([[u32; 3]; 2]),
    /// The driver does not say.
    Unknown,
}

impl Offer {
    pub(super) fn is(&self, format: CameraFormat) -> bool {
        self.pixel_format == u32::from_le_bytes(format.four_cc())
    }

    /// Whether pictures of this size come at this rate; `true` if the driver does not say.
    pub(super) fn has_rate(&self, node: &Node, size: (u32, u32), rate: f64) -> bool {
        let rates = rates(node, self.pixel_format, size);
        rates.is_empty()
            || rates
                .iter()
                .any(|offered| is_rate(Duration::from_secs_f64(1.0 / offered), rate))
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", name_of(self.pixel_format), self.description)
    }
}

impl Sizes {
    pub(super) fn has(&self, (width, height): (u32, u32)) -> bool {
        match self {
            Self::Listed(sizes) => sizes.contains(&(width, height)),
            Self::Between(sides) => {
                sides
                    .iter()
                    .zip([width, height])
                    .all(|([least, most, step], side)| {
                        (least..=most).contains(&&side)
                            && (*step == 0 || (side - least).is_multiple_of(*step))
                    })
            }
            Self::Unknown => true,
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(sizes) => {
                let sizes: Vec<_> = sizes
                    .iter()
                    .map(|(width, height)| format!("{width}x{height}"))
                    .collect();
                f.write_str(&sizes.join(", "))
            }
            Self::Between([[width, most_width, ..], [height, most_height, ..]]) => {
                write!(f, "{width}x{height} to {most_width}x{most_height}")
            }
            Self::Unknown => f.write_str("sizes that it does not tell"),
        }
    }
}

/// The four characters of a kernel's code; its highest bit says that the bytes are swapped.
pub(super) fn name_of(pixel_format: u32) -> String {
    const BIG_ENDIAN: u32 = 1 << 31;
    let letters = (pixel_format & !BIG_ENDIAN).to_le_bytes();
    let name = String::from_utf8_lossy(&letters).trim_end().to_owned();
    match pixel_format & BIG_ENDIAN {
        0 => name,
        _ => name + "-BE",
    }
}

/// Calls `ask` with 0, 1, … until there is no more.
fn enumerate<T>(mut ask: impl FnMut(u32) -> io::Result<T>) -> io::Result<Vec<T>> {
    let mut all = Vec::new();
    for index in 0..MOST {
        match ask(index) {
            Ok(item) => all.push(item),
            // The end; and the driver does not say at all.
            Err(error)
                if [Errno::INVAL, Errno::NOTTY]
                    .iter()
                    .any(|end| error.raw_os_error() == Some(end.raw_os_error())) =>
            {
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Every format of a camera.
pub(super) fn offers(node: &Node) -> io::Result<Vec<Offer>> {
    let formats = enumerate(|index| {
        let mut format = FormatDescription {
            index,
            ..FormatDescription::default()
        };
        node.enumerate_formats(&mut format)?;
        Ok(format)
    })?;
    formats
        .into_iter()
        .map(|format| {
            Ok(Offer {
                pixel_format: format.pixel_format,
                description: text(&format.description),
                sizes: sizes(node, format.pixel_format)?,
            })
        })
        .collect()
}

fn sizes(node: &Node, pixel_format: u32) -> io::Result<Sizes> {
    let sizes = enumerate(|index| {
        let mut size = FrameSize {
            index,
            pixel_format,
            ..FrameSize::default()
        };
        node.enumerate_sizes(&mut size)?;
        // A range is not followed by another.
        if index > 0 && size.kind != DISCRETE {
            return Err(Errno::INVAL.into());
        }
        Ok(size)
    })?;
    Ok(match sizes.first() {
        None => Sizes::Unknown,
        Some(first) if first.kind == DISCRETE => {
            let mut listed: Vec<_> = sizes
                .iter()
                .map(|size| (size.sides[0], size.sides[1]))
                .collect();
            listed.sort_unstable();
            listed.dedup();
            Sizes::Listed(listed)
        }
        Some(range) => {
            let [a, b, c, d, e, f] = range.sides;
            Sizes::Between([[a, b, c], [d, e, f]])
        }
    })
}

/// Frames per second of a format and size; both ends of a range. Empty if the driver does not say.
pub(super) fn rates(node: &Node, pixel_format: u32, (width, height): (u32, u32)) -> Vec<f64> {
    let intervals = enumerate(|index| {
        let mut interval = FrameInterval {
            index,
            pixel_format,
            width,
            height,
            ..FrameInterval::default()
        };
        node.enumerate_intervals(&mut interval)?;
        if index > 0 && interval.kind != DISCRETE {
            return Err(Errno::INVAL.into());
        }
        Ok(interval)
    });
    let mut rates: Vec<f64> = intervals
        .unwrap_or_default()
        .iter()
        .flat_map(|interval| {
            let ends = if interval.kind == DISCRETE { 1 } else { 2 };
            interval.intervals[..ends].iter()
        })
        .filter_map(|interval| Some(1.0 / duration(*interval)?.as_secs_f64()))
        .collect();
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    rates
}

/// An interval as a time; `None` if it is none.
pub(super) fn duration(interval: Fraction) -> Option<Duration> {
    let seconds = f64::from(interval.numerator) / f64::from(interval.denominator);
    (seconds > 0.0)
        .then(|| Duration::try_from_secs_f64(seconds).ok())
        .flatten()
        .filter(|interval| !interval.is_zero())
}

/// The interval of a rate.
pub(super) fn interval(rate: f64) -> Fraction {
    const UNIT: f64 = 1000.0;
    Fraction {
        numerator: UNIT as u32,
        denominator: (rate * UNIT).round() as u32,
    }
}

/// Whether an interval is that of a rate as people say it: 30 is 29.97, too.
pub(super) fn is_rate(interval: Duration, rate: f64) -> bool {
    (interval.as_secs_f64() * rate - 1.0).abs() < 0.01
}

/// Rates in words.
pub(super) fn listed(rates: &[f64]) -> String {
    let rates: Vec<_> = rates
        .iter()
        .map(|rate| format!("{}", (rate * 100.0).round() / 100.0))
        .collect();
    rates.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_matched() {
        let listed = Sizes::Listed(vec![(320, 240), (640, 480)]);
        assert!(listed.has((640, 480)) && !listed.has((640, 240)));
        assert_eq!(listed.to_string(), "320x240, 640x480");
        let range = Sizes::Between([[16, 64, 16], [2, 8, 0]]);
        for (size, expected) in [
            ((16, 2), true),
            ((64, 8), true),
            ((48, 3), true),
            ((40, 4), false),
            ((80, 4), false),
            ((0, 4), false),
            ((32, 9), false),
        ] {
            assert_eq!(range.has(size), expected, "{size:?}");
        }
        assert!(Sizes::Unknown.has((1, 1)));
    }

    #[test]
    fn rates_and_intervals_are_one_thing() {
        for rate in [0.5, 7.5, 15.0, 29.97, 30.0, 60.0, 120.0] {
            let interval = duration(interval(rate)).expect("an interval");
            assert!(is_rate(interval, rate), "{rate}");
        }
        let ntsc = duration(Fraction {
            numerator: 1001,
            denominator: 30_000,
        });
        assert!(is_rate(ntsc.expect("an interval"), 30.0));
        assert!(!is_rate(ntsc.expect("an interval"), 25.0));
        for (numerator, denominator) in [(0, 30), (1, 0), (0, 0)] {
            assert_eq!(
                duration(Fraction {
                    numerator,
                    denominator
                }),
                None
            );
        }
        assert_eq!(listed(&[29.970_029, 60.0]), "29.97, 60");
    }
}
