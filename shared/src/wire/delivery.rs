//! How flagged reports, and their pictures, arrive exactly once over a line that loses, damages and
//! repeats.
//!
//! A device numbers what has to arrive, in two streams (reports, and parts of pictures) from 0 in
//! every *epoch*, which is one life of the program; an epoch's number is drawn at random, so that no
//! ticket is ever issued twice, whatever is lost in a crash. What is numbered stays in the device's
//! outbox until the host has said that everything up to it is safe in its log. Until then it is sent
//! again: at once when something sent later has arrived (the line keeps the order), otherwise after a
//! time-out that doubles while the host is silent.
//!
//! The host answers with snapshots ([`Acknowledgement`]): the first number that is not safe yet, and
//! which of the 64 from it on have come. Only the first lets a device forget; the others hold back a
//! repetition, and may be taken back by a host that started anew. A host takes what it has already
//! got for a repeat by its ticket, and says so once more.
//!
//! [`Window`] is the device's side of one stream: which items may be on the line, and which of them is
//! to be sent now. [`Received`] is the host's. Neither knows a clock or a line.

use heapless::Deque;
use postcard_schema::Schema;
use serde::{Deserialize, Serialize};

/// Most numbers on their way in one stream: what one [`Acknowledgement`] tells of.
pub const WINDOW: usize = 64;

/// The longest time between two repetitions to a host that is silent, µs.
const LONGEST_PAUSE_US: u64 = 10_000_000;
/// Repetitions without any answer after which only the oldest item is sent again.
const SILENT: u8 = 2;

/// Names an item that is delivered exactly once.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Schema,
)]
pub struct Ticket {
    /// The life of the device in which it was made, at random.
    pub epoch: u64,
    /// Its place among the items of its stream in that epoch, from 0.
    pub number: u32,
    /// How many numbers before it may still be missing at the host: all further back are safe there.
    pub behind: u8,
}

impl Ticket {
    /// The first number of its epoch that may still be missing at the host.
    #[must_use]
    pub const fn oldest(&self) -> u32 {
        self.number.saturating_sub(self.behind as u32)
    }
}

/// What is delivered in an order of its own.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Schema,
)]
pub enum Stream {
    /// Reports of flagged frames.
    Reports,
    /// Parts of their pictures.
    Pictures,
}

/// What of a stream has come, as the host knows it at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Acknowledgement {
    /// Of what.
    pub stream: Stream,
    /// [`Ticket::epoch`].
    pub epoch: u64,
    /// Everything below this number is safe in the host's log.
    pub next: u32,
    /// Bit `i` says that number `next + i` has come.
    pub come: u64,
}

impl Acknowledgement {
    /// Whether item `number` has come.
    #[must_use]
    pub const fn covers(&self, number: u32) -> bool {
        match number.checked_sub(self.next) {
            None => true,
            Some(ahead) => ahead < u64::BITS && self.come >> ahead & 1 == 1,
        }
    }
}

/// What a host has got of one stream in one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    stream: Stream,
    epoch: u64,
    /// Everything below has come, or was safe before.
    next: u32,
    /// Bit `i`: number `next + i` has come. The lowest is 0.
    come: u64,
}

/// What a ticket says about the item that it came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It comes for the first time.
    New,
    /// It came before.
    Repeat,
    /// No device numbers so far ahead: not to be believed, and not taken.
    Impossible,
}

impl Received {
    /// Nothing has come yet.
    #[must_use]
    pub const fn new(stream: Stream, epoch: u64) -> Self {
        Self {
            stream,
            epoch,
            next: 0,
            come: 0,
        }
    }

    /// Takes an item of this stream and epoch.
    pub fn take(&mut self, ticket: Ticket) -> Arrival {
        // The last number is never issued: there is none after it to acknowledge it with.
        if ticket.number == u32::MAX {
            return Arrival::Impossible;
        }
        if ticket.oldest() > self.next {
            let skipped = ticket.oldest() - self.next;
            self.come = self.come.checked_shr(skipped).unwrap_or(0);
            self.next = ticket.oldest();
        }
        let arrival = match ticket.number.checked_sub(self.next) {
            None => Arrival::Repeat,
            Some(ahead) if ahead >= u64::BITS => Arrival::Impossible,
            Some(ahead) if self.come >> ahead & 1 == 1 => Arrival::Repeat,
            Some(ahead) => {
                self.come |= 1 << ahead;
                Arrival::New
            }
        };
        let whole = self.come.trailing_ones();
        self.come = self.come.checked_shr(whole).unwrap_or(0);
        self.next += whole;
        arrival
    }

