//! What is known of a device at this moment, from what it said so far: a pure state that a terminal
//! or a page shows.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use device::engine::InputShape;
use device::preprocessing::InWords;
use serde::Serialize;
use shared::triage::{Cause, Thresholds};
use shared::wire::message::{Hello, Message, Performance, Report, Statistics};
use shared::wire::{LinkCounters, Packet};

use super::output::label;
use super::{Assembler, Clock, FrameKey, Picture, Record, explain, percentile};

/// Frames that are remembered, the latest; what a [`Snapshot`] calls recent.
pub const REMEMBERED: usize = 600;
/// Flagged frames that are remembered besides, the latest, with their pictures.
const REMEMBERED_FLAGS: usize = 200;
/// A frame that is older than the one before by more was taken after a new start.
const OVERTAKEN_US: u64 = 5_000_000;
/// Words of the device that are remembered.
const REMEMBERED_WORDS: usize = 50;

/// One frame's answer as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Place among all reports received, from 0.
    pub index: u64,
    /// When it came, seconds since monitoring began.
    pub at_s: f64,
    /// Sequence number on the link.
    pub sequence: u32,
    /// Name of the predicted class, if the device had told it.
    pub label: Option<String>,
    /// The answer.
    pub report: Report,
    /// What the model saw, once that has come.
    pub picture: Option<Picture>,
    link: LinkCounters,
}

impl Seen {
    /// The answer as JSON lines show it.
    #[must_use]
    pub fn record(&self) -> Record<'_> {
        Record::new(
            self.sequence,
            &self.report,
            self.label.as_deref(),
            &self.link,
        )
    }

    /// Name of the predicted class, or its number.
    #[must_use]
    pub fn class(&self) -> String {
        let number = || self.report.class.to_string();
        self.label.clone().unwrap_or_else(number)
    }
}

/// Something that a device told besides reports, in words.
#[derive(Clone, Debug, Serialize)]
pub struct Words {
    /// When it came, seconds since monitoring began.
    pub at_s: f64,
    /// Whether the device does not do its work.
    pub failure: bool,
    /// What it means and what to do about it.
    pub words: String,
}

/// The state. It takes what comes down the line, one message after the other, with the time since
/// monitoring began, and never looks at a clock itself.
#[derive(Clone, Debug, Default)]
pub struct Live {
    hello: Option<Hello>,
    frames: VecDeque<Seen>,
    flags: VecDeque<Seen>,
    assembler: Assembler,
    unreported: u64,
    totals: Totals,
    by_cause: [u64; Cause::ALL.len()],
    told: Option<Statistics>,
    performance: Option<Performance>,
    words: VecDeque<Words>,
    link: LinkCounters,
    clock: Option<Clock>,
    heard: Option<Duration>,
    ended: bool,
    revision: u64,
}

impl Live {
    /// Takes one message that came at `now`. With the last part of a picture it gives that, and which
    /// frame it is of.
    pub fn packet(&mut self, packet: &Packet, now: Duration) -> Option<(FrameKey, Picture)> {
        self.revision += 1;
        self.heard = Some(now);
        match &packet.message {
            Message::Hello(hello) => self.hello = Some(hello.clone()),
            Message::Report(report) => self.report(packet.sequence, report, now),
            Message::Statistics(statistics) => self.told = Some(statistics.clone()),
            Message::Performance(performance) => self.performance = Some(*performance),
            Message::Thumbnail(part) => {
                let (key, picture) = self.assembler.take(part)?;
                // A report that is acknowledged has come, if only to an earlier monitor.
                let reported = self.picture(key, &picture) || key.epoch.is_some();
                self.unreported += u64::from(!reported);
                return Some((key, picture));
            }
            // The clocks are compared elsewhere.
            Message::Echo(_) => {}
            Message::Notice(notice) => {
                push(
                    &mut self.words,
                    REMEMBERED_WORDS,
                    Words {
                        at_s: now.as_secs_f64(),
                        failure: notice.code.is_failure(),
                        words: explain(notice),
                    },
                );
            }
        }
        None
    }

    fn report(&mut self, sequence: u32, report: &Report, now: Duration) {
        let flagged = !report.causes.is_empty();
        let seen = Seen {
            index: self.totals.frames,
            at_s: now.as_secs_f64(),
            sequence,
            label: label(self.hello.as_ref(), report.class).map(str::to_owned),
            report: report.clone(),
            picture: None,
            link: self.link,
        };
        self.totals.frames += 1;
        *(if flagged {
            &mut self.totals.flagged
        } else {
            &mut self.totals.accepted
        }) += 1;
        for cause in report.causes.iter() {
            self.by_cause[cause.index()] += 1;
        }
        if flagged {
            push(&mut self.flags, REMEMBERED_FLAGS, seen.clone());
        }
        push(&mut self.frames, REMEMBERED, seen);
    }

