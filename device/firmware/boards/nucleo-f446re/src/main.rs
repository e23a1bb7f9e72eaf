//! ST Nucleo-F446RE: USART2, which the ST-LINK shows as a serial port of its USB; flags on PA5,
//! which is D13 and the green LED LD2.

#![no_std]
#![no_main]

use core::mem;

use app::{Board, Clock, Memory, NoCamera, Residue, Watchdog};
use cortex_m_rt::entry;
use embassy_stm32::gpio::{Level, Output, Speed};
use embassy_stm32::pac::iwdg::vals::{Key, Pr};
use embassy_stm32::rcc::{
    AHBPrescaler, APBPrescaler, Pll, PllMul, PllPDiv, PllPreDiv, PllSource, Sysclk,
};
use embassy_stm32::{interrupt, pac, usart};
use embassy_time::Instant;
use platform::line::{self, Broken, Uart};
use platform::{Line, crash, tick};
use shared::wire::message::{Notice, NoticeCode};
use static_cell::ConstStaticCell;

platform::last_words!(Usart2);

const CLOCK_HZ: u32 = 180_000_000;
/// Longest turn of the loop, seconds, give or take the watchdog's own oscillator (17 to 47 kHz).
const PATIENCE: u32 = 30;

/// USART2.
#[derive(Debug)]
struct Usart2;

impl Uart for Usart2 {
    fn receive() -> Option<Result<u8, Broken>> {
        let status = pac::USART2.sr().read();
        if !status.rxne() && !status.ore() {
            return None;
        }
        // Clears the errors, too.
        let byte = pac::USART2.dr().read().dr() as u8;
        let broken = status.ore() || status.fe() || status.ne() || status.pe();
        Some(if broken { Err(Broken) } else { Ok(byte) })
    }

    fn is_writable() -> bool {
        pac::USART2.sr().read().txe()
    }

    fn send(byte: u8) {
        pac::USART2.dr().write(|w| w.set_dr(byte.into()));
    }

    fn is_idle() -> bool {
        pac::USART2.sr().read().tc()
    }
}

#[interrupt]
fn USART2() {
    line::keep::<Usart2>();
}

/// Time since the start, by TIM2.
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

/// The independent watchdog, whose oscillator nothing here can stop.
#[derive(Debug)]
struct Dog;

impl Dog {
    fn start() -> Self {
        /// Of the oscillator, after division.
        const TICKS_HZ: u32 = 32_000 / 256;
        pac::IWDG.kr().write(|w| w.set_key(Key::START));
        pac::IWDG.kr().write(|w| w.set_key(Key::ENABLE));
        pac::IWDG.pr().write(|w| w.set_pr(Pr::DIVIDE_BY256));
        pac::IWDG
            .rlr()
            .write(|w| w.set_rl((PATIENCE * TICKS_HZ) as u16));
        while pac::IWDG.sr().read().pvu() || pac::IWDG.sr().read().rvu() {}
        pac::IWDG.kr().write(|w| w.set_key(Key::RESET));
        Self
    }
}

impl Watchdog for Dog {
    fn feed(&mut self) {
        pac::IWDG.kr().write(|w| w.set_key(Key::RESET));
    }
}

/// Whether the watchdog started the chip; the next call says no.
fn started_by_watchdog() -> bool {
    let status = pac::RCC.csr().read();
    pac::RCC.csr().modify(|w| w.set_rmvf(true));
    status.wdgrstf()
}

/// 180 MHz from the oscillator on the chip, so that no missing crystal can stop the start.
fn clocks() -> embassy_stm32::Config {
    let mut config = embassy_stm32::Config::default();
    config.rcc.hsi = true;
    config.rcc.pll_src = PllSource::HSI;
    config.rcc.pll = Some(Pll {
        prediv: PllPreDiv::DIV8,
        mul: PllMul::MUL180,
        divp: Some(PllPDiv::DIV2),
        divq: None,
        divr: None,
    });
    config.rcc.sys = Sysclk::PLL1_P;
    config.rcc.ahb_pre = AHBPrescaler::DIV1;
    config.rcc.apb1_pre = APBPrescaler::DIV4;
    config.rcc.apb2_pre = APBPrescaler::DIV2;
    config
}

#[entry]
fn main() -> ! {
    static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Memory::new());

    let watchdog = Dog::start();
    let last_reset = crash::left().or_else(|| {
        started_by_watchdog().then(|| Notice {
            code: NoticeCode::WatchdogReset,
            detail: PATIENCE,
            text: app::text(format_args!("no turn of the loop ended in {PATIENCE} s")),
        })
    });
    let chip = embassy_stm32::init(clocks());

    let settings = usart::Config::default();
    if let Ok(uart) = usart::Uart::new_blocking(chip.USART2, chip.PA3, chip.PA2, settings) {
        // Dropped, it would give the pins back.
        mem::forget(uart);
    }
    pac::USART2.cr1().modify(|w| w.set_rxneie(true));
    line::listen(interrupt::USART2);
    if let Some(core) = cortex_m::Peripherals::take() {
        platform::start(core, CLOCK_HZ);
    }
    let board = Board {
        name: "nucleo-f446re",
        line: Line::<Usart2>::new(),
        flag: Output::new(chip.PA5, Level::Low, Speed::Low),
        clock: Time,
        watchdog,
        camera: NoCamera,
        stack_free: platform::stack_free,
        last_reset,
    };
    app::run(board, platform::plan(), MEMORY.take())
}
