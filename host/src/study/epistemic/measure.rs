//! Trains the models of the study and tests them.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, ensure};
use device::engine::provider::OrtOptions;
use device::onnx::EndOptions;
use device::preprocessing::PreprocessingOptions;
use shared::triage::Thresholds;

use super::{BySize, Correlations, Epistemic, FILE, Settings, Unseen};
use crate::data::{Dataset, DatasetName, Purpose, Random, Split};
use crate::evaluate::{Frames, ImageSet, SCORE_NAMES, Setup, judge, ranking};
use crate::parallel::in_blocks;
use crate::study::{Means, spearman};
use crate::train::{Recipe, fit};
use crate::{export, files};

/// What to train.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// How all models are trained and tested.
    pub settings: Settings,
    /// Numbers of training images.
    pub sizes: Vec<usize>,
    /// The digit that one more model never sees.
    pub unseen: Option<usize>,
    /// Every model is trained once for each of these.
    pub seeds: Vec<u64>,
}

/// One model to train.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Training {
    Size { images: usize, seed: u64 },
    Without { digit: usize, seed: u64 },
}

impl Plan {
    /// The models that `study` has no figures of yet.
    fn missing(&self, study: &Epistemic) -> Vec<Training> {
        let mut missing = Vec::new();
        for &seed in &self.seeds {
            let known = |images| {
                let mut models = study.by_size.iter();
                models.any(|model| model.images == images && model.seed == seed)
            };
            let sizes = self.sizes.iter().filter(|&&images| !known(images));
            missing.extend(sizes.map(|&images| Training::Size { images, seed }));
            let known = |digit| {
                let mut models = study.unseen.iter();
                models.any(|model| model.digit == digit && model.seed == seed)
            };
            let digit = self.unseen.filter(|&digit| !known(digit));
            missing.extend(digit.map(|digit| Training::Without { digit, seed }));
        }
        missing
    }
}

/// Trains and tests each model of `plan` that `folder` has no figures of yet; figures are written to
/// `folder`'s [`FILE`] as soon as a model is finished, and models beside it. Models are trained side
/// by side, each on one thread, so that the result does not depend on `threads`. `None` if `stop`
/// was set before the end. `begin` hears how many training steps there are to do, and `advance` how
/// many more are done.
///
/// # Errors
/// MNIST is not installed, a number of the plan is not possible, `folder` cannot be written or holds
/// a study with other settings, or a training diverges.
pub fn epistemic(
    plan: &Plan,
    folder: &Path,
    threads: usize,
    stop: &AtomicBool,
    begin: &dyn Fn(u64),
    advance: &(dyn Fn(u64) + Sync),
) -> anyhow::Result<Option<Epistemic>> {
    let all = DatasetName::Mnist.load(Split::Train)?;
    let mut test = DatasetName::Mnist.load(Split::Test)?;
    test.truncate(plan.settings.test_images);
    for &images in &plan.sizes {
        ensure!(
            (1..=all.len()).contains(&images),
            "cannot train on {images} images: there are 1 to {}",
            all.len()
        );
    }
    if let Some(digit) = plan.unseen {
        let seen = test
            .labels
            .iter()
            .filter(|&&label| usize::from(label) != digit);
        ensure!(
            (1..test.len()).contains(&seen.count()),
            "the {} test digits must show the digit {digit} and others: take more of them",
            test.len()
        );
    }
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create the folder {}", folder.display()))?;
    let study = open(plan, &folder.join(FILE))?;
    let missing = plan.missing(&study);
    begin(plan.settings.steps * missing.len() as u64);

    let study = Mutex::new(study);
    let starts = (0..threads.clamp(1, missing.len().max(1))).map(|_| {
        let (all, test, study, missing) = (&all, &test, &study, &missing);
        move || {
            tch::set_num_threads(1);
            Ok(move |block: std::ops::Range<usize>| {
                let mut done = Vec::new();
                for &training in &missing[block] {
                    // What is missing when it stops is found out below.
                    if let Some(found) =
                        measure(training, &plan.settings, all, test, folder, stop, advance)?
                    {
                        let mut study = study.lock().unwrap_or_else(PoisonError::into_inner);
                        found.add_to(&mut study);
                        save(&study, &folder.join(FILE))?;
                    }
                    done.push(());
                }
                Ok(done)
            })
        }
    });
    in_blocks(missing.len(), 1, starts, stop, &|_| ())?;
    let study = study.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(plan.missing(&study).is_empty().then_some(study))
}

