//! libtorch: which device, how many threads, and CUDA where it is installed.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::str::FromStr;
use std::sync::OnceLock;

use anyhow::{Context, bail};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use tch::{Cuda, Device};

/// Where to compute, as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// CUDA if it works here, else the processor.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// CUDA, or an error.
    Cuda,
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda),
            _ => Err("one of auto, cpu, cuda".into()),
        }
    }
}

impl DeviceChoice {
    /// The device to use.
    ///
    /// # Errors
    /// CUDA was asked for and does not work here; the message says why.
    pub fn resolve(self) -> anyhow::Result<Device> {
        let cuda = || load_cuda().map_err(|reason| anyhow::anyhow!("{reason}"));
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto => Ok(if cuda().is_ok() {
                Device::Cuda(0)
            } else {
                Device::Cpu
            }),
            Self::Cuda => {
                cuda().context("CUDA was asked for and is not available")?;
                Ok(Device::Cuda(0))
            }
        }
    }
}

/// What the device is called in reports.
#[must_use]
pub fn device_name(device: Device) -> &'static str {
    match device {
        Device::Cuda(_) => "cuda",
        _ => "cpu",
    }
}

/// The version of libtorch that this program was built for.
pub const LIBTORCH_VERSION: &str = "2.11.0";

/// Whether CUDA works here.
///
/// # Errors
/// Why it does not, in one line.
pub fn load_cuda() -> Result<(), &'static str> {
    static STATE: OnceLock<Result<(), String>> = OnceLock::new();
    match STATE.get_or_init(try_cuda) {
        Ok(()) => Ok(()),
        Err(reason) => Err(reason),
    }
}

/// A program linked with a libtorch without CUDA can still use the CUDA kernels of a full libtorch
/// of the same version: they register themselves when their library is loaded. The name alone is
/// enough, the loader looks where it found libtorch itself.
fn try_cuda() -> Result<(), String> {
    const LIBRARY: &str = "libtorch_cuda.so";
    if !Cuda::is_available() {
        // SAFETY: the library's initialisers register kernels with the libtorch already loaded;
        // that is all they do, and it is what libtorch itself does with this library.
        let loaded = unsafe { Library::open(Some(LIBRARY), RTLD_NOW | RTLD_GLOBAL) };
        match loaded {
            // Kernels stay registered: the library must never be unloaded.
            Ok(library) => std::mem::forget(library),
            Err(error) => {
                let error = error.to_string().replace('\n', " ");
                return Err(format!(
                    "this libtorch has no CUDA ({error}); install the CUDA build of PyTorch {LIBTORCH_VERSION} and build with LIBTORCH_USE_PYTORCH=1, or leave out --device cuda"
                ));
            }
        }
    }
    if Cuda::is_available() && Cuda::device_count() > 0 {
        Ok(())
    } else {
        Err("libtorch finds no usable NVIDIA GPU (driver missing or too old, or no GPU)".into())
    }
}

/// Lets libtorch's threads sleep while they wait for each other, unless the environment says how.
///
/// By default they spin, and starve each other as soon as another program wants a core: steps then
/// take several times as long. libgomp reads its settings when it is loaded, before `main`, so the
/// program has to replace itself, once: call this first of all.
pub fn let_waiting_threads_sleep() {
    /// A moment: on an idle machine most waits end within it, and waking a thread takes longer.
    const SPINS: &str = "1000";
    const SETTINGS: [&str; 2] = ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"];
    if SETTINGS.iter().any(|name| env::var_os(name).is_some()) {
        return;
    }
    let Ok(program) = env::current_exe() else {
        return;
    };
    let mut arguments = env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // Returns only if it fails, and then all still works, slower on a busy machine.
    let error = command.args(arguments).env("GOMP_SPINCOUNT", SPINS).exec();
    tracing::debug!("the program could not be restarted: {error}");
}

/// Uses `threads` processor threads; `None` leaves libtorch's choice.
///
/// # Errors
/// The number is not positive.
pub fn set_threads(threads: Option<usize>) -> anyhow::Result<usize> {
    if let Some(threads) = threads {
        if threads == 0 {
            bail!("--threads must be at least 1");
        }
        tch::set_num_threads(i32::try_from(threads).context("--threads is too large")?);
    }
    Ok(tch::get_num_threads() as usize)
}
