//! A stream's items on the disk: segments of frames of the wire, appended to and deleted, never
//! changed.
//!
//! A segment holds messages as the line carries them, and in between the acknowledgements that came,
//! so it is checked, read and resynchronised by the protocol's own code, of whatever version, and
//! `host monitor` shows it. A crash leaves at most a torn frame at the end of the newest segment,
//! which nobody was promised anything about; a start never appends to a segment of before. A segment
//! is deleted when everything in it and in those before it is acknowledged.
//!
//! Acknowledgements are not synchronised: one that is lost costs a repetition, which the host knows
//! by its ticket.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use shared::wire::delivery::{Acknowledgement, Stream};
use shared::wire::frame::{self, MAX_FRAME};
use shared::wire::message::Message;
use shared::wire::request::{self, MAX_REQUEST, Request};
use shared::wire::{FrameError, Packet};

use super::OutboxError;

/// A segment is closed when it is as long as this share of all.
const SEGMENTS: u64 = 16;
/// A segment in which nothing waits any more is closed when it is longer.
const SMALL: u64 = 1 << 16;
/// The end of a segment's name.
const EXTENSION: &str = "wire";

/// What an outbox held when it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Items that wait for the host.
    pub waiting: usize,
    /// Frames that were damaged, but for torn ones at the end.
    pub damaged: usize,
}

/// What a journal has cost the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wear {
    /// Bytes written.
    pub bytes: u64,
    /// Times that the disk was waited for.
    pub syncs: u64,
    /// Segments begun.
    pub segments: u64,
}

impl Wear {
    pub(super) fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.syncs += other.syncs;
        self.segments += other.segments;
    }
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    /// Items in it that wait.
    waiting: usize,
    bytes: u64,
}

/// The journal of one stream.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    stream: Stream,
    /// From the oldest; the last is being written if `file` is there.
    segments: VecDeque<Segment>,
    file: Option<File>,
    /// Number of the next segment.
    next: u64,
    segment_bytes: u64,
    sync: Duration,
    /// Since when something lies in the system's memory alone.
    unsynced: Option<Instant>,
    /// The end of the file may be part of a frame.
    is_torn: bool,
    wear: Wear,
}

fn name(stream: Stream) -> &'static str {
    match stream {
        Stream::Reports => "reports",
        Stream::Pictures => "pictures",
    }
}

/// Bytes that a message takes.
pub(super) fn length(message: &Message) -> u64 {
    let mut bytes = [0; MAX_FRAME];
    // Every message fits.
    frame::encode(u32::MAX, message, &mut bytes).unwrap_or(MAX_FRAME) as u64
}

impl Journal {
    /// Opens the journal of `stream` in `folder`, and gives what waits there, oldest first.
    pub(super) fn open(
        folder: &Path,
        stream: Stream,
        limit: u64,
        sync: Duration,
        found: &mut Found,
    ) -> Result<(Self, Vec<Message>), OutboxError> {
        let failed = |path: &Path, error| OutboxError::Folder {
            path: path.to_owned(),
            error,
        };
        let mut paths: Vec<(u64, PathBuf)> = fs::read_dir(folder)
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            .map_err(|error| failed(folder, error))?
            .into_iter()
            .filter_map(|entry| Some((number(&entry.path(), stream)?, entry.path())))
            .collect();
        paths.sort();
        let mut journal = Self {
            folder: folder.to_owned(),
            stream,
            segments: VecDeque::new(),
            file: None,
            next: paths.last().map_or(0, |(number, _)| number + 1),
            segment_bytes: (limit / SEGMENTS).max(SMALL),
            sync,
            unsynced: None,
            is_torn: false,
            wear: Wear::default(),
        };
        let mut waiting = VecDeque::new();
        let newest = paths.len();
        for (index, (_, path)) in paths.into_iter().enumerate() {
            let bytes = fs::read(&path).map_err(|error| failed(&path, error))?;
            journal.read(&bytes, index + 1 == newest, &path, &mut waiting, found);
        }
        let waiting = journal.without_torn_pictures(waiting);
        journal.delete_done();
        found.waiting += waiting.len();
        // Told now rather than when something has to be kept.
        journal
            .begin()
            .map_err(|error| failed(&journal.folder, error))?;
        Ok((journal, waiting))
    }

