//! An operation as 32 numbers of 16 bits, so that it can be read in place, and the check that
//! operations follow from each other.

use super::file::{Format, PlanFile, size};
use super::layout::Words;
use crate::engine::native::{Conv, Drop, Geometry, Op, Pick, Shape};

/// Numbers of a record.
const NUMBERS: usize = 32;
/// Bytes of a record.
pub(super) const BYTES: usize = 2 * NUMBERS;

/// Inputs that a convolution may have: they are listed in 16 bits.
const MOST_INPUTS: usize = u16::MAX as usize;

const CONV: u16 = 0;
const MAX_POOL: u16 = 1;
const AVG_POOL: u16 = 2;
const RELU: u16 = 3;
const AFFINE: u16 = 4;
const DROPOUT: u16 = 5;
const PICK: u16 = 6;

/// Bits above the kind: what there is, and how.
const HAS_RELU: u16 = 1 << 8;
const HAS_BEFORE: u16 = 1 << 9;
const BEFORE_PER_CHANNEL: u16 = 1 << 10;
const HAS_POOL: u16 = 1 << 11;
const HAS_AFTER: u16 = 1 << 12;
const AFTER_PER_CHANNEL: u16 = 1 << 13;
const COUNTS_PADDING: u16 = 1 << 14;
const HAS_ORDER: u16 = 1 << 15;
const KIND: u16 = 0xFF;

/// A record where it lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a>(&'a [u8]);

impl<'a> Record<'a> {
    /// `bytes` are those of one record.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn number(self, index: usize) -> u16 {
        u16::from_le_bytes([self.0[2 * index], self.0[2 * index + 1]])
    }

    fn long(self, index: usize) -> u32 {
        u32::from(self.number(index)) | u32::from(self.number(index + 1)) << 16
    }

    fn pair(self, index: usize) -> [usize; 2] {
        [self.number(index), self.number(index + 1)].map(usize::from)
    }

    fn shape(self, index: usize) -> Shape {
        let [height, width] = self.pair(index);
        Shape {
            height,
            width,
            channels: self.number(index + 2).into(),
        }
    }

    fn has(self, flag: u16) -> bool {
        self.number(0) & flag != 0
    }

    fn geometry(self) -> Geometry {
        Geometry {
            input: self.shape(1),
            output: self.shape(4),
            kernel: self.pair(7),
            stride: self.pair(9),
            padding: self.pair(11),
        }
    }

    fn before(self) -> Drop {
        Drop {
            site: self.number(13).into(),
            per_channel: self.has(BEFORE_PER_CHANNEL),
        }
    }

    fn scale(self) -> f32 {
        f32::from_bits(self.long(24))
    }

    /// The operation.
    pub(super) fn op(self) -> Result<Op, &'static str> {
        let geometry = self.geometry();
        let weights = self.long(22) as usize;
        Ok(match self.number(0) & KIND {
            CONV => Op::Conv(Conv {
                geometry,
                weights,
                relu: self.has(HAS_RELU),
                before: self.has(HAS_BEFORE).then(|| self.before()),
                pool: self.has(HAS_POOL).then(|| Geometry {
                    input: geometry.output,
                    output: self.shape(15),
                    kernel: self.pair(18),
                    stride: self.pair(20),
                    padding: [0; 2],
                }),
                after: self.has(HAS_AFTER).then(|| Drop {
                    site: self.number(14).into(),
                    per_channel: self.has(AFTER_PER_CHANNEL),
                }),
            }),
            MAX_POOL => Op::MaxPool(geometry),
            AVG_POOL => Op::AvgPool {
                geometry,
                count_padding: self.has(COUNTS_PADDING),
            },
            RELU => Op::Relu(geometry.input),
            AFFINE => Op::Affine {
                shape: geometry.input,
                weights,
            },
            DROPOUT => Op::Dropout {
                shape: geometry.input,
                drop: self.before(),
                scale: self.scale(),
            },
            _ => return Err("an unknown operation"),
        })
    }

    /// Where the words lie that say which channel of the dropout each channel at the head's begin is,
    /// if they have been put into another order.
    pub(super) fn order(self) -> Option<usize> {
        self.has(HAS_ORDER).then(|| self.long(22) as usize)
    }

    /// Where the head begins.
    pub(super) fn pick(self) -> Result<Pick, &'static str> {
        if self.number(0) & KIND != PICK {
            return Err("no dropout begins the head");
        }
        Ok(Pick {
            windows: self.geometry(),
            drop: self.before(),
            scale: self.scale(),
            relu: self.has(HAS_RELU),
        })
    }
}

