//! What waits for the line, by urgency: greetings, totals and notices; flagged reports; pictures that
//! are acknowledged; reports of accepted frames; other pictures.

use std::collections::VecDeque;

use device::outbox::{Outbox, OutboxError};
use shared::wire::LinkCounters;
use shared::wire::message::{Echo, Hello, Message, Report, Thumbnail};
use shared::wire::request::Request;

/// Greetings, totals and notices that wait at most; older ones give way.
pub(super) const SAID: usize = 64;
/// Reports of accepted frames that wait at most; older ones give way.
pub(super) const ACCEPTED: usize = 8;
/// Flagged reports, and parts of pictures, that wait at most where none is acknowledged.
pub(super) const ONCE: usize = 4096;

/// What the loop and the line's thread share.
pub(super) struct State {
    pub(super) hello: Hello,
    /// A greeting is due: answered with this challenge.
    pub(super) greeting: Option<u64>,
    /// Greeted since [`Line::was_greeted`](super::Line::was_greeted) was asked last.
    pub(super) greeted: bool,
    pub(super) said: VecDeque<Message>,
    pub(super) flagged: VecDeque<Report>,
    pub(super) accepted: VecDeque<Report>,
    pub(super) parts: VecDeque<Thumbnail>,
    /// Where flagged reports are acknowledged.
    pub(super) outbox: Option<Outbox>,
    pub(super) overflowed: u32,
    pub(super) dropped: u32,
    /// The last message was written whole, and the line has had the time to carry it.
    pub(super) is_idle: bool,
    pub(super) counters: LinkCounters,
    pub(super) ended: bool,
}

impl State {
    /// Nothing waits, and nobody has been greeted.
    pub(super) fn new(hello: Hello, outbox: Option<Outbox>) -> Self {
        Self {
            hello,
            greeting: None,
            greeted: false,
            said: VecDeque::new(),
            flagged: VecDeque::new(),
            accepted: VecDeque::new(),
            parts: VecDeque::new(),
            outbox,
            overflowed: 0,
            dropped: 0,
            is_idle: true,
            counters: LinkCounters::default(),
            ended: false,
        }
    }

    /// Whether anything has not left yet, beside what the outbox holds.
    pub(super) fn waits(&self) -> bool {
        self.greeting.is_some()
            || !self.said.is_empty()
            || !self.flagged.is_empty()
            || !self.accepted.is_empty()
            || !self.parts.is_empty()
            || !self.is_idle
    }

    /// The next message, by urgency.
    pub(super) fn next(&mut self, now_us: u64) -> Option<Message> {
        if let Some(challenge) = self.greeting.take() {
            self.hello.challenge = challenge;
            return Some(Message::Hello(self.hello.clone()));
        }
        if let Some(message) = self.said.pop_front() {
            return Some(message);
        }
        if let Some(report) = self.flagged.pop_front() {
            return Some(Message::Report(report));
        }
        let outbox = self.outbox.as_mut();
        // Its reports first, then its pictures, which a host that wants them is owed, too.
        if let Some(message) = outbox.and_then(|outbox| outbox.send(now_us)) {
            return Some(message);
        }
        if let Some(report) = self.accepted.pop_front() {
            return Some(Message::Report(report));
        }
        self.parts.pop_front().map(Message::Thumbnail)
    }

    /// Takes the report of a flagged frame, and gives its number in the outbox, if there is one.
    pub(super) fn flag(&mut self, report: Report) -> Result<Option<u32>, OutboxError> {
        match &mut self.outbox {
            Some(outbox) => outbox.push_report(report).map(Some),
            None if self.flagged.len() >= ONCE => Err(OutboxError::Full {
                waiting: self.flagged.len(),
            }),
            None => {
                self.flagged.push_back(report);
                Ok(None)
            }
        }
    }

    /// Takes the picture of the frame whose report has this number; `false` if there is no room, which
    /// outside of the outbox is for `most` parts.
    pub(super) fn show(
        &mut self,
        report: Option<u32>,
        parts: &[Thumbnail],
        most: usize,
    ) -> Result<bool, OutboxError> {
        if let (Some(report), Some(outbox)) = (report, &mut self.outbox) {
            return match outbox.push_picture(report, parts.iter().cloned()) {
                Err(OutboxError::Full { .. }) => Ok(false),
                result => result.map(|()| true),
            };
        }
        let has_room = self.parts.is_empty() || self.parts.len() + parts.len() <= most;
        if has_room {
            self.parts.extend(parts.iter().cloned());
        }
        Ok(has_room)
    }