    /// Takes a segment's bytes: adds what waits, and takes away what is acknowledged.
    fn read(
        &mut self,
        bytes: &[u8],
        is_newest: bool,
        path: &Path,
        waiting: &mut VecDeque<(usize, Message)>,
        found: &mut Found,
    ) {
        self.segments.push_back(Segment {
            path: path.to_owned(),
            waiting: 0,
            bytes: bytes.len() as u64,
        });
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|&byte| byte == 0) {
            let mut frame = rest[..end].to_vec();
            rest = &rest[end + 1..];
            if frame.is_empty() {
                continue;
            }
            match frame::decode::<Message>(&mut frame.clone()) {
                Ok(packet) => {
                    if let Some(segment) = self.segments.back_mut() {
                        segment.waiting += 1;
                    }
                    waiting.push_back((self.segments.len() - 1, packet.message));
                }
                Err(FrameError::Direction) => {
                    if let Ok(Packet {
                        message: Request::Acknowledge(answer),
                        ..
                    }) = frame::decode::<Request>(&mut frame)
                    {
                        while waiting
                            .front()
                            .is_some_and(|(_, item)| is_safe(item, &answer))
                        {
                            waiting.pop_front();
                            self.count_done(1);
                        }
                    }
                }
                // The end of what a crash or a full disk has cut short.
                Err(_) if is_newest && rest.is_empty() => {}
                Err(_) => found.damaged += 1,
            }
        }
    }

    /// Leaves out a picture whose last parts were never written, because the program was killed: the
    /// host would wait for them for ever. `waiting` tells the segment of each item.
    fn without_torn_pictures(&mut self, waiting: VecDeque<(usize, Message)>) -> Vec<Message> {
        let mut whole = Vec::new();
        let mut picture: Vec<(usize, Message)> = Vec::new();
        let mut leave_out = |torn: &mut Vec<(usize, Message)>| {
            for (segment, _) in torn.drain(..) {
                self.segments[segment].waiting -= 1;
            }
        };
        for (segment, message) in waiting {
            let Message::Thumbnail(part) = &message else {
                whole.push(message);
                continue;
            };
            let (begins, ends) = (part.offset == 0, part.is_last());
            if begins {
                leave_out(&mut picture);
            }
            picture.push((segment, message));
            if ends {
                whole.extend(picture.drain(..).map(|(_, part)| part));
            }
        }
        leave_out(&mut picture);
        whole
    }

    /// Counts items as done, from the oldest segment on.
    fn count_done(&mut self, mut items: usize) {
        for segment in &mut self.segments {
            let here = items.min(segment.waiting);
            segment.waiting -= here;
            items -= here;
        }
    }

    /// Deletes segments from the oldest on in which nothing waits, but for the one that is written.
    fn delete_done(&mut self) {
        let kept = usize::from(self.file.is_some());
        while self.segments.len() > kept
            && self
                .segments
                .front()
                .is_some_and(|first| first.waiting == 0)
        {
            if let Some(segment) = self.segments.pop_front()
                && let Err(error) = fs::remove_file(&segment.path)
            {
                tracing::warn!("cannot delete {}: {error}", segment.path.display());
            }
        }
    }

    /// Begins a segment. If that fails, the one before is still written.
    fn begin(&mut self) -> io::Result<()> {
        let path = self.folder.join(format!(
            "{}-{:08}.{EXTENSION}",
            name(self.stream),
            self.next
        ));
        let file = File::options().create_new(true).append(true).open(&path)?;
        // The name, too, has to outlast a power cut.
        File::open(&self.folder)?.sync_all()?;
        self.sync_now()?;
        self.next += 1;
        self.wear.segments += 1;
        self.is_torn = false;
        self.segments.push_back(Segment {
            path,
            waiting: 0,
            bytes: 0,
        });
        self.file = Some(file);
        self.delete_done();
        Ok(())
    }

    /// Keeps an item, which outlasts a power cut after [`Journal::sync_if_due`]. If it fails, the item counts as kept all the same, since it waits in
    /// memory and is acknowledged in its turn.
    pub(super) fn append(&mut self, message: &Message) -> io::Result<()> {
        let mut bytes = [0; MAX_FRAME + 1];
        let length = frame::encode(0, message, &mut bytes[1..])
            .map_err(|error| io::Error::other(error.to_string()))?;
        let is_long = self
            .segments
            .back()
            .is_some_and(|last| last.bytes >= self.segment_bytes);
        let begun = if is_long { self.begin() } else { Ok(()) };
        if let Some(last) = self.segments.back_mut() {
            last.waiting += 1;
        }
        begun?;
        self.write(&bytes[..=length])?;
        self.unsynced.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Notes that `items` from the oldest on are safe at the host.
    pub(super) fn acknowledge(&mut self, answer: &Acknowledgement, items: usize) {
        let mut bytes = [0; MAX_REQUEST + 1];
        let request = Request::Acknowledge(*answer);
        if let Ok(length) = request::encode(0, &request, &mut bytes[1..])
            && let Err(error) = self.write(&bytes[..=length])
        {
            // The host gets them again after a restart, and knows them.
            tracing::debug!("cannot note an acknowledgement: {error}");
        }
        self.count_done(items);
        self.delete_done();
        let is_done = self.segments.len() == 1
            && self
                .segments
                .front()
                .is_some_and(|only| only.waiting == 0 && only.bytes > SMALL);
        if is_done && let Err(error) = self.begin() {
            tracing::debug!("cannot begin a segment: {error}");
        }
    }

    /// Writes a frame; the first of `bytes` is a delimiter, which is left out where none is needed.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (Some(file), Some(segment)) = (&mut self.file, self.segments.back_mut()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let bytes = if self.is_torn { bytes } else { &bytes[1..] };
        self.is_torn = true;
        file.write_all(bytes)?;
        self.is_torn = false;
        segment.bytes += bytes.len() as u64;
        self.wear.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Waits for the disk, unless it may be late and is not yet.
    pub(super) fn sync_if_due(&mut self) -> io::Result<()> {
        if self
            .unsynced
            .is_some_and(|since| since.elapsed() >= self.sync)
        {
            self.sync_now()?;
        }
        Ok(())
    }

    fn sync_now(&mut self) -> io::Result<()> {
        if self.unsynced.is_some()
            && let Some(file) = &self.file
        {
            file.sync_data()?;
            self.wear.syncs += 1;
            self.unsynced = None;
        }
        Ok(())
    }

    pub(super) fn wear(&self) -> Wear {
        self.wear
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // There is nobody left to tell; what was promised at once is on the disk already.
        let _ = self.sync_now();
    }
}

/// The number of a segment of this stream.
fn number(path: &Path, stream: Stream) -> Option<u64> {
    let stem = path.file_name()?.to_str()?.strip_suffix(EXTENSION)?;
    stem.strip_suffix('.')?
        .strip_prefix(name(stream))?
        .strip_prefix('-')?
        .parse()
        .ok()
}

fn is_safe(item: &Message, answer: &Acknowledgement) -> bool {
    let ticket = match item {
        Message::Report(report) => report.ticket,
        Message::Thumbnail(part) => part.ticket,
        _ => None,
    };
    ticket.is_some_and(|ticket| ticket.epoch == answer.epoch && ticket.number < answer.next)
}