    /// Takes what became of the line so far.
    pub fn link(&mut self, counters: LinkCounters) {
        if counters != self.link {
            self.link = counters;
            self.revision += 1;
        }
    }

    /// Takes how far the clocks are apart.
    pub fn clock(&mut self, clock: Option<Clock>) {
        if clock != self.clock {
            self.clock = clock;
            self.revision += 1;
        }
    }

    /// Takes the picture of the latest frame of this number; whether that is still remembered.
    pub fn picture(&mut self, key: FrameKey, picture: &Picture) -> bool {
        let put = |list| put(list, key, picture);
        let known = [&mut self.flags, &mut self.frames].map(put).contains(&true);
        self.revision += u64::from(known);
        known
    }

    /// The latest frame of this number, if it is still remembered.
    #[must_use]
    pub fn frame(&self, key: FrameKey) -> Option<&Seen> {
        latest(&self.frames, key).or_else(|| latest(&self.flags, key))
    }

    /// Pictures that never came whole, and those that did but whose report did not come.
    #[must_use]
    pub fn pictures_lost(&self) -> (u64, u64) {
        (self.assembler.incomplete(self.ended), self.unreported)
    }

    /// Nothing more will come.
    pub fn end(&mut self) {
        self.ended = true;
        self.revision += 1;
    }

    /// Changes whenever the state does.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Who speaks.
    #[must_use]
    pub fn hello(&self) -> Option<&Hello> {
        self.hello.as_ref()
    }

    /// The frames remembered, oldest first, at most [`REMEMBERED`].
    #[must_use]
    pub fn frames(&self) -> &VecDeque<Seen> {
        &self.frames
    }

    /// The flagged frames remembered, oldest first: also such as are no longer among
    /// [`Live::frames`].
    #[must_use]
    pub fn flags(&self) -> &VecDeque<Seen> {
        &self.flags
    }

    /// Those of the frames remembered whose [`Seen::index`] is `index` or more.
    pub fn since(&self, index: u64) -> impl Iterator<Item = &Seen> {
        let first = self.frames.front().map_or(0, |seen| seen.index);
        let skipped = usize::try_from(index.saturating_sub(first)).unwrap_or(usize::MAX);
        self.frames.iter().skip(skipped)
    }

    /// All figures at `now`, the time since monitoring began.
    #[must_use]
    pub fn snapshot(&self, now: Duration) -> Snapshot<'_> {
        let mut latencies: Vec<u32> = self.recent(|report| report.latency_us).collect();
        latencies.sort_unstable();
        let of = |share| percentile(&latencies, share);
        let recent = self.frames.len();
        let recent_flagged = self
            .recent(|report| usize::from(!report.causes.is_empty()))
            .sum::<usize>();
        Snapshot {
            revision: self.revision,
            device: self.hello.as_ref().map(Device::new),
            totals: self.totals,
            recent: Recent {
                frames: recent,
                flagged: recent_flagged,
                flag_rate: (recent > 0).then(|| recent_flagged as f64 / recent as f64),
                frames_per_second: self.rate(),
                latency_us: of(0.5)
                    .zip(of(0.95))
                    .zip(of(0.99))
                    .map(|((p50, p95), p99)| Percentiles { p50, p95, p99 }),
            },
            causes: Cause::ALL
                .map(|cause| CauseCount {
                    cause: cause.name(),
                    total: self.by_cause[cause.index()],
                    recent: self
                        .recent(|report| usize::from(report.causes.contains(cause)))
                        .sum(),
                })
                .into(),
            classes: self.classes(),
            link: Link {
                counters: self.link,
                silent_s: self
                    .heard
                    .map(|heard| now.saturating_sub(heard).as_secs_f64()),
                clock: self.clock,
            },
            told: self.told.as_ref(),
            performance: self.performance,
            words: &self.words,
            ended: self.ended,
        }
    }

    fn recent<T>(&self, of: impl Fn(&Report) -> T) -> impl Iterator<Item = T> {
        self.frames.iter().map(move |seen| of(&seen.report))
    }

    /// Frames per second among those remembered, on the device's clock since its last start.
    fn rate(&self) -> Option<f64> {
        let times: Vec<u64> = self.recent(|report| report.captured_us).collect();
        // Flagged frames overtake others, and may come long after them.
        let start = times
            .windows(2)
            .rposition(|pair| pair[1].saturating_add(OVERTAKEN_US) < pair[0])
            .map_or(0, |last| last + 1);
        let times = times.get(start..)?;
        let span = times.iter().max()? - times.iter().min()?;
        let frames = times.len() - 1;
        (span > 0).then(|| frames as f64 / (span as f64 / 1e6))
    }

    /// The classes of the frames remembered, in the order of the device's labels.
    fn classes(&self) -> Vec<ClassCount> {
        let mut classes: BTreeMap<(u16, String), ClassCount> = BTreeMap::new();
        for seen in &self.frames {
            let class = seen.class();
            let count = classes
                .entry((seen.report.class, class.clone()))
                .or_insert(ClassCount {
                    label: class,
                    frames: 0,
                    flagged: 0,
                });
            count.frames += 1;
            count.flagged += usize::from(!seen.report.causes.is_empty());
        }
        classes.into_values().collect()
    }
}

