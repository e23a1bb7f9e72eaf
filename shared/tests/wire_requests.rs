//! What a host tells a device: round trips, faults of the line, frames joined from their parts.

mod support;

use proptest::prelude::*;
use shared::image::{FrameView, PixelFormat};
use shared::wire::delivery::{Acknowledgement, Stream};
use shared::wire::frame::{self, Deframer, MAX_FRAME};
use shared::wire::link::Receiver;
use shared::wire::message::{LineStatistics, NoticeCode, Packet};
use shared::wire::request::{
    self, Assembly, FramePart, Greeting, MAX_PIXELS, MAX_REQUEST, Probe, Received, Request,
    RequestDeframer,
};
use shared::wire::{EncodeError, FrameError, LinkCounters};
use support::any_message;

fn greet() -> Request {
    Request::Greet(Greeting::default())
}

fn encoded(sequence: u32, request: &Request) -> Vec<u8> {
    let mut out = [0; MAX_REQUEST];
    let length = request::encode(sequence, request, &mut out).expect("room for any request");
    out[..length].to_vec()
}

/// What a deframer that is in step makes of `bytes`.
fn received(
    deframer: &mut RequestDeframer,
    bytes: &[u8],
) -> Vec<Result<Packet<Request>, FrameError>> {
    bytes
        .iter()
        .filter_map(|&byte| deframer.push(byte))
        .collect()
}

fn in_step() -> RequestDeframer {
    let mut deframer = RequestDeframer::new();
    assert_eq!(deframer.push(0), None);
    deframer
}

fn part(frame: u32, size: (u16, u16), offset: u32, pixels: &[u8]) -> FramePart {
    FramePart {
        frame,
        width: size.0,
        height: size.1,
        format: PixelFormat::Grey8,
        offset,
        pixels: pixels.iter().copied().collect(),
    }
}

fn any_part() -> impl Strategy<Value = FramePart> {
    (
        any::<u32>(),
        any::<(u16, u16)>(),
        any::<u32>(),
        prop::collection::vec(any::<u8>(), 0..=MAX_PIXELS),
    )
        .prop_map(|(frame, size, offset, pixels)| part(frame, size, offset, &pixels))
}

/// A frame of so many columns.
fn picture(format: PixelFormat, width: usize, pixels: &[u8]) -> FrameView<'_> {
    let stride = width * format.bytes();
    FrameView::new(format, width, pixels.len() / stride, stride, pixels).expect("whole")
}

fn any_request() -> impl Strategy<Value = Request> {
    let stream = prop::sample::select(vec![Stream::Reports, Stream::Pictures]);
    prop_oneof![
        1 => any::<u64>().prop_map(|challenge| Request::Greet(Greeting { challenge })),
        4 => any_part().prop_map(Request::Frame),
        2 => (stream, any::<u64>(), any::<u32>(), any::<u64>()).prop_map(
            |(stream, epoch, next, come)| Request::Acknowledge(Acknowledgement {
                stream,
                epoch,
                next,
                come,
            })
        ),
        1 => any::<u64>().prop_map(|sent_us| Request::Probe(Probe { sent_us })),
    ]
}

#[test]
fn the_longest_request_fits_tightly_and_is_small() {
    let longest = Request::Frame(part(
        u32::MAX,
        (u16::MAX, u16::MAX),
        u32::MAX,
        &[1; MAX_PIXELS],
    ));
    let bytes = encoded(u32::MAX, &longest);
    assert_eq!(bytes.len(), MAX_REQUEST);
    // A microcontroller holds one deframer: the request, and no more than the counters besides.
    const { assert!(MAX_REQUEST <= 160) };
    assert!(size_of::<RequestDeframer>() <= MAX_REQUEST + 96);
    let got = received(&mut in_step(), &bytes);
    assert!(matches!(&got[..], [Ok(packet)] if packet.message == longest));
    let mut short = [0; MAX_REQUEST];
    for length in 0..bytes.len() {
        assert_eq!(
            request::encode(u32::MAX, &longest, &mut short[..length]),
            Err(EncodeError)
        );
    }
}

#[test]
fn a_greeting_at_zero_begins_a_new_sequence() {
    let mut deframer = in_step();
    let frame = Request::Frame(part(0, (1, 1), 0, &[1]));
    for (sequence, request) in [
        (0, &greet()),
        (1, &frame),
        (4, &frame),
        (0, &greet()),
        (1, &frame),
    ] {
        let got = received(&mut deframer, &encoded(sequence, request));
        assert!(matches!(got[..], [Ok(_)]));
    }
    let counters = deframer.counters();
    assert_eq!(
        counters,
        LinkCounters {
            received: 5,
            lost: 2,
            restarts: 1,
            ..LinkCounters::default()
        }
    );
    assert_eq!(
        LineStatistics::new(&counters, 9),
        LineStatistics {
            received: 5,
            corrupt: 0,
            lost: 2,
            overruns: 9
        }
    );
}