/// Follows the shapes from the input to the classes, and refuses what cannot be run.
pub(super) struct Chain<'a> {
    plan: &'a PlanFile<'a>,
    shape: Shape,
}

impl<'a> Chain<'a> {
    pub(super) fn new(plan: &'a PlanFile<'a>) -> Result<Self, &'static str> {
        let input = plan.input();
        let shape = Shape {
            height: input.height,
            width: input.width,
            channels: input.channels,
        };
        size(shape).ok_or("the shape of the input")?;
        Ok(Self { plan, shape })
    }

    pub(super) fn op(&mut self, op: &Op, stem: bool) -> Result<(), &'static str> {
        let input = op.input();
        let linear = matches!(op, Op::Conv(conv) if Words::is_linear(conv));
        // A linear layer reads an image as one run of memory.
        let fits = if linear {
            input.channels == Words::of(self.plan.format(), self.shape)
        } else {
            input == self.shape
        };
        if !fits {
            return Err("operations that do not fit");
        }
        match op {
            Op::Conv(conv) => {
                window(&conv.geometry)?;
                self.weights(conv.weights, Words::weights(self.plan.format(), conv))?;
                if Words::of(self.plan.format(), conv.geometry.input) > MOST_INPUTS {
                    return Err("a convolution with too many inputs");
                }
                if let Some(pool) = &conv.pool {
                    window(pool)?;
                    let inside = (0..2).all(|axis| {
                        let [size, count] = [
                            [pool.input.height, pool.input.width][axis],
                            [pool.output.height, pool.output.width][axis],
                        ];
                        pool.stride[axis] >= pool.kernel[axis]
                            && (count - 1) * pool.stride[axis] + pool.kernel[axis] <= size
                    });
                    if !inside || pool.input.channels != pool.output.channels {
                        return Err("a pooling's windows");
                    }
                }
                if let Some(drop) = conv.before {
                    self.site(drop, conv.geometry.output)?;
                }
                if let Some(drop) = conv.after {
                    self.site(drop, conv.output())?;
                }
                if stem && (conv.before.is_some() || conv.after.is_some()) {
                    return Err("a dropout before the head");
                }
            }
            Op::MaxPool(geometry) | Op::AvgPool { geometry, .. } => {
                window(geometry)?;
                if geometry.input.channels != geometry.output.channels {
                    return Err("a pooling's channels");
                }
            }
            Op::Relu(_) => {}
            Op::Affine { shape, weights } => {
                if self.plan.format() == Format::Int8 {
                    return Err("an operation not of eight bits");
                }
                self.weights(*weights, Some(2 * shape.channels))?;
            }
            Op::Dropout { shape, drop, .. } => {
                if stem {
                    return Err("a dropout before the head");
                }
                self.site(*drop, *shape)?;
            }
        }
        self.shape = op.output();
        size(self.shape).ok_or("the shape of an output")?;
        Ok(())
    }

    pub(super) fn pick(&mut self, pick: &Pick) -> Result<(), &'static str> {
        let windows = &pick.windows;
        if windows.input != self.shape || windows.input.channels != windows.output.channels {
            return Err("the head does not fit the stem");
        }
        window(windows)?;
        if windows.kernel != [1, 1] && !pick.relu {
            return Err("a pooling of negative values");
        }
        if !pick.scale.is_finite() {
            return Err("the head's scale");
        }
        self.site(pick.drop, windows.input)?;
        if let Some(at) = self.plan.order_at() {
            let channels = windows.input.channels;
            self.weights(at, Some(channels))?;
            let order = &self.plan.weights()[at..][..channels];
            if (0..channels).any(|channel| !order.contains(&(channel as u32))) {
                return Err("the order of channels");
            }
        }
        self.shape = windows.output;
        size(self.shape).ok_or("the shape of the head's input")?;
        Ok(())
    }

    pub(super) fn end(&self) -> Result<(), &'static str> {
        let [_, head] = self.plan.lengths();
        let last = match self.plan.head().nth(head.wrapping_sub(1)) {
            Some(op) => matches!(op?, Op::Conv(conv) if is_last(&conv)),
            None => false,
        };
        if self.plan.format() == Format::Int8 && !last {
            return Err("the last operation is not linear");
        }
        let Shape {
            height,
            width,
            channels,
        } = self.shape;
        if height * width != 1 || channels != self.plan.classes() {
            return Err("the number of classes");
        }
        Ok(())
    }

    fn weights(&self, at: usize, words: Option<usize>) -> Result<(), &'static str> {
        let all = self.plan.weights().len();
        match words.and_then(|words| words.checked_add(at)) {
            Some(end) if end <= all => Ok(()),
            _ => Err("an operation's weights are missing"),
        }
    }

    fn site(&self, drop: Drop, shape: Shape) -> Result<(), &'static str> {
        let elements = if drop.per_channel {
            shape.channels
        } else {
            size(shape).ok_or("the shape at a dropout")?
        };
        let site = (drop.site < self.plan.sites()).then(|| self.plan.site(drop.site));
        match site.flatten() {
            Some(site) if site.elements == elements => Ok(()),
            _ => Err("a dropout's site"),
        }
    }
}

