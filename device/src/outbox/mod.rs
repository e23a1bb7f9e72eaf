//! What has to reach the host, until the host says that it is safe there: flagged reports, and after
//! each its picture.
//!
//! An [`Outbox`] numbers items ([`Ticket`]), keeps them in memory and, if it has a folder, in journals
//! there, and says what is to be sent now ([`Window`]). What an earlier life of the
//! program has left in the folder comes first.

mod journal;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use shared::wire::delivery::{
    Acknowledgement, DeliveryStatistics, Guarantee, Stream, Ticket, WINDOW, Window,
};
use shared::wire::message::{Message, Report, Thumbnail};

pub use self::journal::{Found, Wear};
use self::journal::{Journal, length};

/// Why an outbox cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The folder.
    #[error("cannot keep reports in {}: {error}", path.display())]
    Folder {
        /// Its path, or that of a file in it.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Another program uses it.
    #[error("the outbox {} is in use by another program: give each device a folder of its own", path.display())]
    Busy {
        /// Its path.
        path: PathBuf,
    },
    /// No room.
    #[error("the outbox is full: {waiting} items wait for the host")]
    Full {
        /// Items that wait.
        waiting: usize,
    },
    /// The journal could not be written. The item is kept in memory alone.
    #[error("cannot write the outbox: {0}")]
    Write(#[source] io::Error),
}

/// How an outbox keeps what it is given.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of its journals; without one it keeps items in memory alone.
    pub folder: Option<PathBuf>,
    /// Most bytes of waiting reports, and again of waiting pictures.
    pub limit: u64,
    /// How long an item may lie in the system's memory before it is on the disk: 0 is not at all.
    pub sync: Duration,
    /// How long the host may take to answer before an item is sent again.
    pub timeout: Duration,
}

/// What a stream consists of.
trait Item: Clone + Into<Message> {
    const STREAM: Stream;

    fn ticket(&self) -> Option<Ticket>;
    fn with_ticket(self, ticket: Ticket) -> Self;
    fn of(message: Message) -> Option<Self>;
}

impl Item for Report {
    const STREAM: Stream = Stream::Reports;

    fn ticket(&self) -> Option<Ticket> {
        self.ticket
    }

    fn with_ticket(mut self, ticket: Ticket) -> Self {
        self.ticket = Some(ticket);
        self
    }

    fn of(message: Message) -> Option<Self> {
        match message {
            Message::Report(report) => Some(report),
            _ => None,
        }
    }
}

impl Item for Thumbnail {
    const STREAM: Stream = Stream::Pictures;

    fn ticket(&self) -> Option<Ticket> {
        self.ticket
    }

    fn with_ticket(mut self, ticket: Ticket) -> Self {
        self.ticket = Some(ticket);
        self
    }

    fn of(message: Message) -> Option<Self> {
        match message {
            Message::Thumbnail(part) => Some(part),
            _ => None,
        }
    }
}

/// The items of a stream that wait, and which of them are on their way.
#[derive(Debug)]
struct Queue<T> {
    items: VecDeque<T>,
    bytes: u64,
    limit: u64,
    window: Window<WINDOW>,
    journal: Option<Journal>,
    next: u32,
    delivered: u32,
}

impl<T: Item> Queue<T> {
    fn open(options: &Options, found: &mut Found) -> Result<Self, OutboxError> {
        let timeout_us = u32::try_from(options.timeout.as_micros()).unwrap_or(u32::MAX);
        let mut queue = Self {
            items: VecDeque::new(),
            bytes: 0,
            limit: options.limit,
            window: Window::new(T::STREAM, timeout_us),
            journal: None,
            next: 0,
            delivered: 0,
        };
        if let Some(folder) = &options.folder {
            let (journal, messages) =
                Journal::open(folder, T::STREAM, options.limit, options.sync, found)?;
            queue.journal = Some(journal);
            for item in messages.into_iter().filter_map(T::of) {
                queue.bytes += length(&item.clone().into());
                queue.items.push_back(item);
            }
        }
        Ok(queue)
    }

