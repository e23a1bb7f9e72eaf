//! The studies that a page shows, cut to what takes seconds.

use std::sync::atomic::AtomicBool;

use device::onnx::Model;
use device::preprocessing::Preparer;
use device::session::preprocessing;
use serde::Serialize;
use shared::image::PixelFormat;

use super::gallery::data_uri;
use crate::data::{Corruption, Dataset, DatasetName, Severity, Split, corrupted};
use crate::evaluate::Setup;
use crate::study::causes::{CauseStudy, causes};
use crate::study::corruptions::{Corruptions, corruptions};
use crate::study::epistemic::Epistemic;
use crate::study::precision::{Precision, precision};
use crate::study::rotation::{Rotation, rotation};
use crate::study::variational::{Trained, Variational, variational};

/// Images of the study of precision.
const PRECISION_IMAGES: usize = 1000;
/// Its passes per image.
const PRECISION_PASSES: u32 = 1000;
/// Images, of the training and of the test set, of the study of the variational objective.
const VARIATIONAL_IMAGES: usize = 2000;
/// Images of the study of corruptions, each 60 times.
const CORRUPTED_IMAGES: usize = 1000;
/// Steps in which a digit is turned.
const ROTATION_STEPS: u32 = 12;
/// The class of the digit that is turned, as in the source.
const TURNED: u16 = 1;

/// What Monte-Carlo dropout does in this model.
#[derive(Debug, Clone, Serialize)]
pub struct Studies {
    /// Decides where and how images are spoilt.
    pub seed: u64,
    /// What corruptions do to answers and uncertainty.
    pub corruptions: Corruptions,
    /// What the thresholds name as wrong with corrupted images, if the model file holds any.
    pub causes: Option<CauseStudy>,
    /// One image as they leave it, as `data:` URIs: per family, from severity 0.
    #[serde(skip)]
    pub spoilt: Vec<Vec<String>>,
    /// A digit that is turned.
    pub rotation: Rotation,
    /// How many passes are enough.
    pub precision: Precision,
    /// The objective of training, if the weights lie beside the model and its training images are
    /// here.
    pub variational: Option<Variational>,
    /// Uncertainty against training data, if its study was made.
    pub epistemic: Option<Epistemic>,
}

/// Who watches the work and may stop it.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations)] // Functions have nothing to show.
pub struct Watch<'a> {
    /// Set to stop.
    pub stop: &'a AtomicBool,
    /// Hears that a phase begins, and how many units of work it has.
    pub begin: &'a dyn Fn(&'static str, u64),
    /// Hears how many more units are done.
    pub advance: &'a dyn Fn(u64),
}

impl Studies {
    /// Makes the studies of the model in `setup` on the test images `test`. `None` if the watch
    /// stopped them.
    ///
    /// # Errors
    /// The model or its training images cannot be used, or its outputs are not finite.
    pub fn run(
        setup: &Setup,
        test: &Dataset,
        epistemic: Option<Epistemic>,
        threads: usize,
        watch: Watch<'_>,
    ) -> anyhow::Result<Option<Self>> {
        let Watch {
            stop,
            begin,
            advance,
        } = watch;
        let first = |data: &Dataset, count| {
            let mut data = data.clone();
            data.truncate(count);
            data
        };

        let some = first(test, CORRUPTED_IMAGES);
        let begin_judging = |frames| begin("corruptions", frames);
        let seed = setup.seed.unwrap_or_default();
        let corruptions = corruptions(setup, &some, seed, threads, stop, &begin_judging, advance)?;
        let Some(corruptions) = corruptions else {
            return Ok(None);
        };

        begin("causes", 1);
        let model = setup.model()?;
        let thresholds = model.metadata().thresholds.as_ref();
        let causes = match thresholds {
            Some(thresholds) => {
                let preparer = preparer(setup, &model)?;
                Some(causes(thresholds, preparer, &some, seed)?)
            }
            None => None,
        };
        advance(1);
        let spoilt = spoilt(&first(test, 1), seed)?;

        begin("turning", 1);
        let digit = test.labels.iter().position(|&label| label == TURNED);
        let rotation = rotation(setup, test, digit.unwrap_or(0), ROTATION_STEPS)?;
        advance(1);

        let some = first(test, PRECISION_IMAGES);
        begin("counting passes", some.len() as u64);
        let many = Setup {
            passes: PRECISION_PASSES,
            ..setup.clone()
        };
        let Some(precision) = precision(&many, &some, threads, stop, advance)? else {
            return Ok(None);
        };

        let trained = Trained::load(&setup.model).and_then(|trained| {
            let Ok(name) = trained.dataset.parse::<DatasetName>();
            let mut training = name.load(Split::Train)?;
            training.truncate(trained.images);
            Ok((trained, training))
        });
        let variational = match trained {
            Ok((trained, training)) => {
                let some = first(test, VARIATIONAL_IMAGES);
                let training = first(&training, VARIATIONAL_IMAGES);
                begin("bound", (training.len() + some.len()) as u64);
                let found = variational(
                    setup, &trained, None, &training, &some, threads, stop, advance,
                )?;
                if found.is_none() {
                    return Ok(None);
                }
                found
            }
            Err(error) => {
                tracing::warn!("the report goes without the variational objective: {error:#}");
                None
            }
        };
        Ok(Some(Self {
            seed,
            corruptions,
            causes,
            spoilt,
            rotation,
            precision,
            variational,
            epistemic,
        }))
    }
}

/// What makes the model's inputs, as its file and the setup say.
fn preparer(setup: &Setup, model: &Model) -> anyhow::Result<Preparer> {
    let wanted = preprocessing(&setup.model, model, &setup.preprocessing)?;
    Ok(Preparer::new(wanted, model.input_shape()))
}

/// The image of `one` in every family at every severity, as the study of corruptions sees it.
fn spoilt(one: &Dataset, seed: u64) -> anyhow::Result<Vec<Vec<String>>> {
    let picture = |data: &Dataset| data_uri(&*data.frame(0, PixelFormat::Rgb8)?);
    let family = |family: Corruption| {
        let clean = std::iter::once(picture(one));
        let worse = Severity::ALL
            .into_iter()
            .map(|severity| picture(&corrupted(one, family, severity, seed)));
        clean.chain(worse).collect()
    };
    Corruption::ALL.into_iter().map(family).collect()
}
