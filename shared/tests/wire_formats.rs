//! What the two formats look like, and how a sender behaves.

mod support;

use embedded_io::{ErrorKind, ErrorType, Write};
use shared::triage::Thresholds;
use shared::wire::frame::{self, Deframer, MAX_FRAME};
use shared::wire::link::{Receiver, SendError, Sender, WireFormat};
use shared::wire::message::{
    Message, NoticeCode, PROTOCOL_VERSION, Packet, SCHEMA_HASH, shortened,
};
use shared::wire::text::{self, MAX_LINE, TextDeframer};
use shared::wire::{EncodeError, FrameError, LinkCounters, crc32};
use support::{hello, notice, performance, report, statistics, thumbnail};

/// The protocol's fingerprint. If this fails, the messages have changed: devices in the field and
/// hosts no longer understand each other, which the version must say.
#[test]
fn the_messages_are_those_of_version_4() {
    assert_eq!((PROTOCOL_VERSION, SCHEMA_HASH), (4, 0x874C_A98F_FBF4_DEFC));
}

#[test]
fn the_checksum_is_crc_32_iso_hdlc() {
    assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
}

fn line(sequence: u32, message: &Message) -> String {
    let mut out = [0; MAX_LINE];
    let length = text::encode(sequence, message, &mut out).expect("room for any message");
    String::from_utf8(out[..length].to_vec()).expect("ASCII")
}

#[test]
fn a_report_is_one_readable_line() {
    let text = line(12, &report(12));
    let (content, crc) = text.rsplit_once(" *").expect("a checksum");
    assert_eq!(
        content,
        "REPORT seq=12 frame=12 verdict=flag causes=glare+unfamiliar class=7 confidence=0.9375 \
         predictive_entropy=0.2500 expected_entropy=0.1250 mutual_information=0.1250 \
         variation_ratio=0.0625 standard_deviation=0.5000 margin=0.8750 passes=100 \
         captured_us=1399996 age_us=1800 latency_us=7200 mean=0.1250 black=0.0625 white=0.8750 \
         contrast=0.2500 sharpness=0.5000 saturated=0.0000 plateau=0.7500 ticket=000000000000feed,5,2"
    );
    assert_eq!(crc, format!("{:08X}\r\n", crc32(content.as_bytes())));
}

#[test]
fn greetings_and_totals_are_lines_too() {
    let text = line(0, &hello());
    let start = format!(
        "HELLO seq=0 protocol=4 schema={SCHEMA_HASH:016x} device=bench-camera software=0.1.0 \
         engine=tract model=deadbeef input=1x28x20 classes=3 labels=cat,dog,a%20bird passes=100 seed=42 \
         max_black=0.800000 max_plateau=0.500000 "
    );
    assert!(text.starts_with(&start), "{text}");
    assert!(
        text.contains(
            " guarantee=durable channels=grey geometry=letterbox:114 interpolation=area range=unit \
             plane_mean=0.130700 plane_deviation=0.308100 *"
        ),
        "{text}"
    );
    let text = line(3, &statistics());
    assert!(text.starts_with(
        "STATISTICS seq=3 frames=100 accepted=80 flagged=20 by_cause=1,2,3,4,5,6,7,8,9 failed=2 \
         received=700 corrupt=3 lost=4 overruns=5 stack_free=1024 uptime_us=12345678 last=true delivery=15,5,6,1,8 *"
    ));
    let text = line(4, &notice());
    assert!(text.starts_with(
        "NOTICE seq=4 code=plan_checksum detail=7 text=stored%201%2C%20computed%202 *"
    ));
    let text = line(5, &thumbnail());
    assert!(text.starts_with(
        "THUMBNAIL seq=5 frame=12 size=28x20 offset=556 pixels=0001ABFF format=rgb *"
    ));
    let text = line(6, &performance());
    assert!(text.starts_with(
        "PERFORMANCE seq=6 captured=300 dropped=2 corrupt=1 missed=4 reconnects=1 \
         latency_us=7200,9100,33000 mean_passes=22.5000 processor=0.0375 peak_memory_kib=26000 \
         temperature=41.5000 *"
    ));
    let Message::Performance(mut without) = performance() else {
        unreachable!("performance() gives one")
    };
    without.temperature = None;
    assert!(line(7, &Message::Performance(without)).contains(" temperature=none *"));
}

