//! Frames of a YUV4MPEG2 stream with chroma 4:2:0: their luma.

/// What comes before each frame.
const MARK: &[u8] = b"FRAME\n";
/// A longer header is none.
const MAX_HEADER: usize = 1024;
/// Largest width or height, in pixels.
const MAX_SIDE: usize = 16_384;

/// Where luma lies in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    /// Bytes from one row to the next.
    stride: usize,
    /// Bytes of a frame, its mark not counted.
    bytes: usize,
}

/// The bytes of a stream that were not taken yet.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    size: Option<(usize, usize)>,
    layout: Option<Layout>,
}

/// Why bytes are no such stream.
#[derive(Debug, PartialEq, Eq)]
pub struct NoStream;

impl Reader {
    /// Takes the bytes that come next.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Width and height, once the header has come.
    ///
    /// # Errors
    /// If the bytes are no such stream.
    pub fn size(&mut self) -> Result<Option<(usize, usize)>, NoStream> {
        if self.size.is_none()
            && let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n')
        {
            self.size = Some(size(&self.buffer[..end]).ok_or(NoStream)?);
            self.buffer.drain(..=end);
        }
        if self.size.is_none() && self.buffer.len() > MAX_HEADER {
            return Err(NoStream);
        }
        Ok(self.size)
    }

    /// The luma of the next frame, if it has come whole; `ended` says that no byte follows.
    ///
    /// # Errors
    /// If the bytes are no such stream.
    pub fn frame(&mut self, luma: &mut Vec<u8>, ended: bool) -> Result<bool, NoStream> {
        let Some((width, height)) = self.size()? else {
            return Ok(false);
        };
        let Some(data) = self.buffer.get(MARK.len()..) else {
            return Ok(false);
        };
        if !self.buffer.starts_with(MARK) {
            return Err(NoStream);
        }
        let Some(layout) = self.layout.or_else(|| choose(data, width, height, ended)) else {
            let most = padded(width, height).bytes + MARK.len();
            return if data.len() >= most {
                Err(NoStream)
            } else {
                Ok(false)
            };
        };
        self.layout = Some(layout);
        if data.len() < layout.bytes {
            return Ok(false);
        }
        luma.clear();
        for row in data.chunks(layout.stride).take(height) {
            luma.extend_from_slice(&row[..width]);
        }
        self.buffer.drain(..MARK.len() + layout.bytes);
        Ok(true)
    }
}

/// Width and height that a header tells, if its chroma is 4:2:0.
fn size(header: &[u8]) -> Option<(usize, usize)> {
    let header = str::from_utf8(header).ok()?;
    let mut words = header.split(' ');
    if words.next() != Some("YUV4MPEG2") {
        return None;
    }
    let (mut width, mut height) = (None, None);
    for word in words {
        let side = |text: &str| {
            text.parse()
                .ok()
                .filter(|side| (1..=MAX_SIDE).contains(side))
        };
        match word.split_at_checked(1) {
            Some(("W", text)) => width = side(text),
            Some(("H", text)) => height = side(text),
            Some(("C", text)) if !text.starts_with("420") || text.starts_with("420p") => {
                return None;
            }
            _ => {}
        }
    }
    width.zip(height)
}

/// As the format says: no bytes between rows and planes.
fn tight(width: usize, height: usize) -> Layout {
    Layout {
        stride: width,
        bytes: width * height + 2 * width.div_ceil(2) * height.div_ceil(2),
    }
}

/// As GStreamer's `y4menc` writes sizes that are no multiples of 8: in the layout of its own memory.
fn padded(width: usize, height: usize) -> Layout {
    let (stride, rows) = (width.next_multiple_of(4), height.next_multiple_of(2));
    let chroma = width.div_ceil(2).next_multiple_of(4) * (rows / 2);
    Layout {
        stride,
        bytes: stride * rows + 2 * chroma,
    }
}

/// The layout after which the next frame begins, or the stream ends.
fn choose(data: &[u8], width: usize, height: usize, ended: bool) -> Option<Layout> {
    let layouts = [tight(width, height), padded(width, height)];
    if layouts[0] == layouts[1] {
        return Some(layouts[0]);
    }
    layouts.into_iter().find(|layout| {
        data.get(layout.bytes..)
            .is_some_and(|rest| rest.starts_with(MARK) || (rest.is_empty() && ended))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(width: usize, height: usize, layout: Layout, frames: u8) -> Vec<u8> {
        let mut bytes =
            format!("YUV4MPEG2 W{width} H{height} Ip A1:1 F30:1 C420jpeg\n").into_bytes();
        for frame in 0..frames {
            bytes.extend_from_slice(MARK);
            let mut data = vec![0xEE; layout.bytes];
            for (row, pixels) in data.chunks_mut(layout.stride).take(height).enumerate() {
                pixels[..width].fill(frame * 16 + row as u8);
            }
            bytes.extend_from_slice(&data);
        }
        bytes
    }

    #[test]
    fn frames_come_out_whatever_the_pieces_and_the_layout() {
        for (width, height) in [(16, 8), (5, 3), (6, 4), (13, 7)] {
            for layout in [tight(width, height), padded(width, height)] {
                for piece in [1, 7, 10_000] {
                    let bytes = stream(width, height, layout, 3);
                    let mut reader = Reader::default();
                    let (mut luma, mut frames) = (Vec::new(), 0_u8);
                    let last = bytes.len().div_ceil(piece) - 1;
                    for (index, part) in bytes.chunks(piece).enumerate() {
                        reader.push(part);
                        while reader.frame(&mut luma, index == last).expect("a stream") {
                            let wanted: Vec<u8> = (0..height)
                                .flat_map(|row| vec![frames * 16 + row as u8; width])
                                .collect();
                            assert_eq!(luma, wanted, "{width}x{height} {layout:?} {piece}");
                            frames += 1;
                        }
                    }
                    assert_eq!(frames, 3, "{width}x{height} {layout:?} {piece}");
                    assert_eq!(reader.size(), Ok(Some((width, height))));
                }
            }
        }
    }

    #[test]
    fn what_is_no_such_stream_is_refused() {
        for header in [
            "RIFF\n",
            "YUV4MPEG2 W4\n",
            "YUV4MPEG2 W4 H0\n",
            "YUV4MPEG2 W4 H99999\n",
            "YUV4MPEG2 W4 H4 C444\n",
            "YUV4MPEG2 W4 H4 C420p10\n",
            "YUV4MPEG2 Wx H4\n",
        ] {
            let mut reader = Reader::default();
            reader.push(header.as_bytes());
            assert_eq!(reader.size(), Err(NoStream), "{header}");
        }
        let mut reader = Reader::default();
        reader.push(&[b'Y'; MAX_HEADER + 1]);
        assert_eq!(reader.size(), Err(NoStream));
        let mut reader = Reader::default();
        reader.push(b"YUV4MPEG2 W4 H4\nFRAMEX............................");
        assert_eq!(reader.frame(&mut Vec::new(), false), Err(NoStream));
    }
}
