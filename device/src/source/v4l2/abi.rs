//! What of the kernel's `linux/videodev2.h` a camera takes: structures and numbers, as the V4L2
//! documentation (<https://docs.kernel.org/userspace-api/media/v4l/>) names them.

use std::ffi::c_long;

use crate::source::colour::{Encoding, Matrix};

/// `V4L2_BUF_TYPE_VIDEO_CAPTURE`.
pub(super) const VIDEO_CAPTURE: u32 = 1;
/// `V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE`.
pub(super) const VIDEO_CAPTURE_MPLANE: u32 = 9;
/// `VIDEO_MAX_PLANES`.
pub(super) const MAX_PLANES: usize = 8;
/// `V4L2_MEMORY_MMAP`.
pub(super) const MEMORY_MMAP: u32 = 1;
/// `V4L2_FIELD_NONE`: progressive pictures.
pub(super) const FIELD_NONE: u32 = 1;

/// `V4L2_SEL_TGT_CROP`: the part of what the sensor sees, or of a signal, that is captured.
pub(super) const CROP: u32 = 0;

/// `V4L2_CAP_…`.
pub(super) mod capability {
    pub(in super::super) const VIDEO_CAPTURE: u32 = 0x0000_0001;
    pub(in super::super) const VIDEO_CAPTURE_MPLANE: u32 = 0x0000_1000;
    pub(in super::super) const STREAMING: u32 = 0x0400_0000;
    pub(in super::super) const DEVICE_CAPS: u32 = 0x8000_0000;
    /// `V4L2_CAP_TIMEPERFRAME`, of the stream's parameters.
    pub(in super::super) const TIME_PER_FRAME: u32 = 0x1000;
}

/// `V4L2_BUF_FLAG_…`.
pub(super) mod buffer_flag {
    pub(in super::super) const ERROR: u32 = 0x0000_0040;
    pub(in super::super) const TIMESTAMP_MASK: u32 = 0x0000_e000;
    pub(in super::super) const TIMESTAMP_MONOTONIC: u32 = 0x0000_2000;
}

/// `V4L2_CTRL_FLAG_…` and `V4L2_CTRL_TYPE_…`.
pub(super) mod control {
    pub(in super::super) const DISABLED: u32 = 0x0001;
    pub(in super::super) const READ_ONLY: u32 = 0x0004;
    pub(in super::super) const INACTIVE: u32 = 0x0010;
    pub(in super::super) const WRITE_ONLY: u32 = 0x0040;
    pub(in super::super) const NEXT: u32 = 0x8000_0000;

    pub(in super::super) const INTEGER: u32 = 1;
    pub(in super::super) const BOOLEAN: u32 = 2;
    pub(in super::super) const MENU: u32 = 3;
    pub(in super::super) const BUTTON: u32 = 4;
    pub(in super::super) const BITMASK: u32 = 8;
    pub(in super::super) const INTEGER_MENU: u32 = 9;
}

/// `struct v4l2_capability`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Capability {
    pub(super) driver: [u8; 16],
    pub(super) card: [u8; 32],
    pub(super) bus_info: [u8; 32],
    pub(super) version: u32,
    pub(super) capabilities: u32,
    pub(super) device_caps: u32,
    pub(super) reserved: [u32; 3],
}

impl Capability {
    /// What this node can do, of all that the device can.
    pub(super) fn of_node(&self) -> u32 {
        if self.capabilities & capability::DEVICE_CAPS != 0 {
            self.device_caps
        } else {
            self.capabilities
        }
    }
}

/// `struct v4l2_fmtdesc`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FormatDescription {
    pub(super) index: u32,
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) description: [u8; 32],
    pub(super) pixel_format: u32,
    pub(super) mbus_code: u32,
    pub(super) reserved: [u32; 3],
}

/// `struct v4l2_format` of video: the kernel's is a union of 200 bytes, of which `P` takes all but
/// `REST` words. The union holds pointers elsewhere, and is aligned like them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Format<P, const REST: usize> {
    pub(super) kind: u32,
    #[cfg(target_pointer_width = "64")]
    pub(super) alignment: u32,
    pub(super) picture: P,
    pub(super) rest: [u32; REST],
}

