//! JPEG pictures, of files and of cameras: what the decoder leaves out. Whether a picture is whole, which
//! colours its components are, and how it is to be turned.

mod entropy;
mod tables;

use image::metadata::Orientation;
use shared::image::PixelFormat;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use self::entropy::{Component, Tally};
use self::tables::USUAL_CODES;
use super::colour::Encoding;

/// Most memory that a picture may take, in bytes.
const MAX_MEMORY: usize = 512 << 20;

/// Why a JPEG picture was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    /// It ends before its last row.
    #[error("it is cut off")]
    Cut,
    /// A code that is none.
    #[error("its data are damaged")]
    Code,
    /// A header that makes no sense.
    #[error("its header is damaged")]
    Header,
    /// Sides that are too long, or 0.
    #[error("{0}x{1} pixels are too many")]
    Size(usize, usize),
    /// Components of another number than 1, 3 and 4.
    #[error("pictures of {0} components are not supported")]
    Components(usize),
    /// What the decoder does not take.
    #[error("{0}")]
    Decoder(String),
}

/// What the components of a picture are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colours {
    Grey,
    YCbCr,
    Rgb,
    /// Inverted, as Adobe's programs write them, and all others after them.
    Cmyk,
    /// As CMYK, the first three in the way of YCbCr.
    Ycck,
}

/// A picture in parts.
#[derive(Debug)]
struct Parts {
    /// The picture with all that the decoder needs and nothing else.
    file: Vec<u8>,
    width: usize,
    height: usize,
    colours: Colours,
    orientation: Orientation,
}

/// A decoded picture.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Grey or RGB, 8 bit.
    pub(super) format: PixelFormat,
    pub(super) pixels: Vec<u8>,
    /// How the camera was held.
    pub(super) orientation: Orientation,
}

/// Whether bytes begin as a JPEG picture does.
pub(super) fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xff\xd8\xff")
}

/// Decodes a whole picture in its own colours: grey or RGB.
///
/// # Errors
/// If it is damaged, was cut off (only the end mark may be missing), has a side beyond `max_side`, or is of
/// a kind that is not supported.
pub(super) fn decode(bytes: &[u8], max_side: usize) -> Result<Decoded, Damage> {
    let parts = split(bytes, max_side)?;
    // The decoder knows no RGB; components that it takes for something else and does not convert
    // come as they are.
    let space = match parts.colours {
        Colours::Grey => ColorSpace::Luma,
        Colours::YCbCr => ColorSpace::RGB,
        Colours::Rgb => ColorSpace::YCbCr,
        Colours::Cmyk | Colours::Ycck => ColorSpace::CMYK,
    };
    let decoded = parts.decoder(space).decode()?;
    let (format, pixels) = match parts.colours {
        Colours::Grey => (PixelFormat::Grey8, decoded),
        Colours::YCbCr | Colours::Rgb => (PixelFormat::Rgb8, decoded),
        Colours::Cmyk => (PixelFormat::Rgb8, without_black(&decoded, false)),
        Colours::Ycck => (PixelFormat::Rgb8, without_black(&decoded, true)),
    };
    if pixels.len() != parts.width * parts.height * format.bytes() {
        return Err(Damage::Header);
    }
    Ok(Decoded {
        width: parts.width,
        height: parts.height,
        format,
        pixels,
        orientation: parts.orientation,
    })
}

/// Decodes a whole picture of a camera, of this `size`, to luma or to red, green and blue. It may be followed
/// by zeros, which fill a buffer.
///
/// # Errors
/// If it is damaged, was cut off, is of another size, or is neither grey nor Y'CbCr.
pub(super) fn decode_frame(
    bytes: &[u8],
    size: (usize, usize),
    wanted: PixelFormat,
    pixels: &mut [u8],
) -> Result<(), Damage> {
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap_or(0);
    let parts = split(bytes.get(..=end).unwrap_or_default(), size.0.max(size.1))?;
    let is_usual = matches!(parts.colours, Colours::Grey | Colours::YCbCr);
    if (parts.width, parts.height) != size || !is_usual {
        return Err(Damage::Header);
    }
    let space = if wanted.is_colour() {
        ColorSpace::RGB
    } else {
        ColorSpace::Luma
    };
    let mut decoder = parts.decoder(space);
    decoder.decode_headers()?;
    if decoder.output_buffer_size() != Some(pixels.len()) {
        return Err(Damage::Header);
    }
    Ok(decoder.decode_into(pixels)?)
}

