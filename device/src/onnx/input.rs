//! What a model's input is: its layout, the type of its elements, and sizes that the file leaves open.

use core::fmt;

use tract_onnx::pb::tensor_proto::DataType;

use super::limits::MAX_ELEMENTS;
use super::network::Network;
use super::{LoadOptions, OnnxError, batch};

/// Order of a picture's axes in a model file. Engines are given channels first whatever the file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// `[batch, channels, height, width]`, as PyTorch has it.
    ChannelsFirst,
    /// `[batch, height, width, channels]`, as TensorFlow has it.
    ChannelsLast,
    /// `[batch, values]`: the rows of one channel, one after the other.
    Flat,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ChannelsFirst => "channels first (NCHW)",
            Self::ChannelsLast => "channels last (NHWC)",
            Self::Flat => "flat",
        })
    }
}

/// Type of the elements of a model file's input. Engines are given 32-bit floats whatever the file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ElementType {
    /// 32-bit floats.
    Float,
    /// 16-bit floats.
    Half,
    /// Whole numbers 0 to 255.
    Byte,
}

impl ElementType {
    pub(super) fn of(data_type: i32) -> Option<Self> {
        match DataType::try_from(data_type).ok()? {
            DataType::Float => Some(Self::Float),
            DataType::Float16 => Some(Self::Half),
            DataType::Uint8 => Some(Self::Byte),
            _ => None,
        }
    }

    /// The type in a graph whose halves have been widened.
    pub(super) fn widened(self) -> DataType {
        match self {
            Self::Float | Self::Half => DataType::Float,
            Self::Byte => DataType::Uint8,
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Float => "float",
            Self::Half => "float16",
            Self::Byte => "uint8",
        })
    }
}

/// Gives the input a size along every axis, with a batch of one, and tells its layout.
pub(super) fn settle(network: &mut Network, options: &LoadOptions) -> Result<Layout, OnnxError> {
    let name = network.input.name.clone();
    let layout = layout(network)?;
    sizes(network, layout, options.input_size)?;
    let dims = &mut network.input.dims;
    for &size in dims[1..].iter().flatten() {
        if !usize::try_from(size).is_ok_and(|n| (1..=MAX_ELEMENTS).contains(&n)) {
            return Err(OnnxError::Input(format!(
                "input {name} has a size that cannot be: {dims:?}"
            )));
        }
    }
    match dims[0] {
        Some(batch) if batch > 1 => batch::make_one(network, batch as usize)?,
        // Some exporters write 0 or -1 for a batch of any size.
        _ => dims[0] = Some(1),
    }
    Ok(layout)
}

fn layout(network: &Network) -> Result<Layout, OnnxError> {
    let channels = |size: Option<i64>| matches!(size, Some(1 | 3 | 4));
    match network.input.dims[..] {
        [_, _] => Ok(Layout::Flat),
        [_, rows, _, last]
            if channels(last) && !channels(rows) && rows.is_none_or(|rows| Some(rows) > last) =>
        {
            Ok(Layout::ChannelsLast)
        }
        [_, _, _, _] => Ok(Layout::ChannelsFirst),
        _ => {
            let sizes = network.input.dims.iter();
            let sizes: Vec<String> = sizes
                .map(|size| size.map_or("?".into(), |n| n.to_string()))
                .collect();
            Err(OnnxError::Input(format!(
                "input {} has the shape [{}]: an image classifier reads [batch, channels, height, width], [batch, height, width, channels] or [batch, values]",
                network.input.name,
                sizes.join(", ")
            )))
        }
    }
}

/// Fills in height and width where they are open.
fn sizes(
    network: &mut Network,
    layout: Layout,
    given: Option<(usize, usize)>,
) -> Result<(), OnnxError> {
    let name = network.input.name.clone();
    let refuse = |reason: String| Err(OnnxError::Input(format!("input {name} {reason}")));
    let rows = match layout {
        Layout::ChannelsFirst => 2,
        Layout::ChannelsLast => 1,
        Layout::Flat => {
            let [_, values] = network.input.dims[..] else {
                return Ok(());
            };
            let area = given.map(|(rows, columns)| rows.saturating_mul(columns));
            let Some(values) = values else {
                let Some(area) = area else {
                    return refuse("has a dynamic size beside the batch: say which height and width it is to have (--input-size HEIGHTxWIDTH), or export the model with a fixed size".into());
                };
                network.input.dims[1] = Some(i64::try_from(area).unwrap_or(i64::MAX));
                return Ok(());
            };
            return match area.filter(|&area| i64::try_from(area) != Ok(values)) {
                None => Ok(()),
                Some(area) => refuse(format!(
                    "has {values} values, and the size that was asked for {area}"
                )),
            };
        }
    };
    let dims = &mut network.input.dims;
    match (dims[rows], dims[rows + 1], given) {
        (Some(height), Some(width), Some((rows, columns)))
            if [Ok(height), Ok(width)] != [i64::try_from(rows), i64::try_from(columns)] =>
        {
            return refuse(format!(
                "has a fixed size of {height}x{width}, and {rows}x{columns} was asked for: leave the size away"
            ));
        }
        (Some(_), Some(_), _) => {}
        (_, _, None) => {
            return refuse("has a dynamic size beside the batch, its height or width: say which it is to have (--input-size HEIGHTxWIDTH)".into());
        }
        (height, width, Some((rows_given, columns))) => {
            let given = [rows_given, columns].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
            for (fixed, given, what) in [(height, given[0], "height"), (width, given[1], "width")] {
                if let Some(fixed) = fixed.filter(|&fixed| fixed != given) {
                    return refuse(format!(
                        "has a fixed {what} of {fixed}, and {given} was asked for"
                    ));
                }
            }
            dims[rows] = Some(given[0]);
            dims[rows + 1] = Some(given[1]);
        }
    }
    if dims.iter().skip(1).any(Option::is_none) {
        return refuse(
            "has a dynamic number of channels: export the model with a fixed one".into(),
        );
    }
    Ok(())
}
