//! Writing plan files.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use shared::image::Preprocessing;
use shared::mask::KeepProbability;
use shared::stopping::Delta;
use shared::triage::{Cause, Thresholds};
use shared::wire::crc32;

use super::file::{Format, HEADER, LABEL, PlanFile, PlanFileError, SCHEMA, UNCOVERED, VERSION};
use super::owned::OwnedPlan;
use super::record::{of_op, of_pick, of_site};
use crate::engine::InputShape;
use crate::engine::native::{Conv, Op, Pick, Plan};

/// What a plan file says beside the network.
#[derive(Debug, Clone, PartialEq)]
pub struct About {
    /// CRC-32 of the model file.
    pub model: u32,
    /// Seed of the masks.
    pub seed: u64,
    /// Passes per frame, at most; at least 1.
    pub passes: u32,
    /// The probability that an early stop may decide otherwise; none for all passes always.
    pub adaptive: Option<Delta>,
    /// What is accepted.
    pub thresholds: Thresholds,
    /// What becomes of a picture before the network sees it.
    pub preprocessing: Preprocessing,
    /// Names of the classes; what does not fit 16 bytes is cut off.
    pub labels: Vec<String>,
}

/// Why there is no plan file of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteError {
    /// A size is beyond what the format has room for.
    TooLarge,
    /// The reader would refuse it.
    Refused(PlanFileError),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str(
                "the network is too large for a plan file: no side, number of channels or of labels may be above 65535",
            ),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for WriteError {}

/// A network as a plan file holds it.
pub(super) struct Image<'a> {
    pub(super) format: Format,
    pub(super) input: InputShape,
    pub(super) classes: usize,
    pub(super) stem: &'a [Op],
    pub(super) pick: &'a Pick,
    /// Where the order of the channels at the head's begin lies, if it is another one.
    pub(super) order: Option<usize>,
    pub(super) head: &'a [Op],
    pub(super) sites: Vec<(u32, KeepProbability, usize)>,
    /// What a step of the input is worth, and which step is 0.
    pub(super) input_scale: [f32; 2],
    pub(super) weights: &'a [u32],
}

impl Image<'_> {
    /// The bytes of the file.
    pub(super) fn bytes(&self, about: &About) -> Result<Vec<u8>, WriteError> {
        let bytes = self.layout(about).ok_or(WriteError::TooLarge)?;
        OwnedPlan::new(&bytes).map_err(WriteError::Refused)?;
        Ok(bytes)
    }

    fn layout(&self, about: &About) -> Option<Vec<u8>> {
        let mut tables = Vec::new();
        for label in &about.labels {
            let mut end = label.len().min(LABEL);
            while !label.is_char_boundary(end) {
                end -= 1;
            }
            let mut bytes = [0; LABEL];
            bytes[..end].copy_from_slice(&label.as_bytes()[..end]);
            tables.extend(bytes);
        }
        for (number, keep, elements) in &self.sites {
            tables.extend(of_site(*number, *keep, *elements)?);
        }
        for op in self.stem {
            tables.extend(of_op(op)?);
        }
        tables.extend(of_pick(self.pick, self.order)?);
        for op in self.head {
            tables.extend(of_op(op)?);
        }
        let at = HEADER + tables.len();
        let length = at + 4 * self.weights.len();

        let mut covered = Vec::new();
        covered.extend(SCHEMA.to_le_bytes());
        covered.extend(about.model.to_le_bytes());
        covered.extend(about.seed.to_le_bytes());
        covered.extend(about.adaptive.map_or(0.0, Delta::value).to_le_bytes());
        covered.extend(about.passes.to_le_bytes());
        for number in [self.input.height, self.input.width, self.classes] {
            covered.extend(u16::try_from(number).ok()?.to_le_bytes());
        }
        for count in [
            about.labels.len(),
            self.sites.len(),
            self.stem.len(),
            self.head.len(),
        ] {
            covered.push(u8::try_from(count).ok()?);
        }
        covered.push(self.format.number());
        covered.push(u8::try_from(self.input.channels).ok()?);
        for number in self.input_scale {
            covered.extend(number.to_le_bytes());
        }
        let limits = about.thresholds.named();
        for cause in Cause::ALL {
            covered.extend(limits[cause.index()].1.to_le_bytes());
        }
        covered.extend(about.preprocessing.to_bytes());
        covered.extend([0; 2]);
        covered.extend(u32::try_from(at).ok()?.to_le_bytes());
        covered.extend(u32::try_from(self.weights.len()).ok()?.to_le_bytes());
        debug_assert_eq!(UNCOVERED + covered.len(), HEADER);
        covered.extend(tables);
        covered.extend(self.weights.iter().flat_map(|word| word.to_le_bytes()));

        let mut bytes = Vec::new();
        bytes.extend(PlanFile::MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 2]);
        bytes.extend(u32::try_from(length).ok()?.to_le_bytes());
        bytes.extend(crc32(&covered).to_le_bytes());
        bytes.extend(covered);
        Some(bytes)
    }
}

impl Plan {
    /// The plan as a file in single precision.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn to_file(&self, about: &About) -> Result<Vec<u8>, WriteError> {
        let program = self.program();
        let words = program.weights.iter().map(|weight| weight.to_bits());
        let mut weights: Vec<u32> = words.collect();
        for op in program.stem.iter().chain(program.head) {
            if let Op::Conv(conv) = op {
                column_by_column(conv, &mut weights[conv.weights..]);
            }
        }
        let image = Image {
            format: Format::F32,
            input: program.input,
            classes: program.classes,
            stem: program.stem,
            pick: program.pick,
            order: None,
            head: program.head,
            sites: sites(self),
            input_scale: [1.0, 0.0],
            weights: &weights[..weights.len() - crate::engine::native::PADDING],
        };
        image.bytes(about)
    }
}

/// Plans in memory have `[kernel row][kernel column][input][output]`, plan files columns first: so the
/// inputs of neighbouring outputs are one list.
fn column_by_column(conv: &Conv, weights: &mut [u32]) {
    let [rows, columns] = conv.geometry.kernel;
    let per_tap = conv.geometry.input.channels * conv.geometry.output.channels;
    let source = weights[..conv.taps()].to_vec();
    for (tap, values) in source.chunks_exact(per_tap).enumerate() {
        let (row, column) = (tap / columns, tap % columns);
        weights[(column * rows + row) * per_tap..][..per_tap].copy_from_slice(values);
    }
}

/// Number, keep probability and elements of each dropout.
pub(super) fn sites(plan: &Plan) -> Vec<(u32, KeepProbability, usize)> {
    let sites = plan.program().sites.iter();
    sites
        .map(|site| (site.number, site.keep, site.elements))
        .collect()
}
