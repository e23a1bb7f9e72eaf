//! Frames to model inputs, and the statistics of an image.

use proptest::prelude::*;
use shared::image::{
    FrameStatistics, FrameView, Geometry, ImageError, MAX_SIDE, Normalisation, PixelFormat,
    Preprocessing, Rect,
};

fn resize(
    frame: &FrameView<'_>,
    crop: Option<Rect>,
    geometry: Geometry,
    to: (usize, usize),
    out: &mut [f32],
) -> Result<FrameStatistics, ImageError> {
    let preprocessing = Preprocessing {
        geometry,
        ..Preprocessing::default()
    };
    preprocessing
        .plan(frame, crop, to)?
        .run(frame, &mut [], out)
}

fn resized(
    frame: &FrameView<'_>,
    crop: Option<Rect>,
    geometry: Geometry,
    to: (usize, usize),
) -> Vec<f32> {
    let mut out = vec![f32::NAN; to.0 * to.1];
    resize(frame, crop, geometry, to, &mut out).expect("valid sizes");
    out
}

fn frame(width: usize, height: usize, data: &[u8]) -> FrameView<'_> {
    FrameView::grey(width, height, data).expect("a valid frame")
}

fn padded(
    width: usize,
    height: usize,
    stride: usize,
    data: &[u8],
) -> Result<FrameView<'_>, ImageError> {
    FrameView::new(PixelFormat::Grey8, width, height, stride, data)
}

fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
    Rect {
        x,
        y,
        width,
        height,
    }
}

#[test]
fn frames_are_checked() {
    let data = [0; 20];
    for (width, height) in [(0, 1), (1, 0), (MAX_SIDE + 1, 1), (1, MAX_SIDE + 1)] {
        assert_eq!(
            padded(width, height, width, &data).map(|_| ()),
            Err(ImageError::Size { width, height })
        );
    }
    assert_eq!(
        padded(5, 2, 4, &data).map(|_| ()),
        Err(ImageError::Stride { stride: 4, row: 5 })
    );
    // The last row need not be padded.
    assert!(padded(4, 3, 8, &data).is_ok());
    assert_eq!(
        padded(5, 3, 8, &data).map(|_| ()),
        Err(ImageError::Data {
            expected: 21,
            got: 20
        })
    );
    assert_eq!(
        padded(5, 3, usize::MAX, &data).map(|_| ()),
        Err(ImageError::Data {
            expected: usize::MAX,
            got: 20
        })
    );
}

#[test]
fn the_output_and_the_crop_are_checked() {
    let data = [0; 12];
    let frame = frame(4, 3, &data);
    let mut out = [0.0; 4];
    assert_eq!(
        resize(&frame, None, Geometry::Stretch, (2, 3), &mut out),
        Err(ImageError::Output {
            expected: 6,
            got: 4
        })
    );
    assert_eq!(
        resize(&frame, None, Geometry::Stretch, (0, 3), &mut out),
        Err(ImageError::Size {
            width: 0,
            height: 3
        })
    );
    for crop in [
        rect(0, 0, 5, 3),
        rect(1, 0, 4, 3),
        rect(0, 1, 4, 3),
        rect(0, 0, 0, 1),
        rect(0, 0, 1, 0),
        rect(u32::MAX, 0, 1, 1),
        rect(1, 0, u32::MAX, 1),
    ] {
        assert_eq!(
            resize(&frame, Some(crop), Geometry::Stretch, (2, 2), &mut out),
            Err(ImageError::Crop {
                crop,
                width: 4,
                height: 3
            })
        );
    }
}

#[test]
fn the_same_size_is_an_exact_copy() {
    let data: Vec<u8> = (0..=255).collect();
    for fit in [Geometry::CenterCrop, Geometry::Stretch] {
        let out = resized(&frame(16, 16, &data), None, fit, (16, 16));
        for (value, pixel) in out.iter().zip(&data) {
            assert_eq!(*value, f32::from(*pixel) / 255.0);
        }
    }
}

#[test]
fn padding_between_rows_is_not_seen() {
    let mut data = vec![255; 7 * 5];
    for y in 0..5 {
        for x in 0..3 {
            data[y * 7 + x] = 10;
        }
    }
    let frame = padded(3, 5, 7, &data).expect("a valid frame");
    assert_eq!((frame.width(), frame.height()), (3, 5));
    assert_eq!(frame.row(4), [10; 3]);
    let out = resized(&frame, None, Geometry::Stretch, (2, 2));
    assert_eq!(out, [10.0 / 255.0; 4]);
}

