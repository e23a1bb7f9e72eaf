//! Proof, by running it, that a model samples: for `device check`, before deployment.
//!
//! That a file says its dropout is live is one thing, that an engine drops is another: an optimiser
//! may have removed a node, or a layer after a site may always cancel it. So each site is made to
//! drop alone, all others keeping everything, and the logits have to differ between passes.

use shared::mask::{MaskSource, philox4x32_10};
use thiserror::Error;

use super::{Engine, EngineError, GivenMasks};
use crate::onnx::Model;

/// Inputs tried before a site is said to change nothing.
const FRAMES: u32 = 8;
/// Passes per input.
const PASSES: u32 = 64;
/// Standard deviations that a keep rate may lie away from its probability.
const SIGMAS: f64 = 5.0;
/// How far a pass may depend on what shares its batch, or on the engine, relative to the largest
/// logit.
const BATCH_TOLERANCE: f32 = 1e-4;

/// What was seen at one site while it alone dropped.
#[derive(Debug, Clone, PartialEq)]
pub struct SiteProof {
    /// Name of the site.
    pub name: String,
    /// Share of the activations kept, over all masks drawn.
    pub keep_rate: f64,
    /// Number of activations that `keep_rate` was measured on.
    pub drawn: u64,
    /// Most different logits seen among the passes over one input.
    pub distinct: usize,
    /// Passes per input.
    pub passes: usize,
    /// Largest change of a logit against the same network without dropout.
    pub largest_change: f32,
}

/// What was seen of a model on an engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Proof {
    /// Every site, in order.
    pub sites: Vec<SiteProof>,
    /// Largest difference of a logit between a pass run alone and in a batch.
    pub batch_difference: f32,
}

/// Why a model does not sample as it should.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The engine cannot run the model.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A site changes nothing.
    #[error(
        "dropout at {site} never changes the logits of {inputs} inputs × {passes} passes: the model would be deterministic there"
    )]
    Dead {
        /// Name of the site.
        site: String,
        /// Inputs tried.
        inputs: u32,
        /// Passes per input.
        passes: u32,
    },
    /// The masks keep too much or too little.
    #[error(
        "dropout at {site} keeps {rate:.5} of {drawn} activations, not {expected:.5} within 5 standard deviations"
    )]
    KeepRate {
        /// Name of the site.
        site: String,
        /// Share kept.
        rate: f64,
        /// Activations drawn.
        drawn: u64,
        /// The site's keep probability.
        expected: f64,
    },
    /// A logit is not a number.
    #[error("the model gives logits that are NaN or infinite for inputs between -1 and 2")]
    NonFinite,
    /// Two engines compute different things.
    #[error("{} and {} differ by {difference} of the largest logit for the same passes", .engines[0], .engines[1])]
    Disagreement {
        /// Their names.
        engines: [&'static str; 2],
        /// Largest difference of a logit, relative to the largest logit.
        difference: f32,
    },
    /// A pass depends on the others in its batch.
    #[error(
        "a pass gives other logits in a batch than alone (difference {difference}): the model mixes the images of a batch"
    )]
    Batch {
        /// Largest difference of a logit.
        difference: f32,
    },
}

