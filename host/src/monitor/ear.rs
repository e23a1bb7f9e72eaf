//! Hearing a device, on an open line or a sealed one.

use shared::wire::frame::FrameReceiver;
use shared::wire::link::Receiver;
use shared::wire::message::Message;
use shared::wire::seal::MAX_SEALED;
use shared::wire::{FrameError, LinkCounters, Packet};

use super::Partner;

/// Receives messages.
#[derive(Debug)]
pub enum Ear {
    /// Of anybody, in either format.
    Open(Box<Receiver>),
    /// Of who has the key.
    Sealed(Box<FrameReceiver<Message, MAX_SEALED>>),
}

impl Ear {
    /// Hears whom `partner` speaks to.
    #[must_use]
    pub fn new(partner: &Partner) -> Self {
        if partner.seals() {
            Self::Sealed(Box::default())
        } else {
            Self::Open(Box::new(Receiver::detect()))
        }
    }

    /// Takes one byte; gives a packet, or the reason there is none, at the end of each frame. Texts
    /// hold nothing that a terminal would obey.
    pub fn push(&mut self, byte: u8, partner: &mut Partner) -> Option<Result<Packet, FrameError>> {
        let mut packet = match self {
            Self::Open(receiver) => receiver.push(byte),
            Self::Sealed(receiver) => receiver.push_with(byte, |frame| partner.open(frame)),
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
