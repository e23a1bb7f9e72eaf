//! A terminal without a window: a program draws on a pseudo-terminal, an emulator keeps the screen,
//! and a test reads it and presses keys.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::programs::Running;

/// How long something that is to appear on the screen is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the screen has to stay the same to be taken for drawn.
const LOOK: Duration = Duration::from_millis(20);

/// A terminal and the program that runs in it.
#[allow(missing_debug_implementations)] // A screen has nothing to show but itself.
pub struct Terminal {
    master: File,
    /// Held open, so that its settings can be read when the program has ended.
    slave: File,
    screen: Arc<Mutex<vt100::Parser>>,
    program: Option<Running>,
}

impl Terminal {
    /// Runs `command` in a terminal of its own of so many rows and columns: standard input, output
    /// and error are the terminal, and it controls the program.
    ///
    /// # Panics
    /// If the system has no pseudo-terminals, or no `setsid`.
    #[must_use]
    pub fn run(command: &Command, rows: u16, columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("pseudo-terminals are available");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let path = ptsname(&master, Vec::new()).expect("a pseudo-terminal has a name");
        let slave = File::options()
            .read(true)
            .write(true)
            .open(path.into_string().expect("a plain path"))
            .expect("opened");
        let stdio = || Stdio::from(slave.try_clone().expect("cloned"));
        let mut inside = Command::new("setsid");
        inside.arg("--ctty").arg(command.get_program());
        inside.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside.env("TERM", "xterm-256color");
        inside.stdin(stdio()).stdout(stdio()).stderr(stdio());
        let mut terminal = Self {
            master: master.into(),
            slave,
            screen: Arc::new(Mutex::new(emulator(rows, columns))),
            program: None,
        };
        terminal.resize(rows, columns);
        terminal.program = Some(Running::start(&mut inside));
        let mut output = terminal.master.try_clone().expect("cloned");
        let screen = Arc::clone(&terminal.screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Until the last end of the terminal is closed.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                lock(&screen).process(&bytes[..count]);
            }
        });
        terminal
    }

    /// Gives the terminal another size, of which the program hears.
    ///
    /// # Panics
    /// If the terminal does not take it.
    pub fn resize(&self, rows: u16, columns: u16) {
        let (height, width) = (at_least_one(rows), at_least_one(columns));
        lock(&self.screen).screen_mut().set_size(height, width);
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.master, size).expect("a terminal has a size");
    }

    /// Presses keys.
    ///
    /// # Panics
    /// If the terminal does not take them.
    pub fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("pressed");
    }

    /// What is on the screen.
    #[must_use]
    pub fn text(&self) -> String {
        lock(&self.screen).screen().contents()
    }

    /// Waits until the screen is as `wanted` and nothing is being drawn, and gives it.
    ///
    /// # Panics
    /// If it does not become so; the message holds what it was last.
    #[track_caller]
    #[allow(clippy::must_use_candidate)] // That it becomes so may be all that is asked.
    pub fn wait(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut before = None;
        loop {
            let text = self.text();
            if wanted(&text) && before.as_ref() == Some(&text) {
                return text;
            }
            assert!(
                Instant::now() < deadline,
                "no {what} on the screen:\n{text}"
            );
            before = Some(text);
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until `words` are on the screen, and gives it.
    ///
    /// # Panics
    /// If they do not appear.
    #[track_caller]
    #[allow(clippy::must_use_candidate)] // That they appear may be all that is asked.
    pub fn wait_for(&self, words: &str) -> String {
        self.wait(&format!("'{words}'"), |text| text.contains(words))
    }

    /// Whether anything on the screen has a colour.
    #[must_use]
    pub fn has_colours(&self) -> bool {
        let parser = lock(&self.screen);
        let screen = parser.screen();
        let (rows, columns) = screen.size();
        let (rows, columns) = (rows.get(), columns.get());
        let mut cells = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        cells.any(|(row, column)| {
            let plain = vt100::Color::Default;
            let cell = screen.cell(row, column);
            cell.is_some_and(|cell| cell.fgcolor() != plain || cell.bgcolor() != plain)
        })
    }

    /// The program in it.
    ///
    /// # Panics
    /// Never: only [`Terminal::end`] takes it.
    pub fn program(&mut self) -> &mut Running {
        self.program.as_mut().expect("only the end takes it")
    }

    /// Waits for the end of the program; gives its exit code and what is on the screen then.
    ///
    /// # Panics
    /// If it does not end, or leaves the terminal in a state that its user has to repair: on the
    /// other screen, without a cursor, or without echo.
    #[track_caller]
    #[must_use]
    pub fn end(mut self) -> (Option<i32>, String) {
        let program = self.program.take().expect("only the end takes it");
        let code = program.end().0;
        // What the program wrote last may still be on its way.
        self.wait("plain screen", |_| {
            let screen = lock(&self.screen);
            !screen.screen().alternate_screen() && !screen.screen().hide_cursor()
        });
        let modes = tcgetattr(&self.slave).expect("settings").local_modes;
        assert!(
            modes.contains(LocalModes::ECHO | LocalModes::ICANON),
            "the terminal is left raw"
        );
        std::thread::sleep(Duration::from_millis(50));
        (code, self.text())
    }
}

fn at_least_one(length: u16) -> NonZero<u16> {
    NonZero::new(length).expect("a terminal has rows and columns")
}

fn emulator(rows: u16, columns: u16) -> vt100::Parser {
    vt100::Parser::new(at_least_one(rows), at_least_one(columns), 0)
}

fn lock(screen: &Mutex<vt100::Parser>) -> std::sync::MutexGuard<'_, vt100::Parser> {
    screen.lock().unwrap_or_else(PoisonError::into_inner)
}
