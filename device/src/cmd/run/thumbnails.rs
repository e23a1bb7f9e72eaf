//! Pictures of flagged frames, a part at a time, so that they hold up no report.

use std::collections::VecDeque;

use device::inference::Settings;
use shared::image::{self, GrayFrame};
use shared::wire::message::Thumbnail;

/// Pictures that wait for the line; further ones are left out.
const WAITING: usize = 4;

/// Pictures on their way.
#[derive(Debug, Default)]
pub(super) struct Thumbnails {
    waiting: VecDeque<Waiting>,
    luma: Vec<f32>,
    left_out: u32,
}

#[derive(Debug)]
struct Waiting {
    frame: u32,
    size: (u8, u8),
    luma: Vec<u8>,
    sent: usize,
}

impl Thumbnails {
    /// Takes the picture of frame number `frame` as a model of `rows` × `columns` sees it, or smaller.
    pub(super) fn push(
        &mut self,
        frame: u32,
        picture: &GrayFrame<'_>,
        (rows, columns): (usize, usize),
        settings: &Settings,
    ) -> Result<(), image::ImageError> {
        if self.waiting.len() == WAITING {
            self.left_out += 1;
            return Ok(());
        }
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
        self.waiting.push_back(Waiting {
            frame,
            size: (width as u8, height as u8),
            luma: self
                .luma
                .iter()
                .map(|luma| (luma * 255.0).round() as u8)
                .collect(),
            sent: 0,
        });
        Ok(())
    }

    /// The next part to send.
    pub(super) fn next_part(&mut self) -> Option<Thumbnail> {
        let first = self.waiting.front_mut()?;
        let part = Thumbnail::part(first.frame, first.size, &first.luma, first.sent)?;
        first.sent += part.pixels.len();
        if first.sent == first.luma.len() {
            self.waiting.pop_front();
        }
        Some(part)
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
        assert!(thumbnails.next_part().is_none());
        for frame in 0..6 {
            thumbnails
                .push(frame, &picture, (28, 28), &settings)
                .expect("resized");
        }
        assert_eq!(thumbnails.left_out(), 2);
        for frame in 0..4 {
            let mut whole = vec![0; luma.len()];
            for _ in 0..4 {
                let part = thumbnails.next_part().expect("a part");
                assert_eq!(part.frame, frame);
                whole[part.place().expect("inside")].copy_from_slice(&part.pixels);
            }
            assert_eq!(whole, luma);
        }
        assert!(thumbnails.next_part().is_none());
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