/// Numbers and names of notices are told to the world; a new code comes last.
#[test]
fn notices_keep_their_numbers_and_names() {
    let names = "plan_missing plan_version plan_length plan_checksum plan_schema plan_content \
                 plan_memory plan_format panicked watchdog_reset frame_refused frame_incomplete \
                 stack_low camera_lost camera_back model_swapped model_refused model_rolled_back \
                 outbox_full outbox_failed";
    assert_eq!(NoticeCode::ALL.map(NoticeCode::name).join(" "), names);
    for (number, code) in NoticeCode::ALL.into_iter().enumerate() {
        let mut bytes = [0; 1];
        let written = postcard::to_slice(&code, &mut bytes).expect("one byte");
        assert_eq!((written[0], code as u8), (number as u8, number as u8));
        assert_eq!(code.name().parse(), Ok(code));
    }
    assert!("plan".parse::<NoticeCode>().is_err());
}

fn with_thresholds(thresholds: Thresholds) -> Message {
    let Message::Hello(mut greeting) = hello() else {
        unreachable!("hello() gives a greeting")
    };
    greeting.thresholds = thresholds;
    Message::Hello(greeting)
}

fn decoded(text: &str) -> Result<Packet, FrameError> {
    text::decode(text.trim_end_matches("\r\n").as_bytes())
}

#[test]
fn limits_that_are_off_say_so() {
    let text = line(0, &with_thresholds(Thresholds::OFF));
    assert!(
        text.contains(" max_saturated=off min_white=0.000000 "),
        "{text}"
    );
    let packet = decoded(&text).expect("a greeting");
    assert!(matches!(packet.message, Message::Hello(hello) if hello.thresholds == Thresholds::OFF));
}

#[test]
fn numbers_are_rounded_to_the_nearest() {
    let printed = |value: f32| {
        let text = line(
            0,
            &with_thresholds(Thresholds {
                min_white: value,
                ..Thresholds::OFF
            }),
        );
        let (_, rest) = text.split_once(" min_white=").expect("the field");
        rest.split(' ').next().expect("a value").to_owned()
    };
    for (value, wanted) in [
        (0.0, "0.000000"),
        (-0.0, "-0.000000"),
        (0.000_000_6, "0.000001"),
        (0.000_000_4, "0.000000"),
        (f32::from_bits(1), "0.000000"),
        (f32::MIN_POSITIVE, "0.000000"),
        (0.999_999_94, "1.000000"),
        (-1.5, "-1.500000"),
        (16_777_216.0, "16777216.000000"),
        (1e10, "10000000000.000000"),
        (f32::MIN, "-340282346638528859811704183484516925440.000000"),
        (f32::NEG_INFINITY, "-inf"),
        (f32::NAN, "nan"),
    ] {
        assert_eq!(printed(value), wanted);
    }
    let mut value = 1e-8_f32;
    while value < 1e12 {
        let back: f64 = printed(value).parse().expect("a number");
        assert!((back - f64::from(value)).abs() <= 0.5e-6, "{value}: {back}");
        value *= 1.37;
    }
}

#[test]
fn names_keep_everything_that_separates_fields() {
    for labels in [
        vec![],
        vec![""],
        vec!["", ""],
        vec!["%"],
        vec!["a,b", "c=d", "50 %", "*", "ünïcode", "\r\n\0"],
    ] {
        let Message::Hello(mut greeting) = hello() else {
            unreachable!("hello() gives a greeting")
        };
        greeting.labels = labels.iter().map(|label| shortened(label)).collect();
        greeting.device = shortened(" = ");
        let text = line(0, &Message::Hello(greeting.clone()));
        let Ok(Packet {
            message: Message::Hello(back),
            ..
        }) = decoded(&text)
        else {
            panic!("{text}")
        };
        assert_eq!(
            (back.labels, back.device),
            (greeting.labels, greeting.device)
        );
    }
}

#[test]
fn texts_that_terminals_would_obey_are_made_printable() {
    let Message::Hello(mut hello) = hello() else {
        panic!("no greeting");
    };
    hello.device = "a\x1b]0;b\x07é\u{9b}2J".try_into().expect("it fits");
    hello.labels[1] = "\r\n\u{85}\u{2028}".try_into().expect("it fits");
    let unchanged = hello.labels[0].clone();
    let mut message = Message::Hello(hello);
    message.make_printable();
    let Message::Hello(hello) = message else {
        panic!("no greeting");
    };
    assert_eq!(hello.device, "a?]0;b?é?2J");
    assert_eq!(hello.labels[1], "???\u{2028}");
    assert_eq!(hello.labels[0], unchanged);
}

