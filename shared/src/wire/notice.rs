//! What a device has to tell besides answers: coded, so that a program understands it, too.

use core::fmt;
use core::str::FromStr;

use heapless::String;
use postcard_schema::Schema;
use serde::{Deserialize, Serialize};

/// Something out of the ordinary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Notice {
    /// What happened.
    pub code: NoticeCode,
    /// A number whose meaning depends on the code; 0 where it has none.
    pub detail: u32,
    /// Particulars for a person; may be empty.
    pub text: String<64>,
}

/// What a notice tells. Numbers and names are part of the protocol: new codes come last.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Schema,
)]
pub enum NoticeCode {
    /// No plan lies where the firmware looks for one.
    PlanMissing = 0,
    /// The plan is of another version of the plan format.
    PlanVersion = 1,
    /// The plan is cut short, or longer than its place.
    PlanLength = 2,
    /// The plan is damaged.
    PlanChecksum = 3,
    /// The plan was written for firmware built from other sources.
    PlanSchema = 4,
    /// The plan is undamaged but makes no sense.
    PlanContent = 5,
    /// The plan needs more memory than the firmware has; the detail is how many bytes.
    PlanMemory = 6,
    /// The plan has another number format than the firmware.
    PlanFormat = 7,
    /// The firmware panicked, and starts again; the text says where.
    Panicked = 8,
    /// The watchdog started the firmware again.
    WatchdogReset = 9,
    /// A frame that the device cannot judge; the detail is its number.
    FrameRefused = 10,
    /// Parts of a frame are missing; the detail is its number.
    FrameIncomplete = 11,
    /// Little is left of the stack; the detail is how many bytes.
    StackLow = 12,
    /// The camera is gone, and waited for; the text says what it was, or what went wrong.
    CameraLost = 13,
    /// The camera is back; the detail is for how many milliseconds there was none.
    CameraBack = 14,
    /// Another model is in force; the detail is the CRC-32 of its file.
    ModelSwapped = 15,
    /// A new model was refused and the one before stays in force; the text says why.
    ModelRefused = 16,
    /// A new model failed in its first frames and the one before is in force again; the detail is the
    /// CRC-32 of that one's file, the text says why.
    ModelRolledBack = 17,
    /// The outbox is full: this flagged report, and those to come, are sent once. The detail is how
    /// many wait.
    OutboxFull = 18,
    /// The outbox cannot be written: what is flagged now does not outlast a power cut. The text says
    /// why.
    OutboxFailed = 19,
}

impl NoticeCode {
    /// Every code, in the order of the numbers.
    pub const ALL: [Self; 20] = [
        Self::PlanMissing,
        Self::PlanVersion,
        Self::PlanLength,
        Self::PlanChecksum,
        Self::PlanSchema,
        Self::PlanContent,
        Self::PlanMemory,
        Self::PlanFormat,
        Self::Panicked,
        Self::WatchdogReset,
        Self::FrameRefused,
        Self::FrameIncomplete,
        Self::StackLow,
        Self::CameraLost,
        Self::CameraBack,
        Self::ModelSwapped,
        Self::ModelRefused,
        Self::ModelRolledBack,
        Self::OutboxFull,
        Self::OutboxFailed,
    ];

    /// Whether the device does not do its work: there is nothing that it could run, or what it ran
    /// broke off.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        self as u8 <= Self::Panicked as u8
    }

    /// Its name on every interface.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PlanMissing => "plan_missing",
            Self::PlanVersion => "plan_version",
            Self::PlanLength => "plan_length",
            Self::PlanChecksum => "plan_checksum",
            Self::PlanSchema => "plan_schema",
            Self::PlanContent => "plan_content",
            Self::PlanMemory => "plan_memory",
            Self::PlanFormat => "plan_format",
            Self::Panicked => "panicked",
            Self::WatchdogReset => "watchdog_reset",
            Self::FrameRefused => "frame_refused",
            Self::FrameIncomplete => "frame_incomplete",
            Self::StackLow => "stack_low",
            Self::CameraLost => "camera_lost",
            Self::CameraBack => "camera_back",
            Self::ModelSwapped => "model_swapped",
            Self::ModelRefused => "model_refused",
            Self::ModelRolledBack => "model_rolled_back",
            Self::OutboxFull => "outbox_full",
            Self::OutboxFailed => "outbox_failed",
        }
    }
}

impl fmt::Display for NoticeCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is none of [`NoticeCode`]'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownNotice;

impl fmt::Display for UnknownNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown notice code")
    }
}

impl core::error::Error for UnknownNotice {}

impl FromStr for NoticeCode {
    type Err = UnknownNotice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|code| code.name() == text)
            .ok_or(UnknownNotice)
    }
}
