//! A suite on every engine that this machine has.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use device::engine::Engine as _;
use device::engine::native::{Level, NativeEngine, Plan};
use device::engine::ort::OrtEngine;
use device::engine::tract::TractEngine;
use device::inference::{Inference, Settings};
use device::onnx::Model;
use device::session::{AnyEngine, LinuxInference, MAX_CLASSES};
use shared::image::{FrameStatistics, Preprocessing};
use shared::mask::MaskSource;
use shared::triage::Thresholds;
use shared::uncertainty::{Measures, PassAccumulator};

use crate::{Agreement, Case, Frame, Row};

/// Largest difference of a logit from libtorch, in units of the frame's largest logit (at least 1);
/// and of a measure.
pub const TOLERANCE: f64 = 1e-4;
/// And between the native engine's own sets of instructions.
const NATIVE_TOLERANCE: f64 = 1e-5;
/// Passes per batch: the last one of a frame is a smaller one.
const BLOCK: u32 = 16;
const NATIVE: &str = "native";

/// Runs every case of the suite in `folder` on every engine, in the order of their names.
///
/// # Errors
/// A logit, a measure, a mask or a verdict is not what libtorch's is, an engine takes a model that it
/// is said to refuse, or refuses another, or a frame run again is not the same to the bit.
pub fn check(folder: &Path) -> anyhow::Result<Vec<Row>> {
    let entries = fs::read_dir(folder).with_context(|| format!("no suite {}", folder.display()))?;
    let mut models: Vec<PathBuf> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    models.retain(|path| path.extension().is_some_and(|e| e == "onnx"));
    models.sort();
    let mut rows = Vec::new();
    for path in models {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let case = Case::read(&path.with_extension("json"))?;
        let model = Model::load(&path).with_context(|| name.to_string())?;
        let expected = Expected::new(&case, &model).with_context(|| name.to_string())?;
        let mut native: Option<Vec<f32>> = None;
        for (engine, opened) in engines(&model, case.seed) {
            let row = || format!("{name} on {engine}");
            let is_native = engine.starts_with(NATIVE);
            let outcome = match refusal(&case, &engine, opened).with_context(row)? {
                Err(reason) => Err(reason),
                Ok(engine) => {
                    let (agreement, logits) = expected.compare(engine).with_context(row)?;
                    if is_native {
                        let first = native.get_or_insert_with(|| logits.clone());
                        let difference = largest(first, &logits);
                        ensure!(
                            difference <= NATIVE_TOLERANCE * scale(first),
                            "{}: {difference:e} from the other instructions",
                            row()
                        );
                    }
                    Ok(agreement)
                }
            };
            rows.push(Row {
                case: name.to_string(),
                engine,
                outcome,
            });
        }
    }
    Ok(rows)
}

/// Every engine, ready or with its reason not to be.
fn engines(model: &Model, seed: u64) -> Vec<(String, anyhow::Result<AnyEngine>)> {
    let block = BLOCK as usize;
    let tract = || anyhow::Ok(Box::new(TractEngine::new(model, block, seed)?) as AnyEngine);
    let ort = || anyhow::Ok(Box::new(OrtEngine::new(model, block, seed)?) as AnyEngine);
    let mut engines = vec![("tract".into(), tract()), ("ort".into(), ort())];
    match Plan::from_model(model) {
        Err(error) => engines.push((NATIVE.into(), Err(error.into()))),
        Ok(plan) => engines.extend(Level::available().map(|level| {
            let engine = NativeEngine::new(plan.clone(), level, seed, 1);
            let engine = engine.map(|engine| Box::new(engine) as AnyEngine);
            (
                format!("{NATIVE} ({})", level.name()),
                engine.map_err(Into::into),
            )
        })),
    }
    engines
}

