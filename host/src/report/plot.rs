//! Charts as SVG text for a page: colours are the page's own variables, so that they follow its
//! light and dark scheme, and sizes are those of the page's text on a phone.

use std::ops::Range;

use anyhow::anyhow;
use maud::{Markup, PreEscaped};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Units of the drawing per pixel of the page: plotters draws on whole numbers.
const SCALE: u32 = 10;
/// Height of text, pixels, where a chart is shown at its own size.
const TEXT: u32 = 11;

/// What a colour stands for, the same on the whole page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Role {
    /// Text, and what everything is compared with.
    Ink,
    /// Names of axes and ticks.
    Muted,
    /// Lines of the grid.
    Grid,
    /// Monte-Carlo dropout.
    McDropout,
    /// The standard test phase: one pass, dropout off.
    Standard,
    /// Right answers.
    Correct,
    /// Wrong answers.
    Wrong,
    /// Frames out of distribution.
    Foreign,
    /// Expected entropy.
    Aleatoric,
    /// Mutual information.
    Epistemic,
    /// Series without a meaning of their own, in this order.
    First,
    Second,
    Third,
    Fourth,
    Fifth,
}

impl Role {
    const ALL: [(Self, &'static str); 15] = [
        (Self::Ink, "ink"),
        (Self::Muted, "muted"),
        (Self::Grid, "grid"),
        (Self::McDropout, "mc-dropout"),
        (Self::Standard, "standard"),
        (Self::Correct, "correct"),
        (Self::Wrong, "wrong"),
        (Self::Foreign, "foreign"),
        (Self::Aleatoric, "aleatoric"),
        (Self::Epistemic, "epistemic"),
        (Self::First, "first"),
        (Self::Second, "second"),
        (Self::Third, "third"),
        (Self::Fourth, "fourth"),
        (Self::Fifth, "fifth"),
    ];

    /// Colours of series without a meaning of their own.
    pub(super) const SERIES: [Self; 5] = [
        Self::First,
        Self::Second,
        Self::Third,
        Self::Fourth,
        Self::Fifth,
    ];

    /// Its name in the page's style sheet, without the dashes before it.
    pub(super) fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The colour that stands for it until the drawing is done.
    fn colour(self) -> RGBColor {
        RGBColor(0xFE, 0xED, self as u8)
    }
}

/// One axis of a chart. Places are in the data's units, also on a logarithmic axis.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    name: String,
    range: Range<f64>,
    ticks: Vec<f64>,
    logarithmic: bool,
    percent: bool,
    /// Letters of a tick that there is room for, at least.
    room: usize,
}

impl Axis {
    /// From `range.start` to `range.end` in equal steps.
    pub(super) fn linear(name: impl Into<String>, range: Range<f64>) -> Self {
        // Such as the risk of a model that makes no mistake: nothing is below 0.
        let range = if range.end > range.start {
            range
        } else {
            range.start..range.start + 1.0
        };
        let ticks = RangedCoordf64::from(range.clone()).key_points(5);
        Self {
            name: name.into(),
            range,
            ticks,
            logarithmic: false,
            percent: false,
            room: 0,
        }
    }

    /// Logarithmic, from the power of ten at or below `range.start` to the one at or above
    /// `range.end`; both are above 0.
    pub(super) fn logarithmic(name: impl Into<String>, range: Range<f64>) -> Self {
        let first = range.start.log10().floor() as i32;
        let last = (range.end.log10().ceil() as i32).max(first + 1);
        let step = ((last - first) / 5).max(1) as usize;
        Self {
            name: name.into(),
            range: 10f64.powi(first)..10f64.powi(last),
            ticks: (first..=last)
                .step_by(step)
                .map(|power| 10f64.powi(power))
                .collect(),
            logarithmic: true,
            percent: false,
            room: 0,
        }
    }

    /// With ticks at these places.
    pub(super) fn ticks(mut self, ticks: impl Into<Vec<f64>>) -> Self {
        self.ticks = ticks.into();
        self
    }

    /// With about `count` ticks.
    pub(super) fn few(mut self, count: usize) -> Self {
        self.ticks = RangedCoordf64::from(self.range.clone()).key_points(count);
        self
    }

    /// With room for ticks of so many letters, so that charts one above the other begin alike.
    pub(super) fn room(mut self, letters: usize) -> Self {
        self.room = letters;
        self
    }

