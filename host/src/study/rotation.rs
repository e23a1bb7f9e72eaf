//! One digit, turned step by step into something that is none: the figure of Gal and Ghahramani
//! (2016, figure 4).
//!
//! Every pass is one network drawn from the approximate posterior. The image keeps its frame number
//! at every angle, so that pass t has the same masks, and is the same network, at all of them: what
//! changes from angle to angle is the picture alone.

use std::fmt;

use anyhow::{Context, ensure};
use device::session::MAX_CLASSES;
use device::source::Frame;
use serde::{Deserialize, Serialize};
use shared::image::PixelFormat;
use shared::uncertainty::PassAccumulator;

use super::sampler::Sampler;
use crate::data::{Dataset, rotate};
use crate::evaluate::Setup;

/// One digit at every angle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rotation {
    /// Index of the digit among the test images.
    pub image: usize,
    /// Its class.
    pub label: usize,
    /// Names of all classes, in label order.
    pub class_names: Vec<String>,
    /// The classes with the highest mean probability at one angle at least, ascending.
    pub winners: Vec<usize>,
    /// Stochastic passes per angle.
    pub passes: u32,
    /// The engine.
    pub engine: String,
    /// One per angle, ascending.
    pub angles: Vec<Angle>,
}

/// The digit at one angle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Angle {
    /// Clockwise rotation, degrees.
    pub degrees: f64,
    /// Pixels in a row of the picture.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// The picture, row-major: 8-bit luma, or red, green and blue, as the model takes it.
    pub pixels: Vec<u8>,
    /// The class with the highest mean probability.
    pub class: usize,
    /// Its mean probability.
    pub confidence: f64,
    /// Total uncertainty, nats.
    pub predictive_entropy: f64,
    /// Aleatoric uncertainty, nats.
    pub expected_entropy: f64,
    /// Epistemic uncertainty, nats.
    pub mutual_information: f64,
    /// Softmax input of every pass, `[winner][pass]`, in the order of [`Rotation::winners`].
    pub logits: Vec<Vec<f32>>,
    /// Softmax output of every pass, `[winner][pass]`, in 0..=1.
    pub probabilities: Vec<Vec<f32>>,
}

impl Angle {
    /// The picture.
    #[must_use]
    pub fn picture(&self) -> Frame {
        let is_grey = self.pixels.len() == self.width * self.height;
        Frame {
            width: self.width,
            height: self.height,
            format: if is_grey {
                PixelFormat::Grey8
            } else {
                PixelFormat::Rgb8
            },
            pixels: self.pixels.clone(),
            ..Frame::default()
        }
    }
}

/// Turns image `image` of `data` clockwise from 0 to 180 degrees in `steps` equal steps.
///
/// # Errors
/// There is no such image, the model cannot be used, its classes are not as many as the data
/// set's, or its outputs are not finite.
pub fn rotation(
    setup: &Setup,
    data: &Dataset,
    image: usize,
    steps: u32,
) -> anyhow::Result<Rotation> {
    ensure!(steps > 0, "at least one step is needed");
    ensure!(
        image < data.len(),
        "there is no image {image}: the data set has {}",
        data.len()
    );
    let frame = u32::try_from(image).context("frames are numbered in 32 bits")?;
    let mut sampler = Sampler::open(setup, data)?;
    let mut accumulator = PassAccumulator::<MAX_CLASSES>::new(sampler.labels.len())?;
    let original = data.frame(image, sampler.format())?;
    let mut angles = Vec::new();
    for step in 0..=steps {
        let degrees = 180.0 * f64::from(step) / f64::from(steps);
        let mut picture = Frame::clone(&original);
        rotate(&mut picture, degrees);
        let passes = sampler.sample(frame, &picture)?;
        accumulator.reset();
        let mut logits = vec![Vec::new(); passes.classes];
        let mut probabilities = logits.clone();
        for pass in passes.iter() {
            accumulator.push(pass)?;
            let outputs = pass.iter().zip(accumulator.last_pass().0);
            for (class, (&logit, &probability)) in outputs.enumerate() {
                logits[class].push(logit);
                probabilities[class].push(probability as f32);
            }
        }
        let measures = accumulator.measures().context("at least one pass")?;
        angles.push(Angle {
            degrees,
            width: picture.width,
            height: picture.height,
            pixels: picture.pixels,
            class: measures.class,
            confidence: measures.confidence,
            predictive_entropy: measures.predictive_entropy,
            expected_entropy: measures.expected_entropy,
            mutual_information: measures.mutual_information,
            logits,
            probabilities,
        });
    }
    let mut winners: Vec<usize> = angles.iter().map(|angle| angle.class).collect();
    winners.sort_unstable();
    winners.dedup();
    for angle in &mut angles {
        let keep = |of: &[Vec<f32>]| winners.iter().map(|&class| of[class].clone()).collect();
        angle.logits = keep(&angle.logits);
        angle.probabilities = keep(&angle.probabilities);
    }
    Ok(Rotation {
        image,
        label: sampler.classes.class(data.labels[image]),
        class_names: sampler.labels.clone(),
        winners,
        passes: setup.passes,
        engine: sampler.engine().to_owned(),
        angles,
    })
}

impl fmt::Display for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "test image {}, a {}, {} passes on {}; entropies in nats",
            self.image, self.class_names[self.label], self.passes, self.engine
        )?;
        write!(
            f,
            "degrees  answer  confidence  predictive entropy  expected entropy  mutual information"
        )?;
        for angle in &self.angles {
            write!(
                f,
                "\n{:7.1}  {:6}  {:10.4}  {:18.4}  {:16.4}  {:18.4}",
                angle.degrees,
                self.class_names[angle.class],
                angle.confidence,
                angle.predictive_entropy,
                angle.expected_entropy,
                angle.mutual_information
            )?;
        }
        Ok(())
    }
}