/// Whether nothing follows the sums, so that they can be taken for logits.
pub(super) fn is_last(conv: &Conv) -> bool {
    let output = conv.geometry.output;
    !conv.relu
        && conv.pool.is_none()
        && conv.before.is_none()
        && conv.after.is_none()
        && output.height * output.width == 1
}

/// Multiplications of an operation, at most.
pub(super) fn multiplications(op: &Op) -> u64 {
    let values = |shape: Shape| {
        let pixels = shape.height as u64 * shape.width as u64;
        pixels.saturating_mul(shape.channels as u64)
    };
    // Of a kernel larger than the image, the image is read.
    let windows = |geometry: &Geometry| {
        let rows = geometry.kernel[0].min(geometry.input.height) as u64;
        let columns = geometry.kernel[1].min(geometry.input.width) as u64;
        values(geometry.output).saturating_mul(rows * columns)
    };
    match op {
        Op::Conv(conv) => {
            windows(&conv.geometry).saturating_mul(conv.geometry.input.channels as u64)
        }
        Op::MaxPool(geometry) | Op::AvgPool { geometry, .. } => windows(geometry),
        Op::Relu(shape) | Op::Affine { shape, .. } | Op::Dropout { shape, .. } => values(*shape),
    }
}

/// Refuses windows that lie outside of the image, even in part but for padding.
fn window(geometry: &Geometry) -> Result<(), &'static str> {
    let refused = Err("a window does not fit its image");
    if size(geometry.input).is_none() || size(geometry.output).is_none() {
        return refused;
    }
    for axis in 0..2 {
        let (kernel, stride) = (geometry.kernel[axis], geometry.stride[axis]);
        let padding = geometry.padding[axis];
        let read = [geometry.input.height, geometry.input.width][axis];
        let written = [geometry.output.height, geometry.output.width][axis];
        let last = (written - 1) * stride;
        // Every window holds at least one row of the image.
        if kernel == 0 || stride == 0 || padding >= kernel || last >= read + padding {
            return refused;
        }
    }
    Ok(())
}

#[cfg(feature = "alloc")]
pub(super) use write::{of_op, of_pick, of_site};

#[cfg(feature = "alloc")]
mod write {
    use alloc::vec::Vec;

    use shared::mask::KeepProbability;

    use super::{
        AFFINE, AFTER_PER_CHANNEL, AVG_POOL, BEFORE_PER_CHANNEL, CONV, COUNTS_PADDING, DROPOUT,
        Drop, Geometry, HAS_AFTER, HAS_BEFORE, HAS_ORDER, HAS_POOL, HAS_RELU, MAX_POOL, NUMBERS,
        Op, PICK, Pick, RELU, Shape,
    };

    /// Numbers to be written; what does not fit 16 bits makes the plan too large.
    struct Numbers([usize; NUMBERS]);

    impl Numbers {
        fn new(kind: u16) -> Self {
            let mut numbers = [0; NUMBERS];
            numbers[0] = kind.into();
            Self(numbers)
        }

        fn flag(&mut self, flag: u16, set: bool) {
            self.0[0] |= if set { flag.into() } else { 0 };
        }