/// The engine, or its reason if that is the one expected.
fn refusal(
    case: &Case,
    name: &str,
    opened: anyhow::Result<AnyEngine>,
) -> anyhow::Result<Result<AnyEngine, String>> {
    let family = name.split(' ').next().unwrap_or(name);
    let expected = case.refused.iter().find(|r| r.engine == family);
    match (opened, expected) {
        (Ok(engine), None) => Ok(Ok(engine)),
        (Ok(_), Some(_)) => bail!("it takes the model, which it is said to refuse"),
        (Err(error), Some(refusal)) if error.to_string().contains(&refusal.reason) => {
            Ok(Err(error.to_string()))
        }
        (Err(error), _) => {
            Err(error.context("it refuses the model, or for another reason than expected"))
        }
    }
}

/// What an engine has to give.
struct Expected<'a> {
    case: &'a Case,
    /// Of each frame.
    measures: Vec<Measures<MAX_CLASSES>>,
    /// Between frames, so that some are flagged and some are not.
    thresholds: Thresholds,
}

impl<'a> Expected<'a> {
    fn new(case: &'a Case, model: &Model) -> anyhow::Result<Self> {
        let classes = model.classes();
        let measures = case.frames.iter().map(|frame| {
            let whole = case.passes as usize * classes;
            ensure!(frame.logits.len() == whole, "the case is of another model");
            let mut passes = PassAccumulator::new(classes)?;
            for pass in frame.logits.chunks(classes) {
                passes.push(pass)?;
            }
            passes.measures().context("no passes")
        });
        let measures = measures.collect::<anyhow::Result<Vec<_>>>()?;
        if case.logits_are_masks {
            masks_are_ours(case, model)?;
        }
        let limit = |of: fn(&Measures<MAX_CLASSES>) -> f64| {
            between(measures.iter().map(of).collect()).map(|limit| limit as f32)
        };
        let thresholds = Thresholds {
            max_predictive_entropy: limit(|m| m.predictive_entropy)?,
            max_expected_entropy: limit(|m| m.expected_entropy)?,
            max_mutual_information: limit(|m| m.mutual_information)?,
            ..Thresholds::OFF
        };
        Ok(Self {
            case,
            measures,
            thresholds,
        })
    }

    /// Runs all frames; gives the differences, and the logits.
    fn compare(&self, engine: AnyEngine) -> anyhow::Result<(Agreement, Vec<f32>)> {
        let case = self.case;
        let mut inference = inference(engine, case.passes, self.thresholds)?;
        let mut agreement = Agreement::default();
        let mut all = Vec::new();
        for (frame, expected) in case.frames.iter().zip(&self.measures) {
            let logits = sample(&mut inference, frame, case.passes)?;
            let scale = scale(&frame.logits);
            let difference = largest(&logits, &frame.logits) / scale;
            ensure!(
                difference <= TOLERANCE,
                "frame {}: a logit is {difference:e} of the largest away",
                frame.number
            );
            if case.logits_are_masks {
                let dropped = |logits: &[f32]| logits.iter().map(|&v| v == 0.0).collect::<Vec<_>>();
                ensure!(
                    dropped(&logits) == dropped(&frame.logits),
                    "frame {}: other masks",
                    frame.number
                );
            }
            agreement.logits = agreement.logits.max(difference);

            let outcome = inference
                .judge_input(frame.number, &frame.input, FrameStatistics::UNUSED)
                .map_err(|e| anyhow::anyhow!("{e}"))?;
            let mut difference = difference_of_measures(&outcome.measures, expected);
            // Rounding may change the winner of a pass where two classes lead.
            if clear(frame, expected.classes(), TOLERANCE * scale) {
                let shares = outcome.measures.variation_ratio - expected.variation_ratio;
                difference = difference.max(shares.abs());
            }
            ensure!(
                difference <= TOLERANCE * scale && outcome.measures.class == expected.class,
                "frame {}: a measure is {difference:e} away",
                frame.number
            );
            agreement.measures = agreement.measures.max(difference);
            let verdict = self.thresholds.judge(expected, &FrameStatistics::UNUSED);
            ensure!(
                outcome.causes == verdict,
                "frame {}: {:?}, not {verdict:?}",
                frame.number,
                outcome.causes
            );
            agreement.verdicts += 1;
            all.extend(logits);
        }
        // The first frame again, after all others.
        let first = &case.frames[0];
        let again = sample(&mut inference, first, case.passes)?;
        let bits = |logits: &[f32]| logits.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        ensure!(
            bits(&again) == bits(&all[..again.len()]),
            "a frame run again is another"
        );
        Ok((agreement, all))
    }
}

