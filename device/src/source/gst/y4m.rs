//! Frames of a YUV4MPEG2 stream of 8 bits: chroma 4:2:0, 4:2:2, 4:4:4, or none.

use shared::image::PixelFormat;

use crate::source::colour::Encoding;

/// What comes before each frame.
const MARK: &[u8] = b"FRAME\n";
/// A longer header is none.
pub(super) const MAX_HEADER: usize = 1024;
/// Largest width or height, in pixels.
const MAX_SIDE: usize = 16_384;

/// How many pixels share a colour, across and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chroma {
    None,
    Shared(usize, usize),
}

/// What a header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    width: usize,
    height: usize,
    chroma: Chroma,
    encoding: Encoding,
}

/// Where the planes of a frame lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    /// Bytes from one row to the next, and rows, of luma.
    luma: (usize, usize),
    /// Of each plane of chroma.
    chroma: (usize, usize),
}

impl Layout {
    /// Bytes of a frame, its mark not counted.
    fn bytes(&self) -> usize {
        self.luma.0 * self.luma.1 + 2 * self.chroma.0 * self.chroma.1
    }
}

/// The bytes of a stream that were not taken yet.
#[derive(Debug, Default)]
pub struct Reader {
    wanted: PixelFormat,
    encoding: Option<Encoding>,
    buffer: Vec<u8>,
    header: Option<Header>,
    layout: Option<Layout>,
}

/// Why bytes are no such stream.
#[derive(Debug, PartialEq, Eq)]
pub struct NoStream;

impl Reader {
    /// Of frames that become luma ([`PixelFormat::Grey8`]) or red, green and blue
    /// ([`PixelFormat::Rgb8`]). `encoding` says what their numbers mean, whatever the header says of it.
    #[must_use]
    pub fn new(wanted: PixelFormat, encoding: Option<Encoding>) -> Self {
        Self {
            wanted: if wanted.is_colour() {
                PixelFormat::Rgb8
            } else {
                PixelFormat::Grey8
            },
            encoding,
            ..Self::default()
        }
    }

    /// What comes out: grey of a stream without colour.
    #[must_use]
    pub fn format(&self) -> PixelFormat {
        match self.header {
            Some(Header {
                chroma: Chroma::None,
                ..
            }) => PixelFormat::Grey8,
            _ => self.wanted,
        }
    }

    /// Takes the bytes that come next.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Width and height, once the header has come.
    ///
    /// # Errors
    /// If the bytes are no such stream.
    pub fn size(&mut self) -> Result<Option<(usize, usize)>, NoStream> {
        Ok(self.header()?.map(|header| (header.width, header.height)))
    }

    fn header(&mut self) -> Result<Option<Header>, NoStream> {
        if self.header.is_none()
            && let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n')
        {
            self.header = Some(header(&self.buffer[..end]).ok_or(NoStream)?);
            self.buffer.drain(..=end);
        }
        if self.header.is_none() && self.buffer.len() > MAX_HEADER {
            return Err(NoStream);
        }
        Ok(self.header)
    }

    /// The pixels of the next frame, if it has come whole; `ended` says that no byte follows.
    ///
    /// # Errors
    /// If the bytes are no such stream.
    pub fn frame(&mut self, pixels: &mut Vec<u8>, ended: bool) -> Result<bool, NoStream> {
        let Some(header) = self.header()? else {
            return Ok(false);
        };
        let Some(data) = self.buffer.get(MARK.len()..) else {
            return Ok(false);
        };
        if !self.buffer.starts_with(MARK) {
            return Err(NoStream);
        }
        let Some(layout) = self.layout.or_else(|| choose(data, &header, ended)) else {
            let most = padded(&header).bytes() + MARK.len();
            return if data.len() >= most {
                Err(NoStream)
            } else {
                Ok(false)
            };
        };
        self.layout = Some(layout);
        if data.len() < layout.bytes() {
            return Ok(false);
        }
        let encoding = self.encoding.unwrap_or(header.encoding);
        convert(data, &header, layout, encoding, self.format(), pixels);
        self.buffer.drain(..MARK.len() + layout.bytes());
        Ok(true)
    }
}

