//! The link to the host: what is sent, with which promise, and where it goes.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, bail};
use device::line_key;
use device::outbox::{self, Outbox, OutboxError};
use device::serial::nonce;
use device::session::Session;
use embedded_io_adapters::std::FromStd;
use shared::triage::Verdict;
use shared::wire::LinkCounters;
use shared::wire::delivery::{DeliveryStatistics, Guarantee};
use shared::wire::link::{SendError, Sender, WireFormat};
use shared::wire::message::{
    Hello, MAX_LABELS, Message, Notice, NoticeCode, Report, SCHEMA_HASH, Thumbnail, shortened,
};
use shared::wire::seal::DeviceSession;

use super::Args;
use super::line::{Line, answer_timeout};

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Wire {
    Binary,
    Text,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Pictures {
    Flagged,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Delivery {
    Acknowledged,
    Once,
}

/// How flagged reports reach the host.
#[derive(Debug, clap::Args)]
pub(super) struct DeliveryArgs {
    /// Send flagged reports until the host acknowledges them (on a binary serial line, if not given),
    /// or once, over a line without a way back.
    #[arg(long, value_name = "HOW")]
    delivery: Option<Delivery>,
    /// Keep flagged reports that are not acknowledged yet in this folder, where they outlast crashes and
    /// power cuts; without it, in memory.
    #[arg(long, value_name = "DIR")]
    outbox: Option<PathBuf>,
    /// Most MiB of waiting reports, and again of waiting pictures; what finds no room is sent once.
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=1024))]
    outbox_limit: u64,
    /// Let the disk be late by so many milliseconds: a power cut loses what was flagged in them, and
    /// the disk is written to less often.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=60_000))]
    outbox_delay: u64,
    /// Seal every message with the key in this file (64 hexadecimal digits), which the host has too, and
    /// hear nobody else.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Seconds to wait at the end for what is not acknowledged.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    linger: u64,
}

/// Where messages go.
enum Out {
    /// What takes everything at once: a file, standard output.
    Direct(Box<Sender<FromStd<Box<dyn Write>>>>),
    Line(Line),
}

/// The greeting and the line that it is repeated on.
pub(super) struct Link {
    out: Out,
    format: WireFormat,
    hello: Hello,
    linger: Duration,
    /// The outbox had no room for the last report.
    is_full: bool,
    /// The outbox could not be written.
    is_failing: bool,
}

impl Link {
    /// Opens what `--serial` names, and the outbox. Setting `stop` ends waits for room.
    pub(super) fn open(
        args: &Args,
        session: &Session,
        stop: &Arc<AtomicBool>,
    ) -> anyhow::Result<Self> {
        let mut hello = hello(args, session);
        let wire = |default| match args.wire.unwrap_or(default) {
            Wire::Binary => WireFormat::Binary,
            Wire::Text => WireFormat::Text,
        };
        let (out, format) = if let Some((file, default)) = open_file(args)? {
            if args.delivery.delivery == Some(Delivery::Acknowledged) {
                bail!(
                    "nobody acknowledges what is written to {}: --delivery acknowledged is for serial ports",
                    args.serial
                );
            }
            if args.delivery.key.is_some() {
                bail!(
                    "nobody greets at {}, and what is sealed answers a greeting: --key is for serial ports",
                    args.serial
                );
            }
            if args.delivery.outbox.is_some() {
                tracing::warn!(
                    "nobody acknowledges what is written to {}: the outbox is not used",
                    args.serial
                );
            }
            let format = wire(default);
            let sender = Sender::new(FromStd::new(file), format);
            (Out::Direct(Box::new(sender)), format)
        } else {
            let format = wire(Wire::Binary);
            let key = args
                .delivery
                .key
                .as_deref()
                .map(line_key::read)
                .transpose()?;
            if key.is_some() && format == WireFormat::Text {
                bail!("text cannot be sealed: leave out --key, or --wire text");
            }
            let seal = key.map(|key| DeviceSession::new(key, hello.epoch));
            let outbox = open_outbox(args, format, hello.epoch)?;
            hello.guarantee = outbox.as_ref().map_or(Guarantee::Once, Outbox::guarantee);
            let line = Line::open(
                Path::new(&args.serial),
                args.baud,
                format,
                hello.clone(),
                outbox,
                seal,
                stop,
            )?;
            (Out::Line(line), format)
        };
        Ok(Self {
            out,
            format,
            hello,
            linger: Duration::from_secs(args.delivery.linger),
            is_full: false,
            is_failing: false,
        })
    }

