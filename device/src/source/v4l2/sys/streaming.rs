//! Buffers that the driver fills, in this program's memory.

use std::ffi::c_void;
use std::io;
use std::os::fd::AsRawFd as _;
use std::ptr::{NonNull, null_mut};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::super::abi::{Buffer, Plane};
use super::{Node, Taken};

/// A plane of a driver's buffer in this program's memory.
#[derive(Debug)]
struct Mapping {
    start: NonNull<c_void>,
    length: usize,
}

// SAFETY: the memory belongs to the mapping alone, and is as valid on another thread.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(node: &Node, plane: &Plane) -> io::Result<Self> {
        let length = plane.length as usize;
        let [a, b, c, d, ..] = plane.place;
        let offset = u32::from_ne_bytes([a, b, c, d]).into();
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let file = node.file.as_raw_fd();
        // SAFETY: the kernel chooses where, so nothing that lives is mapped over.
        let start = unsafe { libc::mmap(null_mut(), length, access, kind, file, offset) };
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
pub(in super::super) struct Streaming {
    // Before the node: mappings end first.
    mappings: Vec<[Option<Mapping>; 2]>,
    node: Node,
}

impl Streaming {
    /// Maps about `count` buffers, queues them all, and starts.
    pub(in super::super) fn start(node: Node, count: u32) -> io::Result<Self> {
        let count = node.request_buffers(count)?;
        let mappings = (0..count)
            .map(|index| {
                let [first, second] = node.query_buffer(index)?.planes;
                let second = (second.length > 0).then(|| Mapping::new(&node, &second));
                Ok([Some(Mapping::new(&node, &first)?), second.transpose()?])
            })
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
    pub(in super::super) fn wait(&self, at_most: Duration) -> io::Result<bool> {
        let timeout = Timespec::try_from(at_most).map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(
            &mut [PollFd::new(&self.node.file, PollFlags::IN)],
            Some(&timeout),
        ) {
            Ok(0) | Err(Errno::INTR) => Ok(false),
            Ok(_) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// The newest frame that has come, if one has; older ones go back to the driver. Dropping it
    /// gives its buffer back, too.
    pub(in super::super) fn take_newest(&mut self) -> io::Result<Option<Filled<'_>>> {
        let Some(mut newest) = self.dequeue()? else {
            return Ok(None);
        };
        let mut older = 0;
        // What fails now fails again, and is told, when the next frame is asked for.
        while let Ok(Some(newer)) = self.dequeue() {
            self.node.queue(newest.about.index)?;
            newest = newer;
            older += 1;
        }
        Ok(Some(Filled {
            streaming: self,
            about: newest.about,
            planes: newest.planes,
            older,
        }))
    }

    fn dequeue(&self) -> io::Result<Option<Taken>> {
        match self.node.dequeue() {
            Ok(taken) if (taken.about.index as usize) < self.mappings.len() => Ok(Some(taken)),
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
pub(in super::super) struct Filled<'a> {
    streaming: &'a mut Streaming,
    /// What the driver says of it.
    pub(in super::super) about: Buffer,
    planes: [Plane; 2],
    /// How many frames came before it and were not taken.
    pub(in super::super) older: u32,
}

impl Filled<'_> {
    /// The bytes that the driver has filled, plane by plane; none of a plane that there is not.
    pub(in super::super) fn planes(&self) -> [&[u8]; 2] {
        [self.plane(0), self.plane(1)]
    }

    fn plane(&self, which: usize) -> &[u8] {
        let plane = &self.planes[which];
        let Some(mapping) = &self.streaming.mappings[self.about.index as usize][which] else {
            return &[];
        };
        let used = (plane.bytes_used as usize).min(mapping.length);
        // SAFETY: the mapping is readable in its whole length and lives as long as `streaming`, which
        // is borrowed. The driver has handed the buffer out, and gets it back when `self` drops.
        let bytes = unsafe { std::slice::from_raw_parts(mapping.start.cast().as_ptr(), used) };
        bytes.get(plane.data_offset as usize..).unwrap_or_default()
    }
}

impl Drop for Filled<'_> {
    fn drop(&mut self) {
        // What keeps a buffer from being queued (the camera is gone) keeps the next from coming, and
        // is told then.
        let _ = self.streaming.node.queue(self.about.index);
    }
}