/// Adds to the end of a list of at most `most`, at the cost of its beginning.
fn push<T>(list: &mut VecDeque<T>, most: usize, item: T) {
    if list.len() == most {
        list.pop_front();
    }
    list.push_back(item);
}

/// The latest frame of this number.
fn latest(list: &VecDeque<Seen>, key: FrameKey) -> Option<&Seen> {
    list.iter()
        .rev()
        .find(|seen| FrameKey::of_report(&seen.report) == key)
}

/// Gives the latest frame of this number its picture; whether there is one.
fn put(list: &mut VecDeque<Seen>, key: FrameKey, picture: &Picture) -> bool {
    let mut latest = list.iter_mut().rev();
    let Some(seen) = latest.find(|seen| FrameKey::of_report(&seen.report) == key) else {
        return false;
    };
    seen.picture = Some(picture.clone());
    true
}

/// All figures of a moment.
#[derive(Debug, Serialize)]
pub struct Snapshot<'a> {
    /// [`Live::revision`].
    pub revision: u64,
    /// Who speaks; `None` until it has said so.
    pub device: Option<Device<'a>>,
    /// Over all frames since monitoring began.
    pub totals: Totals,
    /// Over the frames remembered.
    pub recent: Recent,
    /// Flagged frames by cause, in the order of [`Cause::ALL`].
    pub causes: Vec<CauseCount>,
    /// Answers by class, over the frames remembered.
    pub classes: Vec<ClassCount>,
    /// What became of the line.
    pub link: Link,
    /// What the device told of itself last.
    pub told: Option<&'a Statistics>,
    /// How well it keeps up, as it told last.
    pub performance: Option<Performance>,
    /// What it told besides, oldest first.
    pub words: &'a VecDeque<Words>,
    /// Whether nothing more will come.
    pub ended: bool,
}

/// Who speaks: what a monitor shows of a greeting.
#[derive(Debug, Serialize)]
pub struct Device<'a> {
    /// Name of the device.
    pub name: &'a str,
    /// Version of its software.
    pub software: &'a str,
    /// Name of the inference engine.
    pub engine: &'a str,
    /// CRC-32 of the model file, eight hexadecimal digits.
    pub model: String,
    /// The model's input: channels, rows, columns.
    pub input: [u16; 3],
    /// What becomes of a picture before the model sees it, in words; devices of older versions do not tell.
    pub sees: Option<String>,
    /// Number of classes.
    pub classes: u16,
    /// Names of the first classes; may be empty.
    pub labels: Vec<&'a str>,
    /// Passes per frame, at most.
    pub passes: u32,
    /// Seed of the masks, in digits: JavaScript's numbers have not enough.
    pub seed: String,
    /// Limits in force.
    pub thresholds: &'a Thresholds,
}

impl<'a> Device<'a> {
    fn new(hello: &'a Hello) -> Self {
        Self {
            name: &hello.device,
            software: &hello.software,
            engine: &hello.engine,
            model: format!("{:08x}", hello.model),
            input: hello.input,
            sees: sees(hello),
            classes: hello.classes,
            labels: hello.labels.iter().map(AsRef::as_ref).collect(),
            passes: hello.passes,
            seed: hello.seed.to_string(),
            thresholds: &hello.thresholds,
        }
    }
}

