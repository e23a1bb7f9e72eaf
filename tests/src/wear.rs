//! What the outbox costs a disk, and how much of the disk's own speed is left.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use device::outbox::{Options, Outbox, Wear};
use shared::image::PixelFormat;
use shared::wire::delivery::{Received, Stream};
use shared::wire::message::{Message, Thumbnail};

use crate::simulation::report;

/// How long each row is measured.
const TIME: Duration = Duration::from_secs(4);
/// Side of the pictures, pixels.
const SIDE: u8 = 28;

/// A table for the disk that `folder` is on: for several delays (`--outbox-delay`), without and with
/// pictures, as fast as it goes, with a host that acknowledges at once.
///
/// # Errors
/// If the disk does not take it.
pub fn table(folder: &Path) -> Result<String> {
    let mut text = String::from(
        "| pictures | delay, ms | reports per s | of a plain file's | bytes per report | waits per s |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for pictures in [false, true] {
        for delay in [0, 10, 100, 1000].map(Duration::from_millis) {
            let place = tempfile::tempdir_in(folder)?;
            let (reports, wear) = run(place.path(), delay, pictures)?;
            let bytes = wear.bytes as f64 / f64::from(reports);
            let peer = plain(place.path(), delay, bytes as usize)?;
            let seconds = TIME.as_secs_f64();
            writeln!(
                text,
                "| {} | {} | {:.0} | {:.2} | {bytes:.0} | {:.1} |",
                if pictures { "with" } else { "without" },
                delay.as_millis(),
                f64::from(reports) / seconds,
                f64::from(reports) / f64::from(peer),
                wear.syncs as f64 / seconds,
            )?;
        }
    }
    Ok(text)
}

fn run(folder: &Path, sync: Duration, pictures: bool) -> Result<(u32, Wear)> {
    const EPOCH: u64 = 1;
    let options = Options {
        folder: Some(folder.join("outbox")),
        limit: 1 << 24,
        sync,
        timeout: Duration::from_secs(1),
    };
    let mut outbox = Outbox::open(&options, EPOCH)?;
    let mut host = [Stream::Reports, Stream::Pictures].map(|stream| Received::new(stream, EPOCH));
    let side = usize::from(SIDE);
    let picture: Vec<u8> = (0..side * side).map(|pixel| pixel as u8).collect();
    let began = Instant::now();
    let mut reports = 0;
    while began.elapsed() < TIME {
        let number = outbox.push_report(report(reports, true))?;
        if pictures {
            let mut offset = 0;
            let parts = std::iter::from_fn(|| {
                let part =
                    Thumbnail::part(reports, (SIDE, SIDE), PixelFormat::Grey8, &picture, offset)?;
                offset += part.pixels.len();
                Some(part)
            });
            outbox.push_picture(number, parts)?;
        }
        reports += 1;
        outbox.turn();
        while let Some(message) = outbox.send(began.elapsed().as_micros() as u64) {
            let (stream, ticket) = match message {
                Message::Report(report) => (0, report.ticket),
                Message::Thumbnail(part) => (1, part.ticket),
                _ => continue,
            };
            if let Some(ticket) = ticket {
                host[stream].take(ticket);
                outbox.acknowledge(&host[stream].acknowledgement(None));
            }
        }
    }
    Ok((reports, outbox.wear()))
}

/// Records that a plain file takes, of as many bytes each, with as many waits for the disk.
fn plain(folder: &Path, delay: Duration, bytes: usize) -> Result<u32> {
    let mut file = File::create(folder.join("plain"))?;
    let record = vec![0x55; bytes];
    let began = Instant::now();
    let mut synced = began;
    let mut records = 0;
    while began.elapsed() < TIME {
        file.write_all(&record)?;
        if synced.elapsed() >= delay {
            file.sync_data()?;
            synced = Instant::now();
        }
        records += 1;
    }
    Ok(records)
}
