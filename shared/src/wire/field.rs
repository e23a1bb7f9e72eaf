//! What lines of the text format are made of: `key=value` pairs and names.

use core::fmt::{self, Write};
use core::str::{FromStr, Split};

use heapless::{String, Vec};

use super::FrameError;
use super::delivery::Ticket;
use super::message::MAX_LABELS;

/// A list without entries: no name is written like this.
pub(super) const NO_LABELS: &str = "%";

/// A number that is not known is written like this.
pub(super) const NO_NUMBER: &str = "none";

/// A number in 16 hexadecimal digits.
pub(super) fn read_hex(digits: &str) -> Option<u64> {
    (digits.len() == 16)
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten()
}

/// The value of upper-case hexadecimal digits.
pub(super) fn upper_hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, &digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return None,
        };
        Some(value << 4 | u32::from(digit))
    })
}

fn parse<T: FromStr>(text: &str) -> Result<T, FrameError> {
    text.parse().map_err(|_| FrameError::Content)
}

/// Exactly `N` numbers with a separator between them.
pub(super) fn read_numbers<T: FromStr + Copy + Default, const N: usize>(
    text: &str,
    separator: char,
) -> Result<[T; N], FrameError> {
    let mut parts = text.split(separator);
    let mut numbers = [T::default(); N];
    for number in &mut numbers {
        *number = parse(parts.next().ok_or(FrameError::Content)?)?;
    }
    match parts.next() {
        None => Ok(numbers),
        Some(_) => Err(FrameError::Content),
    }
}

/// The `key=value` pairs of a line not yet read.
pub(super) struct Fields<'a>(pub(super) Split<'a, char>);

impl<'a> Fields<'a> {
    /// The value of the next pair, which must have this key.
    pub(super) fn value(&mut self, key: &str) -> Result<&'a str, FrameError> {
        self.0
            .next()
            .and_then(|pair| pair.strip_prefix(key)?.strip_prefix('='))
            .ok_or(FrameError::Content)
    }

    pub(super) fn number<T: FromStr>(&mut self, key: &str) -> Result<T, FrameError> {
        parse(self.value(key)?)
    }

    pub(super) fn optional<T: FromStr>(&mut self, key: &str) -> Result<Option<T>, FrameError> {
        match self.value(key)? {
            NO_NUMBER => Ok(None),
            number => parse(number).map(Some),
        }
    }

    /// The value of the next pair if it has this key: older versions did not write it.
    pub(super) fn added<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<Option<T>, FrameError> {
        let mut rest = self.0.clone();
        let Some(pair) = rest.next() else {
            return Ok(None);
        };
        let Some(value) = pair
            .strip_prefix(key)
            .and_then(|pair| pair.strip_prefix('='))
        else {
            return Ok(None);
        };
        self.0 = rest;
        read(value).map(Some).ok_or(FrameError::Content)
    }

    pub(super) fn ticket(&mut self) -> Result<Option<Ticket>, FrameError> {
        self.added("ticket", |value| {
            let mut parts = value.split(',');
            let ticket = Ticket {
                epoch: read_hex(parts.next()?)?,
                number: parts.next()?.parse().ok()?,
                behind: parts.next()?.parse().ok()?,
            };
            parts.next().is_none().then_some(ticket)
        })
    }

    pub(super) fn limit(&mut self, key: &str) -> Result<f32, FrameError> {
        match self.value(key)? {
            "off" => Ok(f32::MAX),
            number => parse(number),
        }
    }
}

/// Prints a name without anything that separates fields.
pub(super) struct Name<'a>(pub(super) &'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0.as_bytes() {
            match byte {
                b'%' | b',' | b'=' | b'*' => write!(f, "%{byte:02X}")?,
                b'!'..=b'~' => f.write_char(char::from(byte))?,
                _ => write!(f, "%{byte:02X}")?,
            }
        }
        Ok(())
    }
}

/// Prints pixels as two upper-case hexadecimal digits each.
pub(super) struct Pixels<'a>(pub(super) &'a [u8]);

impl fmt::Display for Pixels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|pixel| write!(f, "{pixel:02X}"))
    }
}

pub(super) fn read_pixels<const N: usize>(text: &str) -> Result<Vec<u8, N>, FrameError> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return Err(FrameError::Content);
    }
    let mut pixels = Vec::new();
    for pair in pairs {
        let pixel = upper_hex(pair).ok_or(FrameError::Content)? as u8;
        pixels.push(pixel).map_err(|_| FrameError::Content)?;
    }
    Ok(pixels)
}

pub(super) fn read_name<const N: usize>(text: &str) -> Result<String<N>, FrameError> {
    let mut bytes = Vec::<u8, N>::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = if byte == b'%' {
            let digits = [rest.next(), rest.next()];
            let [Some(high), Some(low)] = digits else {
                return Err(FrameError::Content);
            };
            upper_hex(&[high, low]).ok_or(FrameError::Content)? as u8
        } else {
            byte
        };
        bytes.push(byte).map_err(|_| FrameError::Content)?;
    }
    String::from_utf8(bytes).map_err(|_| FrameError::Content)
}

pub(super) fn read_labels(text: &str) -> Result<Vec<String<16>, MAX_LABELS>, FrameError> {
    let mut labels = Vec::new();
    if text != NO_LABELS {
        for label in text.split(',') {
            labels
                .push(read_name(label)?)
                .map_err(|_| FrameError::Content)?;
        }
    }
    Ok(labels)
}