/// What becomes of a picture before the model of a device sees it, in words.
#[must_use]
pub fn sees(hello: &Hello) -> Option<String> {
    let [channels, height, width] = hello.input.map(usize::from);
    let shape = InputShape {
        channels,
        height,
        width,
    };
    Some(InWords(&hello.sees()?, shape).to_string())
}

/// Frames since monitoring began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Reports received.
    pub frames: u64,
    /// Of these, accepted.
    pub accepted: u64,
    /// Of these, flagged.
    pub flagged: u64,
}

/// Figures over the frames remembered.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Recent {
    /// How many there are.
    pub frames: usize,
    /// Of these, flagged.
    pub flagged: usize,
    /// Share of flagged ones, 0..=1; `None` without frames.
    pub flag_rate: Option<f64>,
    /// On the device's clock; `None` below two frames.
    pub frames_per_second: Option<f64>,
    /// From capture to verdict; `None` without frames.
    pub latency_us: Option<Percentiles>,
}

/// The least times that 50, 95 and 99 % took at most, µs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// Median.
    pub p50: u32,
    /// 95th percentile.
    pub p95: u32,
    /// 99th percentile.
    pub p99: u32,
}

/// How often a cause was given; a frame with several counts under each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CauseCount {
    /// [`Cause::name`].
    pub cause: &'static str,
    /// Since monitoring began.
    pub total: u64,
    /// Among the frames remembered.
    pub recent: usize,
}

/// How often a class was the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// Its name, or its number.
    pub label: String,
    /// Frames.
    pub frames: usize,
    /// Of these, flagged.
    pub flagged: usize,
}

/// What became of the line.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Link {
    /// What was counted since monitoring began.
    #[serde(flatten)]
    pub counters: LinkCounters,
    /// Seconds since the last message; `None` before the first.
    pub silent_s: Option<f64>,
    /// How far the clocks are apart; `None` where nobody answers probes.
    pub clock: Option<Clock>,
}

#[cfg(test)]
mod tests {
    use shared::triage::Causes;
    use shared::wire::delivery::{DeliveryStatistics, Guarantee};
    use shared::wire::message::{LineStatistics, Notice, NoticeCode, SCHEMA_HASH, shortened};

    use super::super::agreement::tests::report;
    use super::*;

    fn key(frame: u32) -> FrameKey {
        FrameKey { epoch: None, frame }
    }

    fn hello(labels: &[&str]) -> Message {
        Message::Hello(Hello {
            schema: SCHEMA_HASH,
            device: shortened("gate"),
            software: shortened("1.2.3"),
            engine: shortened("native"),
            model: 0xBEEF,
            input: [1, 28, 28],
            classes: 10,
            labels: labels.iter().map(|label| shortened(label)).collect(),
            passes: 100,
            seed: u64::MAX,
            thresholds: Thresholds::OFF,
            epoch: 0,
            challenge: 0,
            guarantee: Guarantee::Once,
            preprocessing: [].into_iter().collect(),
        })
    }

    fn answer(frame: u32, captured_us: u64, latency_us: u32, causes: &[Cause]) -> Message {
        Message::Report(Report {
            captured_us,
            latency_us,
            causes: causes.iter().copied().collect::<Causes>(),
            ..report(frame)
        })
    }

    fn fed(messages: impl IntoIterator<Item = Message>) -> Live {
        let mut live = Live::default();
        for (sequence, message) in (0..).zip(messages) {
            let packet = Packet { sequence, message };
            live.packet(&packet, Duration::from_millis(u64::from(sequence)));
        }
        live
    }

    #[test]
    fn only_the_latest_frames_are_remembered_but_all_are_counted() {
        let frames = REMEMBERED as u32 + 100;
        // The first hundred are flagged, and forgotten.
        let causes = |frame| {
            if frame < 100 {
                &[Cause::Glare][..]
            } else {
                &[]
            }
        };
        let live = fed(
            (0..frames).map(|frame| answer(frame, u64::from(frame) * 10_000, 5, causes(frame)))
        );
        let now = live.snapshot(Duration::ZERO);
        assert_eq!((now.totals.frames, now.totals.flagged), (700, 100));
        assert_eq!((now.recent.frames, now.recent.flagged), (600, 0));
        assert_eq!(now.recent.flag_rate, Some(0.0));
        let glare = &now.causes[Cause::Glare.index()];
        assert_eq!((glare.total, glare.recent), (100, 0));
        // Flagged ones are remembered for longer.
        assert_eq!(live.flags().len(), 100);
        assert!((now.recent.frames_per_second.expect("a rate") - 100.0).abs() < 1e-9);
        assert_eq!(live.since(0).count(), 600);
        let last: Vec<u64> = live.since(698).map(|seen| seen.index).collect();
        assert_eq!(last, [698, 699]);
        assert_eq!(live.since(700).count(), 0);
    }

