//! A board without a camera, played by a thread: the device's own frame loop and engine behind the
//! real protocol, at the device's end of a serial line.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use device::engine::Engine;
use device::inference::{Tally, Timing};
use device::serial::SerialLine;
use device::session::{Options, Session};
use embedded_io_adapters::std::FromStd;
use shared::image::{Geometry, Preprocessing};
use shared::wire::Packet;
use shared::wire::delivery::Guarantee;
use shared::wire::frame::FrameReceiver;
use shared::wire::link::{Sender, WireFormat};
use shared::wire::message::{
    Hello, LineStatistics, Message, Notice, NoticeCode, SCHEMA_HASH, Statistics, shortened,
};
use shared::wire::request::{Assembly, FramePart, Request};
use shared::wire::seal::{DeviceSession, Key, MAX_SEALED};

/// Passes that the board samples.
pub const PASSES: u32 = 16;
/// Pixels that it has room for.
const ROOM: usize = 3 * 32 * 32;

/// A board that works until it is dropped.
#[allow(missing_debug_implementations)] // A thread handle has nothing to show.
pub struct Board {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Board {
    /// A board at `port` that runs the model or plan file `model` and says what `say` makes of its messages:
    /// nothing where that is `None`.
    ///
    /// # Panics
    /// Its thread does, and answers no more, if the port or the model cannot be opened.
    #[must_use]
    pub fn start(
        port: &Path,
        model: &Path,
        format: WireFormat,
        say: impl FnMut(Message) -> Option<Message> + Send + 'static,
    ) -> Self {
        Self::speaking(port, model, format, None, say)
    }

    /// As [`Board::start`], on a line that is sealed with `key`. When it says a message that `say` takes away
    /// from it, it begins a new life.
    ///
    /// # Panics
    /// As [`Board::start`].
    #[must_use]
    pub fn sealed(
        port: &Path,
        model: &Path,
        key: Key,
        say: impl FnMut(Message) -> Option<Message> + Send + 'static,
    ) -> Self {
        Self::speaking(port, model, WireFormat::Binary, Some(key), say)
    }

    fn speaking(
        port: &Path,
        model: &Path,
        format: WireFormat,
        key: Option<Key>,
        say: impl FnMut(Message) -> Option<Message> + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (port, model, stopped) = (port.to_owned(), model.to_owned(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let line = SerialLine::open(&port, 115_200, Arc::clone(&stopped)).expect("opened");
            let options = Options {
                passes: PASSES,
                ..Options::default()
            };
            let mut session = Session::open(&model, &options).expect("a model");
            let preprocessing = session.inference.settings().preprocessing;
            // What comes is what the model sees.
            session.inference.set_geometry(Geometry::Stretch);
            let mut firmware = Firmware {
                preprocessing,
                session,
                sender: Sender::new(FromStd::new(line), format),
                say: Box::new(say),
                tally: Tally::default(),
                epoch: 1,
                seal: key.as_ref().map(|key| DeviceSession::new(key.clone(), 1)),
                key,
                sealed: 0,
                requests: FrameReceiver::new(),
                assembly: Assembly::new([0; ROOM]),
                started: Instant::now(),
            };
            firmware.run(&stopped);
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A board that panicked has told so itself.
            let _ = thread.join();
        }
    }
}

struct Firmware {
    /// What is told of it.
    preprocessing: Preprocessing,
    session: Session,
    sender: Sender<FromStd<SerialLine>>,
    say: Box<dyn FnMut(Message) -> Option<Message>>,
    tally: Tally,
    /// Of this life, if the line is sealed.
    epoch: u64,
    seal: Option<DeviceSession>,
    key: Option<Key>,
    /// Messages sealed so far.
    sealed: u32,
    requests: FrameReceiver<Request, MAX_SEALED>,
    assembly: Assembly<[u8; ROOM]>,
    started: Instant,
}

impl Firmware {
    fn run(&mut self, stop: &AtomicBool) {
        let mut bytes = [0; 256];
        self.send(self.hello());
        while !stop.load(Ordering::Relaxed) {
            let line = self.sender.get_mut();
            // Silence is no error here: the next read waits on.
            let count = embedded_io::Read::read(line, &mut bytes).unwrap_or(0);
            for &byte in &bytes[..count] {
                let request = match &mut self.seal {
                    Some(seal) => self.requests.push_with(byte, |frame| seal.open(frame)),
                    None => self.requests.push(byte),
                };
                match request {
                    Some(Ok(Packet {
                        message: Request::Greet(_),
                        ..
                    })) => self.greet(),
                    Some(Ok(Packet {
                        message: Request::Frame(part),
                        ..
                    })) => self.take(&part),
                    Some(_) | None => {}
                }
            }
        }
    }