/// Runs the model and shows that its passes differ because of every site, and of nothing else.
///
/// `engine` runs `model`; `seed` selects the masks and the inputs, which are noise.
///
/// # Errors
///
/// [`ProofError`], when a site changes nothing, keeps at another rate than its probability, when
/// passes influence each other, or when the engine fails.
pub fn prove<E: GivenMasks + ?Sized>(
    model: &Model,
    engine: &mut E,
    seed: u64,
) -> Result<Proof, ProofError> {
    let mut sites = Vec::new();
    for (index, site) in model.sites().iter().enumerate() {
        let mut seen = SiteProof {
            name: site.name.clone(),
            keep_rate: 0.0,
            drawn: 0,
            distinct: 1,
            passes: PASSES as usize,
            largest_change: 0.0,
        };
        let mut kept: u64 = 0;
        for frame in 0..FRAMES {
            engine.begin(frame, &noise(seed, frame, model.input_shape().len()))?;
            let plain = passes(engine, 1, &mut |_, mask| mask.fill(1.0))?;
            let rows = passes(engine, PASSES, &mut |which, mask| {
                if which == index {
                    let masks = MaskSource::new(seed);
                    masks.fill(
                        frame,
                        index as u32,
                        site.keep,
                        0..PASSES,
                        site.elements(),
                        mask,
                    );
                    kept += mask.iter().filter(|&&keep| keep == 1.0).count() as u64;
                    seen.drawn += mask.len() as u64;
                } else {
                    mask.fill(1.0);
                }
            })?;
            if !plain.iter().chain(&rows).all(|v| v.is_finite()) {
                return Err(ProofError::NonFinite);
            }
            let mut bits: Vec<Vec<u32>> = rows
                .chunks(engine.classes())
                .map(|row| row.iter().map(|v| v.to_bits()).collect())
                .collect();
            bits.sort_unstable();
            bits.dedup();
            seen.distinct = seen.distinct.max(bits.len());
            let changes = rows
                .chunks(engine.classes())
                .map(|row| difference(row, &plain));
            seen.largest_change = changes.fold(seen.largest_change, f32::max);
        }
        if seen.distinct < 2 {
            return Err(ProofError::Dead {
                site: seen.name,
                inputs: FRAMES,
                passes: PASSES,
            });
        }
        seen.keep_rate = kept as f64 / seen.drawn as f64;
        let q = site.keep.value();
        let sigma = (q * (1.0 - q) / seen.drawn as f64).sqrt();
        if (seen.keep_rate - q).abs() > SIGMAS * sigma {
            return Err(ProofError::KeepRate {
                site: seen.name,
                rate: seen.keep_rate,
                drawn: seen.drawn,
                expected: q,
            });
        }
        sites.push(seen);
    }
    let batch_difference = batch_difference(engine)?;
    Ok(Proof {
        sites,
        batch_difference,
    })
}

/// Largest difference of a logit between two engines that run the same passes, over inputs of
/// noise.
///
/// # Errors
///
/// [`ProofError::Disagreement`], when it is more than rounding, or when an engine fails.
pub fn agreement<A, B>(model: &Model, a: &mut A, b: &mut B, seed: u64) -> Result<f32, ProofError>
where
    A: Engine<Error = EngineError> + ?Sized,
    B: Engine<Error = EngineError> + ?Sized,
{
    let mut largest: f32 = 0.0;
    let mut of_a = vec![0.0; PASSES as usize * model.classes()];
    let mut of_b = of_a.clone();
    for frame in 0..FRAMES {
        let input = noise(seed, frame, model.input_shape().len());
        a.begin(frame, &input)?;
        b.begin(frame, &input)?;
        a.sample(0..PASSES, &mut of_a)?;
        b.sample(0..PASSES, &mut of_b)?;
        let scale = of_b.iter().fold(1.0_f32, |most, v| most.max(v.abs()));
        let found = difference(&of_a, &of_b) / scale;
        // A NaN is no agreement either.
        if found.is_nan() || found > BATCH_TOLERANCE {
            return Err(ProofError::Disagreement {
                engines: [a.name(), b.name()],
                difference: found,
            });
        }
        largest = largest.max(found);
    }
    Ok(largest)
}

/// Compares passes of the frame begun last, run alone and together.
fn batch_difference<E: GivenMasks + ?Sized>(engine: &mut E) -> Result<f32, ProofError> {
    const TOGETHER: u32 = 5;
    let classes = engine.classes();
    let mut together = vec![0.0; TOGETHER as usize * classes];
    engine.sample(0..TOGETHER, &mut together)?;
    let mut largest: f32 = 0.0;
    for (pass, row) in (0..).zip(together.chunks(classes)) {
        let mut alone = vec![0.0; classes];
        engine.sample(pass..pass + 1, &mut alone)?;
        largest = largest.max(difference(&alone, row));
    }
    let scale = together.iter().fold(1.0_f32, |most, v| most.max(v.abs()));
    if largest <= BATCH_TOLERANCE * scale {
        Ok(largest)
    } else {
        Err(ProofError::Batch {
            difference: largest,
        })
    }
}

fn passes<E: GivenMasks + ?Sized>(
    engine: &mut E,
    count: u32,
    fill: &mut dyn FnMut(usize, &mut [f32]),
) -> Result<Vec<f32>, EngineError> {
    let mut logits = vec![0.0; count as usize * engine.classes()];
    engine.sample_given(count as usize, fill, &mut logits)?;
    Ok(logits)
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

/// An input of uniform noise in −1..2, about the range of a normalised image.
fn noise(seed: u64, frame: u32, length: usize) -> Vec<f32> {
    let key = [seed as u32, (seed >> 32) as u32];
    let words = (0..).flat_map(|block| philox4x32_10([block, u32::MAX, u32::MAX, frame], key));
    let unit = words.map(|word| word as f32 / u32::MAX as f32);
    unit.map(|v| 3.0 * v - 1.0).take(length).collect()
}