    /// With ticks in percent.
    pub(super) fn percent(mut self) -> Self {
        self.percent = true;
        self
    }

    /// The text of a tick.
    fn label(&self, value: f64) -> String {
        if self.percent {
            format!("{} %", short(100.0 * value))
        } else if self.logarithmic && value >= 1e4 {
            format!("{}k", short(value / 1e3))
        } else {
            short(value)
        }
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        let Range { start, end } = self.range;
        let share = if self.logarithmic {
            (value.max(start) / start).ln() / (end / start).ln()
        } else {
            (value - start) / (end - start)
        };
        // What lies outside is drawn on the border.
        first + (share.clamp(0.0, 1.0) * f64::from(last - first)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

/// A number with at most four significant digits, and no zeros that say nothing.
pub(super) fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value.is_finite() {
            "0".into()
        } else {
            "–".into()
        };
    }
    let decimals = (3 - value.abs().log10().floor() as i32).clamp(0, 7) as usize;
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    text.replace('-', "\u{2212}")
}

/// What is drawn in a chart; places are (x, y) in the axes' units.
#[derive(Debug, Clone)]
pub(super) enum Mark {
    /// A line through points.
    Line(Role, Vec<(f64, f64)>),
    /// A thin dashed line through points: something to compare with.
    Dashed(Role, Vec<(f64, f64)>),
    /// What lies between two lines, as (x, low, high), with this opacity.
    Area(Role, Vec<(f64, f64, f64)>, f64),
    /// Dots of this radius, in tenths of a pixel, with this opacity.
    Dots(Role, Vec<(f64, f64)>, u32, f64),
    /// Vertical lines, as (x, low, high).
    Intervals(Role, Vec<(f64, f64, f64)>),
}

/// A chart of `size` pixels (width, height), which the page scales; `alternative` says in words what
/// it shows, for those who cannot see it.
///
/// # Errors
/// plotters cannot draw it.
pub(super) fn chart(
    size: (u32, u32),
    alternative: &str,
    x: &Axis,
    y: &Axis,
    marks: &[Mark],
) -> anyhow::Result<Markup> {
    let size = (size.0 * SCALE, size.1 * SCALE);
    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
    let drawn = draw(&area, x, y, marks);
    drop(area);
    drawn.map_err(|error| anyhow!("cannot draw a chart ({alternative}): {error}"))?;
    Ok(PreEscaped(for_the_page(&text, size, alternative)))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type DrawingError<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

fn draw<'a>(area: &Area<'a>, x: &Axis, y: &Axis, marks: &[Mark]) -> Result<(), DrawingError<'a>> {
    let text = |role: Role, horizontal, vertical| {
        // plotters divides by 1.24.
        ("sans-serif", f64::from(TEXT * SCALE) * 1.24)
            .into_font()
            .color(&role.colour())
            .pos(Pos::new(horizontal, vertical))
    };
    let named = |axis: &Axis| u32::from(!axis.name.is_empty());
    let longest = y.ticks.iter().map(|&tick| y.label(tick).chars().count());
    let left = longest.max().unwrap_or(0).max(y.room) as u32 * TEXT * 65 / 100 + 8;
    let mut chart = ChartBuilder::on(area)
        .margin_top(SCALE * (6 + named(y) * (TEXT + 5)))
        .margin_right(20 * SCALE)
        .margin_bottom(named(x) * (TEXT + 3) * SCALE)
        .x_label_area_size((TEXT + 9) * SCALE)
        .y_label_area_size(left * SCALE)
        .build_cartesian_2d(x.clone(), y.clone())?;
    chart
        .configure_mesh()
        .x_labels(x.ticks.len())
        .y_labels(y.ticks.len())
        .x_label_formatter(&|&tick| x.label(tick))
        .y_label_formatter(&|&tick| y.label(tick))
        .bold_line_style(Role::Grid.colour().stroke_width(SCALE))
        .light_line_style(TRANSPARENT)
        .axis_style(Role::Muted.colour().stroke_width(SCALE))
        .label_style(text(Role::Muted, HPos::Left, VPos::Top))
        .set_all_tick_mark_size(3 * SCALE as i32)
        .draw()?;
    let (width, height) = area.dim_in_pixel();
    let (left, below) = (left as i32 * SCALE as i32, height as i32);
    area.draw_text(&y.name, &text(Role::Muted, HPos::Left, VPos::Top), (0, 20))?;
    let middle = (left + width as i32 - 20 * SCALE as i32) / 2;
    let place = (middle, below - 2 * SCALE as i32);
    area.draw_text(
        &x.name,
        &text(Role::Muted, HPos::Center, VPos::Bottom),
        place,
    )?;

