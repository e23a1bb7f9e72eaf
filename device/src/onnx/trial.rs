//! What a model's output is, found by trying it.
//!
//! The graph runs on a few inputs and with a few masks. Probabilities are never negative and have the
//! same sum every time; their logarithms have exponentials of which that holds.

use super::analysis::Facts;
use super::network::Network;
use super::scores::random_tensors;
use super::{Model, OnnxError, OutputKind};

/// Inputs that a network is tried on.
const INPUTS: u32 = 4;
/// Passes per input.
const PASSES: u32 = 4;
/// Multiplications of all passes at most: some seconds of one core of a PC.
const MOST_PRODUCTS: u64 = 1 << 35;
/// How far from each other sums of probabilities may be, relative to them.
const SUM_TOLERANCE: f32 = 1e-3;
/// How far below 0 rounding may bring a probability.
const ROUNDING: f32 = 1e-6;

/// Tells what the output `name` is from `raw`, a model that puts its values out as they are.
/// `positive` is the operator at its end, if it is one that yields nothing negative.
pub(super) fn kind(
    raw: &Model,
    name: &str,
    positive: Option<&str>,
) -> Result<OutputKind, OnnxError> {
    let rows = rows(raw).map_err(|reason| {
        OnnxError::Output(format!(
            "whether the output {name} holds logits or probabilities cannot be told from the graph, and trying it failed ({reason}): {STATE_IT}"
        ))
    })?;
    judge(&rows, positive).map_err(|what| {
        OnnxError::Output(format!(
            "the output {name} holds {what}, which are neither logits nor probabilities of classes that exclude each other: export the logits; or, if they are to be taken as such, {STATE_IT}"
        ))
    })
}

/// Refuses to try a network that is too large for it.
pub(super) fn affordable(network: &Network, facts: &Facts, name: &str) -> Result<(), OnnxError> {
    let random = random_tensors(network);
    let count = |tensor: &String| {
        let shape = facts.get(tensor).map_or(&[][..], |fact| &fact.shape);
        shape
            .iter()
            .fold(1_u64, |count, &n| count.saturating_mul(n as u64))
    };
    let mut products = 0_u64;
    for node in &network.nodes {
        let output = count(&node.output[0]);
        let weights = node.input.get(1).and_then(|name| facts.get(name));
        let axes = weights.map_or(&[][..], |fact| &fact.shape);
        let per_output = match (node.op_type.as_str(), axes) {
            ("Conv", [_, window @ ..]) => window.iter().product(),
            ("ConvTranspose", [inputs, _, window @ ..]) => {
                inputs * window.iter().product::<usize>()
            }
            ("Gemm" | "MatMul", [.., rows, columns]) => *rows.max(columns),
            _ => 1,
        };
        let runs = if random.contains(&node.output[0]) {
            INPUTS * PASSES
        } else {
            INPUTS
        };
        products = products.saturating_add(
            output
                .saturating_mul(per_output as u64)
                .saturating_mul(runs.into()),
        );
    }
    if products <= MOST_PRODUCTS {
        return Ok(());
    }
    Err(OnnxError::Output(format!(
        "whether the output {name} holds logits or probabilities cannot be told from the graph, and the network is too large to try it: {STATE_IT}"
    )))
}

const STATE_IT: &str = "state what they are in the metadata entry mcdropout.output";

/// What rows of values are, or words for what they are that cannot be used.
fn judge(rows: &[Vec<f32>], positive: Option<&str>) -> Result<OutputKind, String> {
    // The input may have been too large for a network's exponentials. The logarithm of 0 is infinite.
    let usable = |row: &&Vec<f32>| {
        row.iter().all(|&v| v < f32::INFINITY) && row.iter().any(|v| v.is_finite())
    };
    let finite: Vec<&Vec<f32>> = rows.iter().filter(usable).collect();
    let all = |test: &dyn Fn(f32) -> bool| finite.iter().copied().flatten().all(|&v| test(v));
    let sums = |of: fn(f32) -> f32| {
        finite
            .iter()
            .map(|row| row.iter().map(|&v| of(v)).sum::<f32>())
            .collect::<Vec<_>>()
    };
    let near = |a: f32, b: f32| (a - b).abs() <= SUM_TOLERANCE * b.abs();
    let Some(first) = finite.first() else {
        return Err("no numbers (NaN or infinities)".into());
    };
    let is_binary = first.len() == 1;
    let in_0_1 = all(&|v| (-ROUNDING..=1.0 + ROUNDING).contains(&v));
    if all(&|v| v == 0.0 || v == 1.0) {
        return Err("zeros and ones only".into());
    }
    let evidence = |op: &str| {
        format!("values of {op} that are never negative and do not sum to 1 (evidence?)")
    };
    if is_binary {
        return match positive {
            _ if in_0_1 => Ok(OutputKind::BinaryProbability),
            Some(op) if all(&|v| v >= 0.0) => Err(evidence(op)),
            _ => Ok(OutputKind::BinaryLogit),
        };
    }
    let is_positive = all(&|v| v >= -ROUNDING);
    let totals = sums(|v| v);
    let constant = totals[0] > 0.0 && totals.iter().all(|&sum| near(sum, totals[0]));
    // A multiple has to show in more than one row: an output may be the same for all these inputs.
    let differs = finite.iter().any(|row| row != first);
    if is_positive && constant && (near(totals[0], 1.0) || differs) {
        return Ok(OutputKind::Probabilities);
    }
    if all(&|v| v <= ROUNDING) && sums(f32::exp).iter().all(|&sum| near(sum, 1.0)) {
        return Ok(OutputKind::LogProbabilities);
    }
    if in_0_1 {
        return Err("values between 0 and 1 that do not sum to 1 (a sigmoid per class?)".into());
    }
    match positive {
        Some(op) if is_positive => Err(evidence(op)),
        _ => Ok(OutputKind::Logits),
    }
}

/// Rows of values on inputs of several kinds.
#[cfg(feature = "tract")]
fn rows(raw: &Model) -> Result<Vec<Vec<f32>>, crate::engine::EngineError> {
    use crate::engine::Engine as _;
    use crate::engine::tract::TractEngine;

    let mut engine = TractEngine::new(raw, PASSES as usize, 1)?;
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    let length = raw.input_shape().len();
    let mut rows = Vec::new();
    for frame in 0..INPUTS {
        let input: Vec<f32> = (0..length)
            .map(|_| match frame {
                0 => 0.0,
                1 => random.uniform(),
                2 => random.normal(),
                // As bytes are.
                _ => random.uniform() * 255.0,
            })
            .collect();
        let mut values = vec![0.0; PASSES as usize * raw.classes()];
        engine.begin(frame, &input)?;
        engine.sample(0..PASSES, &mut values)?;
        rows.extend(values.chunks_exact(raw.classes()).map(<[f32]>::to_vec));
    }
    Ok(rows)
}

#[cfg(not(feature = "tract"))]
fn rows(_raw: &Model) -> Result<Vec<Vec<f32>>, &'static str> {
    Err("this program was built without tract")
}

/// Marsaglia's xorshift.
#[cfg(feature = "tract")]
struct Random(u64);

#[cfg(feature = "tract")]
impl Random {
    fn uniform(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1_u32 << 24) as f32
    }

    /// The sum of twelve uniform numbers is normal enough.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }
}
