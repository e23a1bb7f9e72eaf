//! What a device tells besides reports, in words and as JSON.

use serde::Serialize;
use shared::wire::message::{Notice, NoticeCode};

/// A notice as a JSON line shows it: `{"notice": {…}}`.
#[derive(Debug, Serialize)]
pub struct NoticeRecord<'a> {
    notice: Fields<'a>,
}

#[derive(Debug, Serialize)]
struct Fields<'a> {
    seq: u32,
    code: &'static str,
    detail: u32,
    text: &'a str,
    message: &'a str,
}

impl<'a> NoticeRecord<'a> {
    /// The record of `notice`, number `seq` on its link, that says `message`.
    #[must_use]
    pub fn new(seq: u32, notice: &'a Notice, message: &'a str) -> Self {
        Self {
            notice: Fields {
                seq,
                code: notice.code.name(),
                detail: notice.detail,
                text: &notice.text,
                message,
            },
        }
    }
}

/// What a notice means, and what to do about it, on one line.
#[must_use]
pub fn explain(notice: &Notice) -> String {
    let detail = notice.detail;
    let words = match notice.code {
        NoticeCode::PlanMissing => "the board has no plan to run: flash one".to_owned(),
        NoticeCode::PlanVersion => {
            "the board's plan is of another version than its firmware: export it again and flash both"
                .to_owned()
        }
        NoticeCode::PlanLength => {
            "the board's plan is cut short or too long: flash it again".to_owned()
        }
        NoticeCode::PlanChecksum => "the board's plan is damaged: flash it again".to_owned(),
        NoticeCode::PlanSchema => {
            "the board's plan and firmware were built from different sources: export the plan again and flash both"
                .to_owned()
        }
        NoticeCode::PlanContent => {
            "the board's plan makes no sense to its firmware: export it again and flash both"
                .to_owned()
        }
        NoticeCode::PlanMemory => format!(
            "the board's plan needs {detail} bytes of memory, more than the firmware has: use a smaller network"
        ),
        NoticeCode::PlanFormat => {
            "the board's plan is of another number format than its firmware: flash the firmware of the plan's format"
                .to_owned()
        }
        NoticeCode::Panicked => "the board's firmware panicked and started again".to_owned(),
        NoticeCode::WatchdogReset => "the board hung and was started again by its watchdog".to_owned(),
        NoticeCode::FrameRefused => format!("the board cannot judge frame {detail}"),
        NoticeCode::FrameIncomplete => format!("parts of frame {detail} did not reach the board"),
        NoticeCode::StackLow => format!("the board has {detail} bytes of stack left"),
        NoticeCode::CameraLost => "the device has lost its camera, and waits for it".to_owned(),
        NoticeCode::CameraBack => format!("the camera is back after {detail} ms"),
        NoticeCode::ModelSwapped => format!("the device runs another model now: {detail:08x}"),
        NoticeCode::ModelRefused => {
            "the device refused a new model and keeps the one it has".to_owned()
        }
        NoticeCode::ModelRolledBack => {
            format!("the device's new model failed; the one before is in force again: {detail:08x}")
        }
        NoticeCode::OutboxFull => format!(
            "the device's outbox is full, {detail} items wait in it: what it flags now is sent once"
        ),
        NoticeCode::OutboxFailed => {
            "the device cannot write its outbox: what it flags now does not outlast a power cut"
                .to_owned()
        }
    };
    if notice.text.is_empty() {
        words
    } else {
        // Whatever a board writes, a log line stays one line.
        format!("{words} ({})", notice.text.escape_debug())
    }
}

#[cfg(test)]
mod tests {
    use shared::wire::message::shortened;

    use super::*;

    #[test]
    fn every_notice_is_one_line_of_words_of_its_own() {
        let words = NoticeCode::ALL.map(|code| {
            explain(&Notice {
                code,
                detail: 4711,
                text: shortened("src/main.rs:7\nx"),
            })
        });
        for (index, line) in words.iter().enumerate() {
            assert!(line.ends_with("(src/main.rs:7\\nx)"), "{line}");
            assert!(!line.contains('\n'));
            assert!(!words[..index].contains(line), "{line}");
        }
        assert!(words[NoticeCode::FrameRefused as usize].contains("4711"));
    }

    #[test]
    fn json_names_the_code() {
        let notice = Notice {
            code: NoticeCode::FrameIncomplete,
            detail: 3,
            text: shortened(""),
        };
        let words = explain(&notice);
        assert_eq!(
            serde_json::to_string(&NoticeRecord::new(9, &notice, &words)).expect("plain"),
            r#"{"notice":{"seq":9,"code":"frame_incomplete","detail":3,"text":"","message":"parts of frame 3 did not reach the board"}}"#
        );
    }
}
