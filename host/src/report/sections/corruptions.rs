//! What happens when pictures get worse.

use maud::{Markup, html};

use super::causes::causes;
use crate::report::Studies;
use crate::report::page::{count, figure, key};
use crate::report::plot::{Axis, Mark, Role, chart};
use crate::study::corruptions::Family;

/// The figures of every family, side by side.
pub(super) fn section(studies: &Studies) -> anyhow::Result<Markup> {
    let corruptions = &studies.corruptions;
    let points = corruptions
        .families
        .iter()
        .flat_map(|family| &family.points);
    let most = points
        .map(|point| point.means.predictive_entropy)
        .fold(0.0, f64::max);
    let families = corruptions
        .families
        .iter()
        .zip(&studies.spoilt)
        .map(|(each, pictures)| family(each, pictures, most))
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(html! {
        p {
            (count(corruptions.frames)) " test frames under each family of corruptions, from severity 0 "
            "(as they are) to 5, the first of them as a picture. Above, " (key(Role::Correct)) "the share of right answers, which falls, "
            "and " (key(Role::Foreign)) "the share of frames that is flagged, which should rise before "
            "it. Below, the mean uncertainty in nats: " (key(Role::Aleatoric)) "aleatoric with "
            (key(Role::Epistemic)) "epistemic on top of it. ρ is Spearman's rank correlation of severity "
            "with the total uncertainty of single frames."
        }
        div.small { @for family in families { (family) } }
        @match &studies.causes {
            Some(found) => (causes(found)),
            None => p.note { "The model file holds no thresholds, so that there are no causes to name." },
        }
    })
}

fn family(family: &Family, pictures: &[String], most: f64) -> anyhow::Result<Markup> {
    let points = &family.points;
    let line = |value: &dyn Fn(usize) -> Option<f64>| -> Vec<(f64, f64)> {
        let values =
            (0..points.len()).filter_map(|at| Some((f64::from(points[at].severity), value(at)?)));
        values.collect()
    };
    let name = family.family.name().replace('-', " ");
    let severity = || Axis::linear("", 0.0..5.0).ticks([0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let last = points.last();

    let right = line(&|at| points[at].means.accuracy);
    let flagged = line(&|at| Some(points[at].flagged));
    let says = match last {
        Some(last) => format!(
            "{name}: at severity {} {:.0} % of answers are right and {:.0} % of frames flagged",
            last.severity,
            100.0 * last.means.accuracy.unwrap_or(0.0),
            100.0 * last.flagged
        ),
        None => name.clone(),
    };
    let shares = chart(
        (170, 96),
        &says,
        &severity(),
        &Axis::linear("", 0.0..1.0).ticks([0.0, 0.5, 1.0]).percent(),
        &[
            Mark::Line(Role::Foreign, flagged.clone()),
            Mark::Dots(Role::Foreign, flagged, 25, 1.0),
            Mark::Line(Role::Correct, right.clone()),
            Mark::Dots(Role::Correct, right, 25, 1.0),
        ],
    )?;

    let aleatoric = line(&|at| Some(points[at].means.expected_entropy));
    let total = line(&|at| Some(points[at].means.predictive_entropy));
    let below = aleatoric.iter().map(|&(x, y)| (x, 0.0, y)).collect();
    let above = aleatoric
        .iter()
        .zip(&total)
        .map(|(&(x, low), &(_, high))| (x, low, high));
    let says = match last {
        Some(last) => format!(
            "{name}: at severity {} {:.2} nats aleatoric and {:.2} epistemic uncertainty",
            last.severity, last.means.expected_entropy, last.means.mutual_information
        ),
        None => name.clone(),
    };
    let entropies = chart(
        (170, 96),
        &says,
        &severity(),
        &Axis::linear("", 0.0..most).few(3).room(5),
        &[
            Mark::Area(Role::Aleatoric, below, 0.35),
            Mark::Area(Role::Epistemic, above.collect(), 0.35),
            Mark::Line(Role::Aleatoric, aleatoric),
            Mark::Line(Role::Epistemic, total),
        ],
    )?;
    let rho = match family.correlations.predictive_entropy {
        Some(rho) => format!("ρ = {rho:.2}"),
        None => String::new(),
    };
    Ok(figure(
        &name,
        &html! { (rho) },
        &[],
        &html! {
            div.strip {
                @for (severity, picture) in pictures.iter().enumerate() {
                    img src=(picture) alt={ (name) ", severity " (severity) } width="28" height="28";
                }
            }
            (shares)
            (entropies)
        },
    ))
}