#[test]
fn one_flipped_bit_is_always_detected() {
    let good = |sequence| encoded(sequence, &Request::Frame(part(9, (2, 1), 0, &[0, 255])));
    for damaged in [greet(), Request::Frame(part(8, (28, 28), 128, &[7; 128]))] {
        let bytes = encoded(1, &damaged);
        for bit in 0..bytes.len() * 8 {
            let mut wrong = bytes.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            let mut deframer = in_step();
            let stream = [good(0), wrong, good(2), good(3)].concat();
            let got: Vec<u32> = received(&mut deframer, &stream)
                .iter()
                .flatten()
                .map(|packet| packet.sequence)
                .collect();
            assert!(
                got == [0, 2, 3] || got == [0, 3],
                "bit {bit} of {damaged:?}: {got:?}"
            );
            let counters = deframer.counters();
            assert!(counters.corrupt >= 1);
            assert_eq!(counters.received + counters.lost, 4);
        }
    }
}

#[test]
fn a_frame_is_joined_from_its_parts() {
    let pixels: Vec<u8> = (0..28 * 20_u32).map(|at| at as u8).collect();
    for (width, format) in [
        (28, PixelFormat::Grey8),
        (14, PixelFormat::Rgb565),
        (7, PixelFormat::Rgb8),
    ] {
        let pixels = &pixels[..usize::from(width) * 20 * format.bytes()];
        let whole = picture(format, width.into(), pixels);
        let parts: Vec<_> = FramePart::split(3, &whole).collect();
        assert_eq!(parts.len(), pixels.len().div_ceil(MAX_PIXELS));
        assert!(
            parts
                .iter()
                .all(|part| (part.width, part.height) == (width, 20))
        );
        let mut assembly = Assembly::new([0; 600]);
        for _ in 0..2 {
            let (last, others) = parts.split_last().expect("several parts");
            for part in others {
                assert_eq!(assembly.push(part), Ok(None));
            }
            let joined = Received {
                frame: 3,
                width,
                height: 20,
                format,
                pixels,
            };
            assert_eq!(assembly.push(last), Ok(Some(joined)));
            let read = joined.picture().expect("whole");
            assert_eq!(read.colour(read.row(19), 3), whole.colour(whole.row(19), 3));
        }
        // Parts of another format are not of this frame.
        let mut other = parts[1].clone();
        other.format = if format == PixelFormat::Grey8 {
            PixelFormat::Rgb8
        } else {
            PixelFormat::Grey8
        };
        other.height = 2;
        assert_eq!(assembly.push(&parts[0]), Ok(None));
        assert!(assembly.push(&other).is_err());
    }
}

#[test]
fn a_gap_is_told_once_and_a_new_start_mends_it() {
    let pixels = [7; 4 * MAX_PIXELS];
    let parts: Vec<_> =
        FramePart::split(5, &picture(PixelFormat::Grey8, MAX_PIXELS, &pixels)).collect();
    let mut assembly = Assembly::new([0; 4 * MAX_PIXELS]);
    assert_eq!(assembly.push(&parts[0]), Ok(None));
    assert_eq!(assembly.push(&parts[2]), Err(NoticeCode::FrameIncomplete));
    assert_eq!(assembly.push(&parts[3]), Ok(None));
    // Without its first part the next frame is incomplete, too, and told again.
    let other = FramePart {
        frame: 6,
        ..parts[1].clone()
    };
    assert_eq!(assembly.push(&other), Err(NoticeCode::FrameIncomplete));
    for part in &parts[..3] {
        assert_eq!(assembly.push(part), Ok(None));
    }
    assert!(matches!(assembly.push(&parts[3]), Ok(Some(_))));
    // Nothing joins what came before a greeting.
    assert_eq!(assembly.push(&parts[0]), Ok(None));
    assembly.clear();
    assert_eq!(assembly.push(&parts[1]), Err(NoticeCode::FrameIncomplete));
}

#[test]
fn parts_that_belong_to_no_frame_are_refused() {
    let mut assembly = Assembly::new([0; 16]);
    for impossible in [
        part(1, (0, 4), 0, &[1]),
        part(1, (4, 0), 0, &[1]),
        part(1, (4, 4), 0, &[]),
        part(1, (4, 4), 15, &[1, 2]),
        part(1, (4, 4), u32::MAX, &[1]),
        part(1, (17, 1), 0, &[1]),
        part(1, (u16::MAX, u16::MAX), 0, &[1]),
    ] {
        assert_eq!(
            assembly.push(&impossible),
            Err(NoticeCode::FrameRefused),
            "{impossible:?}"
        );
    }
    assert!(matches!(
        assembly.push(&part(1, (4, 4), 0, &[1; 16])),
        Ok(Some(_))
    ));
}

