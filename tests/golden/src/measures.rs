//! Measures: logits, libtorch's values, and the exact bits.
//!
//! ```text
//! case <name> <classes> <passes>          decimal
//! <logit of class 0> <class 1> …          one line per pass, f32 bits
//! torch <value 0> <value 1> …             f64 bits, in the order of `values`
//! exact <value 0> <value 1> …             f64 bits
//! ```

use shared::uncertainty::{Measures, PassAccumulator};

use crate::words::{Words, lines};
use crate::{Mismatch, TOLERANCE};

/// Classes that cases may have.
const CAPACITY: usize = 16;

/// What was checked of the measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MeasureCounts {
    /// Sets of passes.
    pub cases: usize,
    /// Passes of all cases.
    pub passes: usize,
    /// Single numbers compared.
    pub values: usize,
}

/// Every measure as one list: class, confidence, predictive entropy, expected entropy, mutual
/// information, variation ratio, margin, then per class mean probabilities, standard deviations
/// and mean logits.
pub fn values<const N: usize>(measures: &Measures<N>) -> impl Iterator<Item = f64> {
    [
        measures.class as f64,
        measures.confidence,
        measures.predictive_entropy,
        measures.expected_entropy,
        measures.mutual_information,
        measures.variation_ratio,
        measures.margin,
    ]
    .into_iter()
    .chain(measures.mean_probabilities().iter().copied())
    .chain(measures.standard_deviations().iter().copied())
    .chain(measures.mean_logits().iter().copied())
}

/// Checks every case.
///
/// # Errors
/// The first [`Mismatch`].
pub fn check_measures(text: &str) -> Result<MeasureCounts, Mismatch> {
    let mut counts = MeasureCounts::default();
    let mut lines = lines(text);
    while let Some((line, header)) = lines.next() {
        let (classes, passes) = read_header(header).ok_or(syntax(line))?;
        let mut accumulator =
            PassAccumulator::<CAPACITY>::new(classes).map_err(|_| syntax(line))?;
        for _ in 0..passes {
            let (line, content) = lines.next().ok_or(syntax(line))?;
            let mut logits = [0.0; CAPACITY];
            let logits = &mut logits[..classes];
            read_logits(content, logits).ok_or(syntax(line))?;
            accumulator
                .push(logits)
                .map_err(|_| Mismatch::Refused { line })?;
        }
        let measures = accumulator.measures().ok_or(syntax(line))?;
        for kind in ["torch", "exact"] {
            let (line, content) = lines.next().ok_or(syntax(line))?;
            let mut words = Words::of(content);
            if words.text() != Some(kind) {
                return Err(syntax(line));
            }
            for (value, got) in values(&measures).enumerate() {
                let expected = words.u64().ok_or(syntax(line))?;
                compare(kind, line, value, expected, got)?;
            }
            if !words.ended() {
                return Err(syntax(line));
            }
        }
        counts.cases += 1;
        counts.passes += passes;
        counts.values += values(&measures).count();
    }
    Ok(counts)
}

fn compare(kind: &str, line: usize, value: usize, expected: u64, got: f64) -> Result<(), Mismatch> {
    if kind == "exact" {
        if got.to_bits() != expected {
            return Err(Mismatch::Bits {
                line,
                value,
                expected,
                got: got.to_bits(),
            });
        }
    } else {
        let reference = f64::from_bits(expected);
        let allowed = TOLERANCE * reference.abs().max(1.0);
        // A reference that is NaN is a mismatch as well.
        let near = (got - reference).abs() <= allowed;
        if !near {
            return Err(Mismatch::Reference { line, value });
        }
    }
    Ok(())
}

fn syntax(line: usize) -> Mismatch {
    Mismatch::Syntax {
        file: "measures.txt",
        line,
    }
}

fn read_header(line: &str) -> Option<(usize, usize)> {
    let mut words = Words::of(line);
    if words.text()? != "case" {
        return None;
    }
    words.text()?;
    let (classes, passes) = (words.decimal()?, words.decimal()?);
    words.ended().then_some((classes, passes))
}

fn read_logits(line: &str, logits: &mut [f32]) -> Option<()> {
    let mut words = Words::of(line);
    for logit in logits {
        *logit = f32::from_bits(words.u32()?);
    }
    words.ended().then_some(())
}
