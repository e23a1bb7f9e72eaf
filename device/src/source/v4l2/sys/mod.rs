//! Requests to a V4L2 device and its mapped buffers: all `unsafe` of cameras is here.

#![allow(unsafe_code)] // ioctl and mmap are; every block says why it is sound

mod streaming;

use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::major;
use rustix::io::Errno;
use rustix::ioctl::{Direction, Ioctl, IoctlOutput, Opcode, ioctl, opcode};

pub(super) use self::streaming::{Filled, Streaming};

use super::abi::{
    Buffer, Capability, Control, FormatDescription, FrameInterval, FrameSize, MAX_PLANES,
    MEMORY_MMAP, MultiPlanar, PictureFormat, Plane, QueryControl, QueryMenu, RequestBuffers,
    Selection, SinglePlanar, StreamParameters, VIDEO_CAPTURE, VIDEO_CAPTURE_MPLANE, capability,
};

/// A structure that a request reads and writes.
///
/// # Safety
/// The layout is the kernel's for that request, and any bits in it are a value.
unsafe trait Argument {}

macro_rules! arguments {
    ($($name:ty),*) => {
        $(
            // SAFETY: `repr(C)` of integers and arrays of them, its size checked beside it.
            unsafe impl Argument for $name {}
        )*
    };
}
arguments!(
    Capability,
    FormatDescription,
    SinglePlanar,
    MultiPlanar,
    Selection,
    StreamParameters,
    FrameSize,
    FrameInterval,
    RequestBuffers,
    Buffer,
    QueryControl,
    QueryMenu,
    Control,
    i32
);

/// One request: its number holds the size of `T`, so the kernel touches no byte beyond.
struct Request<'a, T> {
    direction: Direction,
    number: u8,
    argument: &'a mut T,
}

// SAFETY: the pointer is to a live `T`, of the size that the opcode tells, and to nothing else.
unsafe impl<T: Argument> Ioctl for Request<'_, T> {
    type Output = ();

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        opcode::from_components(self.direction, b'V', self.number, size_of::<T>())
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::from_mut(self.argument).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// The major number of every V4L2 node.
const VIDEO_MAJOR: u32 = 81;

/// An open device node. Requests are named as in the V4L2 documentation, without `VIDIOC_`.
#[derive(Debug)]
pub(super) struct Node {
    file: File,
    /// The form of its buffers: [`VIDEO_CAPTURE`] or [`VIDEO_CAPTURE_MPLANE`].
    kind: u32,
}

