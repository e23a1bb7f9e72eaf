//! The raw outputs of every pass, which studies look into and verdicts do not need.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use device::engine::Engine;
use device::session::LinuxInference;
use device::source::Frame;
use shared::image::{FrameStatistics, PixelFormat};
use shared::triage::Thresholds;

use crate::data::{ClassMap, Dataset};
use crate::evaluate::Setup;
use crate::parallel::in_blocks;

/// Frames that a thread takes at a time.
const BLOCK: usize = 8;

/// A model that gives the logits of all passes of a frame.
#[allow(missing_debug_implementations)] // Engines wrap foreign runtimes without one.
pub(super) struct Sampler {
    inference: LinuxInference,
    /// Class names, in label order.
    pub(super) labels: Vec<String>,
    /// The model's classes of the data set's.
    pub(super) classes: ClassMap,
    passes: u32,
    logits: Vec<f32>,
}

/// All passes of one frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passes<'a> {
    /// Raw outputs, `[pass][class]`.
    pub(super) logits: &'a [f32],
    /// Number of classes.
    pub(super) classes: usize,
    /// What the picture looked like.
    pub(super) statistics: FrameStatistics,
    /// Limits for accepting it.
    pub(super) thresholds: &'a Thresholds,
}

impl Passes<'_> {
    /// The raw outputs of one pass after the other, `[class]` each.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.logits.chunks_exact(self.classes)
    }
}

impl Sampler {
    /// Loads the model for use on one thread. It is to have the classes of `data`.
    pub(super) fn open(setup: &Setup, data: &Dataset) -> anyhow::Result<Self> {
        let opened = setup.open()?;
        let classes = opened.inference.engine().classes();
        Ok(Self {
            classes: ClassMap::new(&opened.labels, &data.class_names)?,
            labels: opened.labels,
            inference: opened.inference,
            passes: setup.passes,
            logits: vec![0.0; setup.passes as usize * classes],
        })
    }

    /// Name of the engine.
    pub(super) fn engine(&self) -> &'static str {
        self.inference.engine().name()
    }

    /// The format in which pictures serve the model.
    pub(super) fn format(&self) -> PixelFormat {
        self.inference.settings().preprocessing.pixel_format()
    }

    /// All passes over a picture; `frame` numbers the masks.
    pub(super) fn sample(&mut self, frame: u32, picture: &Frame) -> anyhow::Result<Passes<'_>> {
        let statistics = self.inference.begin(frame, &picture.view()?)?;
        let engine = self.inference.engine_mut();
        engine.sample(0..self.passes, &mut self.logits)?;
        Ok(Passes {
            logits: &self.logits,
            classes: self.inference.engine().classes(),
            statistics,
            thresholds: &self.inference.settings().thresholds,
        })
    }
}

/// What `work` makes of the passes of each image and its class, in the order of the images; the
/// number of threads does not matter. Image i is frame i. Tells the engine's name, too. `None` if
/// `stop` was set before the end. `advance` hears how many more images are done.
pub(super) fn over_images<T: Send>(
    setup: &Setup,
    data: &Dataset,
    threads: usize,
    stop: &AtomicBool,
    advance: &dyn Fn(u64),
    work: impl Fn(Passes<'_>, usize) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Option<Vec<T>>> {
    let threads = threads.clamp(1, data.len().div_ceil(BLOCK).max(1));
    let starts = (0..threads).map(|_| {
        let work = &work;
        move || {
            let mut sampler = Sampler::open(setup, data)?;
            Ok(move |images: Range<usize>| {
                let one = |image: usize| -> anyhow::Result<T> {
                    let frame = u32::try_from(image).context("frames are numbered in 32 bits")?;
                    let class = sampler.classes.class(data.labels[image]);
                    let picture = data.frame(image, sampler.format())?;
                    let passes = sampler.sample(frame, &picture)?;
                    work(passes, class).with_context(|| format!("image {image}"))
                };
                images.map(one).collect()
            })
        }
    });
    in_blocks(data.len(), BLOCK, starts, stop, advance)
}