impl Parts {
    fn decoder(&self, space: ColorSpace) -> JpegDecoder<ZCursor<&[u8]>> {
        let options = DecoderOptions::new_fast()
            .jpeg_set_out_colorspace(space)
            .set_strict_mode(true)
            .set_max_width(self.width)
            .set_max_height(self.height);
        JpegDecoder::new_with_options(ZCursor::new(&self.file[..]), options)
    }
}

impl From<DecodeErrors> for Damage {
    fn from(error: DecodeErrors) -> Self {
        let text = format!("{error:?}");
        Self::Decoder(text.chars().filter(|it| !it.is_control()).collect())
    }
}

/// The colours of inverted CMYK, or of YCCK, as Pillow has them: each ink takes its part of what black leaves.
fn without_black(pixels: &[u8], is_ycck: bool) -> Vec<u8> {
    let encoding = Encoding::JPEG;
    let mut colours = Vec::with_capacity(pixels.len() / 4 * 3);
    for &[a, b, c, light] in pixels.as_chunks::<4>().0 {
        let inks = if is_ycck {
            encoding.rgb([a, b, c]).map(|part| 255 - part)
        } else {
            [a, b, c]
        };
        let light = u32::from(light);
        colours.extend(inks.map(|ink| {
            let product = (255 - u32::from(ink)) * light + 128;
            light.saturating_sub((product + (product >> 8)) >> 8) as u8
        }));
    }
    colours
}

/// Goes through the segments of a picture.
fn split(bytes: &[u8], max_side: usize) -> Result<Parts, Damage> {
    let mut rest = bytes.strip_prefix(b"\xff\xd8").ok_or(Damage::Header)?;
    let mut file = b"\xff\xd8".to_vec();
    file.reserve(bytes.len());
    let mut frame: Option<(Tally, usize, usize, Vec<u8>)> = None;
    let (mut is_jfif, mut adobe, mut has_codes, mut ended) = (false, None, false, false);
    let mut orientation = Orientation::NoTransforms;
    // What comes before the frame's header; its tables have to be known when it comes.
    let mut early: Vec<(u8, &[u8])> = Vec::new();
    while let Some((mark, behind)) = next_mark(rest) {
        match mark {
            0xd9 => {
                ended = true;
                break;
            }
            0x01 | 0xd0..=0xd8 => {
                rest = behind;
                continue;
            }
            _ => {}
        }
        // A segment that is cut off is the end of the file.
        let Some((body, behind)) = segment(behind) else {
            break;
        };
        rest = behind;
        match mark {
            0xe0 => is_jfif |= body.starts_with(b"JFIF\0"),
            0xe1 => {
                if let Some(exif) = body.strip_prefix(b"Exif\0\0") {
                    orientation =
                        Orientation::from_exif_chunk(exif).unwrap_or(Orientation::NoTransforms);
                }
            }
            0xee => {
                if body.starts_with(b"Adobe") {
                    adobe = body.get(11).copied();
                }
            }
            0xe2..=0xed | 0xef | 0xfe => {}
            0xc4 | 0xdd => {
                has_codes |= mark == 0xc4;
                match &mut frame {
                    Some((tally, ..)) => table(tally, mark, body)?,
                    None => early.push((mark, body)),
                }
                push(&mut file, mark, body);
            }
            0xc0..=0xcf if mark != 0xc8 && mark != 0xcc => {
                if frame.is_some() {
                    return Err(Damage::Header);
                }
                let (mut tally, width, height, ids) = header(mark, body, max_side)?;
                for (mark, body) in early.drain(..) {
                    table(&mut tally, mark, body)?;
                }
                push(&mut file, mark, &numbered(body, 6, 3, &ids));
                frame = Some((tally, width, height, ids));
            }
            0xda => {
                let Some((tally, _, _, ids)) = &mut frame else {
                    return Err(Damage::Header);
                };
                if !has_codes {
                    table(tally, 0xc4, &USUAL_CODES)?;
                    push(&mut file, 0xc4, &USUAL_CODES);
                    has_codes = true;
                }
                push(&mut file, mark, &numbered(body, 1, 2, ids));
                let data;
                (data, rest) = rest.split_at(end_of_data(rest));
                file.extend_from_slice(data);
                tally.scan(body, data)?;
            }
            _ => push(&mut file, mark, body),
        }
    }
    let Some((tally, width, height, ids)) = frame else {
        return Err(Damage::Cut);
    };
    tally.finish(ended)?;
    file.extend_from_slice(b"\xff\xd9");
    let colours = match (ids.len(), adobe) {
        (1, _) => Colours::Grey,
        (3, _) if is_jfif => Colours::YCbCr,
        (3, Some(0)) => Colours::Rgb,
        (3, None) if ids == b"RGB" => Colours::Rgb,
        (3, _) => Colours::YCbCr,
        (4, Some(0) | None) => Colours::Cmyk,
        (4, _) => Colours::Ycck,
        (count, _) => return Err(Damage::Components(count)),
    };
    Ok(Parts {
        file,
        width,
        height,
        colours,
        orientation,
    })
}