    /// Greets with another model.
    pub(super) fn introduce(&mut self, args: &Args, session: &Session) -> anyhow::Result<()> {
        let (epoch, guarantee) = (self.hello.epoch, self.hello.guarantee);
        self.hello = hello(args, session);
        (self.hello.epoch, self.hello.guarantee) = (epoch, guarantee);
        match &self.out {
            Out::Direct(_) => self.greet(),
            Out::Line(line) => {
                line.introduce(self.hello.clone());
                Ok(())
            }
        }
    }

    pub(super) fn greet(&mut self) -> anyhow::Result<()> {
        match &self.out {
            Out::Direct(_) => self.send(Message::Hello(self.hello.clone())),
            Out::Line(line) => {
                line.greet();
                Ok(())
            }
        }
    }

    /// Whether the host has asked who speaks since this was asked last.
    pub(super) fn was_greeted(&self) -> bool {
        match &self.out {
            Out::Direct(_) => false,
            Out::Line(line) => line.was_greeted(),
        }
    }

    /// Sends what is urgent: notices and totals.
    pub(super) fn send(&mut self, message: Message) -> anyhow::Result<()> {
        match &mut self.out {
            Out::Direct(sender) => sender.send(&message).map(drop).map_err(line_failed),
            Out::Line(line) => {
                line.say(message);
                Ok(())
            }
        }
    }

    /// Sends a report, and gives its number if it waits for an acknowledgement. A `patient` caller, who
    /// misses no frame meanwhile, waits while the line has no room; else an accepted frame's gives way.
    pub(super) fn report(&mut self, report: Report, patient: bool) -> anyhow::Result<Option<u32>> {
        let line = match &mut self.out {
            Out::Direct(sender) => {
                let sent = sender.send(&Message::Report(report));
                return sent.map(|_| None).map_err(line_failed);
            }
            Out::Line(line) => line,
        };
        if report.verdict() == Verdict::Accept {
            line.accepted(report, patient);
            return Ok(None);
        }
        let outcome = line.flagged(report, patient);
        self.tell(outcome)
    }

    /// Tells of an outbox that cannot keep what it should, once until it can again.
    fn tell(&mut self, outcome: Result<Option<u32>, OutboxError>) -> anyhow::Result<Option<u32>> {
        let (is_full, is_failing) = match &outcome {
            Err(OutboxError::Full { .. }) => (true, self.is_failing),
            Err(_) => (false, true),
            Ok(_) => (false, false),
        };
        let was_full = std::mem::replace(&mut self.is_full, is_full);
        let was_failing = std::mem::replace(&mut self.is_failing, is_failing);
        let Err(error) = outcome else {
            if was_failing {
                tracing::info!("the outbox can be written again");
            }
            return Ok(outcome.ok().flatten());
        };
        let (code, detail) = match error {
            OutboxError::Full { .. } if was_full => return Ok(None),
            OutboxError::Full { waiting } => (
                NoticeCode::OutboxFull,
                u32::try_from(waiting).unwrap_or(u32::MAX),
            ),
            _ if was_failing => return Ok(None),
            _ => (NoticeCode::OutboxFailed, 0),
        };
        tracing::error!("{error}");
        self.send(Message::Notice(Notice {
            code,
            detail,
            text: shortened(&error.to_string()),
        }))?;
        Ok(None)
    }

    /// Sends a picture in parts; `false` if it is left out. `report` is what [`Link::report`] gave.
    pub(super) fn picture(
        &mut self,
        report: Option<u32>,
        parts: impl Iterator<Item = Thumbnail>,
        patient: bool,
    ) -> anyhow::Result<bool> {
        let outcome = match &mut self.out {
            Out::Direct(sender) => {
                for part in parts {
                    sender
                        .send(&Message::Thumbnail(part))
                        .map_err(line_failed)?;
                }
                return Ok(true);
            }
            Out::Line(line) => line.picture(report, parts, patient),
        };
        match outcome {
            Ok(has_room) => Ok(has_room),
            Err(error) => self.tell(Err(error)).map(|_| true),
        }
    }

    /// Whether pictures are wanted on this line.
    pub(super) fn sends_pictures(&self, args: &Args) -> bool {
        match args.thumbnails {
            Some(Pictures::Flagged) => true,
            Some(Pictures::None) => false,
            // Whoever reads text reads no pictures.
            None => self.format == WireFormat::Binary,
        }
    }

