//! Both ends of the link, and what lies between them.

use std::collections::BTreeSet;
use std::time::Duration;

use device::outbox::{Options, Outbox};
use host::monitor::{Deliveries, Partner};
use shared::image::FrameStatistics;
use shared::triage::Causes;
use shared::wire::delivery::Ticket;
use shared::wire::frame::{self, Deframer, MAX_FRAME};
use shared::wire::message::{Message, Report};
use shared::wire::request::{Request, RequestDeframer};

struct Link {
    outbox: Outbox,
    requests: RequestDeframer,
    heard: Deframer,
    deliveries: Deliveries,
    partner: Partner,
    /// What the host has on its disk.
    log: Vec<(Ticket, u32)>,
    pushed: u32,
    now_us: u64,
}

/// Each byte is what happens next; in the end the line is whole, and everything has to arrive once.
pub(crate) fn both_ends(bytes: &[u8]) {
    let mut link = Link::new();
    let mut rest = bytes.iter();
    while let Some(&what) = rest.next() {
        match what % 10 {
            0 => link.push(),
            1 | 2 => link.send(1, true),
            3 => link.send(0, true),
            4 => link.send(2, true),
            // It arrives, but what is answered is lost.
            5 => link.send(1, false),
            6 => link.restart_host(),
            7 => link.outbox.begin_anew(),
            8 => link.now_us += 1 << (what / 10),
            _ => {
                let noise: Vec<u8> = rest
                    .by_ref()
                    .take(usize::from(what / 10))
                    .copied()
                    .collect();
                link.hear(&noise);
                link.answer(&noise);
            }
        }
    }
    let mut turns = 0;
    while !link.outbox.is_empty() {
        turns += 1;
        assert!(turns < 100_000, "the outbox is never empty");
        link.now_us = link
            .outbox
            .next_due_us()
            .map_or(link.now_us, |due| due.max(link.now_us));
        link.send(1, true);
    }
    let frames: BTreeSet<u32> = link.log.iter().map(|(_, frame)| *frame).collect();
    assert_eq!(frames.len(), link.log.len(), "something came twice");
    assert_eq!(frames.len(), link.pushed as usize, "something is missing");
}

impl Link {
    fn new() -> Self {
        let options = Options {
            folder: None,
            limit: 1 << 24,
            sync: Duration::ZERO,
            timeout: Duration::from_millis(1),
        };
        Self {
            outbox: Outbox::open(&options, 1).expect("in memory"),
            requests: RequestDeframer::new(),
            heard: Deframer::new(),
            deliveries: Deliveries::default(),
            partner: Partner::default(),
            log: Vec::new(),
            pushed: 0,
            now_us: 0,
        }
    }

    fn push(&mut self) {
        let report = Report {
            frame: self.pushed,
            captured_us: 0,
            age_us: 0,
            latency_us: 0,
            class: 0,
            confidence: 0.0,
            predictive_entropy: 0.0,
            expected_entropy: 0.0,
            mutual_information: 0.0,
            variation_ratio: 0.0,
            standard_deviation: 0.0,
            margin: 0.0,
            passes: 1,
            causes: Causes::EMPTY,
            image: FrameStatistics::default(),
            ticket: None,
        };
        self.outbox.push_report(report).expect("room");
        self.pushed += 1;
    }

    /// What the device sends next arrives so many times.
    fn send(&mut self, times: u32, is_answered: bool) {
        let Some(message) = self.outbox.send(self.now_us) else {
            self.now_us += 100;
            return;
        };
        // A delimiter first, in case noise came before.
        let mut bytes = [0; MAX_FRAME + 1];
        let length = frame::encode(0, &message, &mut bytes[1..]).expect("it fits");
        for _ in 0..times {
            self.hear(&bytes[..=length]);
        }
        self.partner
            .acknowledge(&self.deliveries.acknowledgements());
        let said = self.partner.take();
        if is_answered {
            self.answer(&said);
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(Ok(packet)) = self.heard.push(*byte)
                && let Message::Report(report) = packet.message
                && let Some(ticket) = report.ticket
                && self.deliveries.report(ticket)
            {
                self.log.push((ticket, report.frame));
            }
        }
    }

    fn answer(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(Ok(packet)) = self.requests.push(*byte) {
                self.outbox.hear();
                if let Request::Acknowledge(answer) = packet.message {
                    self.outbox.acknowledge(&answer);
                }
            }
        }
    }

    fn restart_host(&mut self) {
        self.deliveries = Deliveries::default();
        self.heard = Deframer::new();
        for (ticket, _) in &self.log {
            self.deliveries.report(*ticket);
        }
    }
}
