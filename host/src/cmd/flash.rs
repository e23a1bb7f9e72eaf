//! `host flash`: firmware and a plan onto a microcontroller, or into an emulated one.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use device::engine::micro::Format;
use device::line_key;
use device::serial::SerialLine;
use device::signature::{PublicKey, Trust};
use serde::Serialize;

use super::long::{interrupted, stop_flag};
use super::monitor::{Show, follow};
use crate::files;
use crate::flash::board::{BOARDS, Board, Way};
use crate::flash::build::{Build, own_sources};
use crate::flash::image::{Firmware, Segment};
use crate::flash::plan::Plan;
use crate::flash::port;
use crate::flash::probe::Probe;
use crate::flash::qemu::{self, Emulator};
use crate::flash::tool::Interrupted;
use crate::flash::{uf2, volume};

/// Speed of the boards' serial lines, in bits per second.
const BAUD: u32 = 115_200;

/// Put firmware and a plan onto a microcontroller, and show what it reports.
///
/// Builds the firmware for the board, checks the plan and its room, writes both to flash, and attaches
/// the monitor to the board's serial line. Without --plan the board keeps the plan that it has.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Boards, and the ways onto them (the first is taken unless another is asked for):
  mps2-an386, mps2-an500  emulated by QEMU (--qemu)
  pico2                   the boot loader's volume: hold BOOTSEL while plugging in (--volume, or a file: --uf2);
                          a debug probe (--probe)
  nucleo-f446re           its ST-LINK (--probe)

Examples:
  host flash --board mps2-an386 --qemu --plan out/model.f32.plan
  host flash --board mps2-an386 --qemu --plan out/model.f32.plan --no-monitor   # prints the port, for host send
  host flash --board nucleo-f446re --plan out/model.f32.plan --port /dev/ttyACM0
  host flash --board pico2 --plan out/model.f32.plan --port /dev/ttyUSB0
  host flash --board pico2 --plan out/model.f32.plan --uf2 mcdropout.uf2
  host flash --board mps2-an386 --qemu --plan out/model.f32.plan --key line.key   # builds the key in

With --no-monitor, stdout is the port, or one JSON object with --json; an emulated board runs until Ctrl-C.
Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted before the board ran.")]
pub struct Args {
    /// The board.
    #[arg(long, value_parser = PossibleValuesParser::new(BOARDS.map(|board| board.name))
        .try_map(|name| Board::find(&name).ok_or("no such board")))]
    board: &'static Board,
    /// Plan to write to flash, as host export --firmware wrote it.
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Number format of the firmware [default: the plan's, or f32]
    #[arg(long, value_parser = PossibleValuesParser::new(Format::ALL.map(Format::name))
        .try_map(|name| Format::ALL.into_iter().find(|format| format.name() == name).ok_or("no such format")))]
    format: Option<Format>,
    /// Form in which the firmware reports.
    #[arg(long, value_enum, default_value_t = Wire::Binary)]
    wire: Wire,
    /// Build firmware that takes only plans signed with this key (KEY.pub of host keygen).
    #[arg(long, value_name = "KEY")]
    trust: Option<PathBuf>,
    /// Firmware built before, instead of building it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["wire", "firmware", "trust"])]
    elf: Option<PathBuf>,
    /// Folder with the firmware's sources [default: device/firmware where this program was built]
    #[arg(long, value_name = "DIR")]
    firmware: Option<PathBuf>,
    #[command(flatten)]
    onto: Onto,
    /// Serial port behind which the board is [default: the one that is surely the board's]
    #[arg(long, value_name = "PATH")]
    port: Option<PathBuf>,
    /// Leave the monitor out.
    #[arg(long)]
    no_monitor: bool,
    #[command(flatten)]
    show: Show,
}

/// The way onto the board.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Onto {
    /// Emulate the board.
    #[arg(long, conflicts_with = "port")]
    qemu: bool,
    /// Through a debug probe: the one named (as probe-rs list shows it), or the only one.
    #[arg(long, value_name = "VID:PID[:SERIAL]", num_args = 0..=1, default_missing_value = "")]
    probe: Option<String>,
    /// Through the boot loader whose volume this folder is [default: wherever it is mounted]
    #[arg(long, value_name = "DIR")]
    volume: Option<PathBuf>,
    /// Only write a UF2 file, for the boot loader.
    #[arg(long, value_name = "FILE", conflicts_with = "port")]
    uf2: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Wire {
    /// Compact, checked messages.
    Binary,
    /// Lines that a person can read.
    Text,
}

