//! Accept a frame, or flag it with every cause that applies.
//!
//! Each cause belongs to one threshold and holds exactly when that threshold is crossed, so a flag
//! always says which of several limits acted.

use core::fmt;
use core::str::FromStr;

use postcard_schema::Schema;
use serde::{Deserialize, Serialize};

use crate::image::FrameStatistics;
use crate::uncertainty::Measures;

/// Why a frame is flagged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Cause {
    /// Predictive entropy above its limit: the answer as a whole is uncertain.
    Uncertain = 0,
    /// Mutual information above its limit: nothing like this was in the training data.
    Unfamiliar = 1,
    /// Expected entropy above its limit: the input itself allows several answers.
    Ambiguous = 2,
    /// Share of saturated pixels above its limit.
    Glare = 3,
    /// Mean luma above its limit.
    Overexposed = 4,
    /// Mean luma below its limit.
    Underexposed = 5,
    /// Contrast below its limit.
    LowContrast = 6,
    /// Sharpness below its limit: blurred, or something covers the lens.
    Obscured = 7,
}

impl Cause {
    /// Every cause, in the order of its bit.
    pub const ALL: [Self; 8] = [
        Self::Uncertain,
        Self::Unfamiliar,
        Self::Ambiguous,
        Self::Glare,
        Self::Overexposed,
        Self::Underexposed,
        Self::LowContrast,
        Self::Obscured,
    ];

    /// Its name on every interface: lower case, words joined by `-`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uncertain => "uncertain",
            Self::Unfamiliar => "unfamiliar",
            Self::Ambiguous => "ambiguous",
            Self::Glare => "glare",
            Self::Overexposed => "overexposed",
            Self::Underexposed => "underexposed",
            Self::LowContrast => "low-contrast",
            Self::Obscured => "obscured",
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
            Self::Underexposed | Self::LowContrast | Self::Obscured => Side::Below,
            _ => Side::Above,
        }
    }

    /// Whether the cause lies in the picture alone, whatever the model says.
    #[must_use]
    pub const fn is_in_picture(self) -> bool {
        !matches!(self, Self::Uncertain | Self::Unfamiliar | Self::Ambiguous)
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

/// Names joined by `+`, or `none`.
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

/// What becomes of a frame's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// No threshold is crossed.
    Accept,
    /// At least one is.
    Flag,
}

impl Verdict {
    /// Its name on every interface.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Flag => "flag",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A threshold that is not a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThresholdError {
    /// The field's name.
    pub name: &'static str,
}

impl fmt::Display for ThresholdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "threshold {} is not a number", self.name)
    }
}

impl core::error::Error for ThresholdError {}

/// One limit per cause. A `max_` limit of [`f32::MAX`] or more, or a `min_` limit of 0 or less,
/// is never crossed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Schema)]
pub struct Thresholds {
    /// Nats; above it: [`Cause::Uncertain`].
    pub max_predictive_entropy: f32,
    /// Nats; above it: [`Cause::Unfamiliar`].
    pub max_mutual_information: f32,
    /// Nats; above it: [`Cause::Ambiguous`].
    pub max_expected_entropy: f32,
    /// Share of pixels, 0..=1; above it: [`Cause::Glare`].
    pub max_saturated: f32,
    /// Luma, 0..=1; above it: [`Cause::Overexposed`].
    pub max_mean: f32,
    /// Luma, 0..=1; below it: [`Cause::Underexposed`].
    pub min_mean: f32,
    /// Standard deviation of luma, 0..=½; below it: [`Cause::LowContrast`].
    pub min_contrast: f32,
    /// [`FrameStatistics::sharpness`]; below it: [`Cause::Obscured`].
    pub min_sharpness: f32,
}

impl Thresholds {
    /// Accepts every frame. Every limit is finite, so that it survives JSON.
    pub const OFF: Self = Self {
        max_predictive_entropy: f32::MAX,
        max_mutual_information: f32::MAX,
        max_expected_entropy: f32::MAX,
        max_saturated: f32::MAX,
        max_mean: f32::MAX,
        min_mean: 0.0,
        min_contrast: 0.0,
        min_sharpness: 0.0,
    };

    /// Starting values for a model that was never calibrated: fixed shares of `ln classes`, and
    /// image limits that only plainly spoilt frames cross. They carry no guarantee.
    #[must_use]
    pub fn uncalibrated(classes: usize) -> Self {
        let most = libm::log(classes.max(2) as f64) as f32;
        Self {
            max_predictive_entropy: 0.4 * most,
            max_mutual_information: 0.15 * most,
            max_expected_entropy: 0.3 * most,
            max_saturated: 0.5,
            max_mean: 0.9,
            min_mean: 0.02,
            min_contrast: 0.05,
            min_sharpness: 0.1,
        }
    }

