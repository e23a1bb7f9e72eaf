//! Sealed messages: what only those who share a key can make, and once.

mod support;

use proptest::prelude::*;
use shared::wire::delivery::{Acknowledgement, Stream};
use shared::wire::frame;
use shared::wire::message::{Message, Performance};
use shared::wire::request::{self, FramePart, Greeting, MAX_PIXELS, Request};
use shared::wire::seal::{DeviceSession, HostSession, Key, MAX_SEALED, MAX_SEALED_REQUEST};
use shared::wire::{FrameError, Packet};
use support::{any_message, hello, longest, report};

const EPOCH: u64 = 0x0123_4567_89AB_CDEF;

fn key(byte: u8) -> Key {
    Key([byte; 32])
}

fn sealed(device: &DeviceSession, sequence: u32, message: &Message) -> Vec<u8> {
    let mut bytes = [0; MAX_SEALED];
    let length = device.seal(sequence, message, &mut bytes).expect("room");
    assert_eq!(bytes[length - 1], 0);
    bytes[..length - 1].to_vec()
}

fn asked(host: &HostSession, sequence: u32, request: &Request) -> Vec<u8> {
    let mut bytes = [0; MAX_SEALED];
    let length = host.seal(sequence, request, &mut bytes).expect("room");
    bytes[..length - 1].to_vec()
}

fn greet(challenge: u64) -> Request {
    Request::Greet(Greeting { challenge })
}

fn hello_of(epoch: u64) -> Message {
    let Message::Hello(mut greeting) = hello() else {
        unreachable!("that is what it is")
    };
    greeting.epoch = epoch;
    Message::Hello(greeting)
}

fn acknowledge(next: u32) -> Request {
    Request::Acknowledge(Acknowledgement {
        stream: Stream::Reports,
        epoch: EPOCH,
        next,
        come: 0,
    })
}

/// Both ends, greeted.
fn met() -> (DeviceSession, HostSession) {
    let mut device = DeviceSession::new(key(1), EPOCH);
    let mut host = HostSession::new(key(1));
    host.begin(5);
    device
        .open(&mut asked(&host, 0, &greet(5)))
        .expect("greeted");
    assert!(!host.is_answered());
    host.open(&mut sealed(&device, 0, &hello()))
        .expect("answered");
    assert!(host.is_answered());
    (device, host)
}

#[test]
fn who_shares_the_key_is_heard_and_nobody_else() {
    let (mut device, mut host) = met();
    let packet = host.open(&mut sealed(&device, 1, &report(3)));
    assert_eq!(
        packet,
        Ok(Packet {
            sequence: 1,
            message: report(3)
        })
    );
    assert!(device.open(&mut asked(&host, 1, &acknowledge(2))).is_ok());
    // Another key, and none.
    let stranger = DeviceSession::new(key(2), EPOCH);
    assert_eq!(
        host.open(&mut sealed(&stranger, 2, &report(4))),
        Err(FrameError::Unsealed)
    );
    let mut plain = [0; MAX_SEALED];
    let length = frame::encode(2, &report(4), &mut plain).expect("room");
    assert_eq!(
        host.open(&mut plain[..length - 1]),
        Err(FrameError::Unsealed)
    );
    let length = request::encode(2, &acknowledge(9), &mut plain).expect("room");
    assert_eq!(
        device.open(&mut plain[..length - 1]),
        Err(FrameError::Unsealed)
    );
    // And without a key a sealed line is told.
    let mut bytes = sealed(&device, 2, &report(4));
    assert_eq!(
        frame::decode::<Message>(&mut bytes),
        Err(FrameError::Sealed)
    );
    assert_eq!(format!("{:?}", key(7)), "Key(secret)");
}