impl Wire {
    const fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Text => "text",
        }
    }
}

/// What `--no-monitor` prints.
#[derive(Debug, Serialize)]
struct Outcome<'a> {
    board: &'static str,
    firmware: &'a Path,
    plan: Option<&'a Path>,
    port: Option<&'a Path>,
    uf2: Option<&'a Path>,
}

/// Runs `host flash`.
///
/// # Errors
/// If the firmware does not build, firmware or plan are not for the board, what leads to the board is
/// missing or fails, or the monitor does.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let stop = stop_flag()?;
    match flash(args, &stop) {
        Err(error) if error.is::<Interrupted>() => interrupted(),
        result => result,
    }
}

fn flash(args: &Args, stop: &Arc<AtomicBool>) -> anyhow::Result<()> {
    let board = args.board;
    // Whatever can be wrong is looked for before the firmware is built, which takes longest.
    let way = args.onto.way(board)?;
    let trusted = args.trust.as_deref().map(PublicKey::open).transpose()?;
    let trust = trusted.map_or_else(Trust::default, Trust::from);
    let key = args.show.key.as_deref().map(line_key::read).transpose()?;
    ensure!(
        key.is_none() || args.wire == Wire::Binary,
        "text cannot be sealed: leave out --key, or --wire text"
    );
    let plan = args
        .plan
        .as_deref()
        .map(|path| Plan::open(path, board, &trust))
        .transpose()?;
    let built = args
        .elf
        .as_deref()
        .map(|path| Firmware::open(path, board))
        .transpose()?;
    let told = plan.as_ref().map(|plan| plan.format);
    if let (Some(plan), Some(asked)) = (told, args.format) {
        ensure!(
            plan == asked,
            "the plan is in {plan}, not in {asked}: leave --format out, or export it in {asked}"
        );
    }
    let format = told.or(args.format).unwrap_or(Format::F32);
    let monitored = !args.no_monitor && args.onto.uf2.is_none();
    let port = match (&args.port, way) {
        (Some(port), _) => Some(port.clone()),
        (None, Way::Probe { .. } | Way::Uf2 { .. }) if monitored => {
            let ports = serialport::available_ports().context("cannot list serial ports")?;
            Some(port::choose(board, &ports)?.into())
        }
        (None, _) => None,
    };
    if let Some(port) = port.as_deref().filter(|_| monitored) {
        SerialLine::open(port, BAUD, Arc::clone(stop))?;
    }
    let target = Target::find(&args.onto, way, stop)?;
    let firmware = if let Some(built) = built {
        built
    } else {
        let sources = args.firmware.clone().unwrap_or_else(own_sources);
        let build = Build {
            board,
            format,
            is_colour: plan.as_ref().is_some_and(|plan| plan.is_colour),
            wire: args.wire.name(),
            trust: trusted,
            key: key.as_ref(),
        };
        let elf = build.run(&sources, stop)?;
        Firmware::open(&elf, board)?
    };
    ensure!(
        plan.is_none() || !firmware.holds_plan(board),
        "{} was built with a plan in it: leave --plan out, or build it without MCDROPOUT_PLAN",
        firmware.path.display()
    );

    let job = Job {
        args,
        firmware,
        plan,
    };
    match target {
        Target::Qemu { program, machine } => {
            return job.emulate(&program, machine, monitored, stop);
        }
        Target::Probe(probe) => job.write_through(&probe)?,
        Target::Volume { folder, family } => {
            tracing::info!("writing firmware and plan to {}", folder.display());
            volume::write(&folder, &job.uf2(family))?;
        }
        Target::File { path, family } => files::write(path, &job.uf2(family))?,
    }
    match port {
        // A port that the reset took away comes back.
        Some(port) if monitored => follow(&port, BAUD, true, &args.show, stop),
        port => job.tell(port.as_deref()),
    }
}