/// The study so far.
fn open(plan: &Plan, path: &Path) -> anyhow::Result<Epistemic> {
    if !path.exists() {
        return Ok(Epistemic {
            settings: plan.settings.clone(),
            by_size: Vec::new(),
            correlations: Correlations::default(),
            unseen: Vec::new(),
        });
    }
    let study = Epistemic::load(path)?;
    let (now, then) = (&plan.settings, &study.settings);
    ensure!(
        now == then,
        "{} is of {} steps, {} passes and {} test images, not {}, {} and {}: use another --out",
        path.display(),
        then.steps,
        then.passes,
        then.test_images,
        now.steps,
        now.passes,
        now.test_images
    );
    Ok(study)
}

fn save(study: &Epistemic, path: &Path) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec_pretty(study)?;
    text.push(b'\n');
    files::write(path, &text)
}

/// The figures of one model.
enum Found {
    BySize(BySize),
    Unseen(Unseen),
}

impl Found {
    fn add_to(self, study: &mut Epistemic) {
        match self {
            Self::BySize(model) => {
                study.by_size.push(model);
                study
                    .by_size
                    .sort_by_key(|model| (model.images, model.seed));
                let with = |mean: fn(&Means) -> f64| {
                    let (images, means): (Vec<f64>, Vec<f64>) = study
                        .by_size
                        .iter()
                        .map(|model| (model.images as f64, mean(&model.means)))
                        .unzip();
                    spearman(&images, &means)
                };
                study.correlations = Correlations {
                    predictive_entropy: with(|means| means.predictive_entropy),
                    expected_entropy: with(|means| means.expected_entropy),
                    mutual_information: with(|means| means.mutual_information),
                };
            }
            Self::Unseen(model) => {
                study.unseen.push(model);
                study.unseen.sort_by_key(|model| (model.digit, model.seed));
            }
        }
    }
}

/// Trains one model, writes it and tests it; `None` if `stop` was set before the end.
fn measure(
    training: Training,
    settings: &Settings,
    all: &Dataset,
    test: &Dataset,
    folder: &Path,
    stop: &AtomicBool,
    advance: &dyn Fn(u64),
) -> anyhow::Result<Option<Found>> {
    let (name, seed, data) = match training {
        Training::Size { images, seed } => {
            let mut order = Random::new(seed, Purpose::Study, 0).permutation(all.len());
            order.truncate(images);
            (format!("images-{images}"), seed, all.select(&order))
        }
        Training::Without { digit, seed } => {
            (format!("without-{digit}"), seed, without(all, digit))
        }
    };
    let recipe = Recipe {
        seed,
        ..Recipe::default()
    };
    let Some(mut model) = fit(&recipe, settings.steps, &data, stop, advance)? else {
        return Ok(None);
    };
    // Nothing is flagged in this study: any will do.
    model.thresholds = Some(Thresholds::uncalibrated(model.architecture.classes));
    let folder = folder.join(format!("{name}-seed-{seed}"));
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create the folder {}", folder.display()))?;
    files::write(&folder.join("model.safetensors"), &model.to_bytes()?)?;
    let path = folder.join("model.onnx");
    files::write(&path, &export::to_onnx(&model)?)?;

    let setup = Setup {
        model: path,
        engine: None,
        ort: OrtOptions::default(),
        passes: settings.passes,
        adaptive: None,
        block: settings.passes,
        seed: None,
        preprocessing: PreprocessingOptions::default(),
        ends: EndOptions::default(),
    };
    let set = |name: &str, images, known| ImageSet {
        name: name.into(),
        images,
        known,
    };
    let sets = match training {
        Training::Size { .. } => vec![set("mnist", test.clone(), true)],
        Training::Without { digit, .. } => {
            let unseen: Vec<u32> = (0..test.len() as u32)
                .filter(|&image| usize::from(test.labels[image as usize]) == digit)
                .collect();
            vec![
                set("the digits seen", without(test, digit), true),
                set("the digit left out", test.select(&unseen), false),
            ]
        }
    };
    let frames = Frames::new(sets);
    let Some(judged) = judge(&setup, &frames, 1, stop, &|_| ())? else {
        return Ok(None);
    };
    let frames_of = |set| &judged.frames[frames.numbers(set)];
    Ok(Some(match training {
        Training::Size { images, seed } => Found::BySize(BySize {
            images,
            seed,
            means: Means::of(frames_of(0)).context("there are no test images")?,
            by_digit: (0..test.class_names.len())
                .map(|digit| {
                    let shows = |label: usize| label == digit;
                    let of_digit = frames_of(0).iter();
                    Means::of(of_digit.filter(|f| f.answer.is_some_and(|a| shows(a.label))))
                })
                .collect(),
        }),
        Training::Without { digit, seed } => {
            let (seen, unseen) = (frames_of(0), frames_of(1));
            let auroc = |score: usize| {
                let column = |frames: &[crate::evaluate::Judged]| -> Vec<f64> {
                    frames.iter().map(|frame| frame.scores.0[score]).collect()
                };
                ranking::auroc(&ranking::runs(&column(seen), &column(unseen)))
            };
            Found::Unseen(Unseen {
                digit,
                seed,
                images: data.len(),
                seen: Means::of(seen).context("no digit that was seen")?,
                unseen: Means::of(unseen).context("no digit that was not seen")?,
                auroc: SCORE_NAMES
                    .iter()
                    .enumerate()
                    .filter_map(|(score, name)| Some(((*name).to_owned(), auroc(score)?)))
                    .collect(),
            })
        }
    }))
}

