//! A log that holds every flagged report exactly once, whatever becomes of the programs and of the
//! line between them.
//!
//! A report is acknowledged only when its line is on the disk. A start reads from the log itself what
//! it holds, so there is no second file that could contradict it; what a crash has left of a line at
//! the end was not acknowledged, and is cut off.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use shared::wire::delivery::Ticket;

use super::Deliveries;

/// Why a log cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The file.
    #[error("cannot keep the log {}: {error}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Another program writes it.
    #[error("the log {} is being written by another program: give each monitor a file of its own", path.display())]
    Busy {
        /// Its path.
        path: PathBuf,
    },
}

/// A ticket as lines of JSON show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketRecord {
    /// [`Ticket::epoch`].
    #[serde(with = "hexadecimal")]
    pub epoch: u64,
    /// [`Ticket::number`].
    pub number: u32,
    /// [`Ticket::behind`].
    pub behind: u8,
}

impl From<Ticket> for TicketRecord {
    fn from(ticket: Ticket) -> Self {
        Self {
            epoch: ticket.epoch,
            number: ticket.number,
            behind: ticket.behind,
        }
    }
}

/// Numbers above 2^53 are not safe in JSON.
mod hexadecimal {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    #[allow(clippy::trivially_copy_pass_by_ref)] // As serde asks for it.
    pub(super) fn serialize<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{number:016x}"))
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<u64, D::Error> {
        let digits = std::borrow::Cow::<str>::deserialize(from)?;
        u64::from_str_radix(&digits, 16).map_err(D::Error::custom)
    }
}

/// As much of a line as tells what it holds.
#[derive(Deserialize)]
struct Line {
    ticket: Option<TicketRecord>,
}

/// The log.
#[derive(Debug)]
pub struct Log {
    file: File,
    path: PathBuf,
    unsynced: bool,
    pending: Vec<u8>,
}

impl Log {
    /// Opens the log at `path`, or begins it, and gives what it holds already.
    ///
    /// # Errors
    /// If it cannot be read and written, or another program writes it.
    pub fn open(path: &Path) -> Result<(Self, Deliveries), LogError> {
        let failed = |error| LogError::File {
            path: path.to_owned(),
            error,
        };
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(LogError::Busy {
                    path: path.to_owned(),
                });
            }
            Err(error) => return Err(failed(error.into())),
        }
        let mut deliveries = Deliveries::default();
        let mut reader = BufReader::new(&mut file);
        let (mut whole, mut strange) = (0, 0_u64);
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = reader.read_until(b'\n', &mut line).map_err(failed)?;
            if line.pop() != Some(b'\n') {
                if length > 0 {
                    tracing::warn!(
                        "the last line of {} is incomplete and was never acknowledged: it is cut off",
                        path.display()
                    );
                }
                break;
            }
            whole += length as u64;
            match serde_json::from_slice::<Line>(&line) {
                Ok(Line {
                    ticket: Some(ticket),
                }) => {
                    deliveries.report(Ticket {
                        epoch: ticket.epoch,
                        number: ticket.number,
                        behind: ticket.behind,
                    });
                }
                Ok(Line { ticket: None }) => {}
                Err(_) => strange += 1,
            }
        }
        if strange > 0 {
            tracing::warn!(
                "{strange} lines of {} are none that a monitor writes",
                path.display()
            );
        }
        // Nobody waits for what the log held before.
        deliveries.acknowledgements();
        file.set_len(whole).map_err(failed)?;
        file.seek(SeekFrom::Start(whole)).map_err(failed)?;
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            // The name, too, has to outlast a power cut.
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(failed)?;
        }
        let log = Self {
            file,
            path: path.to_owned(),
            unsynced: false,
            pending: Vec::new(),
        };
        Ok((log, deliveries))
    }

    /// Adds a line. It is safe after [`Log::sync`].
    ///
    /// # Errors
    /// If the record is none of JSON.
    pub fn add(&mut self, record: &impl Serialize) -> serde_json::Result<()> {
        serde_json::to_writer(&mut self.pending, record)?;
        self.pending.push(b'\n');
        Ok(())
    }

    /// Waits until everything is on the disk, if `durably`; else only hands it to the system.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub fn sync(&mut self, durably: bool) -> Result<(), LogError> {
        let failed = |error| LogError::File {
            path: self.path.clone(),
            error,
        };
        if !self.pending.is_empty() {
            self.file.write_all(&self.pending).map_err(failed)?;
            self.pending.clear();
            self.unsynced = true;
        }
        if durably && self.unsynced {
            self.file.sync_data().map_err(failed)?;
            self.unsynced = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Row {
        frame: u32,
        ticket: Option<TicketRecord>,
    }

    fn ticket(number: u32) -> Ticket {
        Ticket {
            epoch: u64::MAX - 1,
            number,
            behind: 0,
        }
    }

    #[test]
    fn a_log_cut_anywhere_knows_what_it_holds() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("log.jsonl");
        let (mut log, mut deliveries) = Log::open(&path).expect("begun");
        for number in 0..3 {
            assert!(deliveries.report(ticket(number)));
            let row = Row {
                frame: number,
                ticket: Some(ticket(number).into()),
            };
            log.add(&row).expect("JSON");
            let accepted = Row {
                frame: 100,
                ticket: None,
            };
            log.add(&accepted).expect("JSON");
        }
        log.sync(true).expect("written");
        assert!(matches!(Log::open(&path), Err(LogError::Busy { .. })));
        drop(log);
        let whole = std::fs::read(&path).expect("readable");
        for length in 0..=whole.len() {
            std::fs::write(&path, &whole[..length]).expect("written");
            let (log, mut deliveries) = Log::open(&path).expect("opened");
            let kept = std::fs::read(&path).expect("readable");
            assert!(whole.starts_with(&kept) && (kept.is_empty() || kept.ends_with(b"\n")));
            let text = String::from_utf8(kept).expect("text");
            for number in 0..3 {
                let holds = text.contains(&format!("\"frame\":{number},"));
                assert_eq!(
                    deliveries.report(ticket(number)),
                    !holds,
                    "{length}: {number}"
                );
            }
            drop(log);
        }
    }
}
