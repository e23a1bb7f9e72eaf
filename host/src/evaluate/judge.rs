//! Every frame of the data sets through the device's loop body.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, ensure};
use device::engine::Engine;
use device::inference::{Inference, Outcome, Settings};
use device::session::{LinuxInference, MAX_CLASSES};
use shared::image::GrayFrame;
use shared::stopping::Delta;

use super::engine::{Opened, Setup};
use super::judged::{Judged, Judgements, Run, Standard};
use crate::data::{Dataset, DatasetName, SIDE, Split};
use crate::parallel::in_blocks;

/// Frames that a thread takes at a time: few, so that threads end together and Ctrl-C is heard.
const BLOCK: usize = 8;

/// Images of one kind.
#[derive(Debug, Clone)]
pub struct ImageSet {
    /// What they are called in messages.
    pub name: String,
    /// The images and their labels.
    pub images: Dataset,
    /// Whether their labels are the model's classes; if not, they are out of distribution and have
    /// no right answer.
    pub known: bool,
}

/// What is judged: image sets, one after the other. A frame's number is the images' before it.
#[derive(Debug)]
pub struct Frames {
    sets: Vec<ImageSet>,
    /// The number of each set's first frame, and after them the number of frames.
    starts: Vec<usize>,
}

impl Frames {
    /// The frames of these sets, in this order.
    #[must_use]
    pub fn new(sets: Vec<ImageSet>) -> Self {
        let mut starts = vec![0];
        for set in &sets {
            starts.push(starts[starts.len() - 1] + set.images.len());
        }
        Self { sets, starts }
    }