#[test]
fn what_was_recorded_is_refused() {
    let (mut device, mut host) = met();
    let first = sealed(&device, 1, &report(3));
    let second = sealed(&device, 2, &report(4));
    assert!(host.open(&mut first.clone()).is_ok());
    assert!(host.open(&mut second.clone()).is_ok());
    for old in [&first, &second] {
        assert_eq!(host.open(&mut old.clone()), Err(FrameError::Replayed));
    }
    let told = asked(&host, 1, &acknowledge(2));
    assert!(device.open(&mut told.clone()).is_ok());
    assert_eq!(device.open(&mut told.clone()), Err(FrameError::Replayed));
    // Another session: nothing of the one before is taken, greeting and greeted alike.
    let greeting = asked(&host, 0, &greet(5));
    let answer = sealed(&device, 3, &hello());
    host.begin(6);
    assert_eq!(host.open(&mut answer.clone()), Err(FrameError::Unsealed));
    assert_eq!(host.open(&mut second.clone()), Err(FrameError::Unsealed));
    assert!(device.open(&mut asked(&host, 0, &greet(6))).is_ok());
    assert!(host.open(&mut sealed(&device, 4, &hello())).is_ok());
    assert_eq!(
        device.open(&mut greeting.clone()),
        Err(FrameError::Replayed)
    );
    assert_eq!(device.open(&mut told.clone()), Err(FrameError::Unsealed));
    // Nor is another life of the device.
    let mut reborn = DeviceSession::new(key(1), EPOCH + 1);
    assert_eq!(reborn.open(&mut told.clone()), Err(FrameError::Unsealed));
    assert_eq!(
        host.open(&mut sealed(&reborn, 9, &report(5))),
        Err(FrameError::Unsealed)
    );
}

/// A device that cannot know its epoch draws it when it is greeted.
#[test]
fn an_epoch_is_drawn_at_the_first_greeting() {
    let greeted = |byte, challenge| {
        let mut device = DeviceSession::new(key(byte), 0);
        let host = HostSession::new(key(byte));
        device
            .open(&mut asked(&host, 0, &greet(challenge)))
            .expect("greeted");
        assert!(!device.is_heard());
        device
    };
    let epoch = greeted(1, 5).draw_epoch(7, b"unique");
    assert_ne!(epoch, 0);
    // The same from the same, and another from anything else.
    assert_eq!(greeted(1, 5).draw_epoch(7, b"unique"), epoch);
    for other in [
        greeted(2, 5).draw_epoch(7, b"unique"),
        greeted(1, 6).draw_epoch(7, b"unique"),
        greeted(1, 5).draw_epoch(8, b"unique"),
        greeted(1, 5).draw_epoch(7, b"other"),
    ] {
        assert_ne!(other, epoch);
    }
    let mut device = greeted(1, 5);
    assert_eq!(device.draw_epoch(7, b"unique"), epoch);
    // For all of its life.
    assert_eq!(device.draw_epoch(9, b"later"), epoch);
    let mut host = HostSession::new(key(1));
    host.begin(6);
    device
        .open(&mut asked(&host, 0, &greet(6)))
        .expect("greeted");
    assert_eq!(device.draw_epoch(9, b"later"), epoch);
    host.open(&mut sealed(&device, 0, &hello_of(epoch)))
        .expect("answered");
    assert!(!device.is_heard());
    assert!(device.open(&mut asked(&host, 1, &acknowledge(2))).is_ok());
    assert!(device.is_heard());
}

/// What has nothing to judge with says so without an epoch, and takes nothing but greetings.
#[test]
fn without_an_epoch_a_device_is_heard_once_it_is_greeted() {
    let mut device = DeviceSession::new(key(1), 0);
    let mut host = HostSession::new(key(1));
    host.begin(5);
    assert_eq!(
        host.open(&mut sealed(&device, 0, &report(1))),
        Err(FrameError::Unsealed)
    );
    device
        .open(&mut asked(&host, 0, &greet(5)))
        .expect("greeted");
    let said = sealed(&device, 1, &report(2));
    assert!(host.open(&mut said.clone()).is_ok());
    assert!(host.is_answered());
    assert_eq!(host.open(&mut said.clone()), Err(FrameError::Replayed));
    assert_eq!(
        device.open(&mut asked(&host, 1, &acknowledge(2))),
        Err(FrameError::Unsealed)
    );
}