    /// What became of what was to be delivered, and of what the host sent.
    pub(super) fn statistics(&self) -> (DeliveryStatistics, LinkCounters) {
        match &self.out {
            Out::Direct(_) => Default::default(),
            Out::Line(line) => line.statistics(),
        }
    }

    /// Waits for what is not acknowledged yet.
    ///
    /// # Errors
    /// If something is lost with the end of the program.
    pub(super) fn settle(&self) -> anyhow::Result<()> {
        let Out::Line(line) = &self.out else {
            return Ok(());
        };
        match line.settle(self.linger) {
            (0, _) => Ok(()),
            (waiting, Guarantee::Durable) => {
                tracing::info!("{waiting} flagged reports wait in the outbox for the next start");
                Ok(())
            }
            (waiting, Guarantee::Volatile) => bail!(
                "{waiting} flagged reports were not acknowledged and are lost: is host monitor running? --outbox DIR keeps them for the next start, --linger waits longer"
            ),
            (waiting, Guarantee::Once) => {
                bail!("the line did not take {waiting} flagged reports, which are lost")
            }
        }
    }

    /// Ends, after what is said has left.
    pub(super) fn close(&mut self) -> anyhow::Result<()> {
        match &mut self.out {
            Out::Direct(sender) => sender.flush().map_err(line_failed),
            Out::Line(line) => {
                line.close(self.linger);
                Ok(())
            }
        }
    }
}

fn open_outbox(args: &Args, format: WireFormat, epoch: u64) -> anyhow::Result<Option<Outbox>> {
    let DeliveryArgs {
        delivery,
        outbox: folder,
        outbox_limit,
        outbox_delay,
        ..
    } = &args.delivery;
    // Text is read by people, who do not answer, unless it is to be kept for somebody who does.
    let is_answered = format == WireFormat::Binary || folder.is_some();
    let delivery = delivery.unwrap_or(if is_answered {
        Delivery::Acknowledged
    } else {
        Delivery::Once
    });
    if delivery == Delivery::Once {
        if folder.is_some() {
            tracing::warn!("what is delivered once is not kept: the outbox is not used");
        }
        return Ok(None);
    }
    let options = outbox::Options {
        folder: folder.clone(),
        limit: outbox_limit << 20,
        sync: Duration::from_millis(*outbox_delay),
        timeout: answer_timeout(args.baud),
    };
    let outbox = Outbox::open(&options, epoch)?;
    let found = outbox.found();
    if found.waiting > 0 {
        tracing::info!("{} items of before wait in the outbox", found.waiting);
    }
    if found.damaged > 0 {
        tracing::error!(
            "{} items in the outbox are damaged and lost: check the disk",
            found.damaged
        );
    }
    Ok(Some(outbox))
}

fn line_failed(error: SendError<io::Error>) -> anyhow::Error {
    match error {
        SendError::Io(error) => anyhow::Error::from(error).context("the line to the host failed"),
        SendError::Encode(error) => anyhow::anyhow!("cannot send: {error}"),
    }
}

/// What `--serial` names if it is no serial port, and the format of those who do not ask for one.
fn open_file(args: &Args) -> anyhow::Result<Option<(Box<dyn Write>, Wire)>> {
    if args.serial == "stdout" {
        return Ok(Some((Box::new(io::stdout()), Wire::Text)));
    }
    let Some(path) = args.serial.strip_prefix("file:") else {
        return Ok(None);
    };
    let file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot write reports to {path}"))?;
    Ok(Some((Box::new(file), Wire::Binary)))
}

fn hello(args: &Args, session: &Session) -> Hello {
    let settings = session.inference.settings();
    let input = session.inference.engine().input_shape();
    Hello {
        schema: SCHEMA_HASH,
        device: shortened(&args.name),
        software: shortened(env!("CARGO_PKG_VERSION")),
        engine: shortened(session.inference.engine().name()),
        model: session.about.crc32,
        input: [input.channels, input.height, input.width].map(|side| side as u16),
        classes: session.inference.engine().classes() as u16,
        labels: session
            .about
            .labels
            .iter()
            .take(MAX_LABELS)
            .map(|label| shortened(label))
            .collect(),
        passes: settings.passes,
        seed: session.seed,
        thresholds: settings.thresholds,
        epoch: nonce(),
        challenge: 0,
        guarantee: Guarantee::Once,
        preprocessing: settings.preprocessing.to_bytes().into(),
    }
}
