//! Pictures from the parts in which a device sends them.

use shared::wire::message::Thumbnail;

use super::Picture;

/// Puts parts together. A device sends a picture's parts in order, one picture after the other, so
/// there is one under way at most; one of which a part was lost is given up.
#[derive(Clone, Debug, Default)]
pub struct Thumbnails(Option<Started>);

#[derive(Clone, Debug)]
struct Started {
    frame: u32,
    sides: (u8, u8),
    pixels: Vec<u8>,
}

impl Thumbnails {
    /// Takes a part; gives the picture, and the number of its frame, once that is whole.
    pub fn push(&mut self, part: &Thumbnail) -> Option<(u32, Picture)> {
        let place = part.place()?;
        let sides = (part.width, part.height);
        let started = self.0.take().filter(|started| {
            (started.frame, started.sides) == (part.frame, sides)
                && started.pixels.len() == place.start
        });
        let mut started = match started {
            None if place.start == 0 => Started {
                frame: part.frame,
                sides,
                pixels: Vec::new(),
            },
            started => started?,
        };
        started.pixels.extend(&part.pixels);
        let (width, height) = (usize::from(part.width), usize::from(part.height));
        if started.pixels.len() < width * height {
            self.0 = Some(started);
            return None;
        }
        let picture = Picture {
            width,
            height,
            pixels: started.pixels,
        };
        Some((part.frame, picture))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDES: (u8, u8) = (28, 20);

    fn luma(frame: u32) -> Vec<u8> {
        let pixels = 0..u32::from(SIDES.0) * u32::from(SIDES.1);
        pixels.map(|pixel| (pixel + frame) as u8).collect()
    }

    fn parts(frame: u32) -> Vec<Thumbnail> {
        let luma = luma(frame);
        let mut parts: Vec<Thumbnail> = Vec::new();
        while let Some(part) = Thumbnail::part(
            frame,
            SIDES,
            &luma,
            parts.iter().map(|part| part.pixels.len()).sum(),
        ) {
            parts.push(part);
        }
        parts
    }

    fn whole(parts: impl IntoIterator<Item = Thumbnail>) -> Vec<u32> {
        let mut thumbnails = Thumbnails::default();
        let pictures = parts
            .into_iter()
            .filter_map(|part| thumbnails.push(&part))
            .inspect(|(frame, picture)| {
                assert_eq!((picture.width, picture.height), (28, 20));
                assert_eq!(picture.pixels, luma(*frame));
            });
        pictures.map(|(frame, _)| frame).collect()
    }

    #[test]
    fn pictures_come_whole_one_after_the_other() {
        assert_eq!(parts(7).len(), 3);
        assert_eq!(whole([parts(7), parts(8), parts(8)].concat()), [7, 8, 8]);
    }

    #[test]
    fn a_picture_with_a_part_lost_is_given_up_and_the_next_is_whole() {
        for lost in 0..3 {
            let mut torn = parts(7);
            torn.remove(lost);
            assert_eq!(whole([torn, parts(9)].concat()), [9], "part {lost}");
        }
    }

    #[test]
    fn parts_of_other_pictures_are_not_mixed_in() {
        let (seven, eight) = (parts(7), parts(8));
        let mixed = [&seven[0], &eight[1], &seven[2]].map(Clone::clone);
        assert!(whole(mixed).is_empty());
        let wider = Thumbnail {
            width: 20,
            height: 28,
            ..seven[1].clone()
        };
        assert!(whole([seven[0].clone(), wider, seven[2].clone()]).is_empty());
    }

    #[test]
    fn a_part_outside_of_its_picture_is_left_out() {
        let [first, second, third] = parts(7).try_into().expect("three");
        let outside = Thumbnail {
            offset: u16::MAX,
            ..second.clone()
        };
        assert_eq!(whole([first, outside, second, third]), [7]);
    }
}