#[test]
fn shrinking_averages_areas() {
    let data = [0, 100, 200, 44, 10, 20, 30, 40];
    let out = resized(&frame(4, 2, &data), None, Geometry::Stretch, (2, 1));
    assert_eq!(out, [(130.0 / 4.0) / 255.0, (314.0 / 4.0) / 255.0]);
    // 3 → 2: the middle pixel belongs half to each side.
    let out = resized(
        &frame(3, 1, &[30, 60, 240]),
        None,
        Geometry::Stretch,
        (2, 1),
    );
    assert_eq!(out, [40.0 / 255.0, 180.0 / 255.0]);
}

#[test]
fn growing_interpolates_between_pixel_centres() {
    let out = resized(&frame(2, 1, &[0, 200]), None, Geometry::Stretch, (4, 1));
    assert_eq!(out, [0.0, 50.0 / 255.0, 150.0 / 255.0, 200.0 / 255.0]);
    let one = resized(&frame(1, 1, &[77]), None, Geometry::CenterCrop, (28, 28));
    assert_eq!(one, [77.0 / 255.0; 784]);
}

#[test]
fn a_centre_crop_keeps_proportions() {
    // Columns 0 and 3 of a wide frame, rows 0 and 3 of a tall one, are outside.
    let wide = [9, 1, 2, 9, 9, 3, 4, 9];
    let tall = [9, 9, 1, 2, 3, 4, 9, 9];
    let wanted = [1.0, 2.0, 3.0, 4.0].map(|value: f32| value / 255.0);
    assert_eq!(
        resized(&frame(4, 2, &wide), None, Geometry::CenterCrop, (2, 2)),
        wanted
    );
    assert_eq!(
        resized(&frame(2, 4, &tall), None, Geometry::CenterCrop, (2, 2)),
        wanted
    );
    // Stretched, they take part.
    assert_ne!(
        resized(&frame(4, 2, &wide), None, Geometry::Stretch, (2, 2)),
        wanted
    );
}

#[test]
fn a_crop_is_a_frame_of_its_own() {
    let data: Vec<u8> = (0..48).collect();
    let out = resized(
        &frame(8, 6, &data),
        Some(rect(2, 1, 3, 2)),
        Geometry::Stretch,
        (3, 2),
    );
    let wanted = [10, 11, 12, 18, 19, 20].map(|value: u8| f32::from(value) / 255.0);
    assert_eq!(out, wanted);
}

#[test]
fn long_and_large_frames_are_served() {
    let line = vec![200; MAX_SIDE];
    let out = resized(
        &frame(MAX_SIDE, 1, &line),
        None,
        Geometry::Stretch,
        (28, 28),
    );
    assert!(out.iter().all(|&value| value == 200.0 / 255.0));
    let large = vec![255; 4056 * 3040];
    let out = resized(
        &frame(4056, 3040, &large),
        None,
        Geometry::CenterCrop,
        (28, 28),
    );
    assert!(out.iter().all(|&value| value == 1.0));
}

#[test]
fn statistics_of_simple_images() {
    let constant = FrameStatistics::measure(&[0.2; 12], 4, 3);
    assert_eq!(
        constant,
        FrameStatistics {
            mean: 0.2,
            black: 0.2,
            white: 0.2,
            ..FrameStatistics::default()
        }
    );
    // A chessboard: every neighbour differs by all there is.
    let board: Vec<f32> = (0..64).map(|i| ((i / 8 + i % 8) % 2) as f32).collect();
    let board = FrameStatistics::measure(&board, 8, 8);
    assert_eq!(
        (board.mean, board.contrast, board.sharpness),
        (0.5, 1.0, 1.0)
    );
    assert_eq!((board.black, board.white), (0.0, 1.0));
    assert_eq!((board.saturated, board.plateau), (0.5, 0.0));
    let one = FrameStatistics::measure(&[1.0], 1, 1);
    assert_eq!(
        (one.contrast, one.sharpness, one.saturated),
        (0.0, 0.0, 1.0)
    );
    let black = FrameStatistics::measure(&[0.0; 9], 3, 3);
    assert_eq!(black, FrameStatistics::default());
}

fn luma(pixels: &[u8]) -> Vec<f32> {
    pixels
        .iter()
        .map(|&pixel| f32::from(pixel) / 255.0)
        .collect()
}

