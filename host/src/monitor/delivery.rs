//! What has come exactly once, by its ticket, and what to tell the device of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use shared::wire::delivery::{Acknowledgement, Arrival, Received, Stream, Ticket};
use shared::wire::message::Thumbnail;

/// Epochs that are remembered; a device has one for each of its starts.
const EPOCHS: usize = 4096;

/// What has come of both streams of every epoch.
#[derive(Debug, Default)]
pub struct Deliveries {
    streams: HashMap<(Stream, u64), Arriving>,
    /// Of which something has come since the device was told last.
    news: BTreeSet<(Stream, u64)>,
    /// Reports, and parts of pictures, that came again.
    repeats: u64,
    /// Tickets that no device issues.
    impossible: u64,
    /// Counts what is new to an epoch, to forget the oldest.
    clock: u64,
}

#[derive(Debug)]
struct Arriving {
    received: Received,
    /// Parts of pictures that came before one that is missing.
    early: BTreeMap<u32, Thumbnail>,
    /// First part of a picture that is not complete: from there on nothing is safe.
    incomplete: Option<u32>,
    used: u64,
}

impl Deliveries {
    fn arriving(&mut self, stream: Stream, epoch: u64) -> &mut Arriving {
        self.clock += 1;
        let used = self.clock;
        if self.streams.len() >= EPOCHS
            && !self.streams.contains_key(&(stream, epoch))
            && let Some(oldest) = self
                .streams
                .iter()
                .min_by_key(|(_, arriving)| arriving.used)
                .map(|(key, _)| *key)
        {
            self.streams.remove(&oldest);
        }
        let arriving = self
            .streams
            .entry((stream, epoch))
            .or_insert_with(|| Arriving {
                received: Received::new(stream, epoch),
                early: BTreeMap::new(),
                incomplete: None,
                used,
            });
        arriving.used = used;
        arriving
    }

    fn take(&mut self, stream: Stream, ticket: Ticket) -> Arrival {
        let arrival = self.arriving(stream, ticket.epoch).received.take(ticket);
        match arrival {
            Arrival::New => {}
            Arrival::Repeat => self.repeats += 1,
            Arrival::Impossible => {
                self.impossible += 1;
                return arrival;
            }
        }
        // A repeat is told again: the last answer may be lost.
        self.news.insert((stream, ticket.epoch));
        arrival
    }

    /// Whether a report comes for the first time; one with this ticket is not to be shown again.
    pub fn report(&mut self, ticket: Ticket) -> bool {
        self.take(Stream::Reports, ticket) == Arrival::New
    }

    /// Takes a part of a picture, and gives those that are next, in their order.
    pub fn part(&mut self, ticket: Ticket, part: Thumbnail) -> Vec<Thumbnail> {
        if self.take(Stream::Pictures, ticket) != Arrival::New {
            return Vec::new();
        }
        let arriving = self.arriving(Stream::Pictures, ticket.epoch);
        arriving.early.insert(ticket.number, part);
        let next = arriving.received.acknowledgement(None).next;
        let later = arriving.early.split_off(&next);
        let ready = std::mem::replace(&mut arriving.early, later);
        for (&number, part) in &ready {
            if part.offset == 0 {
                arriving.incomplete.get_or_insert(number);
            }
        }
        ready.into_values().collect()
    }

    /// The picture that a part with this ticket has completed is safe.
    pub fn complete(&mut self, epoch: u64) {
        self.arriving(Stream::Pictures, epoch).incomplete = None;
    }

    /// What to tell the device: call it when everything that came is safe.
    pub fn acknowledgements(&mut self) -> Vec<Acknowledgement> {
        let news = std::mem::take(&mut self.news);
        news.into_iter()
            .filter_map(|key| {
                let arriving = self.streams.get(&key)?;
                Some(arriving.received.acknowledgement(arriving.incomplete))
            })
            .collect()
    }

    /// Whether there is something to tell.
    #[must_use]
    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// Reports and parts of pictures that came again.
    #[must_use]
    pub fn repeats(&self) -> u64 {
        self.repeats
    }
}

#[cfg(test)]
mod tests {
    use shared::image::PixelFormat;

    use super::*;

    fn ticket(number: u32) -> Ticket {
        Ticket {
            epoch: 5,
            number,
            behind: u8::try_from(number).expect("small"),
        }
    }

    fn part(index: usize) -> Thumbnail {
        Thumbnail::part(3, (28, 28), PixelFormat::Grey8, &[9; 784], index % 4 * 196)
            .expect("a part")
    }

    #[test]
    fn parts_are_given_in_order_and_safe_when_the_picture_is() {
        let mut deliveries = Deliveries::default();
        let mut offsets = Vec::new();
        for number in [2, 1, 1, 0, 3] {
            for part in deliveries.part(ticket(number), part(number as usize)) {
                offsets.push(part.offset / 196);
            }
        }
        assert_eq!(offsets, [0, 1, 2, 3]);
        assert_eq!(deliveries.repeats(), 1);
        let answer = |next, come| Acknowledgement {
            stream: Stream::Pictures,
            epoch: 5,
            next,
            come,
        };
        // All have come, none is safe.
        assert_eq!(deliveries.acknowledgements(), [answer(0, 0b1111)]);
        assert!(!deliveries.has_news());
        deliveries.complete(5);
        assert_eq!(deliveries.part(ticket(4), part(4)).len(), 1);
        assert_eq!(deliveries.acknowledgements(), [answer(4, 0b1)]);
        // Repeats are answered, too.
        assert_eq!(deliveries.part(ticket(1), part(1)).len(), 0);
        assert_eq!(deliveries.acknowledgements(), [answer(4, 0b1)]);
    }

    #[test]
    fn old_epochs_are_forgotten_in_the_end() {
        let mut deliveries = Deliveries::default();
        let at = |epoch| Ticket {
            epoch,
            number: 0,
            behind: 0,
        };
        for epoch in 0..10_000 {
            assert!(deliveries.report(at(epoch)));
            assert!(!deliveries.report(at(epoch)));
        }
        assert!(deliveries.streams.len() <= EPOCHS);
    }
}