fn inference(
    engine: AnyEngine,
    passes: u32,
    thresholds: Thresholds,
) -> anyhow::Result<LinuxInference> {
    let settings = Settings {
        passes,
        adaptive: None,
        block: BLOCK.min(passes),
        // Inputs come normalised.
        // Inputs come prepared.
        preprocessing: Preprocessing::default(),
        crop: None,
        thresholds,
    };
    Ok(Inference::allocated(engine, settings)?)
}

fn sample(inference: &mut LinuxInference, frame: &Frame, passes: u32) -> anyhow::Result<Vec<f32>> {
    let engine = inference.engine_mut();
    let mut logits = vec![0.0; passes as usize * engine.classes()];
    engine.begin(frame.number, &frame.input)?;
    engine.sample(0..passes, &mut logits)?;
    Ok(logits)
}

/// Whether the masks that libtorch applied are those of [`MaskSource`] on this machine.
fn masks_are_ours(case: &Case, model: &Model) -> anyhow::Result<()> {
    let [site] = model.sites() else {
        bail!("masks can be seen of one site only");
    };
    // Of a site that drops channels, as many logits as a channel has elements show one element.
    let shown = model.classes() / site.elements();
    let masks = MaskSource::new(case.seed);
    for frame in &case.frames {
        for (pass, row) in (0..).zip(frame.logits.chunks(model.classes())) {
            for (class, &logit) in row.iter().enumerate() {
                let element = (class / shown) as u32;
                let keep = masks.keep(frame.number, pass, 0, element, site.keep);
                ensure!(
                    keep == (logit != 0.0),
                    "frame {} pass {pass}: element {element} has another mask",
                    frame.number
                );
            }
        }
    }
    Ok(())
}

/// The middle of the widest gap between values.
fn between(mut values: Vec<f64>) -> anyhow::Result<f64> {
    values.sort_by(f64::total_cmp);
    let gaps = values.windows(2).map(|pair| (pair[1] - pair[0], pair));
    let (gap, pair) = gaps
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .context("verdicts need two frames")?;
    ensure!(
        gap > 5.0 * TOLERANCE,
        "the frames are too alike for verdicts"
    );
    Ok(f64::midpoint(pair[0], pair[1]))
}

fn scale(logits: &[f32]) -> f64 {
    logits
        .iter()
        .fold(1.0, |most, v| f64::from(v.abs()).max(most))
}

/// Infinite where one is not a number or there are more of them.
fn largest(a: &[f32], b: &[f32]) -> f64 {
    if a.len() != b.len() {
        return f64::INFINITY;
    }
    let differences = a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs()));
    differences.fold(0.0, |most, d| {
        if d.is_nan() {
            f64::INFINITY
        } else {
            most.max(d)
        }
    })
}

/// Whether in every pass one class leads by more than `lead`.
fn clear(frame: &Frame, classes: usize, lead: f64) -> bool {
    frame.logits.chunks(classes).all(|pass| {
        let mut sorted = pass.to_vec();
        sorted.sort_by(f32::total_cmp);
        let [.., second, first] = sorted[..] else {
            return true;
        };
        f64::from(first - second) > lead
    })
}

fn difference_of_measures(a: &Measures<MAX_CLASSES>, b: &Measures<MAX_CLASSES>) -> f64 {
    let values = |m: &Measures<MAX_CLASSES>| {
        let mut values = vec![
            m.predictive_entropy,
            m.expected_entropy,
            m.mutual_information,
            m.confidence,
            m.margin,
        ];
        values.extend(m.mean_probabilities());
        values.extend(m.standard_deviations());
        values
    };
    let pairs = values(a).into_iter().zip(values(b));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}