pub(super) type SinglePlanar = Format<PictureFormat, 38>;
pub(super) type MultiPlanar = Format<PlanesFormat, 2>;

impl<P, const REST: usize> Format<P, REST> {
    pub(super) fn new(kind: u32, picture: P) -> Self {
        Self {
            kind,
            #[cfg(target_pointer_width = "64")]
            alignment: 0,
            picture,
            rest: [0; REST],
        }
    }
}

/// `struct v4l2_pix_format`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PictureFormat {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) pixel_format: u32,
    pub(super) field: u32,
    /// Bytes from one row of the first plane to the next.
    pub(super) bytes_per_line: u32,
    pub(super) size_image: u32,
    pub(super) colorspace: u32,
    pub(super) private: u32,
    pub(super) flags: u32,
    pub(super) encoding: u32,
    pub(super) quantization: u32,
    pub(super) transfer: u32,
}

impl PictureFormat {
    /// `V4L2_PIX_FMT_PRIV_MAGIC`: `flags` and what follows it are filled in.
    const EXTENDED: u32 = 0xfeed_cafe;

    /// How the picture's numbers mean colours, as the driver says, or, where it leaves that open, as the
    /// kernel's documentation has it (`V4L2_MAP_YCBCR_ENC_DEFAULT`, `V4L2_MAP_QUANTIZATION_DEFAULT`).
    /// `is_ycbcr` says that its form has luma and chroma; red, green and blue, and luma alone, are of full
    /// range if nothing is said. xvYCC is of limited range whatever is said: what lies beyond is for colours
    /// that others have not. BT.2020 of constant luminance, which no camera is known to send, is taken for
    /// the usual one.
    pub(super) fn meaning(&self, is_ycbcr: bool) -> Encoding {
        const DEFAULT: u32 = 0;
        const JPEG: u32 = 7; // `V4L2_COLORSPACE_JPEG`
        const XV601: u32 = 3; // `V4L2_YCBCR_ENC_XV601`
        const XV709: u32 = 4;
        let (encoding, quantization) = if self.private == Self::EXTENDED {
            (self.encoding, self.quantization)
        } else {
            (0, 0)
        };
        let matrix = match (encoding, self.colorspace) {
            // `V4L2_YCBCR_ENC_709`; `V4L2_COLORSPACE_REC709`, `_DCI_P3`.
            (2 | XV709, _) | (DEFAULT, 3 | 12) => Matrix::Bt709,
            // `V4L2_YCBCR_ENC_BT2020`, `_BT2020_CONST_LUM`; `V4L2_COLORSPACE_BT2020`.
            (6 | 7, _) | (DEFAULT, 10) => Matrix::Bt2020,
            // `V4L2_YCBCR_ENC_SMPTE240M`; `V4L2_COLORSPACE_SMPTE240M`.
            (8, _) | (DEFAULT, 2) => Matrix::Smpte240m,
            _ => Matrix::Bt601,
        };
        let limited = match quantization {
            _ if is_ycbcr && matches!(encoding, XV601 | XV709) => true,
            1 => false,
            2 => true,
            _ => is_ycbcr && self.colorspace != JPEG,
        };
        Encoding { matrix, limited }
    }
}

/// `struct v4l2_pix_format_mplane`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PlanesFormat {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) pixel_format: u32,
    pub(super) field: u32,
    pub(super) colorspace: u32,
    pub(super) planes: [PlaneFormat; MAX_PLANES],
    /// Number of planes, flags, encoding, quantization, transfer.
    pub(super) rest: [u8; 12],
}

/// `struct v4l2_plane_pix_format`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PlaneFormat {
    pub(super) size_image: u32,
    /// Bytes from one row of the plane to the next.
    pub(super) bytes_per_line: u32,
    pub(super) reserved: [u16; 6],
}

impl From<PictureFormat> for PlanesFormat {
    fn from(picture: PictureFormat) -> Self {
        Self {
            width: picture.width,
            height: picture.height,
            pixel_format: picture.pixel_format,
            field: picture.field,
            ..Self::default()
        }
    }
}