proptest! {
    #[test]
    fn any_request_makes_the_round_trip(request in any_request(), sequence: u32) {
        let bytes = encoded(sequence, &request);
        prop_assert!(bytes.len() <= MAX_REQUEST);
        prop_assert_eq!(bytes.iter().position(|&byte| byte == 0), Some(bytes.len() - 1));
        let wanted = Packet { sequence, message: request };
        prop_assert_eq!(received(&mut in_step(), &bytes), [Ok(wanted)]);
    }

    /// An echoing line: neither side takes its own words for the other's.
    #[test]
    fn directions_are_never_mixed_up(request in any_request(), message in any_message(), sequence: u32) {
        let mut deframer = Deframer::new();
        let heard: Vec<_> = encoded(sequence, &request).iter().filter_map(|&byte| deframer.push(byte)).collect();
        prop_assert_eq!(heard, [Err(FrameError::Direction)]);
        prop_assert_eq!(deframer.counters().incompatible, 1);

        let mut out = [0; MAX_FRAME];
        let length = frame::encode(sequence, &message, &mut out).expect("room");
        let heard = received(&mut in_step(), &out[..length]);
        prop_assert!(
            // Most messages are longer than any request.
            matches!(heard[..], [Err(FrameError::Direction | FrameError::TooLong)]),
            "{:?}", heard
        );
    }

    #[test]
    fn garbage_is_never_a_request(mut bytes in prop::collection::vec(any::<u8>(), 0..2_000), zeros in prop::collection::vec(any::<prop::sample::Index>(), 0..40)) {
        for zero in zeros {
            if !bytes.is_empty() {
                let at = zero.index(bytes.len());
                bytes[at] = 0;
            }
        }
        let mut deframer = in_step();
        prop_assert!(received(&mut deframer, &bytes).iter().all(Result::is_err));
        prop_assert_eq!(deframer.counters().received, 0);
        // In step again after one delimiter.
        deframer.push(0);
        let greeting = encoded(7, &greet());
        prop_assert_eq!(
            received(&mut deframer, &greeting),
            [Ok(Packet { sequence: 7, message: greet() })]
        );
    }

    /// Cuts, repeats, insertions and flips anywhere: whatever comes out was put in.
    #[test]
    fn a_mangled_stream_gives_only_what_was_sent(
        requests in prop::collection::vec(any_request(), 1..8),
        edits in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 1..12),
    ) {
        let sent: Vec<_> = (0..).zip(requests).map(|(sequence, message)| Packet { sequence, message }).collect();
        let mut stream: Vec<u8> = sent.iter().flat_map(|packet| encoded(packet.sequence, &packet.message)).collect();
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
        let mut deframer = in_step();
        for packet in received(&mut deframer, &stream).into_iter().flatten() {
            prop_assert!(sent.contains(&packet), "{:?} was never sent", packet);
        }
        let counters = deframer.counters();
        prop_assert!(counters.received <= 2 * sent.len() as u64 + 12);
    }

    /// Whatever parts arrive in whatever order, a frame that comes out is made of pixels that were
    /// sent for it.
    #[test]
    fn parts_in_any_order_never_give_a_wrong_frame(
        order in prop::collection::vec((0..3_u32, 0..5_usize), 1..60),
        mut stray in prop::collection::vec(any_part(), 0..4),
    ) {
        let pixels = |frame: u32| -> Vec<u8> { (0..600_u32).map(|at| (at * 7 + frame * 50) as u8).collect() };
        let mut assembly = Assembly::new([0; 600]);
        for (frame, index) in order {
            if index == 4 && let Some(part) = stray.pop() {
                let _ = assembly.push(&part);
            }
            let sent = pixels(frame);
            let sent = picture(PixelFormat::Grey8, 30, &sent);
            let part = FramePart::split(frame, &sent).nth(index).expect("five parts");
            if let Ok(Some(got)) = assembly.push(&part) {
                prop_assert_eq!((got.frame, got.width, got.height), (frame, 30, 20));
                prop_assert_eq!(got.pixels, &pixels(frame)[..]);
            }
        }
    }
}

#[test]
fn an_echo_is_told_in_words_and_says_nothing_of_the_format() {
    let mut receiver = Receiver::detect();
    receiver.push(0);
    let heard: Vec<_> = encoded(0, &greet())
        .into_iter()
        .filter_map(|byte| receiver.push(byte))
        .collect();
    let [Err(error)] = heard[..] else {
        panic!("{heard:?}")
    };
    assert!(error.to_string().contains("echoes"), "{error}");
    assert_eq!(receiver.format(), None);
}
