//! Hexadecimal words of a line.

use core::str::SplitAsciiWhitespace;

/// The words of one line that have not been read.
pub(crate) struct Words<'a>(SplitAsciiWhitespace<'a>);

impl<'a> Words<'a> {
    pub(crate) fn of(line: &'a str) -> Self {
        Self(line.split_ascii_whitespace())
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        self.0.next()
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        u64::from_str_radix(self.0.next()?, 16).ok()
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        u32::from_str_radix(self.0.next()?, 16).ok()
    }

    pub(crate) fn decimal(&mut self) -> Option<usize> {
        self.0.next()?.parse().ok()
    }

    pub(crate) fn ended(&mut self) -> bool {
        self.0.next().is_none()
    }
}

/// Lines that are neither empty nor comments, with their numbers from 1.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}