#[test]
fn long_names_are_cut_between_characters() {
    assert_eq!(shortened::<4>("abcdef"), "abcd");
    assert_eq!(shortened::<4>("abcé"), "abc");
    assert_eq!(shortened::<4>("é"), "é");
}

/// A line that is undamaged but says something else.
fn signed(content: &str) -> String {
    format!("{content} *{:08X}\r\n", crc32(content.as_bytes()))
}

#[test]
fn undamaged_lines_of_other_builds_are_told_from_damage() {
    let report = line(1, &report(1));
    let (content, _) = report.rsplit_once(" *").expect("a checksum");
    assert!(decoded(&signed(content)).is_ok());
    for changed in [
        content.replace("REPORT", "RAPPORT"),
        content.replace(" seq=1", ""),
        content.replace("class=7", "klasse=7"),
        content.replace("class=7", "class=70000"),
        content.replace("class=7", "class="),
        content.replace("verdict=flag", "verdict=accept"),
        content.replace("glare", "fog"),
        format!("{content} more=1"),
        "REPORT".to_owned(),
        String::new(),
    ] {
        assert_eq!(
            decoded(&signed(&changed)),
            Err(FrameError::Content),
            "{changed}"
        );
    }
    for damaged in [
        content.to_owned(),
        signed(content).to_lowercase(),
        format!("{content} *1234567"),
        String::new(),
    ] {
        assert_eq!(decoded(&damaged), Err(FrameError::Malformed), "{damaged}");
    }
    assert_eq!(
        decoded(&format!("{content}  *00000000")),
        Err(FrameError::Checksum)
    );
}

/// A frame of this body, whatever it says.
fn framed(body: &[u8]) -> Vec<u8> {
    let body = [body, &crc32(body).to_le_bytes()].concat();
    let mut out = vec![0; body.len() + body.len() / 254 + 2];
    let length = cobs::encode(&body, &mut out);
    out.truncate(length + 1);
    out
}

#[test]
fn undamaged_frames_of_other_builds_are_told_from_damage() {
    let mut plain = [0; MAX_FRAME];
    let content = postcard::to_slice(&(5_u32, report(5)), &mut plain)
        .expect("room")
        .to_vec();
    let cases: [(Vec<u8>, Result<u32, FrameError>); 7] = [
        ([&[PROTOCOL_VERSION], &content[..]].concat(), Ok(5)),
        (
            [&[1], &content[..]].concat(),
            Err(FrameError::Version {
                received: 1,
                expected: PROTOCOL_VERSION,
            }),
        ),
        // What the host sends, come back.
        (
            [&[0x80 | PROTOCOL_VERSION], &content[..]].concat(),
            Err(FrameError::Direction),
        ),
        (
            [&[PROTOCOL_VERSION], &content[..content.len() - 1]].concat(),
            Err(FrameError::Content),
        ),
        (
            [&[PROTOCOL_VERSION], &content[..], &[0]].concat(),
            Err(FrameError::Content),
        ),
        (vec![PROTOCOL_VERSION, 5, 99], Err(FrameError::Content)),
        (vec![], Err(FrameError::Malformed)),
    ];
    for (body, wanted) in cases {
        let mut deframer = Deframer::new();
        deframer.push(0);
        let got: Vec<_> = framed(&body)
            .into_iter()
            .filter_map(|byte| deframer.push(byte))
            .collect();
        let got: Vec<_> = got
            .into_iter()
            .map(|packet| packet.map(|p| p.sequence))
            .collect();
        assert_eq!(got, [wanted]);
        let counters = deframer.counters();
        let counts = [counters.received, counters.incompatible, counters.corrupt];
        assert_eq!(
            counts,
            match wanted {
                Ok(_) => [1, 0, 0],
                Err(error) if error.is_undamaged() => [0, 1, 0],
                Err(_) => [0, 0, 1],
            }
        );
    }
}

#[test]
fn another_version_is_named_on_both_sides() {
    let text = line(0, &hello()).replace("protocol=4", "protocol=7");
    let (content, _) = text.rsplit_once(" *").expect("a checksum");
    let error = decoded(&signed(content)).expect_err("another version");
    assert_eq!(
        error,
        FrameError::Version {
            received: 7,
            expected: PROTOCOL_VERSION
        }
    );
    assert_eq!(
        error.to_string(),
        "the sender speaks protocol version 7, this side version 4: update the receiver"
    );
    let mut receiver = Receiver::detect();
    let got: Vec<_> = signed(content)
        .bytes()
        .filter_map(|byte| receiver.push(byte))
        .collect();
    assert_eq!(
        (&got[..], receiver.format()),
        (&[Err(error)][..], Some(WireFormat::Text))
    );
}