/// The next mark, and what is behind it.
fn next_mark(mut rest: &[u8]) -> Option<(u8, &[u8])> {
    loop {
        let at = rest.iter().position(|&byte| byte == 0xff)?;
        rest = &rest[at + 1..];
        match *rest.first()? {
            0 | 0xff => {} // data, and what fills
            mark => return Some((mark, &rest[1..])),
        }
    }
}

/// A segment's body, and what is behind it.
fn segment(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length)).checked_sub(2)?;
    rest.split_at_checked(length)
}

/// Where the data of a scan end: at a mark that is no restart.
fn end_of_data(rest: &[u8]) -> usize {
    let mut at = 0;
    while let Some(step) = rest
        .get(at..)
        .and_then(|rest| rest.iter().position(|&byte| byte == 0xff))
    {
        at += step;
        match rest.get(at + 1) {
            Some(0 | 0xd0..=0xd7) => at += 2,
            Some(0xff) => at += 1,
            Some(_) => return at,
            None => break,
        }
    }
    rest.len()
}

/// A header whose list of components begins at `start`, `step` bytes for each, with numbers from 1 for
/// their names: the decoder takes names for a word about colours.
fn numbered(body: &[u8], start: usize, step: usize, ids: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    let count = body.get(start - 1).copied().unwrap_or(0);
    let list = body.get_mut(start..).unwrap_or_default();
    for name in list.iter_mut().step_by(step).take(count.into()) {
        if let Some(at) = ids.iter().position(|id| id == name) {
            *name = at as u8 + 1;
        }
    }
    body
}

fn push(file: &mut Vec<u8>, mark: u8, body: &[u8]) {
    file.extend_from_slice(&[0xff, mark]);
    file.extend_from_slice(&(body.len() as u16 + 2).to_be_bytes());
    file.extend_from_slice(body);
}

fn table(tally: &mut Tally, mark: u8, body: &[u8]) -> Result<(), Damage> {
    if mark == 0xc4 {
        return tally.set_codes(body);
    }
    tally.set_restart(body);
    Ok(())
}

