//! Whether probabilities are true, and what refusing to answer buys.

use device::onnx::Calibration;
use maud::{Markup, html};

use crate::evaluate::Bin;
use crate::report::Contents;
use crate::report::curves::Curves;
use crate::report::page::{count, figure, percent};
use crate::report::plot::{Axis, Mark, Role, chart};

pub(super) fn section(contents: &Contents) -> anyhow::Result<Markup> {
    let monte_carlo = &contents.curves;
    let standard = contents.standard_curves.as_ref();
    Ok(html! {
        p {
            "A confidence is true if, among the frames answered with 80 % confidence, 80 % are answered right. "
            "An uncertainty is useful if the frames it puts last are the ones answered wrong."
        }
        div.figures {
            (reliability(monte_carlo, standard)?)
            (risk_coverage(contents, monte_carlo, standard)?)
            (promise(contents.configuration.calibration.as_ref()))
        }
    })
}

/// The curves side by side, the standard test phase below.
fn both<'a>(
    monte_carlo: &'a Curves,
    standard: Option<&'a Curves>,
) -> Vec<(Role, &'static str, &'a Curves)> {
    let standard = standard.map(|curves| (Role::Standard, "standard test phase", curves));
    let monte_carlo = (Role::McDropout, "Monte-Carlo dropout", monte_carlo);
    standard.into_iter().chain([monte_carlo]).collect()
}

fn reliability(monte_carlo: &Curves, standard: Option<&Curves>) -> anyhow::Result<Markup> {
    let mut marks = vec![Mark::Dashed(Role::Muted, vec![(0.0, 0.0), (1.0, 1.0)])];
    let mut legend = Vec::new();
    let mut gaps = Vec::new();
    for (role, name, curves) in both(monte_carlo, standard) {
        let bins = curves.reliability.iter().filter(|bin| bin.count > 0);
        let intervals = bins.clone().map(|bin| {
            let (low, high) = wilson(bin);
            (bin.confidence, low, high)
        });
        marks.push(Mark::Intervals(role, intervals.collect()));
        marks.push(Mark::Dots(
            role,
            bins.map(|bin| (bin.confidence, bin.accuracy)).collect(),
            35,
            1.0,
        ));
        legend.insert(0, (role, name));
        gaps.insert(0, format!("{name}: {}", sure(&curves.reliability)));
    }
    let share = |name: &str| Axis::linear(name, 0.0..1.0).percent();
    let drawing = chart(
        (360, 300),
        &format!("Reliability diagram. {}", gaps.join("; ")),
        &share("mean confidence of the bin"),
        &share("share of right answers"),
        &marks,
    )?;
    let reading = html! {
        "Answers in 15 bins by their confidence. On the dashed line confidence is true; above it the model is right "
        "more often than it says, below it less often. Lines are 95 % intervals (Wilson 1927): few frames have a low "
        "confidence. " (gaps.join("; ")) "."
    };
    Ok(figure("Reliability", &reading, &legend, &drawing))
}

/// The frames of the surest bin, in words.
fn sure(bins: &[Bin]) -> String {
    let total: usize = bins.iter().map(|bin| bin.count).sum();
    match bins.last() {
        Some(bin) if bin.count > 0 => format!(
            "{} of {} answers in the surest bin, {} right",
            count(bin.count),
            count(total),
            percent(bin.accuracy)
        ),
        _ => "no answer in the surest bin".into(),
    }
}

