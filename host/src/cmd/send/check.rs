//! Whether a board's answers are those of the device's own engine on this machine.

use std::path::Path;

use anyhow::{Context, ensure};
use device::engine::Engine;
use device::inference::{Outcome, Timing};
use device::session::{LinuxInference, MAX_CLASSES, Options, Session};
use shared::image::{FrameView, Geometry};
use shared::uncertainty::PassAccumulator;
use shared::wire::message::{Hello, Report};

use crate::monitor::Agreement;

/// Most passes that an answer may claim to have taken.
const MOST_PASSES: u32 = 1_000_000;
/// Passes handed to the engine at a time.
const BLOCK: u32 = 100;

/// Recomputes answers with the masks, thresholds and passes that the board names.
pub(super) struct Check {
    inference: LinuxInference,
    accumulator: Box<PassAccumulator<MAX_CLASSES>>,
    logits: Vec<f32>,
    passes: Option<u32>,
    /// What was found so far.
    pub(super) agreement: Agreement,
}

impl Check {
    /// Loads the model or plan file at `path`, which must be that of the board that greets with `hello`. With
    /// `passes`, every answer is recomputed with so many; else with as many as it took.
    pub(super) fn open(
        path: &Path,
        hello: &Hello,
        passes: Option<u32>,
        tolerance: f64,
    ) -> anyhow::Result<Self> {
        let session = Session::open(
            path,
            &Options {
                passes: BLOCK,
                block: BLOCK,
                seed: Some(hello.seed),
                thresholds: Some(hello.thresholds),
                ..Options::default()
            },
        )?;
        let here = session.about.crc32;
        ensure!(
            here == hello.model,
            "the device runs model {:08x}, but {} is {here:08x}: give the file that the device runs, or that its plan was made from",
            hello.model,
            path.display()
        );
        let classes = session.inference.engine().classes();
        let mut inference = session.inference;
        // As on the board, which is sent what its model sees.
        inference.set_geometry(Geometry::Stretch);
        Ok(Self {
            inference,
            accumulator: Box::new(PassAccumulator::new(classes)?),
            logits: vec![0.0; BLOCK as usize * classes],
            passes,
            agreement: Agreement::new(&path.display().to_string(), tolerance),
        })
    }

    /// Compares the board's `report` on `picture` with what comes out here.
    pub(super) fn compare(
        &mut self,
        report: &Report,
        picture: &FrameView<'_>,
    ) -> anyhow::Result<()> {
        let passes = self.passes.unwrap_or(report.passes);
        ensure!(
            (1..=MOST_PASSES).contains(&passes),
            "the device says that frame {} took {passes} passes, which cannot be",
            report.frame
        );
        let image = self.inference.begin(report.frame, picture)?;
        let classes = self.accumulator.classes();
        self.accumulator.reset();
        for first in (0..passes).step_by(BLOCK as usize) {
            let block = first..passes.min(first + BLOCK);
            let logits = &mut self.logits[..block.len() * classes];
            self.inference.engine_mut().sample(block, logits)?;
            for pass in logits.chunks_exact(classes) {
                self.accumulator.push(pass)?;
            }
        }
        let measures = self.accumulator.measures().context("no pass was run")?;
        let causes = self
            .inference
            .settings()
            .thresholds
            .judge(&measures, &image);
        let here = Outcome {
            measures,
            image,
            causes,
        };
        self.agreement
            .compare(report, &here.report(report.frame, Timing::default()));
        Ok(())
    }
}
