//! Tests of the hypothesis that the error rate among accepted frames exceeds its limit.

/// How the hypothesis is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RiskTest {
    /// Of losses that are 0 or 1: the exact tail of the binomial distribution.
    Binomial,
    /// Of losses anywhere in 0..=1: Hoeffding's and Bentkus' inequalities, the better of the two
    /// (Bates et al. 2021, arXiv 2101.02703; Angelopoulos et al. 2021, proposition 1).
    HoeffdingBentkus,
}

impl RiskTest {
    /// Its name in a model file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Binomial => "binomial",
            Self::HoeffdingBentkus => "hoeffding-bentkus",
        }
    }

    /// The probability, at most, that `units` independent losses add up to `sum` or less if the
    /// expectation of each were `risk` or more. Each is in 0..=1, and 0 or 1 for
    /// [`RiskTest::Binomial`].
    ///
    /// # Panics
    /// If `risk` is not between 0 and 1.
    #[must_use]
    pub fn p_value(self, sum: f64, units: u64, risk: f64) -> f64 {
        let tail = binomial_tail(sum.ceil() as u64, units, risk);
        match self {
            Self::Binomial => tail,
            Self::HoeffdingBentkus => {
                let n = units as f64;
                let mean = (sum / n).min(risk);
                let hoeffding = if units == 0 {
                    1.0
                } else {
                    (-n * divergence(mean, risk)).exp()
                };
                hoeffding.min(std::f64::consts::E * tail)
            }
        }
    }

    /// The largest number of errors among `units` that refutes a risk of `risk` at level
    /// `delta`; `None` if not even none does.
    pub(super) fn most(self, units: u64, risk: f64, delta: f64) -> Option<u64> {
        let refutes = |errors: u64| self.p_value(errors as f64, units, risk) <= delta;
        if !refutes(0) {
            return None;
        }
        let (mut low, mut high) = (0, (units as f64 * risk).ceil() as u64);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if refutes(middle) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Some(low)
    }

    /// How many units it takes to refute a risk of `risk` at level `delta`, if they lose `mean` on
    /// average; `None` if more than [`MOST_UNITS`].
    pub(super) fn units_needed(self, mean: f64, risk: f64, delta: f64) -> Option<u64> {
        let enough = |units: u64| self.p_value((mean * units as f64).ceil(), units, risk) <= delta;
        let (mut low, mut high) = (0, 1);
        while !enough(high) {
            low = high;
            high *= 2;
            if high > MOST_UNITS {
                return None;
            }
        }
        while high - low > 1 {
            let middle = low.midpoint(high);
            if enough(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        Some(high)
    }
}

/// More than anybody will label.
const MOST_UNITS: u64 = 10_000_000;

/// `P(B ≤ count)` for `B` binomially distributed with `trials` trials of probability `p`. Terms are
/// added up relative to the largest, so that no number of trials underflows; relative error below
/// 1e-11 up to 10⁶ terms.
///
/// # Panics
/// If `p` is not between 0 and 1.
#[must_use]
pub fn binomial_tail(count: u64, trials: u64, p: f64) -> f64 {
    assert!(p > 0.0 && p < 1.0, "{p} is no probability between 0 and 1");
    if count >= trials {
        return 1.0;
    }
    let odds = p.ln() - (-p).ln_1p();
    // ln P(B = 0); then term by term, with what adding so many logarithms rounds off.
    let mut term = trials as f64 * (-p).ln_1p();
    let mut lost = 0.0;
    let (mut largest, mut sum) = (term, 1.0);
    for k in 1..=count {
        let step = ((trials - k + 1) as f64 / k as f64).ln() + odds - lost;
        let next = term + step;
        lost = (next - term) - step;
        term = next;
        if term > largest {
            sum = sum * (largest - term).exp() + 1.0;
            largest = term;
        } else {
            sum += (term - largest).exp();
        }
    }
    (largest + sum.ln()).exp().min(1.0)
}

/// Relative entropy of a coin of bias `a` to one of bias `b`, nats.
fn divergence(a: f64, b: f64) -> f64 {
    let part = |a: f64, b: f64| if a > 0.0 { a * (a / b).ln() } else { 0.0 };
    part(a, b) + part(1.0 - a, 1.0 - b)
}
