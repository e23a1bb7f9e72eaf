//! From a plan in single precision to one in eight bits, after training: what a step is worth is
//! found from inputs like those to come (Jacob et al. 2018; Krishnamoorthi 2018).

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use shared::mask::MaskSource;

use super::file::Format;
use super::layout::{Layout, Words};
use super::number::F32;
use super::owned::OwnedPlan;
use super::record::is_last;
use super::write::{About, Image, WriteError, sites};
use super::{masks, pass, stem};
use crate::engine::native::{Conv, Op, Plan, Shape};

/// Largest weight, in steps.
const LARGEST_WEIGHT: f64 = 127.0;
/// Largest activation, in steps.
const LARGEST_VALUE: f64 = 255.0;

/// Why a network has no plan in eight bits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuantiseError {
    /// No input was looked at.
    NoInputs,
    /// The network does what eight bits cannot.
    Network(String),
    /// The plan file cannot be written.
    Write(WriteError),
}

impl fmt::Display for QuantiseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoInputs => f.write_str("eight bits need inputs to be scaled by"),
            Self::Network(reason) => {
                write!(
                    f,
                    "the network does not fit eight bits: {reason}; export it in f32"
                )
            }
            Self::Write(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for QuantiseError {}

impl From<WriteError> for QuantiseError {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}

/// The largest activations met, of each operation.
#[derive(Debug, Clone)]
pub struct Ranges {
    plan: Plan,
    about: About,
    /// The plan in single precision.
    file: OwnedPlan,
    memory: Vec<u32>,
    /// Of what the stem's operations write.
    stem: Vec<f32>,
    /// Of what the head's begin and its operations write.
    head: Vec<f32>,
    /// How often two channels at the head's begin were both alive.
    pairs: Vec<u64>,
    inputs: u32,
}

impl Ranges {
    /// Nothing met yet.
    ///
    /// # Errors
    /// If the network does what eight bits cannot.
    pub fn new(plan: Plan, about: About) -> Result<Self, QuantiseError> {
        fits(&plan)?;
        let bytes = plan.to_file(&about)?;
        let file = OwnedPlan::new(&bytes).map_err(WriteError::Refused)?;
        let memory = vec![0; file.view().memory_words()];
        let program = plan.program();
        let (stem, head) = (program.stem.len(), program.head.len());
        let channels = program.pick.windows.output.channels;
        Ok(Self {
            plan,
            about,
            file,
            memory,
            stem: vec![0.0; stem],
            head: vec![0.0; head + 1],
            pairs: vec![0; channels * channels],
            inputs: 0,
        })
    }

    /// Meets one input, `[channel][row][column]`, in so many passes; each input has masks of its own.
    ///
    /// # Panics
    /// If the input has another length than the model reads.
    pub fn meet(&mut self, input: &[f32], passes: u32) {
        let plan = self.file.view();
        assert_eq!(input.len(), plan.input().len(), "one value per pixel");
        let layout = Layout::new(&plan);
        let note = |noted: &mut [f32], index: usize, values: &[f32]| {
            let largest = values.iter().fold(0.0, |a: f32, b| a.max(*b));
            noted[index] = noted[index].max(largest);
        };
        let noted = &mut self.stem;
        stem::run::<F32>(
            &plan,
            &layout,
            &mut self.memory,
            Some(input),
            |index, values| {
                note(noted, index, values);
            },
        );
        let channels = self.plan.program().pick.windows.output.channels;
        let mut logits = vec![0.0; plan.classes()];
        let noted = &mut self.head;
        let mut run = pass::Run::<F32>::new(&plan, &layout, &mut self.memory);
        run.clear();
        for pass in 0..passes {
            if pass % masks::PASSES == 0 {
                run.draw(MaskSource::new(plan.seed()), self.inputs, pass);
            }
            run.pass(pass, &mut logits, |index, values| {
                note(noted, index, values);
                if index == 0 {
                    count_pairs(values, channels, &mut self.pairs);
                }
            });
        }
        self.inputs += 1;
    }

    /// The plan as a file in eight bits.
    ///
    /// # Errors
    /// [`QuantiseError::NoInputs`] if none was met, or [`QuantiseError::Write`].
    pub fn to_file(&self) -> Result<Vec<u8>, QuantiseError> {
        if self.inputs == 0 {
            return Err(QuantiseError::NoInputs);
        }
        let program = self.plan.program();
        let input_scale = self.input_scale();
        let mut weights = Weights {
            source: program.weights,
            words: Vec::new(),
        };
        let mut from = Values {
            shape: Shape {
                height: program.input.height,
                width: program.input.width,
                channels: program.input.channels,
            },
            step: f64::from(input_scale[0]),
            zero: f64::from(input_scale[1]),
        };
        let order = self.order();
        let mut stem = Vec::new();
        for (op, largest) in program.stem.iter().zip(&self.stem) {
            stem.push(weights.op(op, &mut from, *largest, false, None)?);
        }
        if let (Some(order), Some(Op::Conv(last))) = (&order, stem.last()) {
            weights.reorder_outputs(last, order);
        }
        from.step *= f64::from(program.pick.scale);
        from.shape = program.pick.windows.output;
        let mut head = Vec::new();
        for (index, op) in program.head.iter().enumerate() {
            let last = index + 1 == program.head.len();
            let reads = order.as_deref().filter(|_| index == 0);
            head.push(weights.op(op, &mut from, self.head[index + 1], last, reads)?);
        }
        let order = order.map(|order| {
            let at = weights.words.len();
            weights
                .words
                .extend(order.iter().map(|channel| *channel as u32));
            at
        });
        let image = Image {
            format: Format::Int8,
            input: program.input,
            classes: program.classes,
            stem: &stem,
            pick: program.pick,
            order,
            head: &head,
            sites: sites(&self.plan),
            input_scale,
            weights: &weights.words,
        };
        Ok(image.bytes(&self.about)?)
    }

    /// An order of the channels at the head's begin in which those that are often alive together share
    /// a pair, so that more pairs are 0; none where it cannot be changed.
    fn order(&self) -> Option<Vec<usize>> {
        let program = self.plan.program();
        let channels = program.pick.windows.output.channels;
        match (program.stem.last()?, program.head.first()?) {
            (Op::Conv(_), Op::Conv(conv)) if !Words::is_linear(conv) && channels > 2 => {}
            _ => return None,
        }
        let together = |a: usize, b: usize| self.pairs[a * channels + b];
        let mut order: Vec<usize> = (0..channels).collect();
        // Exchange two channels of different pairs for as long as it helps; each time the sum of what
        // is alive together rises, so this ends.
        let mut better = true;
        while better {
            better = false;
            for a in 0..channels {
                for b in a + 1..channels {
                    let partner = |i: usize| order.get(i ^ 1).copied();
                    let with = |channel: usize, partner: Option<usize>| {
                        partner.map_or(0, |partner| together(channel, partner))
                    };
                    if a / 2 == b / 2 {
                        continue;
                    }
                    let now = with(order[a], partner(a)) + with(order[b], partner(b));
                    let then = with(order[b], partner(a)) + with(order[a], partner(b));
                    if then > now {
                        order.swap(a, b);
                        better = true;
                    }
                }
            }
        }
        Some(order)
    }

    /// A pixel has 256 steps, so an input of planes that are normalised alike has these: nothing is lost.
    fn input_scale(&self) -> [f32; 2] {
        let channels = self.plan.program().input.channels;
        let wanted = &self.about.preprocessing;
        let [black, white] = wanted.range.ends();
        let (mut low, mut high) = (0.0_f32, 0.0_f32);
        for normalisation in &wanted.normalisation[..channels] {
            let of = |value: f32| (value - normalisation.mean) / normalisation.standard_deviation;
            low = low.min(of(black));
            high = high.max(of(white));
        }
        let step = (high - low) / LARGEST_VALUE as f32;
        [step, -low / step]
    }
}

/// Counts at how many pixels two channels are both alive.
fn count_pairs(values: &[f32], channels: usize, pairs: &mut [u64]) {
    for pixel in values.chunks_exact(channels) {
        let alive = || (0..channels).filter(|channel| pixel[*channel] > 0.0);
        for a in alive() {
            for b in alive() {
                pairs[a * channels + b] += 1;
            }
        }
    }
}

/// Refuses what eight bits do not have.
fn fits(plan: &Plan) -> Result<(), QuantiseError> {
    let refused = |reason: &str| Err(QuantiseError::Network(reason.into()));
    let program = plan.program();
    if !program.pick.relu {
        return refused("its first dropout reads values that may be negative");
    }
    let Some((last, head)) = program.head.split_last() else {
        return refused("nothing follows its dropout");
    };
    if !matches!(last, Op::Conv(conv) if is_last(conv)) {
        return refused("it does not end with a linear layer");
    }
    match program.stem.first() {
        Some(Op::Conv(conv)) => {
            let geometry = &conv.geometry;
            let whole = |axis: usize, last: usize| {
                let size = [geometry.input.height, geometry.input.width][axis];
                geometry.padding[axis] == 0
                    && last * geometry.stride[axis] + geometry.kernel[axis] <= size
            };
            let output = geometry.output;
            if !(whole(0, output.height - 1) && whole(1, output.width - 1)) {
                return refused("its first convolution pads an input in which black is not 0");
            }
        }
        _ => return refused("it does not begin with a convolution or linear layer"),
    }
    let ops = program.stem.iter().chain(head);
    let mut signed = None;
    for (index, op) in ops.enumerate() {
        match op {
            Op::Conv(conv) => {
                // The ReLU of the stem's last may come behind the dropout.
                if !conv.relu && index + 1 != program.stem.len() {
                    signed = Some("a convolution or linear layer without a ReLU right behind it");
                }
                if Words::taps(Format::Int8, conv).is_none_or(|taps| 2 * taps > 1 << 15) {
                    signed = Some("a layer with too many inputs");
                }
            }
            Op::Affine { .. } => signed = Some("a normalisation that follows no convolution"),
            _ => {}
        }
    }
    match signed {
        Some(reason) => refused(reason),
        None => Ok(()),
    }
}

/// What an operation reads.
struct Values {
    shape: Shape,
    /// What a step is worth.
    step: f64,
    /// The step that stands for 0.
    zero: f64,
}

struct Weights<'a> {
    source: &'a [f32],
    words: Vec<u32>,
}

