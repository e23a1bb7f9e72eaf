//! Runs images through a plan on an emulated Cortex-M, and prints what every pass has drawn and
//! computed, and how many instructions it took.
//!
//! QEMU's loader puts the plan to `PLAN` and the images to `IMAGES` (their number, then 8-bit luma,
//! image after image, of the size that the plan reads); with `-icount shift=0` an instruction takes a
//! nanosecond of the machine's time. A line begins with what it is:
//!
//! ```text
//! frame <number> stem <instructions>
//! pass <number> engine <instructions> measures <instructions> masks <CRC-32> logits <bits> …
//! measures <passes> <class> <bits of the measures> …
//! judged <all passes: instructions> adaptive <instructions> <passes> same <0 or 1>
//! ```

#![no_std]
#![no_main]

use core::fmt::Write as _;

use cortex_m as _;
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::entry;
use cortex_m_semihosting::debug::{self, EXIT_FAILURE, EXIT_SUCCESS};
use cortex_m_semihosting::hio::{self, HostStream};
use device::engine::Engine;
use device::engine::micro::{F32, Format, Int8, Micro, Number, PlanFile};
use device::inference::{Buffers, Inference, Settings};
use panic_semihosting as _;
use shared::image::FrameView;
use shared::stopping::{Delta, Record};
use shared::uncertainty::PassAccumulator;
use shared::wire::crc32;

/// Where QEMU's loader puts the plan, and the images.
const PLAN: usize = 0x0020_0000;
const IMAGES: usize = 0x0030_0000;
/// Room for each.
const ROOM: usize = 0x0010_0000;

/// Most classes.
const CLASSES: usize = 16;
/// Most passes.
const PASSES: u32 = 100;
/// Passes handed to the engine at a time, as in the firmware.
const BLOCK: u32 = 8;
/// Most pixels.
const PIXELS: usize = 64 * 64;
/// Nanoseconds, so instructions, in a tick of the core's clock of 25 MHz.
const INSTRUCTIONS_PER_TICK: u32 = 40;

/// Counts instructions by the core's timer.
struct Counter(SYST);

impl Counter {
    /// Which wraps after 671 million instructions.
    const RELOAD: u32 = 0x00FF_FFFF;

    fn new(mut timer: SYST) -> Self {
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(Self::RELOAD);
        timer.clear_current();
        timer.enable_counter();
        Self(timer)
    }

    #[allow(clippy::unused_self)] // Who has the counter knows that it runs.
    fn of<T>(&mut self, work: impl FnOnce() -> T) -> (u32, T) {
        let before = SYST::get_current();
        let result = work();
        let ticks = before.wrapping_sub(SYST::get_current()) & Self::RELOAD;
        (ticks * INSTRUCTIONS_PER_TICK, result)
    }
}

#[entry]
fn main() -> ! {
    let status = match hio::hstdout() {
        Ok(mut out) => match run(&mut out) {
            Ok(()) => EXIT_SUCCESS,
            Err(error) => {
                let _ = writeln!(out, "error {error}");
                EXIT_FAILURE
            }
        },
        Err(()) => EXIT_FAILURE,
    };
    loop {
        debug::exit(status);
    }
}

type Failed = &'static str;

/// What QEMU's loader has put to an address.
fn loaded(address: usize) -> &'static [u8] {
    // SAFETY: memory of the emulated board, which nothing writes.
    unsafe { core::slice::from_raw_parts(core::ptr::with_exposed_provenance(address), ROOM) }
}

fn run(out: &mut HostStream) -> Result<(), Failed> {
    let core = cortex_m::Peripherals::take().ok_or("the peripherals are taken")?;
    let mut counter = Counter::new(core.SYST);
    let plan = PlanFile::parse(loaded(PLAN)).map_err(|_| "the plan is refused")?;
    let (count, images) = loaded(IMAGES).split_first_chunk().ok_or("no images")?;
    let pixels = plan.input().len();
    let images = images
        .chunks_exact(pixels)
        .take(u32::from_le_bytes(*count) as usize);
    match plan.format() {
        Format::F32 => all::<F32>(out, &mut counter, plan, images),
        Format::Int8 => all::<Int8>(out, &mut counter, plan, images),
    }
}

