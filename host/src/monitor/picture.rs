//! The pictures of flagged frames, put together from the parts in which they come.

use std::collections::VecDeque;

use shared::image::{FrameView, ImageError, PixelFormat};
use shared::wire::message::{Report, Thumbnail};

use crate::png::png;

/// Pictures that may be on their way at a time; a device sends one after the other.
const UNDER_WAY: usize = 4;

/// A picture as a model saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// How its pixels are written.
    pub format: PixelFormat,
    /// `width` × `height` of them, row after row.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// The picture to be looked at.
    ///
    /// # Errors
    /// If there are not `width` × `height` pixels.
    pub fn view(&self) -> Result<FrameView<'_>, ImageError> {
        FrameView::packed(self.format, self.width, self.height, &self.pixels)
    }

    /// The picture as a PNG file.
    ///
    /// # Errors
    /// If there are not `width` × `height` pixels.
    pub fn png(&self) -> anyhow::Result<Vec<u8>> {
        Ok(png(&self.view()?)?)
    }
}

/// Which frame a picture is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameKey {
    /// The device's epoch, of what is acknowledged: numbers begin anew in each.
    pub epoch: Option<u64>,
    /// Frame number.
    pub frame: u32,
}

impl FrameKey {
    /// That of a report.
    #[must_use]
    pub fn of_report(report: &Report) -> Self {
        Self {
            epoch: report.ticket.map(|ticket| ticket.epoch),
            frame: report.frame,
        }
    }

    /// That of a part of a picture.
    #[must_use]
    pub fn of_part(part: &Thumbnail) -> Self {
        Self {
            epoch: part.ticket.map(|ticket| ticket.epoch),
            frame: part.frame,
        }
    }
}

/// Puts pictures together.
#[derive(Clone, Debug, Default)]
pub struct Assembler {
    under_way: VecDeque<Partial>,
    incomplete: u64,
}

#[derive(Clone, Debug)]
struct Partial {
    key: FrameKey,
    picture: Picture,
    /// How many bytes have come; `None` once one is known to be missing.
    filled: Option<usize>,
}

impl Assembler {
    /// Takes a part; gives the frame and its picture with the last one.
    pub fn take(&mut self, part: &Thumbnail) -> Option<(FrameKey, Picture)> {
        let key = FrameKey::of_part(part);
        let place = part.place()?;
        let shape = (
            usize::from(part.width),
            usize::from(part.height),
            part.format,
        );
        let same = |partial: &Partial| {
            let Picture {
                width,
                height,
                format,
                ..
            } = partial.picture;
            (partial.key, (width, height, format)) == (key, shape)
        };
        let mut index = self.under_way.iter().position(same);
        if place.start == 0
            && let Some(again) = index
            && self.under_way[again].filled != Some(0)
        {
            // The first part, again: the sender began anew.
            self.give_up(again);
            index = None;
        }
        let index = index.unwrap_or_else(|| {
            if self.under_way.len() == UNDER_WAY {
                self.give_up(0);
            }
            self.under_way.push_back(Partial {
                key,
                picture: Picture {
                    width: shape.0,
                    height: shape.1,
                    format: shape.2,
                    pixels: vec![0; part.whole()],
                },
                filled: Some(0),
            });
            self.under_way.len() - 1
        });
        let partial = &mut self.under_way[index];
        let filled = partial.filled?;
        if place.start < filled {
            return None; // A repeat.
        }
        if place.start > filled {
            partial.filled = None;
            self.incomplete += 1;
            return None;
        }
        partial.filled = Some(place.end);
        partial.picture.pixels[place.clone()].copy_from_slice(&part.pixels);
        if !part.is_last() {
            return None;
        }
        let whole = self.under_way.remove(index)?;
        Some((whole.key, whole.picture))
    }

    /// Pictures of which a part is known to be missing. Those under way count, too, when nothing
    /// more will come.
    #[must_use]
    pub fn incomplete(&self, ended: bool) -> u64 {
        let waiting = self.under_way.iter().filter(|it| it.filled.is_some());
        self.incomplete + if ended { waiting.count() as u64 } else { 0 }
    }

    fn give_up(&mut self, index: usize) {
        let partial = self.under_way.remove(index);
        self.incomplete += u64::from(partial.is_some_and(|it| it.filled.is_some()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(frame: u32, shade: u8) -> Vec<Thumbnail> {
        let luma: Vec<u8> = (0..28 * 28).map(|pixel| shade ^ pixel as u8).collect();
        let part = |index: usize| {
            Thumbnail::part(frame, (28, 28), PixelFormat::Grey8, &luma, index * 196)
                .expect("a part")
        };
        (0..4).map(part).collect()
    }

    #[test]
    fn parts_make_a_picture_whatever_comes_between_them() {
        let mut assembler = Assembler::default();
        let (one, two) = (parts(1, 0), parts(2, 0xFF));
        let mut whole = Vec::new();
        for part in [
            &one[0], &two[0], &one[1], &one[1], &one[2], &two[1], &two[2], &one[3], &two[3],
        ] {
            whole.extend(assembler.take(part));
        }
        assert_eq!(whole.len(), 2);
        assert_eq!((whole[0].0.frame, whole[1].0.frame), (1, 2));
        assert_eq!(whole[0].1.pixels[300], 300_u32 as u8);
        assert_eq!(whole[1].1.pixels[300], !(300_u32 as u8));
        assert_eq!(assembler.incomplete(true), 0);
    }

    #[test]
    fn what_lacks_a_part_is_counted_once_and_never_given() {
        for missing in 0..4 {
            let mut assembler = Assembler::default();
            for (index, part) in parts(1, 0).iter().enumerate() {
                if index != missing {
                    assert_eq!(assembler.take(part), None);
                }
            }
            assert_eq!(assembler.incomplete(true), 1, "without part {missing}");
            // The next ones come through.
            let whole: Vec<_> = parts(2, 0)
                .iter()
                .filter_map(|part| assembler.take(part))
                .collect();
            assert_eq!(whole.len(), 1);
        }
    }

    #[test]
    fn pictures_that_are_never_finished_take_no_more_room() {
        let mut assembler = Assembler::default();
        for frame in 0..100 {
            assert_eq!(assembler.take(&parts(frame, 0)[0]), None);
        }
        assert_eq!(assembler.under_way.len(), UNDER_WAY);
        assert_eq!(
            (assembler.incomplete(false), assembler.incomplete(true)),
            (96, 100)
        );
    }

    #[test]
    fn a_frame_number_that_comes_again_is_another_picture() {
        let mut assembler = Assembler::default();
        let (old, new) = (parts(1, 0), parts(1, 0xFF));
        assert_eq!(assembler.take(&old[0]), None);
        let whole: Vec<_> = new.iter().filter_map(|part| assembler.take(part)).collect();
        assert_eq!(whole[0].1.pixels[0], 0xFF);
        assert_eq!(assembler.incomplete(true), 1);
    }
}
