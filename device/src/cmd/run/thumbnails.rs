//! Pictures of flagged frames.

use device::inference::Settings;
use device::preprocessing::Seen;
use shared::image::{FrameView, Geometry, ImageError, Normalisation, PixelFormat, Preprocessing};
use shared::wire::message::Thumbnail;

/// Makes pictures for the host.
#[derive(Debug, Default)]
pub(super) struct Thumbnails {
    /// How they are sent; as the model sees them if nothing is said.
    format: Option<PixelFormat>,
    seen: Seen,
    smaller: Seen,
    left_out: u32,
}

impl Thumbnails {
    /// Pictures of `format`, or as the model sees them.
    pub(super) fn new(format: Option<PixelFormat>) -> Self {
        Self {
            format,
            ..Self::default()
        }
    }

    /// The parts of the picture of frame number `frame` as a model of `rows` × `columns` sees it, or
    /// smaller.
    pub(super) fn parts(
        &mut self,
        frame: u32,
        picture: &FrameView<'_>,
        (rows, columns): (usize, usize),
        settings: &Settings,
    ) -> Result<impl Iterator<Item = Thumbnail> + use<>, ImageError> {
        let (wanted, crop) = (&settings.preprocessing, settings.crop);
        let format = self.format.unwrap_or(wanted.pixel_format());
        let size = (columns, rows);
        let (height, width) = fitting(rows, columns);
        let shown = if (width, height) == size {
            self.seen.picture(wanted, picture, crop, size, format)?
        } else {
            let whole = if format.is_colour() {
                PixelFormat::Rgb8
            } else {
                PixelFormat::Grey8
            };
            let seen = self.seen.picture(wanted, picture, crop, size, whole)?;
            let smaller = Preprocessing {
                geometry: Geometry::Stretch,
                ..Preprocessing::grey(Normalisation::IDENTITY)
            };
            let size = (width, height);
            self.smaller.picture(&smaller, &seen, None, size, format)?
        };
        let pixels: Vec<u8> = (0..height)
            .flat_map(|row| shown.row(row))
            .copied()
            .collect();
        let mut sent = 0;
        Ok(std::iter::from_fn(move || {
            let size = (width as u8, height as u8);
            let part = Thumbnail::part(frame, size, format, &pixels, sent)?;
            sent += part.pixels.len();
            Some(part)
        }))
    }

    /// Counts a picture that there was no room for.
    pub(super) fn leave_out(&mut self) {
        self.left_out += 1;
    }

    /// Pictures that there was no room for.
    pub(super) fn left_out(&self) -> u32 {
        self.left_out
    }
}

/// The size of a thumbnail, in the proportions of a model's input.
fn fitting(rows: usize, columns: usize) -> (usize, usize) {
    let most = usize::from(Thumbnail::MAX_SIDE);
    let longest = rows.max(columns);
    if longest <= most {
        return (rows, columns);
    }
    let scaled = |side: usize| (side * most).div_ceil(longest);
    (scaled(rows), scaled(columns))
}

#[cfg(test)]
mod tests {
    use shared::triage::Thresholds;

    use super::*;

    fn sent(
        format: Option<PixelFormat>,
        preprocessing: Preprocessing,
        picture: &FrameView<'_>,
        size: (usize, usize),
    ) -> (Vec<Thumbnail>, Vec<u8>) {
        let settings = Settings {
            passes: 1,
            adaptive: None,
            block: 1,
            preprocessing,
            crop: None,
            thresholds: Thresholds::OFF,
        };
        let mut thumbnails = Thumbnails::new(format);
        let parts = thumbnails.parts(7, picture, size, &settings);
        let parts: Vec<_> = parts.expect("resized").collect();
        let mut whole = vec![0; parts[0].whole()];
        for part in &parts {
            assert_eq!(part.frame, 7);
            whole[part.place().expect("inside")].copy_from_slice(&part.pixels);
        }
        (parts, whole)
    }

    #[test]
    fn parts_join_to_the_picture_that_the_model_sees() {
        let bytes: Vec<u8> = (0..28 * 28 * 3).map(|byte| (byte % 251) as u8).collect();
        let grey = FrameView::grey(28, 28, &bytes).expect("whole");
        let of_grey = Preprocessing::grey(Normalisation::MNIST);
        let (_, whole) = sent(None, of_grey, &grey, (28, 28));
        assert_eq!(whole, bytes[..28 * 28]);
        let colour = FrameView::new(PixelFormat::Rgb8, 28, 28, 84, &bytes).expect("whole");
        // As people see it, whatever the order of the model's planes.
        let of_colour = Preprocessing {
            channels: shared::image::Channels::Bgr,
            ..of_grey
        };
        let (_, whole) = sent(None, of_colour, &colour, (28, 28));
        assert_eq!(whole, bytes);
    }

    #[test]
    fn colours_cost_as_many_bytes_as_their_format_has() {
        let bytes = [200, 100, 50].repeat(32 * 32);
        let picture = FrameView::new(PixelFormat::Rgb8, 32, 32, 96, &bytes).expect("whole");
        let of_colour = Preprocessing {
            channels: shared::image::Channels::Rgb,
            ..Preprocessing::default()
        };
        for (format, parts, first) in [
            (PixelFormat::Grey8, 6, &[124][..]),
            (PixelFormat::Rgb565, 11, &[0x26, 0xc3]),
            (PixelFormat::Rgb8, 16, &[200, 100, 50]),
        ] {
            let (sent, whole) = sent(Some(format), of_colour, &picture, (32, 32));
            assert_eq!((sent.len(), &whole[..first.len()]), (parts, first));
            // A picture that is too large to be sent keeps its colours.
            let (small, whole) = self::sent(Some(format), of_colour, &picture, (192, 192));
            assert_eq!((small[0].width, &whole[..first.len()]), (96, first));
        }
    }

    #[test]
    fn large_inputs_are_shrunk_in_proportion() {
        for (input, wanted) in [
            ((28, 28), (28, 28)),
            ((96, 40), (96, 40)),
            ((224, 224), (96, 96)),
            ((120, 160), (72, 96)),
            ((1, 9000), (1, 96)),
        ] {
            assert_eq!(fitting(input.0, input.1), wanted);
        }
    }
}
