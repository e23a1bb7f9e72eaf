//! `host doctor`: what is present, what is missing, and how to get it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use device::engine::ort;
use device::source::{Labelled, cache_folder};
use serde::Serialize;

use crate::flash::{probe, qemu, tool};

/// Tell what this machine has, what is missing, and how to get it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 training, running and monitoring will work; 1 something they need is missing.
Before scripts/setup: cargo run -p host --no-default-features -- doctor"
)]
pub struct Args {
    /// One JSON array instead of text.
    #[arg(long)]
    json: bool,
}

/// How a thing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// It is there.
    Present,
    /// It is not there, and the main path needs it.
    Missing,
    /// It is not there, and only some uses need it.
    Optional,
}

#[derive(Debug, Serialize)]
struct Finding {
    name: &'static str,
    state: State,
    /// What was found, or how to get it.
    detail: String,
}

/// Runs `host doctor`.
///
/// # Errors
/// If something that the main path needs is missing, or stdout cannot be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut findings = vec![libtorch(), cuda(), onnxruntime()];
    findings.extend(["mnist", "fashion-mnist"].map(data_set));
    findings.push(serial_ports());
    findings.extend(cross());
    findings.push(probe());

    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&findings)?)?;
    } else {
        for finding in &findings {
            let mark = match finding.state {
                State::Present => "ok     ",
                State::Missing => "MISSING",
                State::Optional => "absent ",
            };
            writeln!(out, "{mark} {:<22} {}", finding.name, finding.detail)?;
        }
    }
    let missing: Vec<_> = findings
        .iter()
        .filter(|finding| finding.state == State::Missing)
        .map(|finding| finding.name)
        .collect();
    anyhow::ensure!(missing.is_empty(), "missing: {}", missing.join(", "));
    Ok(())
}

fn present(name: &'static str, detail: impl Into<String>) -> Finding {
    Finding {
        name,
        state: State::Present,
        detail: detail.into(),
    }
}

fn missing(name: &'static str, how: impl Into<String>) -> Finding {
    Finding {
        name,
        state: State::Missing,
        detail: how.into(),
    }
}

fn optional(name: &'static str, how: impl Into<String>) -> Finding {
    Finding {
        name,
        state: State::Optional,
        detail: how.into(),
    }
}

#[cfg(feature = "train")]
fn libtorch() -> Finding {
    let version = crate::torch::LIBTORCH_VERSION;
    // The loader found it, or this program would not run; the memory map tells where.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let path = maps.lines().find_map(|line| {
        line.find('/')
            .map(|at| &line[at..])
            .filter(|path| path.contains("/libtorch_cpu.so"))
    });
    present(
        "libtorch",
        format!("{version}, {}", path.unwrap_or("linked in")),
    )
}

#[cfg(not(feature = "train"))]
fn libtorch() -> Finding {
    missing(
        "libtorch",
        "this host was built without training; run scripts/setup, or set LIBTORCH to a libtorch 2.11.0, or \
         LIBTORCH_USE_PYTORCH=1 with PyTorch 2.11.0 installed, then build with default features",
    )
}

#[cfg(feature = "train")]
fn cuda() -> Finding {
    match crate::torch::load_cuda() {
        Ok(()) => present("CUDA", format!("{} device(s)", tch::Cuda::device_count())),
        Err(why) => optional("CUDA", format!("training runs on the CPU: {why}")),
    }
}

#[cfg(not(feature = "train"))]
fn cuda() -> Finding {
    optional(
        "CUDA",
        "used through libtorch, which this host was built without",
    )
}

fn onnxruntime() -> Finding {
    let found = ort::find_library().and_then(|path| Ok((path, ort::providers()?)));
    match found {
        Ok((path, providers)) => {
            let names: Vec<_> = providers.iter().map(|p| p.as_str()).collect();
            present(
                "onnxruntime",
                format!("{} (providers: {})", path.display(), names.join(", ")),
            )
        }
        Err(error) => optional("onnxruntime", error.to_string()),
    }
}

fn data_set(name: &'static str) -> Finding {
    let Some(folder) = cache_folder().map(|cache| cache.join("data").join(name)) else {
        return missing(name, "no home folder: set MCDROPOUT_CACHE");
    };
    match (
        Labelled::open(&folder, true),
        Labelled::open(&folder, false),
    ) {
        (Ok(train), Ok(test)) => present(
            name,
            format!(
                "{} + {} images in {}",
                train.images.count(),
                test.images.count(),
                folder.display()
            ),
        ),
        (Err(error), _) | (_, Err(error)) => missing(name, error.to_string()),
    }
}

fn serial_ports() -> Finding {
    match serialport::available_ports() {
        Ok(ports) if !ports.is_empty() => {
            let names: Vec<_> = ports.into_iter().map(|port| port.port_name).collect();
            present("serial ports", names.join(", "))
        }
        _ => optional(
            "serial ports",
            "none; connect a board, or use scripts/virtual-serial",
        ),
    }
}

/// What firmware and the checks on other targets need; scripts/cross installs all of it.
fn cross() -> Vec<Finding> {
    let how = "only for microcontrollers and checks on other targets: run scripts/cross";
    let program = |name: &'static str, program: &str| match tool::find(program) {
        Some(path) => present(name, path.display().to_string()),
        None => optional(name, how),
    };
    let targets = [
        "aarch64-unknown-linux-gnu",
        "thumbv7em-none-eabihf",
        "thumbv8m.main-none-eabihf",
    ]
    .map(|target| {
        if has_rust_std(target) {
            present(target, "standard library installed")
        } else if Path::new("/usr/bin/rustc").exists() {
            present(target, "through the packaged /usr/bin/rustc")
        } else {
            optional(target, how)
        }
    });
    let mut findings = Vec::from(targets);
    findings.push(program("aarch64 linker", "aarch64-linux-gnu-gcc"));
    findings.push(program("aarch64 emulator", "qemu-aarch64-static"));
    findings.push(program("Cortex-M emulator", qemu::PROGRAM));
    findings
}

/// What host flash writes to boards through a debug probe with.
fn probe() -> Finding {
    match tool::find(probe::PROGRAM) {
        Some(path) => present("probe-rs", path.display().to_string()),
        None => optional(
            "probe-rs",
            format!("only for boards behind a debug probe: {}", probe::INSTALL),
        ),
    }
}

fn has_rust_std(target: &str) -> bool {
    let Ok(output) = Command::new("rustc").args(["--print", "sysroot"]).output() else {
        return false;
    };
    let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    sysroot
        .join("lib/rustlib")
        .join(target)
        .join("lib")
        .is_dir()
}
