//! Resampling by area in exact integer arithmetic.

/// One axis of the resampling: `from` pixels become `to` values.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    from: u64,
    to: u64,
}

impl Axis {
    pub(super) fn new(from: usize, to: usize) -> Self {
        Self {
            from: from as u64,
            to: to as u64,
        }
    }

    /// What the weights of any one output value add up to.
    pub(super) fn total(self) -> u64 {
        if self.to > self.from {
            2 * self.to
        } else {
            self.from
        }
    }

    /// The pixels that output value `index` is made of, with their weights.
    pub(super) fn taps(self, index: usize) -> impl Iterator<Item = (usize, u64)> {
        let Self { from, to } = self;
        let index = index as u64;
        let grows = to > from;
        // Growing: the output's centre, (index + ½)·from/to − ½ pixels, in steps of 1/(2·to).
        let centre = ((2 * index + 1) * from)
            .saturating_sub(to)
            .min((from - 1) * 2 * to);
        // Shrinking: output `index` covers [index·from, (index+1)·from), pixel j [j·to, (j+1)·to).
        let (start, end) = (index * from, (index + 1) * from);
        let pixels = if grows {
            let first = centre / (2 * to);
            first..(first + 2).min(from)
        } else {
            start / to..end.div_ceil(to)
        };
        pixels.map(move |pixel| {
            let weight = if grows {
                let fraction = centre % (2 * to);
                if pixel == centre / (2 * to) {
                    2 * to - fraction
                } else {
                    fraction
                }
            } else {
                end.min((pixel + 1) * to) - start.max(pixel * to)
            };
            (pixel as usize, weight)
        })
    }
}
