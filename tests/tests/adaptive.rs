//! Adaptive passes decide as all passes do, on whole data sets.
//!
//! Slow for its size: it samples 20,000 frames a hundred times each, because a probability of one
//! in a thousand shows on no fewer.

use std::path::Path;

use device::session::{EngineKind, Options, Session};
use host::data::{DatasetName, Split};
use shared::image::PixelFormat;
use shared::stopping::{BLOCK, Delta};

fn session(model: &Path, adaptive: Option<Delta>) -> Session {
    let options = Options {
        engine: Some(EngineKind::Native),
        adaptive,
        ..Options::default()
    };
    Session::open(model, &options).expect("the model fits the native engine")
}

/// What was decided about one frame.
type Decision = (usize, bool);

/// Decision and passes of every test image; frames are numbered from `first`.
fn decisions(session: &mut Session, data: &DatasetName, first: u32) -> Vec<(Decision, u32)> {
    let data = data.load(Split::Test).expect("the data set is installed");
    let frames = (0..data.len()).map(|index| {
        let picture = data.frame(index, PixelFormat::Grey8).expect("in memory");
        let picture = picture.view().expect("a picture");
        let outcome = session
            .inference
            .judge(first + index as u32, &picture)
            .expect("judged");
        let measures = &outcome.measures;
        ((measures.class, outcome.causes.is_empty()), measures.passes)
    });
    frames.collect()
}

/// Upper end of the one-sided 95 % interval of Clopper and Pearson (1934) for the probability of
/// what was seen `count` times in `trials`.
fn upper_bound(count: u32, trials: u32) -> f64 {
    let at_most = |p: f64| {
        let n = f64::from(trials);
        let mut term = (n * (1.0 - p).ln()).exp();
        let mut sum = term;
        for k in 0..count {
            term *= (n - f64::from(k)) / f64::from(k + 1) * p / (1.0 - p);
            sum += term;
        }
        sum
    };
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if at_most(middle) > 0.05 {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

#[test]
fn adaptive_passes_decide_as_all_passes_do() {
    // A model trained in full, if there is one, tells the figures that matter.
    let named = std::env::var_os("MCDROPOUT_TEST_MODEL").map(std::path::PathBuf::from);
    let model = named.unwrap_or_else(tests::model::trained);
    let delta = Delta::DEFAULT;
    let (mut different, mut frames) = (0, 0);
    let mut passes_of_digits = 0.0;
    for (data, first) in [(DatasetName::Mnist, 0), (DatasetName::FashionMnist, 10_000)] {
        let (all, adaptive) = std::thread::scope(|scope| {
            let all = scope.spawn(|| decisions(&mut session(&model, None), &data, first));
            let adaptive = decisions(&mut session(&model, Some(delta)), &data, first);
            (all.join().expect("judged"), adaptive)
        });
        let count = all.len() as u32;
        let unlike = all
            .iter()
            .zip(&adaptive)
            .filter(|(a, b)| a.0 != b.0)
            .count() as u32;
        let passes: u32 = adaptive.iter().map(|(_, passes)| passes).sum();
        let mean = f64::from(passes) / f64::from(count);
        println!("{data}: {unlike} of {count} decisions differ, {mean:.2} passes on average");
        assert!(all.iter().all(|(_, passes)| *passes == 100));
        assert!(
            adaptive
                .iter()
                .all(|(_, passes)| *passes == 100 || passes % BLOCK == 0)
        );
        if data == DatasetName::Mnist {
            passes_of_digits = mean;
        }
        different += unlike;
        frames += count;
    }
    let bound = upper_bound(different, frames);
    println!("{different} of {frames} decisions differ: at most {bound:.1e} with 95 % confidence");
    assert_eq!(frames, 20_000);
    assert!(
        bound <= delta.value(),
        "{different} of {frames} decisions differ"
    );
    // A model of seconds of training is less sure of digits than one of a dozen epochs.
    assert!(passes_of_digits < 50.0, "{passes_of_digits} passes a digit");
}

#[test]
fn the_bound_is_that_of_clopper_and_pearson() {
    // 1 − 0.05^(1/n) for none; tabulated values for others.
    assert!((upper_bound(0, 20_000) - 1.497_8e-4).abs() < 1e-7);
    assert!((upper_bound(1, 10) - 0.394_16).abs() < 1e-4);
    assert!((upper_bound(3, 100) - 0.075_7).abs() < 1e-3);
}