impl From<PlanesFormat> for PictureFormat {
    fn from(format: PlanesFormat) -> Self {
        Self {
            width: format.width,
            height: format.height,
            pixel_format: format.pixel_format,
            field: format.field,
            bytes_per_line: format.planes[0].bytes_per_line,
            size_image: format.planes[0].size_image,
            colorspace: format.colorspace,
            private: Self::EXTENDED,
            flags: format.rest[1].into(),
            encoding: format.rest[2].into(),
            quantization: format.rest[3].into(),
            transfer: format.rest[4].into(),
        }
    }
}

/// `struct v4l2_selection`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Selection {
    pub(super) kind: u32,
    pub(super) target: u32,
    pub(super) flags: u32,
    pub(super) left: i32,
    pub(super) top: i32,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) reserved: [u32; 9],
}

/// `struct v4l2_fract`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fraction {
    pub(super) numerator: u32,
    pub(super) denominator: u32,
}

/// `struct v4l2_streamparm` of capture.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamParameters {
    pub(super) kind: u32,
    pub(super) capability: u32,
    pub(super) mode: u32,
    pub(super) time_per_frame: Fraction,
    pub(super) rest: [u32; 46],
}

impl Default for StreamParameters {
    fn default() -> Self {
        Self {
            kind: 0,
            capability: 0,
            mode: 0,
            time_per_frame: Fraction::default(),
            rest: [0; 46],
        }
    }
}

/// `struct v4l2_frmsizeenum`: `kind` 1 has width and height in `sides[..2]`; others have the least,
/// the most and the step of the width, then of the height.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FrameSize {
    pub(super) index: u32,
    pub(super) pixel_format: u32,
    pub(super) kind: u32,
    pub(super) sides: [u32; 6],
    pub(super) reserved: [u32; 2],
}

/// `struct v4l2_frmivalenum`: `kind` 1 has the interval in `intervals[0]`; others have the least, the
/// most and the step.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FrameInterval {
    pub(super) index: u32,
    pub(super) pixel_format: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) kind: u32,
    pub(super) intervals: [Fraction; 3],
    pub(super) reserved: [u32; 2],
}

/// What [`FrameSize::kind`] and [`FrameInterval::kind`] are where values are given one by one.
pub(super) const DISCRETE: u32 = 1;

/// `struct v4l2_requestbuffers`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RequestBuffers {
    pub(super) count: u32,
    pub(super) kind: u32,
    pub(super) memory: u32,
    pub(super) capabilities: u32,
    pub(super) flags: u32,
}

/// `struct v4l2_buffer` of mapped memory. A `timeval` is two C longs; where these have 32 bits, the
/// kernel tells the structure by its size from the one with 64-bit times.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Buffer {
    pub(super) index: u32,
    pub(super) kind: u32,
    pub(super) bytes_used: u32,
    pub(super) flags: u32,
    pub(super) field: u32,
    pub(super) seconds: c_long,
    pub(super) microseconds: c_long,
    pub(super) timecode: [u32; 4],
    pub(super) sequence: u32,
    pub(super) memory: u32,
    /// A union as large as a pointer: of a single-planar buffer its first four bytes are where to map
    /// it from, of a multi-planar one all are the address of its planes.
    pub(super) place: [u8; size_of::<usize>()],
    /// Bytes of a single-planar buffer, or the number of planes.
    pub(super) length: u32,
    pub(super) reserved: [u32; 2],
}

/// `struct v4l2_plane` of mapped memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plane {
    pub(super) bytes_used: u32,
    pub(super) length: u32,
    /// A union as large as a pointer, whose first four bytes are where to map the plane from.
    pub(super) place: [u8; size_of::<usize>()],
    /// Where in the plane its bytes begin.
    pub(super) data_offset: u32,
    pub(super) reserved: [u32; 11],
}

/// `struct v4l2_queryctrl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct QueryControl {
    pub(super) id: u32,
    pub(super) kind: u32,
    pub(super) name: [u8; 32],
    pub(super) minimum: i32,
    pub(super) maximum: i32,
    pub(super) step: i32,
    pub(super) default: i32,
    pub(super) flags: u32,
    pub(super) reserved: [u32; 2],
}

/// `struct v4l2_querymenu`: of an integer menu the name holds a 64-bit number.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct QueryMenu {
    pub(super) id: u32,
    pub(super) index: u32,
    pub(super) name: [u8; 32],
    pub(super) reserved: u32,
}

