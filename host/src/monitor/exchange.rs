//! Frames sent to a device and what became of them.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::percentile;

/// What became of the frames sent to a device.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Exchange {
    /// Frames sent.
    pub sent: u32,
    /// Of these, answered.
    pub answered: u32,
    /// Of these, refused by the device.
    pub refused: u32,
    /// Of these, neither.
    pub unanswered: u32,
    /// Pictures that could not be read, and were not sent.
    pub unread: u32,
    /// How often a frame was sent again.
    pub resends: u32,
    /// Requests sent, each a part of a frame or a greeting.
    pub requests: u32,
    /// Median time from the first byte of a frame to its answer, ms, where it was sent once.
    pub round_trip_median_ms: Option<f64>,
    /// 95th percentile of the same.
    pub round_trip_p95_ms: Option<f64>,
    #[serde(skip)]
    round_trips: Vec<Duration>,
}

impl Exchange {
    /// Counts an answer, `round_trip` after its frame if that is known.
    pub fn answer(&mut self, round_trip: Option<Duration>) {
        self.answered += 1;
        self.round_trips.extend(round_trip);
    }

    /// Computes the percentiles.
    pub fn finish(&mut self) {
        self.round_trips.sort_unstable();
        let ms = |share| Some(percentile(&self.round_trips, share)?.as_secs_f64() * 1e3);
        self.round_trip_median_ms = ms(0.5);
        self.round_trip_p95_ms = ms(0.95);
    }

    /// Frames without an answer, for whatever reason.
    #[must_use]
    pub const fn without_answer(&self) -> u32 {
        self.refused + self.unanswered + self.unread
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sent        {} frames in {} requests: {} answered, {} unanswered, {} refused; {} resends",
            self.sent, self.requests, self.answered, self.unanswered, self.refused, self.resends
        )?;
        if self.unread > 0 {
            write!(f, "; {} pictures could not be read", self.unread)?;
        }
        if let (Some(median), Some(p95)) = (self.round_trip_median_ms, self.round_trip_p95_ms) {
            write!(
                f,
                "\nround trip  median {median:.1} ms, 95 % within {p95:.1} ms"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_occurred() {
        let mut exchange = Exchange::default();
        exchange.finish();
        assert_eq!(exchange.round_trip_median_ms, None);
        for ms in (1..=20).rev() {
            exchange.answer(Some(Duration::from_millis(ms)));
        }
        exchange.answer(None);
        exchange.finish();
        assert_eq!(exchange.answered, 21);
        assert_eq!(exchange.round_trip_median_ms, Some(10.0));
        assert_eq!(exchange.round_trip_p95_ms, Some(19.0));
    }
}
