//! The engines that can be timed, and how each is made ready.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use anyhow::{anyhow, bail};
use device::engine::Engine;
use device::engine::native::{Level, NativeEngine, Plan, peak_multiply_adds_per_second};
use device::engine::ort::OrtEngine;
use device::engine::ort::live::LiveOrt;
use device::engine::provider::OrtOptions;
use device::engine::tract::TractEngine;
use device::inference::{Inference, Settings};
use device::onnx::Model;
use device::session::MAX_CLASSES;
use serde::{Deserialize, Serialize};
use shared::image::{FrameStatistics, Preprocessing};
use shared::stopping::{self, Delta};
use shared::triage::Thresholds;

use super::Setup;

/// Frames on which passes are looked for that differ.
const PROOF_FRAMES: u32 = 8;

/// A row's engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineName {
    /// The device's native engine.
    Native,
    /// The native engine with adaptive passes, through to the decision.
    NativeAdaptive,
    /// The device's tract engine: on one thread.
    Tract,
    /// The device's onnxruntime engine: stem, head, and masks as inputs.
    OrtMasks,
    /// Stock onnxruntime on the file as exported, the frame repeated T times as the batch.
    OrtLive,
    /// libtorch with its own dropout, the frame expanded to a batch of T.
    TorchBatched,
    /// libtorch with its own dropout, T forward passes of one frame each.
    TorchLoop,
    /// The multiply-adds that no engine can do without, at the rate of a loop that does nothing
    /// else. Not an engine: computed for each frame.
    Limit,
}

impl EngineName {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 8] = [
        Self::Native,
        Self::NativeAdaptive,
        Self::Tract,
        Self::OrtMasks,
        Self::OrtLive,
        Self::TorchBatched,
        Self::TorchLoop,
        Self::Limit,
    ];

    /// As the command line and reports spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::NativeAdaptive => "native-adaptive",
            Self::Tract => "tract",
            Self::OrtMasks => "ort-masks",
            Self::OrtLive => "ort-live",
            Self::TorchBatched => "torch-batched",
            Self::TorchLoop => "torch-loop",
            Self::Limit => "limit",
        }
    }

    /// Whether it can share one frame's work among `threads` threads.
    #[must_use]
    pub fn runs_on(self, threads: usize) -> bool {
        threads == 1 || self != Self::Tract
    }
}

impl fmt::Display for EngineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for EngineName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|name| name.as_str() == text)
            .ok_or_else(|| {
                let known = Self::ALL.map(Self::as_str).join(", ");
                format!("'{text}' is no engine of the benchmark; there are {known}")
            })
    }
}

/// Makes the engine of `setup` ready. `input` is one normalised input, on which the engine has to
/// show that its passes differ.
///
/// This is the one place that knows how each engine is opened.
pub(super) fn open(
    setup: &Setup,
    model: &Model,
    input: &[f32],
) -> anyhow::Result<Box<dyn Contender>> {
    let (passes, seed) = (setup.passes, model.metadata().seed);
    let block = passes as usize;
    let native = || -> anyhow::Result<NativeEngine> {
        let plan = Plan::from_model(model)?;
        Ok(NativeEngine::new(
            plan,
            Level::detect(),
            seed,
            setup.threads,
        )?)
    };
    let run: RunPasses = match setup.engine {
        EngineName::Native => ours(native()?, passes),
        EngineName::NativeAdaptive => {
            return Ok(Box::new(Adaptive::open(setup, model, native()?)?));
        }
        EngineName::Limit => {
            return Ok(Box::new(Limit {
                engine: native()?,
                threads: setup.threads,
                passes,
            }));
        }
        EngineName::Tract => ours(TractEngine::new(model, block, seed)?, passes),
        EngineName::OrtMasks => {
            let engine =
                OrtEngine::with_options(model, block, seed, setup.threads, &OrtOptions::default())?;
            ours(engine, passes)
        }
        EngineName::OrtLive => {
            let mut live = LiveOrt::open(&setup.model, model, setup.threads)?;
            Box::new(move |_, input, logits| Ok(live.run(input, logits)?))
        }
        EngineName::TorchBatched => torch(setup, model, true)?,
        EngineName::TorchLoop => torch(setup, model, false)?,
    };
    Ok(Box::new(Sampling::new(
        run,
        passes,
        model.classes(),
        input,
    )?))
}

/// What a row times.
pub(super) trait Contender {
    /// Takes one normalised input, as frame number `frame`.
    fn frame(&mut self, frame: u32, input: &[f32]) -> anyhow::Result<Timed>;
}

/// What one frame took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Timed {
    /// Milliseconds.
    pub(super) ms: f64,
    /// Passes run.
    pub(super) passes: u32,
}

/// Runs frame `.0` with input `.1` and writes the logits of all its passes, `[pass][class]`.
type RunPasses = Box<dyn FnMut(u32, &[f32], &mut [f32]) -> anyhow::Result<()>>;

/// One of the device's engines.
fn ours<E: Engine + 'static>(mut engine: E, passes: u32) -> RunPasses {
    Box::new(move |frame, input, logits| {
        engine
            .begin(frame, input)
            .and_then(|()| engine.sample(0..passes, logits))
            .map_err(|error| anyhow!("{error}"))
    })
}

#[cfg(feature = "train")]
fn torch(setup: &Setup, model: &Model, batched: bool) -> anyhow::Result<RunPasses> {
    let network = super::libtorch::Libtorch::open(&setup.model, model, setup.threads)?;
    Ok(if batched {
        Box::new(move |_, input, logits| network.run_batched(input, logits))
    } else {
        Box::new(move |_, input, logits| network.run_in_a_loop(input, logits))
    })
}

