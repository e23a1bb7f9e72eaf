//! Arm's MPS2+ boards as QEMU has them: the CMSDK's UART, timer and watchdog, and the lights of the
//! FPGA (Arm DAI 0386, section 4; Cortex-M System Design Kit, DDI 0479).
//!
//! The images of these boards differ in the processor only, so this is the whole program, and a
//! board adds its name and memory.

#![no_std]
#![deny(missing_docs)]

mod interrupts;
mod register;

use core::convert::Infallible;

use app::{Board, Clock, Memory, NoCamera, Residue, Watchdog};
use cortex_m_rt::exception;
use embedded_hal::digital::{ErrorType, OutputPin};
use platform::line::{self, Broken, Uart};
use platform::{Line, crash, tick};
use register::Register;
use shared::wire::message::{Notice, NoticeCode};
use static_cell::ConstStaticCell;

/// Clock of processor and peripherals, Hz.
const CLOCK_HZ: u32 = 25_000_000;
const BAUD: u32 = 115_200;
/// Longest turn of the loop, seconds: QEMU on a busy machine is slow.
const PATIENCE: u32 = if cfg!(feature = "provoke") { 2 } else { 60 };

/// The first UART, at 115,200 baud.
#[derive(Debug)]
pub struct Uart0;

mod uart0 {
    use super::Register;
    pub(super) const DATA: Register = Register(0x4000_4000);
    pub(super) const STATE: Register = Register(0x4000_4004);
    pub(super) const CONTROL: Register = Register(0x4000_4008);
    pub(super) const INTERRUPTS: Register = Register(0x4000_400C);
    pub(super) const DIVISOR: Register = Register(0x4000_4010);

    pub(super) const SENDING: u32 = 1;
    pub(super) const RECEIVED: u32 = 1 << 1;
    pub(super) const OVERRUN: u32 = 1 << 3;
    /// Send, receive, and interrupt when something was received.
    pub(super) const ON: u32 = 1 | 1 << 1 | 1 << 3;
    pub(super) const ALL_INTERRUPTS: u32 = 0b1111;
}

impl Uart0 {
    fn start() {
        uart0::DIVISOR.write(CLOCK_HZ / BAUD);
        uart0::CONTROL.write(uart0::ON);
        line::listen(interrupts::Uart0Receive);
    }
}

impl Uart for Uart0 {
    fn receive() -> Option<Result<u8, Broken>> {
        let state = uart0::STATE.read();
        if state & uart0::OVERRUN != 0 {
            uart0::STATE.write(uart0::OVERRUN);
            return Some(Err(Broken));
        }
        (state & uart0::RECEIVED != 0).then(|| Ok(uart0::DATA.read() as u8))
    }

    fn is_writable() -> bool {
        uart0::STATE.read() & uart0::SENDING == 0
    }

    fn send(byte: u8) {
        uart0::DATA.write(byte.into());
    }

    fn is_idle() -> bool {
        Self::is_writable()
    }
}

/// Time by the first timer, which counts the clock down and begins anew every 171 s; the watchdog
/// sees to it that it is looked at before.
#[derive(Debug)]
struct Timer {
    last: u32,
    elapsed: u64,
}

mod timer0 {
    use super::Register;
    pub(super) const CONTROL: Register = Register(0x4000_0000);
    pub(super) const VALUE: Register = Register(0x4000_0004);
    pub(super) const RELOAD: Register = Register(0x4000_0008);
}

impl Timer {
    fn start() -> Self {
        timer0::CONTROL.write(0);
        timer0::RELOAD.write(u32::MAX);
        timer0::VALUE.write(u32::MAX);
        timer0::CONTROL.write(1);
        Self {
            last: timer0::VALUE.read(),
            elapsed: 0,
        }
    }
}

impl Clock for Timer {
    fn now_us(&mut self) -> u64 {
        let value = timer0::VALUE.read();
        self.elapsed += u64::from(self.last.wrapping_sub(value));
        self.last = value;
        self.elapsed / u64::from(CLOCK_HZ / 1_000_000)
    }

    fn idle(&mut self) {
        tick::rest();
    }

    fn residue(&mut self) -> Residue {
        platform::residue()
    }
}

/// The CMSDK's watchdog: an interrupt that cannot be masked when it runs out, and a reset when it
/// runs out again.
#[derive(Debug)]
struct Dog;

mod watchdog {
    use super::Register;
    pub(super) const LOAD: Register = Register(0x4000_8000);
    pub(super) const CONTROL: Register = Register(0x4000_8008);
    pub(super) const CLEAR: Register = Register(0x4000_800C);
    pub(super) const LOCK: Register = Register(0x4000_8C00);

    pub(super) const KEY: u32 = 0x1ACC_E551;
    /// Interrupt, then reset.
    pub(super) const ON: u32 = 0b11;
}

impl Dog {
    fn start() -> Self {
        watchdog::LOCK.write(watchdog::KEY);
        watchdog::LOAD.write(PATIENCE * CLOCK_HZ);
        watchdog::CONTROL.write(watchdog::ON);
        Self
    }
}

impl Watchdog for Dog {
    fn feed(&mut self) {
        watchdog::CLEAR.write(1);
    }
}

#[exception]
unsafe fn NonMaskableInt() -> ! {
    crash::end::<Uart0>(&Notice {
        code: NoticeCode::WatchdogReset,
        detail: PATIENCE,
        text: app::text(format_args!("no turn of the loop ended in {PATIENCE} s")),
    })
}

/// The first light.
#[derive(Debug)]
struct Light;

const LIGHTS: Register = Register(0x4002_8000);

impl ErrorType for Light {
    type Error = Infallible;
}

impl OutputPin for Light {
    fn set_low(&mut self) -> Result<(), Infallible> {
        LIGHTS.write(LIGHTS.read() & !1);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        LIGHTS.write(LIGHTS.read() | 1);
        Ok(())
    }
}

/// Sets the board up and runs it for ever.
///
/// # Panics
/// If called twice.
pub fn run(name: &'static str) -> ! {
    static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Memory::new());

    let watchdog = Dog::start();
    let last_reset = crash::left();
    Uart0::start();
    if let Some(core) = cortex_m::Peripherals::take() {
        platform::start(core, CLOCK_HZ);
    }
    let board = Board {
        name,
        line: Line::<Uart0>::new(),
        flag: Light,
        clock: Timer::start(),
        watchdog,
        camera: NoCamera,
        stack_free: platform::stack_free,
        last_reset,
    };
    app::run(board, platform::plan(), MEMORY.take())
}
