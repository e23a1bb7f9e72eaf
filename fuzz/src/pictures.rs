//! Frames in every form in which they come.

use std::path::Path;

use device::source::{CameraFormat, Idx, Luma, Y4m, decode_picture};
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

/// A frame of a camera in any form: the first six bytes choose form, size and distance of rows.
pub(crate) fn camera(bytes: &[u8]) {
    let Some(([form, width, height, stride, rest @ ..], frame)) = bytes.split_first_chunk::<6>()
    else {
        return;
    };
    let format = CameraFormat::ALL[usize::from(*form) % CameraFormat::ALL.len()];
    let [width, height] = [width, height].map(|side| usize::from(*side) + 1);
    let stride = usize::from(*stride) + usize::from(rest[0]) * 256;
    let mut converter = Luma::new(format, width, height, stride);
    let mut luma = Vec::new();
    for _ in 0..2 {
        if converter.convert(frame, &mut luma).is_ok() {
            assert_eq!(luma.len(), width * height);
        }
    }
}

/// A stream of GStreamer's, in pieces whose length the first byte chooses.
pub(crate) fn video(bytes: &[u8]) {
    let Some((piece, stream)) = bytes.split_first() else {
        return;
    };
    let mut reader = Y4m::default();
    let mut luma = Vec::new();
    let pieces = stream.chunks(usize::from(*piece) + 1);
    let last = pieces.len().saturating_sub(1);
    for (at, piece) in pieces.enumerate() {
        reader.push(piece);
        loop {
            match reader.frame(&mut luma, at == last) {
                Ok(true) => {
                    let size = reader.size().ok().flatten().expect("a frame has a size");
                    assert_eq!(luma.len(), size.0 * size.1);
                }
                Ok(false) => break,
                Err(_) => return,
            }
        }
    }
}
