//! The serial line: what arrives is kept by an interrupt, so that nothing is missed while a frame
//! is judged.

use core::cell::RefCell;
use core::fmt;
use core::marker::PhantomData;

use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::NVIC;
use critical_section::Mutex;
use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write};
use heapless::Deque;

/// Bytes that are kept: a frame of 28×28 pixels that is sent again while the first is judged.
const KEPT: usize = 1088;

/// A UART's registers. The interrupt, the loop and a dying program use the same one.
pub trait Uart {
    /// A byte that has arrived, if there is one; an error if one arrived broken or was missed.
    fn receive() -> Option<Result<u8, Broken>>;

    /// Whether a byte can be sent.
    fn is_writable() -> bool;

    /// Sends a byte; only if [`Uart::is_writable`].
    fn send(byte: u8);

    /// Whether everything sent has left.
    fn is_idle() -> bool;
}

/// A byte arrived broken, or earlier than the one before it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a byte was missed or broken")
    }
}

impl core::error::Error for Broken {}

impl embedded_io::Error for Broken {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

struct Kept {
    bytes: Deque<u8, KEPT>,
    broken: u32,
}

static KEPT_BYTES: Mutex<RefCell<Kept>> = Mutex::new(RefCell::new(Kept {
    bytes: Deque::new(),
    broken: 0,
}));

/// Lets the UART's interrupt in, whose handler calls [`keep`].
pub fn listen(interrupt: impl InterruptNumber) {
    // SAFETY: what this could break are critical sections that mask single interrupts; there are
    // none here.
    unsafe { NVIC::unmask(interrupt) };
}

/// Keeps what has arrived: to be called by the UART's interrupt.
pub fn keep<U: Uart>() {
    critical_section::with(|token| {
        let mut kept = KEPT_BYTES.borrow_ref_mut(token);
        while let Some(received) = U::receive() {
            if received.is_err() || received.is_ok_and(|byte| kept.bytes.push_back(byte).is_err()) {
                kept.broken = kept.broken.saturating_add(1);
            }
        }
    });
}

/// Sends bytes without interrupts.
pub(crate) fn send<U: Uart>(byte: u8) {
    while !U::is_writable() {}
    U::send(byte);
}

/// The loop's end of the line.
#[derive(Debug)]
pub struct Line<U>(PhantomData<U>);

impl<U: Uart> Line<U> {
    /// The line of a UART that is set up, and whose interrupt calls [`keep`].
    #[must_use]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<U: Uart> Default for Line<U> {
    fn default() -> Self {
        Self::new()
    }
}

impl<U> ErrorType for Line<U> {
    type Error = Broken;
}

impl<U: Uart> ReadReady for Line<U> {
    fn read_ready(&mut self) -> Result<bool, Broken> {
        Ok(critical_section::with(|token| {
            let kept = KEPT_BYTES.borrow_ref(token);
            kept.broken > 0 || !kept.bytes.is_empty()
        }))
    }
}

impl<U: Uart> Read for Line<U> {
    /// Waits for a byte. Fails once for each that was missed or broken.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Broken> {
        let Some(first) = buffer.first_mut() else {
            return Ok(0);
        };
        loop {
            let next = critical_section::with(|token| {
                let mut kept = KEPT_BYTES.borrow_ref_mut(token);
                if kept.broken > 0 {
                    kept.broken -= 1;
                    return Some(Err(Broken));
                }
                kept.bytes.pop_front().map(Ok)
            });
            if let Some(byte) = next {
                *first = byte?;
                return Ok(1);
            }
        }
    }
}

impl<U: Uart> Write for Line<U> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        bytes.iter().copied().for_each(send::<U>);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Broken> {
        while !U::is_idle() {}
        Ok(())
    }
}
