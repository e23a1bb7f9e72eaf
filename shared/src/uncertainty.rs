//! Measures of uncertainty over stochastic passes.
//!
//! Pass `t` gives logits `z_t` and probabilities `p_t = softmax(z_t)`; `p̄ = 1/T Σ p_t`.
//!
//! | measure | formula | says |
//! |---|---|---|
//! | predictive entropy | `H = −Σ_c p̄_c ln p̄_c` | total uncertainty |
//! | expected entropy | `E = 1/T Σ_t −Σ_c p_tc ln p_tc` | aleatoric: the input is ambiguous |
//! | mutual information | `H − E` (Houlsby et al. 2011, BALD) | epistemic: the model does not know |
//! | variation ratio | `1 − f/T`, `f` = passes that vote for the most voted class (Freeman 1965) | disagreement in votes |
//! | margin | `p̄₍₁₎ − p̄₍₂₎` | lead of the best class over the second |
//! | standard deviation | `√(1/T Σ_t (p_tc − p̄_c)²)`, of the population, per class | spread of a class's probability |
//!
//! (Gal 2016, section 3.3; Depeweg et al. 2018; Kendall and Gal 2017.) Entropies are in nats.
//!
//! All arithmetic is `f64` with transcendental functions from `libm`, in a fixed order, so the same
//! logits in the same order give the same bits on every target. Means and deviations of
//! probabilities are running ones (Welford 1962), so memory does not grow with the passes; the
//! result is within 5e-15·max(1, |r|) of the value `r` that float64 gives over all passes at once.

use core::fmt;

/// Why logits were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UncertaintyError {
    /// The number of classes is not in `2..=capacity`.
    Classes {
        /// Classes asked for.
        classes: usize,
        /// Classes the accumulator has room for.
        capacity: usize,
    },
    /// A pass has the wrong number of logits.
    Length {
        /// Classes of the accumulator.
        expected: usize,
        /// Logits received.
        got: usize,
    },
    /// A logit is NaN or infinite.
    NonFinite {
        /// The first class whose logit is not finite.
        class: usize,
    },
}

impl fmt::Display for UncertaintyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Classes { classes, capacity } => {
                write!(f, "{classes} classes: must be 2 to {capacity}")
            }
            Self::Length { expected, got } => {
                write!(f, "a pass gave {got} logits for {expected} classes")
            }
            Self::NonFinite { class } => {
                write!(f, "the logit of class {class} is not a finite number")
            }
        }
    }
}

impl core::error::Error for UncertaintyError {}

/// Accumulates stochastic passes in fixed memory; `N` is its capacity in classes.
#[derive(Debug, Clone, PartialEq)]
pub struct PassAccumulator<const N: usize> {
    classes: usize,
    passes: u32,
    mean_probabilities: [f64; N],
    /// Sums of squared deviations of the probabilities from their running mean.
    squared_deviations: [f64; N],
    /// Sums rather than running means: of values with the 24 bits of f32 they are all but exact.
    logit_sums: [f64; N],
    expected_entropy: f64,
    votes: [u32; N],
    /// Of the pass pushed last.
    probabilities: [f64; N],
    entropy: f64,
}

impl<const N: usize> PassAccumulator<N> {
    /// An empty accumulator for `classes` classes.
    ///
    /// # Errors
    /// [`UncertaintyError::Classes`] unless `classes` is in `2..=N`.
    pub fn new(classes: usize) -> Result<Self, UncertaintyError> {
        if !(2..=N).contains(&classes) {
            return Err(UncertaintyError::Classes {
                classes,
                capacity: N,
            });
        }
        Ok(Self {
            classes,
            passes: 0,
            mean_probabilities: [0.0; N],
            squared_deviations: [0.0; N],
            logit_sums: [0.0; N],
            expected_entropy: 0.0,
            votes: [0; N],
            probabilities: [0.0; N],
            entropy: 0.0,
        })
    }

    /// Forgets all passes, as at the start of a frame.
    pub fn reset(&mut self) {
        // No more than is used: there may be room for many more classes.
        self.passes = 0;
        self.mean_probabilities[..self.classes].fill(0.0);
        self.squared_deviations[..self.classes].fill(0.0);
        self.logit_sums[..self.classes].fill(0.0);
        self.expected_entropy = 0.0;
        self.votes[..self.classes].fill(0);
        self.probabilities[..self.classes].fill(0.0);
        self.entropy = 0.0;
    }