impl Weights<'_> {
    /// An operation in eight bits, whose largest output is `largest`, and which finds its input channels
    /// in this order.
    fn op(
        &mut self,
        op: &Op,
        from: &mut Values,
        largest: f32,
        last: bool,
        order: Option<&[usize]>,
    ) -> Result<Op, QuantiseError> {
        let planned = match op {
            Op::Conv(conv) => {
                // If nothing was ever positive, any step will do.
                let step = if largest > 0.0 {
                    f64::from(largest) / LARGEST_VALUE
                } else {
                    1.0
                };
                let conv = self.conv(conv, from, (!last).then_some(step), order)?;
                (from.step, from.zero) = (step, 0.0);
                Op::Conv(conv)
            }
            Op::Dropout { scale, .. } => {
                from.step *= f64::from(*scale);
                *op
            }
            _ => *op,
        };
        from.shape = op.output();
        Ok(planned)
    }

    /// A convolution with outputs in such steps, or else logits, whose input channels come in this
    /// order.
    fn conv(
        &mut self,
        conv: &Conv,
        from: &Values,
        step: Option<f64>,
        order: Option<&[usize]>,
    ) -> Result<Conv, QuantiseError> {
        let outputs = conv.geometry.output.channels;
        let taps = conv.taps() / outputs;
        let source = &self.source[conv.weights..];
        let weight = |tap: usize, output: usize| f64::from(source[tap * outputs + output]);
        let steps: Vec<f64> = (0..outputs)
            .map(|output| {
                let largest = (0..taps).fold(0.0, |a: f64, tap| a.max(weight(tap, output).abs()));
                if largest > 0.0 {
                    largest / LARGEST_WEIGHT
                } else {
                    1.0
                }
            })
            .collect();
        let quantised =
            |tap: usize, output: usize| libm::round(weight(tap, output) / steps[output]) as i32;

        let mut planned = *conv;
        planned.weights = self.words.len();
        let linear = Words::is_linear(conv);
        // A linear layer reads an image pixel by pixel, channels rounded up to whole groups.
        let channels = if linear {
            from.shape.channels
        } else {
            conv.geometry.input.channels
        };
        let padded = Words::channels(Format::Int8, channels);
        // The tap that reads a place in memory, if that is no padding.
        let tap_at = |place: usize| {
            let (pixel, channel) = (place / padded, place % padded);
            let in_order = order.and_then(|order| order.get(channel));
            let channel = in_order.copied().unwrap_or(channel);
            let tap = pixel * channels + channel;
            (channel < channels && tap < taps).then_some(tap)
        };
        let byte =
            |place: usize, output: usize| tap_at(place).map_or(0, |tap| quantised(tap, output));
        if linear {
            planned.geometry.input.channels = taps / channels * padded;
            let words = planned.geometry.input.channels.div_ceil(4);
            for output in 0..outputs {
                for word in 0..words {
                    let bytes = [0, 1, 2, 3].map(|i| byte(4 * word + i, output) as u8);
                    self.words.push(u32::from_le_bytes(bytes));
                }
            }
        } else {
            let [rows, columns] = conv.geometry.kernel;
            for (column, row) in (0..columns).flat_map(|x| (0..rows).map(move |y| (x, y))) {
                for group in 0..padded / 2 {
                    let place = (row * columns + column) * padded + 2 * group;
                    for output in 0..outputs {
                        let [low, high] = [0, 1].map(|i| byte(place + i, output) as u16);
                        self.words.push(u32::from(low) | u32::from(high) << 16);
                    }
                }
            }
        }
        for output in 0..outputs {
            let sum: f64 = (0..taps).map(|tap| f64::from(quantised(tap, output))).sum();
            let bias = f64::from(source[taps * outputs + output]) / (steps[output] * from.step);
            let bias = libm::round(bias - from.zero * sum);
            if bias.abs() > f64::from(i32::MAX / 2) {
                let name = if linear {
                    "linear layer"
                } else {
                    "convolution"
                };
                return Err(QuantiseError::Network(format!(
                    "a bias of a {name} is too large beside its weights"
                )));
            }
            self.words.push(bias as i32 as u32);
        }
        for step_of_weight in &steps {
            let scale = step_of_weight * from.step / step.unwrap_or(1.0);
            self.words.push((scale as f32).to_bits());
        }
        Ok(planned)
    }

    /// Puts the output channels of the convolution planned last into this order.
    fn reorder_outputs(&mut self, conv: &Conv, order: &[usize]) {
        let words = &mut self.words[conv.weights..];
        let outputs = order.len();
        if Words::is_linear(conv) {
            let taps = Words::taps(Format::Int8, conv).unwrap_or(0);
            let (weights, constants) = words.split_at_mut(taps * outputs);
            let source = weights.to_vec();
            for (row, channel) in weights.chunks_exact_mut(taps.max(1)).zip(order) {
                row.copy_from_slice(&source[channel * taps..][..taps]);
            }
            permute(constants, order);
        } else {
            permute(words, order);
        }
    }
}

/// Puts each run of as many words as the order has into the order.
fn permute(words: &mut [u32], order: &[usize]) {
    for run in words.chunks_exact_mut(order.len()) {
        let source = run.to_vec();
        for (word, channel) in run.iter_mut().zip(order) {
            *word = source[*channel];
        }
    }
}
