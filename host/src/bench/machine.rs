//! What the figures were taken on.

use std::fmt;
use std::fs;

use serde::Serialize;

/// Instructions that a fast engine may use, as the kernel spells them on x86-64 and aarch64.
const SIMD: [&str; 20] = [
    "sse4_2",
    "avx",
    "f16c",
    "fma",
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "asimd",
    "asimdhp",
    "asimddp",
    "bf16",
    "i8mm",
    "sve",
    "sve2",
];

/// A machine, as Linux describes it; `None` is what it does not tell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: Option<String>,
    /// Cores this program may use.
    pub cores: usize,
    /// Main memory.
    pub memory_gib: Option<f64>,
    /// Instruction sets that matter for the speed.
    pub simd: Vec<String>,
    /// Distribution, and the kernel's release.
    pub os: Option<String>,
    /// Programs that wanted a core over the last minute, on average.
    pub load_average: Option<f64>,
}

impl Machine {
    /// This machine, now.
    #[must_use]
    pub fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let memory = read("/proc/meminfo");
        let release = read("/etc/os-release");
        let kernel = read("/proc/sys/kernel/osrelease");
        let flags = value(&cpuinfo, "flags", ':').or_else(|| value(&cpuinfo, "Features", ':'));
        let flags: Vec<&str> = flags.unwrap_or_default().split_whitespace().collect();
        Self {
            cpu: value(&cpuinfo, "model name", ':').map(str::to_owned),
            cores: cores(),
            memory_gib: value(&memory, "MemTotal", ':')
                .and_then(|text| text.strip_suffix("kB")?.trim().parse::<f64>().ok())
                .map(|kib| kib / f64::from(1 << 20)),
            simd: SIMD
                .into_iter()
                .filter(|name| flags.contains(name))
                .map(str::to_owned)
                .collect(),
            os: value(&release, "PRETTY_NAME", '=')
                .map(|name| format!("{}, Linux {}", name.trim_matches('"'), kernel.trim())),
            load_average: read("/proc/loadavg")
                .split_whitespace()
                .next()
                .and_then(|text| text.parse().ok()),
        }
    }
}

/// Cores this program may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// What stands behind the first `key` of lines `key <separator> value`.
fn value<'a>(text: &'a str, key: &str, separator: char) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(separator)?;
        (name.trim() == key).then(|| value.trim())
    })
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpu = self.cpu.as_deref().unwrap_or("unknown processor");
        let plural = if self.cores == 1 { "" } else { "s" };
        write!(f, "{cpu}, {} core{plural}", self.cores)?;
        if let Some(memory) = self.memory_gib {
            write!(f, ", {memory:.1} GiB")?;
        }
        if let Some(os) = &self.os {
            write!(f, ", {os}")?;
        }
        if let Some(load) = self.load_average {
            write!(f, ", load {load:.2}")?;
        }
        if !self.simd.is_empty() {
            write!(f, "\n{}", self.simd.join(" "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_whole_key() {
        let text = "model\t\t: 17\nmodel name\t: AMD EPYC\nmodel name\t: other\nbogus\n";
        assert_eq!(value(text, "model name", ':'), Some("AMD EPYC"));
        assert_eq!(value(text, "name", ':'), None);
        assert_eq!(
            value("PRETTY_NAME=\"a=b\"", "PRETTY_NAME", '='),
            Some("\"a=b\"")
        );
    }

    #[test]
    fn this_machine_has_a_core() {
        let machine = Machine::this();
        assert!(machine.cores >= 1);
        assert!(machine.to_string().contains("core"), "{machine}");
    }
}
