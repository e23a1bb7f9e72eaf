//! How a model file says what becomes of a picture: the entry `mcdropout.preprocessing`.

use serde::{Deserialize, Serialize};
use shared::image::{
    Channels, Geometry, Interpolation, MAX_CHANNELS, Normalisation, Preprocessing, ValueRange,
};
use tract_onnx::pb::StringStringEntryProto;

use super::OnnxError;
use super::metadata::{json, parse, refuse};

pub(super) const KEY: &str = "mcdropout.preprocessing";
/// What files said before there was colour: mean and standard deviation of luma in 0..=1.
pub(super) const OLDER: &str = "mcdropout.normalisation";

/// The entry, which other tools may write, too.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    channels: Channels,
    #[serde(default)]
    geometry: Geometry,
    #[serde(default)]
    interpolation: Interpolation,
    #[serde(default)]
    range: ValueRange,
    /// One for all planes, or one a plane, in the planes' order.
    #[serde(default = "zero")]
    mean: Vec<f32>,
    #[serde(default = "one")]
    standard_deviation: Vec<f32>,
}

fn zero() -> Vec<f32> {
    vec![0.0]
}

fn one() -> Vec<f32> {
    vec![1.0]
}

/// What the file says, in words of its own or in older ones, for a model of `channels` planes. The older
/// ones tell nothing of colours: they count for models of one plane only.
pub(super) fn read(
    entries: &[StringStringEntryProto],
    channels: usize,
) -> Result<Option<Preprocessing>, OnnxError> {
    if let Some(entry) = parse::<Entry>(entries, KEY)? {
        let normalisation = per_plane(&entry.mean, &entry.standard_deviation, channels)
            .map_err(|reason| refuse(KEY, &reason))?;
        return Ok(Some(Preprocessing {
            channels: entry.channels,
            geometry: entry.geometry,
            interpolation: entry.interpolation,
            range: entry.range,
            normalisation,
        }));
    }
    Ok(
        match parse::<Vec<Normalisation>>(entries, OLDER)?.as_deref() {
            Some(&[of_luma]) if channels == 1 => Some(Preprocessing::grey(of_luma)),
            Some([] | [_, _, ..]) if channels == 1 => {
                return Err(refuse(OLDER, &"there must be one for the one channel"));
            }
            _ => None,
        },
    )
}

/// The entry that says `preprocessing` of a model of `channels` planes.
pub(super) fn entry(
    preprocessing: &Preprocessing,
    channels: usize,
) -> Result<StringStringEntryProto, OnnxError> {
    let planes = &preprocessing.normalisation[..channels.min(MAX_CHANNELS)];
    json(
        KEY,
        &Entry {
            channels: preprocessing.channels,
            geometry: preprocessing.geometry,
            interpolation: preprocessing.interpolation,
            range: preprocessing.range,
            mean: planes.iter().map(|it| it.mean).collect(),
            standard_deviation: planes.iter().map(|it| it.standard_deviation).collect(),
        },
    )
}

/// Joins means and standard deviations, of which there is one for all planes or one for each.
///
/// # Errors
/// What is wrong with their number.
pub fn per_plane(
    mean: &[f32],
    standard_deviation: &[f32],
    channels: usize,
) -> Result<[Normalisation; MAX_CHANNELS], String> {
    let spread = |values: &[f32], name: &str| match *values {
        [one] => Ok([one; MAX_CHANNELS]),
        _ if values.len() == channels && channels <= MAX_CHANNELS => {
            let mut all = [values[0]; MAX_CHANNELS];
            all[..channels].copy_from_slice(values);
            Ok(all)
        }
        _ => Err(format!(
            "{} values of {name} for {channels} channels: give one, or one for each",
            values.len()
        )),
    };
    let mean = spread(mean, "the mean")?;
    let deviation = spread(standard_deviation, "the standard deviation")?;
    let mut normalisation = [Normalisation::IDENTITY; MAX_CHANNELS];
    for (plane, (mean, standard_deviation)) in normalisation
        .iter_mut()
        .zip(mean.into_iter().zip(deviation))
    {
        *plane = Normalisation {
            mean,
            standard_deviation,
        };
    }
    Ok(normalisation)
}
