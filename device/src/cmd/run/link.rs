//! The line to the host: what is sent, and where it goes.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

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

/// The greeting and the line that it is repeated on.
pub(super) struct Link {
    sender: Sender<FromStd<Box<dyn Write>>>,
    hello: Hello,
}

impl Link {
    /// Opens what `--serial` names. Setting `stop` ends a wait for a line that takes nothing.
    pub(super) fn open(
        args: &Args,
        session: &Session,
        stop: &Arc<AtomicBool>,
    ) -> anyhow::Result<Self> {
        let (line, format) = open_line(args, stop)?;
        Ok(Self {
            sender: Sender::new(FromStd::new(line), format),
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

fn open_line(args: &Args, stop: &Arc<AtomicBool>) -> anyhow::Result<(Box<dyn Write>, WireFormat)> {
    let (line, default): (Box<dyn Write>, _) = if args.serial == "stdout" {
        (Box::new(io::stdout()), Wire::Text)
    } else if let Some(path) = args.serial.strip_prefix("file:") {
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot write reports to {path}"))?;
        (Box::new(file), Wire::Binary)
    } else {
        (
            Box::new(SerialLine::open(
                &PathBuf::from(&args.serial),
                args.baud,
                Arc::clone(stop),
            )?),
            Wire::Binary,
        )
    };
    let format = match args.wire.unwrap_or(default) {
        Wire::Binary => WireFormat::Binary,
        Wire::Text => WireFormat::Text,
    };
    Ok((line, format))
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
