//! What goes out: messages on the line.

use core::fmt::{self, Write as _};
use core::sync::atomic::{AtomicU32, Ordering};

use embedded_io::Write;
use heapless::String;
#[cfg(not(feature = "text"))]
use shared::wire::frame::{self, MAX_FRAME};
use shared::wire::link::Sender;
#[cfg(feature = "text")]
use shared::wire::link::WireFormat;
use shared::wire::message::{Message, Notice};
#[cfg(feature = "text")]
use shared::wire::text::{self, MAX_LINE};

/// Number of the next message, for [`last_words`].
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The sending side of a line, in this build's format.
#[derive(Debug)]
pub(crate) struct Outbox<L> {
    #[cfg(not(feature = "text"))]
    sender: Sender<L, MAX_FRAME>,
    #[cfg(feature = "text")]
    sender: Sender<L>,
}

impl<L: Write> Outbox<L> {
    pub(crate) const fn new(line: L) -> Self {
        Self {
            #[cfg(not(feature = "text"))]
            sender: Sender::binary(line),
            #[cfg(feature = "text")]
            sender: Sender::new(line, WireFormat::Text),
        }
    }

    /// Sends one message. What a line does not take, the receiver finds missing by its number: there
    /// is nobody else to tell.
    pub(crate) fn send(&mut self, message: &Message) {
        if let Ok(sequence) = self.sender.send(message) {
            NEXT.store(sequence.wrapping_add(1), Ordering::Relaxed);
        }
    }

    pub(crate) fn line(&mut self) -> &mut L {
        self.sender.get_mut()
    }
}

/// Writes a notice byte by byte, when nothing but `write` works any more.
pub fn last_words(notice: &Notice, write: impl FnMut(u8)) {
    #[cfg(not(feature = "text"))]
    let mut buffer = [0; MAX_FRAME / 4];
    #[cfg(feature = "text")]
    let mut buffer = [0; MAX_LINE / 4];
    let message = Message::Notice(notice.clone());
    let sequence = NEXT.load(Ordering::Relaxed);
    // A delimiter first: another message may have been cut short.
    #[cfg(not(feature = "text"))]
    let (delimiter, length) = (
        &[0][..],
        frame::encode_core(sequence, &message, &mut buffer),
    );
    #[cfg(feature = "text")]
    let (delimiter, length) = (&b"\r\n"[..], text::encode(sequence, &message, &mut buffer));
    if let Ok(length) = length {
        delimiter
            .iter()
            .chain(&buffer[..length])
            .copied()
            .for_each(write);
    }
}

/// The text of a notice: as much as fits.
#[must_use]
pub fn text(content: fmt::Arguments<'_>) -> String<64> {
    struct Cut(String<64>);
    impl fmt::Write for Cut {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            text.chars()
                .try_for_each(|character| self.0.push(character))
                .map_err(|_| fmt::Error)
        }
    }
    let mut cut = Cut(String::new());
    // Fails when it is full, which is meant.
    let _ = cut.write_fmt(content);
    cut.0
}
