//! A recording at the pace of the device that it came from.

use std::time::{Duration, Instant};

use shared::wire::message::Message;

/// Nobody waits longer, whatever the clock of a device may show.
const LONGEST: Duration = Duration::from_hours(24 * 365);

/// Says when each message of a recording is due.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    speed: f64,
    /// A moment here, the device's clock at it, and the latest that the device's clock showed, µs.
    origin: Option<(Instant, u64, u64)>,
}

impl Pace {
    /// `speed` times as fast as it was; above 0.
    #[must_use]
    pub fn new(speed: f64) -> Self {
        Self {
            speed,
            origin: None,
        }
    }

    /// How long the message, the next of the recording, has to wait at `now`. Reports were sent when
    /// they were judged, statistics when they were made; what does not tell its time comes with
    /// what precedes it. Where the clock goes back, the device has started again.
    pub fn wait(&mut self, message: &Message, now: Instant) -> Duration {
        let time = match message {
            Message::Report(report) => {
                // A recording can hold any number.
                report
                    .captured_us
                    .saturating_add(u64::from(report.latency_us))
            }
            Message::Statistics(statistics) => statistics.uptime_us,
            _ => return Duration::ZERO,
        };
        let (began, start) = match self.origin {
            Some((began, start, latest)) if time >= latest => (began, start),
            _ => (now, time),
        };
        self.origin = Some((began, start, time));
        let since = (time - start) as f64 / 1e6 / self.speed;
        let since = Duration::try_from_secs_f64(since).unwrap_or(LONGEST);
        since.min(LONGEST).saturating_sub(now - began)
    }
}

#[cfg(test)]
mod tests {
    use super::super::agreement::tests::report;
    use super::*;
    use shared::wire::message::Report;

    #[test]
    fn messages_are_due_when_the_device_sent_them() {
        let at = |captured_us| {
            Message::Report(Report {
                captured_us,
                latency_us: 500_000,
                ..report(0)
            })
        };
        let mut pace = Pace::new(2.0);
        let began = Instant::now();
        let mut wait = |time, now: f64| {
            let wait = pace.wait(&at(time), began + Duration::from_secs_f64(now));
            wait.as_secs_f64()
        };
        assert_eq!(wait(7_000_000, 1.0), 0.0);
        // 4 s later on the device, 2 s later here, of which one has passed.
        assert!((wait(11_000_000, 2.0) - 1.0).abs() < 1e-6);
        // Late.
        assert_eq!(wait(12_000_000, 9.0), 0.0);
        // The device has started again.
        assert_eq!(wait(1_000_000, 20.0), 0.0);
        assert!((wait(1_500_000, 20.0) - 0.25).abs() < 1e-6);
    }

    #[test]
    fn a_recording_may_tell_any_time() {
        let at = |captured_us| {
            Message::Report(Report {
                captured_us,
                latency_us: u32::MAX,
                ..report(0)
            })
        };
        let mut pace = Pace::new(1e-9);
        let now = Instant::now();
        assert_eq!(pace.wait(&at(0), now), Duration::ZERO);
        assert_eq!(pace.wait(&at(u64::MAX), now), LONGEST);
        assert_eq!(pace.wait(&at(u64::MAX - 1), now), LONGEST);
    }
}
