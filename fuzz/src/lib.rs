//! Everything that reads bytes from outside, as functions that no bytes may make panic.
//!
//! The same functions run in two ways: under libFuzzer, which looks for bytes that reach new code, with
//! AddressSanitizer (`scripts/fuzz`), and for some seconds each on bytes changed at random, as tests
//! (`tests/tests/fuzz.rs`). Both begin with `fuzz/corpus/<target>`: messages and models that are right
//! (`make_corpus` writes them), and whatever was once found to fail. A new target is a function, a line
//! in [`for_each_target`] and a folder with a file to begin with.

#![warn(missing_docs)]

mod link;
mod models;
mod monitor;
mod options;
mod pictures;
mod wire;

/// A function that takes any bytes.
#[derive(Debug)]
pub struct Target {
    /// Its name, and that of its folder in `fuzz/corpus`.
    pub name: &'static str,
    /// Panics, or asks for too much memory, if there is a fault.
    pub run: fn(&[u8]),
}

/// Hands every target to another macro, as `name: function,`.
#[macro_export]
macro_rules! for_each_target {
    ($use:ident) => {
        $use! {
            frames: wire::frames,
            requests: wire::requests,
            lines: wire::lines,
            link: link::both_ends,
            replay: monitor::replay,
            onnx: models::onnx,
            metadata: models::metadata,
            plan: models::plan,
            config: options::config,
            idx: pictures::idx,
            picture: pictures::picture,
            camera: pictures::camera,
            video: pictures::video,
        }
    };
}

macro_rules! table {
    ($($name:ident: $run:path,)*) => {
        /// Every target.
        pub const TARGETS: &[Target] = &[$(Target { name: stringify!($name), run: $run }),*];
    };
}
for_each_target!(table);
