//! The parts of memory that the linker script (`platform.x`) names.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

use app::Residue;
use cortex_m_rt::STACK_PAINT_VALUE;

unsafe extern "C" {
    static _plan_start: u8;
    static _plan_end: u8;
    static _stack_start: u32;
    static _stack_end: u32;
}

/// Bytes, at an address that a plan may have.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

/// The plan that is linked in, or nothing.
#[used]
#[unsafe(link_section = ".plan")]
static LINKED: Aligned<[u8; include_bytes!(concat!(env!("OUT_DIR"), "/plan")).len()]> =
    Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/plan")));

/// All of the flash that is meant for the plan, linked in or flashed on its own.
#[must_use]
pub fn plan() -> &'static [u8] {
    let (start, end) = (&raw const _plan_start, &raw const _plan_end);
    // SAFETY: the linker script puts both ends around a region of flash that nothing else lies in
    // and that no program here writes.
    unsafe { core::slice::from_raw_parts(start, end.addr() - start.addr()) }
}

struct Place(UnsafeCell<MaybeUninit<Residue>>);

// SAFETY: used by the loop alone.
unsafe impl Sync for Place {}

#[unsafe(link_section = ".uninit.residue")]
static RESIDUE: Place = Place(UnsafeCell::new(MaybeUninit::uninit()));

/// What this start finds in RAM that no start touches, and counts for the next: after power-up what
/// its cells fell into, of which some fall at random, and from then on another number at every start.
#[must_use]
pub fn residue() -> Residue {
    let mut place = RESIDUE.0.get().cast::<u8>();
    let mut residue = [0; size_of::<Residue>()];
    let mut carry = true;
    for byte in &mut residue {
        // SAFETY: within the static. Whatever lies there is a byte, written, if at all, before this
        // program started or by this function, which is why it is read as volatile; only the loop
        // calls it.
        (*byte, carry) = unsafe { place.read_volatile() }.overflowing_add(carry.into());
        // SAFETY: as above.
        unsafe { place.write_volatile(*byte) };
        place = place.wrapping_add(1);
    }
    residue
}

/// Bytes of stack that have not been used since the start, when all of it was painted.
#[must_use]
pub fn stack_free() -> u32 {
    let (mut word, start) = (&raw const _stack_end, &raw const _stack_start);
    let mut free = 0;
    while word < start {
        // SAFETY: between both ends lies the stack, which is ordinary memory; volatile, because no
        // variable lies where it is read.
        if unsafe { word.read_volatile() } != STACK_PAINT_VALUE {
            break;
        }
        free += 4;
        word = word.wrapping_add(1);
    }
    free
}
