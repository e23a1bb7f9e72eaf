//! `device bench`: how fast this machine judges frames with a model, and how well it keeps up.

use std::io::Write;
use std::time::Instant;

use device::machine;
use device::performance::Meter;
use device::source::{Frame, Source, SourceUri};
use serde_json::json;

use super::ModelArgs;

/// Time how long a frame takes on this machine, from picture to verdict.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Where the frames come from.
    #[arg(long, default_value = "mnist:test", value_name = "URI")]
    source: SourceUri,
    /// Frames to time, after one that is not.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    frames: u32,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut session = args.model.open(&args.model.options())?;
    let mut source = Source::open(
        &args.source,
        session.pixel_format(),
        &std::sync::Arc::default(),
    )?;
    let mut picture = Frame::default();
    let mut times = Vec::new();
    let mut meter = Meter::start();
    for number in 0..=args.frames {
        if !source.next_frame(&mut picture)? {
            break;
        }
        let started = Instant::now();
        let outcome = session.inference.judge(number, &picture.view()?)?;
        times.push(started.elapsed().as_secs_f64() * 1000.0);
        if number == 0 {
            // The first frame pays for caches and lazily made plans.
            times.clear();
            meter = Meter::start();
        } else {
            let latency = source.elapsed().saturating_sub(picture.captured);
            meter.count(latency, outcome.measures.passes);
        }
    }
    anyhow::ensure!(
        !times.is_empty(),
        "the source has too few frames: at least 2 are needed"
    );
    times.sort_by(f64::total_cmp);
    let (engine, passes) = (session.inference.engine().name(), args.model.passes);
    let performance = meter.performance(source.live().as_ref(), times.len() as u32);
    let mean_passes = performance.mean_passes;
    let (median, least, most) = (times[times.len() / 2], times[0], times[times.len() - 1]);
    let rss = machine::peak_memory_kib().map(|kib| f64::from(kib) / 1024.0);
    let mut out = std::io::stdout().lock();
    if args.json {
        let row = json!({
            "engine": engine, "threads": args.model.threads, "passes": passes,
            "mean_passes": mean_passes, "frames": times.len(),
            "ms_per_frame": median, "ms_min": least, "ms_max": most, "peak_rss_mib": rss,
            "performance": performance,
        });
        writeln!(out, "{row}")?;
    } else {
        writeln!(
            out,
            "{engine}, {} frames of {mean_passes:.1} passes: median {median:.3} ms a frame (least {least:.3}, most {most:.3})",
            times.len()
        )?;
        writeln!(out, "{performance}")?;
    }
    Ok(())
}