    /// Passes accumulated since the last reset.
    #[must_use]
    pub fn passes(&self) -> u32 {
        self.passes
    }

    /// Number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Adds one pass: its raw outputs (`[classes]`, before any softmax). At most `u32::MAX` passes.
    ///
    /// # Errors
    /// [`UncertaintyError::Length`] or [`UncertaintyError::NonFinite`]; the accumulator is then
    /// unchanged.
    pub fn push(&mut self, logits: &[f32]) -> Result<(), UncertaintyError> {
        if logits.len() != self.classes {
            return Err(UncertaintyError::Length {
                expected: self.classes,
                got: logits.len(),
            });
        }
        if let Some(class) = logits.iter().position(|logit| !logit.is_finite()) {
            return Err(UncertaintyError::NonFinite { class });
        }
        let probabilities = &mut self.probabilities[..self.classes];
        self.entropy = softmax_with_entropy(logits, probabilities);

        self.passes += 1;
        let passes = f64::from(self.passes);
        for (class, (&probability, &logit)) in probabilities.iter().zip(logits).enumerate() {
            let before = probability - self.mean_probabilities[class];
            self.mean_probabilities[class] += before / passes;
            let after = probability - self.mean_probabilities[class];
            self.squared_deviations[class] += before * after;
            self.logit_sums[class] += f64::from(logit);
        }
        self.expected_entropy += (self.entropy - self.expected_entropy) / passes;
        self.votes[largest_logit(logits)] += 1;
        Ok(())
    }

    /// Probabilities, `[classes]`, and entropy, nats, of the pass pushed last; zeros before the
    /// first.
    #[must_use]
    pub fn last_pass(&self) -> (&[f64], f64) {
        (&self.probabilities[..self.classes], self.entropy)
    }

    /// The measures over the passes so far; `None` before the first.
    ///
    /// `0 ≤ mutual information ≤ predictive entropy ≤ ln classes` and
    /// `predictive entropy = expected entropy + mutual information` up to the last rounding; one
    /// pass, or identical passes, have mutual information exactly 0.
    #[must_use]
    pub fn measures(&self) -> Option<Measures<N>> {
        if self.passes == 0 {
            return None;
        }
        let passes = f64::from(self.passes);
        let mean = &self.mean_probabilities[..self.classes];
        let class = argmax(mean);
        let confidence = mean[class].min(1.0);
        let runner_up = mean
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != class)
            .fold(0.0, |best: f64, (_, &p)| best.max(p));

        let most = libm::log(self.classes as f64);
        // `clamp` would bring the code that prints its limits when they are in the wrong order.
        let expected_entropy = self.expected_entropy.max(0.0).min(most);
        let spread = self.squared_deviations[..self.classes]
            .iter()
            .any(|&sum| sum > 0.0);
        let predictive_entropy = if spread {
            // Entropy is concave, so only rounding can put it below the expected entropy.
            entropy_around(mean, class).max(expected_entropy).min(most)
        } else {
            expected_entropy
        };

        let mut standard_deviations = [0.0; N];
        let mut mean_logits = [0.0; N];
        for class in 0..self.classes {
            let variance = self.squared_deviations[class] / passes;
            standard_deviations[class] = libm::sqrt(variance.max(0.0));
            mean_logits[class] = self.logit_sums[class] / passes;
        }
        let winner = self.votes[..self.classes]
            .iter()
            .max()
            .copied()
            .unwrap_or(0);
        Some(Measures {
            passes: self.passes,
            class,
            confidence,
            predictive_entropy,
            expected_entropy,
            mutual_information: predictive_entropy - expected_entropy,
            variation_ratio: f64::from(self.passes - winner) / passes,
            margin: (confidence - runner_up).max(0.0),
            classes: self.classes,
            mean_probabilities: self.mean_probabilities,
            mean_logits,
            standard_deviations,
        })
    }
}

