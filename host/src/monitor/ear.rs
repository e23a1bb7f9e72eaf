//! Hearing a device and speaking to it, on an open line or a sealed one.

use shared::wire::frame::FrameReceiver;
use shared::wire::link::Receiver;
use shared::wire::message::Message;
use shared::wire::request::{self, Request};
use shared::wire::seal::{HostSession, Key, MAX_SEALED};
use shared::wire::{EncodeError, FrameError, LinkCounters, Packet, frame};

/// The seal on what is said and heard, if the line has one.
#[derive(Debug, Default)]
pub struct Seal(Option<HostSession>);

impl Seal {
    /// Sealed with a key, or open without one.
    #[must_use]
    pub fn new(key: Option<Key>) -> Self {
        Self(key.map(HostSession::new))
    }

    /// Whether the line is sealed.
    #[must_use]
    pub const fn is_sealed(&self) -> bool {
        self.0.is_some()
    }

    /// On a sealed line, whether nobody has answered the greeting yet.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|session| !session.is_answered())
    }

    /// Only what answers this challenge is heard from now on.
    pub fn begin(&mut self, challenge: u64) {
        if let Some(session) = &mut self.0 {
            session.begin(challenge);
        }
    }

    /// Writes a request, its delimiter included, and returns its length.
    ///
    /// # Errors
    /// If `out` is too small; [`MAX_SEALED`] always suffices.
    pub fn encode(
        &self,
        sequence: u32,
        request: &Request,
        out: &mut [u8],
    ) -> Result<usize, EncodeError> {
        match &self.0 {
            Some(session) => session.seal(sequence, request, out),
            None => request::encode(sequence, request, out),
        }
    }

    /// Opens what lies between two delimiters.
    ///
    /// # Errors
    /// If it is damaged, or not sealed for this session.
    pub fn open(&mut self, frame: &mut [u8]) -> Result<Packet, FrameError> {
        match &mut self.0 {
            Some(session) => session.open(frame),
            None => frame::decode(frame),
        }
    }
}

/// Receives messages.
#[derive(Debug)]
pub enum Ear {
    /// Of anybody, in either format.
    Open(Box<Receiver>),
    /// Of who has the key.
    Sealed(Box<FrameReceiver<Message, MAX_SEALED>>),
}

impl Ear {
    /// Hears a line with this seal.
    #[must_use]
    pub fn new(seal: &Seal) -> Self {
        if seal.is_sealed() {
            Self::Sealed(Box::default())
        } else {
            Self::Open(Box::new(Receiver::detect()))
        }
    }

    /// Takes one byte; gives a packet, or the reason there is none, at the end of each frame. Texts
    /// hold nothing that a terminal would obey.
    pub fn push(&mut self, byte: u8, seal: &mut Seal) -> Option<Result<Packet, FrameError>> {
        let mut packet = match self {
            Self::Open(receiver) => receiver.push(byte),
            Self::Sealed(receiver) => receiver.push_with(byte, |frame| seal.open(frame)),
        }?;
        if let Ok(packet) = &mut packet {
            packet.message.make_printable();
        }
        Some(packet)
    }

    /// What became of the bytes so far.
    #[must_use]
    pub fn counters(&self) -> LinkCounters {
        match self {
            Self::Open(receiver) => receiver.counters(),
            Self::Sealed(receiver) => receiver.counters(),
        }
    }
}
