//! Delivery: tickets and windows, and both ends over a line that does its worst.

use std::collections::VecDeque;

use proptest::prelude::*;
use shared::wire::delivery::{Acknowledgement, Arrival, Received, Stream, Ticket, WINDOW, Window};

const EPOCH: u64 = 7;
const TIMEOUT: u32 = 1_000;

fn ticket(number: u32) -> Ticket {
    Ticket {
        epoch: EPOCH,
        number,
        behind: 0,
    }
}

fn answer(next: u32, come: u64) -> Acknowledgement {
    Acknowledgement {
        stream: Stream::Reports,
        epoch: EPOCH,
        next,
        come,
    }
}

fn window(numbers: u32) -> Window<WINDOW> {
    let mut window = Window::new(Stream::Reports, TIMEOUT);
    for number in 0..numbers {
        assert!(window.push(ticket(number)));
    }
    window
}

/// The numbers that a window sends at a time.
fn sent<const N: usize>(window: &mut Window<N>, now_us: u64) -> Vec<u32> {
    std::iter::from_fn(|| window.send(now_us))
        .map(|(_, ticket)| ticket.number)
        .collect()
}

#[test]
fn what_is_not_acknowledged_is_sent_again_later_and_later() {
    let mut window = window(3);
    assert_eq!(sent(&mut window, 10), [0, 1, 2]);
    assert_eq!(window.next_due_us(), Some(1_010));
    assert_eq!(sent(&mut window, 1_009), []);
    assert_eq!(sent(&mut window, 1_010), [0]);
    // The first repetition tells that the host is silent: all wait twice as long.
    assert_eq!(sent(&mut window, 2_010), [1, 2]);
    // And after the second the oldest alone asks whether it is there.
    assert_eq!(sent(&mut window, 3_010), [0]);
    assert!(window.is_unanswered());
    assert_eq!(sent(&mut window, 1_000_000), [0]);
    let mut pause = 0;
    let mut now = 1_000_000;
    for _ in 0..20 {
        let due = window.next_due_us().expect("it goes on");
        pause = due - now;
        now = due;
        assert_eq!(sent(&mut window, now), [0]);
    }
    assert_eq!(pause, 10_000_000);
    // An answer: what was sent before is known to be lost, and comes at once.
    assert_eq!(window.acknowledge(&answer(1, 0)), 1);
    assert!(!window.is_unanswered());
    assert_eq!(sent(&mut window, now), [1, 2]);
    assert_eq!(window.acknowledge(&answer(3, 0)), 2);
    assert!(window.is_empty() && window.next_due_us().is_none());
}

#[test]
fn what_was_overtaken_is_sent_at_once() {
    let mut window = window(5);
    assert_eq!(sent(&mut window, 10), [0, 1, 2, 3, 4]);
    // 1 and 3 have come: 0 and 2 are lost, 4 may still be on its way.
    assert_eq!(window.acknowledge(&answer(0, 0b1010)), 0);
    assert_eq!(sent(&mut window, 20), [0, 2]);
    assert_eq!(window.resent(), 2);
    // A host that started anew takes back what it had not made safe.
    assert_eq!(window.acknowledge(&answer(0, 0)), 0);
    window.begin_anew();
    assert_eq!(sent(&mut window, 30), [0, 1, 2, 3, 4]);
}

#[test]
fn tickets_tell_what_is_safe() {
    let mut window = window(4);
    let behind: Vec<_> = std::iter::from_fn(|| window.send(0))
        .map(|(place, ticket)| (place, ticket.behind))
        .collect();
    assert_eq!(behind, [(0, 0), (1, 1), (2, 2), (3, 3)]);
    window.acknowledge(&answer(2, 0));
    window.begin_anew();
    // Items of a later epoch count from their own oldest.
    assert!(window.push(Ticket {
        epoch: 8,
        number: 0,
        behind: 0
    }));
    let behind: Vec<_> = std::iter::from_fn(|| window.send(0))
        .map(|(_, ticket)| (ticket.epoch, ticket.number, ticket.behind))
        .collect();
    assert_eq!(behind, [(7, 2, 0), (7, 3, 1), (8, 0, 0)]);
    // Answers of other streams and epochs do nothing.
    let other = Acknowledgement {
        stream: Stream::Pictures,
        ..answer(9, 0)
    };
    assert_eq!(window.acknowledge(&other), 0);
    let other = Acknowledgement {
        epoch: 9,
        ..answer(9, 0)
    };
    assert_eq!(window.acknowledge(&other), 0);
    assert_eq!(window.len(), 3);
}

#[test]
fn a_host_that_has_lost_its_log_goes_on_where_the_device_is() {
    let mut received = Received::new(Stream::Reports, EPOCH);
    let at = |number, behind| Ticket {
        number,
        behind,
        ..ticket(0)
    };
    assert_eq!(received.take(at(5_000, 3)), Arrival::New);
    assert_eq!(received.acknowledgement(None), answer(4_997, 0b1000));
    assert_eq!(received.take(at(4_996, 0)), Arrival::Repeat);
    assert_eq!(received.take(at(4_997, 0)), Arrival::New);
    assert_eq!(received.take(at(4_997, 0)), Arrival::Repeat);
    assert_eq!(received.take(at(4_998, 1)), Arrival::New);
    assert_eq!(received.take(at(4_999, 2)), Arrival::New);
    assert_eq!(received.acknowledgement(None), answer(5_001, 0));
    // Not safe yet: has come, but is to be kept.
    assert_eq!(received.acknowledgement(Some(4_999)), answer(4_999, 0b11));
    assert_eq!(received.take(at(5_066, 64)), Arrival::Impossible);
    assert_eq!(received.take(at(u32::MAX, 0)), Arrival::Impossible);
    assert_eq!(received.take(at(u32::MAX - 1, 0)), Arrival::New);
    assert_eq!(received.take(at(u32::MAX - 1, 63)), Arrival::Repeat);
}

