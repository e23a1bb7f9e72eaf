//! What Linux tells of this program and of the board that it runs on.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// The most memory this process has held, KiB; `None` where Linux does not tell.
#[must_use]
pub fn peak_memory_kib() -> Option<u32> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Processor time that this process has taken, on all cores together.
#[must_use]
pub fn processor_time() -> Duration {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Time since some moment before this program began, by the clock in which drivers tell when a frame
/// was taken.
pub(crate) fn monotonic() -> Duration {
    clock(libc::CLOCK_MONOTONIC)
}

#[allow(unsafe_code)] // The crate that has it safely would have another set of features for it.
fn clock(id: libc::clockid_t) -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: it writes one timespec.
    unsafe { libc::clock_gettime(id, &raw mut now) };
    // These clocks begin at 0, so neither part is negative.
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// The hottest place that the board measures, °C; `None` if it measures none.
#[must_use]
pub fn temperature() -> Option<f32> {
    hottest(Path::new("/sys/class/thermal"))
}

/// The hottest thermal zone below `folder`. Zones tell thousandths of a degree, and some fail to.
fn hottest(folder: &Path) -> Option<f32> {
    fs::read_dir(folder)
        .ok()?
        .filter_map(|zone| {
            let text = fs::read_to_string(zone.ok()?.path().join("temp")).ok()?;
            text.trim().parse::<i32>().ok()
        })
        .max()
        .map(|thousandths| thousandths as f32 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_takes_time() {
        assert!(peak_memory_kib().is_some_and(|kib| kib > 100));
        let before = processor_time();
        while processor_time() == before {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn the_hottest_zone_that_answers_counts() {
        let folder = tempfile::tempdir().expect("temporary folder");
        assert_eq!(hottest(folder.path()), None);
        assert_eq!(hottest(&folder.path().join("absent")), None);
        for (zone, text) in [("a", "41500\n"), ("b", "47250\n"), ("c", "broken")] {
            let path = folder.path().join(zone);
            fs::create_dir(&path).expect("made");
            fs::write(path.join("temp"), text).expect("written");
        }
        fs::create_dir(folder.path().join("d")).expect("made");
        assert_eq!(hottest(folder.path()), Some(47.25));
    }
}
