//! `host monitor --tui`: what the keys do.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{Screen, monitor_view};
use crate::monitor::{Live, Seen, Watched};

/// How long a key is waited for before the state is looked at again.
const LOOK: Duration = Duration::from_millis(100);
/// How long what is drawn stays although nothing has changed: clocks go on.
const REDRAW: Duration = Duration::from_millis(500);
/// By how many frames Page Up and Page Down go.
const PAGE: usize = 10;

/// Shows the state until a key ends it, which sets `stop`, or `stop` is set.
///
/// # Errors
/// Standard output is no terminal, or it fails.
pub fn watch(screen: &mut Screen, watched: &Watched, stop: &AtomicBool) -> anyhow::Result<()> {
    let mut view = View::default();
    let mut drawn: Option<(Instant, u64)> = None;
    while !stop.load(Ordering::Relaxed) {
        let revision = watched.look(|live, _| live.revision());
        if drawn.is_none_or(|(at, then)| then != revision || at.elapsed() >= REDRAW) {
            drawn = Some((Instant::now(), revision));
            let (log, paint) = (screen.log(), screen.paint);
            // A copy, so that the line never waits for the terminal.
            let (live, now) = match &view.paused {
                Some(paused) => paused.clone(),
                None => watched.look(|live, now| (live.clone(), now)),
            };
            screen
                .terminal
                .draw(|frame| monitor_view::draw(frame, &live, now, &view, &log, paint))?;
        }
        if event::poll(LOOK)? {
            drawn = None;
            // Whatever else it is, all is drawn anew.
            if let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
                && view.key(key, watched)
            {
                stop.store(true, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

/// What is looked at, and how.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The state as it was when it was paused.
    pub(super) paused: Option<(Live, Duration)>,
    /// Flagged frames only.
    pub(super) flagged: bool,
    /// [`Seen::index`] of the frame selected; the latest one if `None`.
    pub(super) selected: Option<u64>,
    /// The selected frame is shown in full.
    pub(super) detail: bool,
    /// The keys are explained.
    pub(super) help: bool,
}

impl View {
    /// The frames to list, the latest first.
    pub(super) fn frames<'a>(&self, live: &'a Live) -> Vec<&'a Seen> {
        let frames = live.frames().iter().rev();
        frames
            .filter(|seen| !self.flagged || !seen.report.causes.is_empty())
            .collect()
    }

    /// The place of the selected frame among those listed; that of the oldest where it is forgotten.
    pub(super) fn place(&self, frames: &[&Seen]) -> usize {
        let Some(selected) = self.selected else {
            return 0;
        };
        let place = frames.iter().position(|seen| seen.index <= selected);
        place.unwrap_or(frames.len().saturating_sub(1))
    }

    /// Does what a key asks for; `true` if that is to end.
    fn key(&mut self, key: KeyEvent, watched: &Watched) -> bool {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('q') => return true,
            KeyCode::Char('c') if control => return true,
            KeyCode::Esc if self.help || self.detail => {
                self.help = false;
                self.detail = false;
            }
            KeyCode::Char('?' | 'h') => self.help = !self.help,
            KeyCode::Char('p' | ' ') => {
                self.paused = match self.paused {
                    Some(_) => None,
                    None => Some(watched.look(|live, now| (live.clone(), now))),
                };
            }
            KeyCode::Char('f') => self.flagged = !self.flagged,
            KeyCode::Enter => {
                // What is looked at stays, whatever comes.
                self.go(watched, 0);
                self.detail = !self.detail;
            }
            KeyCode::Up | KeyCode::Char('k') => self.go(watched, -1),
            KeyCode::Down | KeyCode::Char('j') => self.go(watched, 1),
            KeyCode::PageUp => self.go(watched, -(PAGE as isize)),
            KeyCode::PageDown => self.go(watched, PAGE as isize),
            KeyCode::Esc | KeyCode::Home => self.selected = None,
            KeyCode::End => self.go(watched, isize::MAX),
            _ => {}
        }
        false
    }

    /// Selects the frame so many places further down.
    fn go(&mut self, watched: &Watched, places: isize) {
        let find = |live: &Live| {
            let frames = self.frames(live);
            let last = frames.len().checked_sub(1)?;
            let place = self.place(&frames).saturating_add_signed(places).min(last);
            Some(frames[place].index)
        };
        self.selected = match &self.paused {
            Some((live, _)) => find(live),
            None => watched.look(|live, _| find(live)),
        };
    }
}

#[cfg(test)]
pub(super) mod tests {
    use shared::triage::Cause;
    use shared::wire::Packet;
    use shared::wire::message::Message;

    use super::*;
    use crate::monitor::agreement::tests::report;

    /// A state of so many frames, every third flagged.
    pub(in super::super) fn fed(frames: u32) -> Live {
        let mut live = Live::default();
        for frame in 0..frames {
            let mut report = report(frame);
            report.captured_us = u64::from(frame) * 100_000;
            report.latency_us = 1_000 + frame;
            if frame % 3 == 0 {
                report.causes.insert(Cause::Glare);
                report.causes.insert(Cause::Uncertain);
            }
            let packet = Packet {
                sequence: frame,
                message: Message::Report(report),
            };
            live.packet(&packet, Duration::from_secs(frame.into()));
        }
        live
    }

    fn watched(frames: u32) -> Watched {
        let watched = Watched::default();
        watched.change(|live, _| *live = fed(frames));
        watched
    }

    fn press(view: &mut View, watched: &Watched, code: KeyCode) -> bool {
        view.key(KeyEvent::new(code, KeyModifiers::NONE), watched)
    }

    #[test]
    fn arrows_select_among_the_frames_listed_and_stay_with_the_frame() {
        let watched = watched(10);
        let mut view = View::default();
        press(&mut view, &watched, KeyCode::Down);
        assert_eq!(view.selected, Some(8));
        // New frames come; the selected one stays selected.
        watched.change(|live, _| *live = fed(12));
        press(&mut view, &watched, KeyCode::Down);
        assert_eq!(view.selected, Some(7));
        // Of the flagged ones, 9 6 3 0, the next that is not later.
        press(&mut view, &watched, KeyCode::Char('f'));
        let first = watched.look(|live, _| view.place(&view.frames(live)));
        assert_eq!(first, 1);
        for (key, selected) in [
            (KeyCode::Up, 9),
            (KeyCode::Up, 9),
            (KeyCode::End, 0),
            (KeyCode::Down, 0),
            (KeyCode::PageUp, 9),
        ] {
            press(&mut view, &watched, key);
            assert_eq!(view.selected, Some(selected));
        }
        press(&mut view, &watched, KeyCode::Home);
        assert_eq!(view.selected, None);
    }

    #[test]
    fn a_pause_keeps_what_was_there() {
        let watched = watched(3);
        let mut view = View::default();
        press(&mut view, &watched, KeyCode::Char('p'));
        watched.change(|live, _| *live = fed(9));
        press(&mut view, &watched, KeyCode::Up);
        assert_eq!(view.selected, Some(2));
        press(&mut view, &watched, KeyCode::Char('p'));
        assert!(view.paused.is_none());
    }

    #[test]
    fn keys_end_it_and_without_frames_nothing_is_selected() {
        let watched = Watched::default();
        let mut view = View::default();
        for key in [KeyCode::Down, KeyCode::Enter, KeyCode::End] {
            assert!(!press(&mut view, &watched, key));
            assert_eq!(view.selected, None);
        }
        assert!(view.detail);
        press(&mut view, &watched, KeyCode::Esc);
        assert!(!view.detail);
        assert!(press(&mut view, &watched, KeyCode::Char('q')));
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(view.key(control_c, &watched));
    }
}
