//! `host monitor --tui`: what is drawn, and where.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Clear, Paragraph, Row, Sparkline, Table, TableState};
use shared::triage::Verdict;
use shared::wire::message::Report;

use super::monitor::View;
use super::{Art, Paint};
use crate::monitor::{Live, Seen, Snapshot};

/// Columns of the figures beside the table; they are left out where the table would have less.
const FIGURES: u16 = 30;
/// Lines below which the log, and below that the heading, is left out.
const WITH_LOG: u16 = 16;
const WITH_HEADING: u16 = 6;
/// Seconds without a message after which the line is told to be silent.
const SILENT_S: f64 = 30.0;

/// A measure of a report, in nats.
type Measure = fn(&Report) -> f32;
/// The measures drawn as sparklines.
const MEASURES: [(&str, Measure); 3] = [
    ("predictive entropy", |report| report.predictive_entropy),
    ("expected entropy", |report| report.expected_entropy),
    ("mutual information", |report| report.mutual_information),
];

/// Draws all of it.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    live: &Live,
    now: Duration,
    view: &View,
    log: &[String],
    paint: Paint,
) {
    let area = frame.area();
    let heading = if area.height >= WITH_HEADING { 2 } else { 0 };
    let log_lines = if area.height >= WITH_LOG { 4 } else { 0 };
    let [top, middle, bottom, keys] = Layout::vertical([
        Constraint::Length(heading),
        Constraint::Fill(1),
        Constraint::Length(log_lines),
        Constraint::Length(1),
    ])
    .areas(area);
    let snapshot = live.snapshot(now);
    frame.render_widget(Paragraph::new(header(&snapshot, view, paint)), top);
    let figures = if middle.width >= 2 * FIGURES {
        FIGURES
    } else {
        0
    };
    let [left, right] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(figures)]).areas(middle);
    table(frame, live, view, left, paint);
    figures_beside(frame, live, &snapshot, right, paint);
    messages(frame, &snapshot, log, bottom, paint);
    let hint = Line::from(
        [
            key("q", " quit  ", paint),
            key("p", " pause  ", paint),
            key("f", " flags only  ", paint),
            key("↑↓ Enter", " detail  ", paint),
            key("?", " help", paint),
        ]
        .concat(),
    );
    frame.render_widget(hint, keys);
    if view.detail {
        detail(frame, live, view, paint);
    }
    if view.help {
        help(frame, paint);
    }
}

/// A key and what it does.
fn key<'a>(name: &'a str, what: &'a str, paint: Paint) -> Vec<Span<'a>> {
    vec![Span::styled(name, paint.accent()), Span::raw(what)]
}

/// Who speaks, and what became of the line.
fn header<'a>(now: &Snapshot<'a>, view: &View, paint: Paint) -> Text<'a> {
    let who = match &now.device {
        None => vec!["no greeting yet".into()],
        Some(device) => vec![
            Span::styled(device.name.to_owned(), paint.accent()),
            format!(
                "  model {}  {}  {} passes  v{}",
                device.model, device.engine, device.passes, device.software
            )
            .into(),
        ],
    };
    let state = if view.paused.is_some() {
        Span::styled("  PAUSED", paint.bad())
    } else if now.ended {
        Span::styled("  ENDED", paint.accent())
    } else {
        Span::raw("")
    };
    let link = &now.link;
    let counters = link.counters;
    let wrong = counters.lost + counters.corrupt + counters.incompatible;
    let silent = link.silent_s.is_none_or(|silent| silent > SILENT_S) && !now.ended;
    let (word, style) = if silent {
        ("SILENT", paint.bad())
    } else if wrong > 0 {
        ("link NOISY", paint.bad())
    } else {
        ("link ok", paint.good())
    };
    let heard = link
        .silent_s
        .map_or("never".to_owned(), |silent| format!("{silent:.0} s ago"));
    Text::from(vec![
        Line::from([who, vec![state]].concat()),
        Line::from(vec![
            Span::styled(word, style),
            format!(
                "  {} received  {} lost  {} corrupt  {} B discarded  heard {heard}",
                counters.received, counters.lost, counters.corrupt, counters.discarded_bytes
            )
            .into(),
        ]),
    ])
}

