//! What the loop needs of a board.

use embedded_io::{Read, ReadReady, Write};
use shared::image::FrameView;
use shared::wire::message::Notice;

/// A board, set up and ready.
#[derive(Debug)]
pub struct Board<L, F, C, W, V> {
    /// Its name in greetings.
    pub name: &'static str,
    /// The serial line to the host. A read that fails counts as one overrun.
    pub line: L,
    /// An output pin: high while the frame judged last is flagged.
    pub flag: F,
    /// Time and rest.
    pub clock: C,
    /// Restarts a board whose loop stands still.
    pub watchdog: W,
    /// Where frames come from besides the line; [`NoCamera`] where there is none.
    pub camera: V,
    /// Bytes of stack never used since the start.
    pub stack_free: fn() -> u32,
    /// Why the board had to start again; `None` after power-up or its reset button.
    pub last_reset: Option<Notice>,
}

/// Bytes that differ from start to start: whatever RAM holds after power-up, and a count of the starts
/// since.
pub type Residue = [u8; 512];

/// A line that can be read without waiting, and written.
pub trait Line: Read + ReadReady + Write {}

impl<T: Read + ReadReady + Write> Line for T {}

/// Time and rest.
pub trait Clock {
    /// Microseconds since the start; never goes back.
    fn now_us(&mut self) -> u64;

    /// Rests until something may have happened on the line, 10 ms at most.
    fn idle(&mut self);

    /// What tells this start from all others, as far as anything does.
    fn residue(&mut self) -> Residue;
}

/// Restarts the board when it is not fed for longer than a frame may take.
pub trait Watchdog {
    /// Starts the countdown again. Only the loop calls this, at the end of each turn.
    fn feed(&mut self);
}

/// A source of pictures on the board itself.
///
/// A driver starts taking pictures (by DMA, into a buffer of its own) when it is made, and hands
/// over the newest here. Its frames are numbered from 0. Pictures of any size will do, grey, RGB565 as
/// parallel camera modules send it, or RGB888: the model's input is made of them as on Linux
/// ([`shared::image::Preprocessing`]). Firmware knows colours with the feature `colour`, and plans that
/// want more than the centre or all of a picture, scaled by area, with the feature `resample`.
pub trait Camera {
    /// The picture taken since the last call, if there is one. Must not wait.
    fn capture(&mut self) -> Option<FrameView<'_>>;
}

/// For boards whose frames come over the line.
#[derive(Debug, Clone, Copy)]
pub struct NoCamera;

impl Camera for NoCamera {
    fn capture(&mut self) -> Option<FrameView<'_>> {
        None
    }
}