/// The images of all classes but one, which is gone: the labels above it move down.
fn without(data: &Dataset, class: usize) -> Dataset {
    let mut names = data.class_names.clone();
    names.remove(class);
    data.of_classes(&names)
}

#[cfg(test)]
mod tests {
    use shared::image::PixelFormat;

    use super::*;

    fn settings() -> Settings {
        Settings {
            steps: 3,
            passes: 2,
            test_images: 10,
        }
    }

    #[test]
    fn a_digit_left_out_is_gone() {
        let data = Dataset::in_memory(
            ["a", "b", "c"].map(String::from).to_vec(),
            vec![2, 1, 0, 2],
            (1, 1),
            PixelFormat::Grey8,
            vec![0, 1, 2, 3],
        );
        let rest = without(&data, 1);
        assert_eq!(rest.class_names, ["a", "c"]);
        assert_eq!(rest.labels, [1, 0, 1]);
        let shade = |image| {
            let frame = rest.frame(image, PixelFormat::Grey8).expect("in memory");
            frame.pixels[0]
        };
        assert_eq!([0, 1, 2].map(shade), [0, 2, 3]);
    }

    #[test]
    fn what_has_figures_is_not_trained_again() {
        let plan = Plan {
            settings: settings(),
            sizes: vec![20, 10],
            unseen: Some(3),
            seeds: vec![1, 2],
        };
        let means = |mutual_information| Means {
            frames: 10,
            accuracy: Some(0.5),
            predictive_entropy: 1.0,
            expected_entropy: 0.5,
            mutual_information,
        };
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join(FILE);
        let mut study = open(&plan, &path).expect("a new study");
        assert_eq!(plan.missing(&study).len(), 6);
        for (images, seed, information) in [(20, 1, 0.2), (10, 1, 0.4)] {
            let model = BySize {
                images,
                seed,
                means: means(information),
                by_digit: vec![None; 10],
            };
            Found::BySize(model).add_to(&mut study);
        }
        assert_eq!(study.by_size[0].images, 10);
        assert_eq!(study.correlations.mutual_information, Some(-1.0));
        assert_eq!(study.correlations.predictive_entropy, None);
        save(&study, &path).expect("saved");
        let study = open(&plan, &path).expect("the same settings");
        assert_eq!(
            plan.missing(&study),
            [
                Training::Without { digit: 3, seed: 1 },
                Training::Size {
                    images: 20,
                    seed: 2
                },
                Training::Size {
                    images: 10,
                    seed: 2
                },
                Training::Without { digit: 3, seed: 2 },
            ]
        );
        let mut other = plan;
        other.settings.steps = 4;
        let error = open(&other, &path).expect_err("other settings");
        assert!(error.to_string().contains("another --out"), "{error}");
        std::fs::write(&path, "{}").expect("written");
        let error = open(&other, &path).expect_err("no study");
        assert!(
            error.to_string().contains("host study epistemic"),
            "{error}"
        );
    }
}
