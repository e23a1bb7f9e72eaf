//! What of onnxruntime runs a model, as users choose it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::string::String;

use thiserror::Error;

/// An execution provider of onnxruntime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Provider {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU, by CUDA and cuDNN.
    Cuda,
    /// An NVIDIA GPU, by TensorRT.
    TensorRt,
}

impl Provider {
    /// Every provider, in the order of this list.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Cuda, Self::TensorRt];

    /// As the command line spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
        }
    }

    /// The engine's name in reports.
    #[must_use]
    pub const fn engine_name(self) -> &'static str {
        match self {
            Self::Cpu => "ort",
            Self::Cuda => "ort-cuda",
            Self::TensorRt => "ort-tensorrt",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Provider {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|provider| provider.as_str() == text)
            .ok_or_else(|| {
                let known = Self::ALL.map(Self::as_str).join(", ");
                std::format!("'{text}' is no execution provider: use one of {known}")
            })
    }
}

/// How onnxruntime runs a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "log", derive(clap::Args))]
pub struct OrtOptions {
    /// With --engine ort: the execution provider that runs the model: cpu, cuda or tensorrt. One that
    /// cannot run all of it is an error [default: cpu]
    #[cfg_attr(feature = "log", arg(long, value_name = "NAME", requires = "engine"))]
    pub provider: Option<Provider>,
    /// With --provider tensorrt: folder that keeps the engines which TensorRT builds, in a sub-folder
    /// for each network [default: tensorrt in the cache folder]
    #[cfg_attr(feature = "log", arg(long, value_name = "DIR", requires = "provider"))]
    pub engine_cache: Option<PathBuf>,
}

/// Options that do not go together: wrong usage, unlike a provider that cannot be used.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum OptionError {
    /// A provider of another engine.
    #[error("--provider chooses what of onnxruntime runs the model: give --engine ort with it")]
    NotOrt,
    /// An engine cache of another provider.
    #[error(
        "--engine-cache is for the engines that TensorRT builds: give --provider tensorrt with it"
    )]
    NotTensorRt,
}

impl OrtOptions {
    /// The provider chosen.
    #[must_use]
    pub fn provider(&self) -> Provider {
        self.provider.unwrap_or_default()
    }

    /// Checks the options against the engine chosen; `ort` says whether it is onnxruntime.
    ///
    /// # Errors
    ///
    /// When an option was given that would be without effect.
    pub fn check(&self, ort: bool) -> Result<(), OptionError> {
        if self.provider.is_some() && !ort {
            return Err(OptionError::NotOrt);
        }
        if self.engine_cache.is_some() && self.provider() != Provider::TensorRt {
            return Err(OptionError::NotTensorRt);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_are_read_as_they_are_written() {
        for provider in Provider::ALL {
            assert_eq!(provider.as_str().parse(), Ok(provider));
        }
        let error = "magic".parse::<Provider>().expect_err("no provider");
        assert!(error.contains("tensorrt"), "{error}");
    }

    #[test]
    fn options_without_effect_are_refused() {
        let options = |provider, cache: Option<&str>| OrtOptions {
            provider,
            engine_cache: cache.map(PathBuf::from),
        };
        let check = |o: &OrtOptions, ort| o.check(ort);
        assert_eq!(check(&options(None, None), false), Ok(()));
        assert_eq!(check(&options(Some(Provider::Cuda), None), true), Ok(()));
        assert_eq!(
            check(&options(Some(Provider::TensorRt), Some("x")), true),
            Ok(())
        );
        assert_eq!(
            check(&options(Some(Provider::Cpu), None), false),
            Err(OptionError::NotOrt)
        );
        assert_eq!(
            check(&options(Some(Provider::Cuda), Some("x")), true),
            Err(OptionError::NotTensorRt)
        );
    }
}