    for mark in marks {
        match mark {
            Mark::Line(role, points) => {
                let style = role.colour().stroke_width(2 * SCALE);
                chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
            }
            Mark::Dashed(role, points) => {
                let style = role.colour().stroke_width(12 * SCALE / 10);
                let (dash, gap) = (4 * SCALE, 4 * SCALE);
                let points = points.iter().copied();
                chart.draw_series(DashedLineSeries::new(points, dash, gap, style))?;
            }
            Mark::Area(role, bounds, opacity) => {
                let upper = bounds.iter().map(|&(x, _, high)| (x, high));
                let lower = bounds.iter().rev().map(|&(x, low, _)| (x, low));
                let outline: Vec<_> = upper.chain(lower).collect();
                let style = role.colour().mix(*opacity).filled();
                chart.draw_series([Polygon::new(outline, style)])?;
            }
            Mark::Dots(role, points, radius, opacity) => {
                let style = role.colour().mix(*opacity).filled();
                let dot = |&point: &_| Circle::new(point, *radius, style);
                chart.draw_series(points.iter().map(dot))?;
            }
            Mark::Intervals(role, intervals) => {
                let style = role.colour().mix(0.6).stroke_width(2 * SCALE);
                let line = |&(x, low, high): &_| PathElement::new([(x, low), (x, high)], style);
                chart.draw_series(intervals.iter().map(line))?;
            }
        }
    }
    drop(chart);
    area.present()
}

/// Makes plotters' file part of a page: no size of its own, a name, the page's colours and type.
fn for_the_page(svg: &str, size: (u32, u32), alternative: &str) -> String {
    let body = svg.split_once('>').map_or("", |(_, body)| body);
    let mut text = body
        .replace(" font-family=\"sans-serif\"", "")
        .replace(" stroke=\"none\" stroke-width=\"1\"", "")
        .replace(" stroke=\"none\"", "")
        .replace(" opacity=\"1\"", "")
        .replace(">\n", ">")
        .replace("\n<", "<");
    for (role, name) in Role::ALL {
        let RGBColor(red, green, blue) = role.colour();
        let marker = format!("\"#{red:02X}{green:02X}{blue:02X}\"");
        text = text.replace(&marker, &format!("\"var(--{name})\""));
    }
    let name = maud::html! { (alternative) }.into_string();
    let (width, height) = size;
    format!(r#"<svg viewBox="0 0 {width} {height}" role="img" aria-label="{name}">{text}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, expected) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.25, "0.25"),
            (1234.5, "1234"),
            (100_000.0, "100000"),
            (-0.5, "−0.5"),
            (0.012_345, "0.01235"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(short(value), expected);
        }
    }

    #[test]
    fn roles_have_their_own_names() {
        for (index, (role, name)) in Role::ALL.into_iter().enumerate() {
            assert_eq!((role as usize, role.name()), (index, name));
        }
    }

    #[test]
    fn a_chart_has_its_marks_names_and_only_the_pages_colours() {
        let x = Axis::linear("a <b> & c", 0.0..1.0).percent();
        let y = Axis::logarithmic("counts", 0.5..300.0);
        let marks = [
            Mark::Line(Role::McDropout, vec![(0.0, 1.0), (1.0, 100.0)]),
            Mark::Dots(Role::Wrong, vec![(0.5, 10.0); 3], 30, 0.5),
            Mark::Area(Role::Epistemic, vec![(0.0, 1.0, 2.0), (1.0, 3.0, 4.0)], 0.3),
        ];
        let svg = chart((300, 200), "\"what\" & how", &x, &y, &marks)
            .expect("drawn")
            .into_string();
        assert!(svg.starts_with("<svg viewBox=\"0 0 3000 2000\" role=\"img\" aria-label=\"&quot;what&quot; &amp; how\">"), "{svg}");
        assert!(svg.trim_end().ends_with("</svg>"), "{svg}");
        assert!(!svg.contains('#'), "a colour that is not the page's: {svg}");
        assert_eq!(svg.matches("<circle").count(), 3);
        for part in [
            "a &lt;b&gt; &amp; c",
            "var(--mc-dropout)",
            "var(--epistemic)",
            "100 %",
            "1000",
        ] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
    }
}