    /// Numbers an item, keeps it, and gives its number.
    fn push(&mut self, item: T, epoch: u64) -> Result<u32, OutboxError> {
        let ticket = Ticket {
            epoch,
            number: self.next,
            behind: 0,
        };
        let item = item.with_ticket(ticket);
        let message = item.clone().into();
        let length = length(&message);
        if self.bytes + length > self.limit || self.next == u32::MAX {
            return Err(OutboxError::Full {
                waiting: self.items.len(),
            });
        }
        self.next += 1;
        self.bytes += length;
        self.items.push_back(item);
        if let Some(journal) = &mut self.journal {
            journal.append(&message).map_err(OutboxError::Write)?;
        }
        Ok(ticket.number)
    }

    /// Waits for the disk, if what was pushed has to be safe now.
    fn make_safe(&mut self) -> Result<(), OutboxError> {
        match &mut self.journal {
            Some(journal) => journal.sync_if_due().map_err(OutboxError::Write),
            None => Ok(()),
        }
    }

    fn acknowledge(&mut self, answer: &Acknowledgement) {
        let safe = self.window.acknowledge(answer);
        for item in self.items.drain(..safe) {
            self.bytes -= length(&item.into());
        }
        self.delivered = self.delivered.saturating_add(safe as u32);
        if safe > 0
            && let Some(journal) = &mut self.journal
        {
            journal.acknowledge(answer, safe);
        }
    }

    /// Lets items into the window while there is room.
    fn fill(&mut self) {
        while let Some(ticket) = self.items.get(self.window.len()).and_then(Item::ticket) {
            if !self.window.push(ticket) {
                break;
            }
        }
    }

    fn send(&mut self, now_us: u64) -> Option<Message> {
        self.fill();
        let (place, ticket) = self.window.send(now_us)?;
        let item = self.items.get(place)?;
        Some(item.clone().with_ticket(ticket).into())
    }
}

/// What waits for the host.
#[derive(Debug)]
pub struct Outbox {
    epoch: u64,
    reports: Queue<Report>,
    pictures: Queue<Thumbnail>,
    /// The pictures of this epoch: number of the first part, and that of their report.
    shown: VecDeque<(u32, u32)>,
    is_failing: bool,
    found: Found,
    _lock: Option<File>,
}

impl Outbox {
    /// Opens an outbox, with what its folder holds from before, for a life of the program numbered
    /// `epoch`, which must be one of its own.
    ///
    /// # Errors
    /// If the folder cannot be made, read or written, or another program uses it.
    pub fn open(options: &Options, epoch: u64) -> Result<Self, OutboxError> {
        let lock = match &options.folder {
            Some(folder) => Some(lock(folder)?),
            None => None,
        };
        let mut found = Found::default();
        Ok(Self {
            epoch,
            reports: Queue::open(options, &mut found)?,
            pictures: Queue::open(options, &mut found)?,
            shown: VecDeque::new(),
            is_failing: false,
            found,
            _lock: lock,
        })
    }

    /// What an earlier life had left.
    #[must_use]
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// What this outbox promises at this moment.
    #[must_use]
    pub fn guarantee(&self) -> Guarantee {
        if self.reports.journal.is_some() && !self.is_failing {
            Guarantee::Durable
        } else {
            Guarantee::Volatile
        }
    }

    /// Takes the report of a flagged frame.
    ///
    /// # Errors
    /// [`OutboxError::Full`]: it was not taken. [`OutboxError::Write`]: it was, but only in memory.
    pub fn push_report(&mut self, report: Report) -> Result<u32, OutboxError> {
        let pushed = self.reports.push(report, self.epoch);
        let pushed = pushed.and_then(|number| self.reports.make_safe().map(|()| number));
        match &pushed {
            Err(OutboxError::Full { .. }) => {}
            Err(_) => self.is_failing = true,
            Ok(_) => self.is_failing = false,
        }
        pushed
    }

    /// Takes a picture, in parts, of the frame whose report has this number: all of it, or nothing.
    ///
    /// # Errors
    /// As [`Outbox::push_report`].
    pub fn push_picture(
        &mut self,
        report: u32,
        parts: impl Iterator<Item = Thumbnail>,
    ) -> Result<(), OutboxError> {
        let parts: Vec<_> = parts.collect();
        let bytes: u64 = parts.iter().map(|part| length(&part.clone().into())).sum();
        // Part of a picture is worth nothing.
        if self.pictures.bytes + bytes > self.pictures.limit {
            return Err(OutboxError::Full {
                waiting: self.pictures.items.len(),
            });
        }
        self.shown.push_back((self.pictures.next, report));
        let mut result = Ok(());
        for part in parts {
            result = self.pictures.push(part, self.epoch).map(drop).and(result);
        }
        result.and_then(|()| self.pictures.make_safe())
    }

