//! Puts `platform.x` where the linker looks for it, and the plan that `MCDROPOUT_PLAN` names where
//! the compiler does. Without that variable the plan's place in flash stays empty.

use std::path::PathBuf;
use std::{env, fs, process};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=platform.x");
    println!("cargo:rerun-if-env-changed=MCDROPOUT_PLAN");
    println!("cargo:rustc-check-cfg=cfg(armv8m)");
    if env::var("TARGET").is_ok_and(|target| target.starts_with("thumbv8m")) {
        println!("cargo:rustc-cfg=armv8m");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("platform.x"), include_bytes!("platform.x")).expect("OUT_DIR is writable");
    println!("cargo:rustc-link-search={}", out.display());

    let plan = match env::var_os("MCDROPOUT_PLAN") {
        Some(path) => {
            println!("cargo:rerun-if-changed={}", PathBuf::from(&path).display());
            fs::read(&path).unwrap_or_else(|error| {
                println!(
                    "cargo:error=MCDROPOUT_PLAN: cannot read {}: {error}; give an absolute path",
                    PathBuf::from(&path).display()
                );
                process::exit(1);
            })
        }
        None => Vec::new(),
    };
    fs::write(out.join("plan"), plan).expect("OUT_DIR is writable");
}