/// `struct v4l2_control`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Control {
    pub(super) id: u32,
    pub(super) value: i32,
}

// The sizes are part of the requests' numbers: with another size a request is another one.
const _: () = {
    assert!(size_of::<Capability>() == 104);
    assert!(size_of::<FormatDescription>() == 64);
    assert!(size_of::<PictureFormat>() == 48);
    assert!(size_of::<PlanesFormat>() == 192);
    assert!(size_of::<Selection>() == 64);
    assert!(size_of::<StreamParameters>() == 204);
    assert!(size_of::<FrameSize>() == 44);
    assert!(size_of::<FrameInterval>() == 52);
    assert!(size_of::<RequestBuffers>() == 20);
    assert!(size_of::<QueryControl>() == 68);
    assert!(size_of::<QueryMenu>() == 44);
    assert!(size_of::<Control>() == 8);
};
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<SinglePlanar>() == 208);
    assert!(size_of::<MultiPlanar>() == 208);
    assert!(std::mem::offset_of!(SinglePlanar, picture) == 8);
    assert!(size_of::<Plane>() == 64);
    assert!(std::mem::offset_of!(Plane, data_offset) == 16);
    assert!(size_of::<Buffer>() == 88);
    assert!(std::mem::offset_of!(Buffer, seconds) == 24);
    assert!(std::mem::offset_of!(Buffer, sequence) == 56);
    assert!(std::mem::offset_of!(Buffer, place) == 64);
    assert!(std::mem::offset_of!(Buffer, length) == 72);
};
#[cfg(target_pointer_width = "32")]
const _: () = {
    assert!(size_of::<SinglePlanar>() == 204);
    assert!(size_of::<MultiPlanar>() == 204);
    assert!(std::mem::offset_of!(SinglePlanar, picture) == 4);
    assert!(size_of::<Plane>() == 60);
    assert!(std::mem::offset_of!(Plane, data_offset) == 12);
    assert!(size_of::<Buffer>() == 68);
    assert!(std::mem::offset_of!(Buffer, seconds) == 20);
    assert!(std::mem::offset_of!(Buffer, sequence) == 44);
    assert!(std::mem::offset_of!(Buffer, place) == 52);
    assert!(std::mem::offset_of!(Buffer, length) == 56);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_mean_what_the_driver_says_or_what_the_kernel_documents() {
        let meaning = |colorspace, encoding, quantization, is_ycbcr| {
            let picture = PictureFormat {
                colorspace,
                private: PictureFormat::EXTENDED,
                encoding,
                quantization,
                ..PictureFormat::default()
            };
            let Encoding { matrix, limited } = picture.meaning(is_ycbcr);
            (matrix, limited)
        };
        assert_eq!(
            meaning(8, 0, 0, true),
            (Matrix::Bt601, true),
            "sRGB, a webcam"
        );
        assert_eq!(meaning(7, 0, 0, true), (Matrix::Bt601, false), "JPEG");
        assert_eq!(meaning(3, 0, 0, true), (Matrix::Bt709, true));
        assert_eq!(meaning(3, 1, 1, true), (Matrix::Bt601, false), "as it says");
        assert_eq!(meaning(8, 2, 2, true), (Matrix::Bt709, true));
        assert_eq!(meaning(10, 0, 0, true), (Matrix::Bt2020, true));
        assert_eq!(meaning(2, 0, 0, true), (Matrix::Smpte240m, true));
        assert_eq!(meaning(8, 8, 1, true), (Matrix::Smpte240m, false));
        assert_eq!(meaning(8, 3, 1, true), (Matrix::Bt601, true), "xvYCC");
        assert_eq!(meaning(8, 4, 1, true), (Matrix::Bt709, true), "xvYCC");
        assert!(
            !meaning(8, 0, 0, false).1,
            "RGB and luma have all of the range"
        );
        assert!(meaning(8, 0, 2, false).1);
        let old = PictureFormat {
            colorspace: 8,
            quantization: 1,
            ..PictureFormat::default()
        };
        assert!(old.meaning(true).limited, "what it does not vouch for");
    }
}