    /// Takes the host's word.
    pub fn acknowledge(&mut self, answer: &Acknowledgement) {
        self.reports.acknowledge(answer);
        self.pictures.acknowledge(answer);
    }

    /// What to send at `now_us`, µs on any clock that does not go back. It counts as sent.
    pub fn send(&mut self, now_us: u64) -> Option<Message> {
        if let Some(report) = self.reports.send(now_us) {
            return Some(report);
        }
        if self.pictures_wait() {
            return None;
        }
        self.pictures.send(now_us)
    }

    /// When [`Outbox::send`] has something next, µs.
    pub fn next_due_us(&mut self) -> Option<u64> {
        self.reports.fill();
        let reports = self.reports.window.next_due_us();
        if self.pictures_wait() {
            return reports;
        }
        self.pictures.fill();
        let pictures = self.pictures.window.next_due_us();
        reports.into_iter().chain(pictures).min()
    }

    /// Whether the picture that is next has to wait: a host makes nothing of one whose report it has
    /// not.
    fn pictures_wait(&mut self) -> bool {
        let Some(next) = self.pictures.items.front().and_then(|part| part.ticket) else {
            return false;
        };
        let waiting = self.reports.items.front().and_then(|report| report.ticket);
        let Some(waiting) = waiting else {
            return false;
        };
        if next.epoch != self.epoch || waiting.epoch != self.epoch {
            // Both of an earlier epoch, or the report is: in any case it comes first.
            return waiting.epoch != self.epoch;
        }
        while self
            .shown
            .get(1)
            .is_some_and(|(first, _)| *first <= next.number)
        {
            self.shown.pop_front();
        }
        self.shown
            .front()
            .is_some_and(|(_, report)| *report >= waiting.number)
    }

    /// Writes to the disk what has waited for long enough.
    pub fn turn(&mut self) {
        let journals = [&mut self.reports.journal, &mut self.pictures.journal];
        for journal in journals.into_iter().flatten() {
            if let Err(error) = journal.sync_if_due() {
                tracing::warn!("cannot write the outbox to the disk: {error}");
                self.is_failing = true;
            }
        }
    }

    /// The host has said something, whatever it was.
    pub fn hear(&mut self) {
        self.reports.window.hear();
        self.pictures.window.hear();
    }

    /// The line was interrupted: what the host has not acknowledged is sent anew.
    pub fn begin_anew(&mut self) {
        self.reports.window.begin_anew();
        self.pictures.window.begin_anew();
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.reports.items.is_empty() && self.pictures.items.is_empty()
    }

    /// Reports that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.reports.items.len()
    }

    /// Whether the host leaves repetitions without an answer.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        self.reports.window.is_unanswered() || self.pictures.window.is_unanswered()
    }

    /// The figures, without what found no room.
    #[must_use]
    pub fn statistics(&self) -> DeliveryStatistics {
        DeliveryStatistics {
            delivered: self.reports.delivered,
            pending: u32::try_from(self.reports.items.len()).unwrap_or(u32::MAX),
            resent: self
                .reports
                .window
                .resent()
                .saturating_add(self.pictures.window.resent()),
            overflowed: 0,
            dropped: 0,
        }
    }

    /// What the journals have cost the disk.
    #[must_use]
    pub fn wear(&self) -> Wear {
        let mut wear = Wear::default();
        for journal in [&self.reports.journal, &self.pictures.journal]
            .into_iter()
            .flatten()
        {
            wear.add(journal.wear());
        }
        wear
    }
}

/// Makes the folder, and holds it until the file is dropped.
fn lock(folder: &Path) -> Result<File, OutboxError> {
    let failed = |path: &Path, error: io::Error| OutboxError::Folder {
        path: path.to_owned(),
        error,
    };
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let path = folder.join("lock");
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| failed(&path, error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OutboxError::Busy {
            path: folder.to_owned(),
        }),
        Err(error) => Err(failed(&path, error.into())),
    }
}

#[cfg(test)]
mod tests;
