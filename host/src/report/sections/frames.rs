//! Frames one by one.

use maud::{Markup, html};

use crate::report::Contents;
use crate::report::gallery::{Group, Shown};
use crate::report::page::{background, count, key};
use crate::report::plot::Role;

pub(super) fn section(contents: &Contents) -> Markup {
    let most = (contents.configuration.labels.len().max(2) as f64).ln();
    html! {
        p {
            "Under each picture: what it shows, the model's answer with its confidence, and the total "
            "uncertainty as a bar, "
            (key(Role::Aleatoric)) "aleatoric and "
            (key(Role::Epistemic)) "epistemic. A full bar is the most there "
            "is, " (format!("{most:.2}")) " nats. Last, why the frame is flagged."
        }
        @for group in &contents.gallery { (gallery(group, most)) }
    }
}

fn gallery(group: &Group, most: f64) -> Markup {
    html! {
        h3 { (group.title) }
        p.note {
            (group.explanation) " "
            @match (group.found, group.shown.len()) {
                (0, _) => "There is none.",
                (found, shown) if found == shown => "These are all.",
                (found, shown) => { "These are " (shown) " of " (count(found)) "." }
            }
        }
        @if !group.shown.is_empty() {
            ul.gallery { @for shown in &group.shown { li { (frame(shown, most)) } } }
        }
    }
}

fn frame(shown: &Shown, most: f64) -> Markup {
    let (verdict, mark) = match shown.correct {
        Some(true) => ("right", "✓"),
        Some(false) => ("wrong", "✗"),
        None => ("", ""),
    };
    let picture = format!("{} from {}, number {}", shown.label, shown.set, shown.index);
    let bar = format!(
        "total uncertainty {:.2} nats: aleatoric {:.2}, epistemic {:.2}",
        shown.predictive_entropy, shown.expected_entropy, shown.mutual_information
    );
    let part = |role, value: f64| {
        let share = 100.0 * (value / most).clamp(0.0, 1.0);
        html! { i style={ "width:" (format!("{share:.1}")) "%;" (background(role)) } {} }
    };
    html! {
        img src=(shown.picture) alt=(picture) title=(picture) width="28" height="28";
        span {
            b { (shown.label) } " → "
            b class=(verdict) { (shown.answer) " " (mark) }
            " " (format!("{:.0} %", 100.0 * shown.confidence))
        }
        span.bar role="img" aria-label=(bar) title=(bar) {
            (part(Role::Aleatoric, shown.expected_entropy))
            (part(Role::Epistemic, shown.mutual_information))
        }
        span {
            (format!("{:.2} = {:.2} + {:.2}", shown.predictive_entropy, shown.expected_entropy, shown.mutual_information))
        }
        span.causes {
            @if shown.causes.is_empty() { "accepted" } @else { (shown.causes.join(", ")) }
        }
    }
}
