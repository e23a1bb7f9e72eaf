//! Every frame of the data sets through the device's loop body.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Context;
use device::engine::Engine;
use device::inference::{Inference, Outcome, Settings};
use device::session::{LinuxInference, MAX_CLASSES};
use shared::stopping::Delta;
use shared::uncertainty::Measures;

use super::engine::Setup;
use super::frames::{Classes, Frames};
use super::judged::{Judged, Judgements, Run, Standard};
use super::records::{BothPhases, Outputs};
use crate::parallel::in_blocks;

/// Frames that a thread takes at a time: few, so that threads end together and Ctrl-C is heard.
const BLOCK: usize = 8;

/// Judges every frame on `threads` threads, each with its own engine; the figures do not depend on
/// their number. `None` if `stop` was set before the end. `advance` hears how many more frames are
/// judged.
///
/// # Errors
/// The model cannot be used, its classes are not as many as the data set's, or a frame cannot be
/// judged (such as by outputs that are not finite); the message names the frame.
pub fn judge(
    setup: &Setup,
    frames: &Frames,
    threads: usize,
    stop: &AtomicBool,
    advance: &dyn Fn(u64),
) -> anyhow::Result<Option<Judgements>> {
    let found = phases(setup, frames, threads, stop, advance, false, &|_| ())?;
    Ok(found.map(|(judgements, _)| judgements))
}

/// As [`judge`], and then asks the standard test phase about every frame, too.
///
/// # Errors
/// As [`judge`].
pub fn judge_both_phases(
    setup: &Setup,
    frames: &Frames,
    threads: usize,
    stop: &AtomicBool,
    advance: &dyn Fn(u64),
) -> anyhow::Result<Option<Judgements>> {
    let found = phases(setup, frames, threads, stop, advance, true, &|_| ())?;
    Ok(found.map(|(judgements, _)| judgements))
}

/// As [`judge_both_phases`], and keeps what the network put out for every frame.
///
/// # Errors
/// As [`judge`].
pub fn judge_with_outputs(
    setup: &Setup,
    frames: &Frames,
    threads: usize,
    stop: &AtomicBool,
    advance: &dyn Fn(u64),
) -> anyhow::Result<Option<(Judgements, BothPhases)>> {
    phases(setup, frames, threads, stop, advance, true, &Outputs::of)
}

/// Judgements and, of each frame, what `output` keeps of the measures of Monte Carlo dropout and, if
/// `standard`, of the standard test phase.
fn phases<O: Send>(
    setup: &Setup,
    frames: &Frames,
    threads: usize,
    stop: &AtomicBool,
    advance: &dyn Fn(u64),
    standard: bool,
    output: &(impl Fn(&Measures<MAX_CLASSES>) -> O + Sync),
) -> anyhow::Result<Option<(Judgements, BothPhases<O>)>> {
    let threads = threads.clamp(1, frames.len().div_ceil(BLOCK).max(1));
    let (ready, about) = (OnceLock::new(), OnceLock::new());
    let starts = (0..threads).map(|thread| {
        let (ready, about) = (&ready, &about);
        move || {
            let opened = setup.open()?;
            let classes = frames.classes(&opened, thread == 0)?;
            let mut inference = opened.inference;
            about.get_or_init(|| About {
                engine: inference.engine().name(),
                seed: opened.seed,
                settings: inference.settings().clone(),
                classes: classes.clone(),
            });
            ready.get_or_init(Instant::now);
            let keep = move |number, outcome: &Outcome<_>| {
                let judged = Judged::new(outcome, classes.label(frames, number));
                (judged, output(&outcome.measures))
            };
            Ok(move |block| judge_block(&mut inference, frames, block, &keep))
        }
    });
    let Some(found) = in_blocks(frames.len(), BLOCK, starts, stop, advance)? else {
        return Ok(None);
    };
    let seconds = ready
        .get()
        .map_or(0.0, |ready| ready.elapsed().as_secs_f64());
    let (mut judged, monte_carlo): (Vec<Judged>, Vec<O>) = found.into_iter().unzip();
    let about = about.into_inner().context("no engine was opened")?;
    let mut outputs = BothPhases {
        monte_carlo,
        standard: Vec::new(),
    };
    let opened = standard.then(|| setup.open_standard(&about.settings));
    if let Some(Err(error)) = opened {
        tracing::warn!("no standard test phase: {error:#}");
    } else if standard {
        let starts = (0..threads).map(|_| || setup.open_standard(&about.settings));
        let Some(standard) = judge_standard(frames, &about.classes, starts, stop, output)? else {
            return Ok(None);
        };
        for (frame, (standard, output)) in judged.iter_mut().zip(standard) {
            frame.standard = Some(standard);
            outputs.standard.push(output);
        }
    }
    let names = |known| {
        let sets = frames.sets().iter().filter(|set| set.known == known);
        sets.map(|set| set.name.clone()).collect()
    };
    let run = Run {
        engine: about.engine.to_owned(),
        datasets: names(true),
        ood_datasets: names(false),
        seed: about.seed,
        passes: setup.passes,
        adaptive_delta: setup.adaptive.map(Delta::value),
        frames: judged.len(),
        frames_per_second: judged.len() as f64 / seconds,
        seconds,
        threads,
    };
    let judgements = Judgements {
        frames: judged,
        run,
    };
    Ok(Some((judgements, outputs)))
}