    /// The limits with their names, in the order of [`Cause::ALL`].
    #[must_use]
    pub const fn named(&self) -> [(&'static str, f32); 8] {
        [
            ("max_predictive_entropy", self.max_predictive_entropy),
            ("max_mutual_information", self.max_mutual_information),
            ("max_expected_entropy", self.max_expected_entropy),
            ("max_saturated", self.max_saturated),
            ("max_mean", self.max_mean),
            ("min_mean", self.min_mean),
            ("min_contrast", self.min_contrast),
            ("min_sharpness", self.min_sharpness),
        ]
    }

    /// Refuses limits that could never be compared with.
    ///
    /// # Errors
    /// [`ThresholdError`] names the first limit that is NaN.
    pub fn validate(&self) -> Result<(), ThresholdError> {
        match self.named().into_iter().find(|(_, limit)| limit.is_nan()) {
            Some((name, _)) => Err(ThresholdError { name }),
            None => Ok(()),
        }
    }

    /// The limit that belongs to a cause.
    #[must_use]
    pub const fn limit(&self, cause: Cause) -> f32 {
        self.named()[cause.index()].1
    }

    /// The limit that belongs to a cause, to be changed.
    pub const fn limit_mut(&mut self, cause: Cause) -> &mut f32 {
        match cause {
            Cause::Uncertain => &mut self.max_predictive_entropy,
            Cause::Unfamiliar => &mut self.max_mutual_information,
            Cause::Ambiguous => &mut self.max_expected_entropy,
            Cause::Glare => &mut self.max_saturated,
            Cause::Overexposed => &mut self.max_mean,
            Cause::Underexposed => &mut self.min_mean,
            Cause::LowContrast => &mut self.min_contrast,
            Cause::Obscured => &mut self.min_sharpness,
        }
    }

    /// The causes that apply.
    #[must_use]
    pub fn judge<const N: usize>(
        &self,
        measures: &Measures<N>,
        statistics: &FrameStatistics,
    ) -> Causes {
        self.judge_evidence(&Evidence::new(measures, statistics))
    }

    /// The causes that apply to a frame whose measures were taken before.
    #[must_use]
    pub fn judge_evidence(&self, evidence: &Evidence) -> Causes {
        self.crossed(evidence.iter())
    }

    /// Those of the causes that depend on the picture alone.
    #[must_use]
    pub fn judge_image(&self, statistics: &FrameStatistics) -> Causes {
        self.crossed(seen(statistics).into_iter())
    }

    fn crossed(&self, values: impl Iterator<Item = (Cause, f32)>) -> Causes {
        values
            .filter(|&(cause, value)| match cause.side() {
                Side::Above => value > self.limit(cause),
                Side::Below => value < self.limit(cause),
            })
            .map(|(cause, _)| cause)
            .collect()
    }
}

/// Where a frame is flagged, seen from a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Values above the limit are flagged: a `max_` limit.
    Above,
    /// Values below it are: a `min_` limit.
    Below,
}

/// The value that each cause's limit is compared with, in the order of [`Cause::ALL`]. Measures are
/// compared in single precision, as they are reported, so that a report and the thresholds explain
/// each other exactly.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Evidence([f32; Cause::ALL.len()]);

impl Evidence {
    /// What the limits look at in a frame.
    #[must_use]
    pub fn new<const N: usize>(measures: &Measures<N>, statistics: &FrameStatistics) -> Self {
        let mut evidence = Self::default();
        let values = measured(measures).into_iter().chain(seen(statistics));
        for (cause, value) in values {
            evidence.0[cause.index()] = value;
        }
        evidence
    }

    /// The value that the cause's limit is compared with.
    #[must_use]
    pub const fn of(&self, cause: Cause) -> f32 {
        self.0[cause.index()]
    }

    fn iter(&self) -> impl Iterator<Item = (Cause, f32)> {
        Cause::ALL.into_iter().zip(self.0)
    }
}

fn measured<const N: usize>(measures: &Measures<N>) -> [(Cause, f32); 3] {
    [
        (Cause::Uncertain, measures.predictive_entropy as f32),
        (Cause::Unfamiliar, measures.mutual_information as f32),
        (Cause::Ambiguous, measures.expected_entropy as f32),
    ]
}

fn seen(statistics: &FrameStatistics) -> [(Cause, f32); 5] {
    [
        (Cause::Glare, statistics.saturated),
        (Cause::Overexposed, statistics.mean),
        (Cause::Underexposed, statistics.mean),
        (Cause::LowContrast, statistics.contrast),
        (Cause::Obscured, statistics.sharpness),
    ]
}
