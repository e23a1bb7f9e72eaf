//! Configurations that say what becomes of a picture: `config.json` of timm, `preprocessor_config.json` of
//! Hugging Face's image processors.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use device::engine::InputShape;
use device::preprocessing::per_plane;
use serde_json::Value;
use shared::image::{Channels, Geometry, Interpolation, Preprocessing, ValueRange};

/// What a configuration says.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    /// What becomes of a picture.
    pub preprocessing: Preprocessing,
    /// Names of the classes, if it has them.
    pub labels: Option<Vec<String>>,
}

/// Reads either kind of configuration, for a model with an input of `shape`.
///
/// # Errors
/// The file cannot be read, is of neither kind, or says something that cannot be done here; the message
/// names what.
pub fn read_configuration(path: &Path, shape: InputShape) -> anyhow::Result<Configuration> {
    let text = super::read(path)?;
    let shown = path.display();
    let value: Value =
        serde_json::from_str(&text).with_context(|| format!("{shown} is no JSON"))?;
    parse(&value, shape).with_context(|| shown.to_string())
}

fn parse(value: &Value, shape: InputShape) -> anyhow::Result<Configuration> {
    let timm = value.get("pretrained_cfg").unwrap_or(value);
    let preprocessing = if timm.get("mean").is_some() && timm.get("interpolation").is_some() {
        of_timm(timm, shape)?
    } else if value.get("image_mean").is_some() || value.get("do_resize").is_some() {
        of_processor(value, shape)?
    } else {
        bail!(
            "it is neither timm's config.json (mean, interpolation) nor Hugging Face's preprocessor_config.json (image_mean, do_resize)"
        )
    };
    let names = ["label_names", "id2label"].iter().find_map(|key| {
        let found = value.get(key).or_else(|| timm.get(key));
        found.filter(|found| !found.is_null()).and_then(labels)
    });
    Ok(Configuration {
        preprocessing,
        labels: names,
    })
}

/// Names of classes: a list, or an object by number, which must have every number.
pub(super) fn labels(value: &Value) -> Option<Vec<String>> {
    let name = |value: &Value| value.as_str().map(str::to_owned);
    match value {
        Value::Array(names) => names.iter().map(name).collect(),
        Value::Object(by_number) => (0..by_number.len())
            .map(|number| name(by_number.get(&number.to_string())?))
            .collect(),
        _ => None,
    }
}

/// What timm's evaluation transform does (`create_transform` with these fields).
fn of_timm(of: &Value, shape: InputShape) -> anyhow::Result<Preprocessing> {
    let interpolation = match text(of, "interpolation")? {
        "bilinear" => Interpolation::Bilinear,
        // Chosen at random in training only.
        "bicubic" | "random" => Interpolation::Bicubic,
        "nearest" => Interpolation::Nearest,
        other => bail!("its interpolation '{other}' is not one of bilinear, bicubic and nearest"),
    };
    let share = match of.get("crop_pct") {
        None | Some(Value::Null) => 0.875,
        Some(share) => share
            .as_f64()
            .filter(|&share| share > 0.0 && share <= 1.0)
            .context("its crop_pct is not a number above 0, at most 1")?,
    };
    let geometry = match of.get("crop_mode").and_then(Value::as_str) {
        None | Some("center") => {
            let scaled = (shape.height.max(shape.width) as f64 / share).floor();
            Geometry::ShortSide(side(scaled)?)
        }
        Some("squash") if share == 1.0 => Geometry::Stretch,
        Some(other) => bail!("its crop_mode '{other}' with crop_pct {share} cannot be done here"),
    };
    let (channels, mean, deviation) = colours(of, "mean", "std", shape)?;
    Ok(Preprocessing {
        channels,
        geometry,
        interpolation,
        range: ValueRange::Unit,
        normalisation: per_plane(&mean, &deviation, shape.channels).map_err(anyhow::Error::msg)?,
    })
}

