//! What answers frames: the plan, and the engine that runs it.

use core::fmt;

use device::engine::Engine as _;
use device::engine::micro::{self, Micro, MicroError, PlanFile, PlanFileError};
use device::inference::{Buffers, Inference, Settings, Timing};
use shared::image::FrameView;
#[cfg(feature = "resample")]
use shared::image::Geometry;
use shared::wire::delivery::Guarantee;
use shared::wire::message::{
    Hello, MAX_LABELS, Notice, NoticeCode, Report, SCHEMA_HASH, shortened,
};

use crate::memory::{CLASSES, Memory, Parts};
use crate::report::text;

/// The number format of this build.
#[cfg(feature = "int8")]
type Number = micro::Int8;
#[cfg(not(feature = "int8"))]
type Number = micro::F32;

/// A plan, ready to judge frames.
#[derive(Debug)]
pub(crate) struct Judge<'m> {
    inference: Inference<Engine<'m>, &'m mut [f32], CLASSES>,
}

/// Where a picture comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The host, which has brought it to the model's input already.
    Line,
    /// The board's own camera.
    Camera,
}

impl<'m> Judge<'m> {
    /// Checks the plan that `bytes` begins with and prepares to run it. Gives the judge and memory
    /// for a frame of the size of the model's input.
    ///
    /// # Errors
    /// The notice that says what is wrong with the plan.
    #[inline(never)]
    pub(crate) fn new(
        bytes: &'m [u8],
        memory: &'m mut Memory,
    ) -> Result<(Self, &'m mut [u8]), Notice> {
        // One after the other: together they would take twice the stack.
        let (plan, settings, parts) = prepare(bytes, memory)?;
        let inference = join(plan, settings, parts.engine, parts.buffers)?;
        Ok((Self { inference }, parts.pixels))
    }

    /// The greeting of a device of this name.
    pub(crate) fn hello(&self, name: &str) -> Hello {
        let engine = self.inference.engine();
        let plan = engine.plan();
        let input = plan.input();
        Hello {
            schema: SCHEMA_HASH,
            device: shortened(name),
            software: shortened(env!("CARGO_PKG_VERSION")),
            engine: shortened(engine.name()),
            model: plan.model(),
            input: [input.channels, input.height, input.width].map(|side| side as u16),
            classes: plan.classes() as u16,
            labels: plan.labels().take(MAX_LABELS).map(shortened).collect(),
            passes: plan.passes(),
            seed: plan.seed(),
            thresholds: plan.thresholds(),
            // What the line is told of itself is added there.
            epoch: 0,
            challenge: 0,
            guarantee: Guarantee::Once,
            preprocessing: plan
                .preprocessing_bytes()
                .map(|bytes| (*bytes).into())
                .unwrap_or_default(),
        }
    }

    /// Judges one frame, which was whole at `captured_us`; `origin` says where it comes from. The report's
    /// age and latency are left open.
    ///
    /// # Errors
    /// The notice to answer with.
    #[inline(never)]
    pub(crate) fn judge(
        &mut self,
        frame: u32,
        captured_us: u64,
        picture: &FrameView<'_>,
        origin: Origin,
    ) -> Result<Report, Notice> {
        // Without this feature, what has the input's size is taken as it is in any case.
        #[cfg(feature = "resample")]
        self.inference.set_geometry(match origin {
            Origin::Line => Geometry::Stretch,
            Origin::Camera => {
                let wanted = self.inference.engine().plan().preprocessing();
                wanted.unwrap_or_default().geometry
            }
        });
        #[cfg(not(feature = "resample"))]
        let _ = origin;
        self.inference
            .judge(frame, picture)
            .map(|outcome| {
                outcome.report(
                    frame,
                    Timing {
                        captured_us,
                        ..Timing::default()
                    },
                )
            })
            .map_err(|error| refusal(NoticeCode::FrameRefused, frame, error))
    }
}

type Engine<'m> = Micro<'m, &'m mut [u32], Number>;

/// Checks a plan and parts the memory.
#[inline(never)]
fn prepare<'m>(
    bytes: &'m [u8],
    memory: &'m mut Memory,
) -> Result<(PlanFile<'m>, Settings, Parts<'m>), Notice> {
    #[cfg(feature = "signed")]
    let bytes = signed(bytes)?;
    let plan = PlanFile::parse(bytes).map_err(|error| refusal(plan_code(&error), 0, error))?;
    let settings = Settings {
        passes: plan.passes(),
        adaptive: plan.adaptive(),
        block: 1,
        // A plan that was parsed has one.
        preprocessing: plan.preprocessing().unwrap_or_default(),
        crop: None,
        thresholds: plan.thresholds(),
    };
    let parts = memory.split(&plan, &settings).map_err(|error| {
        let needed = u32::try_from(error.needed).unwrap_or(u32::MAX);
        refusal(NoticeCode::PlanMemory, needed, error)
    })?;
    Ok((plan, settings, parts))
}

/// A plan without its signature, which has to be by the key that the firmware was built with; what is
/// none is left to who reads plans.
#[cfg(feature = "signed")]
#[inline(never)]
fn signed(bytes: &[u8]) -> Result<&[u8], Notice> {
    use device::signature::{Kind, PublicKey, verify};
    const KEY: [u8; PublicKey::BYTES] =
        match crate::key::of_digits(env!("MCDROPOUT_TRUST").as_bytes()) {
            Some(key) => key,
            None => panic!("MCDROPOUT_TRUST is not a key of 64 hexadecimal digits"),
        };
    if Kind::of(bytes) != Kind::Plan {
        return Ok(bytes);
    }
    verify(Kind::Plan, bytes, &[PublicKey::new(KEY)])
        .map_err(|error| refusal(NoticeCode::PlanContent, 0, error))
}

/// Joins a plan with memory.
#[inline(never)]
fn join<'m>(
    plan: PlanFile<'m>,
    settings: Settings,
    engine: &'m mut [u32],
    buffers: Buffers<&'m mut [f32]>,
) -> Result<Inference<Engine<'m>, &'m mut [f32], CLASSES>, Notice> {
    let engine = Micro::new(plan, plan.seed(), engine).map_err(|error| match error {
        MicroError::Format { .. } => refusal(NoticeCode::PlanFormat, 0, error),
        _ => refusal(NoticeCode::PlanContent, 0, error),
    })?;
    Inference::new(engine, settings, buffers)
        .map_err(|error| refusal(NoticeCode::PlanContent, 0, error))
}

fn plan_code(error: &PlanFileError) -> NoticeCode {
    match error {
        PlanFileError::Missing => NoticeCode::PlanMissing,
        PlanFileError::Version { .. } => NoticeCode::PlanVersion,
        PlanFileError::Length { .. } => NoticeCode::PlanLength,
        PlanFileError::Checksum => NoticeCode::PlanChecksum,
        PlanFileError::Schema { .. } => NoticeCode::PlanSchema,
        _ => NoticeCode::PlanContent,
    }
}

/// Not inlined: each would take its own room on the stack.
#[inline(never)]
fn refusal(code: NoticeCode, detail: u32, error: impl fmt::Display) -> Notice {
    Notice {
        code,
        detail,
        text: text(format_args!("{error}")),
    }
}