    #[test]
    fn latencies_are_times_that_occurred() {
        let live = fed((1..=200).rev().map(|us| answer(us, 7, us, &[])));
        let recent = live.snapshot(Duration::ZERO).recent;
        let (p50, p95, p99) = (100, 190, 198);
        assert_eq!(recent.latency_us, Some(Percentiles { p50, p95, p99 }));
        // The clock stood still.
        assert_eq!(recent.frames_per_second, None);
        let none = Live::default().snapshot(Duration::ZERO).recent;
        assert_eq!((none.latency_us, none.flag_rate), (None, None));
    }

    #[test]
    fn a_device_that_starts_again_has_a_rate_since_its_start() {
        let times = [5_000_000, 9_000_000, 100_000, 200_000, 300_000];
        let live = fed(times.map(|at| answer(0, at, 1, &[])));
        let rate = live.snapshot(Duration::ZERO).recent.frames_per_second;
        assert!((rate.expect("a rate") - 10.0).abs() < 1e-9);
    }

    #[test]
    fn classes_keep_the_names_that_they_had() {
        let live = fed([
            answer(0, 0, 1, &[]),
            hello(&["a", "b", "c", "kite"]),
            answer(1, 1, 1, &[Cause::Uncertain]),
            answer(2, 2, 1, &[]),
        ]);
        let classes = live.snapshot(Duration::ZERO).classes;
        let found: Vec<_> = classes
            .iter()
            .map(|class| (class.label.as_str(), class.frames, class.flagged))
            .collect();
        assert_eq!(found, [("3", 1, 0), ("kite", 2, 1)]);
    }

    #[test]
    fn a_picture_finds_the_latest_frame_of_its_number() {
        let mut live = fed([7, 8, 7].map(|frame| answer(frame, 0, 1, &[Cause::Glare])));
        let revision = live.revision();
        let picture = Picture {
            width: 1,
            height: 1,
            format: shared::image::PixelFormat::Grey8,
            pixels: vec![9],
        };
        assert!(!live.picture(key(3), &picture));
        assert_eq!(live.revision(), revision);
        assert!(live.picture(key(7), &picture));
        assert_eq!(live.frame(key(7)).expect("remembered").index, 2);
        assert!(live.revision() > revision);
        let known: Vec<_> = live
            .frames()
            .iter()
            .map(|seen| seen.picture.is_some())
            .collect();
        assert_eq!(known, [false, false, true]);
        assert!(
            live.flags()
                .back()
                .is_some_and(|seen| seen.picture.is_some())
        );
    }

    #[test]
    fn json_has_what_a_page_needs() {
        let mut live = fed([
            hello(&["zero"]),
            answer(1, 1, 1, &[Cause::Glare, Cause::Uncertain]),
            Message::Notice(Notice {
                code: NoticeCode::Panicked,
                detail: 0,
                text: shortened("src/judge.rs:7"),
            }),
            Message::Statistics(Statistics {
                frames: 1,
                accepted: 0,
                flagged: 1,
                by_cause: [0; 9],
                failed: 2,
                line: LineStatistics::default(),
                delivery: DeliveryStatistics::default(),
                stack_free: 0,
                uptime_us: 5,
                last: true,
            }),
        ]);
        live.link(LinkCounters {
            received: 4,
            lost: 3,
            ..LinkCounters::default()
        });
        live.end();
        let json =
            serde_json::to_value(live.snapshot(Duration::from_millis(2_003))).expect("plain");
        assert_eq!(json["device"]["model"], "0000beef");
        assert_eq!(json["device"]["seed"], "18446744073709551615");
        assert_eq!(json["device"]["labels"][0], "zero");
        assert_eq!(json["link"]["lost"], 3);
        assert_eq!(json["link"]["silent_s"], 2.0);
        assert_eq!(json["told"]["failed"], 2);
        assert_eq!(json["words"][0]["failure"], true);
        assert_eq!(json["ended"], true);
        let frames: Vec<_> = live.frames().iter().map(Seen::record).collect();
        let frames = serde_json::to_value(frames).expect("plain");
        assert_eq!(frames[0]["causes"][0], "glare");
        assert_eq!(frames[0]["seq"], 1);
    }
}