/// What an image processor of Hugging Face does.
fn of_processor(of: &Value, shape: InputShape) -> anyhow::Result<Preprocessing> {
    let switch = |key: &str, otherwise: bool| match of.get(key) {
        None | Some(Value::Null) => Ok(otherwise),
        Some(value) => value
            .as_bool()
            .with_context(|| format!("its {key} is neither true nor false")),
    };
    ensure!(!switch("do_pad", false)?, "its do_pad cannot be done here");
    let geometry = if switch("do_resize", true)? {
        resized(of, switch("do_center_crop", false)?, shape)?
    } else {
        bail!(
            "it does not resize pictures (do_resize), so they would have to come in the model's size"
        )
    };
    let interpolation = match of.get("resample").map(Value::as_u64) {
        None | Some(Some(2)) => Interpolation::Bilinear,
        Some(Some(3)) => Interpolation::Bicubic,
        Some(Some(0)) => Interpolation::Nearest,
        Some(other) => bail!(
            "its resample is {other:?}; 0 (nearest), 2 (bilinear) and 3 (bicubic) can be done here"
        ),
    };
    let factor = of
        .get("rescale_factor")
        .and_then(Value::as_f64)
        .unwrap_or(1.0 / 255.0);
    let near = |wanted: f64| (factor - wanted).abs() < 1e-4 * wanted;
    let range = if !switch("do_rescale", true)? {
        ValueRange::Byte
    } else if near(1.0 / 255.0) {
        ValueRange::Unit
    } else if near(2.0 / 255.0) && switch("rescale_offset", false)? {
        ValueRange::Symmetric
    } else {
        bail!(
            "its rescale_factor is {factor}; 1/255, or 2/255 with rescale_offset, can be done here"
        )
    };
    let (mut channels, mean, deviation) = if switch("do_normalize", true)? {
        colours(of, "image_mean", "image_std", shape)?
    } else {
        (of_planes(shape)?, vec![0.0], vec![1.0])
    };
    if switch("do_flip_channel_order", false)? && channels == Channels::Rgb {
        channels = Channels::Bgr;
    }
    Ok(Preprocessing {
        channels,
        geometry,
        interpolation,
        range,
        normalisation: per_plane(&mean, &deviation, shape.channels).map_err(anyhow::Error::msg)?,
    })
}

fn resized(of: &Value, crops: bool, shape: InputShape) -> anyhow::Result<Geometry> {
    let size = of.get("size").context("it has no size")?;
    let number = |of: &Value, key: &str| of.get(key).and_then(Value::as_u64);
    if let (Some(height), Some(width)) = (number(size, "height"), number(size, "width")) {
        ensure!(
            (height, width) == (shape.height as u64, shape.width as u64),
            "its size is {height}×{width}, and the model's input {}×{}",
            shape.height,
            shape.width
        );
        return Ok(Geometry::Stretch);
    }
    let shortest = number(size, "shortest_edge")
        .or_else(|| size.as_u64())
        .context("its size is neither height and width nor shortest_edge")?;
    // ConvNeXT: below 384 pixels its edge is that of the crop.
    if let Some(share) = of.get("crop_pct").and_then(Value::as_f64)
        && shortest < 384
    {
        ensure!(share > 0.0 && share <= 1.0, "its crop_pct is {share}");
        return Ok(Geometry::ShortSide(side(
            (shortest as f64 / share).floor(),
        )?));
    }
    if crops && let Some(crop) = of.get("crop_size") {
        let sides = match crop.as_u64() {
            Some(side) => (Some(side), Some(side)),
            None => (number(crop, "height"), number(crop, "width")),
        };
        ensure!(
            sides == (Some(shape.height as u64), Some(shape.width as u64)),
            "its crop_size is not that of the model's input, {}×{}",
            shape.height,
            shape.width
        );
    } else {
        ensure!(
            shape.height == shape.width && shortest == shape.height as u64,
            "it scales the shorter side to {shortest} and crops nothing, and the model's input is {}×{}",
            shape.height,
            shape.width
        );
    }
    Ok(Geometry::ShortSide(side(shortest as f64)?))
}

fn side(pixels: f64) -> anyhow::Result<u16> {
    ensure!(
        (1.0..=f64::from(u16::MAX)).contains(&pixels),
        "a shorter side of {pixels} pixels cannot be meant"
    );
    Ok(pixels as u16)
}

fn text<'a>(of: &'a Value, key: &str) -> anyhow::Result<&'a str> {
    of.get(key)
        .and_then(Value::as_str)
        .with_context(|| format!("its {key} is no text"))
}

