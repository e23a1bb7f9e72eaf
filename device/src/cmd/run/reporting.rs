//! What follows a verdict: the pin, the report, the frame's picture, and the figures.

use std::time::Duration;

use anyhow::Context;
use device::engine::Engine;
use device::inference::{Outcome, Tally, Timing};
use device::performance::Meter;
use device::pin::FlagPin;
use device::session::Session;
use device::source::{Frame, Source};
use shared::triage::Verdict;
use shared::wire::message::{LineStatistics, Message, Performance};

use super::Args;
use super::camera::Presence;
use super::link::Link;
use super::thumbnails::Thumbnails;

/// Tells verdicts, and how well the device keeps up.
pub(super) struct Reporting {
    /// The verdicts so far.
    pub(super) tally: Tally,
    meter: Meter,
    pin: Option<FlagPin>,
    /// If pictures are wanted.
    thumbnails: Option<Thumbnails>,
    presence: Presence,
}

impl Reporting {
    /// Takes the flag pin, if there is one, and starts to count.
    pub(super) fn start(args: &Args, link: &Link) -> anyhow::Result<Self> {
        Ok(Self {
            tally: Tally::default(),
            meter: Meter::start(),
            pin: args.flag_pin.as_ref().map(FlagPin::open).transpose()?,
            thumbnails: link
                .sends_pictures(args)
                .then(|| Thumbnails::new(args.thumbnail_format)),
            presence: Presence::default(),
        })
    }

    /// Reports the outcome of the frame with this number, picture and age: first where it is urgent.
    pub(super) fn report<const N: usize>(
        &mut self,
        link: &mut Link,
        source: &Source,
        session: &Session,
        (number, picture, age): (u32, &Frame, Duration),
        outcome: &Outcome<N>,
    ) -> anyhow::Result<()> {
        self.tally.count(outcome.causes);
        let flagged = outcome.causes.verdict() == Verdict::Flag;
        self.set_pin(flagged)?;
        let since_capture = || source.elapsed().saturating_sub(picture.captured);
        let timing = Timing {
            captured_us: picture.captured.as_micros() as u64,
            age_us: microseconds(age),
            latency_us: microseconds(since_capture()),
        };
        // Where no frame is missed meanwhile, the line is waited for.
        let patient = !source.is_live();
        let kept = link.report(outcome.report(number, timing), patient)?;
        self.meter.count(since_capture(), outcome.measures.passes);
        if flagged && let Some(thumbnails) = &mut self.thumbnails {
            let inference = &session.inference;
            let shape = inference.engine().input_shape();
            let parts = thumbnails
                .parts(
                    number,
                    &picture.view()?,
                    (shape.height, shape.width),
                    inference.settings(),
                )
                .context("cannot make a picture for the host")?;
            if !link.picture(kept, parts, patient)? {
                thumbnails.leave_out();
            }
        }
        Ok(())
    }

    /// Between frames: word of a camera that is gone or back.
    pub(super) fn turn(&mut self, link: &mut Link, source: &Source) -> anyhow::Result<()> {
        if let Some(state) = source.live() {
            self.presence.tell(&state, link)?;
            if self.presence.is_lost() {
                // Nobody knows what a camera would see that is not there.
                self.set_pin(true)?;
            }
        }
        Ok(())
    }

    /// Sends the totals, those of performance first; `last` says that nothing follows.
    pub(super) fn totals(
        &self,
        link: &mut Link,
        source: &Source,
        last: bool,
    ) -> anyhow::Result<()> {
        link.send(Message::Performance(self.performance(source)))?;
        let mut statistics = self
            .tally
            .message(source.elapsed().as_micros() as u64, last);
        let (delivery, counters) = link.statistics();
        statistics.delivery = delivery;
        statistics.line = LineStatistics::new(&counters, 0);
        link.send(Message::Statistics(statistics))
    }

    /// What `--stats` shows.
    pub(super) fn stats(&self, source: &Source) -> String {
        let performance = self.performance(source);
        match self.thumbnails.as_ref().map_or(0, Thumbnails::left_out) {
            0 => performance.to_string(),
            count => format!(
                "{performance}\npictures    {count} left out: the line is too slow for more"
            ),
        }
    }

    fn performance(&self, source: &Source) -> Performance {
        self.meter.performance(
            source.live().as_ref(),
            self.tally.frames() + self.tally.failed(),
        )
    }

    fn set_pin(&mut self, active: bool) -> anyhow::Result<()> {
        self.pin.as_mut().map_or(Ok(()), |pin| pin.set(active))?;
        Ok(())
    }
}

/// As many as a message has room for.
fn microseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}
