//! A camera that streams.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::abi::{self, buffer_flag};
use super::sys::{Filled, Streaming};
use crate::machine::monotonic;
use crate::source::convert::Converter;
use crate::source::live::Stream;
use crate::source::{CameraError, Frame, LiveState, Next};

/// A driver whose times are further from now, in the past or the future, uses another clock than it
/// says. A little in the future is where a driver works the time out from the rate.
const OLDEST: Duration = Duration::from_secs(10);
const NEWEST: Duration = Duration::from_secs(1);

/// A camera that streams.
#[derive(Debug)]
pub(in super::super) struct V4l2Stream {
    path: PathBuf,
    streaming: Streaming,
    converter: Converter,
    /// The driver's number of the last frame.
    sequence: Option<u32>,
    timeout: Duration,
    /// When the next frame must have come.
    deadline: Instant,
    /// Whether the driver's times are those of the clock that it names.
    trusts_clock: bool,
}

impl V4l2Stream {
    /// Of the camera at `path`, whose frames `converter` reads; one that sends none for `timeout` is lost.
    pub(super) fn new(
        path: PathBuf,
        streaming: Streaming,
        converter: Converter,
        timeout: Duration,
    ) -> Self {
        Self {
            path,
            streaming,
            converter,
            sequence: None,
            timeout,
            // Many cameras take longer for the first frame.
            deadline: Instant::now() + 2 * timeout,
            trusts_clock: true,
        }
    }
}

impl Stream for V4l2Stream {
    fn read(
        &mut self,
        frame: &mut Frame,
        wait: Duration,
        state: &mut LiveState,
    ) -> Result<Next, CameraError> {
        let failed = |error| CameraError::Failed {
            path: self.path.clone(),
            error,
        };
        let wait = wait.min(self.deadline.saturating_duration_since(Instant::now()));
        let ready = self.streaming.wait(wait).map_err(failed)?;
        let filled = if ready {
            let taken = self.streaming.take_newest().map_err(failed)?;
            if taken.is_none() {
                // Something else than a frame woke it; it may go on waking.
                std::thread::sleep(Duration::from_millis(5));
            }
            taken
        } else {
            None
        };
        let Some(filled) = filled else {
            if Instant::now() < self.deadline {
                return Ok(Next::NotYet);
            }
            return Err(CameraError::Stalled {
                name: self.path.display().to_string(),
                timeout: self.timeout,
            });
        };
        self.deadline = Instant::now() + self.timeout;
        state.captured += u64::from(filled.older);
        state.dropped += u64::from(filled.older);
        state.lost += u64::from(gap(self.sequence, &filled));
        self.sequence = Some(filled.about.sequence);
        let is_whole = filled.about.flags & buffer_flag::ERROR == 0;
        if !is_whole
            || self
                .converter
                .convert(filled.planes(), &mut frame.pixels)
                .is_err()
        {
            state.corrupt += 1;
            return Ok(Next::NotYet);
        }
        frame.format = self.converter.format();
        (frame.width, frame.height) = self.converter.size();
        frame.captured = taken_at(&filled.about, &mut self.trusts_clock);
        Ok(Next::Frame)
    }
}

/// Frames that the driver has numbered since number `last` and never handed out.
fn gap(last: Option<u32>, filled: &Filled<'_>) -> u32 {
    missed(last, filled.about.sequence, filled.older)
}

/// Numbers missing between `last` and `now`, of which `older` came, too. A number that is not behind
/// the last says nothing: some drivers number nothing, others begin again.
fn missed(last: Option<u32>, now: u32, older: u32) -> u32 {
    match last {
        // Half of all numbers lie behind any other.
        Some(last) if now.wrapping_sub(last) as i32 > 0 => {
            (now.wrapping_sub(last) - 1).saturating_sub(older)
        }
        _ => 0,
    }
}

/// When the frame was taken, in [`monotonic`] time: as the driver says if it says so, else now.
fn taken_at(about: &abi::Buffer, trusts_clock: &mut bool) -> Duration {
    let now = monotonic();
    if about.flags & buffer_flag::TIMESTAMP_MASK != buffer_flag::TIMESTAMP_MONOTONIC
        || !*trusts_clock
    {
        return now;
    }
    #[allow(clippy::useless_conversion)] // a C long has 32 bits elsewhere
    let told = u64::try_from(about.seconds)
        .ok()
        .zip(u64::try_from(about.microseconds).ok())
        .map(|(seconds, micros)| Duration::from_secs(seconds) + Duration::from_micros(micros));
    match told {
        Some(told) if told + OLDEST > now && told < now + NEWEST => told.min(now),
        _ => {
            tracing::warn!(
                "the camera's driver tells times of another clock than it says: frames are as old as their arrival"
            );
            *trusts_clock = false;
            now
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_numbers_are_counted() {
        assert_eq!(missed(None, 7, 0), 0, "nothing is known of before");
        assert_eq!(missed(Some(7), 8, 0), 0);
        assert_eq!(missed(Some(7), 11, 0), 3);
        assert_eq!(missed(Some(7), 11, 2), 1, "two of them came");
        assert_eq!(missed(Some(7), 7, 0), 0, "a driver that does not count");
        assert_eq!(missed(Some(7), 0, 0), 0, "a driver that begins again");
        assert_eq!(missed(Some(u32::MAX), 1, 0), 1, "it wraps");
    }

    fn buffer(flags: u32, time: Duration) -> abi::Buffer {
        abi::Buffer {
            flags,
            seconds: time.as_secs() as std::ffi::c_long,
            microseconds: time.subsec_micros().into(),
            ..abi::Buffer::default()
        }
    }

    #[test]
    fn a_frame_is_as_old_as_its_driver_says_if_that_can_be() {
        let now = monotonic();
        let past = now.saturating_sub(Duration::from_millis(30));
        let told = Duration::from_micros(past.as_micros() as u64);
        let mut trusts = true;
        let monotonic_flag = buffer_flag::TIMESTAMP_MONOTONIC;
        assert_eq!(taken_at(&buffer(monotonic_flag, past), &mut trusts), told);
        assert!(taken_at(&buffer(0, past), &mut trusts) >= now, "no clock");
        assert!(trusts);
        let ahead = now + Duration::from_millis(500);
        assert!(taken_at(&buffer(monotonic_flag, ahead), &mut trusts) < ahead);
        assert!(trusts);
        let other = now + Duration::from_secs(1_000_000);
        assert!(taken_at(&buffer(monotonic_flag, other), &mut trusts) >= now);
        assert!(!trusts);
    }
}