/// What the first engine that is ready tells of all.
struct About {
    engine: &'static str,
    seed: u64,
    settings: Settings,
    classes: Classes,
}

/// What the network says about every frame without dropout, on as many threads as there are starts.
fn judge_standard<O: Send>(
    frames: &Frames,
    classes: &Classes,
    starts: impl Iterator<Item = impl FnOnce() -> anyhow::Result<LinuxInference> + Send>,
    stop: &AtomicBool,
    output: &(impl Fn(&Measures<MAX_CLASSES>) -> O + Sync),
) -> anyhow::Result<Option<Vec<(Standard, O)>>> {
    let starts = starts.map(|open| {
        move || {
            let mut inference = open()?;
            let keep = move |number, outcome: &Outcome<_>| {
                let standard = Standard::new(&outcome.measures, classes.label(frames, number));
                (standard, output(&outcome.measures))
            };
            Ok(move |block| judge_block(&mut inference, frames, block, &keep))
        }
    });
    in_blocks(frames.len(), BLOCK, starts, stop, &|_| ())
}

/// What `keep` keeps of the frames of a block, given their numbers and outcomes.
fn judge_block<E, T>(
    inference: &mut Inference<E, Vec<f32>, MAX_CLASSES>,
    frames: &Frames,
    block: Range<usize>,
    keep: &impl Fn(usize, &Outcome<MAX_CLASSES>) -> T,
) -> anyhow::Result<Vec<T>>
where
    E: Engine<Error: std::fmt::Debug + Send + Sync + 'static>,
{
    let format = inference.settings().preprocessing.pixel_format();
    let judge = |number: usize| -> anyhow::Result<T> {
        let (set, index) = frames.find(number);
        let mut judged = || -> anyhow::Result<_> {
            let picture = set.images.frame(index, format)?;
            let frame = u32::try_from(number).context("frames are numbered in 32 bits")?;
            Ok(inference.judge(frame, &picture.view()?)?)
        };
        let outcome =
            judged().with_context(|| format!("frame {number} (image {index} of {})", set.name))?;
        Ok(keep(number, &outcome))
    };
    block.map(judge).collect()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use device::engine::InputShape;
    use device::inference::Buffers;
    use shared::image::{Normalisation, PixelFormat, Preprocessing};
    use shared::triage::Thresholds;

    use super::*;
    use crate::data::Dataset;
    use crate::evaluate::ImageSet;

    const SIDE: usize = 28;

    /// Two classes; the logit of frame 12 is not a number.
    struct Sick(u32);

    impl Engine for Sick {
        type Error = Infallible;

        fn name(&self) -> &'static str {
            "sick"
        }

        fn input_shape(&self) -> InputShape {
            InputShape {
                channels: 1,
                height: SIDE,
                width: SIDE,
            }
        }

        fn classes(&self) -> usize {
            2
        }

        fn begin(&mut self, frame: u32, _input: &[f32]) -> Result<(), Infallible> {
            self.0 = frame;
            Ok(())
        }

        fn sample(&mut self, _passes: Range<u32>, logits: &mut [f32]) -> Result<(), Infallible> {
            logits.fill(if self.0 == 12 { f32::NAN } else { 1.0 });
            Ok(())
        }
    }

    fn images(count: usize) -> Dataset {
        let names = vec!["a".into(), "b".into()];
        let pixels = vec![128; count * SIDE * SIDE];
        Dataset::in_memory(
            names,
            vec![1; count],
            (SIDE, SIDE),
            PixelFormat::Grey8,
            pixels,
        )
    }

    #[test]
    fn frames_out_of_distribution_follow_and_an_output_that_is_no_number_names_its_frame() {
        let set = |name: &str, count, known| ImageSet {
            name: name.into(),
            images: images(count),
            known,
        };
        let frames = Frames::new(vec![
            set("mnist", 10, true),
            set("nothing", 0, true),
            set("fashion-mnist", 5, false),
        ]);
        assert_eq!((frames.numbers(0), frames.numbers(2)), (0..10, 10..15));
        assert_eq!(frames.len(), 15);
        let settings = Settings {
            passes: 3,
            adaptive: None,
            block: 3,
            preprocessing: Preprocessing::grey(Normalisation::MNIST),
            crop: None,
            thresholds: Thresholds::OFF,
        };
        let buffers = Buffers {
            input: vec![0.0; SIDE * SIDE],
            scratch: Vec::new(),
            logits: vec![0.0; 6],
            record: Vec::new(),
        };
        let mut inference = Inference::new(Sick(0), settings, buffers).expect("valid");
        let keep = |number, _: &Outcome<_>| frames.find(number).0.known;
        let answered = judge_block(&mut inference, &frames, 8..12, &keep).expect("finite");
        assert_eq!(answered, [true, true, false, false]);

        let error = judge_block(&mut inference, &frames, 8..15, &keep).expect_err("not a number");
        let message = format!("{error:#}");
        assert!(
            message.starts_with("frame 12 (image 2 of fashion-mnist): "),
            "{message}"
        );
        assert!(message.contains("not a finite number"), "{message}");
    }
}
