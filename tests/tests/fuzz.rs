//! Every function that takes bytes from outside (`fuzz/`), on bytes changed at random.

use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fuzz::{TARGETS, Target};

/// How long a target runs unless `MCDROPOUT_FUZZ_SECONDS` says otherwise.
const SECONDS: f64 = 2.0;
/// Longest input, as libFuzzer is told in `scripts/fuzz`.
const LONGEST: usize = 1 << 16;

macro_rules! tests {
    ($($name:ident: $run:path,)*) => {
        $(#[test]
        fn $name() {
            let target = TARGETS.iter().find(|target| target.name == stringify!($name));
            drive(target.expect("it is in the table"));
        })*
    };
}
fuzz::for_each_target!(tests);

/// Runs a target on every file of its corpus, then on changed ones until the time is over.
///
/// # Panics
/// If the target does. The bytes are left in a file, which the message names.
fn drive(target: &Target) {
    let corpus = corpus(target.name);
    assert!(!corpus.is_empty(), "no corpus for {}", target.name);
    for bytes in &corpus {
        check(target, bytes);
    }
    let seconds = std::env::var("MCDROPOUT_FUZZ_SECONDS").ok();
    let seconds = seconds.map_or(SECONDS, |text| text.parse().expect("a number of seconds"));
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    // The same bytes every time, as far as the time reaches.
    let mut random = Random(
        target
            .name
            .bytes()
            .fold(1, |seed, byte| seed * 31 + u64::from(byte)),
    );
    let mut executions = corpus.len();
    while Instant::now() < end {
        let mut bytes = random.one_of(&corpus).clone();
        for _ in 0..=random.below(4) {
            random.change(&mut bytes, &corpus);
        }
        bytes.truncate(LONGEST);
        check(target, &bytes);
        executions += 1;
    }
    println!(
        "{}: {executions} executions from {} files",
        target.name,
        corpus.len()
    );
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(name);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("listed").path())
        .collect();
    paths.sort();
    let read = |path: PathBuf| std::fs::read(path).expect("read");
    paths.into_iter().map(read).collect()
}

fn check(target: &Target, bytes: &[u8]) {
    let run = AssertUnwindSafe(|| (target.run)(bytes));
    if let Err(panic) = panic::catch_unwind(run) {
        let name = format!("mcdropout-fuzz-{}-{}", target.name, std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, bytes).expect("written");
        eprintln!("{} fails on {}", target.name, path.display());
        panic::resume_unwind(panic);
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// 0 if `end` is 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// A place in the first bytes as often as anywhere: headers matter most.
    fn place(&mut self, length: usize) -> usize {
        let end = if self.next().is_multiple_of(2) {
            length
        } else {
            length.min(64)
        };
        self.below(end)
    }

    fn change(&mut self, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        const ODD: [u64; 10] = [
            0,
            1,
            0x7F,
            0x80,
            0xFF,
            0x7FFF,
            0xFFFF,
            0x7FFF_FFFF,
            0xFFFF_FFFF,
            u64::MAX,
        ];
        let at = self.place(bytes.len());
        let length = 1 + self.below(16);
        let end = bytes.len().min(at + length);
        match self.below(8) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
            1 if !bytes.is_empty() => bytes[at] = self.next() as u8,
            2 => {
                let width = 1 << self.below(4);
                let odd = self.one_of(&ODD).to_le_bytes();
                for (to, from) in bytes.iter_mut().skip(at).zip(&odd[..width]) {
                    *to = *from;
                }
            }
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let new = (0..length).map(|_| self.next() as u8).collect::<Vec<_>>();
                bytes.splice(at..at, new);
            }
            6 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => {
                let other = self.one_of(corpus);
                let from = self.below(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
}
