//! Monte-Carlo-dropout inference on the edge.
//!
//! Data flows one way: [`source`] → [`inference`] ([`engine`] → accumulator → triage) → report →
//! link → serial line. The loop and the engine contract are `no_std` and need no allocator; what
//! needs an operating system (ONNX files, sources, serial ports) sits behind features.

#![cfg_attr(not(feature = "std"), no_std)]
#![warn(missing_docs)]
// Where it is needed, it is allowed by name, with a reason.
#![deny(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(feature = "cli")]
pub mod config;
pub mod engine;
pub mod hexadecimal;
pub mod inference;
#[cfg(feature = "io")]
pub mod line_key;
#[cfg(feature = "log")]
pub mod log;
#[cfg(feature = "io")]
pub mod machine;
#[cfg(feature = "onnx")]
pub mod onnx;
#[cfg(feature = "io")]
pub mod outbox;
#[cfg(feature = "io")]
pub mod performance;
#[cfg(feature = "io")]
pub mod pin;
#[cfg(feature = "onnx")]
pub mod preprocessing;
#[cfg(feature = "io")]
pub mod serial;
#[cfg(feature = "onnx")]
pub mod session;
#[cfg(feature = "signature")]
pub mod signature;
#[cfg(feature = "io")]
pub mod source;
