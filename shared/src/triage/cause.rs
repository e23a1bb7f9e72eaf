//! Names for what is wrong with a frame, and sets of them.

use core::fmt;
use core::str::FromStr;

use postcard_schema::Schema;
use serde::{Deserialize, Serialize};

use super::{Side, Verdict};

/// Why a frame is flagged, the cause that explains most first: what is wrong with the picture
/// explains why the model is in doubt, and one fault in a picture may cross the limits that later
/// ones look at (a frame that is white all over is neither sharp nor rich in contrast).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Cause {
    /// Black level above its limit: even the darkest parts are bright.
    Overexposed = 0,
    /// Share of even areas of one grey above its limit: something opaque is in front.
    Occluded = 1,
    /// Share of saturated pixels above its limit, while black is still black.
    Glare = 2,
    /// White level below its limit: even the brightest parts are dark.
    Underexposed = 3,
    /// Sharpness below its limit: out of focus.
    Blurred = 4,
    /// Contrast below its limit: fog, a smeared lens, or nothing to see.
    LowContrast = 5,
    /// Mutual information above its limit: nothing like this was in the training data.
    Unfamiliar = 6,
    /// Expected entropy above its limit: the input itself allows several answers.
    Ambiguous = 7,
    /// Predictive entropy above its limit: the answer as a whole is uncertain.
    Uncertain = 8,
}

impl Cause {
    /// Every cause, in the order of its bit.
    pub const ALL: [Self; 9] = [
        Self::Overexposed,
        Self::Occluded,
        Self::Glare,
        Self::Underexposed,
        Self::Blurred,
        Self::LowContrast,
        Self::Unfamiliar,
        Self::Ambiguous,
        Self::Uncertain,
    ];

    /// Its name on every interface: lower case, words joined by `-`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overexposed => "overexposed",
            Self::Occluded => "occluded",
            Self::Glare => "glare",
            Self::Underexposed => "underexposed",
            Self::Blurred => "blurred",
            Self::LowContrast => "low-contrast",
            Self::Unfamiliar => "unfamiliar",
            Self::Ambiguous => "ambiguous",
            Self::Uncertain => "uncertain",
        }
    }

    /// Position in [`Self::ALL`] and in arrays counted by cause.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// On which side of its limit the cause holds.
    #[must_use]
    pub const fn side(self) -> Side {
        match self {
            Self::Underexposed | Self::Blurred | Self::LowContrast => Side::Below,
            _ => Side::Above,
        }
    }

    /// Whether the cause lies in the picture alone, whatever the model says.
    #[must_use]
    pub const fn is_in_picture(self) -> bool {
        !matches!(self, Self::Uncertain | Self::Unfamiliar | Self::Ambiguous)
    }

    /// The strictest limit on a picture that what is usual may set, where there is one. In digits
    /// scanned in black and white, such statistics are nearly the same in every frame, and a limit
    /// just beyond them would flag whatever another camera sees.
    #[must_use]
    pub const fn strictest(self) -> Option<f32> {
        match self {
            // Luma: three tenths of the light of white.
            Self::Overexposed => Some(0.6),
            // Share of pixels: thick strokes under dim light are even areas, too.
            Self::Occluded => Some(0.15),
            // Luma: a tenth of the light of white.
            Self::Underexposed => Some(0.35),
            // An edge after a Gaussian blur of one pixel; white no more than 2⅓ times as bright as
            // black, in luma.
            Self::Blurred | Self::LowContrast => Some(0.4),
            Self::Glare | Self::Unfamiliar | Self::Ambiguous | Self::Uncertain => None,
        }
    }

    /// `limit`, or [`Self::strictest`] if that is less strict.
    #[must_use]
    pub fn not_too_strict(self, limit: f32) -> f32 {
        match (self.strictest(), self.side()) {
            (None, _) => limit,
            (Some(strictest), Side::Above) => limit.max(strictest),
            (Some(strictest), Side::Below) => limit.min(strictest),
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u8
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownCause;

impl fmt::Display for UnknownCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a cause; causes are")?;
        for (index, cause) in Cause::ALL.into_iter().enumerate() {
            write!(f, "{} {cause}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownCause {}

impl FromStr for Cause {
    type Err = UnknownCause;

    fn from_str(name: &str) -> Result<Self, UnknownCause> {
        Self::ALL
            .into_iter()
            .find(|cause| cause.name() == name)
            .ok_or(UnknownCause)
    }
}

/// A set of causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, Schema)]
#[serde(try_from = "u16", into = "u16")]
pub struct Causes(u16);

impl Causes {
    /// No cause.
    pub const EMPTY: Self = Self(0);

    const KNOWN: u16 = (1 << Cause::ALL.len()) - 1;

    /// The set with these bits, bit `i` for `Cause::ALL[i]`; `None` if another bit is set.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Option<Self> {
        if bits & !Self::KNOWN == 0 {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// Bit `i` for `Cause::ALL[i]`.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Adds a cause.
    pub fn insert(&mut self, cause: Cause) {
        self.0 |= cause.bit();
    }

    /// Whether the cause is in the set.
    #[must_use]
    pub const fn contains(self, cause: Cause) -> bool {
        self.0 & cause.bit() != 0
    }

    /// Whether there is no cause.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The causes, in the order of [`Cause::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Cause> {
        Cause::ALL
            .into_iter()
            .filter(move |cause| self.contains(*cause))
    }

    /// The cause that explains most: the first in the order of [`Cause::ALL`].
    #[must_use]
    pub fn primary(self) -> Option<Cause> {
        self.iter().next()
    }

    /// A frame with no cause is accepted, any other is flagged.
    #[must_use]
    pub const fn verdict(self) -> Verdict {
        if self.is_empty() {
            Verdict::Accept
        } else {
            Verdict::Flag
        }
    }
}

impl FromIterator<Cause> for Causes {
    fn from_iter<I: IntoIterator<Item = Cause>>(causes: I) -> Self {
        let mut set = Self::EMPTY;
        for cause in causes {
            set.insert(cause);
        }
        set
    }
}

impl TryFrom<u16> for Causes {
    type Error = UnknownCause;

    fn try_from(bits: u16) -> Result<Self, UnknownCause> {
        Self::from_bits(bits).ok_or(UnknownCause)
    }
}

impl From<Causes> for u16 {
    fn from(causes: Causes) -> Self {
        causes.0
    }
}

/// Names joined by `+`, the primary cause first, or `none`.
impl fmt::Display for Causes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        for (index, cause) in self.iter().enumerate() {
            if index > 0 {
                f.write_str("+")?;
            }
            f.write_str(cause.name())?;
        }
        Ok(())
    }
}

/// Reads what `Display` writes.
impl FromStr for Causes {
    type Err = UnknownCause;

    fn from_str(names: &str) -> Result<Self, UnknownCause> {
        if names == "none" {
            return Ok(Self::EMPTY);
        }
        names.split('+').map(Cause::from_str).collect()
    }
}
