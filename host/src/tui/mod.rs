//! The whole terminal as a screen: what `host monitor --tui` and `host label` draw on.

mod art;
mod label_view;
mod monitor;
mod monitor_view;

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, ensure};
use ratatui::DefaultTerminal;
use ratatui::style::{Color, Modifier, Style};

pub use art::Art;
pub use label_view::draw_label;
pub use monitor::watch;

/// Log lines that are remembered while they cannot be printed.
const LOG_LINES: usize = 50;

/// The terminal, taken over until this is dropped: also by a panic, in whatever thread, it gets its
/// lines, cursor and modes back. Log lines are kept meanwhile and printed afterwards.
#[derive(Debug)]
pub struct Screen {
    /// What is drawn on.
    pub terminal: DefaultTerminal,
    /// Whether there may be colours.
    pub paint: Paint,
    log: Log,
    diverted: Option<device::log::Diverted>,
}

/// The log lines kept, oldest first.
type Log = Arc<Mutex<VecDeque<String>>>;

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// Standard output is not a terminal, or it does not obey.
    pub fn open() -> anyhow::Result<Self> {
        ensure!(
            io::stdout().is_terminal(),
            "standard output is not a terminal: run it in one, or leave this view out"
        );
        let log = Log::default();
        let kept = Arc::clone(&log);
        let diverted = device::log::divert(move |line| {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == LOG_LINES {
                kept.pop_front();
            }
            kept.push_back(anstream::adapter::strip_str(line).to_string());
        });
        Ok(Self {
            terminal: ratatui::try_init().context("cannot take over the terminal")?,
            paint: Paint::from_environment(),
            log,
            diverted: Some(diverted),
        })
    }

    /// The log lines since the screen was opened, the last ones, oldest first.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().cloned().collect()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
        self.diverted = None;
        if io::stderr().is_terminal() {
            for line in self.log() {
                eprintln!("{line}");
            }
        }
    }
}

/// Colours, where they are wanted: never the only way in which something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint {
    colours: Colours,
}

/// What colours a terminal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colours {
    None,
    /// 256 of them.
    Indexed,
    All,
}

impl Paint {
    /// No colours if the variable `NO_COLOR` is set and not empty (<https://no-color.org>); all of them in
    /// terminals that say so in `COLORTERM`.
    #[must_use]
    pub fn from_environment() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let has_all = std::env::var_os("COLORTERM")
            .is_some_and(|value| value == "truecolor" || value == "24bit");
        let colours = match (unwanted, has_all) {
            (true, _) => Colours::None,
            (false, true) => Colours::All,
            (false, false) => Colours::Indexed,
        };
        Self { colours }
    }

    fn fg(self, colour: Color) -> Style {
        match self.colours {
            Colours::None => Style::new(),
            Colours::Indexed | Colours::All => Style::new().fg(colour),
        }
    }

    /// Of what is well.
    fn good(self) -> Style {
        self.fg(Color::Green)
    }

    /// Of what is not.
    fn bad(self) -> Style {
        self.fg(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// Of headings and keys.
    pub(crate) fn accent(self) -> Style {
        self.fg(Color::Cyan).add_modifier(Modifier::BOLD)
    }
}
