//! Endurance of the link: `scripts/soak` explains.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use device::source::{Labelled, cache_folder};
use rustix::process::{Pid, Signal, kill_process};
use shared::wire::delivery::{Arrival, Received, Stream, Ticket};
use tests::faults::{Faults, FaultyLine, Random};
use tests::line::SerialLine;
use tests::model;
use tests::programs::{Running, command};
use tests::simulation::{self, Setup};
use tests::wear;

const USAGE: &str =
    "usage: scripts/soak simulate [REPORTS [SEED]] | run MINUTES [MODEL] | wear FOLDER";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["simulate"] => simulate(1_000_000, 1),
        ["simulate", reports] => simulate(reports.parse().context(USAGE)?, 1),
        ["simulate", reports, seed] => simulate(
            reports.parse().context(USAGE)?,
            seed.parse().context(USAGE)?,
        ),
        ["run", minutes] => run(minutes.parse().context(USAGE)?, &model::trained()),
        ["run", minutes, model] => run(minutes.parse().context(USAGE)?, Path::new(model)),
        ["wear", folder] => {
            print!("{}", wear::table(Path::new(folder))?);
            Ok(())
        }
        _ => bail!(USAGE),
    }
}

fn simulate(frames: u32, seed: u64) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let began = Instant::now();
    let outcome = simulation::run(&Setup {
        frames,
        flagged: 0.25,
        baud: 1_000_000,
        faults: Faults::ONE_IN_A_HUNDRED,
        interruptions: 0.000_05,
        cut: None,
        seed,
        folder: Some(folder.path().to_owned()),
    });
    println!("{outcome}");
    eprintln!("simulated in {:.1} s", began.elapsed().as_secs_f64());
    ensure!(
        outcome.logged == outcome.decided.1 && outcome.doubled == 0 && outcome.altered == 0,
        "the promise does not hold"
    );
    Ok(())
}

/// Digits without end, as a pipe of raw frames.
fn feed(pipe: PathBuf) -> Result<()> {
    let folder = cache_folder().context("no home folder")?.join("data/mnist");
    let set = Labelled::open(&folder, false)?;
    std::thread::spawn(move || {
        let mut random = Random(1);
        // It ends when the device does.
        if let Ok(mut pipe) = File::options().write(true).open(pipe) {
            while let Some(digit) = set.images.item(random.below(10_000)) {
                if pipe.write_all(digit).is_err() {
                    break;
                }
            }
        }
    });
    Ok(())
}

/// Memory in KiB, and open files, of a process.
fn cost(program: &mut Running) -> Result<(u64, usize)> {
    let folder = PathBuf::from(format!("/proc/{}", program.child().id()));
    let status = fs::read_to_string(folder.join("status")).context("a program has ended")?;
    let memory = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().split(' ').next()?.parse().ok())
        .context("no memory is told")?;
    Ok((memory, fs::read_dir(folder.join("fd"))?.count()))
}

/// What the log has got, read as it grows: every ticket once.
struct Log {
    file: BufReader<File>,
    received: HashMap<u64, Received>,
    latencies: Vec<u64>,
    flagged: u64,
}

impl Log {
    fn read(&mut self) -> Result<()> {
        let mut line = String::new();
        loop {
            line.clear();
            let start = self.file.stream_position()?;
            self.file.read_line(&mut line)?;
            if !line.ends_with('\n') {
                self.file.seek(SeekFrom::Start(start))?;
                return Ok(());
            }
            let row: serde_json::Value = serde_json::from_str(&line)?;
            let Some(ticket) = row.get("ticket") else {
                continue;
            };
            let epoch = u64::from_str_radix(ticket["epoch"].as_str().unwrap_or_default(), 16)?;
            let ticket = Ticket {
                epoch,
                number: serde_json::from_value(ticket["number"].clone())?,
                behind: serde_json::from_value(ticket["behind"].clone())?,
            };
            let received = self
                .received
                .entry(epoch)
                .or_insert_with(|| Received::new(Stream::Reports, epoch));
            ensure!(
                received.take(ticket) == Arrival::New,
                "twice in the log: {row}"
            );
            self.flagged += 1;
            self.latencies.extend(row["latency_us"].as_u64());
        }
    }

    fn percentile(&mut self, share: f64) -> f64 {
        self.latencies.sort_unstable();
        let last = self.latencies.len().saturating_sub(1);
        let at = (last as f64 * share) as usize;
        self.latencies
            .get(at)
            .map_or(f64::NAN, |us| *us as f64 / 1e3)
    }
}

