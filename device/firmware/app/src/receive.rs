//! What comes in: requests from the line, joined to frames.

use embedded_io::{Read, ReadReady, Write};
use shared::wire::delivery::Acknowledgement;
use shared::wire::message::{LineStatistics, NoticeCode};
use shared::wire::request::{Assembly, Received, Request};

use crate::channel::Channel;

/// Bytes read in one turn at most, so that a flood cannot keep the loop from ending a turn.
const TURN: usize = 512;

/// The receiving side of a line.
#[derive(Debug)]
pub(crate) struct Inbox<'m> {
    assembly: Assembly<&'m mut [u8]>,
    overruns: u32,
}

/// What the host wants.
#[derive(Debug, PartialEq)]
pub(crate) enum Wish<'a> {
    /// To be greeted, with this challenge.
    Greeting(u64),
    /// To tell what has come.
    Acknowledgement(Acknowledgement),
    /// To know the time; its own is this.
    Time(u64),
    /// A frame judged.
    Judgement(Received<'a>),
    /// Nothing that can be done: the notice to answer with, and the frame's number.
    Impossible(NoticeCode, u32),
}

impl<'m> Inbox<'m> {
    /// Takes frames of at most as many pixels as `pixels` has bytes.
    pub(crate) const fn new(pixels: &'m mut [u8]) -> Self {
        Self {
            assembly: Assembly::new(pixels),
            overruns: 0,
        }
    }

    /// Reads what has arrived, up to the end of the first request that asks for something.
    #[inline(never)]
    pub(crate) fn read<L: Read + ReadReady + Write>(
        &mut self,
        channel: &mut Channel<L>,
    ) -> Option<Wish<'_>> {
        let request = self.request(channel)?;
        match request {
            Request::Greet(greeting) => {
                self.assembly.clear();
                Some(Wish::Greeting(greeting.challenge))
            }
            Request::Acknowledge(answer) => Some(Wish::Acknowledgement(answer)),
            Request::Probe(probe) => Some(Wish::Time(probe.sent_us)),
            Request::Frame(part) => match self.assembly.push(&part) {
                Ok(whole) => whole.map(Wish::Judgement),
                Err(code) => Some(Wish::Impossible(code, part.frame)),
            },
        }
    }

    fn request<L: Read + ReadReady + Write>(
        &mut self,
        channel: &mut Channel<L>,
    ) -> Option<Request> {
        for _ in 0..TURN {
            let line = channel.line();
            if !line.read_ready().unwrap_or(true) {
                break;
            }
            let mut byte = [0];
            match line.read(&mut byte) {
                Ok(1..) => {}
                Ok(0) => break,
                Err(_) => {
                    self.overruns = self.overruns.saturating_add(1);
                    continue;
                }
            }
            if let Some(request) = channel.push(byte[0]) {
                return Some(request);
            }
        }
        None
    }

    pub(crate) fn statistics<L: Write>(&self, channel: &Channel<L>) -> LineStatistics {
        LineStatistics::new(&channel.counters(), self.overruns)
    }
}
