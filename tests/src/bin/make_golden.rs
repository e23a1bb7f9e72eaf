//! Writes `tests/golden/vectors/measures.txt` to standard output: logits, the measures as libtorch
//! computes them in float64, and the exact bits that `shared` gives.
//!
//! ```sh
//! cargo run -p tests --bin make_golden > measures.txt && mv measures.txt tests/golden/vectors/
//! ```
//!
//! The reference is written from the formulas in libtorch's own operators, all passes at once,
//! where `shared` accumulates them one by one. On standard error: the largest differences.

use anyhow::{Context, Result, ensure};
use shared::mask::philox4x32_10;
use shared::uncertainty::PassAccumulator;
use tch::{Kind, Tensor};

const CAPACITY: usize = 16;

struct Case {
    name: String,
    classes: usize,
    /// `[pass][class]`.
    logits: Vec<f32>,
}

impl Case {
    fn passes(&self) -> usize {
        self.logits.len() / self.classes
    }
}

/// Uniform numbers, the same on every machine.
struct Uniform {
    stream: u32,
    drawn: u32,
}

impl Uniform {
    /// In [0, 1).
    fn next(&mut self) -> f32 {
        let words = philox4x32_10([self.drawn, self.stream, 0, 0], [0x676F_6C64, 0x656E]);
        self.drawn += 1;
        (words[0] >> 8) as f32 / (1 << 24) as f32
    }

    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.next()
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut stream = 0;
    let mut add = |name: &str,
                   classes: usize,
                   passes: usize,
                   logit: &mut dyn FnMut(&mut Uniform, usize, usize) -> f32| {
        let mut uniform = Uniform { stream, drawn: 0 };
        stream += 1;
        let logits = (0..passes)
            .flat_map(|pass| (0..classes).map(move |class| (pass, class)))
            .map(|(pass, class)| logit(&mut uniform, pass, class))
            .collect();
        cases.push(Case {
            name: name.to_owned(),
            classes,
            logits,
        });
    };

    // As a trained network gives them: one class ahead, passes that scatter around it.
    for (classes, passes) in [
        (2, 1),
        (2, 32),
        (2, 100),
        (3, 2),
        (3, 32),
        (10, 1),
        (10, 2),
        (10, 32),
        (10, 100),
        (16, 1),
        (16, 2),
        (16, 32),
    ] {
        add("scattered", classes, passes, &mut |u, _, class| {
            u.between(-4.0, 4.0) + if class == 1 { 3.0 } else { 0.0 }
        });
    }
    for (classes, passes) in [(2, 2), (3, 1), (10, 32), (16, 2)] {
        add("confident", classes, passes, &mut |u, _, class| {
            u.between(-1.0, 1.0) + if class == 0 { 30.0 } else { 0.0 }
        });
    }
    for (classes, passes) in [(2, 1), (3, 2), (10, 2), (10, 32), (16, 1)] {
        add("equal", classes, passes, &mut |_, _, _| 1.25);
    }
    for (classes, passes) in [(2, 32), (3, 2), (10, 32), (16, 2)] {
        add("near-equal", classes, passes, &mut |u, _, _| {
            1.0 + u.next() * 1e-6
        });
    }
    // Every pass sure of itself, and few of one opinion: mutual information is nearly everything.
    // Class 0 has a lead, as which of equal classes wins would be decided by rounding.
    for (classes, passes) in [(2, 32), (3, 32), (10, 32), (16, 32)] {
        add("contradicting", classes, passes, &mut |u, pass, class| {
            let opinion = if pass % 5 == 0 { 0 } else { pass % classes };
            if class == opinion {
                40.0
            } else {
                u.between(0.0, 1.0)
            }
        });
    }
    // Probabilities down to the subnormal range of f64, and below it.
    for (classes, passes) in [(2, 2), (10, 1), (10, 32)] {
        add("tiny-tail", classes, passes, &mut |u, _, class| {
            if class == 0 {
                0.0
            } else {
                u.between(-760.0, -690.0)
            }
        });
    }
    for (classes, passes) in [(3, 2), (10, 2)] {
        add("saturated-1e30", classes, passes, &mut |u, _, _| {
            if u.next() < 0.5 { 1e30 } else { -1e30 }
        });
    }
    for (classes, passes) in [(2, 2), (3, 2), (16, 2)] {
        add("saturated-max", classes, passes, &mut |u, _, _| {
            if u.next() < 0.5 { f32::MAX } else { f32::MIN }
        });
    }
    add("subnormal-logits", 3, 2, &mut |u, _, _| {
        f32::from_bits((u.next() * 1e6) as u32)
    });
    add("identical-passes", 10, 32, &mut |_, _, class| {
        class as f32 * 0.7 - 2.0
    });
    add("one-dissenter", 10, 32, &mut |u, pass, class| {
        let favourite = if pass == 17 { 4 } else { 9 };
        u.between(-0.5, 0.5) + if class == favourite { 12.0 } else { 0.0 }
    });
    cases
}

