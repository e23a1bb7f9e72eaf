//! What comes down a serial line.

use shared::wire::frame::{self, Deframer, FrameReceiver, MAX_FRAME, Payload};
use shared::wire::message::{Message, PROTOCOL_VERSION};
use shared::wire::request::{self, Assembly, MAX_REQUEST, Request, RequestDeframer};
use shared::wire::text::{self, MAX_LINE, TextDeframer};
use shared::wire::{FrameError, Packet, crc32};

/// Pixels of the largest frame that the device under test takes.
const ROOM: usize = 1024;

/// A stream of binary messages; and the bytes as the content of one frame with a matching checksum,
/// which changed bytes hardly ever have.
pub(crate) fn frames(bytes: &[u8]) {
    let mut deframer = Deframer::new();
    for byte in bytes.iter().chain(&framed(PROTOCOL_VERSION, bytes)) {
        if let Some(Ok(packet)) = deframer.push(*byte) {
            let mut again = [0; MAX_FRAME];
            let length = frame::encode(packet.sequence, &packet.message, &mut again);
            let length = length.expect("what was received can be sent");
            let same = first(&mut Deframer::new(), &again[..length]);
            // In bytes, because a value that is not a number is unlike itself.
            let mut last = [0; MAX_FRAME];
            let length = frame::encode(same.sequence, &same.message, &mut last).expect("it fits");
            assert_eq!(again[..length], last[..length], "another message came back");
            read(&packet.message);
        }
    }
    let counters = deframer.counters();
    assert!(counters.discarded_bytes as usize <= 3 * bytes.len() + 64);
}

/// A stream of requests, whose parts are put together; and, as in [`frames`], one with a checksum.
pub(crate) fn requests(bytes: &[u8]) {
    let mut deframer = RequestDeframer::new();
    let mut assembly = Assembly::new([0_u8; ROOM]);
    for byte in bytes
        .iter()
        .chain(&framed(<Request as Payload>::VERSION, bytes))
    {
        let Some(Ok(packet)) = deframer.push(*byte) else {
            continue;
        };
        let mut again = [0; MAX_REQUEST];
        let length = request::encode(packet.sequence, &packet.message, &mut again);
        let length = length.expect("what was received can be sent");
        assert_eq!(packet, first(&mut RequestDeframer::new(), &again[..length]));
        match &packet.message {
            Request::Greet(_) => assembly.clear(),
            Request::Acknowledge(answer) => {
                let _ = answer.covers(answer.next);
            }
            Request::Probe(_) => {}
            Request::Frame(part) => {
                if let Ok(Some(frame)) = assembly.push(part) {
                    assert!(frame.picture().is_ok());
                }
            }
        }
    }
}

/// Lines of text; and each with the checksum that it should have.
pub(crate) fn lines(bytes: &[u8]) {
    let mut deframer = TextDeframer::new();
    let sealed = bytes.split(|byte| *byte == b'\n').flat_map(|line| {
        let content = line.split(|byte| *byte == b'*').next().unwrap_or(line);
        let content = content.strip_suffix(b" ").unwrap_or(content);
        let trailer = format!(" *{:08X}\r\n", crc32(content));
        [content, trailer.as_bytes()].concat()
    });
    for byte in bytes.iter().copied().chain(*b"\n").chain(sealed) {
        if let Some(Ok(packet)) = deframer.push(byte) {
            let mut again = [0; MAX_LINE];
            let length = text::encode(packet.sequence, &packet.message, &mut again);
            let length = length.expect("what was received can be sent");
            text::decode(&again[..length - 2]).expect("what was sent can be received");
            read(&packet.message);
        }
    }
}

/// What is asked of any message that was received.
fn read(message: &Message) {
    let _ = format!("{message:?}");
    match message {
        Message::Hello(hello) => {
            let _ = hello.thresholds.validate();
        }
        Message::Report(report) => {
            let _ = (report.verdict(), report.causes.to_string());
        }
        Message::Thumbnail(part) => {
            let _ = part.place();
        }
        Message::Notice(notice) => {
            let _ = (notice.code.name(), notice.code.is_failure());
        }
        Message::Statistics(_) | Message::Performance(_) | Message::Echo(_) => {}
    }
}

/// A frame around `content`, with a delimiter before it.
fn framed(version: u8, content: &[u8]) -> Vec<u8> {
    let mut body = [&[version], content].concat();
    body.extend(crc32(&body).to_le_bytes());
    let mut stuffed = vec![0; cobs::max_encoding_length(body.len())];
    let length = cobs::encode(&body, &mut stuffed);
    [&[0], &stuffed[..length], &[0]].concat()
}

fn first<T: Payload, const N: usize>(
    deframer: &mut FrameReceiver<T, N>,
    bytes: &[u8],
) -> Packet<T> {
    let found: Option<Result<Packet<T>, FrameError>> =
        bytes.iter().find_map(|byte| deframer.push(*byte));
    let Some(Ok(packet)) = found else {
        panic!("what was sent is not received");
    };
    packet
}
