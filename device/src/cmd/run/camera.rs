//! The options of cameras, and what is told of a camera that is lost.

use std::time::{Duration, Instant};

use device::source::{CameraFormat, CameraOptions, GreyRange, LiveState};
use shared::image::Rect;
use shared::wire::message::{Message, Notice, NoticeCode, shortened};

use super::link::Link;

/// How a camera (`--source v4l2:…`) is to take pictures.
#[derive(Debug, clap::Args)]
pub(super) struct CameraArgs {
    /// Have the camera itself take this part of what it sees only: X,Y,WIDTH,HEIGHT in its pixels.
    #[arg(long, value_name = "RECTANGLE", value_parser = super::rectangle)]
    camera_crop: Option<Rect>,
    /// Width and height of a camera's pictures; those of --camera-crop, else 640x480 or what is
    /// nearest, if not given.
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = size)]
    camera_size: Option<(u32, u32)>,
    /// Frames per second that a camera is to take.
    #[arg(long, value_name = "RATE", value_parser = super::frame_rate)]
    camera_fps: Option<f64>,
    /// Form of a camera's pictures: grey, y10, y12, y16, yuyv, uyvy, nv12, nv21, nv12m, yu12, rgb3, bgr3 or
    /// mjpeg; the one that takes the least work of those that it has, if not given.
    #[arg(long, value_name = "FORMAT")]
    camera_format: Option<CameraFormat>,
    /// What is black and what is white of a camera that sends 10, 12 or 16 bits (a thermal one): LOW,HIGH
    /// in its own numbers, full for all that the format holds, or auto for the least and the most of each
    /// picture.
    #[arg(long, value_name = "RANGE", default_value = "full")]
    grey_range: GreyRange,
    /// Set a camera's controls before it starts, in this order, by the names that v4l2-ctl gives them.
    #[arg(long = "control", value_name = "NAME=VALUE,…", value_delimiter = ',', value_parser = control)]
    controls: Vec<(String, i32)>,
    /// Seconds without a frame after which a camera counts as lost; 2, or five frames if these take
    /// longer, if not given.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    camera_timeout: Option<Duration>,
}

impl CameraArgs {
    pub(super) fn options(&self) -> CameraOptions {
        CameraOptions {
            crop: self.camera_crop,
            size: self.camera_size,
            rate: self.camera_fps,
            format: self.camera_format,
            grey_range: self.grey_range,
            controls: self.controls.clone(),
            timeout: self.camera_timeout,
        }
    }
}

/// Whether the camera was there when it was last looked.
#[derive(Debug, Default)]
pub(super) struct Presence {
    lost: Option<Instant>,
    /// How often it has come back, as far as was told.
    reconnects: u64,
}

impl Presence {
    /// Whether there was no camera at the last call of [`Presence::tell`].
    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Sends a notice if the camera was lost, or came back, since the last call.
    pub(super) fn tell(&mut self, state: &LiveState, link: &mut Link) -> anyhow::Result<()> {
        let is_back = state.reconnects > self.reconnects;
        self.reconnects = state.reconnects;
        if self.lost.is_none() && (state.absent.is_some() || is_back) {
            // One that was gone for less than a turn of the loop is told, too.
            let why = state.absent.as_deref().unwrap_or("for a moment");
            self.lost = Some(Instant::now());
            link.send(Message::Notice(Notice {
                code: NoticeCode::CameraLost,
                detail: 0,
                text: shortened(why),
            }))?;
        }
        if let Some(lost) = self.lost.take_if(|_| state.absent.is_none()) {
            link.send(Message::Notice(Notice {
                code: NoticeCode::CameraBack,
                detail: u32::try_from(lost.elapsed().as_millis()).unwrap_or(u32::MAX),
                text: shortened(""),
            }))?;
        }
        Ok(())
    }
}

fn size(text: &str) -> Result<(u32, u32), String> {
    text.split_once('x')
        .and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)))
        .filter(|(width, height)| {
            [width, height]
                .iter()
                .all(|side| (1..=16_384).contains(*side))
        })
        .ok_or_else(|| "expected WIDTHxHEIGHT, for example 640x480".to_owned())
}

fn control(text: &str) -> Result<(String, i32), String> {
    text.split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .and_then(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .ok_or_else(|| "expected NAME=NUMBER, for example exposure_time_absolute=100".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .filter(|&seconds: &f64| seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|time| *time <= Duration::from_hours(1))
        .ok_or_else(|| "expected seconds above 0, 3600 at most".to_owned())
}