/// Writes a frame in `format`.
fn convert(
    data: &[u8],
    header: &Header,
    layout: Layout,
    encoding: Encoding,
    format: PixelFormat,
    pixels: &mut Vec<u8>,
) {
    let formula = encoding.formula();
    let width = header.width;
    let (luma, chroma) = data.split_at(layout.luma.0 * layout.luma.1);
    let (blue, red) = chroma.split_at(layout.chroma.0 * layout.chroma.1);
    pixels.clear();
    for (y, row) in luma.chunks(layout.luma.0).take(header.height).enumerate() {
        let row = &row[..width];
        let Chroma::Shared(across, down) = header.chroma else {
            pixels.extend(row.iter().map(|&y| formula.expanded(y)));
            continue;
        };
        if !format.is_colour() && formula.needs_no_colour() {
            if formula.is_plain() {
                pixels.extend_from_slice(row);
            } else {
                pixels.extend(row.iter().map(|&y| formula.expanded(y)));
            }
            continue;
        }
        let start = y / down * layout.chroma.0;
        let (blue, red) = (&blue[start..], &red[start..]);
        for (x, &y) in row.iter().enumerate() {
            let colour = [y, blue[x / across], red[x / across]];
            if format.is_colour() {
                pixels.extend_from_slice(&formula.rgb(colour));
            } else {
                pixels.push(formula.luma(colour));
            }
        }
    }
}

/// Whether a stream begins with a header that is understood, and a frame.
pub(super) fn begins(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .is_some_and(|end| header(&bytes[..end]).is_some() && bytes[end + 1..].starts_with(MARK))
}

/// What a header tells, if it is one. Where it does not say otherwise, numbers are of limited range, but
/// for `C420jpeg`.
fn header(header: &[u8]) -> Option<Header> {
    let header = str::from_utf8(header).ok()?;
    let mut words = header.split(' ');
    if words.next() != Some("YUV4MPEG2") {
        return None;
    }
    let (mut width, mut height) = (None, None);
    let (mut chroma, mut limited, mut told) = (Chroma::Shared(2, 2), true, None);
    for word in words {
        let side = |text: &str| {
            text.parse()
                .ok()
                .filter(|side| (1..=MAX_SIDE).contains(side))
        };
        match word.split_at_checked(1) {
            Some(("W", text)) => width = side(text),
            Some(("H", text)) => height = side(text),
            Some(("C", text)) => {
                limited = text != "420jpeg";
                chroma = match text {
                    "420" | "420jpeg" | "420mpeg2" | "420paldv" => Chroma::Shared(2, 2),
                    "422" => Chroma::Shared(2, 1),
                    "444" => Chroma::Shared(1, 1),
                    "mono" => Chroma::None,
                    _ => return None,
                };
            }
            Some(("X", "COLORRANGE=FULL")) => told = Some(false),
            Some(("X", "COLORRANGE=LIMITED")) => told = Some(true),
            _ => {}
        }
    }
    Some(Header {
        width: width?,
        height: height?,
        chroma,
        encoding: Encoding {
            limited: told.unwrap_or(limited),
            ..Encoding::VIDEO
        },
    })
}

/// As the format says: no bytes between rows and planes.
fn tight(header: &Header) -> Layout {
    let &Header { width, height, .. } = header;
    Layout {
        luma: (width, height),
        chroma: match header.chroma {
            Chroma::None => (0, 0),
            Chroma::Shared(across, down) => (width.div_ceil(across), height.div_ceil(down)),
        },
    }
}

/// As GStreamer's `y4menc` writes sizes that are no multiples of 8: in the layout of its own memory.
fn padded(header: &Header) -> Layout {
    let &Header { width, height, .. } = header;
    let stride = width.next_multiple_of(4);
    match header.chroma {
        Chroma::None => Layout {
            luma: (stride, height),
            chroma: (0, 0),
        },
        Chroma::Shared(across, down) => {
            let rows = height.next_multiple_of(down);
            Layout {
                luma: (stride, rows),
                chroma: (width.div_ceil(across).next_multiple_of(4), rows / down),
            }
        }
    }
}