/// Where firmware and plan go.
enum Target<'a> {
    Qemu {
        program: PathBuf,
        machine: &'static str,
    },
    Probe(Probe<'a>),
    Volume {
        folder: PathBuf,
        family: u32,
    },
    File {
        path: &'a Path,
        family: u32,
    },
}

impl<'a> Target<'a> {
    fn find(onto: &'a Onto, way: Way, stop: &'a AtomicBool) -> anyhow::Result<Self> {
        Ok(match way {
            Way::Qemu { machine } => Self::Qemu {
                program: qemu::find()?,
                machine,
            },
            Way::Probe { chip, connect } => {
                let selector = onto.probe.as_deref().filter(|probe| !probe.is_empty());
                Self::Probe(Probe::find(chip, connect, selector, stop)?)
            }
            Way::Uf2 { family, model } => match &onto.uf2 {
                Some(path) => Self::File { path, family },
                None => Self::Volume {
                    folder: volume::find(model, onto.volume.as_deref())?,
                    family,
                },
            },
        })
    }
}

/// Firmware and plan on their way.
struct Job<'a> {
    args: &'a Args,
    firmware: Firmware,
    plan: Option<Plan>,
}

impl Job<'_> {
    /// Runs the board in QEMU until one of the two ends, or `over` is set.
    fn emulate(
        &self,
        program: &Path,
        machine: &str,
        monitored: bool,
        over: &Arc<AtomicBool>,
    ) -> anyhow::Result<()> {
        let board = self.args.board;
        let plan = self.plan.as_ref();
        let plan = plan.map(|plan| (plan.path.as_path(), board.plan.address));
        let mut emulator = Emulator::load(program, machine, &self.firmware.path, plan, over)?;
        let port = emulator.port().to_owned();
        tracing::info!("QEMU runs {} behind {}", board.name, port.display());
        emulator.start(monitored);
        let result = if monitored {
            follow(&port, BAUD, false, &self.args.show, over)
        } else {
            self.tell(Some(&port)).map(|()| {
                while !over.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(100));
                }
            })
        };
        // The end of QEMU explains whatever the monitor met.
        emulator.finish().and(result)
    }

    fn write_through(&self, probe: &Probe<'_>) -> anyhow::Result<()> {
        if let Some(plan) = &self.plan {
            probe.write_plan(&plan.path, self.args.board.plan.address)?;
        }
        probe.write_firmware(&self.firmware.path)
    }

    /// Firmware and plan as one UF2 file.
    fn uf2(&self, family: u32) -> Vec<u8> {
        let mut segments = self.firmware.segments.clone();
        segments.extend(self.plan.as_ref().map(|plan| Segment {
            address: self.args.board.plan.address,
            bytes: plan.bytes.clone(),
        }));
        uf2::file(&segments, family)
    }

    /// Prints what was done, and where the board is heard.
    fn tell(&self, port: Option<&Path>) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        let uf2 = self.args.onto.uf2.as_deref();
        if self.args.show.form.json {
            let outcome = Outcome {
                board: self.args.board.name,
                firmware: &self.firmware.path,
                plan: self.args.plan.as_deref(),
                port,
                uf2,
            };
            writeln!(out, "{}", serde_json::to_string(&outcome)?)?;
        } else if let Some(path) = port.or(uf2) {
            writeln!(out, "{}", path.display())?;
        }
        // Whoever waits for the port reads it through a pipe.
        Ok(out.flush()?)
    }
}

impl Onto {
    /// The way onto `board` that was asked for, or its usual one.
    fn way(&self, board: &'static Board) -> anyhow::Result<Way> {
        let asked = |way: &&Way| match way {
            Way::Qemu { .. } => self.qemu,
            Way::Probe { .. } => self.probe.is_some(),
            Way::Uf2 { .. } => self.volume.is_some() || self.uf2.is_some(),
        };
        let any = self.qemu || self.probe.is_some() || self.volume.is_some() || self.uf2.is_some();
        match board.ways.iter().find(asked) {
            Some(way) => Ok(*way),
            None if !any => board.ways.first().copied().context("no way onto it"),
            None => bail!(
                "{} is not flashed this way, but with {}",
                board.name,
                board
                    .ways
                    .iter()
                    .map(Way::flags)
                    .collect::<Vec<_>>()
                    .join(" or ")
            ),
        }
    }
}
