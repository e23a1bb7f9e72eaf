//! Messages that only those who share a key can make, for lines that leave the box.
//!
//! A sealed frame has bit 6 set in its version, and carries a tag of 16 bytes before the CRC: the first
//! half of HMAC-SHA-256 (RFC 2104) with the shared key over
//!
//! ```text
//! "mcdropout line 1" | epoch: u64 LE | challenge: u64 LE | version, sequence and payload as sent
//! ```
//!
//! Epoch and challenge are the *session*: the device's life, and the random number of the host's last
//! greeting. In it the sequence numbers of each direction only grow, so nothing that was recorded in it
//! is taken again, nor in another. A greeting is sealed with epoch 0 and its own challenge, and its
//! challenge is refused if the device has lately seen it: who repeats an older one brings its session back to
//! the device, never to the host, since the device's answer is sealed with that challenge, which tells the
//! host that it is of now.
//!
//! A device that cannot tell its lives apart from the start, because nothing there is random, has epoch 0
//! until it is greeted and takes nothing but greetings ([`DeviceSession::draw_epoch`]); one that has
//! nothing to judge with stays so.
//!
//! Sealed messages are authentic, not secret. A receiver with a key takes nothing else; one without
//! says that the line is sealed.

use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::Sha256;

use super::frame::{CRC_BYTES, Core, MAX_FRAME, Payload};
use super::message::{Message, PROTOCOL_VERSION, Packet};
use super::request::{MAX_REQUEST, Request};
use super::{EncodeError, FrameError, crc32};

/// Bytes of a tag.
pub const TAG_BYTES: usize = 16;

/// Bytes of the longest sealed message, its delimiter included.
pub const MAX_SEALED: usize = MAX_FRAME + TAG_BYTES + 1;

/// Bytes of the longest sealed request, its delimiter included.
pub const MAX_SEALED_REQUEST: usize = MAX_REQUEST + TAG_BYTES + 1;

/// Bit of the version byte that is set in sealed frames.
pub(super) const SEALED: u8 = 0x40;

const CONTEXT: &[u8] = b"mcdropout line 1";
/// Of what gives a device its epoch.
const EPOCH_CONTEXT: &[u8] = b"mcdropout epoch 1";

/// What both ends know: 32 bytes, at random.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(pub [u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(secret)")
    }
}

/// In which session a message is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Session {
    /// The device's epoch; 0 for a host's greeting.
    pub epoch: u64,
    /// The challenge of the host's last greeting; 0 before the first.
    pub challenge: u64,
}

impl Key {
    /// The authentication of two numbers and some bytes, for what `context` says.
    fn mac(&self, context: &[u8], numbers: [u64; 2], covered: &[u8]) -> Hmac<Sha256> {
        // A key of any length is one for HMAC.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            unreachable!("HMAC refuses no key")
        };
        mac.update(context);
        for number in numbers {
            mac.update(&number.to_le_bytes());
        }
        mac.update(covered);
        mac
    }

    fn seal(&self, session: Session, covered: &[u8]) -> Hmac<Sha256> {
        self.mac(CONTEXT, [session.epoch, session.challenge], covered)
    }
}

/// Writes one sealed frame, its delimiter included, and returns its length.
///
/// # Errors
/// If `out` is too small; [`MAX_SEALED`] always suffices.
pub fn encode<T: Payload>(
    sequence: u32,
    payload: &T,
    key: &Key,
    session: Session,
    out: &mut [u8],
) -> Result<usize, EncodeError> {
    write(T::VERSION, sequence, payload, key, session, out)
}

