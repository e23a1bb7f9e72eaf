//! The text format: one ASCII line a message, for people with a plain terminal and for `grep`.
//!
//! ```text
//! REPORT seq=12 frame=12 verdict=flag causes=glare+unfamiliar class=7 confidence=0.4312 … *1C291CA3
//! ```
//!
//! A line is `HELLO`, `REPORT`, `STATISTICS`, `NOTICE`, `THUMBNAIL`, `PERFORMANCE` or `ECHO`, then `key=value` pairs, always all of them in the
//! same order (those that later versions added may be missing, as in recordings of older ones), then ` *` and the CRC-32 of everything before the space, in eight upper-case
//! hexadecimal digits; it ends with CR LF. Numbers are decimal (`schema` and `model` hexadecimal),
//! fractions rounded to 4 digits (limits to 6, or `off`). In names, anything but printable ASCII,
//! and the characters `% , = *`, is written as `%` and two hexadecimal digits per byte; a list
//! without entries is `%` alone.

use core::fmt::{self, Write};

use crate::image::{
    Channels, FrameStatistics, Interpolation, MAX_CHANNELS, Normalisation, PixelFormat,
    Preprocessing, ValueRange, named,
};
use crate::triage::{Causes, Thresholds};

use super::decimal::Fixed;
use super::delivery::{DeliveryStatistics, Guarantee, Ticket};
use super::field::{
    Fields, NO_LABELS, NO_NUMBER, Name, Pixels, read_hex, read_labels, read_name, read_numbers,
    read_pixels, upper_hex,
};
use super::message::{
    Echo, Hello, LineStatistics, Message, Notice, OLDEST_VERSION, PROTOCOL_VERSION, Packet,
    Performance, Report, Statistics, Thumbnail,
};
use super::reception::{LinkCounters, Reception};
use super::{EncodeError, FrameError, crc32};

/// Bytes of the longest line, its CR LF included.
pub const MAX_LINE: usize = 2300;

/// ` *` and eight digits.
const TRAILER: usize = 10;

/// Writes one line, its CR LF included, and returns its length.
///
/// # Errors
/// If `out` is too small; [`MAX_LINE`] always suffices.
pub fn encode(sequence: u32, message: &Message, out: &mut [u8]) -> Result<usize, EncodeError> {
    let mut line = Line { out, length: 0 };
    write_message(&mut line, sequence, message).map_err(|_| EncodeError)?;
    let crc = crc32(&line.out[..line.length]);
    write!(line, " *{crc:08X}\r\n").map_err(|_| EncodeError)?;
    Ok(line.length)
}

/// Finds the messages in a stream of bytes that holds lines; carriage returns are ignored.
///
/// Until the first line feed the receiver may have joined in the middle of a line, so what fails
/// to decode there is discarded without an error; after it, every failure is reported once.
#[derive(Debug, Clone)]
pub struct TextDeframer(Reception<MAX_LINE>);

impl TextDeframer {
    /// A receiver that has heard nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Reception::new())
    }

    /// What became of the bytes so far.
    #[must_use]
    pub fn counters(&self) -> LinkCounters {
        self.0.counters()
    }

    /// Takes one byte; gives a packet, or the reason there is none, at the end of each line.
    pub fn push(&mut self, byte: u8) -> Option<Result<Packet, FrameError>> {
        match byte {
            b'\n' => self.0.finish(|line| decode(line)),
            b'\r' => None,
            _ => {
                self.0.push(byte);
                None
            }
        }
    }
}

