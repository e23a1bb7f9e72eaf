//! How a program that has failed ends: it says why, leaves word for its next start, and starts
//! again.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use cortex_m::peripheral::SCB;
use shared::wire::crc32;
use shared::wire::message::{Notice, NoticeCode};

use crate::line::{self, Uart};

/// Processor cycles between last words and reset: a second or less.
const PAUSE: u32 = 25_000_000;

/// Bytes of a notice in memory: code, detail and text, each with its longest varint.
const NOTICE: usize = 1 + 5 + 1 + 64;

/// A notice and its checksum, in memory that a start leaves alone.
#[repr(C)]
struct Left {
    crc: u32,
    notice: [u8; NOTICE],
}

struct Place(UnsafeCell<MaybeUninit<Left>>);

// SAFETY: used at the start, before interrupts are on, and at the end, when they are off.
unsafe impl Sync for Place {}

#[unsafe(link_section = ".uninit.left")]
static LEFT: Place = Place(UnsafeCell::new(MaybeUninit::uninit()));

/// What the program before this one had to say when it failed; the next call finds nothing.
///
/// After power-up the memory holds anything: only a matching checksum is believed.
#[inline(never)]
#[must_use]
pub fn left() -> Option<Notice> {
    let place = LEFT.0.get();
    // SAFETY: `Left` is made of numbers, so whatever lies there is one; it was written, if at all,
    // before this program started, which is why it is read as volatile.
    let left = unsafe { place.cast::<Left>().read_volatile() };
    // SAFETY: as above, and nobody else uses it.
    unsafe { (&raw mut (*place.cast::<Left>()).crc).write_volatile(!left.crc) };
    let intact = crc32(&left.notice) == left.crc;
    postcard::from_bytes(&left.notice).ok().filter(|_| intact)
}

fn leave(notice: &Notice) {
    let mut left = Left {
        crc: 0,
        notice: [0; NOTICE],
    };
    if postcard::to_slice(notice, &mut left.notice).is_ok() {
        left.crc = crc32(&left.notice);
        // SAFETY: interrupts are off and this program ends here.
        unsafe { LEFT.0.get().cast::<Left>().write_volatile(left) };
    }
}

/// Ends the program: leaves `notice` for the next start, sends it, and resets.
///
/// What fails while doing so resets at once.
pub fn end<U: Uart>(notice: &Notice) -> ! {
    static ENDING: AtomicBool = AtomicBool::new(false);
    cortex_m::interrupt::disable();
    if !ENDING.swap(true, Ordering::Relaxed) {
        leave(notice);
        app::last_words(notice, line::send::<U>);
        while !U::is_idle() {}
        // A program that fails at once must not flood the line.
        cortex_m::asm::delay(PAUSE);
    }
    SCB::sys_reset()
}

/// What a panic says: file, line and message.
#[must_use]
pub fn of_panic(info: &PanicInfo<'_>) -> Notice {
    let (file, line) = info
        .location()
        .map_or(("", 0), |location| (location.file(), location.line()));
    // By bytes: searching for a character takes 400 bytes of flash.
    let name = file
        .bytes()
        .rposition(|byte| byte == b'/')
        .map_or(0, |slash| slash + 1);
    let file = file.get(name..).unwrap_or(file);
    Notice {
        code: NoticeCode::Panicked,
        detail: line,
        text: app::text(format_args!("{file}:{line}: {}", info.message())),
    }
}

/// What a fault says: where, and what the processor's fault status register tells.
#[must_use]
pub fn of_fault(program_counter: u32) -> Notice {
    /// Bits that the guard below the stack sets: DACCVIOL, MSTKERR, STKERR, STKOF.
    const STACK: u32 = 1 << 1 | 1 << 4 | 1 << 12 | 1 << 20;
    // SAFETY: reading this register has no effect.
    let status = unsafe { (*SCB::PTR).cfsr.read() };
    let text = if status & STACK != 0 {
        app::text(format_args!("stack overflow"))
    } else {
        app::text(format_args!(
            "fault at {program_counter:#010x}, CFSR {status:#010x}"
        ))
    };
    Notice {
        code: NoticeCode::Panicked,
        detail: program_counter,
        text,
    }
}

/// Entered on any fault, with whatever stack there is. All of it may be thrown away, because nobody
/// returns to it, so the end begins on a fresh one; what is left of the floating-point registers'
/// lazy saving would write to the old one and is called off (FPCCR.LSPACT).
#[unsafe(naked)]
#[unsafe(no_mangle)]
#[unsafe(link_section = ".HardFault.crash")]
unsafe extern "C" fn HardFault() -> ! {
    core::arch::naked_asm!(
        "movw r1, #0xEF34",
        "movt r1, #0xE000",
        "ldr r2, [r1]",
        "bic r2, r2, #1",
        "str r2, [r1]",
        // The program counter lies seventh in what was saved, if it was.
        "mrs r3, msp",
        "movs r0, #0",
        "movw r1, #:lower16:_stack_end",
        "movt r1, #:upper16:_stack_end",
        "movw r2, #:lower16:_stack_start",
        "movt r2, #:upper16:_stack_start",
        "cmp r3, r1",
        "blo 1f",
        "cmp r3, r2",
        "bhs 1f",
        "ldr r0, [r3, #24]",
        "1:",
        "msr msp, r2",
        "b {fault}",
        fault = sym platform_fault,
    )
}

unsafe extern "Rust" {
    /// Defined by [`last_words!`](crate::last_words).
    fn platform_fault(program_counter: u32) -> !;
}

/// Defines what happens when the program fails: the UART named tells, and the board starts again.
#[macro_export]
macro_rules! last_words {
    ($uart:ty) => {
        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::crash::end::<$uart>(&$crate::crash::of_panic(info))
        }

        #[unsafe(no_mangle)]
        extern "Rust" fn platform_fault(program_counter: u32) -> ! {
            $crate::crash::end::<$uart>(&$crate::crash::of_fault(program_counter))
        }
    };
}