fn write(
    version: u8,
    sequence: u32,
    payload: &impl Serialize,
    key: &Key,
    session: Session,
    out: &mut [u8],
) -> Result<usize, EncodeError> {
    let mut body = [0; MAX_SEALED];
    let covered = postcard::to_slice(&(version | SEALED, sequence, payload), &mut body)
        .map_err(|_| EncodeError)?
        .len();
    let tag = key.seal(session, &body[..covered]).finalize().into_bytes();
    let end = covered + TAG_BYTES;
    body.get_mut(covered..end)
        .ok_or(EncodeError)?
        .copy_from_slice(&tag[..TAG_BYTES]);
    let crc = crc32(&body[..end]).to_le_bytes();
    body.get_mut(end..end + CRC_BYTES)
        .ok_or(EncodeError)?
        .copy_from_slice(&crc);
    let body = &body[..end + CRC_BYTES];
    if out.len() < cobs::max_encoding_length(body.len()) + 1 {
        return Err(EncodeError);
    }
    let length = cobs::encode(body, out);
    out[length] = 0;
    Ok(length + 1)
}

/// Opens what lies between two delimiters, in place. `session_of` tells in which session the message has
/// to be sealed; what it refuses is refused.
///
/// # Errors
/// [`FrameError::Unsealed`] if the frame is whole but not sealed, or not with this key in this session;
/// [`FrameError`] as of other frames.
pub fn decode<T: Payload>(
    frame: &mut [u8],
    key: &Key,
    session_of: impl FnOnce(&Packet<T>) -> Option<Session>,
) -> Result<Packet<T>, FrameError> {
    let content = super::frame::unstuff(frame)?;
    let (covered, tag) = content
        .split_last_chunk::<TAG_BYTES>()
        .ok_or(FrameError::Unsealed)?;
    let (&version, rest) = covered.split_first().ok_or(FrameError::Malformed)?;
    super::frame::check_direction::<T>(version)?;
    if version & SEALED == 0 {
        return Err(FrameError::Unsealed);
    }
    super::frame::check_version::<T>(version & !SEALED)?;
    let packet = match postcard::take_from_bytes(rest) {
        Ok(((sequence, message), [])) => Packet { sequence, message },
        _ => return Err(FrameError::Content),
    };
    let session = session_of(&packet).ok_or(FrameError::Unsealed)?;
    // In a time that does not depend on where tags differ.
    key.seal(session, covered)
        .verify_truncated_left(tag)
        .map_err(|_| FrameError::Unsealed)?;
    Ok(packet)
}

/// Takes sequence numbers of one direction of a session once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Once {
    next: u32,
}

impl Once {
    /// Whether no message of this number or a later one has come yet. From then on none up to it is
    /// taken.
    pub fn take(&mut self, sequence: u32) -> bool {
        let is_new = sequence >= self.next;
        if is_new {
            // After the last number both ends have to greet anew.
            self.next = sequence.saturating_add(1);
        }
        is_new && sequence != u32::MAX
    }
}

/// Challenges that a device remembers.
const CHALLENGES: usize = 8;

/// The device's side of a session.
#[derive(Debug, Clone)]
pub struct DeviceSession {
    key: Key,
    session: Session,
    once: Once,
    seen: heapless::Deque<u64, CHALLENGES>,
    is_heard: bool,
}

impl DeviceSession {
    /// A device in its life `epoch`, which nobody has greeted; 0 if it cannot know that yet.
    #[must_use]
    pub const fn new(key: Key, epoch: u64) -> Self {
        Self {
            key,
            session: Session {
                epoch,
                challenge: 0,
            },
            once: Once { next: 0 },
            seen: heapless::Deque::new(),
            is_heard: false,
        }
    }

    /// Seals a message, as [`encode`].
    ///
    /// # Errors
    /// As [`encode`].
    pub fn seal(
        &self,
        sequence: u32,
        message: &Message,
        out: &mut [u8],
    ) -> Result<usize, EncodeError> {
        encode(sequence, message, &self.key, self.session, out)
    }

    /// As [`DeviceSession::seal`], of the messages that [`frame::encode_core`](super::frame::encode_core)
    /// writes.
    ///
    /// # Errors
    /// As [`encode`], or if the message is another.
    pub fn seal_core(
        &self,
        sequence: u32,
        message: &Message,
        out: &mut [u8],
    ) -> Result<usize, EncodeError> {
        let (version, payload) = (PROTOCOL_VERSION, &Core(message));
        write(version, sequence, payload, &self.key, self.session, out)
    }