impl Node {
    /// Opens a node so that no request waits for a frame, and tells what it is.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Capability)> {
        let about = path.metadata()?;
        if !about.file_type().is_char_device() || major(about.rdev()) != VIDEO_MAJOR {
            return Err(io::Error::other("it is no video device"));
        }
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(flags);
        let mut node = Self {
            file: options.open(path)?,
            kind: VIDEO_CAPTURE,
        };
        let mut about = Capability::default();
        node.ask(Direction::Read, 0, &mut about)?; // `QUERYCAP`
        if about.of_node() & capability::VIDEO_CAPTURE == 0 {
            node.kind = VIDEO_CAPTURE_MPLANE;
        }
        Ok((node, about))
    }

    fn ask<T: Argument>(
        &self,
        direction: Direction,
        number: u8,
        argument: &mut T,
    ) -> io::Result<()> {
        loop {
            let request = Request {
                direction,
                number,
                argument: &mut *argument,
            };
            // SAFETY: the callers below pair each number with the structure that the documentation
            // gives for it, and the file is a V4L2 node. Only a multi-planar buffer holds a pointer
            // that the kernel follows: see `ask_buffer`.
            match unsafe { ioctl(&self.file, request) } {
                Err(Errno::INTR) => {}
                result => return result.map_err(io::Error::from),
            }
        }
    }

    fn update<T: Argument>(&self, number: u8, argument: &mut T) -> io::Result<()> {
        self.ask(Direction::ReadWrite, number, argument)
    }

    /// `ENUM_FMT`.
    pub(super) fn enumerate_formats(&self, format: &mut FormatDescription) -> io::Result<()> {
        format.kind = self.kind;
        self.update(2, format)
    }

    /// `S_FMT`: asks for a picture of such a width, height and pixel format, and writes to `picture`
    /// what the driver gives.
    pub(super) fn set_format(&self, picture: &mut PictureFormat) -> io::Result<()> {
        self.update_format(5, picture).map(drop)
    }

    /// `G_FMT`: the picture as it is, and the bytes from one row of its second plane to the next, where that
    /// has memory of its own.
    pub(super) fn format(&self) -> io::Result<(PictureFormat, u32)> {
        let mut picture = PictureFormat::default();
        let second_stride = self.update_format(4, &mut picture)?;
        Ok((picture, second_stride))
    }

    fn update_format(&self, number: u8, picture: &mut PictureFormat) -> io::Result<u32> {
        if self.kind == VIDEO_CAPTURE_MPLANE {
            let mut format = MultiPlanar::new(self.kind, (*picture).into());
            self.update(number, &mut format)?;
            *picture = format.picture.into();
            Ok(format.picture.planes[1].bytes_per_line)
        } else {
            let mut format = SinglePlanar::new(self.kind, *picture);
            self.update(number, &mut format)?;
            *picture = format.picture;
            Ok(0)
        }
    }

    /// `G_SELECTION`. Its kind is the single-planar one of either.
    pub(super) fn selection(&self, selection: &mut Selection) -> io::Result<()> {
        selection.kind = VIDEO_CAPTURE;
        self.update(94, selection)
    }

    /// `S_SELECTION`.
    pub(super) fn set_selection(&self, selection: &mut Selection) -> io::Result<()> {
        selection.kind = VIDEO_CAPTURE;
        self.update(95, selection)
    }

    /// `G_PARM`.
    pub(super) fn parameters(&self, parameters: &mut StreamParameters) -> io::Result<()> {
        parameters.kind = self.kind;
        self.update(21, parameters)
    }

    /// `S_PARM`.
    pub(super) fn set_parameters(&self, parameters: &mut StreamParameters) -> io::Result<()> {
        parameters.kind = self.kind;
        self.update(22, parameters)
    }

    /// `G_CTRL`.
    pub(super) fn control(&self, control: &mut Control) -> io::Result<()> {
        self.update(27, control)
    }

    /// `S_CTRL`.
    pub(super) fn set_control(&self, control: &mut Control) -> io::Result<()> {
        self.update(28, control)
    }

    /// `QUERYCTRL`.
    pub(super) fn query_control(&self, control: &mut QueryControl) -> io::Result<()> {
        self.update(36, control)
    }

    /// `QUERYMENU`.
    pub(super) fn query_menu(&self, menu: &mut QueryMenu) -> io::Result<()> {
        self.update(37, menu)
    }

    /// `ENUM_FRAMESIZES`.
    pub(super) fn enumerate_sizes(&self, size: &mut FrameSize) -> io::Result<()> {
        self.update(74, size)
    }

    /// `ENUM_FRAMEINTERVALS`.
    pub(super) fn enumerate_intervals(&self, interval: &mut FrameInterval) -> io::Result<()> {
        self.update(75, interval)
    }

    fn request_buffers(&self, count: u32) -> io::Result<u32> {
        let mut request = RequestBuffers {
            count,
            kind: self.kind,
            memory: MEMORY_MMAP,
            ..RequestBuffers::default()
        };
        self.update(8, &mut request)?;
        Ok(request.count)
    }

    fn query_buffer(&self, index: u32) -> io::Result<Taken> {
        self.ask_buffer(9, index)
    }

    fn queue(&self, index: u32) -> io::Result<()> {
        self.ask_buffer(15, index).map(drop)
    }

    fn dequeue(&self) -> io::Result<Taken> {
        self.ask_buffer(17, 0)
    }

    /// A request about a buffer, which has planes of its own if the node is multi-planar.
    fn ask_buffer(&self, number: u8, index: u32) -> io::Result<Taken> {
        let mut planes = [Plane::default(); MAX_PLANES];
        let mut about = Buffer {
            index,
            kind: self.kind,
            memory: MEMORY_MMAP,
            ..Buffer::default()
        };
        let is_multi = self.kind == VIDEO_CAPTURE_MPLANE;
        if is_multi {
            // The kernel reads and writes `length` planes here while the request lasts, no longer:
            // `planes` outlives it, and is not touched meanwhile.
            about.place = planes.as_mut_ptr().expose_provenance().to_ne_bytes();
            about.length = MAX_PLANES as u32;
        }
        self.update(number, &mut about)?;
        let planes = if is_multi {
            [planes[0], planes[1]]
        } else {
            let only = Plane {
                bytes_used: about.bytes_used,
                length: about.length,
                place: about.place,
                ..Plane::default()
            };
            [only, Plane::default()]
        };
        Ok(Taken { about, planes })
    }

    fn stream_on(&self) -> io::Result<()> {
        self.ask(Direction::Write, 18, &mut (self.kind as i32))
    }

    fn stream_off(&self) -> io::Result<()> {
        self.ask(Direction::Write, 19, &mut (self.kind as i32))
    }
}

/// What the driver says of a buffer.
#[derive(Clone, Copy, Debug)]
struct Taken {
    about: Buffer,
    /// Its first planes; no format that is taken has more. A plane of no length is none.
    planes: [Plane; 2],
}