fn of_planes(shape: InputShape) -> anyhow::Result<Channels> {
    match shape.channels {
        1 => Ok(Channels::Grey),
        3 => Ok(Channels::Rgb),
        other => bail!("it is for pictures, and the model's input has {other} channels"),
    }
}

/// The planes, their means and deviations.
fn colours(
    of: &Value,
    mean: &str,
    deviation: &str,
    shape: InputShape,
) -> anyhow::Result<(Channels, Vec<f32>, Vec<f32>)> {
    let numbers = |key: &str| -> anyhow::Result<Vec<f32>> {
        let values = of.get(key).and_then(Value::as_array);
        let values = values.with_context(|| format!("its {key} is no list"))?;
        let number = |value: &Value| value.as_f64().map(|number| number as f32);
        let numbers: Option<Vec<f32>> = values.iter().map(number).collect();
        numbers.with_context(|| format!("its {key} is no list of numbers"))
    };
    Ok((of_planes(shape)?, numbers(mean)?, numbers(deviation)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SHAPE: InputShape = InputShape {
        channels: 3,
        height: 224,
        width: 224,
    };

    #[test]
    fn timms_configuration_is_its_evaluation_transform() {
        let of = json!({"architecture": "resnet18", "pretrained_cfg": {
            "interpolation": "bicubic", "crop_pct": 0.95, "crop_mode": "center",
            "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
        }});
        let found = parse(&of, SHAPE).expect("timm's");
        let wanted = Preprocessing {
            geometry: Geometry::ShortSide(235),
            interpolation: Interpolation::Bicubic,
            ..Preprocessing::IMAGENET
        };
        // A plane that is not there does not matter.
        assert_eq!(
            found.preprocessing.normalisation[..3],
            wanted.normalisation[..3]
        );
        assert_eq!(
            (
                found.preprocessing.geometry,
                found.preprocessing.interpolation
            ),
            (wanted.geometry, wanted.interpolation)
        );
    }

    #[test]
    fn hugging_faces_configurations_are_read() {
        let base = json!({
            "do_resize": true, "size": {"shortest_edge": 256}, "do_center_crop": true,
            "crop_size": {"height": 224, "width": 224}, "resample": 3, "do_rescale": true,
            "rescale_factor": 0.003_921_568_627_450_98, "do_normalize": true,
            "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
            "id2label": {"0": "cat", "1": "dog"},
        });
        let found = parse(&base, SHAPE).expect("a processor's");
        assert_eq!(found.preprocessing.geometry, Geometry::ShortSide(256));
        assert_eq!(found.preprocessing.interpolation, Interpolation::Bicubic);
        assert_eq!(found.preprocessing.range, ValueRange::Unit);
        assert_eq!(found.labels, Some(vec!["cat".into(), "dog".into()]));

        let with = |changes: &[(&str, Value)]| {
            let mut changed = base.clone();
            for (key, value) in changes {
                changed[key] = value.clone();
            }
            parse(&changed, SHAPE).map(|found| found.preprocessing)
        };
        let vit = with(&[
            ("size", json!({"height": 224, "width": 224})),
            ("resample", json!(2)),
        ]);
        assert_eq!(vit.expect("ViT's").geometry, Geometry::Stretch);
        let convnext = with(&[
            ("size", json!({"shortest_edge": 224})),
            ("crop_pct", json!(0.875)),
        ]);
        assert_eq!(
            convnext.expect("ConvNeXT's").geometry,
            Geometry::ShortSide(256)
        );
        let bytes = with(&[
            ("do_rescale", json!(false)),
            ("do_flip_channel_order", json!(true)),
        ]);
        let bytes = bytes.expect("in bytes");
        assert_eq!(
            (bytes.range, bytes.channels),
            (ValueRange::Byte, Channels::Bgr)
        );
        for wrong in [
            ("resample", json!(1)),
            ("rescale_factor", json!(0.5)),
            ("crop_size", json!(192)),
            ("do_resize", json!(false)),
            ("image_mean", json!("0.5")),
            ("do_pad", json!(true)),
        ] {
            assert!(with(std::slice::from_ref(&wrong)).is_err(), "{wrong:?}");
        }
        assert!(parse(&json!({"hidden_size": 768}), SHAPE).is_err());
    }
}