    /// What to tell the device. If `unsafe_from` is given, what has come from that number on is not
    /// safe yet, and the device is to keep it.
    #[must_use]
    pub fn acknowledgement(&self, unsafe_from: Option<u32>) -> Acknowledgement {
        let next = unsafe_from.map_or(self.next, |number| number.min(self.next));
        let kept = self.next - next;
        let come = match 1_u64.checked_shl(kept) {
            Some(bit) => (bit - 1) | self.come << kept,
            None => u64::MAX,
        };
        Acknowledgement {
            stream: self.stream,
            epoch: self.epoch,
            next,
            come,
        }
    }
}

/// What a device promises about flagged reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize, Schema)]
pub enum Guarantee {
    /// Each is sent once: what the line loses is lost, and counted by the receiver.
    #[default]
    Once,
    /// Each is sent until it is acknowledged, as long as the device runs.
    Volatile,
    /// Each is sent until it is acknowledged, and outlasts crashes and power cuts.
    Durable,
}

impl Guarantee {
    /// Every value, in the order of the numbers.
    pub const ALL: [Self; 3] = [Self::Once, Self::Volatile, Self::Durable];

    /// Its name on every interface.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Volatile => "volatile",
            Self::Durable => "durable",
        }
    }
}

/// What became of reports on their way, since the device started; all 0 where nothing is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Schema)]
pub struct DeliveryStatistics {
    /// Flagged reports that the host has in its log.
    pub delivered: u32,
    /// Flagged reports that wait for the line or for an acknowledgement, those of earlier epochs
    /// included.
    pub pending: u32,
    /// Repetitions of reports and parts of pictures.
    pub resent: u32,
    /// Flagged reports for which the outbox had no room: they were sent once, without a promise.
    pub overflowed: u32,
    /// Reports of accepted frames that were not sent, because the line was busy.
    pub dropped: u32,
}

/// One item on its way.
#[derive(Debug, Clone, Copy)]
struct Slot {
    ticket: Ticket,
    sent: Sent,
    /// Whether the host had it when it answered last.
    has_come: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Never,
    /// It was, and the host cannot have it.
    Lost,
    /// Last at this time, as this one of all sendings.
    At {
        us: u64,
        sending: u64,
    },
}

/// The first items of a stream's queue, `N` at most ([`WINDOW`], or fewer), and when each is to be
/// sent. The items themselves lie elsewhere, in the same order.
#[derive(Debug)]
pub struct Window<const N: usize> {
    slots: Deque<Slot, N>,
    stream: Stream,
    timeout_us: u32,
    /// Sendings so far.
    sendings: u64,
    /// Time-outs since the host was heard last.
    silent: u8,
    resent: u32,
}

impl<const N: usize> Window<N> {
    /// An empty window whose items are sent again `timeout_us` microseconds after they were, if the
    /// host does not answer: the time that a report and its answer take on the line, and some more.
    #[must_use]
    pub const fn new(stream: Stream, timeout_us: u32) -> Self {
        const { assert!(N > 0 && N <= WINDOW) };
        Self {
            slots: Deque::new(),
            stream,
            timeout_us,
            sendings: 0,
            silent: 0,
            resent: 0,
        }
    }

