//! What a camera is asked for, and what it gives.

use std::time::Duration;

use rustix::io::Errno;
use shared::image::Rect;

use super::V4l2Camera;
use super::abi::{self, PictureFormat, Selection, StreamParameters, capability};
use super::offers::{self, Offer};
use super::sys::Node;
use crate::source::CameraError;
use crate::source::{CameraFormat, GreyRange};

/// The picture that is asked for if nobody says.
const USUAL_SIZE: (u32, u32) = (640, 480);
/// Largest width or height, in pixels.
const MAX_SIDE: u32 = 16_384;

impl V4l2Camera {
    /// Has the camera take the part of the picture that was asked for: before the picture's size, of
    /// which it is the largest in cameras that do not scale.
    pub(super) fn ask_for_crop(&self, node: &Node) -> Result<(), CameraError> {
        let Some(crop) = self.options.crop else {
            return Ok(());
        };
        let side = |side| i32::try_from(side).unwrap_or(i32::MAX);
        let mut selection = Selection {
            target: abi::CROP,
            left: side(crop.x),
            top: side(crop.y),
            width: crop.width,
            height: crop.height,
            ..Selection::default()
        };
        // What the driver makes of it is asked when all else is set, which may change it.
        node.set_selection(&mut selection).map_err(|error| {
            let cannot = [Errno::NOTTY, Errno::INVAL, Errno::NODATA];
            if (cannot.iter()).any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) {
                CameraError::NoCrop(self.path.clone())
            } else {
                self.failed(error)
            }
        })
    }

    /// The part of the picture that the camera takes, if one was asked for.
    pub(super) fn agreed_crop(&self, node: &Node) -> Result<Option<String>, CameraError> {
        let Some(Rect {
            x,
            y,
            width,
            height,
        }) = self.options.crop
        else {
            return Ok(None);
        };
        let mut selection = Selection {
            target: abi::CROP,
            ..Selection::default()
        };
        node.selection(&mut selection)
            .map_err(|error| self.failed(error))?;
        let wanted = format!("{x},{y},{width},{height}");
        let given = format!(
            "{},{},{},{}",
            selection.left, selection.top, selection.width, selection.height
        );
        if given == wanted {
            return Ok(Some(given));
        }
        Err(CameraError::NotOffered {
            path: self.path.clone(),
            wanted: format!("crop {wanted}"),
            offered: format!("{given} in its place"),
        })
    }

    /// Has the camera send pictures that were asked for, and tells which they are.
    pub(super) fn agree_on_picture(
        &self,
        node: &Node,
    ) -> Result<(CameraFormat, PictureFormat), CameraError> {
        let offers = offers::offers(node).map_err(|error| self.failed(error))?;
        let not_offered = |wanted: String, offered: String| CameraError::NotOffered {
            path: self.path.clone(),
            wanted,
            offered,
        };
        let serving = CameraFormat::serving(self.wanted);
        let mut usable = serving
            .iter()
            .copied()
            .filter(|format| self.options.format.is_none_or(|wanted| wanted == *format))
            .filter(|format| self.options.grey_range == GreyRange::Full || format.bits() > 8)
            .filter_map(|format| Some((format, offers.iter().find(|offer| offer.is(format))?)))
            .peekable();
        if usable.peek().is_none() {
            let wanted = match self.options.format {
                Some(format) if self.wanted.is_colour() && !format.is_colour() => {
                    format!("colour in {}, which the model wants", format.name())
                }
                Some(format)
                    if format.bits() == 8 && self.options.grey_range != GreyRange::Full =>
                {
                    format!(
                        "grey range in {}: that is for y10, y12 and y16",
                        format.name()
                    )
                }
                Some(format) => format!("pictures in {}", format.name()),
                None if self.options.grey_range != GreyRange::Full => {
                    "pictures in y10, y12 or y16, which a grey range is for".to_owned()
                }
                None if self.wanted.is_colour() => format!(
                    "colour, which the model wants (pictures in {})",
                    CameraFormat::listed(serving)
                ),
                None => format!("pictures in {}", CameraFormat::listed(serving)),
            };
            let had: Vec<_> = offers.iter().map(Offer::to_string).collect();
            return Err(not_offered(wanted, had.join(", ")));
        }
        let crop = self.options.crop.map(|crop| (crop.width, crop.height));
        let size = self.options.size.or(crop).unwrap_or(USUAL_SIZE);
        let had: Vec<_> = usable
            .clone()
            .map(|(format, offer)| match self.options.rate {
                Some(_) if offer.sizes.has(size) => {
                    let rates = offers::rates(node, offer.pixel_format, size);
                    format!("{} at {} frames/s", format.name(), offers::listed(&rates))
                }
                _ => format!("{} of {}", format.name(), offer.sizes),
            })
            .collect();
        let Some((format, _)) = usable.find(|(_, offer)| {
            self.options.size.is_none_or(|size| offer.sizes.has(size))
                && (self.options.rate).is_none_or(|rate| offer.has_rate(node, size, rate))
        }) else {
            let (width, height) = size;
            let rate = self.options.rate.map(|rate| format!(" at {rate} frames/s"));
            let wanted = format!("pictures of {width}x{height}{}", rate.unwrap_or_default());
            return Err(not_offered(wanted, had.join("; ")));
        };

        let (width, height) = size;
        let mut picture = PictureFormat {
            width,
            height,
            pixel_format: u32::from_le_bytes(format.four_cc()),
            field: abi::FIELD_NONE,
            ..PictureFormat::default()
        };
        node.set_format(&mut picture)
            .map_err(|error| self.failed(error))?;
        // A driver may answer with something else, and some keep what was set before.
        self.refuse_other(&picture, format, self.options.size, size)?;
        Ok((format, picture))
    }

    /// The picture that the camera sends when all else is set, too, and the bytes from one row of its second
    /// plane to the next, where that has memory of its own. A control may change which colours its numbers
    /// mean, but not its form and size (`agreed`), which other things were agreed upon for.
    pub(super) fn agreed_picture(
        &self,
        node: &Node,
        format: CameraFormat,
        agreed: &PictureFormat,
    ) -> Result<(PictureFormat, u32), CameraError> {
        let (picture, second_stride) = node.format().map_err(|error| self.failed(error))?;
        let size = (agreed.width, agreed.height);
        self.refuse_other(&picture, format, Some(size), size)?;
        Ok((picture, second_stride))
    }

    /// Refuses a picture that is not of this form and `size`; of which size one was asked for is told.
    fn refuse_other(
        &self,
        picture: &PictureFormat,
        format: CameraFormat,
        size: Option<(u32, u32)>,
        asked: (u32, u32),
    ) -> Result<(), CameraError> {
        let sides = 1..=MAX_SIDE;
        let found = (picture.width, picture.height);
        if picture.pixel_format == u32::from_le_bytes(format.four_cc())
            && size.is_none_or(|size| size == found)
            && sides.contains(&found.0)
            && sides.contains(&found.1)
        {
            return Ok(());
        }
        let code = offers::name_of(picture.pixel_format);
        Err(CameraError::NotOffered {
            path: self.path.clone(),
            wanted: format!("pictures of {}x{} in {}", asked.0, asked.1, format.name()),
            offered: format!("{}x{} in {code} in its place", found.0, found.1),
        })
    }

    /// Has the camera send so many frames, and tells how long each takes, if it says.
    pub(super) fn agree_on_rate(
        &self,
        node: &Node,
        picture: &PictureFormat,
    ) -> Result<Option<Duration>, CameraError> {
        let mut parameters = StreamParameters::default();
        let Some(rate) = self.options.rate else {
            let told = node.parameters(&mut parameters);
            return Ok(told
                .ok()
                .and_then(|()| offers::duration(parameters.time_per_frame)));
        };
        parameters.capability = capability::TIME_PER_FRAME;
        parameters.time_per_frame = offers::interval(rate);
        let set = node.set_parameters(&mut parameters);
        let interval = offers::duration(parameters.time_per_frame);
        match (set, interval) {
            (Ok(()), Some(interval)) if offers::is_rate(interval, rate) => Ok(Some(interval)),
            (_, interval) => {
                let all =
                    offers::rates(node, picture.pixel_format, (picture.width, picture.height));
                let offered = match (all.is_empty(), interval) {
                    (false, _) => format!("{} frames/s", offers::listed(&all)),
                    (true, Some(interval)) => {
                        format!("{:.4} frames/s only", 1.0 / interval.as_secs_f64())
                    }
                    (true, None) => "a rate that cannot be set".to_owned(),
                };
                Err(CameraError::NotOffered {
                    path: self.path.clone(),
                    wanted: format!(
                        "{rate} frames/s of {}x{} pixels",
                        picture.width, picture.height
                    ),
                    offered,
                })
            }
        }
    }
}
