//! A plan, and firmware of a few instructions, for tests of how both come onto a board.

use device::engine::InputShape;
use device::engine::micro::About;
use device::engine::native::Plan;
use device::engine::native::layer::{Layer, Network};
use shared::image::{Normalisation, Preprocessing};
use shared::mask::KeepProbability;
use shared::triage::Thresholds;

/// A plan file, in single precision, of a network of two layers: dropout and a classifier of two
/// classes on 2 × 2 pixels.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn plan() -> Vec<u8> {
    let dropout = Layer::Dropout {
        site: 0,
        keep: KeepProbability::from_f64(0.5).expect("a probability"),
        scale: 2.0,
        per_channel: false,
    };
    let linear = Layer::Linear {
        weights: vec![0.5, -0.5, 0.25, 1.0, -1.0, 0.5, 0.75, 0.0],
        bias: vec![0.0, 0.5],
    };
    let layers = [Layer::Flatten, dropout, linear].map(|layer| (String::from("layer"), layer));
    let network = Network {
        input: InputShape {
            channels: 1,
            height: 2,
            width: 2,
        },
        layers: layers.into(),
    };
    let about = About {
        model: 1,
        seed: 1,
        passes: 10,
        adaptive: None,
        thresholds: Thresholds::uncalibrated(2),
        preprocessing: Preprocessing::grey(Normalisation::MNIST),
        labels: Vec::new(),
    };
    let plan = Plan::new(&network).expect("the layers can be run");
    plan.to_file(&about).expect("the network is small")
}

/// An ELF file for Arm with `segments`, each at its address.
#[must_use]
pub fn elf(segments: &[(u32, &[u8])]) -> Vec<u8> {
    let (header, entry) = (52, 32);
    let mut file = b"\x7fELF\x01\x01\x01".to_vec();
    file.resize(16, 0);
    let halves = |file: &mut Vec<u8>, values: &[u16]| {
        file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    };
    let words = |file: &mut Vec<u8>, values: &[u32]| {
        file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    };
    halves(&mut file, &[2, 40]); // executable, Arm
    words(&mut file, &[1, segments[0].0 | 1, header, 0, 0x0500_0200]);
    halves(
        &mut file,
        &[header as u16, entry, segments.len() as u16, 40, 0, 0],
    );
    let mut at = header + u32::from(entry) * segments.len() as u32;
    for (address, bytes) in segments {
        let length = bytes.len() as u32;
        // Loaded, readable and executable, at any multiple of four.
        words(
            &mut file,
            &[1, at, *address, *address, length, length, 5, 4],
        );
        at += length;
    }
    for (_, bytes) in segments {
        file.extend(*bytes);
    }
    file
}

/// Firmware for QEMU's mps2 boards: if a plan begins at 0x0020_0000, it writes `message` to UART 0;
/// then it waits for ever.
#[must_use]
pub fn announcer(message: &[u8]) -> Vec<u8> {
    #[rustfmt::skip]
    let code: [u16; 36] = [
        0x1000, 0x2000, // stack pointer
        0x0009, 0x0000, // reset
        0x480b,         // 08 ldr  r0, [pc, #44]   UART 0
        0x2110,         // 0a movs r1, #16
        0x6101,         // 0c str  r1, [r0, #16]   BAUDDIV
        0x2101,         // 0e movs r1, #1
        0x6081,         // 10 str  r1, [r0, #8]    CTRL: send
        0x490a,         // 12 ldr  r1, [pc, #40]   plan
        0x6809,         // 14 ldr  r1, [r1]
        0x4a0a,         // 16 ldr  r2, [pc, #40]   "MCDP"
        0x4291,         // 18 cmp  r1, r2
        0xd10a,         // 1a bne  32
        0x4909,         // 1c ldr  r1, [pc, #36]   message
        0xf851, 0x2b04, // 1e ldr  r2, [r1], #4    its length
        0xf811, 0x3b01, // 22 ldrb r3, [r1], #1
        0x6844,         // 26 ldr  r4, [r0, #4]    STATE
        0x07e4,         // 28 lsls r4, r4, #31     is it full?
        0xd1fc,         // 2a bne  26
        0x6003,         // 2c str  r3, [r0]        DATA
        0x3a01,         // 2e subs r2, #1
        0xd1f7,         // 30 bne  22
        0xbf30,         // 32 wfi
        0xe7fd,         // 34 b    32
        0xbf00,
        0x4000, 0x4000, // UART 0
        0x0000, 0x0020, // where the plan lies
        0x434d, 0x5044, // "MCDP"
        0x0100, 0x0000, // where the message lies
    ];
    let code: Vec<u8> = code.iter().flat_map(|half| half.to_le_bytes()).collect();
    let mut text = (message.len() as u32).to_le_bytes().to_vec();
    text.extend(message);
    elf(&[(0, &code), (0x100, &text)])
}
