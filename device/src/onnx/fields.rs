//! A protobuf message as the fields that it is made of, before anything is made from them.
//!
//! What two bytes of a file say may take a thousand in memory (an empty attribute), so the messages of
//! a file are counted before they are read.

use super::OnnxError;
use super::limits::{MAX_ATTRIBUTES, MAX_DEPTH, MAX_FIELDS, MAX_NAME, MAX_NODES, MAX_PACKED};

/// A field of a protobuf message.
pub(super) struct Field<'a> {
    pub(super) number: u64,
    /// All its bytes, number and length included.
    pub(super) all: &'a [u8],
    /// Of a field of bytes, these.
    value: Option<&'a [u8]>,
}

/// Takes the first field off a protobuf message.
pub(super) fn field<'a>(message: &mut &'a [u8]) -> Option<Field<'a>> {
    let all = *message;
    let key = varint(message)?;
    let length = match key & 7 {
        0 => {
            varint(message)?;
            0
        }
        1 => 8,
        2 => varint(message)?,
        5 => 4,
        _ => return None,
    };
    let (value, rest) = message.split_at_checked(usize::try_from(length).ok()?)?;
    *message = rest;
    Some(Field {
        number: key >> 3,
        all: &all[..all.len() - rest.len()],
        value: (key & 7 == 2).then_some(value),
    })
}

/// Takes a number of seven bits a byte, the lowest first, off a protobuf message.
fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// The messages of ONNX that hold others, or lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    Model,
    Training,
    Function,
    Graph,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
    Value,
    Type,
    /// Of a tensor, sparse or not.
    TensorType,
    /// Of a sequence of values, or of one that may be absent.
    ElementType,
    MapType,
    Shape,
    Dimension,
    /// Of names and numbers alone.
    Entry,
}

/// What a field of bytes is.
enum Content {
    Message(Message),
    /// Text that errors may tell.
    Name,
    /// Numbers without their bytes that are 0.
    Packed,
    /// Anything else.
    Bytes,
}

impl Message {
    fn content(self, number: u64) -> Content {
        use Content::{Bytes, Name, Packed};
        let message = match (self, number) {
            (Self::Model, 7) | (Self::Training, 1 | 2) | (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Model, 20) => Self::Training,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Node, 5) | (Self::Function, 11) => Self::Attribute,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => {
                Self::Tensor
            }
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::SparseTensor,
            (Self::Graph, 11..=13) | (Self::Function, 12) => Self::Value,
            (Self::Value | Self::MapType, 2)
            | (Self::Attribute, 14 | 15)
            | (Self::ElementType, 1) => Self::Type,
            (Self::Type, 1 | 8) => Self::TensorType,
            (Self::Type, 4 | 9) => Self::ElementType,
            (Self::Type, 5) => Self::MapType,
            (Self::TensorType, 2) => Self::Shape,
            (Self::Shape, 1) => Self::Dimension,
            (Self::Model, 8 | 14)
            | (Self::Training, 3 | 4)
            | (Self::Function, 9 | 14)
            | (Self::Graph, 14 | 16)
            | (Self::Node, 9)
            | (Self::Tensor, 3 | 13 | 16)
            | (Self::Value, 4) => Self::Entry,
            (Self::Node, 1..=4 | 7 | 8)
            | (Self::Tensor, 8)
            | (Self::Graph | Self::Dimension, 2)
            | (Self::Function, 1 | 4..=6 | 10)
            | (Self::Attribute, 1 | 21)
            | (Self::Value, 1) => return Name,
            (Self::Tensor, 1 | 5 | 7 | 11) | (Self::Attribute, 8) | (Self::SparseTensor, 3) => {
                return Packed;
            }
            _ => return Bytes,
        };
        Content::Message(message)
    }
}

/// How much of everything was seen so far.
#[derive(Default)]
struct Count {
    fields: usize,
    nodes: usize,
    attributes: usize,
    packed: usize,
}

/// Refuses a model file with more in it than can be read in little memory.
///
/// # Errors
/// [`OnnxError::Invalid`]. Bytes that are no fields are left to who reads the messages.
pub(super) fn check(file: &[u8]) -> Result<(), OnnxError> {
    walk(file, Message::Model, 0, &mut Count::default()).map_err(OnnxError::Invalid)
}

fn walk(mut bytes: &[u8], kind: Message, depth: usize, count: &mut Count) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!(
            "its messages are nested more than {MAX_DEPTH} deep"
        ));
    }
    while !bytes.is_empty() {
        if bytes[0] & 7 == 3 || bytes[0] & 7 == 4 {
            return Err("it holds groups, which no exporter writes".into());
        }
        let Some(Field { number, value, .. }) = field(&mut bytes) else {
            return Ok(());
        };
        more(&mut count.fields, 1, MAX_FIELDS, "fields")?;
        let Some(value) = value else { continue };
        match kind.content(number) {
            Content::Message(inner) => {
                match inner {
                    Message::Node => more(&mut count.nodes, 1, MAX_NODES, "nodes")?,
                    Message::Attribute => {
                        more(&mut count.attributes, 1, MAX_ATTRIBUTES, "attributes")?;
                    }
                    _ => {}
                }
                walk(value, inner, depth + 1, count)?;
            }
            Content::Packed => more(
                &mut count.packed,
                value.len(),
                MAX_PACKED,
                "bytes of numbers outside of raw_data",
            )?,
            Content::Name if value.len() > MAX_NAME => {
                return Err(format!("a name has more than {MAX_NAME} bytes"));
            }
            // They would be told as they are.
            Content::Name if value.iter().any(u8::is_ascii_control) => {
                return Err("a name holds control characters".into());
            }
            Content::Name | Content::Bytes => {}
        }
    }
    Ok(())
}

fn more(count: &mut usize, by: usize, most: usize, what: &str) -> Result<(), String> {
    *count += by;
    if *count > most {
        return Err(format!("it has more than {most} {what}"));
    }
    Ok(())
}
