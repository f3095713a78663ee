//! Which device computes, and in what precision weights are kept there.

use std::fmt;
use std::str::FromStr;

use crate::engine::error::EngineError;

/// The device asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The first GPU if this build and this machine have one, else the CPU.
    #[default]
    Auto,
    Cpu,
    /// A CUDA device by ordinal.
    Cuda(usize),
}

/// The precision asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DtypeChoice {
    /// On the CPU weights as the file has them, computed with in f32; on a GPU bf16, or quantised as the file has them.
    #[default]
    Auto,
    F32,
    Bf16,
    F16,
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|ordinal| ordinal.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| format!("{text:?} is no device; use auto, cpu or cuda:0")),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

impl FromStr for DtypeChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "f16" => Ok(Self::F16),
            _ => Err(format!("{text:?} is no dtype; use auto, f32, bf16 or f16")),
        }
    }
}

impl fmt::Display for DtypeChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}

/// Opens the device asked for; `None` is the CPU.
pub(crate) fn open(choice: DeviceChoice) -> Result<Option<(candle_core::Device, usize)>, EngineError> {
    match choice {
        DeviceChoice::Cpu => Ok(None),
        DeviceChoice::Cuda(ordinal) => {
            open_cuda(ordinal).map(|device| Some((device, ordinal))).map_err(EngineError::Load)
        }
        DeviceChoice::Auto => Ok(match open_cuda(0) {
            Ok(device) => Some((device, 0)),
            Err(reason) => {
                tracing::debug!(reason, "computing on the CPU");
                None
            }
        }),
    }
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(_ordinal: usize) -> Result<candle_core::Device, String> {
    Err("this build has no GPU support; build it with --features cuda".to_owned())
}

/// cudarc panics where the driver's library is absent, so the library is looked for first, and a panic of the rest of
/// the stack (no device, an old driver) is turned into its first line.
#[cfg(feature = "cuda")]
fn open_cuda(ordinal: usize) -> Result<candle_core::Device, String> {
    // SAFETY: loading the driver runs its initialisers, as every CUDA program does.
    if unsafe { libloading::Library::new("libcuda.so.1") }.is_err() {
        return Err("no NVIDIA driver was found (libcuda.so.1)".to_owned());
    }
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let opened = std::panic::catch_unwind(|| one_stream(ordinal));
    std::panic::set_hook(hook);
    let first_line = |text: String| text.lines().next().unwrap_or_default().to_owned();
    match opened {
        Ok(Ok(device)) => Ok(device),
        Ok(Err(error)) => Err(first_line(format!("cuda:{ordinal} cannot be opened: {error}"))),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(first_line(format!("cuda:{ordinal} cannot be opened: {}", text.unwrap_or_default())))
        }
    }
}

/// A device with one stream for all threads. candle's ordinary one has each thread work in a stream of its own: a thread that
/// has computed nothing has none, so that what it drops (an adapter that is unloaded) is not freed, and the next operation of
/// any thread is told of it as an error of its own.
#[cfg(feature = "cuda")]
fn one_stream(ordinal: usize) -> candle_core::Result<candle_core::Device> {
    let device = candle_core::Device::new_cuda_with_stream(ordinal)?;
    // SAFETY: events keep the uses of a tensor in several streams in order, and there is one.
    unsafe { device.as_cuda_device()?.disable_event_tracking() };
    Ok(device)
}
