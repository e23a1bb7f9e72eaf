//! The page's frame, and the pieces that its sections are made of.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::Contents;
use super::plot::Role;
use super::sections;

const STYLE: &str = include_str!("style.css");

/// A part of the page: its anchor, its heading, and what it holds.
pub(super) struct Section {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) body: Markup,
}

/// The whole page.
pub(super) fn html(contents: &Contents) -> anyhow::Result<String> {
    let configuration = &contents.configuration;
    let sections = sections::all(contents)?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content={ "mcdropout " (configuration.version) };
                // Without it browsers ask the server, or the disk, for /favicon.ico.
                link rel="icon" href="data:,";
                title { "mcdropout report: " (configuration.model) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "Does " (configuration.model) " know when it does not know?" }
                    p { (sections::subtitle(contents)) }
                    nav aria-label="Sections" {
                        ul {
                            @for section in &sections {
                                li { a href={ "#" (section.id) } { (section.title) } }
                            }
                        }
                    }
                }
                main {
                    @for section in &sections {
                        section id=(section.id) aria-labelledby={ (section.id) "-title" } {
                            h2 id={ (section.id) "-title" } { (section.title) }
                            (section.body)
                        }
                    }
                }
                footer {
                    p { "Made by mcdropout " (configuration.version) " on " (configuration.made) ". "
                        "This page is one file: it loads nothing and runs no script." }
                }
            }
        }
    };
    Ok(page.into_string())
}

/// A chart, or several, with a title, a sentence on how to read it, and the meaning of its colours.
pub(super) fn figure(
    title: &str,
    reading: &Markup,
    legend: &[(Role, &str)],
    drawing: &Markup,
) -> Markup {
    html! {
        figure {
            figcaption {
                h3 { (title) }
                p { (reading) }
            }
            @if !legend.is_empty() {
                ul.legend {
                    @for (role, meaning) in legend {
                        li { (key(*role)) (meaning) }
                    }
                }
            }
            (drawing)
        }
    }
}

/// A patch of a role's colour, to name in a sentence.
pub(super) fn key(role: Role) -> Markup {
    html! { i.key style=(background(role)) {} }
}

/// A style that fills with a role's colour.
pub(super) fn background(role: Role) -> String {
    format!("background:var(--{})", role.name())
}

/// A share in percent, with two decimals.
pub(super) fn percent(share: f64) -> String {
    if share.is_finite() {
        format!("{:.2} %", 100.0 * share)
    } else {
        "–".into()
    }
}

/// A count with a thin space between thousands.
pub(super) fn count(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_shares_are_for_people() {
        assert_eq!(count(7), "7");
        assert_eq!(count(1234), "1\u{202f}234");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(percent(0.992_44), "99.24 %");
        assert_eq!(percent(f64::NAN), "–");
    }
}
