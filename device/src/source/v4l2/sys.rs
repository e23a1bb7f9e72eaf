//! Requests to a V4L2 device and its mapped buffers: all `unsafe` of cameras is here.

#![allow(unsafe_code)] // ioctl and mmap are; every block says why it is sound

use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::ptr::{NonNull, null_mut};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::major;
use rustix::io::Errno;
use rustix::ioctl::{Direction, Ioctl, IoctlOutput, Opcode, ioctl, opcode};

use super::abi::{
    Buffer, Capability, Control, Format, FormatDescription, FrameInterval, FrameSize, MEMORY_MMAP,
    QueryControl, QueryMenu, RequestBuffers, StreamParameters, VIDEO_CAPTURE,
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
    Format,
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
pub(super) struct Node(File);

impl Node {
    /// Opens a node so that no request waits for a frame.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let about = path.metadata()?;
        if !about.file_type().is_char_device() || major(about.rdev()) != VIDEO_MAJOR {
            return Err(io::Error::other("it is no video device"));
        }
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(flags);
        options.open(path).map(Self)
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
            // gives for it, none of which holds a pointer that the kernel would follow, and the file
            // is a V4L2 node.
            match unsafe { ioctl(&self.0, request) } {
                Err(Errno::INTR) => {}
                result => return result.map_err(io::Error::from),
            }
        }
    }

    fn update<T: Argument>(&self, number: u8, argument: &mut T) -> io::Result<()> {
        self.ask(Direction::ReadWrite, number, argument)
    }

    /// `QUERYCAP`.
    pub(super) fn capability(&self) -> io::Result<Capability> {
        let mut capability = Capability::default();
        self.ask(Direction::Read, 0, &mut capability)?;
        Ok(capability)
    }

    /// `ENUM_FMT`.
    pub(super) fn enumerate_formats(&self, format: &mut FormatDescription) -> io::Result<()> {
        self.update(2, format)
    }

    /// `S_FMT`.
    pub(super) fn set_format(&self, format: &mut Format) -> io::Result<()> {
        self.update(5, format)
    }

    /// `G_PARM`.
    pub(super) fn parameters(&self, parameters: &mut StreamParameters) -> io::Result<()> {
        self.update(21, parameters)
    }

    /// `S_PARM`.
    pub(super) fn set_parameters(&self, parameters: &mut StreamParameters) -> io::Result<()> {
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
            kind: VIDEO_CAPTURE,
            memory: MEMORY_MMAP,
            ..RequestBuffers::default()
        };
        self.update(8, &mut request)?;
        Ok(request.count)
    }

    fn query_buffer(&self, index: u32) -> io::Result<Buffer> {
        let mut buffer = Buffer::numbered(index);
        self.update(9, &mut buffer)?;
        Ok(buffer)
    }

    fn queue(&self, index: u32) -> io::Result<()> {
        self.update(15, &mut Buffer::numbered(index))
    }

    fn dequeue(&self) -> io::Result<Buffer> {
        let mut buffer = Buffer::numbered(0);
        self.update(17, &mut buffer)?;
        Ok(buffer)
    }

    fn stream_on(&self) -> io::Result<()> {
        self.ask(Direction::Write, 18, &mut (VIDEO_CAPTURE as i32))
    }

    fn stream_off(&self) -> io::Result<()> {
        self.ask(Direction::Write, 19, &mut (VIDEO_CAPTURE as i32))
    }
}

/// A driver's buffer in this program's memory.
#[derive(Debug)]
struct Mapping {
    start: NonNull<c_void>,
    length: usize,
}

// SAFETY: the memory belongs to the mapping alone, and is as valid on another thread.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(node: &Node, buffer: &Buffer) -> io::Result<Self> {
        let length = buffer.length as usize;
        let offset = buffer.offset.into();
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: the kernel chooses where, so nothing that lives is mapped over.
        let start =
            unsafe { libc::mmap(null_mut(), length, access, kind, node.0.as_raw_fd(), offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, and no slice of it outlives `self`.
        let _ = unsafe { libc::munmap(self.start.as_ptr(), self.length) };
    }
}

/// A camera that streams into mapped buffers.
#[derive(Debug)]
pub(super) struct Streaming {
    // Before the node: mappings end first.
    mappings: Vec<Mapping>,
    node: Node,
}

impl Streaming {
    /// Maps about `count` buffers, queues them all, and starts.
    pub(super) fn start(node: Node, count: u32) -> io::Result<Self> {
        let count = node.request_buffers(count)?;
        let mappings = (0..count)
            .map(|index| Mapping::new(&node, &node.query_buffer(index)?))
            .collect::<io::Result<Vec<_>>>()?;
        if mappings.is_empty() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        for index in 0..count {
            node.queue(index)?;
        }
        node.stream_on()?;
        Ok(Self { mappings, node })
    }

    /// Waits until a frame has come, or something happened that [`Streaming::take`] will tell; `false`
    /// if neither did.
    pub(super) fn wait(&self, at_most: Duration) -> io::Result<bool> {
        let timeout = Timespec::try_from(at_most).map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(
            &mut [PollFd::new(&self.node.0, PollFlags::IN)],
            Some(&timeout),
        ) {
            Ok(0) | Err(Errno::INTR) => Ok(false),
            Ok(_) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// The newest frame that has come, if one has; older ones go back to the driver. Dropping it
    /// gives its buffer back, too.
    pub(super) fn take_newest(&mut self) -> io::Result<Option<Filled<'_>>> {
        let Some(mut about) = self.dequeue()? else {
            return Ok(None);
        };
        let mut older = 0;
        // What fails now fails again, and is told, when the next frame is asked for.
        while let Ok(Some(newer)) = self.dequeue() {
            self.node.queue(about.index)?;
            about = newer;
            older += 1;
        }
        Ok(Some(Filled {
            streaming: self,
            about,
            older,
        }))
    }

    fn dequeue(&self) -> io::Result<Option<Buffer>> {
        match self.node.dequeue() {
            Ok(about) if (about.index as usize) < self.mappings.len() => Ok(Some(about)),
            Ok(_) => Err(io::ErrorKind::InvalidData.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        // An unplugged camera does not answer; there is nothing to stop then.
        let _ = self.node.stream_off();
    }
}

/// A frame in its buffer, which the driver does not have while this lives.
#[derive(Debug)]
pub(super) struct Filled<'a> {
    streaming: &'a mut Streaming,
    /// What the driver says of it.
    pub(super) about: Buffer,
    /// How many frames came before it and were not taken.
    pub(super) older: u32,
}

impl Filled<'_> {
    /// The bytes that the driver has filled.
    pub(super) fn bytes(&self) -> &[u8] {
        let mapping = &self.streaming.mappings[self.about.index as usize];
        let used = (self.about.bytes_used as usize).min(mapping.length);
        // SAFETY: the mapping is readable in its whole length and lives as long as `streaming`, which
        // is borrowed. The driver has handed the buffer out, and gets it back when `self` drops.
        unsafe { std::slice::from_raw_parts(mapping.start.cast().as_ptr(), used) }
    }
}

impl Drop for Filled<'_> {
    fn drop(&mut self) {
        // What keeps a buffer from being queued (the camera is gone) keeps the next from coming, and
        // is told then.
        let _ = self.streaming.node.queue(self.about.index);
    }
}