/// What a line does to a message.
#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    Lose,
    Double,
    /// The device starts anew, with what its outbox held.
    Restart,
    /// The host starts anew, with what its log holds.
    HostRestart,
    /// Everything on its way is gone.
    Unplug,
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let fault = prop_oneof![
        12 => Just(Fault::None),
        6 => Just(Fault::Lose),
        2 => Just(Fault::Double),
        1 => Just(Fault::Restart),
        1 => Just(Fault::HostRestart),
        1 => Just(Fault::Unplug),
    ];
    prop::collection::vec(fault, 0..400)
}

/// A host: a log that survives, and the rest that does not.
struct Host {
    log: Vec<Ticket>,
    received: Vec<(u64, Received)>,
}

impl Host {
    fn of(log: Vec<Ticket>) -> Self {
        let mut host = Self {
            log: Vec::new(),
            received: Vec::new(),
        };
        for ticket in log {
            let _ = host.take(ticket);
        }
        host
    }

    fn take(&mut self, ticket: Ticket) -> Acknowledgement {
        if !self
            .received
            .iter()
            .any(|(epoch, _)| *epoch == ticket.epoch)
        {
            let received = Received::new(Stream::Reports, ticket.epoch);
            self.received.push((ticket.epoch, received));
        }
        let (_, received) = self
            .received
            .iter_mut()
            .find(|(epoch, _)| *epoch == ticket.epoch)
            .expect("just made");
        match received.take(ticket) {
            Arrival::New => self.log.push(ticket),
            Arrival::Repeat => {}
            Arrival::Impossible => panic!("{ticket:?}"),
        }
        received.acknowledgement(None)
    }
}

proptest! {
    /// Whatever is lost, doubled or restarted: in the end the log holds each item once, and the
    /// outbox is empty.
    #[test]
    fn every_item_arrives_exactly_once(
        faults in faults(),
        back in faults(),
        items in 1..200_u32,
        burst in 1..80_usize,
    ) {
        let mut faults = faults.into_iter();
        let mut back = back.into_iter();
        let (mut epoch, mut made, mut number) = (100, 0, 0);
        // The outbox outlasts the device, the window does not.
        let mut outbox: VecDeque<Ticket> = VecDeque::new();
        let mut every = Vec::new();
        let mut window = Window::<16>::new(Stream::Reports, TIMEOUT);
        let mut host = Host::of(Vec::new());
        let mut now = 0;
        let mut rounds = 0;
        while made < items || !outbox.is_empty() {
            rounds += 1;
            prop_assert!(rounds < 10_000, "no end: {} wait", outbox.len());
            for _ in 0..burst {
                if made < items {
                    let new = Ticket { epoch, number, behind: 0 };
                    outbox.push_back(new);
                    every.push(new);
                    (made, number) = (made + 1, number + 1);
                }
            }
            let mut answers = Vec::new();
            loop {
                while let Some(&next) = outbox.get(window.len()) {
                    if !window.push(next) {
                        break;
                    }
                }
                let Some((place, sent)) = window.send(now) else { break };
                prop_assert_eq!(
                    (sent.epoch, sent.number),
                    (outbox[place].epoch, outbox[place].number)
                );
                match faults.next().unwrap_or(Fault::None) {
                    Fault::None => answers.push(host.take(sent)),
                    Fault::Lose => {}
                    Fault::Double => {
                        answers.push(host.take(sent));
                        answers.push(host.take(sent));
                    }
                    Fault::Restart => {
                        (epoch, number) = (epoch + 1, 0);
                        window = Window::new(Stream::Reports, TIMEOUT);
                    }
                    Fault::HostRestart => host = Host::of(host.log),
                    Fault::Unplug => {
                        answers.clear();
                        window.begin_anew();
                    }
                }
            }
            for answer in answers {
                if !matches!(back.next().unwrap_or(Fault::None), Fault::Lose | Fault::Unplug) {
                    for _ in 0..window.acknowledge(&answer) {
                        prop_assert!(outbox.pop_front().is_some());
                    }
                }
            }
            now = window.next_due_us().unwrap_or(now).max(now + 1);
        }
        let key = |ticket: &Ticket| (ticket.epoch, ticket.number);
        let mut logged: Vec<_> = host.log.iter().map(key).collect();
        logged.sort_unstable();
        let wanted: Vec<_> = every.iter().map(key).collect();
        prop_assert_eq!(logged, wanted);
    }

    /// Nothing that a line may bring makes either end panic.
    #[test]
    fn any_words_are_survived(words in prop::collection::vec(any::<(u8, u32, u64, u8)>(), 0..100)) {
        let mut window = window(20);
        let mut received = Received::new(Stream::Reports, EPOCH);
        for (kind, number, come, behind) in words {
            match kind % 4 {
                0 => { window.acknowledge(&answer(number, come)); }
                1 => { window.acknowledge(&answer(number % 32, come)); }
                2 => { received.take(Ticket { epoch: EPOCH, number, behind }); }
                _ => { window.send(u64::from(number) << 20); }
            }
            let told = received.acknowledgement(Some(number));
            prop_assert!(told.next <= number);
        }
    }
}