impl Default for TextDeframer {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads one line, without its CR LF. Fractions come back as they were printed.
///
/// # Errors
/// [`FrameError`], except [`FrameError::TooLong`].
pub fn decode(line: &[u8]) -> Result<Packet, FrameError> {
    let (content, trailer) = line
        .split_last_chunk::<TRAILER>()
        .ok_or(FrameError::Malformed)?;
    let digits = trailer.strip_prefix(b" *").ok_or(FrameError::Malformed)?;
    if crc32(content) != upper_hex(digits).ok_or(FrameError::Malformed)? {
        return Err(FrameError::Checksum);
    }
    let content = core::str::from_utf8(content).map_err(|_| FrameError::Content)?;
    let (kind, fields) = content.split_once(' ').ok_or(FrameError::Content)?;
    let mut fields = Fields(fields.split(' '));
    let sequence = fields.number("seq")?;
    let message = match kind {
        "HELLO" => Message::Hello(read_hello(&mut fields)?),
        "REPORT" => Message::Report(read_report(&mut fields)?),
        "STATISTICS" => Message::Statistics(read_statistics(&mut fields)?),
        "NOTICE" => Message::Notice(read_notice(&mut fields)?),
        "THUMBNAIL" => Message::Thumbnail(read_thumbnail(&mut fields)?),
        "PERFORMANCE" => Message::Performance(read_performance(&mut fields)?),
        "ECHO" => Message::Echo(read_echo(&mut fields)?),
        _ => return Err(FrameError::Content),
    };
    match fields.0.next() {
        None => Ok(Packet { sequence, message }),
        Some(_) => Err(FrameError::Content),
    }
}

/// The part of the buffer already written.
struct Line<'a> {
    out: &'a mut [u8],
    length: usize,
}

