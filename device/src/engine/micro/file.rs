//! The plan file: a network with everything a device has to know about it, in one piece that is
//! read where it lies, as in a microcontroller's flash.
//!
//! All numbers are little-endian. `docs/plan-format.md` lists every byte.

use core::fmt;

use shared::image::{ImageError, Preprocessing};
use shared::mask::KeepProbability;
use shared::stopping::Delta;
use shared::triage::Thresholds;
use shared::wire::crc32;

use super::layout::Layout;
use super::record::{self, Chain, Record};
use crate::engine::InputShape;
use crate::engine::native::{Op, Pick, Shape};
use crate::inference::MAX_CHANNELS;

/// Version of the header's first 16 bytes, which say whether the rest can be read.
pub(super) const VERSION: u16 = 1;
/// What the rest looks like; its CRC-32 is the schema that file and reader must share.
const LAYOUT: &str = "schema:u32 model:u32 seed:u64 delta:f64 passes:u32 height:u16 width:u16 \
    classes:u16 labels:u8 sites:u8 stem:u8 head:u8 \
    format:u8 channels:u8 input_scale:f32 input_zero:f32 thresholds:9xf32 normalisation:4x(f32 f32) planes:u8 geometry:u8 interpolation:u8 range:u8 geometry_value:u16 reserved:u16 weights_at:u32 weights:u32 labels:16xu8 \
    sites:(number:u32 keep:u32 elements:u32) operations:32xu16 weights:[column][row][input][output]";
/// CRC-32 of [`LAYOUT`].
pub(super) const SCHEMA: u32 = crc32(LAYOUT.as_bytes());
/// Bytes that the checksum does not cover: those up to itself.
pub(super) const UNCOVERED: usize = 16;
/// Bytes before the labels.
pub(super) const HEADER: usize = 148;
/// Where in it [`Preprocessing`] lies.
const PREPROCESSING: usize = 100;
/// Bytes of a label.
pub(super) const LABEL: usize = 16;
/// Bytes of a site.
pub(super) const SITE: usize = 12;

/// How weights and activations are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Single precision.
    F32,
    /// Eight bits: weights symmetric per output channel, activations not negative.
    Int8,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 2] = [Self::F32, Self::Int8];

    /// Its name on every interface.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Int8 => "int8",
        }
    }

    /// Name of the engine that runs it.
    #[must_use]
    pub const fn engine(self) -> &'static str {
        match self {
            Self::F32 => "micro-f32",
            Self::Int8 => "micro-int8",
        }
    }

    /// Its number in a plan file.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::F32 => 0,
            Self::Int8 => 1,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|format| format.number() == number)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why bytes are not a plan that this program can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanFileError {
    /// They do not begin like a plan: there is none, or it lies elsewhere.
    Missing,
    /// They do not begin at a multiple of four.
    Alignment,
    /// Of another version.
    Version {
        /// The file's.
        found: u16,
    },
    /// The file ends too early, or says that it is longer than what there is room for.
    Length {
        /// Bytes that it says it has.
        expected: usize,
        /// Bytes there are.
        got: usize,
    },
    /// A byte has changed.
    Checksum,
    /// Written by another version of this project, which lays out the rest differently.
    Schema {
        /// The file's.
        found: u32,
    },
    /// What it holds makes no sense.
    Content(&'static str),
}

impl fmt::Display for PlanFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => {
                f.write_str("there is no plan: flash one that host export --firmware wrote")
            }
            Self::Alignment => f.write_str("the plan must begin at a multiple of 4 bytes"),
            Self::Version { found } => write!(
                f,
                "the plan has version {found}, this program reads {VERSION}: export it again"
            ),
            Self::Length { expected, got } => write!(
                f,
                "the plan has {expected} bytes, of which {got} are here: it is cut off"
            ),
            Self::Checksum => f.write_str("the plan is damaged: its checksum does not match"),
            Self::Schema { found } => write!(
                f,
                "the plan has another layout ({found:08x}): export it again"
            ),
            Self::Content(what) => write!(f, "the plan makes no sense: {what}"),
        }
    }
}

