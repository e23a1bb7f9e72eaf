//! Working memory, all of it static: how much a build has, and who gets which part.

use core::fmt;

use device::engine::micro::PlanFile;
use device::inference::{BufferLengths, Buffers, Settings};

/// Most classes that are counted.
pub(crate) const CLASSES: usize = 16;

/// Words of working memory: what LeNet on 28×28 pixels takes, with up to 100 adaptive passes in single
/// precision and up to 64 in eight bits (without adaptive passes: any number).
const WORDS: usize = if cfg!(feature = "int8") { 5760 } else { 12352 };

/// Working memory of the loop besides its stack, sized for the build's number format.
#[derive(Debug)]
pub struct Memory([u32; WORDS]);

/// Memory parted among those who work in it.
#[derive(Debug)]
pub(crate) struct Parts<'m> {
    /// Of the engine.
    pub(crate) engine: &'m mut [u32],
    /// Of the frame loop's body.
    pub(crate) buffers: Buffers<&'m mut [f32]>,
    /// A frame that is received: of the model's input size, in colour if it sees colours.
    pub(crate) pixels: &'m mut [u8],
}

/// A plan needs more memory than there is; in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLittle {
    pub(crate) needed: usize,
    pub(crate) got: usize,
}

impl fmt::Display for TooLittle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { needed, got } = self;
        write!(
            f,
            "the plan needs {needed} bytes of memory, there are {got}"
        )
    }
}

impl Memory {
    /// All zero.
    #[must_use]
    #[allow(clippy::large_stack_arrays)] // It is evaluated at compile time, for a static.
    pub const fn new() -> Self {
        Self([0; WORDS])
    }

    /// Parts the memory as a plan needs it.
    pub(crate) fn split(
        &mut self,
        plan: &PlanFile<'_>,
        settings: &Settings,
    ) -> Result<Parts<'_>, TooLittle> {
        let lengths = BufferLengths::new(plan.input(), plan.classes(), settings);
        let pixels = plan.input().height * plan.input().width;
        let size = pixels * settings.preprocessing.pixel_format().bytes();
        let words = [
            plan.memory_words(),
            lengths.logits,
            lengths.record,
            size.div_ceil(4),
        ];
        let needed: usize = words.iter().sum();
        if needed > WORDS {
            return Err(TooLittle {
                needed: 4 * needed,
                got: 4 * WORDS,
            });
        }
        let mut rest = &mut self.0[..];
        let [engine, logits, record, pixels] =
            words.map(|words| rest.split_off_mut(..words).unwrap_or_default());
        Ok(Parts {
            engine,
            buffers: Buffers {
                // The engine has room for it.
                input: &mut [],
                // Frames from the line have the size of the input; a camera's may need what is left.
                scratch: if cfg!(feature = "resample") {
                    bytemuck::cast_slice_mut(rest)
                } else {
                    &mut []
                },
                logits: bytemuck::cast_slice_mut(logits),
                record: bytemuck::cast_slice_mut(record),
            },
            pixels: &mut bytemuck::cast_slice_mut(pixels)[..size],
        })
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}
