//! Where things lie in the working memory, in words of 32 bits.

use super::file::{Format, PlanFile};
use crate::engine::native::{Conv, Op, Shape};

/// How many words things take in each format.
pub(super) struct Words;

impl Words {
    /// Neighbouring channels that one word of a convolution's weights is for.
    pub(super) const fn group(format: Format) -> usize {
        match format {
            Format::F32 => 1,
            Format::Int8 => 2,
        }
    }

    /// Channels from one pixel to the next: whole groups.
    pub(super) const fn channels(format: Format, channels: usize) -> usize {
        channels.next_multiple_of(Self::group(format))
    }

    /// Values of an image in memory.
    pub(super) const fn of(format: Format, shape: Shape) -> usize {
        shape.height * shape.width * Self::channels(format, shape.channels)
    }

    /// Words of that many values.
    const fn values(format: Format, values: usize) -> usize {
        match format {
            Format::F32 => values,
            Format::Int8 => values.div_ceil(4),
        }
    }

    /// Words of an image.
    fn image(format: Format, shape: Shape) -> usize {
        Self::values(format, Self::of(format, shape))
    }

    /// Whether every output reads every input.
    pub(super) fn is_linear(conv: &Conv) -> bool {
        let input = conv.geometry.input;
        input.height * input.width == 1 && conv.geometry.kernel == [1, 1]
    }

    /// Whether its weights lie four to a word: those of linear layers in eight bits.
    pub(super) fn is_packed(format: Format, conv: &Conv) -> bool {
        format == Format::Int8 && Self::is_linear(conv)
    }

    /// Words of the weights of one output channel.
    pub(super) fn taps(format: Format, conv: &Conv) -> Option<usize> {
        let inputs = conv.geometry.input.channels;
        if Self::is_packed(format, conv) {
            return Some(inputs.div_ceil(4));
        }
        let [rows, columns] = conv.geometry.kernel;
        rows.checked_mul(columns)?
            .checked_mul(inputs.div_ceil(Self::group(format)))
    }

    /// Words behind the weights for each output channel: its bias, and in eight bits its scale.
    pub(super) const fn constants(format: Format) -> usize {
        match format {
            Format::F32 => 1,
            Format::Int8 => 2,
        }
    }

    /// Words of a convolution's weights and constants.
    pub(super) fn weights(format: Format, conv: &Conv) -> Option<usize> {
        Self::taps(format, conv)?
            .checked_add(Self::constants(format))?
            .checked_mul(conv.geometry.output.channels)
    }
}

/// Lengths, in words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// The stem's output.
    pub(super) stem: usize,
    /// A bit for each window at the head's begin: whether it can be other than 0.
    pub(super) live: usize,
    /// A bit for each four elements of the first site: whether their masks can matter.
    pub(super) needed: usize,
    /// A byte for each element of every site: eight passes.
    pub(super) masks: usize,
    /// Each of two areas that the stem's operations read.
    pub(super) stem_area: usize,
    /// The head's first input.
    pub(super) picked: usize,
    /// Each of two areas that the head's operations write.
    pub(super) head_area: usize,
    /// Inputs of a row of outputs, with their weights' places.
    pub(super) gathered: usize,
    /// Where these begin for each column.
    pub(super) columns: usize,
}

impl Layout {
    /// That of a plan. What the checks of the plan would refuse does not count.
    pub(super) fn new(plan: &PlanFile<'_>) -> Self {
        let format = plan.format();
        let image = |shape| Words::image(format, shape);
        let mut layout = Self {
            stem: 0,
            live: 0,
            needed: 0,
            masks: 0,
            stem_area: 0,
            picked: 0,
            head_area: 0,
            gathered: 0,
            columns: 0,
        };
        for op in plan.stem().flatten() {
            layout.stem_area = layout.stem_area.max(image(op.input()));
            layout.lists(format, &op);
        }
        if let Ok(pick) = plan.pick() {
            let output = pick.windows.output;
            layout.stem = image(pick.windows.input);
            layout.live = output.height * output.width * output.channels.div_ceil(32);
            layout.picked = image(output);
            let site = plan.site(pick.drop.site);
            layout.needed = site.map_or(0, |site| site.elements.div_ceil(4 * 32));
        }
        for op in plan.head().flatten() {
            layout.head_area = layout.head_area.max(image(op.output()));
            layout.lists(format, &op);
        }
        for site in (0..plan.sites()).filter_map(|site| plan.site(site)) {
            layout.masks += site.elements.div_ceil(4);
        }
        // An input may lie there until the stem has read it.
        layout.masks = layout.masks.max(plan.input().len());
        layout
    }

    /// Room for the lists of a convolution.
    fn lists(&mut self, format: Format, op: &Op) {
        let Op::Conv(conv) = op else { return };
        if Words::is_packed(format, conv) {
            return;
        }
        let input = conv.geometry.input;
        let row = input.width * conv.geometry.kernel[0].min(input.height);
        let inputs = row * input.channels.div_ceil(Words::group(format));
        self.gathered = self.gathered.max(2 * inputs);
        self.columns = self.columns.max((input.width + 1).div_ceil(2));
    }

    /// What is used by the stem and the head in turn.
    pub(super) fn shared(&self) -> usize {
        (2 * self.stem_area).max(self.picked + 2 * self.head_area)
    }

    /// All of it.
    pub(super) fn words(&self) -> usize {
        self.stem
            + self.live
            + self.needed
            + self.masks
            + self.shared()
            + self.gathered
            + self.columns
    }
}