        fn put<const N: usize>(&mut self, index: usize, numbers: [usize; N]) {
            self.0[index..index + N].copy_from_slice(&numbers);
        }

        fn long(&mut self, index: usize, number: u32) {
            self.put(index, [number as usize & 0xFFFF, number as usize >> 16]);
        }

        fn shape(&mut self, index: usize, shape: Shape) {
            self.put(index, [shape.height, shape.width, shape.channels]);
        }

        fn geometry(&mut self, geometry: &Geometry) {
            self.shape(1, geometry.input);
            self.shape(4, geometry.output);
            self.put(7, geometry.kernel);
            self.put(9, geometry.stride);
            self.put(11, geometry.padding);
        }

        fn elementwise(&mut self, shape: Shape) {
            self.geometry(&Geometry {
                input: shape,
                output: shape,
                kernel: [1; 2],
                stride: [1; 2],
                padding: [0; 2],
            });
        }

        fn before(&mut self, drop: Drop) {
            self.flag(HAS_BEFORE, true);
            self.flag(BEFORE_PER_CHANNEL, drop.per_channel);
            self.put(13, [drop.site]);
        }

        fn bytes(self) -> Option<Vec<u8>> {
            let mut bytes = Vec::new();
            for number in self.0 {
                bytes.extend(u16::try_from(number).ok()?.to_le_bytes());
            }
            Some(bytes)
        }
    }

    /// An operation's record; `None` if a number does not fit.
    pub(in crate::engine::micro) fn of_op(op: &Op) -> Option<Vec<u8>> {
        let mut numbers;
        match op {
            Op::Conv(conv) => {
                numbers = Numbers::new(CONV);
                numbers.geometry(&conv.geometry);
                numbers.flag(HAS_RELU, conv.relu);
                if let Some(drop) = conv.before {
                    numbers.before(drop);
                }
                if let Some(pool) = &conv.pool {
                    numbers.flag(HAS_POOL, true);
                    numbers.shape(15, pool.output);
                    numbers.put(18, pool.kernel);
                    numbers.put(20, pool.stride);
                }
                if let Some(drop) = conv.after {
                    numbers.flag(HAS_AFTER, true);
                    numbers.flag(AFTER_PER_CHANNEL, drop.per_channel);
                    numbers.put(14, [drop.site]);
                }
                numbers.long(22, u32::try_from(conv.weights).ok()?);
            }
            Op::MaxPool(geometry) => {
                numbers = Numbers::new(MAX_POOL);
                numbers.geometry(geometry);
            }
            Op::AvgPool {
                geometry,
                count_padding,
            } => {
                numbers = Numbers::new(AVG_POOL);
                numbers.geometry(geometry);
                numbers.flag(COUNTS_PADDING, *count_padding);
            }
            Op::Relu(shape) => {
                numbers = Numbers::new(RELU);
                numbers.elementwise(*shape);
            }
            Op::Affine { shape, weights } => {
                numbers = Numbers::new(AFFINE);
                numbers.elementwise(*shape);
                numbers.long(22, u32::try_from(*weights).ok()?);
            }
            Op::Dropout { shape, drop, scale } => {
                numbers = Numbers::new(DROPOUT);
                numbers.elementwise(*shape);
                numbers.before(*drop);
                numbers.long(24, scale.to_bits());
            }
        }
        numbers.bytes()
    }

    /// The record of the head's begin.
    pub(in crate::engine::micro) fn of_pick(pick: &Pick, order: Option<usize>) -> Option<Vec<u8>> {
        let mut numbers = Numbers::new(PICK);
        numbers.geometry(&pick.windows);
        numbers.before(pick.drop);
        numbers.flag(HAS_RELU, pick.relu);
        if let Some(order) = order {
            numbers.flag(HAS_ORDER, true);
            numbers.long(22, u32::try_from(order).ok()?);
        }
        numbers.long(24, pick.scale.to_bits());
        numbers.bytes()
    }

    /// The bytes of a site.
    pub(in crate::engine::micro) fn of_site(
        number: u32,
        keep: KeepProbability,
        elements: usize,
    ) -> Option<Vec<u8>> {
        let numbers = [number, keep.bits(), u32::try_from(elements).ok()?];
        Some(numbers.into_iter().flat_map(u32::to_le_bytes).collect())
    }
}
