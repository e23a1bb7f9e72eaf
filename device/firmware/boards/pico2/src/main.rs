//! Raspberry Pi Pico 2: UART0 on GP0 (sends) and GP1 (receives); flags on GP2 and the green LED.

#![no_std]
#![no_main]

use core::convert::Infallible;
use core::mem;

use app::{Board, Clock, Memory, NoCamera, Residue};
use cortex_m_rt::entry;
use embassy_rp::gpio::{Level, Output};
use embassy_rp::uart::{self, Blocking};
use embassy_rp::watchdog::{ResetReason, Watchdog};
use embassy_rp::{clocks, interrupt, pac};
use embassy_time::{Duration, Instant};
use embedded_hal::digital::{ErrorType, OutputPin};
use platform::line::{self, Broken, Uart};
use platform::{Line, crash, tick};
use shared::wire::message::{Notice, NoticeCode};
use static_cell::ConstStaticCell;

platform::last_words!(Uart0);

/// Longest turn of the loop, which the watchdog's 24 bits of microseconds have room for.
const PATIENCE: Duration = Duration::from_secs(16);

/// UART0, whose queues hold 32 bytes each way.
#[derive(Debug)]
struct Uart0;

impl Uart for Uart0 {
    fn receive() -> Option<Result<u8, Broken>> {
        if pac::UART0.uartfr().read().rxfe() {
            return None;
        }
        let data = pac::UART0.uartdr().read();
        let broken = data.oe() || data.be() || data.pe() || data.fe();
        Some(if broken { Err(Broken) } else { Ok(data.data()) })
    }

    fn is_writable() -> bool {
        !pac::UART0.uartfr().read().txff()
    }

    fn send(byte: u8) {
        pac::UART0.uartdr().write(|w| w.set_data(byte));
    }

    fn is_idle() -> bool {
        !pac::UART0.uartfr().read().busy()
    }
}

#[interrupt]
fn UART0_IRQ() {
    line::keep::<Uart0>();
}

/// Time since the start, by the chip's own microsecond counter.
#[derive(Debug)]
struct Time;

impl Clock for Time {
    fn now_us(&mut self) -> u64 {
        Instant::now().as_micros()
    }

    fn idle(&mut self) {
        tick::rest();
    }

    fn residue(&mut self) -> Residue {
        platform::residue()
    }
}

struct Dog(Watchdog);

impl app::Watchdog for Dog {
    fn feed(&mut self) {
        self.0.feed(PATIENCE);
    }
}

/// A pin for other circuits, and a light for people.
struct Flag {
    pin: Output<'static>,
    light: Output<'static>,
}

impl ErrorType for Flag {
    type Error = Infallible;
}

impl OutputPin for Flag {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.pin.set_low();
        self.light.set_low();
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.pin.set_high();
        self.light.set_high();
        Ok(())
    }
}

#[entry]
fn main() -> ! {
    static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Memory::new());

    // The watchdog counts microseconds of the reference clock, which this sets up.
    let chip = embassy_rp::init(embassy_rp::config::Config::default());
    let mut watchdog = Watchdog::new(chip.WATCHDOG);
    watchdog.start(PATIENCE);
    let last_reset = crash::left().or_else(|| {
        (watchdog.reset_reason() == Some(ResetReason::TimedOut)).then(|| Notice {
            code: NoticeCode::WatchdogReset,
            detail: PATIENCE.as_secs() as u32,
            text: app::text(format_args!("no turn of the loop ended in {PATIENCE}")),
        })
    });

    let pins = (chip.PIN_0, chip.PIN_1);
    let uart =
        uart::Uart::<Blocking>::new_blocking(chip.UART0, pins.0, pins.1, uart::Config::default());
    // Dropped, it would give the pins back.
    mem::forget(uart);
    pac::UART0.uartimsc().write(|w| {
        w.set_rxim(true);
        w.set_rtim(true);
    });
    line::listen(interrupt::UART0_IRQ);
    if let Some(core) = cortex_m::Peripherals::take() {
        platform::start(core, clocks::clk_sys_freq());
    }
    let board = Board {
        name: "pico2",
        line: Line::<Uart0>::new(),
        flag: Flag {
            pin: Output::new(chip.PIN_2, Level::Low),
            light: Output::new(chip.PIN_25, Level::Low),
        },
        clock: Time,
        watchdog: Dog(watchdog),
        camera: NoCamera,
        stack_free: platform::stack_free,
        last_reset,
    };
    app::run(board, platform::plan(), MEMORY.take())
}