/// The 95 % interval of a bin's accuracy (Wilson 1927), which holds for few frames, too.
fn wilson(bin: &Bin) -> (f64, f64) {
    const Z: f64 = 1.959_963_984_540_054;
    let (n, p) = (bin.count as f64, bin.accuracy);
    let middle = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

fn risk_coverage(
    contents: &Contents,
    monte_carlo: &Curves,
    standard: Option<&Curves>,
) -> anyhow::Result<Markup> {
    let (mut marks, mut legend, mut most) = (Vec::new(), Vec::new(), 0f64);
    for (role, name, curves) in both(monte_carlo, standard) {
        most = curves
            .risk_coverage
            .iter()
            .map(|point| point.1)
            .fold(most, f64::max);
        marks.push(Mark::Line(role, curves.risk_coverage.clone()));
        legend.insert(0, (role, name));
    }
    let metrics = &contents.evaluation.metrics;
    let risk = 1.0 - metrics.monte_carlo.accuracy;
    marks.push(Mark::Dashed(Role::Muted, vec![(0.0, risk), (1.0, risk)]));
    let mut says = vec![format!(
        "answering every frame, {} of the answers are wrong",
        percent(risk)
    )];
    if let Some(accuracy) = metrics.accuracy_accepted {
        let here = (metrics.accepted, 1.0 - accuracy);
        marks.push(Mark::Dots(Role::Ink, vec![here], 45, 1.0));
        legend.push((Role::Ink, "the thresholds"));
        says.push(format!(
            "the thresholds answer {} of the frames, {} of them wrong",
            percent(here.0),
            percent(here.1)
        ));
    }
    let says = says.join("; ");
    // Where hardly any answer is wrong there is nothing to see.
    let rises = [Some(monte_carlo), standard]
        .into_iter()
        .flatten()
        .filter_map(|curves| {
            let point = curves
                .risk_coverage
                .iter()
                .find(|point| point.1 > 0.02 * risk)?;
            Some((10.0 * point.0).floor() / 10.0)
        });
    let first = rises.fold(0.9, f64::min);
    let drawing = chart(
        (360, 300),
        &format!("Risk against coverage: {says}"),
        &Axis::linear("coverage: share of frames answered", first..1.0).percent(),
        &Axis::linear(
            "risk: share of wrong answers among them",
            0.0..most.max(risk),
        )
        .percent(),
        &marks,
    )?;
    let reading = html! {
        "Frames are answered from the surest to the least sure (predictive entropy). The lower the curve, the better "
        "the uncertainty finds mistakes; a score that knew nothing would stay on the dashed line. Here, "
        (says) "."
    };
    Ok(figure("Risk and coverage", &reading, &legend, &drawing))
}

/// What holds of the risk for frames that were not measured.
fn promise(calibration: Option<&Calibration>) -> Markup {
    let Some(calibration) = calibration else {
        return html! {
            p.note {
                "The thresholds in this file carry no guarantee. " code { "host calibrate" } " chooses them so that, "
                "with a probability that you set, at most a share that you set of the accepted frames is answered wrongly."
            }
        };
    };
    let row = |name: &str, value: &str| html! { tr { th scope="row" { (name) } td { (value) } } };
    html! {
        div {
            h3 { "What the thresholds promise" }
            p.note {
                "With a probability of " (percent(1.0 - calibration.delta)) " over the choice of the calibration frames, "
                "at most " (percent(calibration.max_risk)) " of the accepted frames are answered wrongly, for frames "
                "drawn as those were (Learn then Test, Angelopoulos et al. 2021)."
            }
            table {
                tbody {
                    (row("Method", &calibration.method))
                    (row("Calibrated on", &format!("{} frames of {}", count(calibration.frames), calibration.data)))
                    (row("Accepted of them", &format!("{} ({})", count(calibration.accepted), percent(calibration.coverage))))
                    (row("Wrong of those", &count(calibration.errors)))
                    (row("Passes", &format!("T = {}, {} engine", calibration.passes, calibration.engine)))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_source() {
        let interval = |right: usize, count: usize| {
            wilson(&Bin {
                low: 0.0,
                high: 1.0,
                count,
                confidence: 0.5,
                accuracy: right as f64 / count as f64,
            })
        };
        // Newcombe 1998 (Statistics in Medicine 17, table I, method 3).
        for (right, of, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let (a, b) = interval(right, of);
            assert!(
                (a - low).abs() < 5e-5 && (b - high).abs() < 5e-5,
                "{right}/{of}: {a} {b}"
            );
        }
    }
}
