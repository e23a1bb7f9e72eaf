//! What browsers are told of a device, as JSON and PNG.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::monitor::{Live, Record, Seen, Snapshot, Watched};

/// A device's state, to be shown on a page.
#[derive(Debug)]
pub struct Board {
    watched: Watched,
    /// Where the messages come from, for people.
    source: String,
    /// When monitoring began, milliseconds since 1970, as browsers count.
    began_ms: u64,
}

/// How far a browser has been told: the [`Seen::index`] of the next report, and the
/// [`Live::revision`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    next: u64,
    revision: u64,
}

impl Board {
    /// The page of the device that `watched` shows, whose messages come from `source`.
    #[must_use]
    pub fn new(watched: Watched, source: String) -> Self {
        let ago = watched.look(|_, now| now);
        let today = SystemTime::now().duration_since(UNIX_EPOCH);
        // A clock before 1970 is wrong anyway.
        let began_ms = today.unwrap_or_default().saturating_sub(ago).as_millis() as u64;
        Self {
            watched,
            source,
            began_ms,
        }
    }

    /// Whether anything changed since.
    pub(super) fn is_news(&self, since: Place) -> bool {
        self.watched
            .look(|live, _| live.revision() != since.revision)
    }

    /// Everything, as JSON.
    pub(super) fn state(&self) -> Vec<u8> {
        self.told(None).1
    }

    /// What is new since `seen`, or everything if that is so long ago that something in between is
    /// forgotten; as an event of a stream. With the place up to which it goes.
    pub(super) fn event(&self, seen: Option<Place>) -> (Vec<u8>, Place) {
        let (name, json, place) = self.told(seen);
        let mut event = format!("event: {name}\ndata: ").into_bytes();
        event.extend(json);
        event.extend(b"\n\n");
        (event, place)
    }

    /// The picture of a flagged frame by its [`Seen::index`], as a PNG file.
    pub(super) fn picture(&self, index: u64) -> Option<Vec<u8>> {
        let seen = |live: &Live| {
            live.flags()
                .iter()
                .find(|seen| seen.index == index)?
                .picture
                .clone()
        };
        self.watched.look(|live, _| seen(live))?.png().ok()
    }

    fn told(&self, seen: Option<Place>) -> (&'static str, Vec<u8>, Place) {
        self.watched.look(|live, now| {
            let frames = live.frames();
            let first = frames.front().map_or(0, |first| first.index);
            let since = seen.map(|seen| seen.next).filter(|next| *next >= first);
            let told = Told {
                version: env!("CARGO_PKG_VERSION"),
                source: &self.source,
                began_ms: self.began_ms,
                now: live.snapshot(now),
                frames: live.since(since.unwrap_or(0)).map(Frame::new).collect(),
                flags: since
                    .is_none()
                    .then(|| live.flags().iter().map(Frame::new).collect()),
                pictures: live
                    .flags()
                    .iter()
                    .filter(|seen| seen.picture.is_some())
                    .map(|seen| seen.index)
                    .collect(),
            };
            let json = serde_json::to_vec(&told).unwrap_or_else(|error| {
                tracing::error!("the state cannot be told: {error}");
                b"null".to_vec()
            });
            let place = Place {
                next: frames.back().map_or(0, |last| last.index + 1),
                revision: live.revision(),
            };
            (
                if since.is_some() { "update" } else { "state" },
                json,
                place,
            )
        })
    }
}

/// What the page is told.
#[derive(Serialize)]
struct Told<'a> {
    version: &'a str,
    source: &'a str,
    began_ms: u64,
    #[serde(flatten)]
    now: Snapshot<'a>,
    frames: Vec<Frame<'a>>,
    /// Flagged frames, also such as are no longer among the frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<Vec<Frame<'a>>>,
    /// Indices of the flagged frames whose picture there is.
    pictures: Vec<u64>,
}

#[derive(Serialize)]
struct Frame<'a> {
    index: u64,
    at_s: f64,
    #[serde(flatten)]
    record: Record<'a>,
}

impl<'a> Frame<'a> {
    fn new(seen: &'a Seen) -> Self {
        Self {
            index: seen.index,
            at_s: seen.at_s,
            record: seen.record(),
        }
    }
}