    /// Takes what the host says.
    pub(super) fn hear(&mut self, request: &Request, now_us: u64) {
        if let Some(outbox) = &mut self.outbox {
            outbox.hear();
        }
        match request {
            Request::Greet(greeting) => {
                self.greeting = Some(greeting.challenge);
                self.greeted = true;
                // Who greets has just begun to listen.
                if let Some(outbox) = &mut self.outbox {
                    outbox.begin_anew();
                }
            }
            Request::Acknowledge(answer) => {
                if let Some(outbox) = &mut self.outbox {
                    outbox.acknowledge(answer);
                }
            }
            Request::Probe(probe) => {
                let echo = Message::Echo(Echo {
                    probe_us: probe.sent_us,
                    device_us: now_us,
                });
                push(&mut self.said, SAID, echo);
            }
            // This device has a source of its own.
            Request::Frame(_) => {}
        }
    }
}

/// Adds to the end of a list of at most `most`; `false` if the oldest had to give way.
pub(super) fn push<T>(list: &mut VecDeque<T>, most: usize, item: T) -> bool {
    let is_full = list.len() >= most;
    if is_full {
        list.pop_front();
    }
    list.push_back(item);
    !is_full
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::image::{FrameStatistics, PixelFormat};
    use shared::triage::{Cause, Thresholds};
    use shared::wire::delivery::Guarantee;
    use shared::wire::message::{SCHEMA_HASH, shortened};

    fn state() -> State {
        let hello = Hello {
            schema: SCHEMA_HASH,
            device: shortened("any"),
            software: shortened("any"),
            engine: shortened("any"),
            model: 0,
            input: [1, 96, 96],
            classes: 10,
            labels: heapless::Vec::new(),
            passes: 1,
            seed: 1,
            thresholds: Thresholds::OFF,
            epoch: 1,
            challenge: 0,
            guarantee: Guarantee::Once,
            preprocessing: heapless::Vec::new(),
        };
        State::new(hello, None)
    }

    fn parts(frame: u32) -> Vec<Thumbnail> {
        let luma = [7; 96 * 96];
        let mut offset = 0;
        let part = || {
            let part = Thumbnail::part(frame, (96, 96), PixelFormat::Grey8, &luma, offset)?;
            offset += part.pixels.len();
            Some(part)
        };
        std::iter::from_fn(part).collect()
    }

    #[test]
    fn a_picture_larger_than_the_room_is_taken_by_itself() {
        let mut state = state();
        let large = parts(1);
        assert!(large.len() > ACCEPTED);
        assert!(matches!(state.show(None, &large, ACCEPTED), Ok(true)));
        assert!(matches!(state.show(None, &parts(2), ACCEPTED), Ok(false)));
        while state.next(0).is_some() {}
        assert!(matches!(state.show(None, &parts(2), ACCEPTED), Ok(true)));
    }

    #[test]
    fn what_is_urgent_goes_first() {
        let report = |frame, causes: &[Cause]| Report {
            frame,
            captured_us: 0,
            age_us: 0,
            latency_us: 0,
            class: 0,
            confidence: 1.0,
            predictive_entropy: 0.0,
            expected_entropy: 0.0,
            mutual_information: 0.0,
            variation_ratio: 0.0,
            standard_deviation: 0.0,
            margin: 1.0,
            passes: 1,
            causes: causes.iter().copied().collect(),
            image: FrameStatistics::UNUSED,
            ticket: None,
        };
        let mut state = state();
        state.accepted.push_back(report(1, &[]));
        let _ = state.show(None, &parts(2)[..1], ACCEPTED);
        let _ = state.flag(report(3, &[Cause::Glare]));
        let greeting = shared::wire::request::Greeting { challenge: 5 };
        state.hear(&Request::Greet(greeting), 0);
        let mut order = Vec::new();
        while let Some(message) = state.next(0) {
            order.push(match message {
                Message::Hello(hello) => (0, hello.challenge as u32),
                Message::Report(report) => (1, report.frame),
                Message::Thumbnail(part) => (2, part.frame),
                _ => (3, 0),
            });
        }
        assert_eq!(order, [(0, 5), (1, 3), (1, 1), (2, 2)]);
    }
}