/// What the passes of one frame say; see the [module](self) for the formulas.
#[derive(Debug, Clone, PartialEq)]
pub struct Measures<const N: usize> {
    /// Passes measured, at least 1.
    pub passes: u32,
    /// The class of the highest mean probability; of equal ones the lowest.
    pub class: usize,
    /// Mean probability of `class`, in [1/classes, 1].
    pub confidence: f64,
    /// Entropy of the mean probabilities, nats, in [0, ln classes].
    pub predictive_entropy: f64,
    /// Mean of the passes' entropies, nats, in [0, predictive entropy].
    pub expected_entropy: f64,
    /// Predictive minus expected entropy, nats, in [0, predictive entropy].
    pub mutual_information: f64,
    /// Share of passes that do not vote for the most voted class, in [0, 1 − 1/classes].
    pub variation_ratio: f64,
    /// Highest minus second highest mean probability, in [0, 1].
    pub margin: f64,
    classes: usize,
    mean_probabilities: [f64; N],
    mean_logits: [f64; N],
    standard_deviations: [f64; N],
}

impl<const N: usize> Measures<N> {
    /// Number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Mean probability of each class, `[classes]`; they add up to 1 within rounding.
    #[must_use]
    pub fn mean_probabilities(&self) -> &[f64] {
        &self.mean_probabilities[..self.classes]
    }

    /// Mean raw output of each class, `[classes]`.
    #[must_use]
    pub fn mean_logits(&self) -> &[f64] {
        &self.mean_logits[..self.classes]
    }

    /// Population standard deviation of each class's probability over the passes, `[classes]`, in
    /// [0, ½].
    #[must_use]
    pub fn standard_deviations(&self) -> &[f64] {
        &self.standard_deviations[..self.classes]
    }
}

/// Index of the largest value, of equal ones the lowest; 0 for an empty slice.
#[must_use]
pub fn argmax(values: &[f64]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

/// Writes `ln softmax(logits)` to `out`, stable for logits of any finite size.
///
/// # Panics
/// If the slices differ in length.
pub fn log_softmax(logits: &[f64], out: &mut [f64]) {
    assert_eq!(logits.len(), out.len(), "one output per logit");
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for &logit in logits {
        sum += libm::exp(logit - largest);
    }
    let log_sum = libm::log(sum);
    for (out, &logit) in out.iter_mut().zip(logits) {
        *out = logit - largest - log_sum;
    }
}

/// Entropy of a probability distribution, `−Σ p ln p`, nats; `0 ln 0 = 0`.
///
/// Accurate also relative to itself, down to the smallest entropies.
#[must_use]
pub fn entropy(probabilities: &[f64]) -> f64 {
    if probabilities.is_empty() {
        return 0.0;
    }
    entropy_around(probabilities, argmax(probabilities))
}

/// [`entropy`], given the index of the largest probability.
///
/// A probability next to 1 has lost the digits that its logarithm needs, so the logarithm of the
/// largest is taken from the others: `ln p = ln1p(−Σ others)`.
fn entropy_around(probabilities: &[f64], largest: usize) -> f64 {
    let mut others = 0.0;
    let mut sum = 0.0;
    for (index, &p) in probabilities.iter().enumerate() {
        if index != largest && p > 0.0 {
            others += p;
            sum -= p * libm::log(p);
        }
    }
    let p = probabilities[largest];
    if p > 0.5 {
        sum - p * libm::log1p(-others)
    } else if p > 0.0 {
        sum - p * libm::log(p)
    } else {
        sum
    }
}

/// Writes `softmax(logits)` to `probabilities` and returns its entropy, nats.
///
/// With `s = z − max z` and `L = ln Σ exp s`: `−Σ p ln p = L − Σ p s`, where no term is negative, so
/// nothing cancels, and where `L = ln1p(Σ of all but the largest)`.
fn softmax_with_entropy(logits: &[f32], probabilities: &mut [f64]) -> f64 {
    let largest = largest_logit(logits);
    let top = f64::from(logits[largest]);
    let mut others = 0.0;
    for (class, (p, &logit)) in probabilities.iter_mut().zip(logits).enumerate() {
        *p = libm::exp(f64::from(logit) - top);
        if class != largest {
            others += *p;
        }
    }
    let sum = 1.0 + others;
    let mut entropy = libm::log1p(others);
    for (p, &logit) in probabilities.iter_mut().zip(logits) {
        *p /= sum;
        entropy += *p * (top - f64::from(logit));
    }
    entropy
}

/// As [`argmax`].
fn largest_logit(logits: &[f32]) -> usize {
    let mut best = 0;
    for (index, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = index;
        }
    }
    best
}
