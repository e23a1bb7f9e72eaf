//! Pictures of flagged frames.

use device::inference::Settings;
use shared::image::{self, GrayFrame};
use shared::wire::message::Thumbnail;

/// Makes pictures for the host.
#[derive(Debug, Default)]
pub(super) struct Thumbnails {
    luma: Vec<f32>,
    left_out: u32,
}

impl Thumbnails {
    /// The parts of the picture of frame number `frame` as a model of `rows` × `columns` sees it, or
    /// smaller.
    pub(super) fn parts(
        &mut self,
        frame: u32,
        picture: &GrayFrame<'_>,
        (rows, columns): (usize, usize),
        settings: &Settings,
    ) -> Result<impl Iterator<Item = Thumbnail> + use<>, image::ImageError> {
        let (height, width) = fitting(rows, columns);
        self.luma.resize(height * width, 0.0);
        image::resize(
            picture,
            settings.crop,
            settings.fit,
            width,
            height,
            &mut self.luma,
        )?;
        let luma: Vec<u8> = self
            .luma
            .iter()
            .map(|luma| (luma * 255.0).round() as u8)
            .collect();
        let mut sent = 0;
        Ok(std::iter::from_fn(move || {
            let part = Thumbnail::part(frame, (width as u8, height as u8), &luma, sent)?;
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
    use device::inference::MAX_CHANNELS;
    use shared::image::{Fit, Normalisation};
    use shared::triage::Thresholds;

    use super::*;

    #[test]
    fn parts_join_to_the_picture_that_the_model_sees() {
        let settings = Settings {
            passes: 1,
            adaptive: None,
            block: 1,
            normalisation: [Normalisation::MNIST; MAX_CHANNELS],
            crop: None,
            fit: Fit::CenterCrop,
            thresholds: Thresholds::OFF,
        };
        let luma: Vec<u8> = (0..28 * 28).map(|pixel| (pixel % 256) as u8).collect();
        let picture = GrayFrame::new(28, 28, 28, &luma).expect("whole");
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
