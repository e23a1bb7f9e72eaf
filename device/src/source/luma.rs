//! What cameras send, as luma.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use std::str::FromStr;

/// A form of pictures that cameras send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CameraFormat {
    /// 8-bit luma.
    Grey,
    /// Luma and chroma in turn, 4:2:2.
    Yuyv,
    /// A plane of luma, then one of chroma, 4:2:0.
    Nv12,
    /// As NV12, each plane in memory of its own.
    Nv12m,
    /// A JPEG picture each.
    Mjpeg,
}

impl CameraFormat {
    /// Every form, those first that take the least work.
    pub const ALL: [Self; 5] = [Self::Grey, Self::Nv12, Self::Nv12m, Self::Yuyv, Self::Mjpeg];

    /// Its code in V4L2 (`V4L2_PIX_FMT_…`).
    #[must_use]
    pub const fn four_cc(self) -> [u8; 4] {
        match self {
            Self::Grey => *b"GREY",
            Self::Yuyv => *b"YUYV",
            Self::Nv12 => *b"NV12",
            Self::Nv12m => *b"NM12",
            Self::Mjpeg => *b"MJPG",
        }
    }

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grey => "grey",
            Self::Yuyv => "yuyv",
            Self::Nv12 => "nv12",
            Self::Nv12m => "nv12m",
            Self::Mjpeg => "mjpeg",
        }
    }
}

impl FromStr for CameraFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|format| {
                format.name().eq_ignore_ascii_case(text)
                    || format.four_cc().eq_ignore_ascii_case(text.as_bytes())
            })
            .ok_or_else(|| format!("'{text}' is no format: use grey, nv12, nv12m, yuyv or mjpeg"))
    }
}

/// A frame that does not hold what its form promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// Turns frames of one form and size into luma.
#[derive(Debug)]
pub struct Luma {
    format: CameraFormat,
    width: usize,
    height: usize,
    /// Bytes from one row to the next.
    stride: usize,
    /// A JPEG picture with its tables.
    jpeg: Vec<u8>,
}

impl Luma {
    /// For pictures of `width × height` whose rows begin `stride` bytes after each other; 0 if they
    /// follow closely. A JPEG picture has no rows, and its stride does not matter.
    #[must_use]
    pub fn new(format: CameraFormat, width: usize, height: usize, stride: usize) -> Self {
        let row = match format {
            CameraFormat::Yuyv => 2 * width,
            CameraFormat::Grey | CameraFormat::Nv12 | CameraFormat::Nv12m | CameraFormat::Mjpeg => {
                width
            }
        };
        Self {
            format,
            width,
            height,
            stride: stride.max(row),
            jpeg: Vec::new(),
        }
    }

    /// Width and height, in pixels.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// Writes the frame in `bytes` to `luma`, row-major.
    ///
    /// # Errors
    /// If the frame does not hold what its form promises.
    pub fn convert(&mut self, bytes: &[u8], luma: &mut Vec<u8>) -> Result<(), Corrupt> {
        luma.resize(self.width * self.height, 0);
        let pixel = match self.format {
            CameraFormat::Mjpeg => return self.decode(bytes, luma),
            CameraFormat::Grey | CameraFormat::Nv12 | CameraFormat::Nv12m => 1,
            CameraFormat::Yuyv => 2,
        };
        // The last row need not be followed by what pads the others.
        if self.height > 0 && bytes.len() < (self.height - 1) * self.stride + self.width * pixel {
            return Err(Corrupt);
        }
        let rows = luma.chunks_exact_mut(self.width);
        for (to, from) in rows.zip(bytes.chunks(self.stride)) {
            if pixel == 1 {
                to.copy_from_slice(&from[..self.width]);
            } else {
                for (to, from) in to.iter_mut().zip(from.chunks_exact(pixel)) {
                    *to = from[0];
                }
            }
        }
        Ok(())
    }