/// The layout after which the next frame begins, or the stream ends.
fn choose(data: &[u8], header: &Header, ended: bool) -> Option<Layout> {
    let layouts = [tight(header), padded(header)];
    if layouts[0] == layouts[1] {
        return Some(layouts[0]);
    }
    layouts.into_iter().find(|layout| {
        data.get(layout.bytes()..)
            .is_some_and(|rest| rest.starts_with(MARK) || (rest.is_empty() && ended))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(width: usize, height: usize, chroma: &str) -> (String, Header) {
        let text = format!("YUV4MPEG2 W{width} H{height} Ip A1:1 F30:1 C{chroma}\n");
        let told = header(text.trim_end().as_bytes()).expect("a header");
        (text, told)
    }

    fn stream(text: &str, header: &Header, layout: Layout, frames: u8) -> Vec<u8> {
        let (width, height) = (header.width, header.height);
        let mut bytes = text.as_bytes().to_vec();
        for frame in 0..frames {
            bytes.extend_from_slice(MARK);
            let mut data = vec![0xEE; layout.bytes()];
            for (row, pixels) in data.chunks_mut(layout.luma.0).take(height).enumerate() {
                pixels[..width].fill(frame * 16 + row as u8);
            }
            bytes.extend_from_slice(&data);
        }
        bytes
    }

    #[test]
    fn frames_come_out_whatever_the_pieces_and_the_layout() {
        for (width, height) in [(16, 8), (5, 3), (6, 4), (13, 7)] {
            let (text, header) = about(width, height, "420jpeg");
            for layout in [tight(&header), padded(&header)] {
                for piece in [1, 7, 10_000] {
                    let bytes = stream(&text, &header, layout, 3);
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
            "YUV4MPEG2 W4 H4 C411\n",
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

    /// The only frame of a stream of 3 by 2 pixels in one colour.
    fn one(chroma: &str, [y, blue, red]: [u8; 3], reader: &mut Reader) -> Vec<u8> {
        let (text, header) = about(3, 2, chroma);
        let layout = tight(&header);
        let plane = layout.chroma.0 * layout.chroma.1;
        reader.push(text.as_bytes());
        reader.push(MARK);
        reader.push(&[y; 6]);
        reader.push(&vec![blue; plane]);
        reader.push(&vec![red; plane]);
        let mut pixels = Vec::new();
        assert_eq!(reader.frame(&mut pixels, true), Ok(true));
        pixels
    }

    #[test]
    fn colours_come_out_of_every_chroma_and_range() {
        for (chroma, red) in [
            ("420jpeg", [76, 85, 255]),
            ("420mpeg2", [82, 90, 240]),
            ("420", [82, 90, 240]),
            ("422", [82, 90, 240]),
            ("444", [82, 90, 240]),
            ("444 XCOLORRANGE=FULL", [76, 85, 255]),
            ("420jpeg XCOLORRANGE=LIMITED", [82, 90, 240]),
        ] {
            let found = one(chroma, red, &mut Reader::new(PixelFormat::Rgb8, None));
            assert_eq!(found.len(), 18, "{chroma}");
            for colour in found.as_chunks::<3>().0 {
                let is_red = colour[0] >= 254 && colour[1] <= 1 && colour[2] <= 1;
                assert!(is_red, "{chroma} {colour:?}");
            }
            let found = one(chroma, red, &mut Reader::default());
            assert_eq!(found.len(), 6, "{chroma}");
            assert!(found.iter().all(|luma| luma.abs_diff(76) <= 1), "{chroma}");
        }
        let mut grey = Reader::new(PixelFormat::Rgb8, None);
        assert_eq!(one("mono", [235, 0, 0], &mut grey), [255; 6]);
        assert_eq!(grey.format(), PixelFormat::Grey8);
        let mut full = Reader::new(PixelFormat::Grey8, Some(Encoding::JPEG));
        assert_eq!(one("444", [16, 128, 128], &mut full), [16; 6]);
    }
}
