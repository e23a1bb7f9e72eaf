//! Another model between two frames, and the one before again if it fails.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use device::inference::{InferenceError, Outcome};
use device::session::{MAX_CLASSES, Session};
use shared::image::FrameView;
use shared::wire::message::{Message, Notice, NoticeCode, shortened};

use super::link::Link;
use super::watch::{Found, Stamp, Watcher, open_or_good};
use super::{Args, Opening};

/// Frames that a model has to judge until it counts as good.
const TRIAL: u32 = 16;

/// The model in force, and what may come in its place.
pub(super) struct Models {
    /// The model in force.
    pub(super) session: Session,
    /// Without `--hot-swap` there is none.
    watcher: Option<Watcher>,
    /// Frames until the model in force counts as good; 0 if it does.
    trial: u32,
    /// The last good model, while another is on trial.
    former: Option<Session>,
    /// Why the file at the start was not taken, until that is told.
    refused: Option<String>,
}

impl Models {
    /// Opens the model and, if it may be swapped, watches its file from now on.
    ///
    /// # Errors
    /// If the model cannot be opened, nor, where it may be swapped, the last good one.
    pub(super) fn open(args: &Args, stop: &Arc<AtomicBool>) -> anyhow::Result<Self> {
        let path: &Path = &args.model.model;
        let opening = Opening::new(args)?;
        if !args.hot_swap {
            return Ok(Self {
                session: opening.session(path)?,
                watcher: None,
                trial: 0,
                former: None,
                refused: None,
            });
        }
        let seen = Stamp::of(path);
        let (session, refused) = open_or_good(path, &opening)?;
        Ok(Self {
            session,
            watcher: Some(Watcher::start(path, seen, opening, stop)?),
            // The last good model has nothing to prove.
            trial: if refused.is_some() { 0 } else { TRIAL },
            former: None,
            refused,
        })
    }

    /// Puts a model in force that was found good since the last call, and tells of it on the line; of
    /// one that was refused, too.
    ///
    /// # Errors
    /// If the line fails.
    pub(super) fn turn(&mut self, args: &Args, link: &mut Link) -> anyhow::Result<()> {
        if let Some(reason) = self.refused.take() {
            return refuse(link, &reason);
        }
        match self.watcher.as_ref().and_then(Watcher::found) {
            None => Ok(()),
            Some(Found::Refused(reason)) => refuse(link, &reason),
            // Frames come in the form that served the first model: grey ones would be taken for colour.
            Some(Found::Checked(session))
                if session.pixel_format() != self.session.pixel_format() =>
            {
                let reason = "it sees colour and the one before grey, or the other way round: start device run again with it";
                refuse(link, reason)
            }
            Some(Found::Checked(session)) => {
                let before = std::mem::replace(&mut self.session, *session);
                // Of two on trial one after the other, the second goes back to the good one, too.
                self.former.get_or_insert(before);
                self.trial = TRIAL;
                let model = self.session.about.crc32;
                tracing::info!("the model {model:08x} is in force");
                super::tell_calibration(args, &self.session);
                notify(link, NoticeCode::ModelSwapped, model, "")?;
                link.introduce(args, &self.session)
            }
        }
    }

    /// Judges a frame. Where a model on trial fails at it, the one before is put in force again, and
    /// judges it.
    ///
    /// # Errors
    /// If the frame cannot be judged, or the line fails.
    pub(super) fn judge(
        &mut self,
        args: &Args,
        link: &mut Link,
        number: u32,
        picture: &FrameView<'_>,
    ) -> anyhow::Result<Outcome<MAX_CLASSES>> {
        let judged = self.session.inference.judge(number, picture);
        match judged {
            Ok(outcome) => {
                if self.trial > 0 {
                    self.trial -= 1;
                    if self.trial == 0 {
                        self.keep();
                    }
                }
                Ok(outcome)
            }
            // That is the picture's fault.
            Err(error @ InferenceError::Image(_)) => Err(error.into()),
            Err(error) => {
                let Some(former) = self.former.take() else {
                    return Err(error.into());
                };
                tracing::error!("the new model fails at frame {number}: {error}");
                self.session = former;
                self.trial = 0;
                if let Some(watcher) = &self.watcher {
                    watcher.take_back();
                }
                let model = self.session.about.crc32;
                notify(link, NoticeCode::ModelRolledBack, model, &error.to_string())?;
                link.introduce(args, &self.session)?;
                Ok(self.session.inference.judge(number, picture)?)
            }
        }
    }

    fn keep(&mut self) {
        self.former = None;
        if let Some(watcher) = &self.watcher {
            watcher.keep();
        }
    }
}

fn refuse(link: &mut Link, reason: &str) -> anyhow::Result<()> {
    tracing::error!("the new model is refused: {reason}");
    notify(link, NoticeCode::ModelRefused, 0, reason)
}

fn notify(link: &mut Link, code: NoticeCode, detail: u32, text: &str) -> anyhow::Result<()> {
    link.send(Message::Notice(Notice {
        code,
        detail,
        text: shortened(text),
    }))
}
