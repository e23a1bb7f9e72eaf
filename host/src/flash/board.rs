//! The boards that there is firmware for.

use std::fmt;

/// A part of a board's address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// First address.
    pub address: u32,
    /// Bytes.
    pub length: u32,
}

impl Region {
    /// Whether `length` bytes at `address` lie in it.
    #[must_use]
    pub fn holds(&self, address: u32, length: usize) -> bool {
        let (from, to) = (u64::from(address), u64::from(address) + length as u64);
        let own = u64::from(self.address);
        from >= own && to <= own + u64::from(self.length)
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = u64::from(self.address) + u64::from(self.length) - 1;
        write!(f, "{:#010x} to {last:#010x}", self.address)
    }
}

/// How firmware comes onto a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The board is emulated by QEMU.
    Qemu {
        /// QEMU's name of it.
        machine: &'static str,
    },
    /// Through a debug probe.
    Probe {
        /// The chip as probe-rs calls it.
        chip: &'static str,
        /// What has to be connected.
        connect: &'static str,
    },
    /// As a UF2 file that the chip's boot loader takes.
    Uf2 {
        /// The chip's UF2 family.
        family: u32,
        /// The chip as the boot loader's `INFO_UF2.TXT` calls it.
        model: &'static str,
    },
}

impl Way {
    /// The flags of `host flash` that ask for it.
    #[must_use]
    pub const fn flags(&self) -> &'static str {
        match self {
            Self::Qemu { .. } => "--qemu",
            Self::Probe { .. } => "--probe",
            Self::Uf2 { .. } => "--volume or --uf2",
        }
    }
}

/// A board. The memory is laid out as its `memory.x` in `device/firmware/boards` has it.
#[derive(Debug, PartialEq, Eq)]
pub struct Board {
    /// Its name, which is its firmware package's.
    pub name: &'static str,
    /// Where the firmware lies in flash.
    pub firmware: Region,
    /// Where the plan lies in flash.
    pub plan: Region,
    /// Ways onto it, the usual one first.
    pub ways: &'static [Way],
    /// USB vendor and product numbers of what its serial line usually ends in.
    pub adapters: &'static [(u16, u16)],
    /// What its serial line has to be connected to.
    pub line: &'static str,
}

/// The two MPS2+ images differ in the processor only; their code memory is 4 MiB.
const fn mps2(name: &'static str, ways: &'static [Way]) -> Board {
    Board {
        name,
        firmware: Region {
            address: 0,
            length: 0x0020_0000,
        },
        plan: Region {
            address: 0x0020_0000,
            length: 0x0020_0000,
        },
        ways,
        adapters: &[],
        line: "QEMU makes its serial line",
    }
}

/// Every board.
pub const BOARDS: [Board; 4] = [
    mps2(
        "mps2-an386",
        &[Way::Qemu {
            machine: "mps2-an386",
        }],
    ),
    mps2(
        "mps2-an500",
        &[Way::Qemu {
            machine: "mps2-an500",
        }],
    ),
    Board {
        name: "pico2",
        firmware: Region {
            address: 0x1000_0000,
            length: 0x0010_0000,
        },
        plan: Region {
            address: 0x1010_0000,
            length: 0x0010_0000,
        },
        ways: &[
            Way::Uf2 {
                family: 0xe48b_ff59, // "rp2350-arm-s"
                model: "RP2350",
            },
            Way::Probe {
                chip: "RP235x",
                connect: "a debug probe to the board's three SWD pins, and the probe and the board by USB",
            },
        ],
        // Raspberry Pi Debug Probe, and a Pico that plays one (picoprobe's older number).
        adapters: &[(0x2e8a, 0x000c), (0x2e8a, 0x0004)],
        line: "connect the UART of a debug probe, or any 3.3 V USB serial adapter, to GP0 (TX), GP1 (RX) and GND",
    },
    Board {
        name: "nucleo-f446re",
        firmware: Region {
            address: 0x0800_0000,
            length: 0x0004_0000,
        },
        plan: Region {
            address: 0x0804_0000,
            length: 0x0004_0000,
        },
        ways: &[Way::Probe {
            chip: "STM32F446RETx",
            connect: "the board's own ST-LINK by USB (CN1)",
        }],
        // ST-LINK/V2-1 and V3 with a virtual serial port, in all their combinations.
        adapters: &[
            (0x0483, 0x374a),
            (0x0483, 0x374b),
            (0x0483, 0x3752),
            (0x0483, 0x374e),
            (0x0483, 0x374f),
            (0x0483, 0x3753),
            (0x0483, 0x3754),
            (0x0483, 0x3755),
            (0x0483, 0x3757),
        ],
        line: "connect the board's ST-LINK by USB (CN1), which has its virtual serial port",
    },
];

impl Board {
    /// The board called so.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        BOARDS.iter().find(|board| board.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_holds_what_lies_wholly_in_it() {
        let region = Region {
            address: 0x1000,
            length: 0x100,
        };
        assert!(region.holds(0x1000, 0x100) && region.holds(0x10ff, 1) && region.holds(0x1100, 0));
        assert!(!region.holds(0x1000, 0x101) && !region.holds(0xfff, 1));
        let end = Region {
            address: 0xffff_ff00,
            length: 0x100,
        };
        assert!(end.holds(0xffff_ffff, 1) && !end.holds(0xffff_ffff, 2));
        assert_eq!(region.to_string(), "0x00001000 to 0x000010ff");
    }

    #[test]
    fn plan_and_firmware_lie_apart_on_every_board() {
        for board in &BOARDS {
            assert!(!board.plan.holds(board.firmware.address, 1), "{board:?}");
            let last = board.firmware.address + board.firmware.length - 1;
            assert!(!board.plan.holds(last, 1), "{board:?}");
            assert!(!board.ways.is_empty());
            assert_eq!(Board::find(board.name), Some(board));
        }
    }
}
