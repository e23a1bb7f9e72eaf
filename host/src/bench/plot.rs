//! The rows as a picture: bars on a logarithmic scale.

use std::fmt::Write;

use super::report::{Report, short, threads};
use super::{Row, USUAL_PASSES};

/// Sizes in pixels.
const WIDTH: f64 = 760.0;
const LEFT: f64 = 130.0;
/// Room for the value behind the longest bar.
const RIGHT: f64 = 150.0;
const TOP: f64 = 52.0;
const BAR: f64 = 16.0;
const STEP: f64 = 24.0;
const HEADING: f64 = 30.0;

/// Colours that can be read on white and on black; the page's choice decides about the text.
const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#1f2328}\
.note{font-size:11px;fill:#59636e}\
.head{font-weight:600}\
.bar{fill:#3b82c4}\
.grid{stroke:#8b949e;stroke-opacity:.35}\
@media (prefers-color-scheme:dark){text{fill:#f0f6fc}.note{fill:#9198a1}}";

/// A picture in SVG of the milliseconds a frame takes, engine by engine, for T = 100 (if that was
/// measured, else the most passes), with a group of bars per number of threads. Equal reports give
/// equal text.
#[must_use]
pub fn svg(report: &Report) -> String {
    let measured = || report.rows.iter().filter(|row| row.figures().is_some());
    let passes = measured().map(|row| row.passes);
    let passes = match passes.clone().find(|&passes| passes == USUAL_PASSES) {
        Some(passes) => passes,
        None => passes.max().unwrap_or(USUAL_PASSES),
    };
    let rows: Vec<(&Row, f64)> = measured()
        .filter(|row| row.passes == passes)
        .filter_map(|row| Some((row, row.figures()?.ms_per_frame)))
        .collect();
    let times = rows.iter().map(|(_, ms)| ms.log10());
    let first = times.clone().reduce(f64::min).unwrap_or(0.0).floor();
    let mut last = times.reduce(f64::max).unwrap_or(1.0).ceil();
    if last <= first {
        last = first + 1.0;
    }
    let place = |ms: f64| {
        let share = (ms.log10() - first) / (last - first);
        LEFT + share * (WIDTH - LEFT - RIGHT)
    };

    let mut body = String::new();
    let mut y = TOP;
    let mut before = None;
    for (row, ms) in rows {
        if before.replace(row.threads) != Some(row.threads) {
            y += HEADING;
            text(&mut body, 8.0, y - 10.0, "head", &threads(row.threads));
        }
        let width = (place(ms) - LEFT).max(1.0);
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(
            body,
            r#"<rect class="bar" x="{LEFT}" y="{y:.1}" width="{width:.1}" height="{BAR}" rx="2"/>"#
        );
        text(&mut body, 8.0, y + 13.0, "name", row.engine.as_str());
        let value = match row.figures().and_then(|figures| figures.ratio) {
            Some(ratio) => format!("{} ms (×{})", short(ms), short(ratio)),
            None => format!("{} ms", short(ms)),
        };
        text(&mut body, LEFT + width + 6.0, y + 13.0, "value", &value);
        y += STEP;
    }

    let mut grid = String::new();
    for decade in first as i32..=last as i32 {
        let ms = 10f64.powi(decade);
        let x = place(ms);
        let _ = writeln!(
            grid,
            r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{y:.1}"/>"#
        );
        text(&mut grid, x - 8.0, y + 14.0, "note", &format!("{ms}"));
    }
    let height = y + 24.0;
    let title = format!("Milliseconds a frame, T = {passes} (× faster than ort-live)");
    let cpu = report.machine.cpu.as_deref().unwrap_or_default();
    let mut head = String::new();
    text(&mut head, 8.0, 22.0, "head", &title);
    text(
        &mut head,
        8.0,
        40.0,
        "note",
        &format!("{cpu}; logarithmic scale"),
    );
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height:.0}\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n{head}{grid}{body}</svg>\n",
        escape(&title)
    )
}

fn text(out: &mut String, x: f64, y: f64, class: &str, content: &str) {
    let content = escape(content);
    let _ = writeln!(
        out,
        r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{content}</text>"#
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::tests::report;

    /// Walks through the tags: each that opens is closed, in order. Returns how many there are.
    #[track_caller]
    fn balanced(xml: &str) -> usize {
        let (mut open, mut count) = (Vec::new(), 0);
        for part in xml.split('<').skip(1) {
            let (tag, content) = part.split_once('>').expect("every tag ends");
            assert!(!content.contains('>'), "a bare > in {content}");
            assert_eq!(tag.matches('"').count() % 2, 0, "quotes in <{tag}>");
            let name = tag.split([' ', '/']).find(|name| !name.is_empty());
            match (tag.starts_with('/'), tag.ends_with('/')) {
                (true, _) => assert_eq!(open.pop(), name, "</{tag}>"),
                (false, false) => open.push(name.expect("a tag has a name")),
                (false, true) => {}
            }
            count += 1;
        }
        assert!(open.is_empty(), "{open:?} not closed");
        count
    }

    #[test]
    fn the_picture_is_xml_with_every_engine_measured() {
        let report = report();
        let picture = svg(&report);
        assert!(balanced(&picture) > 20, "{picture}");
        for name in ["tract", "ort-live"] {
            assert!(picture.contains(&format!(">{name}</text>")), "{picture}");
        }
        assert!(picture.contains("4.00 ms (×3.00)"), "{picture}");
        assert!(
            picture.contains("A &lt;fast&gt; &amp; wide CPU"),
            "{picture}"
        );
        assert_eq!(picture.matches("class=\"bar\"").count(), 3);
        assert_eq!(picture, svg(&report));
    }

    #[test]
    fn nothing_measured_is_an_empty_picture() {
        let mut report = report();
        report.rows.clear();
        balanced(&svg(&report));
    }
}
