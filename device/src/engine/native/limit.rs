//! How fast the engine could be: the multiply-adds that a frame needs, and how many of them a core
//! can do in a second.

use std::hint::black_box;
use std::time::{Duration, Instant};
use std::vec;
use std::vec::Vec;

use super::head::Seen;
use super::plan::{Conv, Op, Program};
use super::simd::{Kernel, Level, Simd};

/// Multiply-adds that the stem needs: all of them.
pub(super) fn of_stem(program: &Program<'_>) -> u64 {
    dense_multiply_adds(program.stem)
}

/// Multiply-adds of operations, zeros included.
pub(super) fn dense_multiply_adds(ops: &[Op]) -> u64 {
    let convs = ops.iter().filter_map(|op| match op {
        Op::Conv(conv) => Some(conv),
        _ => None,
    });
    convs
        .map(|conv| uses(conv).iter().sum::<u64>() * conv.geometry.input.channels as u64)
        .sum()
}

/// For each pixel of a convolution's input how many multiply-adds one of its channels takes part
/// in.
fn uses(conv: &Conv) -> Vec<u64> {
    let geometry = &conv.geometry;
    let along = |axis: usize| -> Vec<u64> {
        let size = [geometry.input.height, geometry.input.width][axis];
        let (written, kernel, stride) = match conv.pool {
            Some(pool) => (
                [pool.output.height, pool.output.width][axis],
                pool.kernel[axis],
                pool.stride[axis],
            ),
            None => ([geometry.output.height, geometry.output.width][axis], 1, 1),
        };
        let mut uses = vec![0; size];
        for window in 0..written {
            for position in window * stride..window * stride + kernel {
                let (first, last) = if axis == 0 {
                    geometry.rows(position)
                } else {
                    geometry.columns(position)
                };
                let begin = position * geometry.stride[axis] + first - geometry.padding[axis];
                for place in &mut uses[begin..begin + last - first] {
                    *place += 1;
                }
            }
        }
        uses
    };
    let (rows, columns) = (along(0), along(1));
    let outputs = geometry.output.channels as u64;
    rows.iter()
        .flat_map(|row| columns.iter().map(move |column| row * column * outputs))
        .collect()
}

/// Notes which inputs of the head's convolutions are live.
#[derive(Debug)]
pub(super) struct Census(Vec<Vec<bool>>);

impl Census {
    pub(super) fn new(program: &Program<'_>) -> Self {
        Self(
            program
                .head
                .iter()
                .map(|op| vec![false; op.input().len()])
                .collect(),
        )
    }

    /// Notes what a convolution reads in `lane`.
    pub(super) fn note(&mut self, seen: Seen<'_>, lane: usize) {
        for element in seen.live {
            let element = *element as usize;
            self.0[seen.op][element] |= seen.input[element * seen.lanes + lane] != 0.0;
        }
    }

    /// Multiply-adds of one pass. An input that is 0 in every pass takes part in none.
    pub(super) fn per_pass(&self, program: &Program<'_>) -> u64 {
        let convs = program
            .head
            .iter()
            .zip(&self.0)
            .filter_map(|(op, live)| match op {
                Op::Conv(conv) => Some((conv, live)),
                _ => None,
            });
        convs
            .map(|(conv, live)| {
                let uses = uses(conv);
                let pixels = live.chunks(conv.geometry.input.channels).zip(uses);
                pixels
                    .map(|(live, uses)| live.iter().filter(|live| **live).count() as u64 * uses)
                    .sum::<u64>()
            })
            .sum()
    }
}

/// Multiply-adds per second that one core does with `level` when nothing else holds it up: on
/// registers alone, the best of `trials`, which take some milliseconds each.
#[must_use]
pub fn peak_multiply_adds_per_second(level: Level, trials: u32) -> f64 {
    const LEAST: Duration = Duration::from_millis(2);
    let mut rounds = 1 << 14;
    let mut best: f64 = 0.0;
    for _ in 0..trials.max(1) {
        let began = Instant::now();
        let done = level.run(Peak { rounds });
        let took = began.elapsed();
        if took < LEAST {
            rounds *= 2;
        }
        best = best.max(done as f64 / took.as_secs_f64());
    }
    best
}

struct Peak {
    rounds: u64,
}

impl Kernel for Peak {
    type Output = u64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> u64 {
        // As many sums as the engine keeps in registers, at most.
        if S::TILE >= 24 {
            self.sums::<S, 24>(simd)
        } else if S::TILE >= 6 {
            self.sums::<S, 6>(simd)
        } else {
            self.sums::<S, 2>(simd)
        }
    }
}

impl Peak {
    #[inline(always)]
    fn sums<S: Simd, const N: usize>(self, simd: S) -> u64 {
        let [a, b] = black_box([1.5_f32, 0.25]);
        let (a, b) = (simd.splat(a), simd.splat(b));
        let mut sums = [simd.splat(0.0); N];
        for _ in 0..self.rounds {
            for sum in &mut sums {
                *sum = simd.multiply_add(a, *sum, b);
            }
        }
        let mut memory = [0.0; super::simd::LANES];
        for sum in sums {
            simd.store(sum, &mut S::slots_mut(&mut memory)[0]);
            black_box(&memory);
        }
        self.rounds * (N * S::LANES) as u64
    }
}
