//! Whether a flag names what is wrong with the picture.

use maud::{Markup, html};

use crate::report::page::{count, figure, percent};
use crate::study::causes::{COUNTED, CauseStudy, Family};

/// The confusion matrix of causes, from the severity on at which corruptions count.
pub(super) fn causes(causes: &CauseStudy) -> Markup {
    let clean = (causes.clean.clone(), causes.frames, "none");
    let counted = |family: &Family| {
        let severe = family.counts.iter().skip(usize::from(COUNTED) - 1);
        let frames = causes.frames * severe.len();
        let mut sums = vec![0; causes.names.len()];
        for counts in severe {
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        (sums, frames)
    };
    let row = |name: &str, wanted: &str, counts: &[usize], frames: usize| {
        html! {
            tr {
                th scope="row" { (name) }
                @for (cause, &count) in causes.names.iter().zip(counts) {
                    @let share = count as f64 / frames as f64;
                    td class=[(cause == wanted).then_some("wanted")] style={ "--share:" (format!("{:.0}", 100.0 * share)) "%" } {
                        @if count > 0 { (whole_percent(share)) }
                    }
                }
            }
        }
    };
    let matrix = html! {
        div.heat {
            table {
                thead {
                    tr {
                        th scope="col" { "Corruption" }
                        @for name in &causes.names { th scope="col" { span { (name) } } }
                    }
                }
                tbody {
                    (row("as they are", clean.2, &clean.0, clean.1))
                    @for family in &causes.families {
                        @let (counts, frames) = counted(family);
                        (row(&family.family.name().replace('-', " "), &family.cause, &counts, frames))
                    }
                }
            }
        }
    };
    let reading = html! {
        "Per cent of " (count(causes.frames)) " test images of each family at severities " (COUNTED)
        " to 5 for which the thresholds name this cause first; what should be named is framed. "
        (percent(causes.right)) " are named rightly, over the families that have a cause; "
        (percent(causes.clean_named)) " of the images as they are get one. These causes come from "
        "cheap statistics of the picture, not from the network."
    };
    figure("Which cause is named", &reading, &[], &matrix)
}

/// A share in whole per cent, without a sign; less than half of one as a dot.
fn whole_percent(share: f64) -> String {
    match (100.0 * share).round() as u32 {
        0 => "·".into(),
        percent => percent.to_string(),
    }
}