impl Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.out
            .get_mut(self.length..end)
            .ok_or(fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

fn write_message(line: &mut Line<'_>, seq: u32, message: &Message) -> fmt::Result {
    match message {
        Message::Hello(hello) => write_hello(line, seq, hello),
        Message::Report(report) => write_report(line, seq, report),
        Message::Statistics(statistics) => write_statistics(line, seq, statistics),
        Message::Notice(notice) => write_notice(line, seq, notice),
        Message::Thumbnail(thumbnail) => write_thumbnail(line, seq, thumbnail),
        Message::Performance(performance) => write_performance(line, seq, performance),
        Message::Echo(echo) => write_echo(line, seq, *echo),
    }
}

fn write_hello(line: &mut Line<'_>, seq: u32, hello: &Hello) -> fmt::Result {
    let [channels, height, width] = hello.input;
    write!(
        line,
        "HELLO seq={seq} protocol={PROTOCOL_VERSION} schema={:016x} device={} software={} \
         engine={} model={:08x} input={channels}x{height}x{width} classes={} labels=",
        hello.schema,
        Name(&hello.device),
        Name(&hello.software),
        Name(&hello.engine),
        hello.model,
        hello.classes,
    )?;
    if hello.labels.is_empty() {
        line.write_str(NO_LABELS)?;
    }
    for (index, label) in hello.labels.iter().enumerate() {
        write!(line, "{}{}", if index > 0 { "," } else { "" }, Name(label))?;
    }
    write!(line, " passes={} seed={}", hello.passes, hello.seed)?;
    for (name, limit) in hello.thresholds.named() {
        if limit >= f32::MAX {
            write!(line, " {name}=off")?;
        } else {
            write!(line, " {name}={}", Fixed::<6>(limit))?;
        }
    }
    write!(
        line,
        " epoch={:016x} challenge={:016x} guarantee={}",
        hello.epoch,
        hello.challenge,
        hello.guarantee.name()
    )?;
    match hello.sees() {
        Some(preprocessing) => write_preprocessing(line, &preprocessing, channels.into()),
        None => Ok(()),
    }
}

fn write_preprocessing(
    line: &mut Line<'_>,
    preprocessing: &Preprocessing,
    planes: usize,
) -> fmt::Result {
    let Preprocessing {
        channels,
        geometry,
        interpolation,
        range,
        normalisation,
    } = preprocessing;
    write!(
        line,
        " channels={} geometry={geometry} interpolation={} range={}",
        channels.name(),
        interpolation.name(),
        range.name(),
    )?;
    let planes = &normalisation[..planes.clamp(1, MAX_CHANNELS)];
    write_planes(line, "plane_mean", planes.iter().map(|it| it.mean))?;
    let deviations = planes.iter().map(|it| it.standard_deviation);
    write_planes(line, "plane_deviation", deviations)
}

fn write_planes(line: &mut Line<'_>, key: &str, values: impl Iterator<Item = f32>) -> fmt::Result {
    write!(line, " {key}=")?;
    for (index, value) in values.enumerate() {
        let separator = if index > 0 { "," } else { "" };
        write!(line, "{separator}{}", Fixed::<6>(value))?;
    }
    Ok(())
}

fn read_hello(fields: &mut Fields<'_>) -> Result<Hello, FrameError> {
    let received = fields.number("protocol")?;
    if !(OLDEST_VERSION..=PROTOCOL_VERSION).contains(&received) {
        return Err(FrameError::Version {
            received,
            expected: PROTOCOL_VERSION,
        });
    }
    Ok(Hello {
        schema: u64::from_str_radix(fields.value("schema")?, 16)
            .map_err(|_| FrameError::Content)?,
        device: read_name(fields.value("device")?)?,
        software: read_name(fields.value("software")?)?,
        engine: read_name(fields.value("engine")?)?,
        model: u32::from_str_radix(fields.value("model")?, 16).map_err(|_| FrameError::Content)?,
        input: read_numbers(fields.value("input")?, 'x')?,
        classes: fields.number("classes")?,
        labels: read_labels(fields.value("labels")?)?,
        passes: fields.number("passes")?,
        seed: fields.number("seed")?,
        thresholds: Thresholds {
            max_black: fields.limit("max_black")?,
            max_plateau: fields.limit("max_plateau")?,
            max_saturated: fields.limit("max_saturated")?,
            min_white: fields.limit("min_white")?,
            min_sharpness: fields.limit("min_sharpness")?,
            min_contrast: fields.limit("min_contrast")?,
            max_mutual_information: fields.limit("max_mutual_information")?,
            max_expected_entropy: fields.limit("max_expected_entropy")?,
            max_predictive_entropy: fields.limit("max_predictive_entropy")?,
        },
        epoch: fields.added("epoch", read_hex)?.unwrap_or_default(),
        challenge: fields.added("challenge", read_hex)?.unwrap_or_default(),
        guarantee: fields
            .added("guarantee", |name| {
                Guarantee::ALL.into_iter().find(|one| one.name() == name)
            })?
            .unwrap_or_default(),
        preprocessing: read_preprocessing(fields)?
            .map(|preprocessing| preprocessing.to_bytes().into())
            .unwrap_or_default(),
    })
}

fn read_preprocessing(fields: &mut Fields<'_>) -> Result<Option<Preprocessing>, FrameError> {
    let Some(channels) = fields.added("channels", |text| named(&Channels::ALL, text))? else {
        return Ok(None);
    };
    let geometry = fields.number("geometry")?;
    let interpolation = named(&Interpolation::ALL, fields.value("interpolation")?);
    let range = named(&ValueRange::ALL, fields.value("range")?);
    let (Some(interpolation), Some(range)) = (interpolation, range) else {
        return Err(FrameError::Content);
    };
    let mut normalisation = [Normalisation::IDENTITY; MAX_CHANNELS];
    let mut read = |key, set: fn(&mut Normalisation, f32)| {
        let mut planes = normalisation.iter_mut();
        for text in fields.value(key)?.split(',') {
            let value = text.parse().map_err(|_| FrameError::Content)?;
            set(planes.next().ok_or(FrameError::Content)?, value);
        }
        Ok(())
    };
    read("plane_mean", |it, value| it.mean = value)?;
    read("plane_deviation", |it, value| it.standard_deviation = value)?;
    Ok(Some(Preprocessing {
        channels,
        geometry,
        interpolation,
        range,
        normalisation,
    }))
}

fn write_report(line: &mut Line<'_>, seq: u32, report: &Report) -> fmt::Result {
    let fixed = Fixed::<4>;
    write!(
        line,
        "REPORT seq={seq} frame={} verdict={} causes={} class={} confidence={} \
         predictive_entropy={} expected_entropy={} mutual_information={} variation_ratio={} \
         standard_deviation={} margin={} passes={} captured_us={} age_us={} latency_us={} mean={} \
         black={} white={} contrast={} sharpness={} saturated={} plateau={}",
        report.frame,
        report.verdict(),
        report.causes,
        report.class,
        fixed(report.confidence),
        fixed(report.predictive_entropy),
        fixed(report.expected_entropy),
        fixed(report.mutual_information),
        fixed(report.variation_ratio),
        fixed(report.standard_deviation),
        fixed(report.margin),
        report.passes,
        report.captured_us,
        report.age_us,
        report.latency_us,
        fixed(report.image.mean),
        fixed(report.image.black),
        fixed(report.image.white),
        fixed(report.image.contrast),
        fixed(report.image.sharpness),
        fixed(report.image.saturated),
        fixed(report.image.plateau),
    )?;
    write_ticket(line, report.ticket)
}

fn read_report(fields: &mut Fields<'_>) -> Result<Report, FrameError> {
    let frame = fields.number("frame")?;
    let verdict = fields.value("verdict")?;
    let causes: Causes = fields.number("causes")?;
    if verdict != causes.verdict().name() {
        return Err(FrameError::Content);
    }
    Ok(Report {
        frame,
        causes,
        class: fields.number("class")?,
        confidence: fields.number("confidence")?,
        predictive_entropy: fields.number("predictive_entropy")?,
        expected_entropy: fields.number("expected_entropy")?,
        mutual_information: fields.number("mutual_information")?,
        variation_ratio: fields.number("variation_ratio")?,
        standard_deviation: fields.number("standard_deviation")?,
        margin: fields.number("margin")?,
        passes: fields.number("passes")?,
        captured_us: fields.number("captured_us")?,
        age_us: fields.number("age_us")?,
        latency_us: fields.number("latency_us")?,
        image: FrameStatistics {
            mean: fields.number("mean")?,
            black: fields.number("black")?,
            white: fields.number("white")?,
            contrast: fields.number("contrast")?,
            sharpness: fields.number("sharpness")?,
            saturated: fields.number("saturated")?,
            plateau: fields.number("plateau")?,
        },
        ticket: fields.ticket()?,
    })
}

fn write_statistics(line: &mut Line<'_>, seq: u32, statistics: &Statistics) -> fmt::Result {
    write!(
        line,
        "STATISTICS seq={seq} frames={} accepted={} flagged={} by_cause=",
        statistics.frames, statistics.accepted, statistics.flagged,
    )?;
    for (index, count) in statistics.by_cause.iter().enumerate() {
        write!(line, "{}{count}", if index > 0 { "," } else { "" })?;
    }
    write!(
        line,
        " failed={} received={} corrupt={} lost={} overruns={} stack_free={} uptime_us={} last={}",
        statistics.failed,
        statistics.line.received,
        statistics.line.corrupt,
        statistics.line.lost,
        statistics.line.overruns,
        statistics.stack_free,
        statistics.uptime_us,
        statistics.last
    )?;
    let delivery = &statistics.delivery;
    write!(
        line,
        " delivery={},{},{},{},{}",
        delivery.delivered,
        delivery.pending,
        delivery.resent,
        delivery.overflowed,
        delivery.dropped
    )
}

fn read_statistics(fields: &mut Fields<'_>) -> Result<Statistics, FrameError> {
    let frames = fields.number("frames")?;
    let accepted = fields.number("accepted")?;
    let flagged = fields.number("flagged")?;
    let by_cause = read_numbers(fields.value("by_cause")?, ',')?;
    Ok(Statistics {
        frames,
        accepted,
        flagged,
        by_cause,
        failed: fields.number("failed")?,
        line: LineStatistics {
            received: fields.number("received")?,
            corrupt: fields.number("corrupt")?,
            lost: fields.number("lost")?,
            overruns: fields.number("overruns")?,
        },
        stack_free: fields.number("stack_free")?,
        uptime_us: fields.number("uptime_us")?,
        last: fields.number("last")?,
        delivery: fields
            .added("delivery", |numbers| {
                let [delivered, pending, resent, overflowed, dropped] =
                    read_numbers(numbers, ',').ok()?;
                Some(DeliveryStatistics {
                    delivered,
                    pending,
                    resent,
                    overflowed,
                    dropped,
                })
            })?
            .unwrap_or_default(),
    })
}

fn write_notice(line: &mut Line<'_>, seq: u32, notice: &Notice) -> fmt::Result {
    write!(
        line,
        "NOTICE seq={seq} code={} detail={} text={}",
        notice.code,
        notice.detail,
        Name(&notice.text)
    )
}

fn read_notice(fields: &mut Fields<'_>) -> Result<Notice, FrameError> {
    Ok(Notice {
        code: fields.number("code")?,
        detail: fields.number("detail")?,
        text: read_name(fields.value("text")?)?,
    })
}

fn write_thumbnail(line: &mut Line<'_>, seq: u32, thumbnail: &Thumbnail) -> fmt::Result {
    write!(
        line,
        "THUMBNAIL seq={seq} frame={} size={}x{} offset={} pixels={}",
        thumbnail.frame,
        thumbnail.width,
        thumbnail.height,
        thumbnail.offset,
        Pixels(&thumbnail.pixels)
    )?;
    write_ticket(line, thumbnail.ticket)?;
    write!(line, " format={}", thumbnail.format.name())
}

fn read_thumbnail(fields: &mut Fields<'_>) -> Result<Thumbnail, FrameError> {
    let frame = fields.number("frame")?;
    let [width, height] = read_numbers(fields.value("size")?, 'x')?;
    Ok(Thumbnail {
        frame,
        width,
        height,
        offset: fields.number("offset")?,
        pixels: read_pixels(fields.value("pixels")?)?,
        ticket: fields.ticket()?,
        format: fields
            .added("format", |name| named(&PixelFormat::ALL, name))?
            .unwrap_or_default(),
    })
}

fn write_ticket(line: &mut Line<'_>, ticket: Option<Ticket>) -> fmt::Result {
    match ticket {
        None => Ok(()),
        Some(ticket) => write!(
            line,
            " ticket={:016x},{},{}",
            ticket.epoch, ticket.number, ticket.behind
        ),
    }
}

fn write_echo(line: &mut Line<'_>, seq: u32, echo: Echo) -> fmt::Result {
    write!(
        line,
        "ECHO seq={seq} probe_us={} device_us={}",
        echo.probe_us, echo.device_us
    )
}

fn read_echo(fields: &mut Fields<'_>) -> Result<Echo, FrameError> {
    Ok(Echo {
        probe_us: fields.number("probe_us")?,
        device_us: fields.number("device_us")?,
    })
}

fn write_performance(line: &mut Line<'_>, seq: u32, performance: &Performance) -> fmt::Result {
    let [p50, p95, p99] = performance.latency_us;
    write!(
        line,
        "PERFORMANCE seq={seq} captured={} dropped={} corrupt={} missed={} reconnects={} \
         latency_us={p50},{p95},{p99} mean_passes={} processor={} peak_memory_kib={} temperature=",
        performance.captured,
        performance.dropped,
        performance.corrupt,
        performance.missed,
        performance.reconnects,
        Fixed::<4>(performance.mean_passes),
        Fixed::<4>(performance.processor),
        performance.peak_memory_kib,
    )?;
    match performance.temperature {
        Some(temperature) => write!(line, "{}", Fixed::<4>(temperature)),
        None => line.write_str(NO_NUMBER),
    }
}

fn read_performance(fields: &mut Fields<'_>) -> Result<Performance, FrameError> {
    Ok(Performance {
        captured: fields.number("captured")?,
        dropped: fields.number("dropped")?,
        corrupt: fields.number("corrupt")?,
        missed: fields.number("missed")?,
        reconnects: fields.number("reconnects")?,
        latency_us: read_numbers(fields.value("latency_us")?, ',')?,
        mean_passes: fields.number("mean_passes")?,
        processor: fields.number("processor")?,
        peak_memory_kib: fields.number("peak_memory_kib")?,
        temperature: fields.optional("temperature")?,
    })
}
