//! What the line may do to either format: nothing is ever received that was not sent, and the
//! counters add up.

mod support;

use proptest::prelude::*;
use shared::wire::frame::{self, MAX_FRAME};
use shared::wire::link::{Receiver, WireFormat};
use shared::wire::message::{Message, Packet};
use shared::wire::text::{self, MAX_LINE};
use shared::wire::{FrameError, LinkCounters};
use support::{any_message, hello, longest, notice, report, statistics};

const FORMATS: [WireFormat; 2] = [WireFormat::Binary, WireFormat::Text];

fn encoded(format: WireFormat, sequence: u32, message: &Message) -> Vec<u8> {
    let mut out = [0; MAX_LINE];
    let length = match format {
        WireFormat::Binary => frame::encode(sequence, message, &mut out),
        WireFormat::Text => text::encode(sequence, message, &mut out),
    }
    .expect("room for any message");
    out[..length].to_vec()
}

fn delimiter(format: WireFormat) -> u8 {
    match format {
        WireFormat::Binary => 0,
        WireFormat::Text => b'\n',
    }
}

/// A receiver that is in step.
fn receiver(format: WireFormat) -> Receiver {
    let mut receiver = Receiver::new(format);
    assert_eq!(receiver.push(delimiter(format)), None);
    receiver
}

fn received(receiver: &mut Receiver, bytes: &[u8]) -> Vec<Result<Packet, FrameError>> {
    bytes
        .iter()
        .filter_map(|&byte| receiver.push(byte))
        .collect()
}

fn packet(sequence: u32, message: Message) -> Packet {
    Packet { sequence, message }
}

#[test]
fn messages_arrive_as_they_were_sent() {
    for format in FORMATS {
        let mut receiver = Receiver::new(format);
        for (sequence, message) in [hello(), report(0), report(1), statistics(), notice()]
            .into_iter()
            .enumerate()
        {
            let sequence = sequence as u32;
            let bytes = encoded(format, sequence, &message);
            // Fixed values above have few digits; thresholds are rounded by the text format.
            let got = received(&mut receiver, &bytes);
            match (&got[..], &message) {
                ([Ok(got)], Message::Hello(_)) => assert_eq!(got.sequence, sequence),
                (got, _) => assert_eq!(got, [Ok(packet(sequence, message))]),
            }
        }
        assert_eq!(
            receiver.counters(),
            LinkCounters {
                received: 5,
                ..LinkCounters::default()
            }
        );
    }
}

/// Every single bit of a message, between two good ones.
#[test]
fn one_flipped_bit_is_always_detected() {
    for format in FORMATS {
        for damaged in [report(1), statistics(), hello(), notice()] {
            let bytes = encoded(format, 1, &damaged);
            for bit in 0..bytes.len() * 8 {
                let mut wrong = bytes.clone();
                wrong[bit / 8] ^= 1 << (bit % 8);
                let mut receiver = receiver(format);
                let mut stream = encoded(format, 0, &report(0));
                stream.extend(&wrong);
                stream.extend(encoded(format, 2, &report(2)));
                stream.extend(encoded(format, 3, &report(3)));
                let got = received(&mut receiver, &stream);
                let counters = receiver.counters();
                let good: Vec<u32> = got.iter().flatten().map(|packet| packet.sequence).collect();
                let in_line_end = format == WireFormat::Text && bit / 8 == bytes.len() - 2;
                if in_line_end && good == [0, 1, 2, 3] {
                    // A carriage return carries nothing: only if it became another one, or the
                    // line end itself, does the message still count.
                    assert!([b'\r', b'\n'].contains(&wrong[bit / 8]));
                    continue;
                }
                assert!(
                    good == [0, 2, 3] || good == [0, 3],
                    "{format}, bit {bit} of {damaged:?}: {good:?}"
                );
                assert!(counters.corrupt >= 1);
                assert_eq!(counters.received + counters.lost, 4);
            }
        }
    }
}