    /// Gives a device that has been greeted the epoch of its life, if it has none: as different from
    /// those of other lives as the first greeting's challenge, the time `now_us` on the device's clock
    /// and the bytes of `unique`. Returns the epoch.
    pub fn draw_epoch(&mut self, now_us: u64, unique: &[u8]) -> u64 {
        if self.session.epoch == 0 {
            let numbers = [now_us, self.session.challenge];
            let mac = self.key.mac(EPOCH_CONTEXT, numbers, unique);
            let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(mac.finalize().into_bytes());
            self.session.epoch = u64::from_le_bytes([a, b, c, d, e, f, g, h]).max(1);
        }
        self.session.epoch
    }

    /// Whether the host has said more than a greeting, which may be one that somebody repeats to a device
    /// that has forgotten it: only who is there now knows this life's epoch.
    #[must_use]
    pub const fn is_heard(&self) -> bool {
        self.is_heard
    }

    /// Opens what lies between two delimiters.
    ///
    /// # Errors
    /// As [`decode`]; [`FrameError::Replayed`] for what came before.
    pub fn open(&mut self, frame: &mut [u8]) -> Result<Packet<Request>, FrameError> {
        let session = self.session;
        let packet = decode::<Request>(frame, &self.key, |packet| match &packet.message {
            Request::Greet(greeting) => Some(Session {
                epoch: 0,
                challenge: greeting.challenge,
            }),
            _ => (session.epoch != 0).then_some(session),
        })?;
        if let Request::Greet(greeting) = &packet.message {
            if self.seen.iter().any(|seen| *seen == greeting.challenge) {
                return Err(FrameError::Replayed);
            }
            if self.seen.is_full() {
                self.seen.pop_front();
            }
            // There is room now.
            let _ = self.seen.push_back(greeting.challenge);
            self.session.challenge = greeting.challenge;
            self.once = Once::default();
        }
        if !self.once.take(packet.sequence) {
            return Err(FrameError::Replayed);
        }
        self.is_heard |= !matches!(packet.message, Request::Greet(_));
        Ok(packet)
    }
}

/// The host's side of a session.
#[derive(Debug, Clone)]
pub struct HostSession {
    key: Key,
    session: Session,
    once: Once,
    is_answered: bool,
}

impl HostSession {
    /// A host that has not greeted.
    #[must_use]
    pub const fn new(key: Key) -> Self {
        Self {
            key,
            session: Session {
                epoch: 0,
                challenge: 0,
            },
            once: Once { next: 0 },
            is_answered: false,
        }
    }

    /// Begins a session with a challenge, at random: only what answers it is heard from now on.
    pub fn begin(&mut self, challenge: u64) {
        self.session = Session {
            epoch: 0,
            challenge,
        };
        self.once = Once::default();
        self.is_answered = false;
    }

    /// Seals a request, as [`encode`].
    ///
    /// # Errors
    /// As [`encode`].
    pub fn seal(
        &self,
        sequence: u32,
        request: &Request,
        out: &mut [u8],
    ) -> Result<usize, EncodeError> {
        let session = match request {
            Request::Greet(greeting) => Session {
                epoch: 0,
                challenge: greeting.challenge,
            },
            _ => self.session,
        };
        encode(sequence, request, &self.key, session, out)
    }

    /// Opens what lies between two delimiters.
    ///
    /// # Errors
    /// As [`decode`]; [`FrameError::Replayed`] for what came before.
    pub fn open(&mut self, frame: &mut [u8]) -> Result<Packet, FrameError> {
        let mut session = self.session;
        let packet = decode::<Message>(frame, &self.key, |packet| {
            // Once: else what was said in another life, with the same challenge, could be played again.
            if let Message::Hello(hello) = &packet.message
                && session.epoch == 0
            {
                session.epoch = hello.epoch;
            }
            (session.challenge != 0).then_some(session)
        })?;
        if session.epoch != self.session.epoch {
            self.session = session;
            self.once = Once::default();
        }
        if !self.once.take(packet.sequence) {
            return Err(FrameError::Replayed);
        }
        self.is_answered = true;
        Ok(packet)
    }

    /// Whether a device has answered the challenge.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        self.is_answered
    }
}