#[test]
fn saturation_begins_at_a_whole_pixel_value() {
    let statistics = FrameStatistics::measure(&luma(&[249, 250, 5, 6]), 2, 2);
    assert_eq!(statistics.saturated, 0.25);
    // In between, the nearest level counts.
    let between = [249.4, 249.6, 5.0, 6.0].map(|level: f32| level / 255.0);
    assert_eq!(FrameStatistics::measure(&between, 2, 2).saturated, 0.25);
}

#[test]
fn black_and_white_take_a_share_of_the_pixels() {
    // 100 pixels: black is the 5th lowest, white the 2nd highest.
    let mut pixels: Vec<u8> = (0..100).map(|value| 2 * value + 10).collect();
    pixels.rotate_left(37);
    let statistics = FrameStatistics::measure(&luma(&pixels), 10, 10);
    assert_eq!(
        (statistics.black, statistics.white),
        (18.0 / 255.0, 206.0 / 255.0)
    );
}

/// Share of pixels in even areas of a picture of 10 × 10 with `shade` in its upper left quarter.
fn plateau(background: u8, shade: impl Fn(usize, usize) -> u8) -> f32 {
    let pixels: Vec<u8> = (0..100)
        .map(|index| match (index % 10, index / 10) {
            (x, y) if x < 5 && y < 5 => shade(x, y),
            _ => background,
        })
        .collect();
    FrameStatistics::measure(&luma(&pixels), 10, 10).plateau
}

#[test]
fn plateaus_are_even_areas_of_one_grey_that_are_neither_background_nor_saturated() {
    assert_eq!(plateau(0, |_, _| 100), 0.25);
    assert_eq!(plateau(0, |_, _| 249), 0.25);
    assert_eq!(plateau(0, |_, _| 250), 0.0);
    assert_eq!(plateau(50, |_, _| 63), 0.25);
    assert_eq!(plateau(50, |_, _| 62), 0.0);
    // The background is above black, but its first row and column below or right of it are not
    // even.
    assert_eq!(plateau(63, |_, _| 50), 0.65);
    // A slope of 2 levels a pixel is even, but only columns that differ by 2 levels, a fiftieth of the
    // picture's, are of one grey; one of 3 is not even, but in its first row.
    assert_eq!(plateau(0, |x, _| 100 + x as u8), 0.15);
    assert_eq!(plateau(0, |x, _| 100 + 2 * x as u8), 0.1);
    // Half as bright, it takes half the difference.
    assert_eq!(plateau(0, |x, _| 50 + x as u8), 0.1);
    assert_eq!(plateau(0, |_, y| 100 + 3 * y as u8), 0.05);
}

#[test]
#[should_panic(expected = "no 3×3 image")]
fn statistics_of_the_wrong_size_are_refused() {
    let _ = FrameStatistics::measure(&[0.0; 8], 3, 3);
}

fn square_image() -> impl Strategy<Value = (usize, Vec<u8>)> {
    (8..30_usize)
        .prop_flat_map(|side| (Just(side), prop::collection::vec(any::<u8>(), side * side)))
}

