//! Frames in every form in which they come.

use std::path::Path;

use device::source::{
    CameraFormat, Conversion, Converter, Encoding, GreyRange, Idx, Matrix, Y4m, decode_picture,
};
use shared::image::PixelFormat;

/// An IDX file of as many dimensions as its header says.
pub(crate) fn idx(bytes: &[u8]) {
    let rank = bytes.get(3).map_or(1, |rank| usize::from(rank % 4).max(1));
    let Ok(idx) = Idx::parse(bytes.to_vec(), rank) else {
        return;
    };
    assert_eq!(idx.sizes().len(), rank);
    for index in [0, idx.count() / 2, idx.count().saturating_sub(1)] {
        let _ = idx.item(index);
    }
    assert!(idx.item(idx.count()).is_none());
}

/// A picture in a file.
pub(crate) fn picture(bytes: &[u8]) {
    for format in [PixelFormat::Grey8, PixelFormat::Rgb8] {
        if let Ok(frame) = decode_picture(bytes.to_vec(), Path::new("picture"), format) {
            frame.view().expect("a picture is as large as it says");
        }
    }
}

/// A frame of a camera in any form: the first eight bytes choose form, size, distances of rows and
/// colours.
pub(crate) fn camera(bytes: &[u8]) {
    let Some(([form, width, height, stride, rest @ ..], frame)) = bytes.split_first_chunk::<8>()
    else {
        return;
    };
    let [width, height] = [width, height].map(|side| usize::from(*side) + 1);
    let stride = usize::from(*stride) + usize::from(rest[0]) * 256;
    let choice = rest[1];
    let about = Conversion {
        format: CameraFormat::ALL[usize::from(*form) % CameraFormat::ALL.len()],
        width,
        height,
        strides: [stride, stride / 2],
        encoding: Encoding {
            matrix: Matrix::ALL[usize::from(choice) % Matrix::ALL.len()],
            limited: choice & 0x10 != 0,
        },
        range: match choice >> 5 & 3 {
            0 => GreyRange::Auto,
            1 => GreyRange::Between(rest[2].into(), u16::from(rest[2]) + u16::from(rest[3]) + 1),
            _ => GreyRange::Full,
        },
        wanted: wanted(choice),
    };
    let converter = Converter::new(about);
    let mut pixels = Vec::new();
    let (luma, chroma) = frame.split_at(frame.len() / 3 * 2);
    for planes in [[frame, &[]], [luma, chroma]] {
        if converter.convert(planes, &mut pixels).is_ok() {
            assert_eq!(pixels.len(), width * height * converter.format().bytes());
        }
    }
}

fn wanted(choice: u8) -> PixelFormat {
    if choice & 0x80 == 0 {
        PixelFormat::Grey8
    } else {
        PixelFormat::Rgb8
    }
}

/// A stream of GStreamer's, in pieces whose length the first byte chooses; its highest bit says whether
/// colour is wanted.
pub(crate) fn video(bytes: &[u8]) {
    let Some((piece, stream)) = bytes.split_first() else {
        return;
    };
    let mut reader = Y4m::new(wanted(*piece), None);
    let mut pixels = Vec::new();
    let pieces = stream.chunks(usize::from(*piece) + 1);
    let last = pieces.len().saturating_sub(1);
    for (at, piece) in pieces.enumerate() {
        reader.push(piece);
        loop {
            match reader.frame(&mut pixels, at == last) {
                Ok(true) => {
                    let size = reader.size().ok().flatten().expect("a frame has a size");
                    assert_eq!(pixels.len(), size.0 * size.1 * reader.format().bytes());
                }
                Ok(false) => break,
                Err(_) => return,
            }
        }
    }
}