/// Who restarts a device and repeats the host's greeting gets another life into the same challenge, but
/// nothing of the one before is heard again.
#[test]
fn a_challenge_is_answered_by_one_life() {
    let (device, mut host) = met();
    let answer = sealed(&device, 1, &hello_of(EPOCH));
    assert!(host.open(&mut answer.clone()).is_ok());
    let mut reborn = DeviceSession::new(key(1), EPOCH + 1);
    reborn
        .open(&mut asked(&host, 0, &greet(5)))
        .expect("its first");
    assert_eq!(
        host.open(&mut sealed(&reborn, 2, &hello_of(EPOCH + 1))),
        Err(FrameError::Unsealed)
    );
    assert_eq!(host.open(&mut answer.clone()), Err(FrameError::Replayed));
}

#[test]
fn a_device_seals_its_few_messages_as_all_others() {
    let (device, _) = met();
    let mut bytes = [0; MAX_SEALED];
    let length = device.seal_core(9, &report(3), &mut bytes).expect("room");
    assert_eq!(bytes[..length - 1], sealed(&device, 9, &report(3)));
    // What microcontrollers never say.
    let other = Message::Performance(Performance {
        captured: 0,
        dropped: 0,
        corrupt: 0,
        missed: 0,
        reconnects: 0,
        latency_us: [0; 3],
        mean_passes: 0.0,
        processor: 0.0,
        peak_memory_kib: 0,
        temperature: None,
    });
    assert!(device.seal_core(9, &other, &mut bytes).is_err());
}

#[test]
fn the_longest_request_fits() {
    let (_, host) = met();
    let mut bytes = [0; MAX_SEALED_REQUEST];
    let request = Request::Frame(FramePart {
        frame: u32::MAX,
        width: u16::MAX,
        height: u16::MAX,
        offset: u32::MAX,
        format: shared::image::PixelFormat::Rgb565,
        pixels: [1; MAX_PIXELS].into_iter().collect(),
    });
    assert!(host.seal(u32::MAX, &request, &mut bytes).is_ok());
}

#[test]
fn the_longest_message_fits() {
    let (device, _) = met();
    let mut bytes = [0; MAX_SEALED];
    assert!(device.seal(u32::MAX, &longest(), &mut bytes).is_ok());
    assert!(device.seal(0, &longest(), &mut bytes[..100]).is_err());
}

proptest! {
    /// Not one changed bit is taken, even with a checksum that fits.
    #[test]
    fn no_bit_can_be_changed(message in any_message(), bit: u16) {
        let (device, mut host) = met();
        prop_assume!(!matches!(message, Message::Hello(_)));
        let mut frame = sealed(&device, 7, &message);
        let length = cobs::decode_in_place(&mut frame).expect("stuffed");
        let mut body = frame[..length - 4].to_vec();
        let bit = usize::from(bit) % (body.len() * 8);
        body[bit / 8] ^= 1 << (bit % 8);
        let crc = shared::wire::crc32(&body);
        body.extend(crc.to_le_bytes());
        let mut forged = vec![0; cobs::max_encoding_length(body.len())];
        let length = cobs::encode(&body, &mut forged);
        prop_assert!(host.open(&mut forged[..length]).is_err());
        prop_assert!(host.open(&mut sealed(&device, 7, &message)).is_ok());
    }

    #[test]
    fn any_bytes_are_survived(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let (mut device, mut host) = met();
        prop_assert!(host.open(&mut bytes.clone()).is_err());
        prop_assert!(device.open(&mut bytes).is_err());
    }
}
