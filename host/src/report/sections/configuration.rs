//! What was measured, how, and where.

use maud::{Markup, html};
use serde_json::Value;

use crate::report::Contents;
use crate::report::page::count;
use crate::report::plot::short;

pub(super) fn section(contents: &Contents) -> Markup {
    let configuration = &contents.configuration;
    let run = &configuration.run;
    let threads = if run.threads == 1 {
        "thread"
    } else {
        "threads"
    };
    let mut model = vec![
        ("File", html! { (configuration.model) }),
        ("SHA-256", html! { code { (configuration.sha256) } }),
        ("Classes", html! { (configuration.labels.join(", ")) }),
    ];
    for site in &configuration.dropout {
        model.push(("Dropout", html! { (site) }));
    }
    let mut judged = Vec::new();
    for set in &configuration.sets {
        let name = if set.known {
            "Test frames"
        } else {
            "Out of distribution"
        };
        judged.push((name, html! { (count(set.frames)) " of " (set.name) }));
    }
    judged.extend([
        (
            "Engine",
            html! { (run.engine) ", " (run.threads) " " (threads) },
        ),
        (
            "Passes",
            html! { "T = " (count(run.passes as usize)) " a frame" },
        ),
        ("Seed of the masks", html! { (configuration.seed) }),
        ("Seed of the corruptions", html! { (contents.studies.seed) }),
        (
            "Speed",
            html! {
                (count(run.frames)) " frames in " (format!("{:.1}", run.seconds)) " s"
            },
        ),
        ("Machine", html! { (configuration.machine) }),
        (
            "Made",
            html! { (configuration.made) ", mcdropout " (configuration.version) },
        ),
    ]);
    html! {
        p { "What it takes to repeat these figures." }
        div.figures {
            (table("Model", &model))
            (table("Run", &judged))
            @match &configuration.thresholds {
                Some(thresholds) => (table("Thresholds in the file", &thresholds.named().map(|(name, limit)| {
                    (name, html! { (limit_text(name, limit)) })
                }))),
                None => p { "The file holds no thresholds; generic ones were in force." },
            }
            @if let Some(training) = &configuration.training {
                @let training = flat("", training);
                (table("Training", &training.iter().map(|(name, value)| {
                    (name.as_str(), html! { (value) })
                }).collect::<Vec<_>>()))
            }
        }
    }
}

/// A limit, or that it is never crossed.
fn limit_text(name: &str, limit: f32) -> String {
    let never = if name.starts_with("max_") {
        limit >= f32::MAX
    } else {
        limit <= 0.0
    };
    if never {
        "off".into()
    } else {
        short(f64::from(limit))
    }
}

fn table(caption: &str, rows: &[(&str, Markup)]) -> Markup {
    html! {
        table {
            caption { (caption) }
            tbody {
                @for (name, value) in rows {
                    tr { th scope="row" { (name) } td { (value) } }
                }
            }
        }
    }
}

/// The numbers and words of a JSON value, each with the keys that lead to it.
fn flat(key: &str, value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Object(entries) => {
            let deeper = |(name, value): (&String, &Value)| {
                let dot = if key.is_empty() { "" } else { "." };
                flat(&format!("{key}{dot}{name}"), value)
            };
            entries.iter().flat_map(deeper).collect()
        }
        Value::Null => Vec::new(),
        Value::String(text) => vec![(key.to_owned(), text.clone())],
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(Value::to_string).collect();
            vec![(key.to_owned(), values.join(", "))]
        }
        other => vec![(key.to_owned(), other.to_string())],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_that_are_never_crossed_are_off() {
        assert_eq!(limit_text("max_mean", f32::MAX), "off");
        assert_eq!(limit_text("max_mean", 0.25), "0.25");
        assert_eq!(limit_text("min_mean", 0.0), "off");
        assert_eq!(limit_text("min_mean", 0.25), "0.25");
    }

    #[test]
    fn nested_values_are_told_with_their_keys() {
        let value = json!({"a": {"b": 1.5, "c": null}, "d": "text", "e": [1, 2]});
        let flat = flat("", &value);
        let flat: Vec<_> = flat.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(flat, [("a.b", "1.5"), ("d", "text"), ("e", "1, 2")]);
    }
}
