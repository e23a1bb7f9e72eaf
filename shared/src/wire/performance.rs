//! How well a device keeps up with its frames.

use core::fmt;

use postcard_schema::Schema;
use serde::{Deserialize, Serialize};

/// What became of the frames since the device started, how long they took, and what that cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Schema)]
pub struct Performance {
    /// Frames that the camera or source has given.
    pub captured: u32,
    /// Of these, left out because a newer one was there.
    pub dropped: u32,
    /// Of these, left out because they were damaged.
    pub corrupt: u32,
    /// Frames that the camera itself missed, by gaps in its numbering.
    pub missed: u32,
    /// Times that a lost camera came back.
    pub reconnects: u32,
    /// From capture until the report was handed to the line, µs: median, 95th and 99th percentile
    /// of all frames judged; 0 before the first.
    pub latency_us: [u32; 3],
    /// Passes a frame, on average; 0 before the first.
    pub mean_passes: f32,
    /// Processor time over time, 1 being one core.
    pub processor: f32,
    /// Largest memory resident so far, KiB; 0 if unknown.
    pub peak_memory_kib: u32,
    /// The hottest place that the board measures, °C.
    pub temperature: Option<f32>,
}

/// Three lines for a person.
impl fmt::Display for Performance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p95, p99] = self.latency_us.map(|us| f64::from(us) * 1e-3);
        writeln!(
            f,
            "source      {} frames captured, {} dropped for newer ones, {} corrupt, {} missed, {} reconnects",
            self.captured, self.dropped, self.corrupt, self.missed, self.reconnects
        )?;
        writeln!(
            f,
            "latency     capture to flag: median {p50:.2} ms, 95 % within {p95:.2} ms, 99 % within {p99:.2} ms"
        )?;
        write!(
            f,
            "cost        {:.1} passes a frame, {:.1} % of a core, {:.1} MiB",
            self.mean_passes,
            100.0 * self.processor,
            f64::from(self.peak_memory_kib) / 1024.0
        )?;
        if let Some(temperature) = self.temperature {
            write!(f, ", {temperature:.1} °C")?;
        }
        Ok(())
    }
}