/// The frame's header: what will be counted, width, height, and the names of the components.
fn header(
    mark: u8,
    body: &[u8],
    max_side: usize,
) -> Result<(Tally, usize, usize, Vec<u8>), Damage> {
    let progressive = match mark {
        0xc0 | 0xc1 => false,
        0xc2 => true,
        _ => {
            return Err(Damage::Decoder(
                "this kind of JPEG (lossless, hierarchical or arithmetic) is not supported"
                    .to_owned(),
            ));
        }
    };
    let &[precision, h1, h0, w1, w0, count, ref list @ ..] = body else {
        return Err(Damage::Header);
    };
    if precision != 8 {
        return Err(Damage::Decoder(format!(
            "JPEG of {precision} bits is not supported"
        )));
    }
    let height = usize::from(u16::from_be_bytes([h1, h0]));
    let width = usize::from(u16::from_be_bytes([w1, w0]));
    let count = usize::from(count);
    let sides = 1..=max_side;
    let memory = width * height * count * if progressive { 3 } else { 1 };
    if !sides.contains(&width) || !sides.contains(&height) || memory > MAX_MEMORY {
        return Err(Damage::Size(width, height));
    }
    if ![1, 3, 4].contains(&count) {
        return Err(Damage::Components(count));
    }
    let list = list.get(..3 * count).ok_or(Damage::Header)?;
    let mut components = Vec::new();
    for &[id, sampling, _] in list.as_chunks::<3>().0 {
        let (horizontal, vertical) = (usize::from(sampling >> 4), usize::from(sampling & 15));
        if !(1..=4).contains(&horizontal) || !(1..=4).contains(&vertical) {
            return Err(Damage::Header);
        }
        components.push(Component {
            id,
            horizontal,
            vertical,
        });
    }
    let ids = components.iter().map(|component| component.id).collect();
    let tally = Tally::new(width, height, progressive, components);
    Ok((tally, width, height, ids))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four noisy fields of 28 by 20 pixels, made by Pillow.
    const BASELINE: &[u8] = include_bytes!("fixtures/baseline.jpg"); // with restart marks
    const PROGRESSIVE: &[u8] = include_bytes!("fixtures/progressive.jpg");
    const RGB: &[u8] = include_bytes!("fixtures/rgb.jpg");
    const CMYK: &[u8] = include_bytes!("fixtures/cmyk.jpg");

    /// A pixel of each field, as Pillow's `convert("RGB")` has them.
    const PLACES: [(usize, usize); 4] = [(10, 8), (45, 8), (10, 30), (45, 30)];

    fn assert_colours(decoded: &Decoded, expected: [[u8; 3]; 4]) {
        assert_eq!((decoded.width, decoded.height), (56, 40));
        for ((x, y), expected) in PLACES.into_iter().zip(expected) {
            let found = &decoded.pixels[3 * (y * decoded.width + x)..][..3];
            let is_close = found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 3);
            assert!(is_close, "{found:?} {expected:?}");
        }
    }

    #[test]
    fn colours_are_those_that_pillow_has() {
        let ycbcr = [[195, 33, 54], [29, 157, 80], [46, 60, 193], [222, 214, 90]];
        let direct = [[192, 33, 53], [27, 157, 77], [44, 63, 193], [223, 213, 93]];
        for (name, file, expected) in [
            ("baseline", BASELINE, ycbcr),
            ("progressive", PROGRESSIVE, ycbcr),
            ("RGB", RGB, direct),
            ("CMYK", CMYK, direct),
        ] {
            let decoded = decode(file, 100).expect(name);
            assert_eq!(decoded.format, PixelFormat::Rgb8, "{name}");
            assert_colours(&decoded, expected);
        }
        assert_eq!(decode(BASELINE, 50).err(), Some(Damage::Size(56, 40)));
    }

    #[test]
    fn a_picture_that_was_cut_off_is_refused_wherever_it_was() {
        for file in [BASELINE, PROGRESSIVE, RGB, CMYK] {
            let whole = decode(file, 100).expect("whole").pixels;
            for missing in [1, 2] {
                let without_mark = decode(&file[..file.len() - missing], 100);
                assert_eq!(without_mark.expect("only the end mark").pixels, whole);
            }
            for length in 3..file.len() - 2 {
                assert!(decode(&file[..length], 100).is_err(), "{length}");
                // Some programs close what they have lost the end of, or fill it up.
                let closed = [&file[..length], b"\xff\xd9"].concat();
                assert!(
                    decode(&closed, 100).is_err() || is_between_scans(file, length),
                    "{length}"
                );
            }
        }
    }

    /// Whether a progressive picture that ends here has all of the scans that it has.
    fn is_between_scans(file: &[u8], length: usize) -> bool {
        let parts = split(&[&file[..length], b"\xff\xd9"].concat(), 100);
        file == PROGRESSIVE && parts.is_ok()
    }

    #[test]
    fn a_picture_without_tables_has_the_usual_ones() {
        let mut file = Vec::new();
        let grey: Vec<u8> = (0..64 * 48)
            .map(|at| (at % 64 * 3 + at / 64) as u8)
            .collect();
        image::codecs::jpeg::JpegEncoder::new(&mut file)
            .encode(&grey, 64, 48, image::ExtendedColorType::L8)
            .expect("encoded");
        let mut bare = file[..2].to_vec();
        let mut rest = &file[2..];
        while let Some((mark, behind)) = next_mark(rest)
            && mark != 0xda
        {
            let (body, behind) = segment(behind).expect("a segment");
            if mark != 0xc4 {
                push(&mut bare, mark, body);
            }
            rest = behind;
        }
        bare.extend_from_slice(rest);
        assert!(bare.len() < file.len());
        let expected = decode(&file, 100).expect("whole");
        let found = decode(&bare, 100).expect("without tables");
        assert_eq!(found.format, PixelFormat::Grey8);
        assert_eq!(found.pixels, expected.pixels);
        assert!(decode(&bare[..bare.len() / 2], 100).is_err());
    }

    #[test]
    fn damaged_headers_are_refused() {
        for at in 0..200 {
            for value in [0, 0xff, 0x11] {
                for file in [BASELINE, PROGRESSIVE] {
                    let mut other = file.to_vec();
                    other[at] = value;
                    if let Ok(decoded) = decode(&other, 100) {
                        let bytes = decoded.format.bytes();
                        let pixels = decoded.width * decoded.height * bytes;
                        assert_eq!(decoded.pixels.len(), pixels);
                    }
                }
            }
        }
        for file in [
            &b"\xff\xd8"[..],
            b"\xff\xd8\xff\xd9",
            b"\xff\xd8\xff\xc0\x00\x02",
            b"",
        ] {
            assert!(decode(file, 100).is_err());
        }
    }
}
