//! Failures on request: frames with these numbers make the firmware fail, to test what follows.

use core::hint::black_box;

/// A frame of this number makes the loop panic.
pub const PANIC: u32 = 0xFFFF_FF01;
/// A frame of this number makes the stack overflow.
pub const OVERFLOW: u32 = 0xFFFF_FF02;
/// A frame of this number never ends.
pub const HANG: u32 = 0xFFFF_FF03;

pub(crate) fn obey(frame: u32) {
    match frame {
        PANIC => panic!("provoked"),
        OVERFLOW => {
            overflow(0);
        }
        HANG => loop {
            black_box(());
        },
        _ => {}
    }
}

#[inline(never)]
#[allow(unconditional_recursion)] // That is the point.
fn overflow(depth: u32) -> u32 {
    let frame = black_box([depth; 16]);
    overflow(depth + 1) + black_box(frame)[0]
}