    /// The test images of a data set, and of another one that the model does not know; of each the
    /// first `limit` images, if given.
    ///
    /// # Errors
    /// A data set is absent, damaged, or has no images.
    pub fn load(
        dataset: &DatasetName,
        ood: Option<&DatasetName>,
        limit: Option<usize>,
    ) -> anyhow::Result<Self> {
        let load = |name: &DatasetName, known| -> anyhow::Result<_> {
            let mut images = name.load(Split::Test)?;
            images.truncate(limit.unwrap_or(usize::MAX));
            Ok(ImageSet {
                name: name.to_string(),
                images,
                known,
            })
        };
        let mut sets = vec![load(dataset, true)?];
        if let Some(ood) = ood {
            sets.push(load(ood, false)?);
        }
        Ok(Self::new(sets))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts[self.sets.len()]
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sets.
    #[must_use]
    pub fn sets(&self) -> &[ImageSet] {
        &self.sets
    }

    /// The numbers of the frames of set `set`.
    ///
    /// # Panics
    /// If there is no such set.
    #[must_use]
    pub fn numbers(&self, set: usize) -> Range<usize> {
        self.starts[set]..self.starts[set + 1]
    }

    /// The set that frame `number` comes from, and its index there.
    ///
    /// # Panics
    /// If there is no such frame.
    #[must_use]
    pub fn find(&self, number: usize) -> (&ImageSet, usize) {
        let set = self.starts.partition_point(|&start| start <= number) - 1;
        (&self.sets[set], number - self.starts[set])
    }

    /// The right class of frame `number`, if it shows one of the model's.
    ///
    /// # Panics
    /// If there is no such frame.
    #[must_use]
    pub fn label(&self, number: usize) -> Option<usize> {
        let (set, index) = self.find(number);
        set.known.then(|| usize::from(set.images.labels[index]))
    }

    /// Whether a model with these classes can be asked for those of the known sets; `tell` of what is odd.
    fn fit(&self, opened: &Opened, tell: bool) -> anyhow::Result<()> {
        for ImageSet { name, images, .. } in self.sets.iter().filter(|set| set.known) {
            let (model, data) = (opened.inference.engine().classes(), &images.class_names);
            ensure!(
                model == data.len(),
                "the model has {model} classes and {name} has {}",
                data.len()
            );
            if tell && opened.labels != *data {
                tracing::warn!(
                    "the model's classes ({}) are not named as those of {name} ({}): was it trained on them?",
                    opened.labels.join(", "),
                    data.join(", ")
                );
            }
        }
        if tell && !opened.calibrated {
            tracing::warn!("the model file carries no thresholds: generic ones are in force");
        }
        Ok(())
    }
}

/// Judges every frame on `threads` threads, each with its own engine, and then asks the standard
/// test phase; the figures do not depend on the number of threads. `None` if `stop` was set before
/// the end. `advance` hears how many more frames are judged.
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
    let threads = threads.clamp(1, frames.len().div_ceil(BLOCK).max(1));
    let (ready, about) = (OnceLock::new(), OnceLock::new());
    let starts = (0..threads).map(|thread| {
        let (ready, about) = (&ready, &about);
        move || {
            let opened = setup.open()?;
            frames.fit(&opened, thread == 0)?;
            let mut inference = opened.inference;
            about.get_or_init(|| About {
                engine: inference.engine().name(),
                seed: opened.seed,
                settings: inference.settings().clone(),
            });
            ready.get_or_init(Instant::now);
            let judge =
                move |number, outcome: &Outcome<_>| Judged::new(outcome, frames.label(number));
            Ok(move |block| judge_block(&mut inference, frames, block, &judge))
        }
    });
    let Some(mut judged) = in_blocks(frames.len(), BLOCK, starts, stop, advance)? else {
        return Ok(None);
    };
    let seconds = ready
        .get()
        .map_or(0.0, |ready| ready.elapsed().as_secs_f64());
    let about = about.into_inner().context("there are no frames")?;
    if let Err(error) = setup.open_standard(&about.settings) {
        tracing::warn!("no standard test phase: {error:#}");
    } else {
        let starts = (0..threads).map(|_| || setup.open_standard(&about.settings));
        let Some(standard) = judge_standard(frames, starts, stop)? else {
            return Ok(None);
        };
        for (frame, standard) in judged.iter_mut().zip(standard) {
            frame.standard = Some(standard);
        }
    }
    let names = |known| {
        let sets = frames.sets.iter().filter(|set| set.known == known);
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
    Ok(Some(Judgements {
        frames: judged,
        run,
    }))
}

/// What the first engine that is ready tells of all.
struct About {
    engine: &'static str,
    seed: u64,
    settings: Settings,
}

/// What the network says about every frame without dropout, on as many threads as there are starts.
fn judge_standard(
    frames: &Frames,
    starts: impl Iterator<Item = impl FnOnce() -> anyhow::Result<LinuxInference> + Send>,
    stop: &AtomicBool,
) -> anyhow::Result<Option<Vec<Standard>>> {
    let starts = starts.map(|open| {
        || {
            let mut inference = open()?;
            let keep = |number, outcome: &Outcome<_>| {
                Standard::new(&outcome.measures, frames.label(number))
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
    let judge = |number: usize| -> anyhow::Result<T> {
        let (set, index) = frames.find(number);
        let mut judged = || -> anyhow::Result<_> {
            let picture = GrayFrame::new(SIDE, SIDE, SIDE, set.images.image(index))?;
            let frame = u32::try_from(number).context("frames are numbered in 32 bits")?;
            Ok(inference.judge(frame, &picture)?)
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
    use device::inference::{Buffers, MAX_CHANNELS};
    use shared::image::{Fit, Normalisation};
    use shared::triage::Thresholds;

    use super::*;

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
        Dataset {
            class_names: vec!["a".into(), "b".into()],
            pixels: vec![128; count * Dataset::PIXELS],
            labels: vec![1; count],
        }
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
            normalisation: [Normalisation::MNIST; MAX_CHANNELS],
            crop: None,
            fit: Fit::default(),
            thresholds: Thresholds::OFF,
        };
        let buffers = Buffers {
            luma: vec![0.0; Dataset::PIXELS],
            input: vec![0.0; Dataset::PIXELS],
            logits: vec![0.0; 6],
            record: Vec::new(),
        };
        let mut inference = Inference::new(Sick(0), settings, buffers).expect("valid");
        let keep = |number, _: &Outcome<_>| frames.label(number).is_some();
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
