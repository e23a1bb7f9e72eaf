//! Both ends of the link as they are, on a line that is not: time is simulated, so that a million
//! reports take seconds, and the same seed gives the same figures.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use device::outbox::{Options, Outbox};
use embedded_io_adapters::std::FromStd;
use host::monitor::{Deliveries, Partner};
use shared::image::FrameStatistics;
use shared::triage::{Cause, Causes};
use shared::wire::Packet;
use shared::wire::delivery::Ticket;
use shared::wire::link::{Receiver, Sender, WireFormat};
use shared::wire::message::{Message, Report};
use shared::wire::request::{Request, RequestDeframer};

use crate::faults::{Faults, FaultyLine, Random};

/// What is simulated.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Frames judged.
    pub frames: u32,
    /// Share of them that is flagged.
    pub flagged: f64,
    /// Speed of the line, bits per second.
    pub baud: u32,
    /// Of the line, in both directions.
    pub faults: Faults,
    /// How often, per message of the device, the device starts anew, the host does, or the line is
    /// interrupted.
    pub interruptions: f64,
    /// One more interruption, after so many bytes of both directions together, mostly in the middle of
    /// a message.
    pub cut: Option<(u64, Interruption)>,
    /// Of everything.
    pub seed: u64,
    /// Where the device keeps its outbox; if not given, in memory, where it does not start anew.
    pub folder: Option<PathBuf>,
}

/// What is broken off, and begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interruption {
    /// The device, which finds its outbox again; only if that is in a folder.
    Device,
    /// The host, which finds its log again.
    Host,
    /// The connection between them.
    Line,
}

impl Interruption {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Device, Self::Host, Self::Line];
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Frames judged, and flagged.
    pub decided: (u32, u32),
    /// Flagged reports in the host's log, each counted once.
    pub logged: u32,
    /// Of these, how many are there more than once.
    pub doubled: u32,
    /// Reports, flagged or not, that arrived and that nobody had sent like this.
    pub altered: u32,
    /// Reports of accepted frames that arrived.
    pub accepted: u32,
    /// Repetitions by the device, and such taken by the host.
    pub repeated: (u64, u64),
    /// Frames of the wire that arrived damaged: at the host, and at the device.
    pub corrupt: (u64, u64),
    /// Bytes carried in both directions, and spoilt ones.
    pub bytes: (u64, u64),
    /// Starts of device and host, and interruptions of the line.
    pub interruptions: (u32, u32, u32),
    /// Simulated seconds.
    pub seconds: u64,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (frames, flagged) = self.decided;
        let (carried, spoilt) = self.bytes;
        let (devices, hosts, lines) = self.interruptions;
        writeln!(f, "frames {frames}, flagged {flagged}")?;
        writeln!(
            f,
            "in the log {}, twice {}, altered {}",
            self.logged, self.doubled, self.altered
        )?;
        writeln!(f, "accepted frames that arrived {}", self.accepted)?;
        writeln!(
            f,
            "repetitions {}, taken for such {}",
            self.repeated.0, self.repeated.1
        )?;
        writeln!(
            f,
            "damaged on the way: {} to the host, {} to the device",
            self.corrupt.0, self.corrupt.1
        )?;
        writeln!(f, "bytes {carried}, spoilt {spoilt}")?;
        write!(
            f,
            "starts: device {devices}, host {hosts}, line {lines}; {} s",
            self.seconds
        )
    }
}

/// The report of a frame, all of whose content follows from the frame's number.
#[must_use]
pub fn report(frame: u32, is_flagged: bool) -> Report {
    let mut random = Random(frame.into());
    let mut share = || (random.next() >> 40) as f32 / (1 << 24) as f32;
    Report {
        frame,
        captured_us: u64::from(frame) * 1_000,
        age_us: frame % 977,
        latency_us: frame % 1_009,
        class: (frame % 10) as u16,
        confidence: share(),
        predictive_entropy: share(),
        expected_entropy: share(),
        mutual_information: share(),
        variation_ratio: share(),
        standard_deviation: share(),
        margin: share(),
        passes: 100,
        causes: if is_flagged {
            [Cause::Unfamiliar].into_iter().collect()
        } else {
            Causes::EMPTY
        },
        image: FrameStatistics::default(),
        ticket: None,
    }
}

struct Device {
    outbox: Outbox,
    sender: Sender<FromStd<Vec<u8>>>,
    deframer: RequestDeframer,
    accepted: VecDeque<Report>,
    repeated: u64,
}

impl Device {
    fn start(setup: &Setup, epoch: u64) -> Self {
        let options = Options {
            folder: setup.folder.clone(),
            limit: 1 << 20,
            // A disk that is waited for would only take time here.
            sync: Duration::from_mins(1),
            timeout: Duration::from_millis(50),
        };
        Self {
            outbox: Outbox::open(&options, epoch).expect("a folder of our own"),
            sender: Sender::new(FromStd::new(Vec::new()), WireFormat::Binary),
            deframer: RequestDeframer::new(),
            accepted: VecDeque::new(),
            repeated: 0,
        }
    }
}

struct Host {
    receiver: Receiver,
    deliveries: Deliveries,
    partner: Partner,
}

impl Host {
    fn start(log: &[Ticket]) -> Self {
        let mut deliveries = Deliveries::default();
        for ticket in log {
            deliveries.report(*ticket);
        }
        deliveries.acknowledgements();
        Self {
            receiver: Receiver::new(WireFormat::Binary),
            deliveries,
            partner: Partner::default(),
        }
    }
}

/// Where one more interruption is still to come.
struct Cut(Option<(u64, Interruption)>);