fn run(minutes: f64, model: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let (log, outbox, pipe) = (path("log.jsonl"), path("outbox"), path("frames"));
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )?;
    let mut there = FaultyLine::new(Faults::ONE_IN_A_HUNDRED, 1);
    let mut back = FaultyLine::new(Faults::ONE_IN_A_HUNDRED, 2);
    let line = SerialLine::disturbed_both_ways(
        move |bytes| there.carry(bytes),
        move |bytes| back.carry(bytes),
    );
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let summary = path("summary.json");
    let mut monitor = Running::start(
        command(
            "host",
            [
                "monitor".to_owned(),
                text(&line.host()),
                "--baud=3000000".to_owned(),
                "--json".to_owned(),
                "--flagged".to_owned(),
                "--log".to_owned(),
                text(&log),
                "--summary".to_owned(),
                text(&summary),
            ],
        )
        .stdout(Stdio::null())
        .stderr(Stdio::null()),
    );
    feed(pipe.clone())?;
    let mut device = Running::start(
        command(
            "device",
            [
                "run".to_owned(),
                "--model".to_owned(),
                text(model),
                "--passes=16".to_owned(),
                "--source".to_owned(),
                format!("raw:28x28:{}", text(&pipe)),
                "--serial".to_owned(),
                text(&line.device()),
                "--baud=3000000".to_owned(),
                "--outbox".to_owned(),
                text(&outbox),
                "--outbox-delay=1000".to_owned(),
                // What waits is kept in memory, too: little, for that to be steady soon.
                "--outbox-limit=1".to_owned(),
                "--linger=45".to_owned(),
                "--stats".to_owned(),
            ],
        )
        .stderr(Stdio::piped()),
    );
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let began = Instant::now();
    while !log.exists() {
        ensure!(Instant::now() < end, "the monitor has made no log");
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut log = Log {
        file: BufReader::new(File::open(&log)?),
        received: HashMap::new(),
        latencies: Vec::new(),
        flagged: 0,
    };
    println!(
        "{:>8} {:>12} {:>14} {:>12} {:>14} {:>12} {:>9} {:>9}",
        "minutes", "flagged", "device, KiB", "files", "host, KiB", "files", "p50, ms", "p99, ms"
    );
    let interval = Duration::from_secs_f64((minutes * 60.0 / 10.0).clamp(1.0, 600.0));
    let mut rows = Vec::new();
    while Instant::now() < end {
        std::thread::sleep(interval.min(end.saturating_duration_since(Instant::now())));
        log.read()?;
        let (device, host) = (cost(&mut device)?, cost(&mut monitor)?);
        let (median, p99) = (log.percentile(0.5), log.percentile(0.99));
        println!(
            "{:>8.1} {:>12} {:>14} {:>12} {:>14} {:>12} {:>9.2} {:>9.2}",
            began.elapsed().as_secs_f64() / 60.0,
            log.flagged,
            device.0,
            device.1,
            host.0,
            host.1,
            median,
            p99
        );
        log.latencies.clear();
        rows.push((device, host));
    }
    kill_process(Pid::from_child(device.child()), Signal::INT)?;
    let (code, _, said) = device.end();
    ensure!(code == Some(0), "the device failed: {said}");
    std::thread::sleep(Duration::from_secs(1));
    log.read()?;
    kill_process(Pid::from_child(monitor.child()), Signal::INT)?;
    let (code, _, _) = monitor.end();
    ensure!(code == Some(0) || code == Some(130), "the monitor failed");
    let summary: serde_json::Value = serde_json::from_slice(&fs::read(summary)?)?;
    println!("{}", said.trim());
    println!(
        "delivery {} repeats {}",
        summary["delivery"], summary["repeats"]
    );
    println!("link {}", summary["link"]);
    let told = summary["delivery"]["delivered"].as_u64();
    ensure!(
        told == Some(log.flagged),
        "the device counts {told:?} delivered, the log holds {}",
        log.flagged
    );
    // The first tenth is for caches and buffers to fill.
    if let [_, first, .., last] = rows[..] {
        ensure!(
            (last.0.1, last.1.1) == (first.0.1, first.1.1),
            "files stay open: {first:?}, {last:?}"
        );
        let grown = |first: u64, last: u64| last > first + first / 4 + 4_096;
        ensure!(
            !grown(first.0.0, last.0.0) && !grown(first.1.0, last.1.0),
            "memory grows: {first:?}, {last:?}"
        );
    }
    println!("each of {} flagged reports is in the log once", log.flagged);
    Ok(())
}