/// A column: name, width (0: what is left), how wide the table has to be for it to be shown, content.
type Column = (&'static str, u16, u16, fn(&Seen) -> String);

/// The frames, the latest on top.
fn table(frame: &mut Frame<'_>, live: &Live, view: &View, area: Rect, paint: Paint) {
    let frames = view.frames(live);
    let columns: [Column; 10] = [
        ("  frame", 7, 0, |seen| format!("{:>7}", seen.report.frame)),
        ("verdict", 7, 0, |seen| match seen.report.verdict() {
            Verdict::Accept => "accept".to_owned(),
            Verdict::Flag => "FLAG".to_owned(),
        }),
        ("class", 8, 40, Seen::class),
        ("conf", 5, 48, |seen| {
            format!("{:.3}", seen.report.confidence)
        }),
        ("total", 5, 48, |seen| {
            format!("{:.3}", seen.report.predictive_entropy)
        }),
        ("aleat", 5, 84, |seen| {
            format!("{:.3}", seen.report.expected_entropy)
        }),
        ("epist", 5, 84, |seen| {
            format!("{:.3}", seen.report.mutual_information)
        }),
        ("passes", 6, 84, |seen| seen.report.passes.to_string()),
        ("ms", 7, 84, |seen| milliseconds(seen.report.latency_us)),
        ("causes", 0, 0, |seen| {
            if seen.report.causes.is_empty() {
                String::new()
            } else {
                seen.report.causes.to_string()
            }
        }),
    ];
    let shown = || {
        columns
            .iter()
            .filter(|(_, _, least, _)| area.width >= *least)
    };
    let rows = frames.iter().map(|seen| {
        let style = match seen.report.verdict() {
            Verdict::Accept => Style::new(),
            Verdict::Flag => paint.bad(),
        };
        Row::new(shown().map(|(.., text)| text(seen))).style(style)
    });
    let widths = shown().map(|&(_, width, ..)| match width {
        0 => Constraint::Fill(1),
        width => Constraint::Length(width),
    });
    let table = Table::new(rows, widths)
        .header(Row::new(shown().map(|(name, ..)| *name)).style(paint.accent()))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let selected = view.selected.map(|_| view.place(&frames));
    let mut state = TableState::new().with_selected(selected);
    frame.render_stateful_widget(table, area, &mut state);
}

fn milliseconds(microseconds: u32) -> String {
    format!("{:.1}", f64::from(microseconds) / 1e3)
}

/// Entropies, latency, flag rate and causes.
fn figures_beside(
    frame: &mut Frame<'_>,
    live: &Live,
    now: &Snapshot<'_>,
    area: Rect,
    paint: Paint,
) {
    let block = Block::new().borders(ratatui::widgets::Borders::LEFT);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let mut lines = vec![Constraint::Length(2); MEASURES.len()];
    lines.push(Constraint::Fill(1));
    let places = Layout::vertical(lines).split(inner);
    for ((name, measure), place) in MEASURES.into_iter().zip(places.iter()) {
        sparkline(frame, live, name, measure, *place, paint);
    }
    if let Some(rest) = places.last() {
        frame.render_widget(Paragraph::new(rates(now, inner.width, paint)), *rest);
    }
}

/// The latest frames' values of a measure, scaled by the greatest of them.
fn sparkline(
    frame: &mut Frame<'_>,
    live: &Live,
    name: &str,
    measure: Measure,
    area: Rect,
    paint: Paint,
) {
    let frames = live.frames();
    let skipped = frames.len().saturating_sub(area.width.into());
    let values = frames
        .iter()
        .skip(skipped)
        .map(|seen| measure(&seen.report));
    // Whole numbers: a thousandth of a nat is finer than any terminal. What is no number is none.
    let values: Vec<u64> = values.map(|value| (value * 1e3) as u64).collect();
    let [title, bars] = Layout::vertical([Constraint::Length(1); 2]).areas(area);
    let last = frames.back().map(|seen| measure(&seen.report));
    let last = last.map_or(String::new(), |last| format!("{last:.3}"));
    frame.render_widget(
        Line::from(vec![Span::raw(format!("{name:19}")), last.into()]),
        title,
    );
    let greatest = values.iter().copied().max().unwrap_or(0).max(1);
    frame.render_widget(
        Sparkline::default()
            .data(values)
            .max(greatest)
            .style(paint.accent()),
        bars,
    );
}

fn rates<'a>(now: &Snapshot<'_>, width: u16, paint: Paint) -> Text<'a> {
    let mut lines = Vec::new();
    if let Some(latency) = now.recent.latency_us {
        lines.push(Line::from("latency ms  p50   p95   p99"));
        lines.push(Line::from(format!(
            "{:>15} {:>5} {:>5}",
            milliseconds(latency.p50),
            milliseconds(latency.p95),
            milliseconds(latency.p99)
        )));
    }
    if let Some(rate) = now.recent.frames_per_second {
        lines.push(Line::from(format!("{rate:.1} frames/s")));
    }
    if let Some(performance) = &now.performance {
        lines.push(Line::from(format!(
            "{} frames dropped",
            performance.dropped
        )));
    }
    if let Some(rate) = now.recent.flag_rate {
        lines.push(Line::from(vec![
            Span::styled(format!("flagged {:.1} %", 100.0 * rate), paint.accent()),
            format!(" of {}", now.recent.frames).into(),
        ]));
    }
    let mut causes: Vec<_> = now.causes.iter().filter(|cause| cause.recent > 0).collect();
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.recent));
    let room = usize::from(width).saturating_sub(19);
    for cause in causes {
        let share = cause.recent as f64 / now.recent.frames.max(1) as f64;
        let bar = "█".repeat((share * room as f64).ceil() as usize);
        lines.push(Line::from(vec![
            format!("{:12} {:>4} ", cause.cause, cause.recent).into(),
            Span::styled(bar, paint.bad()),
        ]));
    }
    Text::from(lines)
}

