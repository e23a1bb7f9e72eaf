//! How well a device keeps up: latencies, passes, and what they cost.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use shared::wire::message::Performance;

use crate::machine;
use crate::source::LiveState;

/// Longest latency that is told apart from longer ones, µs.
const LONGEST: u64 = 100_000_000;

/// Counts frames judged and how long they took, in memory that does not grow.
#[derive(Debug)]
pub struct Meter {
    started: Instant,
    processor: Duration,
    /// Microseconds, to three digits.
    latencies: Histogram<u32>,
    passes: u64,
}

impl Default for Meter {
    fn default() -> Self {
        Self::start()
    }
}

impl Meter {
    /// Counts from now on.
    ///
    /// # Panics
    /// Never: the histogram's limits are valid.
    #[must_use]
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
            processor: machine::processor_time(),
            latencies: Histogram::new_with_bounds(1, LONGEST, 3).expect("valid limits"),
            passes: 0,
        }
    }

    /// Counts a frame judged with `passes` passes, flagged or accepted `latency` after its capture.
    pub fn count(&mut self, latency: Duration, passes: u32) {
        self.latencies.saturating_record(latency.as_micros() as u64);
        self.passes += u64::from(passes);
    }

    /// Frames counted.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.latencies.len()
    }

    /// The figures so far. Of a source that is not live, `given` frames were taken.
    #[must_use]
    pub fn performance(&self, live: Option<&LiveState>, given: u32) -> Performance {
        let percentile = |share| narrow(self.latencies.value_at_quantile(share));
        let time = self.started.elapsed().as_secs_f64();
        let busy = machine::processor_time().saturating_sub(self.processor);
        let live = live.cloned().unwrap_or(LiveState {
            captured: given.into(),
            ..LiveState::default()
        });
        Performance {
            captured: narrow(live.captured),
            dropped: narrow(live.dropped),
            corrupt: narrow(live.corrupt),
            missed: narrow(live.lost),
            reconnects: narrow(live.reconnects),
            latency_us: [0.5, 0.95, 0.99].map(percentile),
            mean_passes: self.passes as f32 / (self.frames().max(1)) as f32,
            processor: (busy.as_secs_f64() / time.max(1e-9)) as f32,
            peak_memory_kib: machine::peak_memory_kib().unwrap_or(0),
            temperature: machine::temperature(),
        }
    }
}

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_latencies() {
        let mut meter = Meter::start();
        assert_eq!(meter.performance(None, 0).latency_us, [0; 3]);
        for latency in (1..=1000).rev() {
            meter.count(
                Duration::from_micros(latency * 10),
                16 + (latency % 2) as u32,
            );
        }
        let performance = meter.performance(None, 1002);
        for (told, wanted) in performance
            .latency_us
            .into_iter()
            .zip([5_000, 9_500, 9_900])
        {
            // Three digits.
            assert!(
                (f64::from(told) / f64::from(wanted) - 1.0).abs() < 1e-3,
                "{told} {wanted}"
            );
        }
        assert_eq!(
            (performance.captured, performance.mean_passes),
            (1002, 16.5)
        );
        // Beyond the last value that is told apart.
        meter.count(Duration::from_hours(1), 1);
        assert_eq!(meter.frames(), 1001);
        let live = LiveState {
            captured: 9,
            dropped: 2,
            lost: 4,
            ..LiveState::default()
        };
        let performance = meter.performance(Some(&live), 1);
        assert_eq!(
            (
                performance.captured,
                performance.dropped,
                performance.missed
            ),
            (9, 2, 4)
        );
    }
}
