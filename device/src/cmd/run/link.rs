//! The line to the host: what is sent, and where it goes.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Context;
use device::serial::SerialLine;
use device::session::Session;
use embedded_io_adapters::std::FromStd;
use shared::wire::link::{SendError, Sender, WireFormat};
use shared::wire::message::{Hello, MAX_LABELS, Message, SCHEMA_HASH, shortened};

use super::Args;

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

/// Bits that a serial line takes for a byte: a start and a stop bit go with eight of data.
const BITS: u32 = 10;

/// Counts how long what was written keeps the line busy.
struct Paced {
    line: Box<dyn Write>,
    /// Time that a byte takes; none on what is no serial line.
    byte: Duration,
    busy_until: Instant,
}

impl Write for Paced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.line.write(bytes)?;
        self.busy_until = self.busy_until.max(Instant::now()) + self.byte * written as u32;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.line.flush()
    }
}

/// The greeting and the line that it is repeated on.
pub(super) struct Link {
    sender: Sender<FromStd<Paced>>,
    hello: Hello,
}

impl Link {
    /// Opens what `--serial` names. Setting `stop` ends a wait for a line that takes nothing.
    pub(super) fn open(
        args: &Args,
        session: &Session,
        stop: &Arc<AtomicBool>,
    ) -> anyhow::Result<Self> {
        let (line, format, byte) = open_line(args, stop)?;
        let paced = Paced {
            line,
            byte,
            busy_until: Instant::now(),
        };
        Ok(Self {
            sender: Sender::new(FromStd::new(paced), format),
            hello: hello(args, session),
        })
    }

    /// Greets with another model.
    pub(super) fn introduce(&mut self, args: &Args, session: &Session) -> anyhow::Result<()> {
        self.hello = hello(args, session);
        self.greet()
    }

    pub(super) fn greet(&mut self) -> anyhow::Result<()> {
        let hello = Message::Hello(self.hello.clone());
        self.send(&hello)
    }

    pub(super) fn send(&mut self, message: &Message) -> anyhow::Result<()> {
        self.sender.send(message).map(|_| ()).map_err(line_failed)
    }

    /// Whether everything has left that was sent, by the line's speed.
    pub(super) fn is_idle(&mut self) -> bool {
        Instant::now() >= self.sender.get_mut().inner().busy_until
    }

    /// Whether pictures are wanted on this line.
    pub(super) fn sends_pictures(&self, args: &Args) -> bool {
        match args.thumbnails {
            Some(Pictures::Flagged) => true,
            Some(Pictures::None) => false,
            // Whoever reads text reads no pictures.
            None => self.sender.format() == WireFormat::Binary,
        }
    }

    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        self.sender.flush().map_err(line_failed)
    }
}

fn line_failed(error: SendError<io::Error>) -> anyhow::Error {
    match error {
        SendError::Io(error) => anyhow::Error::from(error).context("the line to the host failed"),
        SendError::Encode(error) => anyhow::anyhow!("cannot send: {error}"),
    }
}

fn open_line(
    args: &Args,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<(Box<dyn Write>, WireFormat, Duration)> {
    let (line, default, byte): (Box<dyn Write>, _, _) = if args.serial == "stdout" {
        (Box::new(io::stdout()), Wire::Text, Duration::ZERO)
    } else if let Some(path) = args.serial.strip_prefix("file:") {
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot write reports to {path}"))?;
        (Box::new(file), Wire::Binary, Duration::ZERO)
    } else {
        (
            Box::new(SerialLine::open(
                &PathBuf::from(&args.serial),
                args.baud,
                Arc::clone(stop),
            )?),
            Wire::Binary,
            Duration::from_secs(1) * BITS / args.baud.max(1),
        )
    };
    let format = match args.wire.unwrap_or(default) {
        Wire::Binary => WireFormat::Binary,
        Wire::Text => WireFormat::Text,
    };
    Ok((line, format, byte))
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
    }
}
