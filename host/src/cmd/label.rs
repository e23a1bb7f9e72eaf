//! `host label`: a person says what flagged frames show.

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use device::onnx::Model;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::long::stop_flag;
use crate::label::{Choice, Labels, Session};
use crate::tui::{Screen, draw_label};

/// How long a key is waited for before the stop flag is looked at.
const POLL: Duration = Duration::from_millis(200);

/// Label the pictures that `host monitor --save-flagged` saved, one key press each.
///
/// A picture moves from DIR/unlabelled to DIR/LABEL, or to DIR/discarded, which nothing is learnt
/// from. Where it lies is all that is kept: stop and go on at any time.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  host monitor /dev/ttyUSB0 --save-flagged flagged
  host label flagged                             digits 0 to 9
  host label flagged --labels bolt,nut,washer    keys 0, 1, 2
  host train --out out/better --extra flagged

Keys: a label's, s skip, d discard, u undo, q quit.
Exit codes: 0 done or quit, 1 failed, 2 wrong usage.")]
pub struct Args {
    /// Folder of `host monitor --save-flagged`.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Names of the classes [default: 0 to 9]
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    labels: Option<Vec<String>>,
    /// Take the classes from this model file.
    #[arg(long, value_name = "FILE", conflicts_with = "labels")]
    model: Option<PathBuf>,
}

impl Args {
    fn labels(&self) -> anyhow::Result<Labels> {
        let names = match (&self.labels, &self.model) {
            (Some(labels), _) => labels.clone(),
            (None, Some(model)) => Model::load(model)?.metadata().labels.clone(),
            (None, None) => (0..10).map(|digit| digit.to_string()).collect(),
        };
        Labels::new(&names)
    }
}

/// Runs `host label`.
///
/// # Errors
/// The folder or its pictures cannot be read or moved, or standard output is no terminal.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let labels = args.labels()?;
    let mut session = Session::open(&args.folder)?;
    if session.waiting() > 0 {
        let stop = stop_flag()?;
        let mut screen = Screen::open()?;
        // What could not be done, until the next key.
        let mut trouble = None;
        let mut picture = session.picture()?;
        while !stop.load(Ordering::Relaxed) {
            let paint = screen.paint;
            screen.terminal.draw(|frame| {
                draw_label(
                    frame,
                    &session,
                    picture.as_ref(),
                    &labels,
                    trouble.as_deref(),
                    paint,
                );
            })?;
            if !event::poll(POLL)? {
                continue;
            }
            let Event::Key(key) = event::read()? else {
                continue;
            };
            if key.kind == KeyEventKind::Release {
                continue;
            }
            trouble = match press(&mut session, &labels, key) {
                Ok(true) => break,
                Ok(false) => None,
                Err(error) => Some(format!("{error:#}")),
            };
            picture = session.picture()?;
        }
    }
    writeln!(
        std::io::stdout(),
        "{} pictures labelled or discarded, {} wait in {}",
        session.moved(),
        Session::open(&args.folder)?.waiting(),
        args.folder.display()
    )?;
    Ok(())
}

/// Does what a key asks for; `true` if that is to end.
fn press(session: &mut Session, labels: &Labels, key: KeyEvent) -> anyhow::Result<bool> {
    let KeyCode::Char(letter) = key.code else {
        return Ok(false);
    };
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return Ok(letter == 'c');
    }
    match letter {
        'q' => return Ok(true),
        's' => session.choose(&Choice::Skip)?,
        'd' => session.choose(&Choice::Discard)?,
        'u' => drop(session.undo()?),
        letter => {
            if let Some(label) = labels.of(letter) {
                session.choose(&Choice::Label(label))?;
            }
        }
    }
    Ok(false)
}