#[test]
fn a_stream_joined_in_the_middle_is_silent_until_in_step() {
    for format in FORMATS {
        let bytes = encoded(format, 7, &report(7));
        for cut in 1..bytes.len() - 1 {
            let mut receiver = Receiver::new(format);
            assert_eq!(received(&mut receiver, &bytes[cut..]), []);
            let tail = bytes[cut..]
                .iter()
                .filter(|&&byte| byte != 0 && byte != b'\r' && byte != b'\n');
            let discarded = if format == WireFormat::Text {
                tail.count() as u64
            } else {
                (bytes.len() - cut - 1) as u64
            };
            assert_eq!(
                receiver.counters(),
                LinkCounters {
                    discarded_bytes: discarded,
                    ..LinkCounters::default()
                }
            );
            assert_eq!(
                received(&mut receiver, &encoded(format, 8, &report(8))),
                [Ok(packet(8, report(8)))]
            );
        }
    }
}

/// After too much without a delimiter, what lies before the next one is not read, even if its end
/// is a whole message.
#[test]
fn the_tail_of_an_overlong_frame_is_never_decoded() {
    for (format, longest) in [
        (WireFormat::Binary, MAX_FRAME),
        (WireFormat::Text, MAX_LINE),
    ] {
        for garbage in [longest, longest + 1, 3 * longest] {
            let mut receiver = receiver(format);
            let mut stream = vec![b'#'; garbage];
            let message = encoded(format, 0, &report(0));
            stream.extend(&message);
            assert_eq!(received(&mut receiver, &stream), [Err(FrameError::TooLong)]);
            let line_end = if format == WireFormat::Text { 2 } else { 1 };
            assert_eq!(
                receiver.counters(),
                LinkCounters {
                    corrupt: 1,
                    discarded_bytes: (garbage + message.len() - line_end) as u64,
                    ..LinkCounters::default()
                }
            );
            assert_eq!(
                received(&mut receiver, &message),
                [Ok(packet(0, report(0)))]
            );
        }
    }
}

#[test]
fn the_longest_message_fits_and_arrives() {
    for format in FORMATS {
        let bytes = encoded(format, u32::MAX, &longest());
        let got = received(&mut receiver(format), &bytes);
        assert!(
            matches!(&got[..], [Ok(packet)] if packet.sequence == u32::MAX),
            "{format}"
        );
        let bound = match format {
            WireFormat::Binary => MAX_FRAME,
            WireFormat::Text => MAX_LINE,
        };
        // A bound far above would waste a microcontroller's memory.
        assert!(
            bytes.len() <= bound && bytes.len() + 64 > bound,
            "{} of {bound}",
            bytes.len()
        );
    }
}

#[test]
fn sequences_wrap_without_loss() {
    for format in FORMATS {
        let mut receiver = receiver(format);
        for step in 0..6 {
            let sequence = (u32::MAX - 2).wrapping_add(step);
            let message = if sequence == 0 { hello() } else { report(step) };
            assert_eq!(
                received(&mut receiver, &encoded(format, sequence, &message)).len(),
                1
            );
        }
        assert_eq!(
            receiver.counters(),
            LinkCounters {
                received: 6,
                ..LinkCounters::default()
            }
        );
    }
}

/// Sequence numbers as they arrive, `H` for a greeting, and what they must count as.
#[test]
fn gaps_repeats_and_restarts_are_told_apart() {
    type Count = fn(&LinkCounters) -> [u64; 3];
    let count: Count = |c| [c.lost, c.duplicates, c.restarts];
    let cases: [(&[u32], &[usize], [u64; 3]); 8] = [
        (&[5, 6, 7], &[], [0, 0, 0]),
        (&[0, 1, 5, 6], &[0], [3, 0, 0]),
        (&[0, 1, 1, 2], &[0], [0, 1, 0]),
        (&[4, 5, 6, 4, 5, 6, 7], &[], [0, 3, 0]),
        // A greeting at 0 is a new start, wherever the old sequence was.
        (&[100, 101, 0, 1], &[2], [0, 0, 1]),
        (&[0, 0, 1], &[0, 1], [0, 0, 1]),
        // The greeting of the new start was lost, and one message more.
        (&[100, 101, 2, 3], &[], [2, 0, 1]),
        (&[u32::MAX, 3], &[], [3, 0, 0]),
    ];
    for format in FORMATS {
        for (sequences, greetings, wanted) in cases {
            let mut receiver = receiver(format);
            for (index, &sequence) in sequences.iter().enumerate() {
                let message = if greetings.contains(&index) {
                    hello()
                } else {
                    report(0)
                };
                let got = received(&mut receiver, &encoded(format, sequence, &message));
                assert!(matches!(got[..], [Ok(_)]));
            }
            let counters = receiver.counters();
            assert_eq!(count(&counters), wanted, "{format}: {sequences:?}");
            assert_eq!(counters.received, sequences.len() as u64);
        }
    }
}

