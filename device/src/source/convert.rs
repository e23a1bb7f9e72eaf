//! What cameras send, as luma or as red, green and blue.

use shared::image::{PixelFormat, luma};

use super::colour::{self, Encoding};
use super::format::{CameraFormat, GreyRange};
use super::jpeg;

/// A frame that does not hold what its form promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// What frames are, and what is to become of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversion {
    /// Their form.
    pub format: CameraFormat,
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Bytes from one row to the next, of the first plane and of one of chroma with memory of its own;
    /// 0 if rows follow closely. A JPEG picture has no rows, and its strides do not matter.
    pub strides: [usize; 2],
    /// How luma and chroma mean colours.
    pub encoding: Encoding,
    /// How luma of more than 8 bits becomes 8.
    pub range: GreyRange,
    /// What is wanted: luma ([`PixelFormat::Grey8`]), or red, green and blue ([`PixelFormat::Rgb8`]).
    pub wanted: PixelFormat,
}

impl Conversion {
    /// Of frames without padding, of full range, as JPEG has it.
    #[must_use]
    pub fn new(format: CameraFormat, width: usize, height: usize, wanted: PixelFormat) -> Self {
        Self {
            format,
            width,
            height,
            strides: [0; 2],
            encoding: Encoding::JPEG,
            range: GreyRange::Full,
            wanted,
        }
    }
}

/// Turns frames of one form and size into luma, or into red, green and blue.
#[derive(Debug)]
pub struct Converter {
    about: Conversion,
    formula: colour::Formula,
}

impl Converter {
    /// For frames as `about` says. Whoever wants colour of a form that has none gets grey.
    #[must_use]
    pub fn new(mut about: Conversion) -> Self {
        let row = about.width * about.format.pixel_bytes();
        // A pair of pixels shares its chroma: the last may lack a partner, but not its bytes.
        let row = match about.format {
            CameraFormat::Yuyv | CameraFormat::Uyvy => row.next_multiple_of(4),
            _ => row,
        };
        about.strides[0] = about.strides[0].max(row);
        about.strides[1] = match about.format {
            CameraFormat::Nv12 | CameraFormat::Nv21 => {
                about.strides[0].max(about.width.next_multiple_of(2))
            }
            CameraFormat::Nv12m => about.strides[1].max(about.width.next_multiple_of(2)),
            _ => (about.strides[0] / 2).max(about.width.div_ceil(2)),
        };
        about.wanted = if about.wanted.is_colour() && about.format.is_colour() {
            PixelFormat::Rgb8
        } else {
            PixelFormat::Grey8
        };
        Self {
            about,
            formula: about.encoding.formula(),
        }
    }

