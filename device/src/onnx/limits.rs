//! What a model file may ask for at most. Files are not trusted: a few bytes of one could ask for any
//! amount of memory, or for work without end.

/// Bytes of a file: the most that the protobuf format allows.
pub const MAX_FILE: u64 = (1 << 31) - 1;
/// Levels of messages in a file, one inside the other. A model without control flow has 7.
pub const MAX_DEPTH: usize = 32;
/// Fields in a file, of all its messages together; each may take some hundred bytes when it is read.
pub const MAX_FIELDS: usize = 1 << 18;
/// Nodes. ResNet-152 has some 500, large classifiers a few thousand.
pub const MAX_NODES: usize = 1 << 13;
/// Attributes of all nodes together.
pub const MAX_ATTRIBUTES: usize = 1 << 15;
/// Bytes of numbers that are not in `raw_data` and grow when they are read, eightfold at most.
pub const MAX_PACKED: usize = 1 << 22;
/// Bytes of a name.
pub const MAX_NAME: usize = 1 << 10;
/// A dimension, kernel, stride or padding: no classifier for small devices comes near.
pub const MAX_EXTENT: i64 = 1 << 16;
/// Elements of a tensor (1 GiB of `f32`).
pub const MAX_ELEMENTS: usize = 1 << 28;
/// Elements of all constants together that follow from other constants, beyond those of the weights.
pub const MAX_CONSTANTS: usize = 1 << 22;
/// Elements of a tensor of one image (64 MiB of `f32`).
pub const MAX_VALUES: usize = 1 << 24;
/// Elements of a tensor of one pass, of which an engine holds a batch.
pub const MAX_PASS_VALUES: usize = 1 << 21;
/// Classes.
pub const MAX_CLASSES: usize = 1024;