#[cfg(not(feature = "train"))]
fn torch(_: &Setup, _: &Model, _: bool) -> anyhow::Result<RunPasses> {
    bail!("this program was built without libtorch; rebuild it with --features train")
}

/// A fixed number of passes for every frame.
struct Sampling {
    run: RunPasses,
    passes: u32,
    logits: Vec<f32>,
}

impl Sampling {
    /// # Errors
    /// The engine fails, or is deterministic: a frame that is not sampled is no frame to time.
    fn new(run: RunPasses, passes: u32, classes: usize, input: &[f32]) -> anyhow::Result<Self> {
        let mut sampling = Self {
            run,
            passes,
            logits: vec![0.0; passes as usize * classes],
        };
        // A single pass has no other beside it; the next frame has other masks.
        let mut seen = HashSet::new();
        for frame in 0..PROOF_FRAMES {
            if passes > 1 {
                seen.clear();
            }
            sampling.frame(frame, input)?;
            if sampling.logits.iter().any(|logit| !logit.is_finite()) {
                bail!("its logits are not finite");
            }
            let rows = sampling.logits.chunks_exact(classes);
            seen.extend(rows.map(|row| row.iter().map(|v| v.to_bits()).collect::<Vec<_>>()));
            if seen.len() > 1 {
                return Ok(sampling);
            }
        }
        bail!("its passes do not differ, so its dropout is off: nothing to compare with")
    }
}

impl Contender for Sampling {
    fn frame(&mut self, frame: u32, input: &[f32]) -> anyhow::Result<Timed> {
        let started = Instant::now();
        (self.run)(frame, input, &mut self.logits)?;
        Ok(Timed {
            ms: started.elapsed().as_secs_f64() * 1000.0,
            passes: self.passes,
        })
    }
}

/// As many passes as the decision takes.
struct Adaptive {
    inference: Inference<NativeEngine, Vec<f32>, MAX_CLASSES>,
}

impl Adaptive {
    fn open(setup: &Setup, model: &Model, engine: NativeEngine) -> anyhow::Result<Self> {
        let metadata = model.metadata();
        let thresholds = metadata.thresholds;
        let thresholds = thresholds.unwrap_or_else(|| Thresholds::uncalibrated(model.classes()));
        let settings = Settings {
            passes: setup.passes,
            adaptive: Some(Delta::DEFAULT),
            block: stopping::BLOCK,
            // Inputs come prepared.
            preprocessing: Preprocessing::default(),
            crop: None,
            // No picture is flagged for what it looks like, so that the passes have to decide.
            thresholds: Thresholds {
                max_predictive_entropy: thresholds.max_predictive_entropy,
                max_mutual_information: thresholds.max_mutual_information,
                max_expected_entropy: thresholds.max_expected_entropy,
                ..Thresholds::OFF
            },
        };
        Ok(Self {
            inference: Inference::allocated(engine, settings)?,
        })
    }
}

impl Contender for Adaptive {
    fn frame(&mut self, frame: u32, input: &[f32]) -> anyhow::Result<Timed> {
        let started = Instant::now();
        let outcome = self
            .inference
            .judge_input(frame, input, FrameStatistics::UNUSED)?;
        Ok(Timed {
            ms: started.elapsed().as_secs_f64() * 1000.0,
            passes: outcome.measures.passes,
        })
    }
}

/// What the multiply-adds of a frame would take if they were all there is to do.
struct Limit {
    engine: NativeEngine,
    threads: usize,
    passes: u32,
}

impl Contender for Limit {
    fn frame(&mut self, frame: u32, input: &[f32]) -> anyhow::Result<Timed> {
        const TRIALS: u32 = 3;
        self.engine.begin(frame, input)?;
        let needed = self.engine.necessary_multiply_adds(self.passes)?;
        let rate = peak_multiply_adds_per_second(self.engine.level(), TRIALS);
        Ok(Timed {
            ms: needed as f64 / (rate * self.threads as f64) * 1000.0,
            passes: self.passes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_told_the_known_ones() {
        for name in EngineName::ALL {
            assert_eq!(name.as_str().parse(), Ok(name));
            let json = serde_json::to_string(&name).expect("a string");
            assert_eq!(json, format!("\"{name}\""));
        }
        let error = "magic".parse::<EngineName>().expect_err("unknown");
        for name in EngineName::ALL {
            assert!(error.contains(name.as_str()), "{error}");
        }
    }

    #[test]
    fn an_engine_that_does_not_sample_is_refused() {
        let open = |passes, run| Sampling::new(run, passes, 2, &[0.0]).map(|_| ());
        let constant = |value: f32| -> RunPasses {
            Box::new(move |_, _, logits| {
                logits.fill(value);
                Ok(())
            })
        };
        for passes in [1, 5] {
            let error = open(passes, constant(1.0)).expect_err("deterministic");
            assert!(error.to_string().contains("do not differ"), "{error}");
        }
        let error = open(5, constant(f32::NAN)).expect_err("not finite");
        assert!(error.to_string().contains("finite"), "{error}");
        // Batches whose passes share one mask do not sample, even if batches differ.
        let by_frame: fn(u32, &[f32], &mut [f32]) -> anyhow::Result<()> = |frame, _, logits| {
            logits.fill(frame as f32);
            Ok(())
        };
        assert!(open(5, Box::new(by_frame)).is_err());
        assert!(open(1, Box::new(by_frame)).is_ok());
    }
}