    /// Items in the window.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether nothing is on its way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether there is no room for another item.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.slots.is_full()
    }

    /// The oldest item that is not safe yet.
    #[must_use]
    pub fn oldest(&self) -> Option<Ticket> {
        self.slots.front().map(|slot| slot.ticket)
    }

    /// Repetitions so far.
    #[must_use]
    pub const fn resent(&self) -> u32 {
        self.resent
    }

    /// Whether the host leaves repetitions without an answer.
    #[must_use]
    pub const fn is_unanswered(&self) -> bool {
        self.silent >= SILENT
    }

    /// Takes the queue's next item, whose number follows that before it unless its epoch is another;
    /// `false` if the window is full.
    pub fn push(&mut self, ticket: Ticket) -> bool {
        self.slots
            .push_back(Slot {
                ticket,
                sent: Sent::Never,
                has_come: false,
            })
            .is_ok()
    }

    /// Takes the host's word, and gives how many items at the front of the queue are safe: they have
    /// left the window.
    pub fn acknowledge(&mut self, answer: &Acknowledgement) -> usize {
        if answer.stream != self.stream {
            return 0;
        }
        let mut latest = 0;
        for slot in &mut self.slots {
            if slot.ticket.epoch == answer.epoch {
                self.silent = 0;
                slot.has_come = answer.covers(slot.ticket.number);
                if let (true, Sent::At { sending, .. }) = (slot.has_come, slot.sent) {
                    latest = latest.max(sending);
                }
            }
        }
        // The line keeps the order: what was sent before something that has come is lost.
        for slot in &mut self.slots {
            if !slot.has_come && matches!(slot.sent, Sent::At { sending, .. } if sending < latest) {
                slot.sent = Sent::Lost;
            }
        }
        let mut safe = 0;
        while self.slots.front().is_some_and(|slot| {
            slot.ticket.epoch == answer.epoch && slot.ticket.number < answer.next
        }) {
            self.slots.pop_front();
            safe += 1;
        }
        safe
    }

    /// The item to send at `now_us`, as its place in the queue, and its ticket. It counts as sent.
    pub fn send(&mut self, now_us: u64) -> Option<(usize, Ticket)> {
        let place = self
            .slots
            .iter()
            .enumerate()
            .take(self.reach())
            .position(|(place, slot)| self.due_us(place, slot).is_some_and(|due| due <= now_us))?;
        let slot = self.slots.get_mut(place)?;
        if slot.sent != Sent::Never {
            self.resent = self.resent.saturating_add(1);
        }
        if place == 0 && matches!(slot.sent, Sent::At { .. }) {
            self.silent = self.silent.saturating_add(1);
        }
        self.sendings += 1;
        slot.sent = Sent::At {
            us: now_us,
            sending: self.sendings,
        };
        let ticket = slot.ticket;
        let oldest = self
            .slots
            .iter()
            .find(|slot| slot.ticket.epoch == ticket.epoch)?
            .ticket
            .number;
        let ticket = Ticket {
            // A window has 64 places.
            behind: (ticket.number - oldest) as u8,
            ..ticket
        };
        Some((place, ticket))
    }

    /// When [`Window::send`] has something next, µs; `None` if nothing until something changes.
    #[must_use]
    pub fn next_due_us(&self) -> Option<u64> {
        self.slots
            .iter()
            .enumerate()
            .take(self.reach())
            .filter_map(|(place, slot)| self.due_us(place, slot))
            .min()
    }

    /// The host has said something, whatever it was: it is there, and pauses need not grow.
    pub fn hear(&mut self) {
        self.silent = 0;
    }

    /// The line was interrupted: everything that has not come is sent anew.
    pub fn begin_anew(&mut self) {
        self.silent = 0;
        for slot in &mut self.slots {
            slot.has_come = false;
            if slot.sent != Sent::Never {
                slot.sent = Sent::Lost;
            }
        }
    }

    /// Items that are sent at all: to a host that does not answer, the oldest alone.
    fn reach(&self) -> usize {
        if self.is_unanswered() { 1 } else { N }
    }

    fn due_us(&self, place: usize, slot: &Slot) -> Option<u64> {
        // The oldest has not left the window: the answer that says it is safe may be lost.
        if slot.has_come && place > 0 {
            return None;
        }
        Some(match slot.sent {
            Sent::Never | Sent::Lost => 0,
            Sent::At { us, .. } => {
                let pause = u64::from(self.timeout_us) << self.silent.min(16);
                us.saturating_add(pause.min(LONGEST_PAUSE_US))
            }
        })
    }
}
