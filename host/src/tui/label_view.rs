//! `host label`: one picture, what the model thought of it, and the keys.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::{Art, Paint};
use crate::label::{Labels, Session};
use crate::monitor::{Picture, Said};

/// Draws the next picture of `session`, or that there is none, and the last `trouble`.
pub fn draw_label(
    frame: &mut Frame<'_>,
    session: &Session,
    picture: Option<&Picture>,
    labels: &Labels,
    trouble: Option<&str>,
    paint: Paint,
) {
    let [top, middle, bottom, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let counts = format!("{} to label, {} done", session.waiting(), session.moved());
    frame.render_widget(Line::styled(counts, paint.accent()), top);

    if let (Some(picture), Some((path, said))) = (picture, session.next()) {
        let room = Rect {
            width: middle.width.div_ceil(2),
            ..middle
        };
        let (width, _) = Art::size(picture, room);
        let [left, right] =
            Layout::horizontal([Constraint::Length(width + 2), Constraint::Fill(1)]).areas(middle);
        frame.render_widget(Art::new(picture, paint), Rect { width, ..left });
        let mut lines = said.map_or_else(
            || vec![Line::from("nothing is known of this frame")],
            |said| what_was_said(said, paint),
        );
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        lines.push(Line::styled(name.into_owned(), Modifier::DIM));
        frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), right);
    } else {
        frame.render_widget("no picture is left: u undo, q quit", middle);
    }

    let trouble = trouble.map(|trouble| Span::styled(trouble.to_owned(), paint.bad()));
    let classes = labels.iter().flat_map(|(key, label)| {
        let label = if label == key.to_string() {
            " ".to_owned()
        } else {
            format!(" {label}  ")
        };
        [Span::styled(key.to_string(), paint.accent()), label.into()]
    });
    let line: Line = trouble.map_or_else(|| classes.collect(), Line::from);
    frame.render_widget(Paragraph::new(line).wrap(Wrap { trim: true }), bottom);
    let other = [
        ("s", " skip  "),
        ("d", " discard  "),
        ("u", " undo  "),
        ("q", " quit"),
    ];
    let other = other.map(|(key, what)| [Span::styled(key, paint.accent()), what.into()]);
    frame.render_widget(Line::from(other.concat()), keys);
}

fn what_was_said(said: &Said, paint: Paint) -> Vec<Line<'static>> {
    let of = |frame: u32| {
        Line::from(format!(
            "frame {frame} of '{}', model {}",
            said.device.as_deref().unwrap_or("?"),
            said.model.as_deref().unwrap_or("?")
        ))
    };
    let Some(report) = &said.report else {
        let frame = said.frame.map(of);
        return ["what the model says is in the monitor's log".into()]
            .into_iter()
            .chain(frame)
            .collect();
    };
    let class = report.label.clone();
    let class = class.unwrap_or_else(|| report.class.to_string());
    let nats = |name: &str, value: f32| Line::from(format!("{name:19}{value:.3} nats"));
    vec![
        Line::from(vec![
            "the model says ".into(),
            Span::styled(class, paint.accent()),
            format!(", confidence {:.3}", report.confidence).into(),
        ]),
        nats("predictive entropy", report.predictive_entropy),
        nats("expected entropy", report.expected_entropy),
        nats("mutual information", report.mutual_information),
        Line::styled(report.causes.join("+"), paint.bad()),
        of(report.frame),
    ]
}
