//! What is usual in pictures that no answer is asked of, such as those that a model was trained on.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use device::preprocessing::Preparer;
use shared::triage::Evidence;

use crate::data::Dataset;
use crate::parallel::in_blocks;

/// How many pictures are worth looking at: what one in four hundred of them exceeds is then told by
/// 25 of them.
pub const MOST_PICTURES: usize = 10_000;

/// Pictures that a thread takes at a time.
const BLOCK: usize = 64;

/// What limits on the picture look at in `images`, in the model's inputs that `preparer` makes of them;
/// `None` if `stop` was set before the end.
///
/// # Errors
/// A picture cannot be read, or no input can be made of it.
pub fn evidence(
    images: &Dataset,
    preparer: &Preparer,
    threads: usize,
    stop: &AtomicBool,
    advance: &dyn Fn(u64),
) -> anyhow::Result<Option<Vec<Evidence>>> {
    let format = preparer.wanted().pixel_format();
    let starts = (0..threads.max(1)).map(|_| {
        let mut preparer = preparer.clone();
        move || {
            let mut one = move |index| {
                let picture = images.frame(index, format)?;
                let statistics = preparer
                    .measure(&picture.view()?)
                    .with_context(|| format!("picture {index}"))?;
                Ok(Evidence::of_picture(&statistics))
            };
            Ok(move |block: Range<usize>| block.map(&mut one).collect())
        }
    });
    in_blocks(images.len(), BLOCK, starts, stop, advance)
}

#[cfg(test)]
mod tests {
    use device::engine::InputShape;
    use shared::image::{Channels, Geometry, PixelFormat, Preprocessing};

    use super::*;
    use crate::calibrate::usual;
    use crate::data::{Corruption, Purpose, Random};
    use crate::study::causes::causes;

    const SIDE: usize = 40;

    /// Pictures of a disc with a bright bar before a ground of two colours that grows lighter to one
    /// side, under changing light and with a little noise: what differs from one to the next is where
    /// everything is, and which colour it has.
    fn pictures(seed: u64, count: usize) -> Dataset {
        let mut pixels = Vec::with_capacity(3 * count * SIDE * SIDE);
        for index in 0..count {
            let mut random = Random::new(seed, Purpose::Mix, index as u64);
            let mut colour = |least: f64, most: f64| [0; 3].map(|_| random.between(least, most));
            let (ground, far, disc) = (colour(60.0, 120.0), colour(5.0, 40.0), colour(90.0, 200.0));
            let light = random.between(0.5, 1.0);
            let (x, y) = (random.between(15.0, 25.0), random.between(15.0, 25.0));
            let (radius, edge) = (random.between(8.0, 13.0), random.between(15.0, 25.0));
            let slope = random.between(0.5, 1.5);
            for place in 0..SIDE * SIDE {
                let (column, row) = ((place % SIDE) as f64, (place / SIDE) as f64);
                let inside = (column - x).hypot(row - y) < radius;
                let base = match inside {
                    true if (row - y).abs() < 2.0 => [245.0; 3],
                    true => disc,
                    false if row < edge => ground,
                    false => far,
                };
                for value in base {
                    let lit = light * (value + slope * column) + random.between(-5.0, 5.0);
                    pixels.push(lit.clamp(0.0, 245.0) as u8);
                }
            }
        }
        let names = vec!["any".to_owned()];
        let (labels, size) = (vec![0; count], (SIDE, SIDE));
        Dataset::in_memory(names, labels, size, PixelFormat::Rgb8, pixels)
    }

    fn preparer() -> Preparer {
        let wanted = Preprocessing {
            channels: Channels::Rgb,
            geometry: Geometry::Stretch,
            ..Preprocessing::default()
        };
        let shape = InputShape {
            channels: 3,
            height: 32,
            width: 32,
        };
        Preparer::new(wanted, shape)
    }

    #[test]
    fn limits_of_colour_pictures_name_spoilt_ones_and_spare_others() {
        let training = evidence(
            &pictures(1, 1000),
            &preparer(),
            2,
            &AtomicBool::new(false),
            &|_| (),
        );
        let training = training.expect("measured").expect("not stopped");
        assert_eq!(training.len(), 1000);
        let thresholds = usual(&training, &training, 0.02);
        let found = causes(&thresholds, preparer(), &pictures(2, 200), 3).expect("studied");
        assert!(found.clean_named <= 0.04, "{found}");
        for family in &found.families {
            let least = match family.family.cause() {
                // A shadow that is no darker than the dimmest of the pictures is none.
                Some(_) if family.family == Corruption::Shading => 0.7,
                Some(_) => 0.9,
                None => 0.0,
            };
            assert!(family.right >= least, "{}: {found}", family.family);
        }
    }

    #[test]
    fn more_pictures_than_frames_set_the_same_share() {
        let measured = |seed, count| {
            let (images, stop) = (pictures(seed, count), AtomicBool::new(false));
            let found = evidence(&images, &preparer(), 1, &stop, &|_| ());
            found.expect("measured").expect("not stopped")
        };
        let (frames, many) = (measured(1, 200), measured(2, 1000));
        let limits = usual(&frames, &many, 0.1);
        let beyond = |pictures: &[Evidence]| {
            let flagged = |one: &&Evidence| !limits.judge_evidence(one).is_empty();
            pictures.iter().filter(flagged).count() as f64 / pictures.len() as f64
        };
        let (ours, theirs) = (beyond(&frames), beyond(&many));
        assert!(ours > 0.0 && ours <= 0.1, "{ours}");
        assert!(
            (0.5..=2.0).contains(&(theirs / ours)),
            "{theirs} and {ours}"
        );
    }
}
