//! Firmware built for emulated boards, and what runs on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::programs;

/// Keys that firmware is built with, in hexadecimal digits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Keys<'a> {
    /// It takes only plans signed with this.
    pub trust: Option<&'a str>,
    /// It seals its line with this.
    pub line: Option<&'a str>,
}

/// The ELF file of a board's firmware, or of `trial`, in a number format; `form` is that of the wire.
/// It is built if it is not up to date, which takes minutes the first time.
///
/// # Panics
/// If it does not build.
#[must_use]
pub fn built(board: &str, format: &str, form: &str, keys: Keys<'_>) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/cross");
    let output = Command::new(script)
        .args(["firmware-build", board, format, form])
        .envs(keys.trust.map(|key| ("MCDROPOUT_TRUST", key)))
        .envs(keys.line.map(|key| ("MCDROPOUT_KEY", key)))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("the script can be started");
    assert!(output.status.success(), "{board} does not build");
    let text = String::from_utf8(output.stdout).expect("a plain path");
    PathBuf::from(text.lines().last().expect("a path"))
}

/// A plan file of the model at `model`, made by `host export`.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn plan(model: &Path, format: &str, more: &[&str], to: &Path) -> Vec<u8> {
    let args = [
        "export",
        "--firmware",
        "--format",
        format,
        "--model",
        text(model),
        "--out",
        text(to),
    ];
    programs::succeed("host", args.iter().chain(more));
    fs::read(to).expect("just written")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// What a pass has drawn and computed.
#[derive(Debug, Clone)]
pub struct Pass {
    /// Instructions of the engine, and of the measures.
    pub instructions: [u64; 2],
    /// CRC-32 of the keep masks.
    pub masks: u32,
    /// The bits of each class's logit.
    pub logits: Vec<u32>,
}

/// What an image has come to.
#[derive(Debug, Clone, Default)]
pub struct Tried {
    /// Instructions of the stem.
    pub stem: u64,
    /// Every pass.
    pub passes: Vec<Pass>,
    /// The most likely class.
    pub class: usize,
    /// The bits of confidence, predictive entropy, expected entropy, mutual information, variation
    /// ratio and margin.
    pub measures: Vec<u64>,
    /// Instructions of the frame with all passes, and with as many as its decision took.
    pub instructions: [u64; 2],
    /// Passes that its decision took.
    pub adaptive_passes: u32,
    /// Whether that was the decision of all passes.
    pub same: bool,
}

/// Runs images of 8-bit luma through a plan on an emulated Cortex-M4F, counting instructions.
///
/// # Panics
/// If they do not run to the end.
#[must_use]
pub fn trial(elf: &Path, plan: &[u8], images: &[u8], pixels: usize) -> Vec<Tried> {
    let folder = tempfile::tempdir().expect("temporary folder");
    let count = u32::try_from(images.len() / pixels).expect("a few images");
    let numbered: Vec<u8> = count.to_le_bytes().iter().chain(images).copied().collect();
    let loaded = [
        ("plan", plan, 0x0020_0000),
        ("images", &numbered, 0x0030_0000),
    ];
    let mut command = Command::new("timeout");
    command.args([
        "240",
        "qemu-system-arm",
        "-M",
        "mps2-an386",
        "-nographic",
        "-monitor",
        "none",
        "-serial",
        "none",
    ]);
    command.args([
        "-semihosting-config",
        "enable=on,target=native",
        "-icount",
        "shift=0",
    ]);
    command.arg("-kernel").arg(elf);
    for (name, bytes, address) in loaded {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("written");
        let loader = format!("loader,file={},addr={address},force-raw=on", path.display());
        command.args(["-device", &loader]);
    }
    let output = command
        .stdin(Stdio::null())
        .output()
        .expect("timeout and qemu-system-arm are installed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{:?}: {text:.300}", output.status);
    let mut tried: Vec<Tried> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse().expect("a number");
        let bits = |word: &&str| u32::from_str_radix(word, 16).expect("bits");
        if let ["frame", _, "stem", stem] = words[..] {
            tried.push(Tried {
                stem: stem.parse().expect("a number"),
                ..Tried::default()
            });
            continue;
        }
        let frame = tried.last_mut().expect("a frame first");
        match words[0] {
            "pass" => frame.passes.push(Pass {
                instructions: [number(3), number(5)],
                masks: bits(&words[7]),
                logits: words[9..].iter().map(bits).collect(),
            }),
            "measures" => {
                frame.class = words[2].parse().expect("a class");
                let bits = |word: &&str| u64::from_str_radix(word, 16).expect("bits");
                frame.measures = words[3..].iter().map(bits).collect();
            }
            "judged" => {
                frame.instructions = [number(1), number(3)];
                frame.adaptive_passes = words[4].parse().expect("passes");
                frame.same = words[6] == "1";
            }
            other => panic!("an unknown line: {other}"),
        }
    }
    assert_eq!(tried.len(), count as usize);
    tried
}