impl Cut {
    /// Takes what goes over the line, and leaves of it what arrives before the interruption.
    fn shorten(&mut self, bytes: &mut Vec<u8>) -> Option<Interruption> {
        let (left, interruption) = self.0.as_mut()?;
        if let Some(rest) = left.checked_sub(bytes.len() as u64) {
            *left = rest;
            return None;
        }
        bytes.truncate(*left as usize);
        let interruption = *interruption;
        self.0 = None;
        Some(interruption)
    }
}

/// Judges all frames, and goes on until every flagged one is acknowledged.
///
/// # Panics
/// If the outbox cannot be used, or nothing comes to an end.
#[must_use]
pub fn run(setup: &Setup) -> Outcome {
    let mut random = Random(setup.seed);
    let mut outcome = Outcome::default();
    let mut to_host = FaultyLine::new(setup.faults, random.next());
    let mut to_device = FaultyLine::new(setup.faults, random.next());
    let mut epoch = random.next();
    let mut device = Device::start(setup, epoch);
    let mut log: Vec<Ticket> = Vec::new();
    let mut frames_logged: Vec<u32> = Vec::new();
    let mut host = Host::start(&log);
    let byte_us = 1e7 / f64::from(setup.baud);
    let mut now = 0.0_f64;
    let mut flags = Vec::new();
    let mut idle = 0_u32;
    let mut cut = Cut(setup.cut);
    loop {
        // The loop of the device: it has no camera, so it waits for the line.
        while outcome.decided.0 < setup.frames
            && device.accepted.len() < 8
            && device.outbox.waiting() < 200
        {
            let frame = outcome.decided.0;
            let is_flagged = random.happens(setup.flagged);
            outcome.decided.0 += 1;
            let report = report(frame, is_flagged);
            if is_flagged {
                outcome.decided.1 += 1;
                flags.push(frame);
                device.outbox.push_report(report).expect("room");
            } else {
                device.accepted.push_back(report);
            }
        }
        let message = device.outbox.send(now as u64);
        let message = message.or_else(|| device.accepted.pop_front().map(Message::Report));
        let Some(message) = message else {
            if outcome.decided.0 == setup.frames && device.outbox.is_empty() {
                break;
            }
            idle += 1;
            assert!(idle < 10_000_000, "no end: {outcome}");
            now = device
                .outbox
                .next_due_us()
                .map_or(now, |due| due as f64)
                .max(now)
                + 1.0;
            continue;
        };
        device.sender.send(&message).expect("memory");
        let mut bytes = std::mem::take(device.sender.get_mut().inner_mut());
        now += bytes.len() as f64 * byte_us;
        let mut interruption = cut.shorten(&mut bytes);
        let mut came = false;
        for byte in to_host.carry(&bytes) {
            if let Some(Ok(Packet {
                message: Message::Report(got),
                ..
            })) = host.receiver.push(byte)
            {
                let truth = report(got.frame, got.causes != Causes::EMPTY);
                let plain = Report {
                    ticket: None,
                    ..got.clone()
                };
                outcome.altered += u32::from(plain != truth);
                match got.ticket {
                    None => outcome.accepted += 1,
                    Some(ticket) => {
                        came = true;
                        if host.deliveries.report(ticket) {
                            log.push(ticket);
                            frames_logged.push(got.frame);
                        } else {
                            outcome.repeated.1 += 1;
                        }
                    }
                }
            }
        }
        if came {
            host.partner
                .acknowledge(&host.deliveries.acknowledgements());
            let mut bytes = host.partner.take();
            interruption = interruption.or(cut.shorten(&mut bytes));
            for byte in to_device.carry(&bytes) {
                if let Some(Ok(Packet {
                    message: Request::Acknowledge(answer),
                    ..
                })) = device.deframer.push(byte)
                {
                    device.outbox.acknowledge(&answer);
                }
            }
        }
        if random.happens(setup.interruptions) {
            interruption = Some(Interruption::ALL[random.below(3)]);
        }
        if let Some(interruption) = interruption {
            match interruption {
                Interruption::Device if setup.folder.is_some() => {
                    outcome.interruptions.0 += 1;
                    device.repeated += u64::from(device.outbox.statistics().resent);
                    outcome.corrupt.1 += device.deframer.counters().corrupt;
                    outcome.repeated.0 += device.repeated;
                    let accepted = std::mem::take(&mut device.accepted);
                    // The lock goes with the old one.
                    drop(device);
                    epoch = random.next();
                    device = Device::start(setup, epoch);
                    device.accepted = accepted;
                }
                Interruption::Host => {
                    outcome.interruptions.1 += 1;
                    outcome.corrupt.0 += host.receiver.counters().corrupt;
                    host = Host::start(&log);
                }
                Interruption::Device | Interruption::Line => {
                    outcome.interruptions.2 += 1;
                    device.sender.begin_anew();
                    device.outbox.begin_anew();
                }
            }
        }
    }
    outcome.repeated.0 += u64::from(device.outbox.statistics().resent);
    outcome.corrupt.0 += host.receiver.counters().corrupt;
    outcome.corrupt.1 += device.deframer.counters().corrupt;
    outcome.bytes = (
        to_host.carried + to_device.carried,
        to_host.spoilt + to_device.spoilt,
    );
    outcome.seconds = (now / 1e6) as u64;
    frames_logged.sort_unstable();
    let all = frames_logged.len();
    frames_logged.dedup();
    outcome.doubled = (all - frames_logged.len()) as u32;
    outcome.logged = frames_logged
        .iter()
        .filter(|frame| flags.binary_search(frame).is_ok())
        .count() as u32;
    outcome
}