    fn decode(&mut self, bytes: &[u8], luma: &mut [u8]) -> Result<(), Corrupt> {
        /// Start of image, and the mark of pictures whose Huffman tables are the usual ones if they
        /// have none (JPEG standard, annex K.3): many cameras leave them out.
        const START: [u8; 11] = *b"\xff\xd8\xff\xe0\x00\x07AVI1\0";
        // The end may be followed by zeros that fill the buffer.
        let end = bytes.iter().rposition(|&byte| byte != 0).unwrap_or(0);
        let picture = &bytes[..bytes.len().min(end + 1)];
        let body = picture.strip_prefix(b"\xff\xd8").ok_or(Corrupt)?;
        if !body.ends_with(b"\xff\xd9") {
            return Err(Corrupt); // cut short, which a decoder would fill with grey
        }
        self.jpeg.clear();
        self.jpeg.extend_from_slice(&START);
        self.jpeg.extend_from_slice(body);
        let options = DecoderOptions::new_fast()
            .jpeg_set_out_colorspace(ColorSpace::Luma)
            .set_strict_mode(true)
            .set_max_width(self.width)
            .set_max_height(self.height);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&self.jpeg[..]), options);
        decoder.decode_headers().map_err(|_| Corrupt)?;
        let is_whole = decoder.dimensions() == Some(self.size())
            && decoder.output_buffer_size() == Some(luma.len());
        if !is_whole {
            return Err(Corrupt);
        }
        decoder.decode_into(luma).map_err(|_| Corrupt)
    }
}

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;

    use super::*;

    #[test]
    fn rows_are_cut_out_of_their_padding() {
        let mut luma = Vec::new();
        let grey = [1, 2, 3, 0, 4, 5, 6, 0];
        let mut form = Luma::new(CameraFormat::Grey, 3, 2, 4);
        assert_eq!(form.convert(&grey, &mut luma), Ok(()));
        assert_eq!(luma, [1, 2, 3, 4, 5, 6]);
        assert_eq!(
            form.convert(&grey[..7], &mut luma),
            Ok(()),
            "the last row is not padded"
        );
        assert_eq!(form.convert(&grey[..6], &mut luma), Err(Corrupt));

        let yuyv = [1, 128, 2, 128, 9, 9, 3, 128, 4, 128, 9, 9];
        let mut form = Luma::new(CameraFormat::Yuyv, 2, 2, 6);
        assert_eq!(form.convert(&yuyv, &mut luma), Ok(()));
        assert_eq!(luma, [1, 2, 3, 4]);
        assert_eq!(form.convert(&yuyv[..9], &mut luma), Err(Corrupt));

        let nv12 = [1, 2, 3, 4, 128, 128];
        let mut form = Luma::new(CameraFormat::Nv12, 2, 2, 0);
        assert_eq!(form.convert(&nv12, &mut luma), Ok(()));
        assert_eq!(luma, [1, 2, 3, 4]);
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
        let mut form = Luma::new(CameraFormat::Mjpeg, 40, 24, 0);
        let mut luma = Vec::new();
        assert_eq!(form.convert(&file, &mut luma), Ok(()));
        assert_close(&luma, &expected);

        let bare = without_tables(&file);
        assert!(bare.len() + 300 < file.len(), "the tables are gone");
        luma.clear();
        assert_eq!(form.convert(&bare, &mut luma), Ok(()));
        assert_close(&luma, &expected);

        let padded = [&file[..], &[0; 64]].concat();
        assert_eq!(form.convert(&padded, &mut luma), Ok(()));
        assert_close(&luma, &expected);
    }

    #[test]
    fn a_damaged_jpeg_frame_is_told() {
        let (_, file) = jpeg(64, 64);
        let mut form = Luma::new(CameraFormat::Mjpeg, 64, 64, 0);
        let mut luma = Vec::new();
        for length in [0, 1, 2, 3, 20, file.len() / 2, file.len() - 3] {
            assert_eq!(
                form.convert(&file[..length], &mut luma),
                Err(Corrupt),
                "{length}"
            );
            let zeros = vec![0; file.len() - length];
            let padded = [&file[..length], &zeros].concat();
            assert_eq!(form.convert(&padded, &mut luma), Err(Corrupt), "{length}");
        }
        let mut other = file.clone();
        other[0] = 0;
        assert_eq!(form.convert(&other, &mut luma), Err(Corrupt));
        let mut larger = Luma::new(CameraFormat::Mjpeg, 64, 72, 0);
        assert_eq!(
            larger.convert(&file, &mut luma),
            Err(Corrupt),
            "another size"
        );
    }

    #[test]
    fn formats_are_named_as_people_do() {
        for (name, format) in [
            ("grey", CameraFormat::Grey),
            ("YUYV", CameraFormat::Yuyv),
            ("nv12", CameraFormat::Nv12),
            ("NV12M", CameraFormat::Nv12m),
            ("nm12", CameraFormat::Nv12m),
            ("mjpeg", CameraFormat::Mjpeg),
            ("MJPG", CameraFormat::Mjpeg),
        ] {
            assert_eq!(name.parse(), Ok(format));
        }
        assert!("rgb".parse::<CameraFormat>().is_err());
    }
}