impl core::error::Error for PlanFileError {}

/// A checked view of a plan file.
#[derive(Debug, Clone, Copy)]
pub struct PlanFile<'a> {
    bytes: &'a [u8],
    weights: &'a [u32],
    header: Header,
}

/// What is looked at often.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    format: Format,
    input: InputShape,
    classes: usize,
    labels: usize,
    sites: usize,
    stem: usize,
    head: usize,
    /// Where the weights begin.
    #[cfg(feature = "alloc")]
    weights: usize,
}

impl<'a> PlanFile<'a> {
    /// First bytes of a plan file.
    pub const MAGIC: [u8; 4] = *b"MCDP";
    /// Bytes of the largest plan: a mistaken length must not make a device read through all of its
    /// memory.
    pub const LONGEST: usize = 1 << 28;
    /// Most words of working memory (256 MiB), which a few bytes of a plan could ask for.
    pub const MOST_MEMORY: usize = 1 << 26;
    /// Most multiplications of the stem and a pass: more would take a fast processor seconds.
    pub const MOST_MULTIPLICATIONS: u64 = 1 << 34;

    /// Reads and checks the plan at the beginning of `bytes`, behind which there may be more: all of
    /// the flash that is meant for plans.
    ///
    /// # Errors
    /// [`PlanFileError`]. What is accepted can be run without any further check.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PlanFileError> {
        let mut reader = Reader::new(bytes);
        if reader.take::<4>() != Some(Self::MAGIC) {
            return Err(PlanFileError::Missing);
        }
        let short = PlanFileError::Length {
            expected: HEADER,
            got: bytes.len(),
        };
        if bytes.len() < HEADER {
            return Err(short);
        }
        let found = reader.u16();
        if found != VERSION {
            return Err(PlanFileError::Version { found });
        }
        reader.at = 8;
        let length = reader.u32() as usize;
        let crc = reader.u32();
        if !(HEADER..=Self::LONGEST).contains(&length) || length > bytes.len() {
            return Err(PlanFileError::Length {
                expected: length,
                got: bytes.len(),
            });
        }
        let bytes = &bytes[..length];
        if crc32(&bytes[UNCOVERED..]) != crc {
            return Err(PlanFileError::Checksum);
        }
        let found = reader.u32();
        if found != SCHEMA {
            return Err(PlanFileError::Schema { found });
        }
        let content = PlanFileError::Content;
        reader.at = 44;
        let [height, width, classes] = [reader.u16(), reader.u16(), reader.u16()];
        let [labels, sites, stem, head] = [(); 4].map(|()| usize::from(reader.u8()));
        let [format, channels] = [reader.u8(), reader.u8()];
        let format = Format::from_number(format).ok_or(content("an unknown number format"))?;
        reader.at = HEADER - 8;
        let [at, words] = [reader.u32() as usize, reader.u32() as usize];
        let tables = HEADER + labels * LABEL + sites * SITE + (stem + 1 + head) * record::BYTES;
        let whole = words.checked_mul(4).and_then(|n| n.checked_add(at));
        if at < tables || at % 4 != 0 || whole != Some(length) {
            return Err(content("its parts do not fill it"));
        }
        let weights =
            bytemuck::try_cast_slice(&bytes[at..]).map_err(|_| PlanFileError::Alignment)?;
        let plan = Self {
            bytes,
            weights,
            header: Header {
                format,
                input: InputShape {
                    channels: channels.into(),
                    height: height.into(),
                    width: width.into(),
                },
                classes: classes.into(),
                labels,
                sites,
                stem,
                head,
                #[cfg(feature = "alloc")]
                weights: at,
            },
        };
        plan.check().map_err(content)?;
        Ok(plan)
    }

    /// A view of words that were checked before, with the header found then.
    #[cfg(feature = "alloc")]
    pub(super) fn checked(words: &'a [u32], header: Header) -> Self {
        Self {
            bytes: bytemuck::cast_slice(words),
            weights: &words[header.weights / 4..],
            header,
        }
    }

    #[cfg(feature = "alloc")]
    pub(super) fn header(&self) -> Header {
        self.header
    }

    /// Whether what it holds can be run.
    fn check(&self) -> Result<(), &'static str> {
        if !(1..=MAX_CHANNELS).contains(&self.header.input.channels) {
            return Err("the number of input channels");
        }
        if self.thresholds().validate().is_err() {
            return Err("a threshold is not a number");
        }
        let InputShape {
            channels,
            height,
            width,
        } = self.header.input;
        let wanted = self.preprocessing().ok_or("what becomes of a picture")?;
        match wanted.validate(channels, height, width) {
            Ok(()) => {}
            Err(ImageError::NotBuilt { .. }) => {
                return Err("it is for pictures in colour, for which this program was not built");
            }
            Err(_) => return Err("what becomes of a picture"),
        }
        if self.passes() == 0 {
            return Err("zero passes");
        }
        let [scale, zero] = self.input_scale();
        if !(scale > 0.0 && scale.is_finite() && (0.0..=255.0).contains(&zero)) {
            return Err("the scale of the input");
        }
        if (0..self.header.labels).any(|label| self.label(label).is_none()) {
            return Err("a label is not text");
        }
        let mut chain = Chain::new(self)?;
        for op in self.stem() {
            chain.op(&op?, true)?;
        }
        chain.pick(&self.pick()?)?;
        for op in self.head() {
            chain.op(&op?, false)?;
        }
        chain.end()?;
        if Layout::new(self).words() > Self::MOST_MEMORY {
            return Err("it needs more than 256 MiB of working memory");
        }
        if self.multiplications() > Self::MOST_MULTIPLICATIONS {
            return Err("a pass takes more than 17 thousand million multiplications");
        }
        Ok(())
    }

    /// Multiplications of the stem and of one pass, at most; a comparison counts like one.
    #[must_use]
    pub fn multiplications(&self) -> u64 {
        let ops = self.stem().chain(self.head()).flatten();
        ops.fold(0, |all: u64, op| {
            all.saturating_add(record::multiplications(&op))
        })
    }

    /// How weights and activations are written.
    #[must_use]
    pub fn format(&self) -> Format {
        self.header.format
    }

    /// Bytes of the file.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // There is no empty plan.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// CRC-32 of all of the file: what tells one plan from another.
    #[must_use]
    pub fn crc32(&self) -> u32 {
        crc32(self.bytes)
    }

    /// Shape of one input.
    #[must_use]
    pub fn input(&self) -> InputShape {
        self.header.input
    }

    /// Number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.header.classes
    }

    /// CRC-32 of the model file that the plan was made from.
    #[must_use]
    pub fn model(&self) -> u32 {
        self.at(20).u32()
    }

    /// Seed of the masks.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.at(24).u64()
    }

    /// The probability that an early stop is allowed to decide otherwise; none if every frame gets
    /// all its passes.
    #[must_use]
    pub fn adaptive(&self) -> Option<Delta> {
        Delta::new(f64::from_bits(self.at(32).u64()))
    }

    /// Passes per frame, at most.
    #[must_use]
    pub fn passes(&self) -> u32 {
        self.at(40).u32()
    }

    /// Of an eight-bit input: what one step is worth, and the step that stands for 0.
    pub(super) fn input_scale(&self) -> [f32; 2] {
        let mut reader = self.at(56);
        [reader.f32(), reader.f32()]
    }

    /// What is accepted.
    #[must_use]
    pub fn thresholds(&self) -> Thresholds {
        let mut reader = self.at(64);
        let mut thresholds = Thresholds::OFF;
        for cause in shared::triage::Cause::ALL {
            *thresholds.limit_mut(cause) = reader.f32();
        }
        thresholds
    }

    /// What becomes of a picture before the network sees it; `None` only of a plan that was never checked.
    #[must_use]
    pub fn preprocessing(&self) -> Option<Preprocessing> {
        Preprocessing::from_bytes(self.preprocessing_bytes()?)
    }

    /// The same as the file has it, and as a greeting tells it.
    #[must_use]
    pub fn preprocessing_bytes(&self) -> Option<&'a [u8; Preprocessing::BYTES]> {
        self.bytes.get(PREPROCESSING..)?.first_chunk()
    }

    /// Names of the classes, as far as there are any, cut to 16 bytes.
    pub fn labels(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let plan = *self;
        (0..self.header.labels).filter_map(move |label| plan.label(label))
    }

    fn label(&self, label: usize) -> Option<&'a str> {
        let text = &self.bytes[HEADER + label * LABEL..][..LABEL];
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(LABEL);
        core::str::from_utf8(&text[..end]).ok()
    }

    /// Number of dropout sites.
    pub(super) fn sites(&self) -> usize {
        self.header.sites
    }

    /// A dropout site: its number, keep probability and elements.
    pub(super) fn site(&self, index: usize) -> Option<Site> {
        let at = HEADER + self.header.labels * LABEL + index * SITE;
        let mut reader = self.at(at);
        Some(Site {
            number: reader.u32(),
            keep: KeepProbability::from_bits(reader.u32())?,
            elements: reader.u32() as usize,
        })
    }

    /// Number of operations that run once a frame, and in every pass.
    pub(super) fn lengths(&self) -> [usize; 2] {
        [self.header.stem, self.header.head]
    }

    fn record(&self, index: usize) -> Record<'a> {
        let at =
            HEADER + self.header.labels * LABEL + self.header.sites * SITE + index * record::BYTES;
        Record::new(&self.bytes[at..][..record::BYTES])
    }

    /// What runs once a frame.
    pub(super) fn stem(&self) -> impl ExactSizeIterator<Item = Result<Op, &'static str>> + use<'a> {
        let plan = *self;
        (0..self.header.stem).map(move |index| plan.record(index).op())
    }

    /// Where the head begins.
    pub(super) fn pick(&self) -> Result<Pick, &'static str> {
        self.record(self.header.stem).pick()
    }

    /// Which channel of its dropout each channel at the head's begin is; none if it is the same one.
    pub(super) fn order(&self) -> Option<&'a [u32]> {
        Some(&self.weights[self.order_at()?..])
    }

    pub(super) fn order_at(&self) -> Option<usize> {
        self.record(self.header.stem).order()
    }

    /// What runs in every pass.
    pub(super) fn head(&self) -> impl ExactSizeIterator<Item = Result<Op, &'static str>> + use<'a> {
        let (plan, first) = (*self, self.header.stem + 1);
        (0..self.header.head).map(move |index| plan.record(first + index).op())
    }

    /// Weights, and what belongs to them, as words.
    pub(super) fn weights(&self) -> &'a [u32] {
        self.weights
    }

    fn at(&self, at: usize) -> Reader<'a> {
        Reader {
            bytes: self.bytes,
            at,
        }
    }
}

/// A dropout site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Site {
    /// Its number in [`shared::mask`].
    pub(super) number: u32,
    pub(super) keep: KeepProbability,
    /// Elements of one pass's mask.
    pub(super) elements: usize,
}

/// Reads numbers one after the other.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = self.bytes.get(self.at..)?.first_chunk().copied();
        self.at += N;
        taken
    }

    /// Zero where the bytes end: lengths are checked before.
    fn number<const N: usize>(&mut self) -> [u8; N] {
        self.take().unwrap_or([0; N])
    }

    fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.number())
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.number())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.number())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.number())
    }

    fn f32(&mut self) -> f32 {
        f32::from_le_bytes(self.number())
    }
}

/// Number of values, if it is one that can be worked with.
pub(super) fn size(shape: Shape) -> Option<usize> {
    let size = shape
        .height
        .checked_mul(shape.width)?
        .checked_mul(shape.channels)?;
    (1..=1 << 24).contains(&size).then_some(size)
}