/// What the device told, and what this program logs: the last lines of both.
fn messages(frame: &mut Frame<'_>, now: &Snapshot<'_>, log: &[String], area: Rect, paint: Paint) {
    let block = Block::new()
        .borders(ratatui::widgets::Borders::TOP)
        .title("log");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    // A notice is logged, too, but scrolls away: the last failure stays.
    let failure = now.words.iter().rev().find(|words| words.failure);
    let failure = failure.map(|failure| {
        Line::styled(
            format!("at {:.0} s: {}", failure.at_s, failure.words),
            paint.bad(),
        )
    });
    let room = usize::from(inner.height).saturating_sub(usize::from(failure.is_some()));
    let skipped = log.len().saturating_sub(room);
    let lines = log.iter().skip(skipped).map(|line| Line::from(line.trim()));
    let lines: Vec<_> = failure.into_iter().chain(lines).collect();
    frame.render_widget(Paragraph::new(lines), inner);
}

/// A window in the middle, of at most this size.
fn window(frame: &mut Frame<'_>, title: &str, width: u16, height: u16) -> Rect {
    let area = frame.area();
    let area = area.centered(
        Constraint::Length(width.min(area.width)),
        Constraint::Length(height.min(area.height)),
    );
    let block = Block::bordered().title(title.to_owned());
    let inner = block.inner(area);
    frame.render_widget(Clear, area);
    frame.render_widget(block, area);
    inner
}

/// Everything that is known of the selected frame.
fn detail(frame: &mut Frame<'_>, live: &Live, view: &View, paint: Paint) {
    let frames = view.frames(live);
    let Some(seen) = frames.get(view.place(&frames)) else {
        return;
    };
    let report = &seen.report;
    let inner = window(frame, &format!("frame {}", report.frame), 72, 20);
    let art = seen.picture.as_ref().map(|picture| {
        let room = Rect {
            width: inner.width / 2,
            ..inner
        };
        (picture, Art::size(picture, room).0)
    });
    let [left, right] = Layout::horizontal([
        Constraint::Length(art.map_or(0, |(_, width)| width + 2)),
        Constraint::Fill(1),
    ])
    .areas(inner);
    if let Some((picture, width)) = art {
        frame.render_widget(Art::new(picture, paint), Rect { width, ..left });
    }
    let (verdict, style) = match report.verdict() {
        Verdict::Accept => ("accept", paint.good()),
        Verdict::Flag => ("FLAG", paint.bad()),
    };
    let mut lines = vec![Line::from(vec![
        Span::styled(verdict, style),
        format!("  class {}", seen.class()).into(),
    ])];
    lines.extend(
        report
            .causes
            .iter()
            .map(|cause| Line::from(format!("  {cause}"))),
    );
    let figure = |name: &str, value: String| Line::from(format!("{name:19} {value}"));
    let image = &report.image;
    lines.extend([
        figure("confidence", format!("{:.4}", report.confidence)),
        figure("margin", format!("{:.4}", report.margin)),
        figure(
            "predictive entropy",
            format!("{:.4} nats", report.predictive_entropy),
        ),
        figure(
            "expected entropy",
            format!("{:.4} nats", report.expected_entropy),
        ),
        figure(
            "mutual information",
            format!("{:.4} nats", report.mutual_information),
        ),
        figure("variation ratio", format!("{:.4}", report.variation_ratio)),
        figure(
            "standard deviation",
            format!("{:.4}", report.standard_deviation),
        ),
        figure("passes", report.passes.to_string()),
        figure("latency", format!("{} ms", milliseconds(report.latency_us))),
        figure(
            "black, white",
            format!("{:.3}, {:.3}", image.black, image.white),
        ),
        figure("contrast", format!("{:.3}", image.contrast)),
        figure("sharpness", format!("{:.3}", image.sharpness)),
        figure(
            "saturated, plateau",
            format!("{:.3}, {:.3}", image.saturated, image.plateau),
        ),
    ]);
    frame.render_widget(Paragraph::new(lines), right);
}