proptest! {
    #[test]
    fn a_constant_stays_constant(
        pixel: u8, width in 1..80_usize, height in 1..80_usize, padding in 0..9_usize,
        to in (1..40_usize, 1..40_usize), crop_fit: bool,
    ) {
        let stride = width + padding;
        let data = vec![pixel; stride * height];
        let frame = padded(width, height, stride, &data).expect("a valid frame");
        let fit = if crop_fit { Geometry::CenterCrop } else { Geometry::Stretch };
        for value in resized(&frame, None, fit, to) {
            prop_assert_eq!(value, f32::from(pixel) / 255.0);
        }
    }

    /// Values stay between the darkest and the brightest pixel, and shrinking keeps the mean.
    #[test]
    fn resampling_averages(
        (width, height, data) in (1..40_usize, 1..40_usize).prop_flat_map(|(w, h)| {
            (Just(w), Just(h), prop::collection::vec(any::<u8>(), w * h))
        }),
        to in (1..40_usize, 1..40_usize),
    ) {
        let out = resized(&frame(width, height, &data), None, Geometry::Stretch, to);
        let low = f32::from(*data.iter().min().expect("pixels")) / 255.0;
        let high = f32::from(*data.iter().max().expect("pixels")) / 255.0;
        prop_assert!(out.iter().all(|value| (low..=high).contains(value)));
        if to.0 <= width && to.1 <= height {
            let mean_in = data.iter().map(|&v| f64::from(v)).sum::<f64>() / data.len() as f64 / 255.0;
            let mean_out = out.iter().map(|&v| f64::from(v)).sum::<f64>() / out.len() as f64;
            prop_assert!((mean_in - mean_out).abs() < 1e-6);
        }
    }

    /// Mirrored in, mirrored out: no half-pixel shift in either direction.
    #[test]
    fn resampling_is_symmetric(
        (width, data) in (1..60_usize).prop_flat_map(|w| (Just(w), prop::collection::vec(any::<u8>(), w))),
        to in 1..60_usize,
    ) {
        let out = resized(&frame(width, 1, &data), None, Geometry::Stretch, (to, 1));
        let mirrored: Vec<u8> = data.iter().rev().copied().collect();
        let mut back = resized(&frame(width, 1, &mirrored), None, Geometry::Stretch, (to, 1));
        back.reverse();
        prop_assert_eq!(out, back);
    }

    /// Contrast and sharpness do not depend on exposure, nor sharpness on fog.
    #[test]
    fn dimming_and_fog_are_told_from_blur((side, pixels) in square_image()) {
        // Whole levels after dimming, too: rounding them would be noise.
        let pixels: Vec<u8> = pixels.iter().map(|&v| v & !3).collect();
        let clear = FrameStatistics::measure(&luma(&pixels), side, side);
        let dimmed: Vec<u8> = pixels.iter().map(|v| v / 4).collect();
        let dimmed = FrameStatistics::measure(&luma(&dimmed), side, side);
        prop_assert_eq!(dimmed.sharpness, clear.sharpness);
        prop_assert_eq!(dimmed.contrast, clear.contrast);
        prop_assert!((dimmed.white - clear.white / 4.0).abs() < 1e-6);
        let fog: Vec<u8> = pixels.iter().map(|v| v / 4 + 90).collect();
        let fog = FrameStatistics::measure(&luma(&fog), side, side);
        prop_assert_eq!(fog.sharpness, clear.sharpness);
        prop_assert!(fog.contrast < clear.contrast || clear.contrast == 0.0);
        for s in [clear, dimmed, fog] {
            prop_assert!((0.0..=1.0).contains(&s.mean) && (0.0..=1.0).contains(&s.contrast));
            prop_assert!((0.0..=1.0).contains(&s.saturated) && (0.0..=1.0).contains(&s.plateau));
            prop_assert!(0.0 <= s.black && s.black <= s.white && s.white <= 1.0);
            prop_assert!(s.sharpness >= 0.0 && s.sharpness.is_finite());
        }
    }

    /// A blurred edge is as steep as the formula says: the Gaussian's density at its middle,
    /// averaged over a pixel.
    #[test]
    fn a_blurred_edge_is_as_steep_as_its_gaussian(deviation in 0.3_f64..3.0, side in 24..45_usize) {
        let middle = side as f64 / 2.0;
        let step = |x: f64| 0.5 * (1.0 + libm::erf((x - middle) / (deviation * 2_f64.sqrt())));
        let image: Vec<f32> = (0..side * side).map(|i| step((i % side) as f64) as f32).collect();
        let got = f64::from(FrameStatistics::measure(&image, side, side).sharpness);
        let steepest = (0..side).map(|x| step(x as f64 + 1.0) - step(x as f64)).fold(0.0, f64::max);
        // One level of rounding, at most.
        prop_assert!((got - steepest).abs() <= 1.01 / 255.0 + 0.002, "{got}, not {steepest}");
    }

    #[test]
    fn normalisation_is_that_of_torchvision(luma in prop::collection::vec(0.0_f32..=1.0, 0..50)) {
        let mut out = vec![f32::NAN; luma.len()];
        Normalisation::MNIST.apply(&luma, &mut out);
        for (out, luma) in out.iter().zip(&luma) {
            prop_assert_eq!(*out, (luma - 0.1307_f32) / 0.3081_f32);
        }
        Normalisation::IDENTITY.apply(&luma, &mut out);
        prop_assert_eq!(out, luma);
    }
}

#[test]
fn normalisations_are_checked() {
    assert!(Normalisation::MNIST.is_valid() && Normalisation::IDENTITY.is_valid());
    for (mean, standard_deviation) in [
        (0.0, 0.0),
        (0.0, -1.0),
        (f32::NAN, 1.0),
        (0.0, f32::INFINITY),
    ] {
        assert!(
            !Normalisation {
                mean,
                standard_deviation
            }
            .is_valid()
        );
    }
}
