//! Which frames the page shows one by one.

use std::io::Cursor;

use anyhow::Context;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use device::source::Frame;
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
use serde::Serialize;
use shared::image::PixelFormat;
use shared::triage::{Cause, Verdict};

use crate::evaluate::{Frames, Judged, Judgements};

/// Frames shown of each group.
const SHOWN: usize = 12;

/// Frames with something in common.
#[derive(Debug, Clone, Serialize)]
pub struct Group {
    /// What they have in common, in a few words.
    pub title: &'static str,
    /// The same in a sentence.
    pub explanation: &'static str,
    /// How many such frames there are.
    pub found: usize,
    /// The first of them, in the order told by the explanation.
    pub shown: Vec<Shown>,
}

/// A frame to look at.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    /// The data set it comes from.
    pub set: String,
    /// Its index there.
    pub index: usize,
    /// The name of what it shows, in its data set.
    pub label: String,
    /// The name of the class with the highest mean probability.
    pub answer: String,
    /// Whether the label is one of the model's classes, and the answer.
    pub correct: Option<bool>,
    /// That probability.
    pub confidence: f64,
    /// Total uncertainty: predictive entropy, nats.
    pub predictive_entropy: f64,
    /// Aleatoric uncertainty: expected entropy, nats.
    pub expected_entropy: f64,
    /// Epistemic uncertainty: mutual information, nats.
    pub mutual_information: f64,
    /// Names of the causes of its flag; none if it was accepted.
    pub causes: Vec<&'static str>,
    /// The picture, as an URI that holds a PNG file.
    #[serde(skip)]
    pub picture: String,
}

/// The most columns and rows of a picture on the page; larger ones are scaled down.
const MOST_PIXELS: u32 = 192;

/// A picture as a `data:` URI.
///
/// # Errors
/// It cannot be encoded.
pub(super) fn data_uri(frame: &Frame) -> anyhow::Result<String> {
    let size = (u32::try_from(frame.width)?, u32::try_from(frame.height)?);
    let pixels = frame.pixels.clone();
    let picture = if frame.format.is_colour() {
        RgbImage::from_raw(size.0, size.1, pixels).map(DynamicImage::from)
    } else {
        GrayImage::from_raw(size.0, size.1, pixels).map(DynamicImage::from)
    };
    let mut picture = picture.context("a picture has not as many pixels as it says")?;
    if size.0.max(size.1) > MOST_PIXELS {
        picture = picture.thumbnail(MOST_PIXELS, MOST_PIXELS);
    }
    let mut png = Cursor::new(Vec::new());
    picture
        .write_to(&mut png, ImageFormat::Png)
        .context("cannot encode a picture")?;
    let text = BASE64_STANDARD.encode(png.into_inner());
    Ok(format!("data:image/png;base64,{text}"))
}

/// The groups that a page shows: most uncertain test frames, confident mistakes, and frames out of
/// distribution that were accepted, or, if none was, those nearest to it. `labels` are the model's
/// classes.
///
/// # Errors
/// A picture cannot be encoded.
pub(super) fn groups(
    frames: &Frames,
    judgements: &Judgements,
    labels: &[String],
) -> anyhow::Result<Vec<Group>> {
    let all = || judgements.frames.iter().enumerate();
    let entropy = |judged: &Judged| judged.scores.predictive_entropy();
    let known = all().filter(|(_, judged)| judged.answer.is_some());
    let wrong = all().filter(|(_, judged)| judged.answer.is_some_and(|answer| !answer.correct));
    let foreign = || all().filter(|(_, judged)| judged.answer.is_none());
    let accepted = foreign().filter(|(_, judged)| judged.causes.verdict() == Verdict::Accept);

    let group =
        |title, explanation, mut chosen: Vec<(usize, &Judged)>, order: &dyn Fn(&Judged) -> f64| {
            // Equal ones stay in the order of their numbers.
            chosen.sort_by(|(_, a), (_, b)| order(a).total_cmp(&order(b)));
            let shown = chosen.iter().take(SHOWN);
            anyhow::Ok(Group {
                title,
                explanation,
                found: chosen.len(),
                shown: shown
                    .map(|(number, judged)| show(frames, *number, judged, labels))
                    .collect::<anyhow::Result<_>>()?,
            })
        };
    let mut groups = vec![
        group(
            "Most uncertain test frames",
            "The test frames with the highest total uncertainty, first the highest.",
            known.collect(),
            &|judged| -entropy(judged),
        )?,
        group(
            "Confident mistakes",
            "Wrong answers, first those with the lowest total uncertainty: what no threshold on the \
             uncertainty keeps out cheaply.",
            wrong.collect(),
            &entropy,
        )?,
    ];
    if foreign().next().is_some() {
        groups.push(group(
            "Out of distribution and accepted",
            "Frames that show none of the model's classes and crossed no threshold, first the one \
             with the lowest total uncertainty.",
            accepted.collect(),
            &entropy,
        )?);
        groups.push(group(
            "Out of distribution and least familiar",
            "Frames that show none of the model's classes, first the one on which the passes \
             disagree most (mutual information).",
            foreign().collect(),
            &|judged| -judged.scores.mutual_information(),
        )?);
    }
    Ok(groups)
}

fn show(
    frames: &Frames,
    number: usize,
    judged: &Judged,
    labels: &[String],
) -> anyhow::Result<Shown> {
    let (set, index) = frames.find(number);
    let label = usize::from(set.images.labels[index]);
    Ok(Shown {
        set: set.name.clone(),
        index,
        label: set.images.class_names[label].clone(),
        answer: labels
            .get(judged.class)
            .cloned()
            .unwrap_or_else(|| judged.class.to_string()),
        correct: judged.answer.map(|answer| answer.correct),
        confidence: judged.confidence,
        predictive_entropy: judged.scores.predictive_entropy(),
        expected_entropy: judged.scores.expected_entropy(),
        mutual_information: judged.scores.mutual_information(),
        causes: judged.causes.iter().map(Cause::name).collect(),
        picture: data_uri(&*set.images.frame(index, PixelFormat::Rgb8)?)?,
    })
}