#[allow(clippy::large_stack_arrays)] // The emulated board has four megabytes.
fn all<'i, N: Number>(
    out: &mut HostStream,
    counter: &mut Counter,
    plan: PlanFile<'static>,
    images: impl Iterator<Item = &'i [u8]>,
) -> Result<(), Failed> {
    let mut memory = [0; 1 << 16];
    let mut engine =
        Micro::<_, N>::new(plan, plan.seed(), &mut memory[..]).map_err(|_| "no memory")?;
    let mut memory = [0; 1 << 16];
    let other = Micro::<_, N>::new(plan, plan.seed(), &mut memory[..]).map_err(|_| "no memory")?;
    let mut buffers = [[0.0_f32; PIXELS]; 3];
    let [input, logits, record] = &mut buffers;
    let mut settings = Settings {
        passes: plan.passes().min(PASSES),
        adaptive: plan.adaptive(),
        block: BLOCK,
        preprocessing: plan.preprocessing().ok_or("no preprocessing")?,
        crop: None,
        thresholds: plan.thresholds(),
    };
    let delta = settings.adaptive.take().unwrap_or(Delta::DEFAULT);
    let [passes, classes] = [settings.passes, plan.classes() as u32];
    if Record::length(passes, classes as usize) > record.len() {
        return Err("too many passes or classes");
    }
    let buffers = Buffers {
        input: &mut [][..],
        scratch: &mut [][..],
        logits: &mut logits[..],
        record: &mut record[..],
    };
    let mut inference =
        Inference::<_, _, CLASSES>::new(other, settings, buffers).map_err(|_| "the settings")?;
    let mut accumulator =
        PassAccumulator::<CLASSES>::new(plan.classes()).map_err(|_| "the classes")?;
    let mut row = [0.0; CLASSES];
    let row = &mut row[..plan.classes()];
    let shape = plan.input();

    for (frame, image) in (0..).zip(images) {
        let picture = FrameView::grey(shape.width, shape.height, image).map_err(|_| "an image")?;
        inference.set_adaptive(None);
        let (whole, outcome) = counter.of(|| inference.judge(frame, &picture));
        let all = outcome.map_err(|_| "a frame")?;
        inference.set_adaptive(Some(delta));
        let (adaptive, outcome) = counter.of(|| inference.judge(frame, &picture));
        let early = outcome.map_err(|_| "a frame")?;
        let same = early.measures.class == all.measures.class
            && early.causes.verdict() == all.causes.verdict();

        let luma = image.iter().map(|pixel| f32::from(*pixel) / 255.0);
        for (value, luma) in input.iter_mut().zip(luma) {
            *value = luma;
        }
        let input = &mut input[..image.len()];
        let wanted = plan.preprocessing().ok_or("no preprocessing")?;
        wanted.normalisation[0].apply_in_place(input);
        let (stem, begun) = counter.of(|| engine.begin(frame, input));
        begun.map_err(|_| "the engine")?;
        let _ = writeln!(out, "frame {frame} stem {stem}");
        accumulator.reset();
        for pass in 0..passes {
            let (run, sampled) = counter.of(|| engine.sample(pass..pass + 1, row));
            sampled.map_err(|_| "the engine")?;
            let (measured, pushed) = counter.of(|| accumulator.push(row));
            pushed.map_err(|_| "the logits")?;
            let masks = crc32(engine.mask_bytes());
            let _ = write!(
                out,
                "pass {pass} engine {run} measures {measured} masks {masks:08x} logits"
            );
            for logit in &*row {
                let _ = write!(out, " {:08x}", logit.to_bits());
            }
            let _ = writeln!(out);
        }
        let measures = accumulator.measures().ok_or("no passes")?;
        let _ = write!(out, "measures {} {}", measures.passes, measures.class);
        for measure in [
            measures.confidence,
            measures.predictive_entropy,
            measures.expected_entropy,
            measures.mutual_information,
            measures.variation_ratio,
            measures.margin,
        ] {
            let _ = write!(out, " {:016x}", measure.to_bits());
        }
        let _ = writeln!(out);
        let _ = writeln!(
            out,
            "judged {whole} adaptive {adaptive} {} same {}",
            early.measures.passes,
            u8::from(same)
        );
    }
    Ok(())
}