fn help(frame: &mut Frame<'_>, paint: Paint) {
    let inner = window(frame, "keys", 68, 12);
    let lines = [
        ("q, Ctrl-C", "quit"),
        ("p, space", "pause, and go on with the present"),
        ("f", "flagged frames only, or all"),
        ("↑ ↓, PgUp PgDn", "select a frame; Home: follow the latest"),
        ("Enter", "the selected frame in full; Esc closes it"),
        ("?", "this"),
        ("", ""),
        ("total", "predictive entropy, nats"),
        ("aleat", "expected entropy: what no data could tell"),
        ("epist", "mutual information: what the model does not know"),
    ];
    let lines = lines.map(|(name, what)| {
        Line::from(vec![
            Span::styled(format!("{name:15}"), paint.accent()),
            what.into(),
        ])
    });
    frame.render_widget(Paragraph::new(lines.to_vec()), inner);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::Colours;
    use super::super::monitor::tests::fed;
    use super::*;
    use crate::monitor::{FrameKey, Picture};

    fn drawn(live: &Live, view: &View, log: &[&str], width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        let log: Vec<_> = log.iter().map(ToString::to_string).collect();
        let now = Duration::from_secs(31);
        let colours = Colours::Indexed;
        terminal
            .draw(|frame| draw(frame, live, now, view, &log, Paint { colours }))
            .expect("drawn");
        terminal.backend().to_string()
    }

    #[test]
    fn all_is_there_on_eighty_columns() {
        let screen = drawn(&fed(30), &View::default(), &["WARN a", "WARN b"], 80, 24);
        for words in [
            "no greeting yet",
            "link ok",
            "heard 2 s ago",
            "predictive entropy 0.500",
            "mutual information 0.250",
            "latency ms  p50   p95   p99",
            "10.0 frames/s",
            "flagged 33.3 % of 30",
            "glare          10 ████",
            "29 accept  3        0.750 0.500",
            "27 FLAG    3        0.750 0.500 glare+unce",
            "WARN b",
            "q quit",
        ] {
            assert!(screen.contains(words), "'{words}' is missing in\n{screen}");
        }
    }

    #[test]
    fn a_wide_table_has_all_columns() {
        let screen = drawn(&fed(30), &View::default(), &[], 120, 24);
        for words in ["aleat epist passes ms", "glare+uncertain"] {
            assert!(screen.contains(words), "'{words}' is missing in\n{screen}");
        }
    }

    #[test]
    fn what_has_no_room_is_left_out_and_nothing_breaks() {
        let live = fed(30);
        let small = drawn(&live, &View::default(), &["WARN a"], 40, 12);
        assert!(
            small.contains("29 accept  3") && !small.contains("latency"),
            "{small}"
        );
        assert!(!small.contains("WARN a"), "{small}");
        let all = View {
            detail: true,
            help: true,
            selected: Some(3),
            ..View::default()
        };
        for (width, height) in [
            (1, 1),
            (3, 2),
            (10, 5),
            (80, 1),
            (1, 24),
            (59, 15),
            (300, 100),
        ] {
            drawn(&live, &all, &["WARN a"], width, height);
            drawn(&Live::default(), &all, &[], width, height);
        }
    }

    #[test]
    fn a_frame_in_full_shows_its_picture_and_every_cause() {
        let mut live = fed(10);
        live.picture(
            FrameKey {
                epoch: None,
                frame: 9,
            },
            &Picture {
                width: 28,
                height: 28,
                format: shared::image::PixelFormat::Grey8,
                pixels: vec![255; 28 * 28],
            },
        );
        let view = View {
            detail: true,
            ..View::default()
        };
        let screen = drawn(&live, &view, &[], 80, 24);
        for words in [
            "frame 9",
            &"▀".repeat(28),
            "  glare",
            "  uncertain",
            "expected entropy    0.2500 nats",
            "sharpness           1.000",
        ] {
            assert!(screen.contains(words), "'{words}' is missing in\n{screen}");
        }
    }

    #[test]
    fn flags_only_lists_flags_only() {
        let view = View {
            flagged: true,
            ..View::default()
        };
        let screen = drawn(&fed(10), &view, &[], 80, 24);
        assert!(
            screen.contains("9 FLAG") && !screen.contains("accept"),
            "{screen}"
        );
    }
}