    fn send(&mut self, message: Message) {
        match ((self.say)(message), &self.seal) {
            // A line that is taken away ends the test, which tells.
            (Some(message), None) => drop(self.sender.send(&message)),
            (Some(message), Some(seal)) => {
                let mut bytes = [0; MAX_SEALED];
                let length = seal.seal(self.sealed, &message, &mut bytes);
                self.sealed += 1;
                let line = self.sender.get_mut().inner_mut();
                let _ = line.write_all(&bytes[..length.expect("room")]);
            }
            (None, None) => {}
            (None, Some(_)) => self.begin_anew(),
        }
    }

    fn begin_anew(&mut self) {
        self.epoch += 1;
        self.sealed = 0;
        let key = self.key.clone();
        self.seal = key.map(|key| DeviceSession::new(key, self.epoch));
        self.send(self.hello());
    }

    fn hello(&self) -> Message {
        let Session {
            about,
            inference,
            seed,
            ..
        } = &self.session;
        let engine = inference.engine();
        let input = engine.input_shape();
        Message::Hello(Hello {
            schema: SCHEMA_HASH,
            device: shortened("board"),
            software: shortened("test"),
            engine: shortened(engine.name()),
            model: about.crc32,
            input: [input.channels, input.height, input.width].map(|side| side as u16),
            classes: engine.classes() as u16,
            labels: about.labels.iter().map(|label| shortened(label)).collect(),
            passes: PASSES,
            seed: *seed,
            thresholds: inference.settings().thresholds,
            epoch: if self.seal.is_some() { self.epoch } else { 0 },
            challenge: 0,
            guarantee: Guarantee::Once,
            preprocessing: self.preprocessing.to_bytes().into(),
        })
    }

    fn greet(&mut self) {
        self.assembly.clear();
        self.send(self.hello());
        let totals = Statistics {
            line: LineStatistics::new(&self.requests.counters(), 0),
            stack_free: 2_048,
            ..self.tally.message(self.now(), false)
        };
        self.send(Message::Statistics(totals));
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    fn take(&mut self, part: &FramePart) {
        let captured = self.now();
        let answer = match self.assembly.push(part) {
            Ok(None) => None,
            Ok(Some(frame)) => {
                let picture = frame.picture().expect("whole");
                let outcome = self.session.inference.judge(frame.frame, &picture);
                let outcome = outcome.expect("a picture that fits");
                self.tally.count(outcome.causes);
                let timing = Timing {
                    captured_us: captured,
                    age_us: 0,
                    latency_us: (self.started.elapsed().as_micros() as u64 - captured) as u32,
                };
                Some(Message::Report(outcome.report(frame.frame, timing)))
            }
            Err(code) => Some(notice(code, part.frame)),
        };
        if let Some(answer) = answer {
            self.send(answer);
        }
    }
}

/// A notice without words.
#[must_use]
pub fn notice(code: NoticeCode, detail: u32) -> Message {
    Message::Notice(Notice {
        code,
        detail,
        text: shortened(""),
    })
}
