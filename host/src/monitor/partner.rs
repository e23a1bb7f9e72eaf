//! What a monitor says to the device: who speaks, what has come, and what its clock shows.

use std::time::{Duration, Instant};

use device::serial::nonce;
use serde::Serialize;
use shared::wire::delivery::Acknowledgement;
use shared::wire::message::Echo;
use shared::wire::request::{Greeting, Probe, Request};
use shared::wire::seal::{Key, MAX_SEALED};

use super::Seal;

/// Between two probes.
const PROBES: Duration = Duration::from_secs(2);
/// On a sealed line, between two greetings that stay without an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Probes whose answers are compared.
const SAMPLES: usize = 16;

/// The two clocks, by the probe that was answered fastest of late.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Clock {
    /// From a probe to its answer, µs. The offset is wrong by half of it at most.
    pub round_trip_us: u64,
    /// What the device's clock shows when the host's shows 0, µs; the host's begins with monitoring.
    pub offset_us: i64,
}

/// Speaks to a device.
#[derive(Debug)]
pub struct Partner {
    began: Instant,
    probed: Option<Instant>,
    sequence: u32,
    samples: Vec<Clock>,
    out: Vec<u8>,
    /// On what is said, and on what is heard.
    pub seal: Seal,
    greeted: Option<Instant>,
}

impl Default for Partner {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Partner {
    /// Who speaks openly, or, with a key, seals what is said.
    #[must_use]
    pub fn new(key: Option<Key>) -> Self {
        Self {
            seal: Seal::new(key),
            greeted: None,
            began: Instant::now(),
            probed: None,
            sequence: 0,
            samples: Vec::new(),
            out: Vec::new(),
        }
    }
}

impl Partner {
    /// Asks a device who it is; the answers to what was asked before are not waited for.
    pub fn greet(&mut self) {
        self.sequence = 0;
        self.out.clear();
        let challenge = nonce();
        self.seal.begin(challenge);
        self.greeted = Some(Instant::now());
        self.ask(&Request::Greet(Greeting { challenge }));
    }

    /// On a sealed line: whether a device has to be greeted again, because none has answered, or one
    /// that began anew cannot know of the last greeting (`is_foreign`: what came was not sealed for it).
    #[must_use]
    pub fn is_lost(&self, is_foreign: bool) -> bool {
        self.seal.is_sealed()
            && (is_foreign || self.seal.is_unanswered())
            && self.greeted.is_some_and(|at| at.elapsed() > PATIENCE)
    }

    /// Tells what has come.
    pub fn acknowledge(&mut self, answers: &[Acknowledgement]) {
        for answer in answers {
            self.ask(&Request::Acknowledge(*answer));
        }
    }

    /// Asks for the device's time if it is time.
    pub fn probe(&mut self) {
        if self.probed.is_none_or(|at| at.elapsed() >= PROBES) {
            self.probed = Some(Instant::now());
            let sent_us = self.now_us();
            self.ask(&Request::Probe(Probe { sent_us }));
        }
    }

    /// Takes the answer to a probe.
    pub fn echo(&mut self, echo: Echo) {
        let Some(round_trip_us) = self.now_us().checked_sub(echo.probe_us) else {
            return;
        };
        let middle = echo.probe_us.saturating_add(round_trip_us / 2);
        if self.samples.len() == SAMPLES {
            self.samples.remove(0);
        }
        self.samples.push(Clock {
            round_trip_us,
            offset_us: echo
                .device_us
                .cast_signed()
                .saturating_sub(middle.cast_signed()),
        });
    }

    /// The two clocks; `None` before the first answer.
    #[must_use]
    pub fn clock(&self) -> Option<Clock> {
        self.samples
            .iter()
            .min_by_key(|sample| sample.round_trip_us)
            .copied()
    }

    /// What is to be sent. It is gone from here.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    fn ask(&mut self, request: &Request) {
        let mut bytes = [0; MAX_SEALED];
        if let Ok(length) = self.seal.encode(self.sequence, request, &mut bytes) {
            self.sequence = self.sequence.wrapping_add(1);
            // A delimiter first: of what was sent before, a part may be missing.
            self.out.push(0);
            self.out.extend(&bytes[..length]);
        }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_answer_tells_the_offset() {
        let mut partner = Partner::default();
        assert_eq!(partner.clock(), None);
        let sent = partner.now_us();
        partner.echo(Echo {
            probe_us: sent,
            device_us: sent + 5_000_000,
        });
        std::thread::sleep(Duration::from_millis(5));
        // Slower: it does not count.
        partner.echo(Echo {
            probe_us: sent,
            device_us: 0,
        });
        // From the future: a device that makes times up.
        partner.echo(Echo {
            probe_us: u64::MAX,
            device_us: u64::MAX,
        });
        let clock = partner.clock().expect("answered");
        assert!((clock.offset_us - 5_000_000).abs() < 5_000, "{clock:?}");
    }

    #[test]
    fn probes_are_rare_and_a_greeting_begins_anew() {
        let mut partner = Partner::default();
        partner.probe();
        assert!(!partner.take().is_empty());
        partner.probe();
        assert!(partner.take().is_empty());
        partner.greet();
        assert_eq!(partner.sequence, 1);
        assert!(!partner.take().is_empty() && partner.take().is_empty());
    }
}