#[test]
fn line_feeds_alone_and_blank_lines_are_welcome() {
    let text = line(0, &report(0)).replace('\r', "");
    let mut deframer = TextDeframer::new();
    let stream = format!("\r\n\n\r\n{text}\n\r\n{text}");
    let got = stream
        .bytes()
        .filter_map(|byte| deframer.push(byte))
        .flatten()
        .count();
    assert_eq!(got, 2);
    assert_eq!(
        deframer.counters(),
        LinkCounters {
            received: 2,
            duplicates: 1,
            ..LinkCounters::default()
        }
    );
}

#[test]
fn a_buffer_that_is_too_small_is_an_error() {
    for message in [hello(), report(0), statistics(), notice()] {
        let mut out = [0; MAX_LINE];
        let length = text::encode(0, &message, &mut out).expect("room");
        for short in 0..length {
            assert_eq!(
                text::encode(0, &message, &mut out[..short]),
                Err(EncodeError)
            );
        }
        let length = frame::encode(0, &message, &mut out).expect("room");
        for short in 0..length {
            assert_eq!(
                frame::encode(0, &message, &mut out[..short]),
                Err(EncodeError)
            );
        }
    }
}

/// A line that fails for a while after `good` bytes.
struct Faulty {
    written: Vec<u8>,
    good: usize,
}

impl ErrorType for Faulty {
    type Error = ErrorKind;
}

impl Write for Faulty {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        let count = bytes.len().min(self.good).min(7);
        if count == 0 {
            return Err(ErrorKind::BrokenPipe);
        }
        self.good -= count;
        self.written.extend(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

#[test]
fn a_sender_recovers_from_a_line_that_failed_in_the_middle() {
    for (format, first) in [
        (WireFormat::Binary, &b"\0"[..]),
        (WireFormat::Text, b"\r\n"),
    ] {
        let mut sender = Sender::new(
            Faulty {
                written: Vec::new(),
                good: usize::MAX,
            },
            format,
        );
        assert_eq!(sender.send(&hello()), Ok(0));
        sender.get_mut().good = 40;
        assert_eq!(
            sender.send(&report(1)),
            Err(SendError::Io(ErrorKind::BrokenPipe))
        );
        assert_eq!(
            sender.send(&report(2)),
            Err(SendError::Io(ErrorKind::BrokenPipe))
        );
        sender.get_mut().good = usize::MAX;
        assert_eq!(sender.send(&report(3)), Ok(3));
        assert_eq!(sender.send(&report(4)), Ok(4));
        assert_eq!(sender.flush(), Ok(()));
        assert_eq!(sender.format(), format);

        let written = sender.into_inner().written;
        assert!(written.starts_with(first));
        let mut receiver = Receiver::new(format);
        let got: Vec<_> = written
            .iter()
            .filter_map(|&byte| receiver.push(byte))
            .flatten()
            .map(|packet| packet.sequence)
            .collect();
        assert_eq!(got, [0, 3, 4]);
        assert_eq!(
            receiver.counters(),
            LinkCounters {
                received: 3,
                lost: 2,
                corrupt: 1,
                discarded_bytes: 40,
                ..LinkCounters::default()
            }
        );
    }
}

/// What was on the line before the sender started does not cost its first message.
#[test]
fn the_first_message_survives_what_came_before() {
    for format in [WireFormat::Binary, WireFormat::Text] {
        let mut sender = Sender::new(
            Faulty {
                written: b"boot: ok?".to_vec(),
                good: usize::MAX,
            },
            format,
        );
        sender.send(&hello()).expect("a good line");
        let mut receiver = Receiver::new(format);
        let got = sender
            .get_mut()
            .written
            .iter()
            .filter_map(|&byte| receiver.push(byte))
            .flatten()
            .count();
        assert_eq!(got, 1);
    }
}

/// A sender of frames alone has room for the longest.
#[test]
fn a_binary_sender_sends_what_any_other_does() {
    let line = || Faulty {
        written: Vec::new(),
        good: usize::MAX,
    };
    let mut small = Sender::binary(line());
    let mut usual = Sender::new(line(), WireFormat::Binary);
    assert!(size_of_val(&small) + MAX_LINE - MAX_FRAME <= size_of_val(&usual) + 8);
    for message in [hello(), support::longest(), report(1)] {
        assert_eq!(small.send(&message), usual.send(&message));
    }
    assert_eq!(small.into_inner().written, usual.into_inner().written);
}