/// The measures in the order of [`golden::values`], from all passes at once.
fn reference(case: &Case) -> Result<Vec<f64>> {
    let classes = i64::try_from(case.classes)?;
    let wide: Vec<f64> = case.logits.iter().map(|&logit| f64::from(logit)).collect();
    let logits = Tensor::from_slice(&wide).reshape([-1, classes]);
    let probabilities = logits.softmax(-1, Kind::Double);
    let log_probabilities = logits.log_softmax(-1, Kind::Double);
    let over_passes: &[i64] = &[0];
    let over_classes: &[i64] = &[-1];

    let mean = probabilities.mean_dim(over_passes, false, Kind::Double);
    let total = -mean
        .special_xlogy(&mean)
        .sum(Kind::Double)
        .double_value(&[]);
    let expected = -(&probabilities * &log_probabilities)
        .sum_dim_intlist(over_classes, false, Kind::Double)
        .mean(Kind::Double)
        .double_value(&[]);
    let votes = logits.argmax(-1, false).bincount::<Tensor>(None, classes);
    let winner = votes.max().double_value(&[]);
    let (top, _) = mean.topk(2, 0, true, true);
    let (confidence, second) = (top.double_value(&[0]), top.double_value(&[1]));
    // Of equal probabilities libtorch may take any: the lowest is wanted.
    let class = mean
        .ge(confidence)
        .to_kind(Kind::Int64)
        .argmax(0, false)
        .int64_value(&[]);
    let deviations = probabilities.var_dim(over_passes, false, false).sqrt();
    let mean_logits = logits.mean_dim(over_passes, false, Kind::Double);

    let mut values = vec![
        class as f64,
        confidence,
        total,
        expected,
        total - expected,
        1.0 - winner / case.passes() as f64,
        confidence - second,
    ];
    for tensor in [mean, deviations, mean_logits] {
        values.extend(Vec::<f64>::try_from(tensor)?);
    }
    Ok(values)
}

fn exact(case: &Case) -> Result<Vec<f64>> {
    let mut accumulator = PassAccumulator::<CAPACITY>::new(case.classes)?;
    for pass in case.logits.chunks_exact(case.classes) {
        accumulator.push(pass)?;
    }
    let measures = accumulator.measures().context("a case has passes")?;
    Ok(golden::values(&measures).collect())
}

fn main() -> Result<()> {
    println!(
        "# Logits (f32 bits, a line per pass), measures by libtorch in float64, exact measures (f64 bits)."
    );
    println!("# Written by tests/src/bin/make_golden.rs; values in the order of golden::values.");
    let mut worst = (0.0, String::new());
    for case in cases() {
        let (torch, exact) = (reference(&case)?, exact(&case)?);
        ensure!(
            torch.len() == exact.len(),
            "{}: as many values on both sides",
            case.name
        );
        for (index, (torch, exact)) in torch.iter().zip(&exact).enumerate() {
            let difference = (torch - exact).abs() / torch.abs().max(1.0);
            ensure!(
                difference.is_finite(),
                "{}: value {index} is {torch}, not {exact}",
                case.name
            );
            if difference > worst.0 {
                worst = (
                    difference,
                    format!(
                        "{} {}×{}, value {index}",
                        case.name,
                        case.passes(),
                        case.classes
                    ),
                );
            }
        }
        println!("case {} {} {}", case.name, case.classes, case.passes());
        for pass in case.logits.chunks_exact(case.classes) {
            let words: Vec<String> = pass
                .iter()
                .map(|logit| format!("{:08x}", logit.to_bits()))
                .collect();
            println!("{}", words.join(" "));
        }
        for (kind, values) in [("torch", torch), ("exact", exact)] {
            let words: Vec<String> = values
                .iter()
                .map(|value| format!("{:016x}", value.to_bits()))
                .collect();
            println!("{kind} {}", words.join(" "));
        }
    }
    eprintln!(
        "make_golden: largest difference {:.1e} ({})",
        worst.0, worst.1
    );
    Ok(())
}