/// One thing that happens to one message on its way.
#[derive(Debug, Clone)]
enum Fate {
    Arrives,
    Dropped,
    Flipped(prop::sample::Index),
    /// Rubbish, with a delimiter, before it.
    After(Vec<u8>),
}

fn fate(format: WireFormat) -> impl Strategy<Value = Fate> {
    let rubbish = prop::collection::vec(any::<u8>(), 1..2 * MAX_LINE).prop_map(move |mut bytes| {
        bytes.retain(|&byte| byte != delimiter(format) && byte != b'\r');
        bytes
    });
    prop_oneof![
        5 => Just(Fate::Arrives),
        1 => Just(Fate::Dropped),
        1 => any::<prop::sample::Index>().prop_map(Fate::Flipped),
        1 => rubbish.prop_map(Fate::After),
    ]
}

fn format() -> impl Strategy<Value = WireFormat> {
    prop_oneof![Just(WireFormat::Binary), Just(WireFormat::Text)]
}

proptest! {
    /// Counters are exact: what was sent is what was received and lost, what was spoilt is what was
    /// corrupt, and every byte is accounted for.
    #[test]
    fn counters_are_exact(
        (format, fates) in format().prop_flat_map(|format| {
            (Just(format), prop::collection::vec(fate(format), 1..30))
        }),
        first: u32,
    ) {
        let mut receiver = receiver(format);
        let mut wanted = LinkCounters::default();
        let mut missing = 0;
        let mut wanted_sequences = Vec::new();
        let mut got_sequences = Vec::new();
        // An intact message first and last, so that every loss lies between two that arrive.
        let fates = [&[Fate::Arrives][..], &fates, &[Fate::Arrives]].concat();
        for (index, fate) in fates.iter().enumerate() {
            let sequence = first.wrapping_add(index as u32);
            let mut bytes = encoded(format, sequence, &report(index as u32));
            let payload = bytes.len() - if format == WireFormat::Text { 2 } else { 1 };
            match fate {
                Fate::Arrives => {}
                Fate::Dropped => bytes.clear(),
                Fate::Flipped(at) => {
                    // A bit that makes no delimiter, so that one message stays one.
                    let at = at.index(payload);
                    let flipped = (0..8).map(|bit| bytes[at] ^ 1 << bit)
                        .find(|&byte| ![0, b'\r', b'\n'].contains(&byte));
                    bytes[at] = flipped.expect("some bit does");
                    wanted.corrupt += 1;
                    wanted.discarded_bytes += payload as u64;
                }
                Fate::After(rubbish) => {
                    if !rubbish.is_empty() {
                        wanted.corrupt += 1;
                        wanted.discarded_bytes += rubbish.len() as u64;
                    }
                    bytes = [&rubbish[..], &[delimiter(format)], &bytes].concat();
                }
            }
            if matches!(fate, Fate::Arrives | Fate::After(_)) {
                wanted.received += 1;
                wanted.lost += std::mem::take(&mut missing);
                wanted_sequences.push(sequence);
            } else {
                missing += 1;
            }
            got_sequences.extend(received(&mut receiver, &bytes).into_iter().flatten().map(|p| p.sequence));
        }
        prop_assert_eq!(receiver.counters(), wanted);
        prop_assert_eq!(got_sequences, wanted_sequences);
    }

    #[test]
    fn garbage_is_never_a_message(
        bytes in prop::collection::vec(any::<u8>(), 0..5_000),
        seams in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        format in format(),
    ) {
        let mut bytes = bytes;
        for seam in seams {
            if !bytes.is_empty() {
                let at = seam.index(bytes.len());
                bytes[at] = delimiter(format);
            }
        }
        let mut receiver = receiver(format);
        prop_assert!(received(&mut receiver, &bytes).iter().all(Result::is_err));
        prop_assert_eq!(receiver.counters().received, 0);
        // In step again after one delimiter, whatever it was.
        receiver.push(delimiter(format));
        let message = encoded(format, 3, &report(3));
        prop_assert_eq!(received(&mut receiver, &message), [Ok(packet(3, report(3)))]);
    }

    /// Cuts, repeats, insertions and flips anywhere in a stream of real messages: whatever comes
    /// out was put in.
    #[test]
    fn a_mangled_stream_gives_only_what_was_sent(
        messages in prop::collection::vec(any_message(), 1..6),
        edits in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 1..12),
        format in format(),
    ) {
        let mut sent = Vec::new();
        let mut stream = Vec::new();
        for (sequence, message) in messages.iter().enumerate() {
            let bytes = encoded(format, sequence as u32, message);
            sent.extend(received(&mut receiver(format), &bytes));
            stream.extend(bytes);
        }
        prop_assert_eq!(sent.len(), messages.len());
        for (a, b, kind, byte) in edits {
            if stream.is_empty() {
                break;
            }
            let (a, b) = (a.index(stream.len()), b.index(stream.len()));
            let (low, high) = (a.min(b), a.max(b).min(a.min(b) + 200));
            match kind {
                0 => { stream.drain(low..high); }
                1 => { let piece = stream[low..high].to_vec(); stream.splice(b..b, piece); }
                2 => stream.insert(a, byte),
                _ => stream[a] ^= 1 << (byte % 8),
            }
        }
        for packet in received(&mut receiver(format), &stream).into_iter().flatten() {
            let original = sent.iter().flatten().any(|sent| same(sent, &packet));
            prop_assert!(original, "{packet:?} was never sent");
        }
    }

    /// A text line carries rounded numbers, but what it says is what it says: reading and writing
    /// again gives the same line. A frame carries everything.
    #[test]
    fn any_message_makes_the_round_trip(message in any_message(), sequence: u32, format in format()) {
        let bytes = encoded(format, sequence, &message);
        let end = bytes.iter().position(|&byte| byte == delimiter(format));
        prop_assert_eq!(end, Some(bytes.len() - 1));
        let bound = if format == WireFormat::Text { MAX_LINE } else { MAX_FRAME };
        prop_assert!(bytes.len() <= bound);
        let got = received(&mut receiver(format), &bytes);
        let [Ok(packet)] = &got[..] else {
            panic!("{got:?} from {message:?}")
        };
        prop_assert_eq!(packet.sequence, sequence);
        prop_assert_eq!(encoded(format, sequence, &packet.message), bytes);
        if format == WireFormat::Binary {
            prop_assert_eq!(&packet.message, &message);
        }
    }

    #[test]
    fn either_format_is_recognised(
        format in format(),
        noise in prop::collection::vec(any::<u8>(), 0..300),
        messages in prop::collection::vec(any_message(), 1..5),
    ) {
        let mut receiver = Receiver::detect();
        let noise_packets = received(&mut receiver, &noise);
        prop_assert_eq!(noise_packets, []);
        prop_assert_eq!((receiver.format(), receiver.counters().discarded_bytes), (None, noise.len() as u64));
        receiver.push(delimiter(format));
        for (sequence, message) in messages.iter().enumerate() {
            let bytes = encoded(format, sequence as u32, message);
            prop_assert!(matches!(received(&mut receiver, &bytes)[..], [Ok(_)]));
            prop_assert_eq!(receiver.format(), Some(format));
        }
        prop_assert_eq!(receiver.counters().received, messages.len() as u64);
    }
}

/// Equal to the bit: NaN, which a text line may hold, is not equal to itself.
fn same(a: &Packet, b: &Packet) -> bool {
    let bytes = |packet: &Packet| encoded(WireFormat::Binary, packet.sequence, &packet.message);
    bytes(a) == bytes(b)
}
