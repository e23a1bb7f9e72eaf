//! One digit turned step by step into something that is none.

use maud::{Markup, html};

use crate::report::gallery::data_uri;
use crate::report::page::{count, figure};
use crate::report::plot::{Axis, Mark, Role, chart, short};
use crate::study::rotation::{Angle, Rotation};

/// One digit turned step by step: the passes' softmax inputs and outputs, and what they make of
/// uncertainty.
pub(super) fn rotation(rotation: &Rotation) -> anyhow::Result<Markup> {
    let label = &rotation.class_names[rotation.label];
    let winners: Vec<(Role, &str)> = Role::SERIES
        .into_iter()
        .zip(&rotation.winners)
        .map(|(role, &class)| (role, rotation.class_names[class].as_str()))
        .collect();
    let scatter = |name: &str, says: &str, y: &Axis, of: &dyn Fn(&Angle) -> &[Vec<f32>]| {
        let mut marks = Vec::new();
        for (winner, (role, _)) in winners.iter().enumerate() {
            // Classes side by side, so that they do not hide each other.
            let aside = 3.0 * (winner as f64 - (winners.len() - 1) as f64 / 2.0);
            let mut dots: Vec<(f64, f64)> = rotation
                .angles
                .iter()
                .flat_map(|angle| {
                    of(angle)[winner]
                        .iter()
                        .map(|&value| (angle.degrees + aside, f64::from(value)))
                })
                // What a chart cannot tell apart is drawn once.
                .map(|(x, value)| (x, (value * 200.0).round() / 200.0))
                .collect();
            dots.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
            dots.dedup();
            marks.push(Mark::Dots(*role, dots, 13, 0.55));
        }
        let says = format!("{name} of every pass against the angle: {says}");
        chart((360, 240), &says, &degrees(), y, &marks)
    };
    let logits = || {
        rotation
            .angles
            .iter()
            .flat_map(|angle| angle.logits.iter().flatten())
    };
    let low = logits().copied().fold(f32::INFINITY, f32::min);
    let high = logits().copied().fold(f32::NEG_INFINITY, f32::max);
    let classes = winners
        .iter()
        .map(|(_, name)| *name)
        .collect::<Vec<_>>()
        .join(", ");
    let inputs = scatter(
        "Softmax input",
        &format!("classes {classes}"),
        &Axis::linear(
            "softmax input (raw output)",
            f64::from(low.floor())..f64::from(high.ceil()),
        ),
        &|angle| &angle.logits,
    )?;
    let outputs = scatter(
        "Softmax output",
        &format!("classes {classes}"),
        &Axis::linear("softmax output (probability)", 0.0..1.0),
        &|angle| &angle.probabilities,
    )?;
    let pictures = rotation
        .angles
        .iter()
        .map(|angle| Ok((angle.degrees, data_uri(&angle.picture())?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let passes = count(rotation.passes as usize);
    Ok(html! {
        h3 { "A digit that is turned" }
        p {
            "Test image " (rotation.image) ", a " (label) ", turned (Gal & Ghahramani 2016, figure 4). "
            "Each dot is one of " (passes) " passes: one network drawn from the approximate posterior. Where the clouds "
            "of two classes overlap, networks that are equally plausible after training disagree, though each "
            "for itself may be sure: that is epistemic uncertainty, which a single pass cannot show."
        }
        div.strip {
            @for (degrees, picture) in &pictures {
                img src=(picture) alt={ "the digit at " (short(*degrees)) "°" } width="28" height="28";
            }
        }
        div.figures {
            (figure(
                "Softmax inputs",
                &html! { "What the network says before it is squeezed into probabilities; classes that win at some angle." },
                &winners,
                &inputs,
            ))
            (figure(
                "Softmax outputs",
                &html! { "The same as probabilities: passes spread over the whole range where the digit is none." },
                &winners,
                &outputs,
            ))
            (turning(rotation)?)
        }
    })
}

fn degrees() -> Axis {
    Axis::linear("degrees", -7.0..187.0).ticks([0.0, 45.0, 90.0, 135.0, 180.0])
}

fn turning(rotation: &Rotation) -> anyhow::Result<Markup> {
    let low = rotation
        .angles
        .iter()
        .map(|a| (a.degrees, 0.0, a.expected_entropy));
    let high = rotation
        .angles
        .iter()
        .map(|a| (a.degrees, a.expected_entropy, a.predictive_entropy));
    let total: Vec<_> = rotation
        .angles
        .iter()
        .map(|a| (a.degrees, a.predictive_entropy))
        .collect();
    let most = total.iter().map(|point| point.1).fold(0.0, f64::max);
    let highest = rotation
        .angles
        .iter()
        .max_by(|a, b| a.predictive_entropy.total_cmp(&b.predictive_entropy));
    let says = highest.map_or(String::new(), |angle| {
        format!(
            "; most at {:.0} degrees, {:.2} nats",
            angle.degrees, angle.predictive_entropy
        )
    });
    let drawing = chart(
        (360, 240),
        &format!("Aleatoric and epistemic uncertainty against the angle{says}"),
        &degrees(),
        &Axis::linear("nats", 0.0..most),
        &[
            Mark::Area(Role::Aleatoric, low.collect(), 0.4),
            Mark::Area(Role::Epistemic, high.collect(), 0.4),
            Mark::Line(Role::Ink, total),
        ],
    )?;
    Ok(figure(
        "Uncertainty",
        &html! { "Total uncertainty, parted into what single passes are unsure of and what they disagree on." },
        &[
            (Role::Aleatoric, "aleatoric"),
            (Role::Epistemic, "epistemic"),
            (Role::Ink, "total"),
        ],
        &drawing,
    ))
}
