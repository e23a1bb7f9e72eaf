//! Pictures of flagged frames.

use device::inference::Settings;
use shared::image::{
    Channels, FrameView, Geometry, ImageError, Normalisation, Preprocessing, Rect,
};
use shared::wire::message::Thumbnail;

/// Makes pictures for the host.
#[derive(Debug, Default)]
pub(super) struct Thumbnails {
    scratch: Vec<u32>,
    left_out: u32,
}

impl Thumbnails {
    /// The parts of the picture of frame number `frame` as a model of `rows` × `columns` sees it, or
    /// smaller.
    pub(super) fn parts(
        &mut self,
        frame: u32,
        picture: &FrameView<'_>,
        (rows, columns): (usize, usize),
        settings: &Settings,
    ) -> Result<impl Iterator<Item = Thumbnail> + use<>, ImageError> {
        let (height, width) = fitting(rows, columns);
        let seen = settings.preprocessing.shown(Channels::Grey);
        let mut luma = self.prepare(&seen, picture, settings.crop, (columns, rows))?;
        if (height, width) != (rows, columns) {
            let seen = FrameView::grey(columns, rows, &luma)?;
            let smaller = Preprocessing {
                geometry: Geometry::Stretch,
                ..Preprocessing::grey(Normalisation::IDENTITY)
            };
            luma = self.prepare(&smaller, &seen, None, (width, height))?;
        }
        let mut sent = 0;
        Ok(std::iter::from_fn(move || {
            let part = Thumbnail::part(frame, (width as u8, height as u8), &luma, sent)?;
            sent += part.pixels.len();
            Some(part)
        }))
    }

    /// Luma of what `wanted` makes of a picture.
    fn prepare(
        &mut self,
        wanted: &Preprocessing,
        picture: &FrameView<'_>,
        crop: Option<Rect>,
        (width, height): (usize, usize),
    ) -> Result<Vec<u8>, ImageError> {
        let plan = wanted.plan(picture, crop, (width, height))?;
        self.scratch.resize(plan.scratch_length(), 0);
        let mut luma = vec![0.0; width * height];
        plan.run(picture, &mut self.scratch, &mut luma)?;
        let level = |luma: &f32| (luma * 255.0).round() as u8;
        Ok(luma.iter().map(level).collect())
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

    #[test]
    fn parts_join_to_the_picture_that_the_model_sees() {
        let settings = Settings {
            passes: 1,
            adaptive: None,
            block: 1,
            preprocessing: Preprocessing::grey(Normalisation::MNIST),
            crop: None,
            thresholds: Thresholds::OFF,
        };
        let luma: Vec<u8> = (0..28 * 28).map(|pixel| (pixel % 256) as u8).collect();
        let picture = FrameView::grey(28, 28, &luma).expect("whole");
        let mut thumbnails = Thumbnails::default();
        let parts = thumbnails.parts(7, &picture, (28, 28), &settings);
        let mut whole = vec![0; luma.len()];
        for part in parts.expect("resized") {
            assert_eq!(part.frame, 7);
            whole[part.place().expect("inside")].copy_from_slice(&part.pixels);
        }
        assert_eq!(whole, luma);
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
