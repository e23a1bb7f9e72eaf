//! Temperature scaling of the Monte-Carlo-dropout predictive.

use std::f64::consts::GOLDEN_RATIO;

/// Temperatures that are looked at: 1/20 to 20.
const RANGE: f64 = 20.0;
/// Temperatures tried before the best one's neighbourhood is searched.
const TRIES: usize = 25;
/// Relative precision of the result.
const PRECISION: f64 = 1e-4;

/// Mean negative log-likelihood, nats, of `mean_t softmax(z_t / temperature)` over images.
///
/// `logits` are those of every pass, `[image][pass][class]`, finite; `labels` one per image.
///
/// # Panics
/// The logits do not fit the labels and classes.
pub(super) fn negative_log_likelihood(
    logits: &[f32],
    classes: usize,
    labels: &[u16],
    temperature: f64,
) -> f64 {
    let per_image = logits.len() / labels.len();
    assert_eq!(per_image * labels.len(), logits.len(), "passes of images");
    let total: f64 = logits
        .chunks_exact(per_image)
        .zip(labels)
        .map(|(image, &label)| {
            let passes = image.chunks_exact(classes);
            let count = passes.len() as f64;
            let sum: f64 = passes
                .map(|pass| probability(pass, usize::from(label), temperature))
                .sum();
            -(sum / count).max(f64::MIN_POSITIVE).ln()
        })
        .sum();
    total / labels.len() as f64
}

/// Component `class` of softmax(z / temperature).
fn probability(logits: &[f32], class: usize, temperature: f64) -> f64 {
    let own = f64::from(logits[class]);
    let ratios: f64 = logits
        .iter()
        .map(|&z| ((f64::from(z) - own) / temperature).exp())
        .sum();
    1.0 / ratios
}

/// The temperature that `logits` are divided by for the least [`negative_log_likelihood`], as in
/// Guo et al. (2017, section 4.2), there of one deterministic pass.
///
/// # Panics
/// The logits do not fit the labels and classes.
pub(super) fn fit(logits: &[f32], classes: usize, labels: &[u16]) -> f64 {
    let loss =
        |exponent: f64| negative_log_likelihood(logits, classes, labels, RANGE.powf(exponent));
    // The likelihood of a mean of softmaxes need not have one peak only: first everywhere.
    let step = 2.0 / (TRIES - 1) as f64;
    let best = (0..TRIES)
        .map(|index| -1.0 + index as f64 * step)
        .map(|exponent| (loss(exponent), exponent))
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map_or(0.0, |(_, exponent)| exponent);
    let (mut low, mut high) = ((best - step).max(-1.0), (best + step).min(1.0));
    // Golden-section search.
    let inner = |low: f64, high: f64| {
        let part = (high - low) / GOLDEN_RATIO;
        (high - part, low + part)
    };
    while (high - low) * RANGE.ln() > PRECISION {
        let (a, b) = inner(low, high);
        if loss(a) < loss(b) {
            high = b;
        } else {
            low = a;
        }
    }
    RANGE.powf(f64::midpoint(low, high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Purpose, Random};

    #[test]
    fn the_likelihood_is_that_computed_by_hand() {
        // Two passes over one image, two classes: (σ(2/2) + σ(−1/2)) / 2 for class 0.
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let expected = -f64::midpoint(sigmoid(1.0), sigmoid(-0.5)).ln();
        let found = negative_log_likelihood(&[2.0, 0.0, 0.0, 1.0], 2, &[0], 2.0);
        assert!((found - expected).abs() < 1e-12, "{found}");
    }

    #[test]
    fn the_temperature_of_answers_drawn_at_it_is_found() {
        // Labels are drawn from softmax(z / 2.5), so that dividing by 2.5 is right.
        let mut random = Random::new(1, Purpose::Mix, 0);
        let (mut logits, mut labels) = (Vec::new(), Vec::new());
        for _ in 0..20_000 {
            let pass: Vec<f32> = (0..3).map(|_| random.between(-6.0, 6.0) as f32).collect();
            let mut left = random.between(0.0, 1.0);
            let label = (0..2).find(|&class| {
                left -= probability(&pass, class, 2.5);
                left < 0.0
            });
            labels.push(label.unwrap_or(2) as u16);
            logits.extend(pass);
        }
        let temperature = fit(&logits, 3, &labels);
        assert!((temperature - 2.5).abs() < 0.1, "{temperature}");
        // Neighbours are worse.
        let loss = |t| negative_log_likelihood(&logits, 3, &labels, t);
        assert!(loss(temperature) < loss(temperature * 1.02));
        assert!(loss(temperature) < loss(temperature / 1.02));
    }
}