    /// Width and height, in pixels.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.about.width, self.about.height)
    }

    /// What comes out.
    #[must_use]
    pub fn format(&self) -> PixelFormat {
        self.about.wanted
    }

    /// Writes the frame in `planes` to `pixels`, row-major: one plane, but two of NV12M where colour is wanted.
    ///
    /// # Errors
    /// If the frame does not hold what its form promises.
    pub fn convert(&self, planes: [&[u8]; 2], pixels: &mut Vec<u8>) -> Result<(), Corrupt> {
        let Conversion {
            format,
            width,
            height,
            wanted,
            ..
        } = self.about;
        pixels.resize(width * height * wanted.bytes(), 0);
        if width == 0 || height == 0 {
            return Ok(());
        }
        if format == CameraFormat::Mjpeg {
            return jpeg::decode_frame(planes[0], self.size(), wanted, pixels).map_err(|_| Corrupt);
        }
        let needs_chroma =
            format.is_colour() && (wanted.is_colour() || !self.formula.needs_no_colour());
        match format {
            CameraFormat::Grey => self.luma_plane(planes[0], pixels),
            CameraFormat::Y10 | CameraFormat::Y12 | CameraFormat::Y16 => {
                self.wide(planes[0], pixels)
            }
            CameraFormat::Rgb3 | CameraFormat::Bgr3 => self.colours(planes[0], pixels),
            CameraFormat::Yuyv | CameraFormat::Uyvy => self.pairs(planes[0], pixels, needs_chroma),
            _ if needs_chroma => self.planar(planes, pixels),
            _ => self.luma_plane(planes[0], pixels),
        }
    }

    /// The first plane, if all its rows are there: the last need not be padded.
    fn rows<'a>(&self, bytes: &'a [u8]) -> Result<std::slice::Chunks<'a, u8>, Corrupt> {
        let stride = self.about.strides[0];
        let row = self.about.width * self.about.format.pixel_bytes();
        if bytes.len() < (self.about.height - 1) * stride + row {
            return Err(Corrupt);
        }
        Ok(bytes.chunks(stride))
    }

    fn luma_plane(&self, bytes: &[u8], pixels: &mut [u8]) -> Result<(), Corrupt> {
        let width = self.about.width;
        for (to, from) in pixels.chunks_exact_mut(width).zip(self.rows(bytes)?) {
            if self.formula.is_plain() {
                to.copy_from_slice(&from[..width]);
            } else {
                for (to, from) in to.iter_mut().zip(from) {
                    *to = self.formula.expanded(*from);
                }
            }
        }
        Ok(())
    }

    /// Luma of 10, 12 or 16 bits.
    fn wide(&self, bytes: &[u8], pixels: &mut [u8]) -> Result<(), Corrupt> {
        let width = self.about.width;
        let (low, high) = match self.about.range {
            GreyRange::Full => {
                let bits = self.about.format.bits();
                if self.about.encoding.limited {
                    (16 << (bits - 8), 235 << (bits - 8))
                } else {
                    (0, u16::MAX >> (16 - bits))
                }
            }
            GreyRange::Between(low, high) => (low, high),
            GreyRange::Auto => {
                let rows = self.rows(bytes)?.take(self.about.height);
                rows.flat_map(|row| row.as_chunks::<2>().0.iter().take(width))
                    .map(|value| u16::from_le_bytes(*value))
                    .fold((u16::MAX, 0), |(low, high), value| {
                        (low.min(value), high.max(value))
                    })
            }
        };
        let span = u32::from(high.saturating_sub(low)).max(1);
        for (to, from) in pixels.chunks_exact_mut(width).zip(self.rows(bytes)?) {
            for (to, from) in to.iter_mut().zip(from.as_chunks::<2>().0) {
                let value = u16::from_le_bytes(*from).clamp(low, high.max(low)) - low;
                *to = ((u32::from(value) * 255 + span / 2) / span) as u8;
            }
        }
        Ok(())
    }

    /// Three bytes a pixel.
    fn colours(&self, bytes: &[u8], pixels: &mut [u8]) -> Result<(), Corrupt> {
        let (width, wanted) = (self.about.width, self.about.wanted);
        let swapped = self.about.format == CameraFormat::Bgr3;
        let limited = self.about.encoding.limited;
        let rows = pixels.chunks_exact_mut(width * wanted.bytes());
        for (to, from) in rows.zip(self.rows(bytes)?) {
            let colours = from.as_chunks::<3>().0.iter().map(|&[a, b, c]| {
                let colour = if swapped { [c, b, a] } else { [a, b, c] };
                if limited {
                    colour.map(|part| self.formula.expanded(part))
                } else {
                    colour
                }
            });
            if wanted.is_colour() {
                for (to, colour) in to.as_chunks_mut::<3>().0.iter_mut().zip(colours) {
                    *to = colour;
                }
            } else {
                for (to, colour) in to.iter_mut().zip(colours) {
                    *to = luma(colour);
                }
            }
        }
        Ok(())
    }

    /// Luma and chroma in turn.
    fn pairs(&self, bytes: &[u8], pixels: &mut [u8], needs_chroma: bool) -> Result<(), Corrupt> {
        let (width, wanted) = (self.about.width, self.about.wanted);
        let first = usize::from(self.about.format == CameraFormat::Uyvy);
        let rows = pixels.chunks_exact_mut(width * wanted.bytes());
        for (to, from) in rows.zip(self.rows(bytes)?) {
            if !needs_chroma {
                for (to, from) in to.iter_mut().zip(from.as_chunks::<2>().0) {
                    *to = self.formula.expanded(from[first]);
                }
                continue;
            }
            for (x, to) in to.chunks_exact_mut(wanted.bytes()).enumerate() {
                let at = x / 2 * 4;
                let part = |offset: usize| from.get(at + offset).copied().unwrap_or(128);
                let y = part(x % 2 * 2 + first);
                self.write(to, [y, part(1 - first), part(3 - first)]);
            }
        }
        Ok(())
    }

    /// A plane of luma, and one or two of chroma of half its sides.
    fn planar(&self, planes: [&[u8]; 2], pixels: &mut [u8]) -> Result<(), Corrupt> {
        let Conversion {
            format,
            width,
            height,
            strides: [stride, chroma_stride],
            wanted,
            ..
        } = self.about;
        let rows = self.rows(planes[0])?;
        let chroma = match format {
            CameraFormat::Nv12m => planes[1],
            _ => planes[0].get(stride * height..).ok_or(Corrupt)?,
        };
        let (across, down) = (width.div_ceil(2), height.div_ceil(2));
        // Where a pixel's two differences are: steps between columns, and from blue to red.
        let (step, blue, red) = match format {
            CameraFormat::Yu12 => (1, 0, chroma_stride * down),
            CameraFormat::Nv21 => (2, 1, 0),
            _ => (2, 0, 1),
        };
        let last = (down - 1) * chroma_stride + (across - 1) * step + blue.max(red);
        if chroma.len() <= last {
            return Err(Corrupt);
        }
        let lines = pixels.chunks_exact_mut(width * wanted.bytes());
        for (y, (to, from)) in lines.zip(rows).enumerate() {
            let chroma = &chroma[y / 2 * chroma_stride..];
            for (x, (to, y)) in to.chunks_exact_mut(wanted.bytes()).zip(from).enumerate() {
                let at = x / 2 * step;
                self.write(to, [*y, chroma[at + blue], chroma[at + red]]);
            }
        }
        Ok(())
    }

    #[inline]
    fn write(&self, to: &mut [u8], colour: [u8; 3]) {
        match to {
            [to] => *to = self.formula.luma(colour),
            _ => to.copy_from_slice(&self.formula.rgb(colour)),
        }
    }
}

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;

    use super::super::colour::Matrix;
    use super::*;

    const GREY: PixelFormat = PixelFormat::Grey8;

    /// What becomes of a frame without padding.
    fn converted(about: Conversion, bytes: &[u8]) -> Result<Vec<u8>, Corrupt> {
        let mut pixels = Vec::new();
        Converter::new(about).convert([bytes, &[]], &mut pixels)?;
        Ok(pixels)
    }

    fn padded(format: CameraFormat, width: usize, height: usize, stride: usize) -> Conversion {
        Conversion {
            strides: [stride, 0],
            ..Conversion::new(format, width, height, GREY)
        }
    }

    #[test]
    fn rows_are_cut_out_of_their_padding() {
        let grey = [1, 2, 3, 0, 4, 5, 6, 0];
        let about = padded(CameraFormat::Grey, 3, 2, 4);
        assert_eq!(converted(about, &grey), Ok(vec![1, 2, 3, 4, 5, 6]));
        let unpadded = converted(about, &grey[..7]);
        assert_eq!(unpadded, Ok(vec![1, 2, 3, 4, 5, 6]), "of the last row");
        assert_eq!(converted(about, &grey[..6]), Err(Corrupt));

        let yuyv = [1, 128, 2, 128, 9, 9, 3, 128, 4, 128, 9, 9];
        let about = padded(CameraFormat::Yuyv, 2, 2, 6);
        assert_eq!(converted(about, &yuyv), Ok(vec![1, 2, 3, 4]));
        assert_eq!(converted(about, &yuyv[..9]), Err(Corrupt));

        let about = padded(CameraFormat::Nv12, 2, 2, 0);
        assert_eq!(
            converted(about, &[1, 2, 3, 4, 128, 128]),
            Ok(vec![1, 2, 3, 4])
        );
    }

    /// A frame of 4 by 2 pixels: two of one colour, then two of another, in each form that has colour; the
    /// colours are `[Y, Cb, Cr]`, or what is given for red, green and blue.
    fn frame(format: CameraFormat, [a, b]: [[u8; 3]; 2]) -> [Vec<u8>; 2] {
        let luma = [a[0], a[0], b[0], b[0]].repeat(2);
        let together = |chroma: &[u8]| [[&luma[..], chroma].concat(), Vec::new()];
        match format {
            CameraFormat::Yuyv => {
                let row = [a[0], a[1], a[0], a[2], b[0], b[1], b[0], b[2]];
                [row.repeat(2), Vec::new()]
            }
            CameraFormat::Uyvy => {
                let row = [a[1], a[0], a[2], a[0], b[1], b[0], b[2], b[0]];
                [row.repeat(2), Vec::new()]
            }
            CameraFormat::Nv12 => together(&[a[1], a[2], b[1], b[2]]),
            CameraFormat::Nv21 => together(&[a[2], a[1], b[2], b[1]]),
            CameraFormat::Yu12 => together(&[a[1], b[1], a[2], b[2]]),
            CameraFormat::Nv12m => [luma, vec![a[1], a[2], b[1], b[2]]],
            CameraFormat::Rgb3 => [[a, a, b, b].concat().repeat(2), Vec::new()],
            CameraFormat::Bgr3 => {
                let [a, b] = [a, b].map(|[red, green, blue]| [blue, green, red]);
                [[a, a, b, b].concat().repeat(2), Vec::new()]
            }
            _ => unreachable!("it has no colour, or is a JPEG"),
        }
    }

    #[test]
    fn every_form_gives_its_colours_and_their_luma() {
        // Red and blue in limited range, by BT.601 and by BT.709.
        for (matrix, sent) in [
            (Matrix::Bt601, [[82, 90, 240], [41, 240, 110]]),
            (Matrix::Bt709, [[63, 102, 240], [32, 240, 118]]),
        ] {
            for format in CameraFormat::serving(PixelFormat::Rgb8) {
                let is_rgb = matches!(format, CameraFormat::Rgb3 | CameraFormat::Bgr3);
                if *format == CameraFormat::Mjpeg {
                    continue;
                }
                let sent = if is_rgb {
                    [[255, 0, 0], [0, 0, 255]]
                } else {
                    sent
                };
                let planes = frame(*format, sent);
                for wanted in [PixelFormat::Rgb8, GREY] {
                    let mut about = Conversion::new(*format, 4, 2, wanted);
                    about.encoding = Encoding {
                        matrix,
                        limited: !is_rgb,
                    };
                    let mut pixels = Vec::new();
                    let converter = Converter::new(about);
                    let planes = [&planes[0][..], &planes[1][..]];
                    assert_eq!(converter.convert(planes, &mut pixels), Ok(()));
                    let expected = if wanted == GREY {
                        [76, 76, 29, 29].repeat(2)
                    } else {
                        [[255, 0, 0], [255, 0, 0], [0, 0, 255], [0, 0, 255]]
                            .concat()
                            .repeat(2)
                    };
                    assert_eq!(pixels.len(), expected.len());
                    for (found, expected) in pixels.iter().zip(&expected) {
                        assert!(found.abs_diff(*expected) <= 2, "{about:?} {pixels:?}");
                    }
                    let last = planes.map(|plane| &plane[..plane.len().saturating_sub(1)]);
                    let is_short = wanted.is_colour() || is_rgb || matrix != Matrix::Bt601;
                    if is_short {
                        assert_eq!(
                            converter.convert(last, &mut pixels),
                            Err(Corrupt),
                            "{about:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn limited_luma_is_expanded() {
        let mut about = Conversion::new(CameraFormat::Nv12, 2, 2, GREY);
        about.encoding = Encoding::VIDEO;
        let bytes = [16, 235, 0, 255, 128, 128];
        assert_eq!(converted(about, &bytes), Ok(vec![0, 255, 0, 255]));
        about.encoding = Encoding::JPEG;
        assert_eq!(converted(about, &bytes), Ok(vec![16, 235, 0, 255]));
    }

    #[test]
    fn wide_luma_is_scaled_as_asked() {
        let bytes: Vec<u8> = [0_u16, 512, 1023, 700]
            .iter()
            .flat_map(|it| it.to_le_bytes())
            .collect();
        let mut about = Conversion::new(CameraFormat::Y10, 4, 1, GREY);
        assert_eq!(converted(about, &bytes), Ok(vec![0, 128, 255, 174]));
        about.encoding.limited = true;
        assert_eq!(converted(about, &bytes), Ok(vec![0, 130, 255, 185]));
        about.range = GreyRange::Between(500, 700);
        assert_eq!(converted(about, &bytes), Ok(vec![0, 15, 255, 255]));
        about.range = GreyRange::Auto;
        assert_eq!(converted(about, &bytes[2..]).err(), Some(Corrupt));
        about.width = 2;
        assert_eq!(converted(about, &bytes[2..6]), Ok(vec![0, 255]));
        assert_eq!(
            converted(about, &[7, 0, 7, 0]),
            Ok(vec![0, 0]),
            "no contrast"
        );
        let about = Conversion::new(CameraFormat::Y16, 2, 1, PixelFormat::Rgb8);
        assert_eq!(
            converted(about, &[0xff, 0xff, 0x80, 0x80]),
            Ok(vec![255, 128])
        );
    }

    /// A picture of a slope, in colour, and its JPEG.
    fn jpeg(width: u16, height: u16) -> (Vec<u8>, Vec<u8>) {
        let grey = |x: u16, y: u16| ((x * 3 + y * 5) % 256) as u8;
        let pixels = || (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let colours: Vec<u8> = pixels()
            .flat_map(|(x, y)| [grey(x, y), grey(x, y), grey(x, y) / 2 + 64])
            .collect();
        let mut file = Vec::new();
        JpegEncoder::new_with_quality(&mut file, 95)
            .encode(
                &colours,
                width.into(),
                height.into(),
                image::ExtendedColorType::Rgb8,
            )
            .expect("encoded");
        // ITU-R BT.601, as JPEG's luma is defined.
        let luma = colours
            .chunks_exact(3)
            .map(|colour| {
                let [r, g, b] = [colour[0], colour[1], colour[2]].map(f32::from);
                (0.299 * r + 0.587 * g + 0.114 * b).round() as u8
            })
            .collect();
        (luma, file)
    }

    /// The picture without its Huffman tables, as many cameras send it.
    fn without_tables(file: &[u8]) -> Vec<u8> {
        let mut bare = file[..2].to_vec();
        let mut at = 2;
        loop {
            let length = 2 + usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]]));
            match file[at + 1] {
                0xc4 => {}
                0xda => break,
                _ => bare.extend(&file[at..at + length]),
            }
            at += length;
        }
        bare.extend(&file[at..]);
        bare
    }

    fn assert_close(found: &[u8], expected: &[u8]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.abs_diff(*expected) <= 12, "{found} {expected}");
        }
    }

    #[test]
    fn a_jpeg_frame_gives_its_luma_with_and_without_tables() {
        let (expected, file) = jpeg(40, 24);
        let form = Converter::new(Conversion::new(CameraFormat::Mjpeg, 40, 24, GREY));
        let mut luma = Vec::new();
        assert_eq!(form.convert([&file, &[]], &mut luma), Ok(()));
        assert_close(&luma, &expected);

        let bare = without_tables(&file);
        assert!(bare.len() + 300 < file.len(), "the tables are gone");
        luma.clear();
        assert_eq!(form.convert([&bare, &[]], &mut luma), Ok(()));
        assert_close(&luma, &expected);

        let padded = [&file[..], &[0; 64]].concat();
        assert_eq!(form.convert([&padded, &[]], &mut luma), Ok(()));
        assert_close(&luma, &expected);
    }

    #[test]
    fn a_jpeg_frame_gives_its_colours() {
        let colour = [200, 40, 90];
        let mut file = Vec::new();
        JpegEncoder::new_with_quality(&mut file, 95)
            .encode(
                &colour.repeat(16 * 8),
                16,
                8,
                image::ExtendedColorType::Rgb8,
            )
            .expect("encoded");
        let about = Conversion::new(CameraFormat::Mjpeg, 16, 8, PixelFormat::Rgb8);
        for file in [without_tables(&file), file] {
            let pixels = converted(about, &file).expect("whole");
            assert_eq!(pixels.len(), 3 * 16 * 8);
            for (found, expected) in pixels.iter().zip(colour.iter().cycle()) {
                assert!(found.abs_diff(*expected) <= 3, "{found} {expected}");
            }
        }
        let mut grey = Vec::new();
        JpegEncoder::new_with_quality(&mut grey, 95)
            .encode(&[77; 16 * 8], 16, 8, image::ExtendedColorType::L8)
            .expect("encoded");
        assert_eq!(
            converted(about, &grey),
            Ok(vec![77; 3 * 16 * 8]),
            "in three"
        );
    }

    #[test]
    fn a_damaged_jpeg_frame_is_told() {
        let (_, file) = jpeg(64, 64);
        let form = Converter::new(Conversion::new(CameraFormat::Mjpeg, 64, 64, GREY));
        let mut luma = Vec::new();
        for length in [0, 1, 2, 3, 20, file.len() / 2, file.len() - 3] {
            assert_eq!(
                form.convert([&file[..length], &[]], &mut luma),
                Err(Corrupt),
                "{length}"
            );
            let zeros = vec![0; file.len() - length];
            let padded = [&file[..length], &zeros].concat();
            assert_eq!(
                form.convert([&padded, &[]], &mut luma),
                Err(Corrupt),
                "{length}"
            );
            // Some cameras close what they have lost the end of.
            let closed = [&file[..length], b"\xff\xd9"].concat();
            assert_eq!(
                form.convert([&closed, &[]], &mut luma),
                Err(Corrupt),
                "{length}"
            );
        }
        let without_mark = &file[..file.len() - 2];
        assert_eq!(
            form.convert([without_mark, &[]], &mut luma),
            Ok(()),
            "the end mark alone is missing"
        );
        let mut other = file.clone();
        other[0] = 0;
        assert_eq!(form.convert([&other, &[]], &mut luma), Err(Corrupt));
        let larger = Converter::new(Conversion::new(CameraFormat::Mjpeg, 64, 72, GREY));
        assert_eq!(
            larger.convert([&file, &[]], &mut luma),
            Err(Corrupt),
            "another size"
        );
    }
}
