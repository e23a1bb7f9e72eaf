//! The pictures of flagged frames.

/// A picture as a model saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Luma, 0 black to 255 white, row-major: `width` × `height`.
    pub pixels: Vec<u8>,
}
